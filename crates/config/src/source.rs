//! Sources of layers: a YAML file, the environment.

use super::ConfigError;
use super::reader::{Field, Section, Whole};
use std::ffi::OsString;
use std::path::Path;

/// Settings of librdkafka that are spelled with `_` instead of dots. There are others, which cannot be
/// given as text.
const WITH_UNDERSCORE: [&str; 2] = ["enabled_events", "log_level"];

/// An error of the parser.
struct ParseError {
    message: String,
    /// Line and column, from 1.
    place: Option<(u64, u64)>,
}

fn parse<T: Section>(yaml: &str) -> Result<T, ParseError> {
    // Snippets would show neighbouring lines, which may contain passwords.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let layer: Option<Whole<T>> =
        serde_saphyr::from_str_with_options(yaml, options).map_err(|error| {
            let place = error.location().map(|place| (place.line(), place.column()));
            let message = error.without_snippet().to_string();
            let message = match place {
                Some((line, column)) => {
                    message.trim_end_matches(&format!(" at line {line}, column {column}"))
                }
                None => &message,
            };
            ParseError { message: plain(message), place }
        })?;
    Ok(layer.map(|Whole(layer)| layer).unwrap_or_default())
}

/// Translates a message of the parser to the words of the documentation.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 4] = [
        ("unknown field", "unknown key"),
        ("expected string scalar", "expected a single value"),
        ("expected mapping start", "expected a section of keys"),
        (", set DuplicateKeyPolicy in Options if acceptable", ""),
    ];
    WORDS.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// Reads a YAML file. `has_version` returns whether the version of the file's format is given.
///
/// # Errors
/// The file cannot be read, or a key or value in it is wrong.
pub fn file<T: Section>(path: &Path, has_version: fn(&T) -> bool) -> Result<T, ConfigError> {
    let yaml = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_path_buf(),
        error: error.into(),
    })?;
    let wrong = |(line, column), message: String| ConfigError::File {
        path: path.to_path_buf(),
        line,
        column,
        message,
    };
    let layer = parse(&yaml).map_err(|error| {
        let place = error.place.unwrap_or((1, 1));
        let key = key_at(&yaml, usize::try_from(place.0).unwrap_or(1));
        let key = if key.is_empty() { key } else { format!("{key}: ") };
        wrong(place, format!("{key}{}", error.message))
    })?;
    if !has_version(&layer) {
        return Err(wrong((1, 1), "version is missing: write \"version: 1\"".to_owned()));
    }
    Ok(layer)
}

/// Returns the full name of the key at a line of block style YAML, such as `kafka.brokers`.
fn key_at(yaml: &str, line: usize) -> String {
    let mut keys = Vec::new();
    let mut indent = usize::MAX;
    for text in yaml.lines().take(line).collect::<Vec<_>>().into_iter().rev() {
        let trimmed = text.trim_start_matches([' ', '-']);
        let own = text.len() - trimmed.len();
        let split = trimmed.split_once(": ").map(|(key, _)| key);
        let Some(key) = split.or_else(|| trimmed.trim_end().strip_suffix(':')) else { continue };
        let is_key = !key.is_empty() && !key.contains(['#', '[', '{', ' ', '"', '\'']);
        if is_key && own < indent {
            // The dash of an item may have the indentation of its list.
            indent = own;
            keys.push(key);
        }
    }
    keys.reverse();
    keys.join(".")
}

/// Reads the variables that begin with `prefix`, but for `not_settings`: with the prefix `DNSCRIBE_`, the
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
        if not_settings.contains(&name.as_str()) {
            continue;
        }
        let fail = |message: String| ConfigError::Environment { name: name.clone(), message };
        let value = value.into_string().map_err(|_| fail("its value is not UTF-8".into()))?;
        if value.is_empty() {
            continue;
        }
        let yaml = nest(path, &value);
        let layer: T = parse(&yaml).map_err(|error| fail(error.message))?;
        all = layer.over(all);
    }
    Ok(all)
}

/// Returns the variable, without its prefix, as YAML in flow style. In the names of librdkafka's settings,
/// `_` stands for a dot.
fn nest(name: &str, value: &str) -> String {
    let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let is_option = path.first().is_some_and(|key| key == "kafka")
        && path.get(1).is_some_and(|key| key == "options" || key == "option_files");
    path.iter().enumerate().rev().fold(quote(value), |inner, (depth, key)| {
        let is_name = is_option && depth == 2 && !WITH_UNDERSCORE.contains(&key.as_str());
        let key = if is_name { key.replace('_', ".") } else { key.clone() };
        format!("{{{}: {inner}}}", quote(&key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_of_a_line() {
        let yaml = "version: 1\nkafka:\n  # no: key\n  brokers:\n    - a:9092\n  options:\n    x: 1\nnode: y\n";
        assert_eq!(key_at(yaml, 1), "version");
        assert_eq!(key_at(yaml, 6), "kafka.options");
        assert_eq!(key_at(yaml, 7), "kafka.options.x");
        assert_eq!(key_at(yaml, 8), "node");
        assert_eq!(key_at("", 1), "");
    }

    #[test]
    fn nests_variables() {
        assert_eq!(nest("NODE", "a\"b"), r#"{"node": "a\"b"}"#);
        assert_eq!(
            nest("KAFKA__OPTIONS__SASL_PASSWORD", "x"),
            r#"{"kafka": {"options": {"sasl.password": "x"}}}"#
        );
        assert_eq!(
            nest("KAFKA__OPTION_FILES__ENABLE_SSL_CERTIFICATE_VERIFICATION", "/x"),
            r#"{"kafka": {"option_files": {"enable.ssl.certificate.verification": "/x"}}}"#
        );
        assert_eq!(
            nest("KAFKA__OPTIONS__LOG_LEVEL", "7"),
            r#"{"kafka": {"options": {"log_level": "7"}}}"#
        );
    }
}
