//! Section `alertmanager`.

use super::ConfigError;
use super::layer::{Over, layer};
use super::registry::{BadUrl, Secret, Url};
use super::secret;
use super::shape::{items, map, text};
use super::value::{Name, PositiveSpan};
use crate::sink::{AlertmanagerConfig, Authorization, Login, Password, SinkSpec};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How long an Alertmanager may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often an alert is told again unless told otherwise.
const RESEND: Duration = Duration::from_secs(60);

layer! {
    /// Section `alertmanager`.
    AlertmanagerLayer {
        /// Where they are; each is told everything.
        #[serde(deserialize_with = "items")]
        urls: Option<Vec<Place>> = example("[\"http://alertmanager-1:9093\", \"http://alertmanager-2:9093\"]"),
        /// Who we are, if they ask.
        #[serde(deserialize_with = "text")]
        username: Option<Name> = example("dnscribe"),
        /// Our password. Better in a file: see password_file.
        #[serde(deserialize_with = "text")]
        password: Option<Secret> = example("secret"),
        /// The file with our password.
        #[serde(deserialize_with = "text")]
        password_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/alertmanager-password"),
        /// The file with our token, instead of name and password.
        #[serde(deserialize_with = "text")]
        bearer_token_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/alertmanager-token"),
        /// The certificates to trust, in PEM; the system's unless given.
        #[serde(deserialize_with = "text")]
        ca_file: Option<PathBuf> = example("/etc/ssl/alertmanager-ca.pem"),
        /// How long they may take.
        #[serde(deserialize_with = "text")]
        timeout: Option<PositiveSpan> = default("5s"),
        /// How often an alert that goes on is told again.
        #[serde(deserialize_with = "text")]
        resend: Option<PositiveSpan> = default("1m"),
        /// Labels of every alert, beside its own.
        #[serde(deserialize_with = "map")]
        labels: BTreeMap<LabelName, String> = example("{ team: dns }"),
        /// Where an alert's link leads; nowhere unless given.
        #[serde(deserialize_with = "text")]
        generator_url: Option<Link> = example("https://dashboards.example/dns"),
    }
}

/// Where an Alertmanager is: `http://` or `https://`, a host, perhaps a path; without a slash at its
/// end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(String);

/// Why something is not the URL of an Alertmanager. Does not repeat what may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// Not a URL, or one that leads to nothing like an Alertmanager.
    #[error("not the URL of an Alertmanager: give one such as http://alertmanager:9093")]
    Unknown,
    /// A name, perhaps with its password, before the host.
    #[error("a URL with a name in it: give alertmanager.username and password_file instead")]
    Login,
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        match text.parse::<Url>() {
            Ok(Url(url)) => Ok(Self(url)),
            Err(BadUrl::Unknown) => Err(BadPlace::Unknown),
            Err(BadUrl::Login) => Err(BadPlace::Login),
        }
    }
}

/// Where a link leads: `http://` or `https://` and anything that a URL may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

/// Why something is not a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a link: give one such as https://dashboards.example/dns?team=dns")]
pub struct BadLink;

impl FromStr for Link {
    type Err = BadLink;

    fn from_str(text: &str) -> Result<Self, BadLink> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let legal = |octet: u8| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&octet);
        match rest {
            Some(rest) if !rest.is_empty() && rest.bytes().all(legal) => Ok(Self(text.to_owned())),
            _ => Err(BadLink),
        }
    }
}

/// The name of a label: letters, digits and underscores, no digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelName(String);

/// Why something is not the name of a label of ours to give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLabel {
    /// Not a name that Alertmanager takes.
    #[error(
        "\"{0}\" is not the name of a label: give letters, digits and underscores, no digit first"
    )]
    Unknown(String),
    /// The name of a label that alerts have of their own.
    #[error("label \"{0}\" is dnscribe's own: give another name")]
    Own(String),
}

impl FromStr for LabelName {
    type Err = BadLabel;

    fn from_str(text: &str) -> Result<Self, BadLabel> {
        let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if text.is_empty()
            || text.starts_with(|c: char| c.is_ascii_digit())
            || !text.chars().all(legal)
        {
            return Err(BadLabel::Unknown(text.to_owned()));
        }
        if ["alertname", "rule", "severity", "node"].contains(&text) {
            return Err(BadLabel::Own(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How to reach Alertmanager, if it is said.
pub(super) fn resolve(layer: AlertmanagerLayer) -> Result<Option<AlertmanagerConfig>, ConfigError> {
    let authorization = authorization(&layer)?;
    let urls: Vec<String> = layer.urls.unwrap_or_default().into_iter().map(|one| one.0).collect();
    if urls.is_empty() {
        let more = authorization.is_some()
            || layer.ca_file.is_some()
            || layer.timeout.is_some()
            || layer.resend.is_some()
            || layer.generator_url.is_some()
            || !layer.labels.is_empty();
        return if more { wrong(MISSING) } else { Ok(None) };
    }
    Ok(Some(AlertmanagerConfig {
        urls,
        authorization,
        ca_file: layer.ca_file,
        timeout: layer.timeout.map_or(TIMEOUT, |span| span.0),
        resend: layer.resend.map_or(RESEND, |span| span.0),
        labels: layer.labels.into_iter().map(|(name, value)| (name.0, value)).collect(),
        generator_url: layer.generator_url.map(|Link(url)| url),
    }))
}

const MISSING: &str = "urls is missing: give one such as http://alertmanager:9093";

/// Adds the sink where Alertmanager is told of and `live` alerts are made; says what is missing where
/// the sink is asked for.
pub(super) fn add_sink(
    sinks: &mut Vec<SinkSpec>,
    config: Option<&AlertmanagerConfig>,
    live: bool,
) -> Result<(), ConfigError> {
    let asked = sinks.iter().filter(|sink| **sink == SinkSpec::Alertmanager).count();
    match (asked, config) {
        (0, Some(_)) if live => sinks.push(SinkSpec::Alertmanager),
        (0, _) | (1, Some(_)) => {}
        (_, None) => return wrong(MISSING),
        (_, Some(_)) => return wrong("the sink is given twice: keep one of them"),
    }
    Ok(())
}

fn authorization(layer: &AlertmanagerLayer) -> Result<Option<Authorization>, ConfigError> {
    let password = match (&layer.password, &layer.password_file) {
        (Some(_), Some(_)) => return wrong("both password and password_file: keep one of them"),
        (Some(Secret(password)), None) => Some(Password(password.clone())),
        (None, Some(file)) => Some(from_file("password_file", file)?),
        (None, None) => None,
    };
    let token = layer.bearer_token_file.as_deref();
    let token = token.map(|file| from_file("bearer_token_file", file)).transpose()?;
    match (&layer.username, password, token) {
        (None, None, None) => Ok(None),
        (None, None, Some(token)) => Ok(Some(Authorization::Bearer(token))),
        (Some(username), Some(password), None) => {
            Ok(Some(Authorization::Basic(Login { username: username.0.clone(), password })))
        }
        (Some(_), None, None) => wrong("username without its password: give password_file too"),
        (None, Some(_), _) => wrong("a password without its username: give username too"),
        (Some(_), _, Some(_)) => {
            wrong("both username and bearer_token_file: keep one way to log in")
        }
    }
}

fn from_file(key: &str, file: &Path) -> Result<Password, ConfigError> {
    match secret::read(file) {
        Ok(secret) => Ok(Password(secret)),
        Err(why) => wrong(&format!("{key} {}: {why}", file.display())),
    }
}

fn wrong<T>(what: &str) -> Result<T, ConfigError> {
    Err(ConfigError::Alertmanager(format!("alertmanager: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layer::Layer;
    use crate::config::{Config, Purpose, Sources};
    use std::fs;

    fn load(yaml: &str, purpose: Purpose) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dnscribe.yaml");
        fs::write(&file, format!("version: 1\n{yaml}")).unwrap();
        let flags = Layer::default();
        let sources = Sources { purpose, file: Some(file), environment: Vec::new(), flags };
        Config::load(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn the_section_makes_the_sink_of_live_alerts() {
        let yaml = "alertmanager:\n  urls: [\"http://a:9093/\", \"https://b/am\"]\n  labels: { team: dns }\n  generator_url: https://d.example/x?y=1#z\n";
        let config = load(yaml, Purpose::Live).unwrap();
        assert_eq!(config.sinks, [SinkSpec::Stdout, SinkSpec::Alertmanager]);
        let alertmanager = config.alertmanager.unwrap();
        assert_eq!(alertmanager.urls, ["http://a:9093", "https://b/am"]);
        assert_eq!(alertmanager.labels["team"], "dns");
        assert_eq!(alertmanager.generator_url.as_deref(), Some("https://d.example/x?y=1#z"));
        assert_eq!((alertmanager.timeout, alertmanager.resend), (TIMEOUT, RESEND));
        // Whoever replays an old incident does not want to be woken by it.
        assert_eq!(load(yaml, Purpose::Replay).unwrap().sinks, [SinkSpec::Stdout]);
        let asked = format!("sinks: [alertmanager]\n{yaml}");
        assert_eq!(load(&asked, Purpose::Replay).unwrap().sinks, [SinkSpec::Alertmanager]);
        assert_eq!(load(&asked, Purpose::Live).unwrap().sinks, [SinkSpec::Alertmanager]);
    }

    #[test]
    fn says_what_does_not_fit() {
        let with = |more: &str| {
            load(&format!("alertmanager:\n  urls: [\"http://a\"]\n{more}"), Purpose::Live)
                .unwrap_err()
        };
        for (more, why) in [
            ("  username: me\n", "password_file"),
            ("  password: hunter2\n", "username"),
            ("  bearer_token_file: /nowhere\n", "bearer_token_file /nowhere"),
            ("  labels: { severity: x }\n", "own"),
            ("  labels: { \"a-b\": x }\n", "label"),
            ("sinks: [alertmanager, alertmanager]\n", "twice"),
        ] {
            let told = with(more);
            assert!(told.contains("alertmanager") && told.contains(why), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
        for (yaml, why) in [
            ("sinks: [alertmanager]\n", "urls is missing"),
            ("alertmanager: { timeout: 1s }\n", "urls is missing"),
            ("alertmanager: { urls: [\"http://me:hunter2@a\"] }\n", "username"),
            ("alertmanager: { urls: [\"a:9093\"] }\n", "http://alertmanager:9093"),
        ] {
            let told = load(yaml, Purpose::Live).unwrap_err();
            assert!(told.contains(why) && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn secrets_stay_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "hunter2\n").unwrap();
        let yaml = format!(
            "alertmanager: {{ urls: [\"http://a\"], bearer_token_file: {} }}\n",
            file.display()
        );
        let config = load(&yaml, Purpose::Live).unwrap();
        let token = Authorization::Bearer(Password("hunter2".into()));
        assert_eq!(config.alertmanager.as_ref().unwrap().authorization, Some(token));
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
