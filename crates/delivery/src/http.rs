//! The HTTP client of the schema registry, Alertmanager and stores: TLS by the OpenSSL that librdkafka
//! uses, without proxy or redirects.

use super::Authorization;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::path::Path;
use std::time::Duration;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, Request, StatusCode};

pub use ureq::http::Method;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

/// Longest error message of a server that is repeated, in characters.
const MESSAGE_LIMIT: usize = 300;

/// A client of servers of one kind.
pub struct HttpClient {
    agent: ureq::Agent,
    authorization: Option<HeaderValue>,
    headers: HeaderMap,
    media_type: &'static str,
    /// Largest response body in bytes.
    limit: u64,
}

/// Answer of a server.
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Where a redirect leads to.
    pub location: Option<HeaderValue>,
    /// After which time to try again, if the server says so.
    pub retry_after: Option<Duration>,
    /// Media type of the body, if the server says so.
    pub media_type: Option<HeaderValue>,
    /// Body, up to the client's limit.
    pub body: Vec<u8>,
}

/// Creates a client that trusts the certificates in `ca_file`, else the system's. Errors name the configuration
/// section `section`.
///
/// # Errors
/// The certificates cannot be used.
pub fn agent(section: &str, ca_file: Option<&Path>) -> Result<ureq::Agent, String> {
    let roots = match ca_file {
        Some(path) => RootCerts::new_with_certs(&certificates(path, section)?),
        None => RootCerts::PlatformVerifier,
    };
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // Callers follow redirects themselves: not every request may be repeated as a GET.
        .max_redirects(0)
        // librdkafka uses no proxy either.
        .proxy(None)
        .tls_config(tls)
        .user_agent(concat!("dnscribe/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().into())
}

impl HttpClient {
    /// Creates a client that trusts the certificates in `ca_file`, else the system's. Errors name
    /// the configuration section `section`.
    ///
    /// # Errors
    /// The certificates or the credentials cannot be used.
    pub fn new(
        section: &str,
        ca_file: Option<&Path>,
        authorization: Option<&Authorization>,
        media_type: &'static str,
        limit: u64,
    ) -> Result<Self, String> {
        let agent = agent(section, ca_file)?;
        let authorization = authorization.map(|given| header(given, section)).transpose()?;
        Ok(Self { agent, authorization, headers: HeaderMap::new(), media_type, limit })
    }

    /// Sends `headers` with each request.
    #[must_use]
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// Sends a request with the credentials if it is `trusted`. Errors of the server are responses.
    ///
    /// # Errors
    /// There is no response.
    pub fn send(
        &self,
        method: &Method,
        uri: &str,
        body: &[u8],
        timeout: Duration,
        trusted: bool,
    ) -> Result<Response, String> {
        let mut request =
            Request::builder().method(method).uri(uri).header(ACCEPT, self.media_type);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| trusted) {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, self.media_type);
        }
        if let Some(all) = request.headers_mut() {
            all.extend(self.headers.clone());
        }
        let request = request.body(body.to_vec()).map_err(|error| error.to_string())?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        let mut response = self.agent.run(request).map_err(|error| error.to_string())?;
        let body = response.body_mut().with_config().limit(self.limit).read_to_vec();
        Ok(Response {
            status: response.status(),
            location: response.headers().get(LOCATION).cloned(),
            retry_after: retry_after(response.headers()),
            media_type: response.headers().get(CONTENT_TYPE).cloned(),
            body: body.map_err(|error| error.to_string())?,
        })
    }
}

/// Reads after which time to try again: seconds; dates, which no server of telemetry sends, are no time.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Returns the header of credentials, for errors that name the configuration section `section`.
pub(crate) fn header(authorization: &Authorization, section: &str) -> Result<HeaderValue, String> {
    let (text, setting) = match authorization {
        Authorization::Basic(login) => {
            let basic = STANDARD.encode(format!("{}:{}", login.username, login.password.0));
            (format!("Basic {basic}"), "username cannot be sent")
        }
        Authorization::Bearer(token) => {
            (format!("Bearer {}", token.0), "bearer_token_file holds what cannot be sent")
        }
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| format!("{section}.{setting}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns a server's error message in one line of limited length.
#[must_use]
pub fn error_message(said: &str) -> String {
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
    let pem = crate::files::read(path)
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
