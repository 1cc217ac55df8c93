//! The HTTP client of the schema registry, Alertmanager and stores: TLS by the OpenSSL that librdkafka
//! uses, without proxy or redirects.

use super::Authorization;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use ureq::http::{HeaderMap, Request, StatusCode};

pub use ureq::http::Method;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

/// What to do where a client cannot be created.
pub(crate) const CORRECT_SETTING: &str = "correct this setting";

/// Longest error message of a server that is repeated, in characters.
const MESSAGE_LIMIT: usize = 300;

/// Why a server gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// What happened.
    pub why: String,
    /// What to do about it, if the cause is clear.
    pub remedy: Option<String>,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_remedy(&self.why, self.remedy.as_deref()))
    }
}

impl From<NoAnswer> for String {
    fn from(error: NoAnswer) -> Self {
        error.why
    }
}

/// A problem and its remedy as one sentence.
pub(crate) fn with_remedy(why: &str, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) => format!("{why}; {remedy}"),
        None => why.to_owned(),
    }
}

/// A cause that the message of a library names.
struct Cause {
    /// Words in the message.
    words: &'static str,
    meaning: &'static str,
    remedy: &'static str,
}

const NO_HTTP: &str =
    "use https:// if it speaks TLS there, grpc:// if it is a port of gRPC, or its port for HTTP";
const NO_GRPC: &str =
    "use grpcs:// if it speaks TLS there, http:// if it is its port for HTTP, or its port for gRPC";

const CLOSED: &str = "see its log; use https:// (grpcs:// for gRPC) if it speaks TLS there";

/// The commonest causes, in the words of OpenSSL, ureq and h2.
const CAUSES: [Cause; 7] = [
    Cause {
        words: "wrong version number",
        meaning: "the server does not speak TLS there",
        remedy: "use its port for TLS; without one, a URL without TLS on a trusted network",
    },
    Cause {
        words: "no application protocol",
        meaning: "the server does not speak gRPC there",
        remedy: NO_GRPC,
    },
    Cause {
        words: "invalid HTTP version",
        meaning: "the server does not answer in HTTP/1 there",
        remedy: NO_HTTP,
    },
    Cause {
        words: "Peer disconnected",
        meaning: "the server closes the connection",
        remedy: CLOSED,
    },
    Cause {
        words: "frame with invalid size",
        meaning: "the server does not speak gRPC there",
        remedy: NO_GRPC,
    },
    Cause {
        words: "because of a broken pipe",
        meaning: "the server closes the connection",
        remedy: CLOSED,
    },
    Cause {
        words: "not a result of an error",
        meaning: "the server ends the connection (GOAWAY)",
        remedy: "see its log",
    },
];

/// Explains in plain words why there is no answer, and what would help. `section`: the configuration of the server.
pub(crate) fn explain(section: &str, error: &str) -> NoAnswer {
    if error.contains("certificate verify failed") {
        // The result of the verification is behind OpenSSL's own words.
        let reason = error.rsplit_once('(').and_then(|(_, reason)| reason.strip_suffix(')'));
        let remedy = format!(
            "set {section}.ca_file to the file with the certificate of its authority, and use a name that the certificate has; \
             `openssl s_client -connect HOST:PORT` shows both"
        );
        let why = format!("certificate verify failed: {}", reason.unwrap_or(error));
        return NoAnswer { why, remedy: Some(remedy) };
    }
    match CAUSES.iter().find(|cause| error.contains(cause.words)) {
        Some(Cause { words, meaning, remedy }) => {
            NoAnswer { why: format!("{meaning} ({words})"), remedy: Some((*remedy).to_owned()) }
        }
        None => NoAnswer { why: error.to_owned(), remedy: None },
    }
}

/// A client of servers of one kind.
pub struct HttpClient {
    section: &'static str,
    agent: ureq::Agent,
    authorization: Option<HeaderValue>,
    headers: HeaderMap,
    /// What no message may repeat.
    secrets: Vec<String>,
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
        section: &'static str,
        ca_file: Option<&Path>,
        authorization: Option<&Authorization>,
        media_type: &'static str,
        limit: u64,
    ) -> Result<Self, String> {
        let agent = agent(section, ca_file)?;
        let authorization = authorization.map(|given| header(given, section)).transpose()?;
        let secrets = authorization.iter().filter_map(secret).collect();
        let headers = HeaderMap::new();
        Ok(Self { section, agent, authorization, headers, secrets, media_type, limit })
    }

    /// Sends `headers` with each request.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.secrets.extend(headers.values().filter_map(secret));
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
    ) -> Result<Response, NoAnswer> {
        let no_answer = |error: &dyn fmt::Display| explain(self.section, &error.to_string());
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
        let request = request.body(body.to_vec()).map_err(|error| no_answer(&error))?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        let mut response = self.agent.run(request).map_err(|error| no_answer(&error))?;
        let body = response.body_mut().with_config().limit(self.limit).read_to_vec();
        let (mut body, status) = (body.map_err(|error| no_answer(&error))?, response.status());
        if !status.is_success() {
            // Some servers repeat the request in their error message, which goes to the log.
            mask(&mut body, &self.secrets);
        }
        Ok(Response {
            status,
            location: response.headers().get(LOCATION).cloned(),
            retry_after: retry_after(response.headers()),
            media_type: response.headers().get(CONTENT_TYPE).cloned(),
            body,
        })
    }
}

/// Reads after which time to try again (RFC 9110, 10.2.3): seconds, or a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    wait(headers.get(RETRY_AFTER)?.to_str().ok()?.trim(), Timestamp::now())
}

fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit()) {
        // More than a century is as good as any greater number.
        let seconds = text.parse::<u32>().unwrap_or(u32::MAX);
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = rfc2822::parse(text).ok()?.timestamp().duration_since(now);
    // A date in the past allows to try again at once.
    Some(Duration::try_from(until).unwrap_or_default())
}

/// Returns what is secret in a header: all of it, or what follows the scheme; none if it is not marked as sensitive.
#[must_use]
pub fn secret(header: &HeaderValue) -> Option<String> {
    let text = header.is_sensitive().then(|| String::from_utf8_lossy(header.as_bytes()))?;
    let schemes = ["Bearer ", "Basic "];
    let secret = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(&text);
    Some(secret.to_owned())
}

/// Shortest secret that is masked: a shorter text is in every other word.
const SHORTEST_SECRET: usize = 4;

/// Overwrites secrets in what a server has said, also where `/` is escaped, as some do in JSON. The length stays, and so a
/// binary message can still be read.
pub fn mask(said: &mut [u8], secrets: &[String]) {
    let escaped = secrets.iter().map(|secret| secret.replace('/', "\\/"));
    let mut all: Vec<String> = secrets.iter().cloned().chain(escaped).collect();
    // One may be a part of another.
    all.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in all.iter().filter(|secret| secret.len() >= SHORTEST_SECRET) {
        let mut start = 0;
        while let Some(found) =
            said[start..].windows(secret.len()).position(|part| part == secret.as_bytes())
        {
            start += found;
            said[start..start + secret.len()].fill(b'*');
            start += secret.len();
        }
    }
}

/// Overwrites what is secret in `headers` in what a server has said.
pub(crate) fn masked(said: String, headers: &HeaderMap) -> String {
    let secrets: Vec<String> = headers.values().filter_map(secret).collect();
    let mut said = said.into_bytes();
    mask(&mut said, &secrets);
    String::from_utf8_lossy(&said).into_owned()
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

/// Reads trusted certificates.
pub(crate) fn certificates(
    path: &Path,
    section: &str,
) -> Result<Vec<Certificate<'static>>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explains_errors_of_connections() {
        let remedy = |error: &str| explain("otlp", error).remedy.unwrap_or_default();
        for Cause { words, meaning, remedy } in &CAUSES {
            let found = explain("otlp", &format!("error:0A00010B:{words}:../ssl/record.c:350:"));
            assert_eq!(found.why, format!("{meaning} ({words})"));
            assert_eq!(found.remedy.as_deref(), Some(*remedy), "{words}");
        }
        let verified =
            "error:0A000086:certificate verify failed:../x.c:1889: (IP address mismatch)";
        assert_eq!(explain("otlp", verified).why, "certificate verify failed: IP address mismatch");
        assert!(remedy(verified).contains("otlp.ca_file"));
        let other = explain("otlp", "Connection refused (os error 111)");
        assert_eq!((other.to_string(), other.remedy), (other.why.clone(), None));
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let now: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("99999999999999999999999", Some(u64::from(u32::MAX))),
            ("Sun, 01 Mar 2026 10:02:00 GMT", Some(120)),
            ("Sun, 01 Mar 2026 09:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("soon", None),
        ] {
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn secrets_that_a_server_repeats_are_masked() {
        let secrets = ["to/ken".to_owned(), "key=to/ken&page=2".to_owned(), "abc".to_owned()];
        for (said, expected) in [
            ("you sent: Bearer to/ken?", "you sent: Bearer ******?"),
            ("to\\/kento/ken", "*************"),
            ("/echo?key=to/ken&page=2", "/echo?*****************"),
            ("no abc to", "no abc to"),
            ("", ""),
        ] {
            let mut bytes = said.as_bytes().to_vec();
            mask(&mut bytes, &secrets);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
        let header = |text: &'static str, is_sensitive: bool| {
            let mut header = HeaderValue::from_static(text);
            header.set_sensitive(is_sensitive);
            secret(&header)
        };
        assert_eq!(header("Bearer t0ken", true).as_deref(), Some("t0ken"));
        assert_eq!(header("t0ken", true).as_deref(), Some("t0ken"));
        assert_eq!(header("text/plain", false), None);
    }
}
