//! Section `alertmanager`.

use crate::ConfigError;
use crate::secret::{self, Secret, Url};
use crate::value::{BadValue, Name, PositiveSpan};
use dnscribe_delivery::{AlertmanagerConfig, SinkSpec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

section! {
    /// Section `alertmanager`.
    AlertmanagerLayer {
        /// URLs of the Alertmanagers. Each gets every alert.
        items urls: Option<Vec<Url>> = example("[\"http://alertmanager-1:9093\", \"http://alertmanager-2:9093\"]"),
        /// User name, if they ask for one.
        text username: Option<Name> = example("dnscribe"),
        /// Password. Better in a file: see password_file.
        text password: Option<Secret> = example("secret"),
        /// File that contains the password.
        text password_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/alertmanager-password"),
        /// File that contains a bearer token, instead of name and password.
        text bearer_token_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/alertmanager-token"),
        /// File of trusted certificates, in PEM. Default: those of the system.
        text ca_file: Option<PathBuf> = example("/etc/ssl/alertmanager-ca.pem"),
        /// Time limit of a request.
        text timeout: Option<PositiveSpan> = default(Duration::from_secs(5)),
        /// Interval at which an active alert is sent again.
        text resend: Option<PositiveSpan> = default(Duration::from_mins(1)),
        /// Labels that are added to every alert.
        map labels: BTreeMap<LabelName, String> = example("{ team: dns }"),
        /// Link of every alert. Default: none.
        text generator_url: Option<Link> = example("https://dashboards.example/dns"),
    }
}

/// A link: `http://` or `https://` and anything that a URL may contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link(String);

impl FromStr for Link {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let legal = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        match rest {
            Some(rest) if !rest.is_empty() && rest.bytes().all(legal) => Ok(Self(text.to_owned())),
            _ => Err(BadValue::unquoted(
                "not a link: give one such as https://dashboards.example/dns?team=dns",
            )),
        }
    }
}

/// Name of a label: letters, digits and underscores, no digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelName(String);

impl FromStr for LabelName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let begins_with_digit = text.starts_with(|letter: char| letter.is_ascii_digit());
        if text.is_empty() || begins_with_digit || !text.chars().all(legal) {
            let remedy = "letters, digits and underscores, no digit first";
            return Err(BadValue::new(text, "the name of a label", remedy));
        }
        if ["alertname", "rule", "severity", "node"].contains(&text) {
            let problem = format!("label \"{text}\" is dnscribe's own: give another name");
            return Err(BadValue::unquoted(&problem));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Checks the section; returns nothing where it is empty.
///
/// # Errors
/// Settings do not fit together, or a file cannot be read.
pub fn resolve(layer: AlertmanagerLayer) -> Result<Option<AlertmanagerConfig>, ConfigError> {
    let (timeout, resend) = (layer.timeout().0, layer.resend().0);
    let login = secret::LoginKeys {
        username: layer.username.as_ref(),
        password: layer.password.as_ref(),
        password_file: layer.password_file.as_deref(),
        bearer_token_file: layer.bearer_token_file.as_deref(),
    };
    let authorization = login.authorization(SECTION)?;
    let urls: Vec<String> =
        layer.urls.unwrap_or_default().into_iter().map(|Url(url)| url).collect();
    if urls.is_empty() {
        let is_empty = authorization.is_none()
            && layer.ca_file.is_none()
            && layer.timeout.is_none()
            && layer.resend.is_none()
            && layer.generator_url.is_none()
            && layer.labels.is_empty();
        return if is_empty { Ok(None) } else { wrong(MISSING) };
    }
    Ok(Some(AlertmanagerConfig {
        urls,
        authorization,
        ca_file: layer.ca_file,
        timeout,
        resend,
        labels: layer.labels.into_iter().map(|(name, value)| (name.0, value)).collect(),
        generator_url: layer.generator_url.map(|Link(url)| url),
    }))
}

const MISSING: &str = "urls is missing: give one such as http://alertmanager:9093";

/// Adds the sink to a live capture where the section is given. Refuses the sink without the section.
///
/// # Errors
/// Settings do not fit together, or a file cannot be read.
pub fn add_sink(
    sinks: &mut Vec<SinkSpec>,
    config: Option<&AlertmanagerConfig>,
    live: bool,
) -> Result<(), ConfigError> {
    let given = sinks.iter().filter(|sink| **sink == SinkSpec::Alertmanager).count();
    match (given, config) {
        (0, Some(_)) if live => sinks.push(SinkSpec::Alertmanager),
        (0, _) | (1, Some(_)) => {}
        (_, None) => return wrong(MISSING),
        (_, Some(_)) => return wrong("the sink is given twice: keep one of them"),
    }
    Ok(())
}

const SECTION: &str = "alertmanager";

fn wrong<T>(problem: &str) -> Result<T, ConfigError> {
    ConfigError::in_section(SECTION, problem)
}
