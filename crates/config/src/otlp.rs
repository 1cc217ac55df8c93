//! Section `otlp`.

use crate::ConfigError;
use crate::secret::{self, Secret};
use crate::value::{Count, Name, PositiveSpan};
use dnscribe_delivery::{OtlpConfig, Password, StreamSet, Temporality};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

section! {
    /// Section `otlp`.
    OtlpLayer {
        /// Streams that are sent, where they differ from `streams`.
        joined streams: Option<StreamSet> = example("[transactions, lookups, metrics, alerts, connections]"),
        /// Whether metrics are cumulative, as Prometheus wants them, or delta.
        text temporality: Option<Temporality> = default(Temporality::Cumulative),
        /// Most groups of windows that have series of their own, some ten each, and as many of lookups; the others are one,
        /// with otel.metric.overflow.
        text max_series: Option<Count> = default(2000),
        /// User name, if the server asks for one.
        text username: Option<Name> = example("dnscribe"),
        /// Password. Better in a file: see password_file.
        text password: Option<Secret> = example("secret"),
        /// File that contains the password.
        text password_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/otlp-password"),
        /// File that contains a bearer token, instead of name and password.
        text bearer_token_file: Option<PathBuf> = example("/run/credentials/dnscribe.service/otlp-token"),
        /// Files that contain the values of further headers of each request, by the header's name.
        map header_files: BTreeMap<Name, PathBuf> = example("{ api-key: /run/credentials/dnscribe.service/otlp-api-key }"),
        /// File of trusted certificates, in PEM. Default: those of the system.
        text ca_file: Option<PathBuf> = example("/etc/ssl/otlp-ca.pem"),
        /// Time limit of a request.
        text timeout: Option<PositiveSpan> = default(Duration::from_secs(10)),
    }
}

/// Checks the section. Metrics are made of windows with the length and step `window`, in seconds.
///
/// # Errors
/// Settings do not fit together, or a file cannot be read.
pub fn resolve(layer: OtlpLayer, window: (u64, u64)) -> Result<OtlpConfig, ConfigError> {
    let header =
        |(Name(name), file): (&Name, &PathBuf)| -> Result<(String, Password), ConfigError> {
            let value = secret::password_in(SECTION, &format!("header_files.{name}"), file)?;
            Ok((name.clone(), value))
        };
    let headers = layer.header_files.iter().map(header).collect::<Result<_, _>>()?;
    let login = secret::LoginKeys {
        username: layer.username.as_ref(),
        password: layer.password.as_ref(),
        password_file: layer.password_file.as_deref(),
        bearer_token_file: layer.bearer_token_file.as_deref(),
    };
    Ok(OtlpConfig {
        authorization: login.authorization(SECTION)?,
        headers,
        timeout: layer.timeout().0,
        temporality: layer.temporality(),
        max_series: layer.max_series().0,
        window,
        ca_file: layer.ca_file,
    })
}

const SECTION: &str = "otlp";
