//! The configuration: one YAML file, the environment (`DNSCRIBE_PROBE_…`) and flags.

mod layer;
pub mod reference;
mod services;
mod value;

pub use layer::Layer;

use crate::target::Service;
use crate::trust::Trust;
use dnscribe_config::privacy;
use dnscribe_config::{ConfigError, alertmanager, kafka, log, reader::Field as _, sinks, source};
use dnscribe_delivery::spool::SpoolConfig;
use dnscribe_delivery::{
    AlertmanagerConfig, KafkaConfig, OpenWith, OutputFormat, Rotation, SinkSpec, StreamSelection,
    StreamSet,
};
use dnscribe_record::Labels;
use dnscribe_record::privacy::MaskingRules;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Variables with the prefix of settings that are not settings.
const NOT_SETTINGS: [&str; 2] = ["DNSCRIBE_PROBE_BIN", "DNSCRIBE_PROBE_CONFIG"];

/// Sources of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Configuration file.
    pub file: Option<PathBuf>,
    /// Environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Values of flags.
    pub flags: Layer,
}

/// A configuration that was checked and completed with defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this host in records.
    pub node: String,
    /// Vantage point.
    pub site: String,
    /// Region of this host.
    pub region: Option<String>,
    /// Labels of this host.
    pub labels: Labels,
    /// Roots of certificates and trust anchors.
    pub trust: Trust,
    /// What is measured.
    pub services: Vec<Service>,
    /// Destinations of records; at least one.
    pub sinks: Vec<SinkSpec>,
    /// Streams of the sinks.
    pub streams: StreamSelection,
    /// Format of records on stdout.
    pub stdout: OutputFormat,
    /// Connection to Kafka.
    pub kafka: KafkaConfig,
    /// Connection to Alertmanager; given where a sink needs it.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Queue on disk for records while Kafka cannot be reached; in memory only where absent.
    pub spool: Option<SpoolConfig>,
    /// Rotation of the files of file sinks.
    pub rotation: Rotation,
    /// Address of `/metrics`, if it is served.
    pub metrics_listen: Option<SocketAddr>,
    /// Time for which `/healthz` reports a loss.
    pub health_window: Duration,
    /// Masking of records.
    pub privacy: MaskingRules,
    /// Log on stderr.
    pub log: log::LogConfig,
    /// Time limit of the shutdown.
    pub drain_timeout: Duration,
}

impl Config {
    /// Reads and merges all sources.
    ///
    /// # Errors
    /// A source cannot be read, or a key or a value is wrong.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let read = |path| source::file(path, |layer: &Layer| layer.version.is_some());
        let file = sources.file.as_deref().map(read).transpose()?.unwrap_or_default();
        let variables = sources.environment.iter().cloned();
        let environment: Layer = source::environment("DNSCRIBE_PROBE_", &NOT_SETTINGS, variables)?;
        resolve(sources.flags.clone().over(environment.over(file)), sources)
    }

    /// Returns the options of [`dnscribe_delivery::open`].
    #[must_use]
    pub fn open_with(&self) -> OpenWith<'_> {
        OpenWith {
            streams: self.streams,
            stdout: self.stdout,
            region: self.region.as_deref(),
            labels: Some(&self.labels).filter(|labels| !labels.is_empty()),
            rotation: self.rotation,
            alertmanager: self.alertmanager.as_ref(),
            spool: self.spool.as_ref(),
            ..OpenWith::new(&self.node, &self.kafka)
        }
    }
}

fn resolve(layer: Layer, sources: &Sources) -> Result<Config, ConfigError> {
    let labels: Labels =
        layer.labels.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect();
    let kafka = kafka::resolve(layer.kafka.clone(), &labels)?;
    let alertmanager = alertmanager::resolve(layer.alertmanager.clone())?;
    let mut specs = sinks::sinks(layer.sinks.clone().unwrap_or_default(), &kafka)?;
    alertmanager::add_sink(&mut specs, alertmanager.as_ref(), true)?;
    let host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let node = layer.node.clone().map_or_else(host, |node| node.0);
    Ok(Config {
        site: layer.site.clone().map_or_else(|| node.clone(), |site| site.0),
        node,
        region: layer.region.clone().map(|region| region.0),
        labels,
        trust: trust(&layer)?,
        services: services::resolve(&layer)?,
        sinks: specs,
        streams: StreamSelection {
            general: Some(layer.streams.unwrap_or(StreamSet::PROBED)),
            kafka: layer.kafka.streams,
            file: layer.file.streams,
        },
        stdout: layer.output().stdout_format(),
        kafka,
        alertmanager,
        spool: sinks::spool(&layer.spool, &sources.environment, STATE_DIRECTORY),
        rotation: sinks::rotation(&layer.file)?,
        metrics_listen: layer.metrics.listen().0,
        health_window: layer.health.window().0,
        privacy: privacy::resolve(layer.privacy.clone(), false)?,
        log: log::resolve(&layer.log),
        drain_timeout: layer.drain_timeout().0,
    })
}

fn trust(layer: &Layer) -> Result<Trust, ConfigError> {
    let (roots, anchors) = (&layer.trust.roots, &layer.trust.dnssec_anchors);
    Trust::load(roots.as_deref(), anchors.as_deref())
        .or_else(|problem| ConfigError::in_section("trust", problem))
}

/// Directory of state where no service manager gives one.
pub const STATE_DIRECTORY: &str = "/var/lib/dnscribe-probe";
