//! A TLS handshake with a broker, and what is wrong with either side's certificate.

use super::Diagnosis;
use super::listener::Listener;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameRef, X509Ref, X509StoreContextRef};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};

impl Listener {
    /// Makes a handshake; completes it even if the broker's certificate is rejected. `None` if a
    /// configured file is not usable: librdkafka's error says why.
    ///
    /// # Errors
    /// A certificate does not pass, the broker ends the handshake with an alert, or it is no TLS.
    pub(super) fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<Option<SslStream<TcpStream>>, Diagnosis> {
        let flaw = Arc::new(OnceLock::new());
        let connected = self.session(&flaw).and_then(|ssl| SslStream::new(ssl, stream));
        let Ok(mut stream) = connected else { return Ok(None) };
        let result = stream.connect();
        match (flaw.get().cloned(), result) {
            (Some(flaw), _) => Err(flaw),
            (None, Ok(())) => Ok(Some(stream)),
            (None, Err(error)) => {
                Err(alert(&error).map_or_else(|| self.without_tls(), |alert| self.refusal(&alert)))
            }
        }
    }

    /// A TLS session with the configured files; `flaw` receives the first verification error.
    fn session(&self, flaw: &Arc<OnceLock<Diagnosis>>) -> Result<Ssl, ErrorStack> {
        let (config, host) = (&self.config, self.address.host());
        let mut builder = SslContext::builder(SslMethod::tls_client())?;
        match (config.option("ssl.ca.pem"), config.option("ssl.ca.location")) {
            (Some(pem), _) => {
                for authority in X509::stack_from_pem(pem.as_bytes())? {
                    builder.cert_store_mut().add_cert(authority)?;
                }
            }
            (None, Some(path)) if path != "probe" => {
                let path = Path::new(path);
                let (file, directory) =
                    if path.is_dir() { (None, Some(path)) } else { (Some(path), None) };
                builder.load_verify_locations(file, directory)?;
            }
            _ => builder.set_default_verify_paths()?,
        }
        if let Some((chain, key)) = self.client_certificate().zip(self.client_key()) {
            let (own, issuers) = chain.split_first().ok_or_else(ErrorStack::get)?;
            builder.set_certificate(own)?;
            issuers.iter().try_for_each(|issuer| builder.add_extra_chain_cert(issuer.clone()))?;
            builder.set_private_key(&key)?;
        }
        let mut ssl = Ssl::new(&builder.build())?;
        let verifies = config.option("enable.ssl.certificate.verification") != Some("false");
        let checks_name =
            verifies && config.option("ssl.endpoint.identification.algorithm") != Some("none");
        let ip = host.parse::<IpAddr>();
        if ip.is_err() {
            ssl.set_hostname(host)?;
        }
        match ip {
            _ if !checks_name => {}
            Ok(ip) => ssl.param_mut().set_ip(ip)?,
            Err(_) => ssl.param_mut().set_host(host)?,
        }
        let (listener, flaw) = (self.clone(), Arc::clone(flaw));
        ssl.set_verify_callback(SslVerifyMode::PEER, move |passes, store| {
            if verifies && !passes {
                // Later errors are consequences of the first.
                let _ = flaw.set(listener.broker_certificate(store));
            }
            true
        });
        Ok(ssl)
    }

    fn pem(&self, location: &str, text: &str) -> Option<Vec<u8>> {
        let file =
            self.config.option(location).and_then(|path| crate::files::read(Path::new(path)).ok());
        file.or_else(|| self.config.option(text).map(|text| text.as_bytes().to_vec()))
    }

    fn client_certificate(&self) -> Option<Vec<X509>> {
        let pem = self.pem("ssl.certificate.location", "ssl.certificate.pem")?;
        X509::stack_from_pem(&pem).ok().filter(|chain| !chain.is_empty())
    }

    fn client_key(&self) -> Option<PKey<Private>> {
        let pem = self.pem("ssl.key.location", "ssl.key.pem")?;
        // Without a password OpenSSL would ask for it on the terminal.
        let password = self.config.option("ssl.key.password").unwrap_or_default();
        PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()).ok()
    }

    /// Why the broker's certificate, or that of its authority, does not pass.
    fn broker_certificate(&self, store: &X509StoreContextRef) -> Diagnosis {
        let address = &self.address;
        let words = store.error().error_string();
        let Some(certificate) = store.current_cert() else {
            return Diagnosis::new(
                format!("the certificate of {address} does not pass: {words}"),
                "have the broker's administrator check its certificate",
            );
        };
        let subject = name(certificate.subject_name());
        let holder = if store.error_depth() == 0 {
            format!("the certificate of {address} ({subject})")
        } else {
            format!("the authority's certificate ({subject}) behind that of {address}")
        };
        // Verification results of OpenSSL (x509_vfy.h).
        let (problem, remedy) = match store.error().as_raw() {
            10 => (
                format!("{holder} expired on {}", certificate.not_after()),
                "renew that certificate, or correct this host's clock",
            ),
            // Another host name, or another IP address.
            62 | 64 => (
                format!("{holder} is for {}, not for {}", names(certificate), address.host()),
                "name the broker as its certificate does, or have one issued for this name",
            ),
            // No issuer, self-signed, self-signed in the chain, no local issuer, first not
            // verifiable.
            2 | 18..=21 => {
                let issuer = name(certificate.issuer_name());
                let trusted = match self.config.option("ssl.ca.location") {
                    Some(file) if file != "probe" => file,
                    _ if self.config.option("ssl.ca.pem").is_some() => "ssl.ca.pem",
                    _ => "this system's certificates",
                };
                (
                    format!("{holder} is not trusted: its issuer ({issuer}) is not in {trusted}"),
                    "set ssl.ca.location to the file with the certificate of that authority, if it \
                     is yours",
                )
            }
            _ => (
                format!("{holder} does not pass: {words}"),
                "correct this host's clock, or have another certificate issued",
            ),
        };
        Diagnosis::new(problem, remedy)
    }

    /// Why the broker ends the handshake with an alert: mostly because of the client's certificate.
    fn refusal(&self, alert: &str) -> Diagnosis {
        let address = &self.address;
        let about_certificate = ["certificate", "unknown ca", "handshake failure"]
            .iter()
            .any(|words| alert.contains(words));
        let chain = self.client_certificate();
        let source =
            self.config.option("ssl.certificate.location").unwrap_or("ssl.certificate.pem");
        let now = Asn1Time::days_from_now(0);
        let (problem, remedy) = match chain.as_ref().and_then(|chain| chain.first()) {
            None if about_certificate => (
                format!("{address} asks for a client certificate, and none is configured"),
                "set ssl.certificate.location and ssl.key.location",
            ),
            Some(own) if now.is_ok_and(|now| *own.not_after() < now) => (
                format!("the client certificate ({source}) expired on {}", own.not_after()),
                "renew it, or correct this host's clock",
            ),
            Some(own) if about_certificate => (
                format!(
                    "{address} refuses the client certificate ({source}: {}, issued by {}): {alert}",
                    name(own.subject_name()),
                    name(own.issuer_name()),
                ),
                "have one issued for TLS clients by an authority that the broker trusts",
            ),
            _ => (
                format!("{address} ends the TLS handshake: {alert}"),
                "see the broker's log, and its TLS versions and ciphers",
            ),
        };
        Diagnosis::new(problem, remedy)
    }

    /// The diagnosis of an alert in an error of reading or writing.
    pub(super) fn refusal_in(&self, error: &io::Error) -> Option<Diagnosis> {
        let alert = error.get_ref()?.downcast_ref::<ssl::Error>().and_then(alert)?;
        Some(self.refusal(&alert))
    }
}

/// Returns whether the other end of a connection speaks TLS.
pub(super) fn speaks(stream: TcpStream) -> bool {
    let context = SslContext::builder(SslMethod::tls_client()).map(SslContextBuilder::build);
    let stream = context.and_then(|context| SslStream::new(Ssl::new(&context)?, stream));
    stream.is_ok_and(|mut stream| match stream.connect() {
        Ok(()) => true,
        Err(error) => alert(&error).is_some(),
    })
}

/// The alert with which the other side ended the handshake.
fn alert(error: &ssl::Error) -> Option<String> {
    let mut reasons = error.ssl_error()?.errors().iter().filter_map(openssl::error::Error::reason);
    reasons.find(|reason| reason.contains(" alert ")).map(str::to_owned)
}

/// A distinguished name such as `CN=broker, O=Example`.
fn name(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let kind = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().map(|text| printable(&text)).unwrap_or_default();
        format!("{kind}={value}")
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The alternative names of a certificate, else its subject.
fn names(certificate: &X509Ref) -> String {
    let Some(names) = certificate.subject_alt_names() else {
        return name(certificate.subject_name());
    };
    let names = names.iter().filter_map(|name| {
        let address = || {
            let bytes = name.ipaddress()?;
            let ip = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
        };
        name.dnsname().map(printable).or_else(|| address().map(|address| address.to_string()))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Replaces control characters in text from outside, for terminals and logs.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
