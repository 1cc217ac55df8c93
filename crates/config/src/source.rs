//! Sources of layers: a YAML file, the environment.

use super::ConfigError;
use super::reader::{Field, Section, section};
use super::yaml::{Node, Place};
use dnscribe_delivery::files;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;

/// Size limit of a file in bytes: far more than any configuration.
const MAX_BYTES: u64 = 16 << 20;

/// Settings of librdkafka that are spelled with `_` instead of dots. There are others, which cannot be
/// given as text.
const WITH_UNDERSCORE: [&str; 2] = ["enabled_events", "log_level"];

/// Gives an error of settings that do not fit together the place of the key in the file that it begins with, if that is
/// there. `of_file` is the error of the file alone: of all sources together, it may be another's.
#[must_use]
pub fn placed<T>(
    error: ConfigError,
    file: Option<&Path>,
    of_file: impl FnOnce() -> Result<T, ConfigError>,
) -> ConfigError {
    let (ConfigError::Invalid(message), Some(path)) = (&error, file) else { return error };
    // A pipe can be read only once.
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file || !of_file().is_err_and(|of_file| of_file.to_string() == *message) {
        return error;
    }
    let yaml = read(path).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let document = Node::parse(&yaml).unwrap_or_default();
    let Some(Place { line, column }) = document.place_of(message) else { return error };
    ConfigError::File { path: path.to_path_buf(), line, column, message: message.clone() }
}

/// Reads a whole file, which may be a device without an end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    files::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

/// Reads a YAML file. `has_version` returns whether the version of the file's format is given.
///
/// # Errors
/// The file cannot be read, or a key or value in it is wrong.
pub fn file<T: Section>(path: &Path, has_version: fn(&T) -> bool) -> Result<T, ConfigError> {
    let bytes = read(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_path_buf(),
        error: error.into(),
    })?;
    let wrong = |place: Place, message: String| ConfigError::File {
        path: path.to_path_buf(),
        line: place.line,
        column: place.column,
        message,
    };
    let yaml = str::from_utf8(&bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let (line, column) = before.lines().enumerate().last().unwrap_or_default();
        let begins_line = before.ends_with('\n');
        let place = if begins_line {
            Place { line: line + 2, column: 1 }
        } else {
            Place { line: line + 1, column: column.chars().count() + 1 }
        };
        wrong(place, "the file is not UTF-8 from here on".to_owned())
    })?;
    let layer = Node::parse(yaml).and_then(|document| section(&document));
    let layer = layer.map_err(|error| wrong(error.place, error.to_string()))?;
    if !has_version(&layer) {
        let missing = "version is missing: write \"version: 1\"";
        return Err(wrong(Place::default(), missing.to_owned()));
    }
    Ok(layer)
}

/// Reads the variables that begin with `prefix`, but for `not_settings`, where a name that ends with `_`
/// stands for all variables that begin with it: with the prefix `DNSCRIBE_`, the
/// variable `DNSCRIBE_KAFKA__BROKERS` is `kafka.brokers`. Empty variables are ignored.
///
/// # Errors
/// A variable is not a key, or its value is wrong.
pub fn environment<T: Section + Field>(
    prefix: &str,
    not_settings: &[&str],
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    let mut all = T::default();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some(path) = name.strip_prefix(prefix) else { continue };
        let is_other =
            |other: &&str| name == *other || other.ends_with('_') && name.starts_with(*other);
        if not_settings.iter().any(is_other) || is_of_service(path, &value.to_string_lossy()) {
            continue;
        }
        let fail = |message: String| ConfigError::Environment { name: name.clone(), message };
        let value = value.into_string().map_err(|_| fail("its value is not UTF-8".into()))?;
        if value.is_empty() {
            continue;
        }
        let layer: T = section(&nest(path, &value)).map_err(|error| fail(error.message))?;
        all = layer.over(all);
    }
    Ok(all)
}

/// Returns whether Kubernetes sets a variable of this name, without the prefix, in each container of a namespace with a
/// Service whose name begins as the prefix does, such as `dnscribe-kafka`
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_of_service(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_end = |from| match words.get(from..) {
        Some(["SERVICE", "HOST"] | ["SERVICE", "PORT", ..]) => true,
        Some(["PORT"]) => value.contains("://"),
        Some(["PORT", number, "TCP" | "UDP" | "SCTP", ..]) => number.parse::<u16>().is_ok(),
        _ => false,
    };
    !name.contains("__") && (0..words.len()).any(is_end)
}

/// Returns the variable, without its prefix, as a document. In the names of librdkafka's settings, `_`
/// stands for a dot.
fn nest(name: &str, value: &str) -> Node {
    let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
    let is_option = path.first().is_some_and(|key| key == "kafka")
        && path.get(1).is_some_and(|key| key == "options" || key == "option_files");
    path.into_iter().enumerate().rev().fold(Node::text(value), |inner, (depth, key)| {
        let is_name = is_option && depth == 2 && !WITH_UNDERSCORE.contains(&key.as_str());
        inner.behind(if is_name { key.replace('_', ".") } else { key })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Content, MapEntry};

    #[test]
    fn reads_no_file_without_an_end() {
        let why = read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(why, "it is longer than 16 MiB");
    }

    /// A pipe is written to once.
    #[test]
    fn gives_errors_no_place_in_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = ConfigError::Invalid("node: wrong".to_owned());
        let mut is_read = false;
        let found = placed(error, Some(&pipe), || {
            is_read = true;
            Ok(())
        });
        assert!(!is_read && found.to_string() == "node: wrong", "{found}");
    }

    #[test]
    fn variables_of_kubernetes_are_no_settings() {
        for name in [
            "SERVICE_HOST",
            "ENRICH_REST_SERVICE_HOST",
            "PROBE_SERVICE_PORT",
            "PROBE_SERVICE_PORT_METRICS",
            "PORT",
            "PROBE_PORT",
            "PORT_9353_TCP",
            "PROBE_PORT_53_UDP_ADDR",
        ] {
            assert!(is_of_service(name, "tcp://10.0.0.1:9353"), "{name}");
        }
        for name in
            ["NODE", "METRICS__PORT", "KAFKA__SERVICE_HOST", "PORT_X_TCP", "PORTS", "SERVICE"]
        {
            assert!(!is_of_service(name, "tcp://10.0.0.1:9353"), "{name}");
        }
    }

    #[test]
    fn a_mistaken_port_is_refused() {
        assert!(!is_of_service("METRICS_PORT", "9353"));
    }

    #[test]
    fn nests_variables() {
        let keys = |name| {
            let mut node = nest(name, "a\"b");
            let mut keys = Vec::new();
            while let Content::Map(mut entries) = node.content {
                let MapEntry { key, value, .. } = entries.remove(0);
                keys.push(key);
                node = value;
            }
            assert!(matches!(&node.content, Content::Text(text) if text == "a\"b"));
            keys.join(" / ")
        };
        assert_eq!(keys("NODE"), "node");
        assert_eq!(keys("KAFKA__OPTIONS__SASL_PASSWORD"), "kafka / options / sasl.password");
        assert_eq!(
            keys("KAFKA__OPTION_FILES__ENABLE_SSL_CERTIFICATE_VERIFICATION"),
            "kafka / option_files / enable.ssl.certificate.verification"
        );
        assert_eq!(keys("KAFKA__OPTIONS__LOG_LEVEL"), "kafka / options / log_level");
    }
}
