//! A TLS handshake with a broker, and what is wrong with either side's certificate.

use super::super::super::KafkaConfig;
use super::Diagnosis;
use super::listener::Address;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{self, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::{X509, X509NameRef, X509Ref, X509StoreContextRef};
use std::fs;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};

// Verification results of OpenSSL (x509_vfy.h).
const EXPIRED: i32 = 10;
const WRONG_NAME: [i32; 2] = [62, 64];
/// No issuer, self-signed, self-signed in the chain, no local issuer, first not verifiable.
const UNKNOWN_ISSUER: [i32; 5] = [2, 18, 19, 20, 21];

/// Returns whether the client's keys are in PEM files or settings, so that a handshake can be made
/// without librdkafka.
pub(super) fn can_connect(config: &KafkaConfig) -> bool {
    let elsewhere =
        ["ssl.engine.location", "ssl.engine.id", "ssl.providers", "ssl.keystore.location"];
    elsewhere.iter().all(|name| config.option(name).is_none())
}

/// Result of a handshake.
pub(super) enum Handshake {
    Done(SslStream<TcpStream>),
    /// A certificate does not pass, or the broker has ended the handshake with an alert.
    Refused(Diagnosis),
    Failed,
    /// A configured file is not usable: librdkafka's error says why.
    Unconfigured,
}

/// Makes a handshake. Completes it even if the broker's certificate is rejected.
pub(super) fn handshake(config: &KafkaConfig, address: &Address, stream: TcpStream) -> Handshake {
    let flaw = Arc::new(OnceLock::new());
    let connected = session(config, address, &flaw).and_then(|ssl| SslStream::new(ssl, stream));
    let Ok(mut stream) = connected else { return Handshake::Unconfigured };
    let result = stream.connect();
    match (flaw.get().cloned(), result) {
        (Some(flaw), _) => Handshake::Refused(flaw),
        (None, Ok(())) => Handshake::Done(stream),
        (None, Err(error)) => match alert(&error) {
            Some(alert) => Handshake::Refused(refusal(config, address, &alert)),
            None => Handshake::Failed,
        },
    }
}

/// A TLS session with the configured files; `flaw` receives the first verification error.
fn session(
    config: &KafkaConfig,
    address: &Address,
    flaw: &Arc<OnceLock<Diagnosis>>,
) -> Result<Ssl, ErrorStack> {
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
    if let Some((chain, key)) = client_certificate(config).zip(client_key(config)) {
        let (own, issuers) = chain.split_first().ok_or_else(ErrorStack::get)?;
        builder.set_certificate(own)?;
        issuers.iter().try_for_each(|issuer| builder.add_extra_chain_cert(issuer.clone()))?;
        builder.set_private_key(&key)?;
    }
    let mut ssl = Ssl::new(&builder.build())?;
    let verifies = config.option("enable.ssl.certificate.verification") != Some("false");
    let checks_name =
        verifies && config.option("ssl.endpoint.identification.algorithm") != Some("none");
    match address.host().parse::<IpAddr>() {
        Ok(ip) if checks_name => ssl.param_mut().set_ip(ip)?,
        Ok(_) => {}
        Err(_) => {
            ssl.set_hostname(address.host())?;
            if checks_name {
                ssl.param_mut().set_host(address.host())?;
            }
        }
    }
    let (config, address, flaw) = (config.clone(), address.clone(), Arc::clone(flaw));
    ssl.set_verify_callback(SslVerifyMode::PEER, move |passes, store| {
        if verifies && !passes {
            // Later errors are consequences of the first.
            let _ = flaw.set(broker_certificate(&config, &address, store));
        }
        true
    });
    Ok(ssl)
}

/// The PEM in a file or directly in a setting.
fn pem(config: &KafkaConfig, location: &str, text: &str) -> Option<Vec<u8>> {
    let file = config.option(location).and_then(|path| fs::read(path).ok());
    file.or_else(|| config.option(text).map(|text| text.as_bytes().to_vec()))
}

fn client_certificate(config: &KafkaConfig) -> Option<Vec<X509>> {
    let pem = pem(config, "ssl.certificate.location", "ssl.certificate.pem")?;
    X509::stack_from_pem(&pem).ok().filter(|chain| !chain.is_empty())
}

fn client_key(config: &KafkaConfig) -> Option<PKey<Private>> {
    let pem = pem(config, "ssl.key.location", "ssl.key.pem")?;
    // Without a password OpenSSL would ask for it on the terminal.
    let password = config.option("ssl.key.password").unwrap_or_default();
    PKey::private_key_from_pem_passphrase(&pem, password.as_bytes()).ok()
}

/// Why the broker's certificate, or that of its authority, does not pass.
fn broker_certificate(
    config: &KafkaConfig,
    address: &Address,
    store: &X509StoreContextRef,
) -> Diagnosis {
    let (code, words) = (store.error().as_raw(), store.error().error_string());
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
    if code == EXPIRED {
        return Diagnosis::new(
            format!("{holder} expired on {}", certificate.not_after()),
            "renew that certificate, or correct this host's clock",
        );
    }
    if WRONG_NAME.contains(&code) {
        return Diagnosis::new(
            format!("{holder} is for {}, not for {}", names(certificate), address.host()),
            "name the broker as its certificate does, or have one issued for this name",
        );
    }
    if UNKNOWN_ISSUER.contains(&code) {
        let issuer = name(certificate.issuer_name());
        let trusted = match config.option("ssl.ca.location") {
            Some(file) if file != "probe" => file,
            _ if config.option("ssl.ca.pem").is_some() => "ssl.ca.pem",
            _ => "this system's certificates",
        };
        return Diagnosis::new(
            format!("{holder} is not trusted: its issuer ({issuer}) is not in {trusted}"),
            "set ssl.ca.location to the file with the certificate of that authority, if it is yours",
        );
    }
    Diagnosis::new(
        format!("{holder} does not pass: {words}"),
        "correct this host's clock, or have another certificate issued",
    )
}

/// Why the broker ends the handshake with an alert: mostly because of the client's certificate.
fn refusal(config: &KafkaConfig, address: &Address, alert: &str) -> Diagnosis {
    let about_certificate = ["certificate", "unknown ca", "handshake failure"]
        .iter()
        .any(|words| alert.contains(words));
    let chain = client_certificate(config);
    let own = chain.as_ref().and_then(|chain| chain.first());
    let source = config.option("ssl.certificate.location").unwrap_or("ssl.certificate.pem");
    let now = Asn1Time::days_from_now(0);
    match own {
        None if about_certificate => Diagnosis::new(
            format!("{address} asks for a client certificate, and none is configured"),
            "set ssl.certificate.location and ssl.key.location",
        ),
        Some(own) if now.is_ok_and(|now| *own.not_after() < now) => Diagnosis::new(
            format!("the client certificate ({source}) expired on {}", own.not_after()),
            "renew it, or correct this host's clock",
        ),
        Some(own) if about_certificate => Diagnosis::new(
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

/// The diagnosis of an alert in an error of reading or writing.
pub(super) fn refusal_in(
    config: &KafkaConfig,
    address: &Address,
    error: &io::Error,
) -> Option<Diagnosis> {
    let alert = error.get_ref()?.downcast_ref::<ssl::Error>().and_then(alert)?;
    Some(refusal(config, address, &alert))
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
        let address = || match name.ipaddress()?.len() {
            4 => <[u8; 4]>::try_from(name.ipaddress()?).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(name.ipaddress()?).ok().map(IpAddr::from),
        };
        name.dnsname().map(printable).or_else(|| address().map(|address| address.to_string()))
    });
    names.collect::<Vec<_>>().join(", ")
}

/// Replaces control characters in text from outside, for terminals and logs.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}
