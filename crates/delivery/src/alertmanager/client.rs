//! Alertmanager's API v2 over HTTP.

use super::AlertmanagerConfig;
use crate::http;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::fmt;
use std::time::Duration;
use ureq::http::{Method, StatusCode};

const SECTION: &str = "alertmanager";
const JSON: &str = "application/json";
/// Largest response body in bytes.
const BODY_LIMIT: u64 = 1 << 20;

/// Why an Alertmanager rejected a request, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    /// What happened, with the URL.
    pub(super) why: String,
    /// What to do about it, if the cause is clear.
    pub(super) remedy: Option<String>,
    /// Whether repeating the request is useless.
    pub(super) permanent: bool,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&http::with_remedy(&self.why, self.remedy.as_deref()))
    }
}

pub(super) struct Client {
    http: http::HttpClient,
    urls: Vec<String>,
    timeout: Duration,
}

/// The response of `/api/v2/status`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version_info: VersionInfo,
}

#[derive(Deserialize)]
struct VersionInfo {
    version: String,
}

impl Client {
    /// Creates a client. Reads the trusted certificates; sends no request.
    pub(super) fn new(config: &AlertmanagerConfig) -> Result<Self, String> {
        let AlertmanagerConfig { urls, authorization, ca_file, timeout, .. } = config;
        let (ca_file, authorization) = (ca_file.as_deref(), authorization.as_ref());
        let http = http::HttpClient::new(SECTION, ca_file, authorization, JSON, BODY_LIMIT)?;
        Ok(Self { http, urls: urls.clone(), timeout: *timeout })
    }

    /// Posts alerts to every Alertmanager: in a cluster they exchange notifications, but not
    /// alerts. At least one must accept them. Returns the errors of the others.
    pub(super) fn post(&self, alerts: &str) -> Result<Option<String>, RequestError> {
        let answers = self
            .urls
            .iter()
            .map(|url| self.ask(&Method::POST, url, "/api/v2/alerts", alerts).map(drop));
        let errors: Vec<RequestError> = answers.filter_map(Result::err).collect();
        let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let why = (!why.is_empty()).then(|| why.join("; "));
        match why {
            Some(why) if errors.len() == self.urls.len() => {
                let permanent = errors.iter().all(|error| error.permanent);
                Err(RequestError { why, remedy: None, permanent })
            }
            some => Ok(some),
        }
    }

    /// The version of each Alertmanager.
    ///
    /// # Errors
    /// Returns the error of the first that does not answer, or not as an Alertmanager.
    pub(super) fn versions(&self) -> Result<Vec<String>, RequestError> {
        let version = |url: &String| {
            let body = self.ask(&Method::GET, url, "/api/v2/status", "")?;
            let status: Status = serde_json::from_slice(&body).map_err(|error| RequestError {
                why: format!("{url} does not answer as an Alertmanager does ({error})"),
                remedy: Some(URLS.to_owned()),
                permanent: false,
            })?;
            Ok(format!("Alertmanager {} at {url}", status.version_info.version))
        };
        self.urls.iter().map(version).collect()
    }

    fn ask(
        &self,
        method: &Method,
        url: &str,
        path: &str,
        body: &str,
    ) -> Result<Vec<u8>, RequestError> {
        let answer =
            self.http.send(method, &format!("{url}{path}"), body.as_bytes(), self.timeout, true);
        let answer = answer.map_err(|http::NoAnswer { why, remedy }| RequestError {
            why: format!("no answer from Alertmanager {url}: {why}"),
            remedy,
            permanent: false,
        })?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(response_error(url, answer.status, &answer.body))
    }
}

const URLS: &str = "see alertmanager.urls";

fn response_error(url: &str, status: StatusCode, said: &[u8]) -> RequestError {
    let error_message = http::error_message(&String::from_utf8_lossy(said));
    // Alertmanager's own errors about alerts are JSON. A TLS server also answers plain HTTP with
    // 400.
    let is_its_own = serde_json::from_slice::<IgnoredAny>(said).is_ok();
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Some("see alertmanager.username and password_file, or bearer_token_file")
        }
        StatusCode::BAD_REQUEST if !is_its_own => Some(URLS),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(URLS),
        status if status.is_redirection() => {
            Some("give the place that it redirects to in alertmanager.urls")
        }
        _ => None,
    };
    let permanent = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => is_its_own,
        status => status == StatusCode::PAYLOAD_TOO_LARGE,
    };
    let why = format!("Alertmanager {url} answers {}: {error_message}", status.as_u16());
    RequestError { why, remedy: remedy.map(str::to_owned), permanent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn treats_only_invalid_alerts_as_permanent_errors() {
        let error_for = |code, said: &[u8]| {
            response_error("http://a", StatusCode::from_u16(code).unwrap(), said)
        };
        assert!(error_for(400, b"\"bad label\"").permanent && error_for(413, b"<html>").permanent);
        for (code, remedy) in [
            (400, "answers 400: no; see alertmanager.urls"),
            (401, "bearer_token_file"),
            (404, "alertmanager.urls"),
            (308, "redirects"),
            (503, "answers 503: no"),
        ] {
            let error = error_for(code, b"no");
            assert!(!error.permanent && error.to_string().contains(remedy), "{error:?}");
        }
    }
}
