//! Alertmanager's API v2 over HTTP.

use super::{AlertmanagerConfig, Authorization};
use crate::http;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::time::Duration;
use ureq::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use ureq::http::{Method, Request, StatusCode};

const SECTION: &str = "alertmanager";
const JSON: &str = "application/json";
/// Largest response body in bytes.
const BODY_LIMIT: u64 = 1 << 20;

/// Why an Alertmanager rejected a request, or did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestError {
    /// What happened, with the URL and a remedy.
    pub(super) why: String,
    /// Whether repeating the request is useless.
    pub(super) permanent: bool,
}

/// A client of all configured Alertmanagers.
pub(super) struct Client {
    agent: ureq::Agent,
    urls: Vec<String>,
    authorization: Option<HeaderValue>,
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
        let authorization = config.authorization.as_ref().map(|given| match given {
            Authorization::Basic(login) => http::basic(login, SECTION),
            Authorization::Bearer(token) => http::bearer(token, SECTION),
        });
        Ok(Self {
            agent: http::client(config.ca_file.as_deref(), SECTION)?,
            urls: config.urls.clone(),
            authorization: authorization.transpose()?,
            timeout: config.timeout,
        })
    }

    /// Posts alerts to every Alertmanager: in a cluster they exchange notifications, but not
    /// alerts. At least one must accept them. Returns the errors of the others.
    pub(super) fn post(&self, alerts: &str) -> Result<Option<String>, RequestError> {
        let answers = self
            .urls
            .iter()
            .map(|url| self.ask(&Method::POST, url, "/api/v2/alerts", alerts.as_bytes()).map(drop));
        let errors: Vec<RequestError> = answers.filter_map(Result::err).collect();
        let why: Vec<&str> = errors.iter().map(|error| error.why.as_str()).collect();
        let why = (!why.is_empty()).then(|| why.join("; "));
        match why {
            Some(why) if errors.len() == self.urls.len() => {
                Err(RequestError { why, permanent: errors.iter().all(|error| error.permanent) })
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
            let body = self.ask(&Method::GET, url, "/api/v2/status", &[])?;
            let status: Status = serde_json::from_slice(&body).map_err(|error| RequestError {
                why: format!("{url} does not answer as an Alertmanager does ({error}){URLS}"),
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
        body: &[u8],
    ) -> Result<Vec<u8>, RequestError> {
        let unanswered = |why: &dyn std::fmt::Display| RequestError {
            why: format!("no answer from Alertmanager {url}: {why}"),
            permanent: false,
        };
        let mut request = Request::builder().method(method).uri(format!("{url}{path}"));
        request = request.header(ACCEPT, JSON);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request = request.body(body.to_vec()).map_err(|error| unanswered(&error))?;
        let request =
            self.agent.configure_request(request).timeout_global(Some(self.timeout)).build();
        let mut response = self.agent.run(request).map_err(|error| unanswered(&error))?;
        let status = response.status();
        let answer = response.body_mut().with_config().limit(BODY_LIMIT).read_to_vec();
        let answer = answer.map_err(|error| unanswered(&error))?;
        if status.is_success() { Ok(answer) } else { Err(response_error(url, status, &answer)) }
    }
}

const URLS: &str = "; see alertmanager.urls";

fn response_error(url: &str, status: StatusCode, said: &[u8]) -> RequestError {
    let error_message = http::error_message(&String::from_utf8_lossy(said));
    // Alertmanager's own errors about alerts are JSON. A TLS server also answers plain HTTP with
    // 400.
    let is_its_own = serde_json::from_slice::<IgnoredAny>(said).is_ok();
    let remedy = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; see alertmanager.username and password_file, or bearer_token_file"
        }
        StatusCode::BAD_REQUEST if !is_its_own => URLS,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => URLS,
        status if status.is_redirection() => {
            "; give the place that it redirects to in alertmanager.urls"
        }
        _ => "",
    };
    let permanent = match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => is_its_own,
        status => status == StatusCode::PAYLOAD_TOO_LARGE,
    };
    let why = format!("Alertmanager {url} answers {}: {error_message}{remedy}", status.as_u16());
    RequestError { why, permanent }
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
            assert!(!error.permanent && error.why.contains(remedy), "{error:?}");
        }
    }
}
