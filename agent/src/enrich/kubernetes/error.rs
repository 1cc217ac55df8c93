//! Why the API does not tell what it should, and what the operator can do about it.

use kube::Error;
use std::fmt;

/// What went wrong, as metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The way to the API is not known: a kubeconfig or service account that cannot be read.
    Config,
    /// Nobody answers, or not in time.
    Unreachable,
    /// There is no trust: TLS fails.
    Tls,
    /// The API does not know who asks (401).
    Unauthorized,
    /// The API knows who asks, and says no (403).
    Forbidden,
    /// The API is overloaded or broken (429, 5xx).
    Server,
    /// The answer is none that an API server gives.
    Garbage,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Config,
        Self::Unreachable,
        Self::Tls,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Server,
        Self::Garbage,
    ];

    /// As metrics spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Server => "server",
            Self::Garbage => "garbage",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Config => {
                "name a kubeconfig that this user can read with kubernetes.kubeconfig, or mount the \
                 service account's token; kubernetes.enabled: false does without pods' names"
            }
            Self::Unreachable => {
                "see that the API server runs and that network policies and firewalls let this host \
                 reach it"
            }
            Self::Tls => {
                "see that the CA in the service account or kubeconfig is the one that signed the API \
                 server's certificate, for the name or address that is used, and that the clock is right"
            }
            Self::Unauthorized => {
                "see that the token is that of a service account that is still there, and not expired"
            }
            Self::Forbidden => {
                "let the service account get, list and watch pods: the chart's ClusterRole and \
                 ClusterRoleBinding do"
            }
            Self::Server => "see how the API server is; it is asked again",
            Self::Garbage => {
                "see that the address is that of an API server, with no proxy before it"
            }
        }
    }
}

/// Something that keeps us from knowing the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: Reason,
    /// What happened, in words.
    pub(super) what: String,
    /// The version asked for is too old (410): all must be listed anew, which is no failure.
    pub(super) gone: bool,
}

/// The code of an answer about a version that the API server no longer has.
const GONE: u16 = 410;

impl Trouble {
    pub(super) fn new(reason: Reason, what: impl Into<String>) -> Self {
        Self { reason, what: what.into(), gone: false }
    }

    /// Nothing came in time.
    pub(super) fn timeout(what: &str) -> Self {
        Self::new(Reason::Unreachable, format!("no {what} in time"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What an HTTP status means.
fn of_code(code: u16) -> Reason {
    match code {
        401 => Reason::Unauthorized,
        403 => Reason::Forbidden,
        429 | 500.. => Reason::Server,
        _ => Reason::Garbage,
    }
}

impl From<&kube::core::Status> for Trouble {
    fn from(status: &kube::core::Status) -> Self {
        let (code, message) = (status.code, shown(&status.message));
        let what = format!("the API server answers {code}: {message}");
        Self { gone: code == GONE, ..Self::new(of_code(code), what) }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match &error {
            Error::Api(status) => (&**status).into(),
            Error::SerdeError(why) => {
                let what = format!("the answer is no list of pods: {}", shown(&why.to_string()));
                Self::new(Reason::Garbage, what)
            }
            Error::FromUtf8(_) | Error::LinesCodecMaxLineLengthExceeded => {
                Self::new(Reason::Garbage, "the answer is no text of an API server")
            }
            Error::OpensslTls(_) => Self::new(Reason::Tls, chain(&error)),
            Error::InferConfig(_) | Error::Auth(_) | Error::BuildRequest(_) => {
                Self::new(Reason::Config, chain(&error))
            }
            _ => {
                let what = chain(&error);
                let lower = what.to_ascii_lowercase();
                let is_tls = ["certificate", "ssl", "tls"].iter().any(|word| lower.contains(word));
                Self::new(if is_tls { Reason::Tls } else { Reason::Unreachable }, what)
            }
        }
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    shown(&text)
}

/// Text of others, in one line of bounded length.
fn shown(text: &str) -> String {
    const MOST: usize = 300;
    let plain = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(MOST).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_what_is_wrong() {
        for (code, reason) in [
            (401, Reason::Unauthorized),
            (403, Reason::Forbidden),
            (404, Reason::Garbage),
            (429, Reason::Server),
            (503, Reason::Server),
        ] {
            let status =
                kube::core::Status { code, message: "no\nway".into(), ..Default::default() };
            let trouble = Trouble::from(Error::Api(Box::new(status)));
            assert_eq!(trouble.reason, reason);
            assert_eq!(trouble.what, format!("the API server answers {code}: no way"));
        }
    }

    #[test]
    fn every_reason_has_its_own_name_and_a_remedy() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(!reason.remedy().is_empty());
            let same = Reason::ALL.iter().filter(|other| other.name() == reason.name()).count();
            assert_eq!(same, 1);
        }
    }
}
