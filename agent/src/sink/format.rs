//! How records look on Kafka, and how to reach the registry that keeps the schemas of Avro records.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How the records of a stream look on Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// Avro in the registry's framing: octet 0, the schema's id in four octets, the record.
    Avro,
}

/// Why something is not a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a format: choose from json, avro")]
pub struct BadFormat(String);

impl FromStr for Format {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Self, BadFormat> {
        match text {
            "json" => Ok(Self::Json),
            "avro" => Ok(Self::Avro),
            _ => Err(BadFormat(text.into())),
        }
    }
}

/// How to reach a schema registry with Confluent's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// `http://…` or `https://…`, without a slash at its end.
    pub url: String,
    /// Who we are, if the registry asks.
    pub login: Option<Login>,
    /// The certificates to trust, in PEM; those of the system where absent.
    pub ca_file: Option<PathBuf>,
    /// How long the registry may take for all that is asked of it at a time.
    pub timeout: Duration,
}

/// A name and its password, for HTTP's basic authentication (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A password; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_formats() {
        assert_eq!("avro".parse(), Ok(Format::Avro));
        let why = "protobuf".parse::<Format>().unwrap_err().to_string();
        assert_eq!(why, "\"protobuf\" is not a format: choose from json, avro");
    }

    #[test]
    fn keeps_passwords() {
        let given = Login { username: "me".into(), password: Password("hunter2".into()) };
        let shown = format!("{given:?}");
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
}
