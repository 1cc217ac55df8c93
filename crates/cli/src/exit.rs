//! Failures of a command: message, remedy, exit code.

use dnscribe_admin::BindError;
use dnscribe_config::ConfigError;
use dnscribe_delivery::SinkError;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A failure, with its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of the process: 1, 2 or 3.
    pub code: u8,
    message: String,
    remedy: Option<String>,
}

impl Exit {
    /// Creates a failure with exit code 1: failed while running.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into(), remedy: None }
    }

    /// Creates a failure with exit code 2: bad usage, configuration, schema name or input file.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into(), remedy: None }
    }

    /// Creates a failure with exit code 3: this host cannot capture.
    #[must_use]
    pub fn cannot_capture(message: impl Into<String>) -> Self {
        Self { code: 3, message: message.into(), remedy: None }
    }

    /// Adds what the operator can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Prints the failure on stderr and returns the exit code, for `main`.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        // Without a stderr, the exit code is all that is left to say it.
        let _ = writeln!(io::stderr(), "{self}");
        ExitCode::from(self.code)
    }
}

/// Writes `error: MESSAGE`, and the remedy on a line of its own.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  remedy: {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Exit {}

impl From<ConfigError> for Exit {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SinkError> for Exit {
    fn from(error: SinkError) -> Self {
        match error {
            // librdkafka refused `kafka.options`.
            SinkError::Kafka(_) | SinkError::Otlp(_) | SinkError::Alertmanager(_) => {
                Self::usage(error.to_string())
            }
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<BindError> for Exit {
    fn from(error: BindError) -> Self {
        Self::failed(error.to_string()).with_remedy(BindError::REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_admin::Server;

    #[test]
    fn busy_port_exits_with_1_and_remedy() {
        let (server, _requests) = Server::start("127.0.0.1:0".parse().unwrap(), || {}).unwrap();
        let exit = Exit::from(Server::start(server.address, || {}).unwrap_err());
        assert_eq!(exit.code, 1);
        assert!(exit.to_string().contains("--metrics-listen"), "{exit}");
    }

    #[test]
    fn prints_the_remedy() {
        let exit = Exit::cannot_capture("not permitted").with_remedy("run as root");
        assert_eq!(exit.to_string(), "error: not permitted\n  remedy: run as root");
        assert_eq!([exit.code, Exit::usage("").code, Exit::failed("").code], [3, 2, 1]);
    }
}
