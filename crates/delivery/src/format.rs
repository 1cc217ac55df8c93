//! The format of records on Kafka, the schema registry's settings, and credentials.

use dnscribe_record::named_enum;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

named_enum! {
    /// The format of a stream's records on Kafka.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Format: "a format" {
        /// One JSON object.
        #[default]
        Json = "json",
        /// Avro in the registry's framing: byte 0, the schema id in four bytes, the record.
        Avro = "avro",
        /// One JSON object of the Elastic Common Schema.
        Ecs = "ecs",
    }
}

/// How to reach a schema registry with Confluent's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// `http://…` or `https://…`, without a trailing slash.
    pub url: String,
    /// Credentials, if the registry requires them.
    pub login: Option<Login>,
    /// File with the trusted certificates in PEM. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Time limit for one round of requests.
    pub timeout: Duration,
}

/// User name and password for HTTP basic authentication (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A password. `Debug` does not show it.
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
        assert_eq!(why, "\"protobuf\" is not a format: choose from json, avro, ecs");
    }

    #[test]
    fn hides_passwords() {
        let given = Login { username: "me".into(), password: Password("hunter2".into()) };
        let shown = format!("{given:?}");
        assert!(shown.contains("me") && !shown.contains("hunter2"), "{shown}");
    }
}
