//! The configuration: one YAML file, the environment (`DNSCRIBE_PROBE_…`) and flags.

mod adhoc;
mod blackbox;
mod client_certificate;
mod layer;
pub mod modules;
pub mod reference;
mod rules;
mod services;
mod trust;
mod value;

pub use adhoc::AdHoc;
pub use layer::Layer;
pub use rules::TriggerOptions;
pub use value::{DnsName, ResolverUrl};

use self::layer::{LimitsLayer, METRICS_LISTEN, MemoryLayer};
use crate::memory::{LearningRules, MemoryConfig};
use crate::schedule::{BreakerOptions, Limits};
use crate::target::Service;
use crate::trust::Trust;
use crate::verdict::RuleOptions;
use dnscribe_config::privacy;
use dnscribe_config::value::FileFormat;
use dnscribe_config::{
    ConfigError, alertmanager, host, kafka, log, reader::Field as _, sinks, source,
};
use dnscribe_delivery::spool::SpoolConfig;
use dnscribe_delivery::{
    AlertmanagerConfig, KafkaConfig, OpenWith, OutputFormat, Rotation, SinkPlan, SinkSpec, Stream,
    StreamSelection, StreamSet,
};
use dnscribe_record::Labels;
use dnscribe_record::privacy::MaskingRules;
use modules::Modules;
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
    /// Rules and their thresholds.
    pub rules: RuleOptions,
    /// When alerts of others trigger measurements.
    pub trigger: TriggerOptions,
    /// Targets of names that no service has.
    pub ad_hoc: AdHoc,
    /// Roots of certificates and trust anchors.
    pub trust: Trust,
    /// What runs at the same time, and how often.
    pub limits: Limits,
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
    /// Format of records in these files.
    pub files: FileFormat,
    /// What `/probe` measures.
    pub modules: Modules,
    /// Number of requests that `/probe` measures at a time; absent where it is not served.
    pub probe_requests: Option<usize>,
    /// Memory of what was good.
    pub memory: MemoryConfig,
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
        Self::load_all(sources).map_err(|error| {
            source::placed(error, sources.file.as_deref(), || {
                let (environment, flags) = (Vec::new(), Layer::default());
                Self::load_all(&Sources { environment, flags, ..sources.clone() })
            })
        })
    }

    fn load_all(sources: &Sources) -> Result<Self, ConfigError> {
        let read = |path| source::file(path, |layer: &Layer| layer.version.is_some());
        let file = sources.file.as_deref().map(read).transpose()?.unwrap_or_default();
        let variables = sources.environment.iter().cloned();
        let environment: Layer = source::environment("DNSCRIBE_PROBE_", &NOT_SETTINGS, variables)?;
        resolve(&sources.flags.clone().over(environment.over(file)), sources)
    }

    /// Returns whether there is a target with this service, kind and name.
    #[must_use]
    pub fn has_target(&self, service: &str, kind: &str, name: &str) -> bool {
        let services = self.services.iter().filter(|one| &*one.name == service);
        let mut targets = services.flat_map(|service| &service.targets);
        targets.any(|target| target.kind.name() == kind && target.name == name)
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
            files: self.files.into(),
            alertmanager: self.alertmanager.as_ref(),
            otlp: None,
            spool: self.spool.as_ref(),
            ..OpenWith::new(&self.node, &self.kafka)
        }
    }

    /// Returns the sinks, in order.
    #[must_use]
    pub fn sink_plans(&self) -> Vec<SinkPlan> {
        let with = self.open_with();
        self.sinks.iter().map(|sink| SinkPlan::new(sink, &with)).collect()
    }

    /// Replaces the sinks, their streams and settings by those of another configuration.
    #[must_use]
    pub fn with_sinks_of(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            sinks: other.sinks,
            streams: other.streams,
            stdout: other.stdout,
            kafka: other.kafka,
            alertmanager: other.alertmanager,
            spool: other.spool,
            rotation: other.rotation,
            files: other.files,
            privacy: other.privacy,
            ..self
        }
    }

    /// Replaces node, region and labels by those of another configuration.
    #[must_use]
    pub fn with_identity_of(self, other: &Self) -> Self {
        let (node, region, labels) =
            (other.node.clone(), other.region.clone(), other.labels.clone());
        Self { node, region, labels, ..self }
    }
}

/// Largest number that is exact as a float and no limit in practice.
const NO_LIMIT: u32 = u32::MAX;

fn limits(layer: &LimitsLayer, rules: &RuleOptions) -> Limits {
    let number = |count: usize| u32::try_from(count).unwrap_or(NO_LIMIT);
    Limits {
        rounds: layer.rounds().0,
        rounds_per_host: layer.rounds_per_host().0,
        rate_per_host: number(layer.rate_per_host().0).into(),
        burst_per_host: number(layer.burst_per_host().0).into(),
        breaker: BreakerOptions {
            failures: number(layer.breaker_failures().0),
            rounds: number(rules.rounds),
            backoff: layer.breaker_backoff().0,
            max_backoff: layer.breaker_max_backoff().0,
        },
    }
}

/// Refuses streams that only agents and jobs have.
fn check_streams(layer: &Layer) -> Result<(), ConfigError> {
    let given = [
        ("streams", layer.streams),
        ("kafka.streams", layer.kafka.streams),
        ("file.streams", layer.file.streams),
    ];
    let own: Vec<&str> = StreamSet::PROBED.iter().map(Stream::name).collect();
    for (key, streams) in given {
        let mut names = streams.into_iter().flat_map(StreamSet::iter).map(Stream::name);
        if let Some(other) = names.find(|name| !own.contains(name)) {
            let why = format!("a probe has no {other}: give some of {}", own.join(", "));
            return ConfigError::in_section(key, why);
        }
    }
    Ok(())
}

fn resolve(layer: &Layer, sources: &Sources) -> Result<Config, ConfigError> {
    let labels = host::labels(&layer.labels)?;
    let placeholders = host::placeholders(&labels, layer.region.as_ref());
    let kafka = kafka::resolve(layer.kafka.clone(), &placeholders)?;
    let alertmanager = alertmanager::resolve(layer.alertmanager.clone())?;
    let mut specs = sinks::sinks(layer.sinks.clone().unwrap_or_default(), &kafka)?;
    alertmanager::add_sink(&mut specs, alertmanager.as_ref(), true)?;
    let stored = layer.streams.unwrap_or(StreamSet::PROBED);
    check_streams(layer)?;
    let node = layer.node.clone().map_or_else(host::name, |node| node.0);
    let rules = rules::resolve(&layer.rules)?;
    Ok(Config {
        site: layer.site.clone().map_or_else(|| node.clone(), |site| site.0),
        node,
        region: layer.region.clone().map(|region| region.0),
        labels,
        trigger: layer.trigger.resolve(),
        ad_hoc: AdHoc::new(layer),
        trust: trust::resolve(layer)?,
        services: services::resolve(layer, sources.file.as_deref())?,
        limits: limits(&layer.limits, &rules),
        rules,
        modules: modules::resolve(layer)?,
        probe_requests: probe_requests(layer),
        memory: memory(&layer.memory, &sources.environment),
        sinks: specs,
        streams: StreamSelection {
            general: Some(layer.streams.unwrap_or(SHOWN)),
            kafka: Some(layer.kafka.streams.unwrap_or(stored)),
            file: Some(layer.file.streams.unwrap_or(stored)),
            ..StreamSelection::default()
        },
        stdout: layer.output().stdout_format(),
        kafka,
        alertmanager,
        spool: sinks::spool(&layer.spool, &sources.environment, STATE_DIRECTORY),
        rotation: sinks::rotation(&layer.file)?,
        files: layer.file.format(),
        metrics_listen: metrics_listen(layer),
        health_window: layer.health.window().0,
        privacy: privacy::resolve(layer.privacy.clone(), false)?,
        log: log::resolve(&layer.log),
        drain_timeout: layer.drain_timeout().0,
    })
}

fn metrics_listen(layer: &Layer) -> Option<SocketAddr> {
    layer.metrics.listen.unwrap_or(METRICS_LISTEN).0
}

fn probe_requests(layer: &Layer) -> Option<usize> {
    let is_local = metrics_listen(layer).is_some_and(|listen| listen.ip().is_loopback());
    let enabled = layer.probe_endpoint.enabled.map_or(is_local, |enabled| enabled.0);
    enabled.then(|| layer.probe_endpoint.max_concurrent().0)
}

fn memory(layer: &MemoryLayer, environment: &[(OsString, OsString)]) -> MemoryConfig {
    let managed = environment.iter().find(|(name, _)| name == "STATE_DIRECTORY");
    let given = layer.directory.clone().or_else(|| managed.map(|(_, path)| path.into()));
    let is_directory_given = given.is_some();
    let directory = || given.unwrap_or_else(|| STATE_DIRECTORY.into());
    let rounds = u32::try_from(layer.learn_rounds().0).unwrap_or(u32::MAX);
    MemoryConfig {
        directory: layer.persist().0.then(directory),
        is_directory_given,
        learning: LearningRules { rounds, after: layer.learn_after().0 },
        forget_after: layer.forget_after().0,
        save_interval: layer.save_interval().0,
    }
}

/// Default streams of stdout.
const SHOWN: StreamSet = StreamSet::EMPTY.with(Stream::Probes).with(Stream::Alerts);

/// Directory of state where no service manager gives one.
pub const STATE_DIRECTORY: &str = "/var/lib/dnscribe-probe";
