//! A broker's guarded doors: listeners with TLS, client certificates and SASL beside the open one,
//! and an authoriser that lets [`USER`] and certificates of [`CLIENT`] do everything, [`STRANGER`]
//! nothing.

use super::certificates::{Authority, Identity, Validity};
use super::config::{self, Listener, Ports};
use anyhow::Result;

/// Whom SASL knows, by every mechanism.
pub const USER: &str = "dnscribe";
/// [`USER`]'s password: with what a careless quoting would trip over.
pub const PASSWORD: &str = "p=ss, w'rd";
/// Whom PLAIN knows and the authoriser does not.
pub const STRANGER: &str = "stranger";
/// The name in client certificates that may do everything.
pub const CLIENT: &str = "dnscribe-agent";

/// Whose the certificate of [`Door::Misnamed`] is.
pub const ELSEWHERE: &str = "elsewhere.example";

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// TLS.
    Tls,
    /// TLS with a client certificate.
    ClientCertificate,
    /// TLS with a server certificate of yesterday.
    Expired,
    /// TLS with a server certificate for [`ELSEWHERE`].
    Misnamed,
    /// SASL without TLS.
    Sasl,
    /// SASL in TLS.
    SaslTls,
}

impl Door {
    /// Every door.
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

/// Who vouches for whom.
pub struct Security {
    /// Signed the broker's certificates, and is whom it trusts.
    pub authority: Authority,
    server: Identity,
    expired: Identity,
    misnamed: Identity,
}

impl Security {
    /// With a new authority.
    pub fn new() -> Result<Self> {
        let authority = Authority::new("dnscribe tests")?;
        let here = ["127.0.0.1", "localhost"];
        Ok(Self {
            server: authority.server(&here, Validity::Current)?,
            expired: authority.server(&here, Validity::Expired)?,
            misnamed: authority.server(&[ELSEWHERE], Validity::Current)?,
            authority,
        })
    }

    /// What the broker must be told of its doors.
    pub(super) fn properties(&self, ports: Ports) -> Result<Vec<(String, String)>> {
        let mut properties = vec![
            (
                "authorizer.class.name".to_owned(),
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
            ),
            ("super.users".to_owned(), format!("User:ANONYMOUS;User:{USER};User:CN={CLIENT}")),
        ];
        for door in Door::ALL {
            let prefix = format!("listener.name.{}", door.name().to_lowercase());
            let mut set = |key: &str, value: &str| {
                properties.push((format!("{prefix}.{key}"), value.to_owned()));
            };
            if door != Door::Sasl {
                let identity = match door {
                    Door::Expired => &self.expired,
                    Door::Misnamed => &self.misnamed,
                    _ => &self.server,
                };
                set("ssl.keystore.type", "PEM");
                set("ssl.keystore.certificate.chain", &identity.certificate);
                set("ssl.keystore.key", &identity.key);
            }
            if door == Door::ClientCertificate {
                set("ssl.client.auth", "required");
                set("ssl.truststore.type", "PEM");
                set("ssl.truststore.certificates", &self.authority.pem()?);
            }
            if door.has_sasl() {
                let module = "org.apache.kafka.common.security";
                set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512");
                let users = [USER, STRANGER].map(|user| format!("user_{user}=\"{PASSWORD}\""));
                let plain =
                    format!("{module}.plain.PlainLoginModule required {};", users.join(" "));
                set("plain.sasl.jaas.config", &plain);
                let scram = format!("{module}.scram.ScramLoginModule required;");
                set("scram-sha-256.sasl.jaas.config", &scram);
                set("scram-sha-512.sasl.jaas.config", &scram);
            }
        }
        let listeners = Door::ALL.map(|door| Listener {
            name: door.name(),
            protocol: door.protocol(),
            port: ports.door(door),
        });
        properties.extend(config::listeners(ports, &listeners));
        Ok(properties)
    }
}
