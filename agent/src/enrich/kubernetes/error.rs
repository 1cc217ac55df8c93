//! Errors of the Kubernetes API, with their reasons for metrics and remedies for the operator.

use dnscribe_record::named_enum;
use kube::Error;

named_enum! {
    /// Reason of an error, as a metric label.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ApiErrorReason {
        /// The kubeconfig or service account cannot be read.
        Config = "config",
        /// The API server does not answer, or not in time.
        Unreachable = "unreachable",
        /// TLS failed.
        Tls = "tls",
        /// The API server does not accept the credentials (401).
        Unauthorized = "unauthorized",
        /// The API server denies access (403).
        Forbidden = "forbidden",
        /// The API server is overloaded or broken (429, 5xx).
        Server = "server",
        /// The answer is not from an API server.
        InvalidAnswer = "garbage",
    }
}

impl ApiErrorReason {
    /// Returns what the operator can do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Config => {
                "set kubernetes.kubeconfig to a file that this user can read, or mount the service \
                 account's token; or set kubernetes.enabled: false to run without pod names"
            }
            Self::Unreachable => {
                "check that the API server runs and that network policies and firewalls let this \
                 host reach it"
            }
            Self::Tls => {
                "check that the CA in the service account or kubeconfig signed the API server's \
                 certificate, that the certificate has the name or address in use, and that the \
                 clock is right"
            }
            Self::Unauthorized => {
                "check that the token belongs to an existing service account and has not expired"
            }
            Self::Forbidden => {
                "allow the service account to get, list and watch pods, as the chart's ClusterRole \
                 and ClusterRoleBinding do"
            }
            Self::Server => "check the API server; requests are retried",
            Self::InvalidAnswer => {
                "check that the address is that of an API server, without a proxy in front of it"
            }
        }
    }

    const fn of_http_status(code: u16) -> Self {
        match code {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            429 | 500.. => Self::Server,
            _ => Self::InvalidAnswer,
        }
    }
}

/// An error of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    pub(super) reason: ApiErrorReason,
    /// What happened.
    pub(super) message: String,
    /// Whether the requested version is too old (410). Then the pods are listed again; this is not a
    /// failure.
    pub(super) gone: bool,
}

impl ApiError {
    pub(super) fn new(reason: ApiErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), gone: false }
    }

    pub(super) fn timeout(missing: &str) -> Self {
        Self::new(ApiErrorReason::Unreachable, format!("timeout: no {missing}"))
    }
}

impl From<&kube::core::Status> for ApiError {
    fn from(status: &kube::core::Status) -> Self {
        let message =
            format!("the API server answers {}: {}", status.code, one_line(&status.message));
        Self {
            gone: status.code == 410,
            ..Self::new(ApiErrorReason::of_http_status(status.code), message)
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let message = error_chain(&error);
        let mentions_tls = || {
            let lower = message.to_ascii_lowercase();
            ["certificate", "ssl", "tls"].iter().any(|word| lower.contains(word))
        };
        let reason = match &error {
            Error::Api(status) => return (&**status).into(),
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::LinesCodecMaxLineLengthExceeded => {
                let message = format!("the answer is not a list of pods: {message}");
                return Self::new(ApiErrorReason::InvalidAnswer, message);
            }
            Error::InferConfig(_) | Error::Auth(_) | Error::BuildRequest(_) => {
                ApiErrorReason::Config
            }
            Error::OpensslTls(_) => ApiErrorReason::Tls,
            _ if mentions_tls() => ApiErrorReason::Tls,
            _ => ApiErrorReason::Unreachable,
        };
        Self::new(reason, message)
    }
}

/// Returns an error with its causes, without those that it already contains.
pub(super) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    one_line(&text)
}

/// Returns untrusted text as one line of at most 300 characters.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(300).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_http_status_to_reason() {
        for (code, reason) in [
            (401, ApiErrorReason::Unauthorized),
            (403, ApiErrorReason::Forbidden),
            (404, ApiErrorReason::InvalidAnswer),
            (429, ApiErrorReason::Server),
            (503, ApiErrorReason::Server),
        ] {
            let status =
                kube::core::Status { code, message: "no\nway".into(), ..Default::default() };
            let error = ApiError::from(Error::Api(Box::new(status)));
            assert_eq!(error.reason, reason);
            assert_eq!(error.message, format!("the API server answers {code}: no way"));
        }
    }

    #[test]
    fn every_reason_has_its_own_name_and_a_remedy() {
        for (index, reason) in ApiErrorReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(!reason.remedy().is_empty());
            let same =
                ApiErrorReason::ALL.iter().filter(|other| other.name() == reason.name()).count();
            assert_eq!(same, 1);
        }
    }
}
