//! TLS as the configuration has it: the files, the handshake, and what is wrong with either.

use super::super::super::KafkaConfig;
use super::Diagnosis;
use super::listener::Address;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameRef, X509Ref, X509StoreContextRef};
use std::fs;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

// OpenSSL's numbers (x509_vfy.h) for what we tell apart.
pub(super) const NOT_YET_VALID: i32 = 9;
pub(super) const EXPIRED: i32 = 10;
pub(super) const HOSTNAME_MISMATCH: i32 = 62;
pub(super) const ADDRESS_MISMATCH: i32 = 64;
/// No issuer, self-signed, self-signed above, no local issuer, cannot verify the first.
pub(super) const UNKNOWN_ISSUERS: [i32; 5] = [2, 18, 19, 20, 21];

/// What is wrong with a certificate that a broker showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) code: i32,
    pub(super) words: String,
    /// 0 for the broker's own, more for its issuers.
    pub(super) depth: u32,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// The names and addresses that it is for.
    pub(super) names: String,
    pub(super) not_before: String,
    pub(super) not_after: String,
}

impl Flaw {
    fn of(store: &X509StoreContextRef) -> Self {
        let error = store.error();
        let flaw = Self {
            code: error.as_raw(),
            words: error.error_string().to_owned(),
            depth: store.error_depth(),
            ..Self::default()
        };
        let Some(certificate) = store.current_cert() else { return flaw };
        Self {
            subject: name(certificate.subject_name()),
            issuer: name(certificate.issuer_name()),
            names: names(certificate),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
            ..flaw
        }
    }
}

/// The client's certificate with its key.
struct Identity {
    certificates: Vec<X509>,
    key: PKey<Private>,
    /// The setting and the file that it came from.
    source: String,
}

impl Identity {
    fn add_to(self, builder: &mut SslContextBuilder) -> Result<(), Diagnosis> {
        let Self { certificates, key, source } = self;
        let mut certificates = certificates.into_iter();
        let own = certificates.next().map_or(Ok(()), |own| builder.set_certificate(&own));
        own.and_then(|()| certificates.try_for_each(|issuer| builder.add_extra_chain_cert(issuer)))
            .map_err(|error| {
                let problem = format!("{source}: the certificate cannot be used: {error}");
                Diagnosis::new(problem, "have another one issued")
            })?;
        builder.set_private_key(&key).map_err(|_| {
            let problem = format!("{source}: the key does not belong to the certificate");
            Diagnosis::new(problem, "name certificate and key of the same pair")
        })
    }
}

/// The settings of a client that speaks TLS.
pub(super) struct Tls<'a> {
    config: &'a KafkaConfig,
}

impl<'a> Tls<'a> {
    /// Of a configuration with TLS, its keys being in files.
    pub(super) fn of(config: &'a KafkaConfig) -> Option<Self> {
        let elsewhere = ["ssl.engine.location", "ssl.engine.id", "ssl.providers"];
        let in_files = elsewhere.iter().all(|name| config.option(name).is_none());
        (config.has_tls() && in_files).then_some(Self { config })
    }

    /// What a handshake needs; where a file does not give it, why not.
    pub(super) fn context(&self) -> Result<SslContext, Diagnosis> {
        let internal = |error: ErrorStack| Diagnosis::vague(format!("cannot set up TLS: {error}"));
        let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(internal)?;
        self.add_authorities(&mut builder)?;
        if let Some(identity) = self.identity()? {
            identity.add_to(&mut builder)?;
        }
        Ok(builder.build())
    }

    fn add_authorities(&self, builder: &mut SslContextBuilder) -> Result<(), Diagnosis> {
        let remedy = "name a file with the certificate, as PEM, of the authority that issued the \
                      brokers' certificates";
        let config = self.config;
        match (config.option("ssl.ca.pem"), config.option("ssl.ca.location")) {
            (Some(pem), _) => add_pem(builder, pem.as_bytes())
                .map_err(|()| Diagnosis::new("ssl.ca.pem: no certificate in it", remedy)),
            (None, Some(path)) if path != "probe" => {
                if Path::new(path).is_dir() {
                    let added = builder.load_verify_locations(None, Some(Path::new(path)));
                    return added.map_err(|_| {
                        Diagnosis::new(format!("ssl.ca.location: cannot use {path}"), remedy)
                    });
                }
                let pem = read_file("ssl.ca.location", path)?;
                add_pem(builder, &pem).map_err(|()| {
                    let problem = format!("ssl.ca.location: {path} holds no certificate as PEM");
                    Diagnosis::new(problem, remedy)
                })
            }
            _ => builder.set_default_verify_paths().map_err(|error| {
                let problem = format!("this system's certificates cannot be read: {error}");
                Diagnosis::new(problem, "install ca-certificates, or set ssl.ca.location")
            }),
        }
    }

    /// The client's certificate and key, where some are configured.
    fn identity(&self) -> Result<Option<Identity>, Diagnosis> {
        let config = self.config;
        if let Some(path) = config.option("ssl.keystore.location") {
            return self.keystore(path).map(Some);
        }
        let from = |location, pem| match (config.option(location), config.option(pem)) {
            (Some(path), _) => {
                let source = format!("{location}: {path}");
                read_file(location, path).map(|octets| Some((source, octets)))
            }
            (None, Some(text)) => Ok(Some((pem.to_owned(), text.as_bytes().to_vec()))),
            (None, None) => Ok(None),
        };
        let certificate = from("ssl.certificate.location", "ssl.certificate.pem")?;
        let key = from("ssl.key.location", "ssl.key.pem")?;
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(None),
            (Some((source, _)), None) | (None, Some((source, _))) => {
                let problem = format!("{source}: there is only one of certificate and key");
                let remedy = "set both ssl.certificate.location and ssl.key.location";
                return Err(Diagnosis::new(problem, remedy));
            }
        };
        let (source, pem) = certificate;
        let certificates = X509::stack_from_pem(&pem).unwrap_or_default();
        if certificates.is_empty() {
            let problem = format!("{source} holds no certificate as PEM");
            return Err(Diagnosis::new(problem, "name the client's certificate, as PEM"));
        }
        let key = self.key(&key.0, &key.1)?;
        Ok(Some(Identity { certificates, key, source }))
    }

    fn key(&self, source: &str, pem: &[u8]) -> Result<PKey<Private>, Diagnosis> {
        let password = self.config.option("ssl.key.password");
        let mut asked = false;
        let key = PKey::private_key_from_pem_callback(pem, |room| {
            asked = true;
            let password = password.unwrap_or_default().as_bytes();
            let length = password.len().min(room.len());
            room[..length].copy_from_slice(&password[..length]);
            Ok(length)
        });
        key.map_err(|_| match (asked, password) {
            (false, _) => Diagnosis::new(
                format!("{source} holds no private key as PEM"),
                "name the key of the client's certificate, as PEM",
            ),
            (true, None) => Diagnosis::new(
                format!("{source} is encrypted, and there is no password for it"),
                "set ssl.key.password, in kafka.option_files say",
            ),
            (true, Some(_)) => Diagnosis::new(
                format!("{source} cannot be decrypted with ssl.key.password"),
                "correct ssl.key.password",
            ),
        })
    }

    fn keystore(&self, path: &str) -> Result<Identity, Diagnosis> {
        let octets = read_file("ssl.keystore.location", path)?;
        let password = self.config.option("ssl.keystore.password").unwrap_or_default();
        let parsed = Pkcs12::from_der(&octets).and_then(|store| store.parse2(password));
        let content = parsed.ok().and_then(|parsed| {
            let issuers = parsed.ca.into_iter().flatten();
            Some((std::iter::once(parsed.cert?).chain(issuers).collect(), parsed.pkey?))
        });
        let source = format!("ssl.keystore.location: {path}");
        let Some((certificates, key)) = content else {
            let problem = format!(
                "{source} gives no certificate and key: it is no PKCS #12, or ssl.keystore.password \
                 is wrong"
            );
            return Err(Diagnosis::new(problem, "correct either"));
        };
        Ok(Identity { certificates, key, source })
    }
}

fn add_pem(builder: &mut SslContextBuilder, pem: &[u8]) -> Result<(), ()> {
    let certificates = X509::stack_from_pem(pem).map_err(|_| ())?;
    if certificates.is_empty() {
        return Err(());
    }
    certificates
        .into_iter()
        .try_for_each(|one| builder.cert_store_mut().add_cert(one))
        .map_err(|_| ())
}

fn read_file(setting: &str, path: &str) -> Result<Vec<u8>, Diagnosis> {
    fs::read(path).map_err(|error| {
        let problem = format!("{setting}: cannot read {path}: {error}");
        Diagnosis::new(problem, "correct the path, or let this user read the file")
    })
}

/// How a handshake went.
pub(super) enum Shake {
    /// Well.
    Done(SslStream<TcpStream>),
    /// The broker's certificate does not pass.
    Flawed(Flaw),
    /// The broker ended it with this alert.
    Alert(String),
    /// Otherwise.
    Failed,
}

/// Makes a handshake, to its end even where the broker's certificate does not pass.
pub(super) fn shake(
    context: &SslContext,
    config: &KafkaConfig,
    address: &Address,
    stream: TcpStream,
) -> Shake {
    let (certificate, names) = config.verifies();
    let flaws = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&flaws);
    let ssl = Ssl::new(context).and_then(|mut ssl| {
        match address.host().parse::<IpAddr>() {
            Ok(ip) if names => ssl.param_mut().set_ip(ip)?,
            Ok(_) => {}
            Err(_) => {
                ssl.set_hostname(address.host())?;
                if names {
                    ssl.param_mut().set_host(address.host())?;
                }
            }
        }
        ssl.set_verify_callback(SslVerifyMode::PEER, move |passes, store| {
            if certificate && !passes {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(Flaw::of(store));
            }
            true
        });
        Ok(ssl)
    });
    let Ok(mut stream) = ssl.and_then(|ssl| SslStream::new(ssl, stream)) else {
        return Shake::Failed;
    };
    let shaken = stream.connect();
    // An issuer that is not known makes further flaws, which say less.
    let flaw = flaws.lock().unwrap_or_else(PoisonError::into_inner).first().cloned();
    match (flaw, shaken) {
        (Some(flaw), _) => Shake::Flawed(flaw),
        (None, Ok(())) => Shake::Done(stream),
        (None, Err(error)) => alert(&error).map_or(Shake::Failed, Shake::Alert),
    }
}

/// Whether somebody who speaks TLS is at the other end.
pub(super) fn speaks(stream: TcpStream) -> bool {
    let context = SslContext::builder(SslMethod::tls_client()).map(SslContextBuilder::build);
    let stream = context.and_then(|context| SslStream::new(Ssl::new(&context)?, stream));
    stream.is_ok_and(|mut stream| match stream.connect() {
        Ok(()) => true,
        Err(error) => alert(&error).is_some(),
    })
}

/// The alert in an error: the other side's reason to end.
fn alert(error: &ssl::Error) -> Option<String> {
    let reasons = error.ssl_error()?.errors().iter().filter_map(openssl::error::Error::reason);
    reasons.into_iter().find(|reason| reason.contains(" alert ")).map(str::to_owned)
}

/// As [`alert`], in an error of reading or writing.
pub(super) fn alert_in(error: &io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<ssl::Error>().and_then(alert)
}

/// Why the broker ends the handshake with an alert: mostly for this client's certificate.
pub(super) fn refusal(config: &KafkaConfig, address: &Address, alert: &str) -> Diagnosis {
    let identity = match (Tls { config }).identity() {
        Ok(identity) => identity,
        Err(unusable) => return unusable,
    };
    let about_certificate = alert.contains("certificate")
        || alert.contains("unknown ca")
        || alert.contains("handshake failure");
    let own = identity.as_ref().and_then(|own| Some((own.certificates.first()?, &own.source)));
    match own {
        None if about_certificate => Diagnosis::new(
            format!("{address} asks for a client certificate, and none is configured"),
            "set ssl.certificate.location and ssl.key.location",
        ),
        Some((own, source)) if is_past(own.not_after()) => Diagnosis::new(
            format!("the client certificate ({source}) expired on {}", own.not_after()),
            "renew it, or correct this host's clock",
        ),
        Some((own, source)) if !is_past(own.not_before()) => Diagnosis::new(
            format!("the client certificate ({source}) is not valid before {}", own.not_before()),
            "wait, or correct this host's clock",
        ),
        Some((own, source)) if about_certificate => Diagnosis::new(
            format!(
                "{address} refuses the client certificate ({source}: {}, issued by {}): {alert}",
                name(own.subject_name()),
                name(own.issuer_name()),
            ),
            "have one issued for TLS clients by an authority that the broker trusts",
        ),
        _ => Diagnosis::new(
            format!("{address} ends the TLS handshake: {alert}"),
            "see the broker's log, and its TLS versions and ciphers",
        ),
    }
}

fn is_past(time: &Asn1TimeRef) -> bool {
    Asn1Time::days_from_now(0).is_ok_and(|now| *time < now)
}

/// A name such as `CN=broker, O=Example`.
fn name(name: &X509NameRef) -> String {
    let parts = name.entries().map(|entry| {
        let kind = entry.object().nid().short_name().unwrap_or("?");
        let value = entry.data().to_string().map(|text| visible(&text)).unwrap_or_default();
        format!("{kind}={value}")
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What a certificate is for: its alternative names, else its subject.
fn names(certificate: &X509Ref) -> String {
    let Some(names) = certificate.subject_alt_names() else {
        return name(certificate.subject_name());
    };
    let names = names.iter().filter_map(|name| {
        let address = || match name.ipaddress()?.len() {
            4 => <[u8; 4]>::try_from(name.ipaddress()?).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(name.ipaddress()?).ok().map(IpAddr::from),
        };
        name.dnsname().map(visible).or_else(|| address().map(|address| address.to_string()))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Text from outside without what would disturb a terminal or a log.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
