//! Section `kafka.registry`, and whether it fits to the formats.

use super::ConfigError;
use super::layer::RegistryLayer;
use super::secret;
use crate::record;
use crate::sink::{Format, KafkaConfig, Login, Password, RegistryConfig};
use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

/// How long the registry may take unless told otherwise. The sink's thread waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where a registry is: `http://` or `https://`, a host, perhaps a path; without a slash at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url(pub String);

/// Why something is not the URL of a registry. Does not repeat what may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL, or one that leads to nothing like a registry.
    #[error("not the URL of a schema registry: give one such as http://registry:8081")]
    Unknown,
    /// A name, perhaps with its password, before the host.
    #[error("a URL with a name in it: give kafka.registry.username and password_file instead")]
    Login,
}

impl FromStr for Url {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let rest = rest.ok_or(BadUrl::Unknown)?;
        if rest.contains('@') {
            return Err(BadUrl::Login);
        }
        let legal = |octet: u8| octet.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&octet);
        if rest.is_empty() || rest.starts_with([':', '/']) || !rest.bytes().all(legal) {
            return Err(BadUrl::Unknown);
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// The registry, if one is given.
pub(super) fn resolve(layer: RegistryLayer) -> Result<Option<RegistryConfig>, ConfigError> {
    let wrong = |what: &str| Err(ConfigError::Registry(format!("kafka.registry: {what}")));
    let password = match (layer.password, layer.password_file) {
        (Some(_), Some(_)) => return wrong("both password and password_file: keep one of them"),
        (Some(Secret(password)), None) => Some(Password(password)),
        (None, Some(file)) => match secret::read(&file) {
            Ok(password) => Some(Password(password)),
            Err(why) => return wrong(&format!("password_file {}: {why}", file.display())),
        },
        (None, None) => None,
    };
    let login = match (layer.username, password) {
        (Some(username), Some(password)) => Some(Login { username: username.0, password }),
        (None, None) => None,
        (Some(_), None) => return wrong("username without its password: give password_file too"),
        (None, Some(_)) => return wrong("a password without its username: give username too"),
    };
    let Some(Url(url)) = layer.url else {
        return match (login, &layer.ca_file, layer.timeout) {
            (None, None, None) => Ok(None),
            _ => wrong("url is missing: give one such as http://registry:8081"),
        };
    };
    let timeout = layer.timeout.map_or(TIMEOUT, |span| span.0);
    Ok(Some(RegistryConfig { url, login, ca_file: layer.ca_file, timeout }))
}

/// Whether every format that is asked for can be had.
pub(super) fn validate(kafka: &KafkaConfig) -> Result<(), ConfigError> {
    for (stream, format) in &kafka.formats {
        if *format == Format::Avro && record::avro_schema(stream.schema()).is_none() {
            return Err(ConfigError::Registry(format!(
                "kafka.formats.{}: this dnscribe makes no {} records, and has no Avro schema for \
                 them: leave it out",
                stream.name(),
                stream.schema()
            )));
        }
    }
    let avro = kafka.format == Format::Avro || kafka.formats.values().any(|f| *f == Format::Avro);
    if avro && kafka.registry.is_none() {
        let told = "Kafka records in Avro need a schema registry: give kafka.registry.url, such as \
                    http://registry:8081";
        return Err(ConfigError::Registry(told.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls() {
        let url = |text: &str| text.parse::<Url>().map(|url| url.0);
        for good in ["http://registry:8081", "https://[::1]:443/apis/ccompat/v7"] {
            assert_eq!(url(good).as_deref(), Ok(good));
        }
        assert_eq!(url("http://a/").as_deref(), Ok("http://a"));
        for bad in ["registry:8081", "http://", "ftp://a", "http://:80", "http://a b", "http://a?b"]
        {
            assert_eq!(url(bad), Err(BadUrl::Unknown), "{bad}");
        }
        assert_eq!(url("http://me:hunter2@a"), Err(BadUrl::Login));
    }
}
