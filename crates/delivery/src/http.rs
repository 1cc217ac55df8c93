//! The HTTP client of the schema registry and Alertmanager: TLS by the OpenSSL that librdkafka
//! uses, without proxy or redirects.

use super::format::{Login, Password};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use ureq::http::header::HeaderValue;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

/// Longest error message of a server that is repeated, in characters.
const MESSAGE_LIMIT: usize = 300;

/// Creates a client that trusts the certificates in `ca_file`, else the system's. Errors name the
/// configuration section `section`.
pub(super) fn client(ca_file: Option<&Path>, section: &str) -> Result<ureq::Agent, String> {
    let roots = match ca_file {
        Some(path) => RootCerts::new_with_certs(&certificates(path, section)?),
        None => RootCerts::PlatformVerifier,
    };
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Callers follow redirects themselves: not every request may be repeated as a GET.
        .max_redirects(0)
        // librdkafka uses no proxy either.
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("dnscribe/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(agent.into())
}

/// Header for basic authentication (RFC 7617).
pub(super) fn basic(login: &Login, section: &str) -> Result<HeaderValue, String> {
    let basic = format!("{}:{}", login.username, login.password.0);
    let basic = format!("Basic {}", STANDARD.encode(basic));
    secret(&basic).ok_or_else(|| format!("{section}.username cannot be sent"))
}

/// Header for a bearer token (RFC 6750).
pub(super) fn bearer(token: &Password, section: &str) -> Result<HeaderValue, String> {
    secret(&format!("Bearer {}", token.0))
        .ok_or_else(|| format!("{section}.bearer_token_file holds what cannot be sent"))
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A server's error message in one line of limited length.
pub(super) fn error_message(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "it does not say why".into(),
        None => line,
    }
}

fn certificates(path: &Path, section: &str) -> Result<Vec<Certificate<'static>>, String> {
    let name = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| format!("cannot read {section}.ca_file {name}: {error}"))?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{section}.ca_file {name} is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(format!("{section}.ca_file {name} holds no certificate"));
    }
    Ok(certificates)
}
