//! Why a measurement failed: the stage, a reason of one word, and details for people.

use dnscribe_record::ProbeError;
use rustix::io::Errno;
use std::io;

/// How the detail begins where this host does not have the configured `source_address`.
pub(crate) const NO_SOURCE: &str = "source_address: this host does not have";

/// Reason where this host does not have the configured `source_address`.
pub(crate) const SOURCE_ADDRESS: &str = "source_address";

/// Reason where this process or host may not open more files: nothing was measured.
pub(crate) const OPEN_FILES: &str = "open_files";

/// A stage of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The name of the host is resolved.
    Resolve,
    /// A connection is made, or an echo request sent.
    Connect,
    /// The TLS handshake.
    Tls,
    /// HTTP requests and responses.
    Http,
    /// DNS queries and responses.
    Dns,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Dns => "dns",
        }
    }
}

/// Why a measurement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stage at which it failed.
    pub stage: Stage,
    /// Reason as one word: `timeout`, `refused`.
    pub reason: &'static str,
    /// Details for people.
    pub detail: Option<String>,
    /// Number of attempts that failed.
    pub attempts: u32,
}

impl Failure {
    /// Creates a failure without details.
    #[must_use]
    pub const fn new(stage: Stage, reason: &'static str) -> Self {
        Self { stage, reason, detail: None, attempts: 1 }
    }

    /// Adds details for people.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Returns whether another attempt may get a response, while time is left.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        is_transient(self.stage.name(), self.reason)
    }

    /// Returns whether this host does not have the configured `source_address`.
    #[must_use]
    pub fn is_of_source(&self) -> bool {
        self.detail.as_deref().is_some_and(|detail| detail.starts_with(NO_SOURCE))
    }

    /// How much a failure to connect to one of several addresses says of the host: nothing where there is no way, as to
    /// those of IPv6 from many networks; more where nothing came back; most where the host itself refused. Without files,
    /// nothing was measured.
    #[must_use]
    pub fn weight(&self) -> u8 {
        match self.reason {
            "network_unreachable" | "host_unreachable" | "forbidden" | SOURCE_ADDRESS => 0,
            "timeout" => 1,
            OPEN_FILES => 3,
            _ => 2,
        }
    }

    /// Creates a failure from an error of a socket.
    #[must_use]
    pub fn io(stage: Stage, error: &io::Error) -> Self {
        let reason = match io_reason(error) {
            // Linux says so of a route of the kind `blackhole`.
            _ if stage == Stage::Connect && errno(error) == Some(Errno::INVAL) => {
                "network_unreachable"
            }
            reason => reason,
        };
        Self::new(stage, reason).with_detail(error.to_string())
    }
}

impl From<Failure> for ProbeError {
    fn from(failure: Failure) -> Self {
        Self {
            stage: failure.stage.name().to_owned(),
            reason: failure.reason.to_owned(),
            detail: failure.detail,
        }
    }
}

/// Returns the reason that names an error of a socket.
#[must_use]
pub fn io_reason(error: &io::Error) -> &'static str {
    match error.kind() {
        _ if matches!(errno(error), Some(Errno::MFILE | Errno::NFILE)) => OPEN_FILES,
        // Of a socket that cannot be bound to the configured address.
        io::ErrorKind::AddrNotAvailable if error.get_ref().is_some() => SOURCE_ADDRESS,
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::HostUnreachable => "host_unreachable",
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            "network_unreachable"
        }
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::PermissionDenied => "forbidden",
        // An alert of TLS says nothing of the message.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            if error.get_ref().is_none_or(|inner| !inner.is::<rustls::Error>()) =>
        {
            "malformed"
        }
        _ => "io",
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Returns whether another attempt may get a response, by stage and reason of a failure.
#[must_use]
pub fn is_transient(stage: &str, reason: &str) -> bool {
    matches!(reason, "refused" | "reset" | "closed" | "io" | "host_unreachable")
        || stage == "resolve" && matches!(reason, "timeout" | "servfail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_lead_nowhere_are_no_faults_of_the_host() {
        for (number, stage, reason) in [
            (Errno::INVAL, Stage::Connect, "network_unreachable"),
            (Errno::INVAL, Stage::Http, "malformed"),
            (Errno::ACCESS, Stage::Connect, "forbidden"),
            (Errno::PERM, Stage::Connect, "forbidden"),
            (Errno::PERM, Stage::Dns, "forbidden"),
        ] {
            let error = io::Error::from_raw_os_error(number.raw_os_error());
            assert_eq!(Failure::io(stage, &error).reason, reason, "{number}");
        }
    }
}
