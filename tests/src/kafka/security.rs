//! Secured listeners of a broker: TLS, client certificates and SASL beside the plain listener. The
//! authoriser allows everything to [`USER`] and to certificates of [`CLIENT`], and nothing to
//! [`UNAUTHORISED_USER`] and to [`ROLES`] until rules are added.

use super::config::{self, Listener, Ports};
use crate::certificates::{Authority, Identity, Validity};
use anyhow::Result;

/// SASL user with all rights, for every mechanism.
pub const USER: &str = "dnscribe";
/// Password of [`USER`], with characters that need correct quoting.
pub const PASSWORD: &str = "p=ss, w'rd";
/// SASL PLAIN user without rights.
pub const UNAUTHORISED_USER: &str = "stranger";
/// SASL PLAIN users whose rights the documentation names.
pub const ROLES: [&str; 4] =
    ["dnscribe-agent", "dnscribe-stream", "dnscribe-admin", "dnscribe-reader"];
/// Common name of client certificates with all rights.
pub const CLIENT: &str = "dnscribe-agent";

/// Host name in the certificate of [`SecureListener::Misnamed`].
pub const OTHER_HOST: &str = "elsewhere.example";

/// A secured listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureListener {
    /// TLS.
    Tls,
    /// TLS with a client certificate.
    ClientCertificate,
    /// TLS with an expired server certificate.
    Expired,
    /// TLS with a server certificate for [`OTHER_HOST`].
    Misnamed,
    /// SASL without TLS.
    Sasl,
    /// SASL over TLS.
    SaslTls,
}

impl SecureListener {
    /// Every secured listener.
    pub const ALL: [Self; 6] = [
        Self::Tls,
        Self::ClientCertificate,
        Self::Expired,
        Self::Misnamed,
        Self::Sasl,
        Self::SaslTls,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::ClientCertificate => "MUTUAL",
            Self::Expired => "EXPIRED",
            Self::Misnamed => "MISNAMED",
            Self::Sasl => "SASL",
            Self::SaslTls => "SASLTLS",
        }
    }

    const fn protocol(self) -> &'static str {
        match self {
            Self::Tls | Self::ClientCertificate | Self::Expired | Self::Misnamed => "SSL",
            Self::Sasl => "SASL_PLAINTEXT",
            Self::SaslTls => "SASL_SSL",
        }
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::Sasl | Self::SaslTls)
    }
}

/// Certificates of the broker.
pub struct Security {
    /// Authority that signed the broker's certificates, and that the broker trusts.
    pub authority: Authority,
    server: Identity,
    expired: Identity,
    misnamed: Identity,
}

impl Security {
    /// Creates them, with a new authority.
    pub fn new() -> Result<Self> {
        let authority = Authority::new("dnscribe tests")?;
        let here = ["127.0.0.1", "localhost"];
        Ok(Self {
            server: authority.server(&here, Validity::Current)?,
            expired: authority.server(&here, Validity::Expired)?,
            misnamed: authority.server(&[OTHER_HOST], Validity::Current)?,
            authority,
        })
    }

    /// Returns the broker properties of the secured listeners.
    pub(super) fn properties(&self, ports: Ports) -> Result<Vec<(String, String)>> {
        let mut properties = vec![
            (
                "authorizer.class.name".to_owned(),
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            ("super.users".to_owned(), format!("User:ANONYMOUS;User:{USER};User:CN={CLIENT}")),
        ];
        for listener in SecureListener::ALL {
            let prefix = format!("listener.name.{}", listener.name().to_lowercase());
            let mut set = |key: &str, value: &str| {
                properties.push((format!("{prefix}.{key}"), value.to_owned()));
            };
            if listener != SecureListener::Sasl {
                let identity = match listener {
                    SecureListener::Expired => &self.expired,
                    SecureListener::Misnamed => &self.misnamed,
                    _ => &self.server,
                };
                set("ssl.keystore.type", "PEM");
                set("ssl.keystore.certificate.chain", &identity.certificate);
                set("ssl.keystore.key", &identity.key);
            }
            if listener == SecureListener::ClientCertificate {
                set("ssl.client.auth", "required");
                set("ssl.truststore.type", "PEM");
                set("ssl.truststore.certificates", &self.authority.pem()?);
            }
            if listener.has_sasl() {
                let module = "org.apache.kafka.common.security";
                set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
                let users = [USER, UNAUTHORISED_USER].into_iter().chain(ROLES);
                let users: Vec<String> =
                    users.map(|user| format!("user_{user}=\"{PASSWORD}\"")).collect();
                let plain =
                    format!("{module}.plain.PlainLoginModule required {};", users.join(" "));
                set("plain.sasl.jaas.config", &plain);
                let scram = format!("{module}.scram.ScramLoginModule required;");
                set("scram-sha-256.sasl.jaas.config", &scram);
                set("scram-sha-512.sasl.jaas.config", &scram);
            }
        }
        let listeners = SecureListener::ALL.map(|listener| Listener {
            name: listener.name(),
            protocol: listener.protocol(),
            port: ports.secure_port(listener),
        });
        properties.extend(config::listeners(ports, &listeners));
        Ok(properties)
    }
}
