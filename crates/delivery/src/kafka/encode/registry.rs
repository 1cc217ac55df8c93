//! Client of a schema registry with Confluent's API.

use crate::http::{self, Response};
use crate::{Authorization, RegistryConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use ureq::http::header::HeaderValue;
use ureq::http::{Method, StatusCode, Uri};

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// Most redirects of a request.
const REDIRECTS: usize = 5;
/// Largest response body in bytes.
const BODY_LIMIT: u64 = 4 << 20;
const SECTION: &str = "kafka.registry";

pub(super) struct Registry {
    http: http::HttpClient,
    pub(super) url: String,
    timeout: Duration,
}

impl Registry {
    /// Creates a client. Reads the trusted certificates; sends no request.
    pub(super) fn new(config: &RegistryConfig) -> Result<Self, String> {
        let RegistryConfig { url, login, ca_file, timeout } = config;
        let login = login.clone().map(Authorization::Basic);
        let (ca_file, login) = (ca_file.as_deref(), login.as_ref());
        let http = http::HttpClient::new(SECTION, ca_file, login, MEDIA_TYPE, BODY_LIMIT)?;
        Ok(Self { http, url: url.clone(), timeout: *timeout })
    }

    /// The time limit of requests that begin now.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Registers a schema under a subject unless it is registered already. Returns its id.
    pub(super) fn register(
        &self,
        subject: &str,
        schema: &str,
        deadline: Instant,
    ) -> Result<u32, String> {
        #[derive(Deserialize)]
        struct Registered {
            id: u32,
        }
        let path = format!("/subjects/{subject}/versions");
        let answer =
            self.send(&Method::POST, &path, Some(&json!({ "schema": schema })), deadline)?;
        if answer.status == StatusCode::CONFLICT {
            return Err(format!(
                "the schema registry {} does not accept the schema as a version of subject \
                 {subject}: {}",
                self.url,
                error_message(&answer)
            ));
        }
        let registered: Registered = self.parse(&answer)?;
        Ok(registered.id)
    }

    /// Fetches the schema with an id; `None` if the registry does not know it.
    pub(super) fn schema(&self, id: u32) -> Result<Option<Value>, String> {
        #[derive(Deserialize)]
        struct Stored {
            schema: String,
        }
        let answer =
            self.send(&Method::GET, &format!("/schemas/ids/{id}"), None, self.deadline())?;
        if is_not_found(&answer) {
            return Ok(None);
        }
        let stored: Stored = self.parse(&answer)?;
        serde_json::from_str(&stored.schema).map(Some).map_err(|error| {
            format!("schema {id} of the registry {} is not JSON: {error}", self.url)
        })
    }

    /// Checks whether a schema could be registered under a subject. Registers nothing.
    pub(super) fn compatible(
        &self,
        subject: &str,
        schema: &str,
        deadline: Instant,
    ) -> Result<bool, String> {
        #[derive(Deserialize)]
        struct Verdict {
            is_compatible: bool,
        }
        let path = format!("/compatibility/subjects/{subject}/versions/latest");
        let answer =
            self.send(&Method::POST, &path, Some(&json!({ "schema": schema })), deadline)?;
        if is_not_found(&answer) {
            // Without an earlier version every schema is compatible.
            return Ok(true);
        }
        let verdict: Verdict = self.parse(&answer)?;
        Ok(verdict.is_compatible)
    }

    fn parse<'a, T: Deserialize<'a>>(&self, answer: &'a Response) -> Result<T, String> {
        if !answer.status.is_success() {
            let remedy = match answer.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "; see kafka.registry.username and password"
                }
                StatusCode::NOT_FOUND => "; see kafka.registry.url",
                _ => "",
            };
            let (status, error_message) = (answer.status.as_u16(), error_message(answer));
            return Err(format!(
                "the schema registry {} answers {status}: {error_message}{remedy}",
                self.url
            ));
        }
        serde_json::from_slice(&answer.body).map_err(|error| {
            format!("{} does not answer as a schema registry does ({error})", self.url)
        })
    }

    /// Sends a request and follows redirects.
    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        deadline: Instant,
    ) -> Result<Response, String> {
        let failed = |why: &dyn std::fmt::Display| {
            format!("no answer from the schema registry {}: {why}", self.url)
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let first: Uri = format!("{}{path}", self.url).parse().map_err(|why| failed(&why))?;
        let mut uri = first.clone();
        for _ in 0..=REDIRECTS {
            let left = deadline.saturating_duration_since(Instant::now());
            // ureq treats zero as no limit.
            let left = left.max(Duration::from_millis(1));
            let ours = same_origin(&first, &uri);
            let answer = self.http.send(method, &uri.to_string(), body.as_bytes(), left, ours);
            let answer = answer.map_err(|error| failed(&error))?;
            match &answer.location {
                Some(next) if answer.status.is_redirection() => {
                    uri = resolve_redirect(&uri, next)
                        .ok_or_else(|| failed(&"it redirects to an invalid URL"))?;
                }
                _ => return Ok(answer),
            }
        }
        Err(failed(&"it redirects without end"))
    }
}

#[derive(Deserialize)]
struct RegistryError {
    error_code: u32,
    message: String,
}

/// Returns whether the registry answers that the object does not exist. Another server's 404 lacks
/// the registry's error codes.
fn is_not_found(answer: &Response) -> bool {
    answer.status == StatusCode::NOT_FOUND
        && serde_json::from_slice(&answer.body)
            .is_ok_and(|error: RegistryError| (40_400..40_500).contains(&error.error_code))
}

/// The registry's error in one line.
fn error_message(answer: &Response) -> String {
    let said = match serde_json::from_slice(&answer.body) {
        Ok(RegistryError { message, .. }) => message,
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    http::error_message(&said)
}

/// Returns whether credentials for `first` may be sent to `other`: the same host, and at least as
/// protected.
fn same_origin(first: &Uri, other: &Uri) -> bool {
    let ports_agree = first.port_u16() == other.port_u16();
    first.host() == other.host()
        && match (first.scheme_str(), other.scheme_str()) {
            (Some("http"), Some("https")) => true,
            (one, another) => one == another && ports_agree,
        }
}

/// Resolves a `Location` header relative to `here`.
fn resolve_redirect(here: &Uri, location: &HeaderValue) -> Option<Uri> {
    let location = location.to_str().ok()?;
    let next: Uri = if location.starts_with('/') {
        format!("{}://{}{location}", here.scheme_str()?, here.authority()?).parse().ok()?
    } else {
        location.parse().ok()?
    };
    matches!(next.scheme_str(), Some("http" | "https")).then_some(next)
}

#[cfg(test)]
pub(super) mod tests;
