//! The configuration: defaults, then a YAML file, then the environment, then flags. Each source wins over
//! those before it.
//!
//! [`Config::load`] merges the sources and returns the options of all stages, or an error that says what
//! is wrong, where, and what to give instead. The sections in [`layer`] declare every key, with its type,
//! default and description.

pub mod capture;
mod detect;
pub mod filters;
mod indicators;
mod kubernetes;
pub mod layer;
mod privileges;
pub mod reference;

pub use capture::{InterfaceName, Threads};
pub use indicators::{FileState, FirstSeenConfig, IndicatorConfig, file_state, read_indicators};
pub use privileges::{Drop, Privileges};

use crate::capture::dnstap::{DnstapAddress, DnstapTls};
use crate::capture::live::LiveOptions;
use crate::enrich::kubernetes::KubernetesConfig;
use crate::pipeline::filter::StreamFilters;
use crate::record::RecordLimits;
use dnscribe_analysis::detect::DetectOptions;
use dnscribe_analysis::window::{WindowKind, WindowOptions};
use dnscribe_config::log::{self, LogConfig};
use dnscribe_config::reader::Field as _;
use dnscribe_config::value::{Address, FileFormat, Listen, Name, RecordOutput};
use dnscribe_config::{ConfigError, alertmanager, host, kafka, otlp, privacy, sinks, source};
use dnscribe_delivery::spool::SpoolConfig;
use dnscribe_delivery::{
    AlertmanagerConfig, EvidenceLimits, KafkaConfig, OpenWith, OtlpConfig, Rotation, SinkPlan,
    SinkSpec, Stream, StreamSelection, StreamSet,
};
use dnscribe_record::Labels;
use dnscribe_record::privacy::{Mask, MaskingRules};
use dnscribe_transaction::correlate::CorrelationMode;
use dnscribe_transaction::encrypted::ConnectionOptions;
use dnscribe_transaction::pair::PairOptions;
use layer::Layer;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Variables with the prefix of settings that are not settings.
const NOT_SETTINGS: [&str; 10] = [
    "DNSCRIBE_BIN",
    "DNSCRIBE_BLESS",
    "DNSCRIBE_CONFIG",
    "DNSCRIBE_CONFORMANCE",
    "DNSCRIBE_CORPUS",
    "DNSCRIBE_EBPF_PREBUILT",
    "DNSCRIBE_KPI_",
    "DNSCRIBE_PROBE_",
    "DNSCRIBE_STREAM_",
    log::VARIABLE,
];

/// Time after which a replay gives up a server that cannot be reached. Somebody watches it and need not
/// wait longer for a wrong address.
const REPLAY_PATIENCE: Duration = Duration::from_secs(30);

/// The command that a configuration is for: defaults differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `run`, and `check`, which checks whether `run` would work.
    Live,
    /// `replay`: the node is `replay`, and metrics are served only where a flag or the environment
    /// asks for it.
    Replay,
}

/// Sources of a configuration, kept for a reload.
#[derive(Clone)]
pub struct Sources {
    /// The command.
    pub purpose: Purpose,
    /// The file, if any.
    pub file: Option<PathBuf>,
    /// All environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// Settings from flags.
    pub flags: Layer,
}

/// Leaves out the environment and the flags, which may contain secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("purpose", &self.purpose)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// What dnstap is captured with, if servers send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnstapPlace {
    /// Nothing is attached.
    InsteadOfHook,
    /// Programs are attached to a hook as well.
    BesideHook,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name of this host in records.
    pub node: String,
    /// Location of this host.
    pub region: Option<String>,
    /// Labels of this host in records.
    pub labels: Labels,
    /// Live capture. `helper` is filled in by the command.
    pub capture: LiveOptions,
    /// Addresses at which servers send dnstap.
    pub dnstap: Vec<DnstapAddress>,
    /// Whether a hook is captured as well.
    pub dnstap_place: DnstapPlace,
    /// Files of those of these addresses that have TLS.
    pub dnstap_tls: Option<DnstapTls>,
    /// Whether `capture.nice` is configured, so that it is worth a capability.
    pub nice_is_set: bool,
    /// Pairing of queries and responses.
    pub pairing: PairOptions,
    /// Times and limits of connections of encrypted DNS.
    pub connecting: ConnectionOptions,
    /// Whether the transactions of one lookup at a resolver are correlated.
    pub correlation: CorrelationMode,
    /// Windows that are written.
    pub windows: WindowOptions,
    /// Options of detection; none where it does not run.
    pub detect: Option<DetectOptions>,
    /// Streams of the sinks.
    pub streams: StreamSelection,
    /// Destinations of records; at least one.
    pub sinks: Vec<SinkSpec>,
    /// Format of records on stdout.
    pub output: RecordOutput,
    /// Connection to Kafka; with brokers where a sink needs them.
    pub kafka: KafkaConfig,
    /// Connection to Alertmanager; given where a sink needs it.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// Connection to servers of OTLP.
    pub otlp: OtlpConfig,
    /// Time after which the sinks of Kafka, OTLP and Alertmanager give up a server that cannot be reached;
    /// never where absent.
    pub server_patience: Option<Duration>,
    /// Queue on disk for records while Kafka, or a server of OTLP, cannot be reached; in memory only where absent.
    pub spool: Option<SpoolConfig>,
    /// Limits of a sink `evidence`.
    pub evidence: EvidenceLimits,
    /// Rotation of the files of file sinks.
    pub rotation: Rotation,
    /// Format of records in these files.
    pub files: FileFormat,
    /// Names of resolvers by address (IPv4-mapped IPv6 addresses as IPv4).
    pub resolvers: BTreeMap<IpAddr, String>,
    /// How pods are watched, if they are.
    pub kubernetes: Option<KubernetesConfig>,
    /// Address of `/metrics`, if it is served.
    pub metrics_listen: Option<SocketAddr>,
    /// Time for which `/healthz` reports a loss.
    pub health_window: Duration,
    /// Whether message records contain the bytes of the message.
    pub messages_wire: bool,
    /// Whether records contain internationalised names in Unicode, too.
    pub records_idn: bool,
    /// Limits of records of messages and transactions.
    pub record_limits: RecordLimits,
    /// Privileges that are dropped once capture has begun.
    pub privileges: Privileges,
    /// Files besides the configuration's own that were read, and are read again at a reload.
    pub secret_files: Vec<PathBuf>,
    /// Indicators that transactions are matched with.
    pub indicators: IndicatorConfig,
    /// How first times of zones are remembered, if they are.
    pub first_seen: Option<FirstSeenConfig>,
    /// Filters of records.
    pub filters: StreamFilters,
    /// Masking of records.
    pub privacy: MaskingRules,
    /// Log on stderr.
    pub log: LogConfig,
    /// Time limit of the shutdown.
    pub drain_timeout: Duration,
    /// Time after which capture ends; never where absent.
    pub duration: Option<Duration>,
}

/// Whether any sink gets records of the stream.
fn is_wanted(streams: &StreamSelection, sinks: &[SinkSpec], stream: Stream) -> bool {
    sinks.iter().any(|sink| streams.for_sink(sink).contains(stream))
}

impl Config {
    /// Whether any sink gets records of the stream.
    #[must_use]
    pub fn wants(&self, stream: Stream) -> bool {
        is_wanted(&self.streams, &self.sinks, stream)
    }

    /// Whether programs are attached to a hook.
    #[must_use]
    pub const fn has_hook(&self) -> bool {
        self.dnstap.is_empty() || matches!(self.dnstap_place, DnstapPlace::BesideHook)
    }

    /// Whether servers send dnstap beside a hook.
    #[must_use]
    pub const fn is_beside(&self) -> bool {
        !self.dnstap.is_empty() && self.has_hook()
    }

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
        let mut file = sources.file.as_deref().map(read).transpose()?.unwrap_or_default();
        if sources.purpose == Purpose::Replay {
            // The file is for `run`, which may serve metrics at this address now.
            file.metrics.listen = Some(Listen(None));
        }
        let variables = sources.environment.iter().cloned();
        let environment: Layer = source::environment("DNSCRIBE_", &NOT_SETTINGS, variables)?;
        let mut below = environment.over(file);
        if sources.flags.streams.is_some() {
            // `--stream` is for every sink of this run.
            below.kafka.streams = None;
            below.file.streams = None;
            below.otlp.streams = None;
        }
        resolve(sources.flags.clone().over(below), sources)
    }

    /// Returns the options of [`dnscribe_delivery::open`]. Whether stdout is a terminal decides its format.
    #[must_use]
    pub fn open_with(&self) -> OpenWith<'_> {
        OpenWith {
            streams: self.streams,
            stdout: self.output.stdout_format(),
            node: &self.node,
            region: self.region.as_deref(),
            labels: Some(&self.labels).filter(|labels| !labels.is_empty()),
            rotation: self.rotation,
            files: self.files.into(),
            kafka: &self.kafka,
            alertmanager: self.alertmanager.as_ref(),
            otlp: Some(&self.otlp),
            evidence: self.evidence,
            server_patience: self.server_patience,
            spool: self.spool.as_ref(),
        }
    }

    /// Returns the sinks, in order.
    #[must_use]
    pub fn sink_plans(&self) -> Vec<SinkPlan> {
        let with = self.open_with();
        self.sinks.iter().map(|sink| SinkPlan::new(sink, &with)).collect()
    }

    /// Replaces the sinks, their streams and settings, and detection by those of another configuration.
    #[must_use]
    pub fn with_sinks_of(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            detect: other.detect,
            streams: other.streams,
            sinks: other.sinks,
            output: other.output,
            kafka: other.kafka,
            alertmanager: other.alertmanager,
            otlp: other.otlp,
            server_patience: other.server_patience,
            spool: other.spool,
            evidence: other.evidence,
            rotation: other.rotation,
            files: other.files,
            secret_files: other.secret_files,
            messages_wire: other.messages_wire,
            ..self
        }
    }
}

/// Refuses the stream that only `dnscribe-probe` writes.
fn refuse_probes(layer: &Layer) -> Result<(), ConfigError> {
    let lists = [
        ("streams", layer.streams),
        ("kafka.streams", layer.kafka.streams),
        ("file.streams", layer.file.streams),
        ("otlp.streams", layer.otlp.streams),
    ];
    match lists.into_iter().find(|(_, streams)| streams.is_some_and(|s| s.contains(Stream::Probes)))
    {
        Some((key, _)) => {
            ConfigError::in_section(key, "probes is a stream of dnscribe-probe: leave it out")
        }
        None => Ok(()),
    }
}

/// Checks the merged layer and fills in the defaults.
fn resolve(layer: Layer, sources: &Sources) -> Result<Config, ConfigError> {
    let (purpose, environment) = (sources.purpose, &sources.environment);
    let is_live = purpose == Purpose::Live;
    let streams = StreamSelection {
        general: layer.streams,
        kafka: layer.kafka.streams,
        file: layer.file.streams,
        otlp: layer.otlp.streams,
        besides: if is_live && layer.capture.connections().0 {
            StreamSet::EMPTY.with(Stream::Uses)
        } else {
            StreamSet::EMPTY
        },
    };
    refuse_probes(&layer)?;
    let secret_files = privileges::secret_files(&layer);
    let labels = host::labels(&layer.labels)?;
    let placeholders = host::placeholders(&labels, layer.region.as_ref());
    let kafka = kafka::resolve(layer.kafka.clone(), &placeholders)?;
    let alertmanager = alertmanager::resolve(layer.alertmanager.clone())?;
    let mut sinks = sinks::sinks(layer.sinks.clone().unwrap_or_default(), &kafka)?;
    alertmanager::add_sink(&mut sinks, alertmanager.as_ref(), is_live)?;
    let has = |stream| is_wanted(&streams, &sinks, stream);
    let mut detect = detect::resolve(layer.detect.clone(), has(Stream::Alerts))?;
    let has_encrypted =
        has(Stream::Connections) || detect.is_some() && layer.encrypted.has_targets();
    let connects = is_live && has(Stream::Uses);
    if !connects && streams.besides != StreamSet::EMPTY {
        let problem =
            "no sink gets the stream uses: add it to their streams, or leave out connections";
        return ConfigError::in_section("capture.connections", problem);
    }
    let capture = capture::live_options(&layer, has_encrypted, connects)?;
    let pairing = capture::pairing(&layer.pairing);
    let messages_wire = layer.messages.wire().0 || sinks.iter().any(SinkSpec::needs_wire);
    let privacy = privacy::resolve(layer.privacy.clone(), messages_wire)?;
    let recorder = sinks.iter().find(|sink| matches!(sink, SinkSpec::Evidence(_)));
    if let Some(directory) = recorder.and_then(SinkSpec::directory) {
        let Some(detect) = &mut detect else {
            let problem = "the sink evidence writes what is behind alerts: leave one of them out";
            return ConfigError::in_section("detect.enabled: false", problem);
        };
        if [Stream::Messages, Stream::Alerts].map(|stream| privacy.mask(stream))
            != [Mask::default(); 2]
        {
            let problem = "the sink evidence finds the messages of an alert by their names, addresses and processes: \
                           keep the streams messages and alerts as they are, or leave it out";
            return ConfigError::in_section("privacy", problem);
        }
        detect.evidence = Some(directory.to_path_buf());
    }
    let rotation = sinks::rotation(&layer.file)?;
    let windows = capture::windows(&layer.windows, pairing.query_timeout);
    let otlp = otlp::resolve(layer.otlp.clone(), metric_window(&windows, &streams, &sinks)?)?;
    let resolvers = resolvers(layer.resolvers.clone())?;
    let kubernetes = kubernetes::resolve(layer.kubernetes.clone(), environment, purpose)?;
    Ok(Config {
        output: layer.output(),
        dnstap_tls: capture::dnstap_tls(&layer.capture)?,
        dnstap_place: capture::place(&layer.capture),
        dnstap: layer.capture.dnstap.clone().unwrap_or_default(),
        correlation: layer.join(),
        drain_timeout: layer.drain_timeout().0,
        node: layer.node.map_or_else(|| default_node(purpose), |node| node.0),
        region: layer.region.map(|region| region.0),
        labels,
        nice_is_set: layer.capture.nice.is_some(),
        capture,
        pairing,
        connecting: capture::connecting(&layer.encrypted, pairing.query_timeout),
        windows,
        detect,
        streams,
        sinks,
        kafka,
        alertmanager,
        otlp,
        server_patience: (!is_live).then_some(REPLAY_PATIENCE),
        // A replay can wait for Kafka, and be repeated.
        spool: sinks::spool(&layer.spool, environment, sinks::STATE_DIRECTORY).filter(|_| is_live),
        evidence: layer.evidence.limits(),
        files: layer.file.format(),
        // In a replay, files do not age.
        rotation: Rotation { every: rotation.every.filter(|_| is_live), ..rotation },
        // A replay may read the configuration of an agent whose pods have names.
        filters: filters::resolve(layer.filters, &resolvers, kubernetes.is_some() || !is_live)?,
        resolvers,
        kubernetes,
        metrics_listen: layer.metrics.listen().0,
        health_window: layer.health.window().0,
        messages_wire,
        records_idn: layer.records.idn().0,
        record_limits: RecordLimits {
            answers: layer.records.max_answers().0,
            bytes: layer.records.max_bytes().0,
        },
        privileges: privileges::resolve(layer.privileges),
        secret_files,
        indicators: indicators::resolve(layer.indicators)?,
        first_seen: layer.first_seen.resolve(),
        privacy,
        log: log::resolve(&layer.log),
        duration: layer.duration.map(|span| span.0),
    })
}

/// Returns length and step, in seconds, of the windows that become metrics of OTLP.
fn metric_window(
    windows: &WindowOptions,
    streams: &StreamSelection,
    sinks: &[SinkSpec],
) -> Result<(u64, u64), ConfigError> {
    let kind = windows.spans.shortest();
    let is_used =
        |sink: &SinkSpec| sink.makes_metrics() && streams.for_sink(sink).contains(Stream::Metrics);
    if kind == WindowKind::Sliding && sinks.iter().any(is_used) {
        // Only every sixth could be used, and what comes after the last of these would be missing.
        let problem = "metrics by OTLP need windows that do not overlap: add 1m, or leave the signal metrics or \
                       the stream metrics out of the sink otlp";
        return ConfigError::in_section("windows.spans", problem);
    }
    Ok(kind.seconds())
}

fn default_node(purpose: Purpose) -> String {
    match purpose {
        Purpose::Replay => "replay".to_owned(),
        Purpose::Live => host::name(),
    }
}

/// Returns the names of resolvers by address.
fn resolvers(
    by_name: BTreeMap<Name, Vec<Address>>,
) -> Result<BTreeMap<IpAddr, String>, ConfigError> {
    let mut by_address = BTreeMap::new();
    for (Name(name), addresses) in by_name {
        for Address(address) in addresses {
            let before = by_address.insert(address, name.clone());
            if let Some(first) = before.filter(|first| *first != name) {
                let problem =
                    format!("{address} is both \"{first}\" and \"{name}\": keep one of them");
                return ConfigError::in_section("resolvers", problem);
            }
        }
    }
    Ok(by_address)
}

#[cfg(test)]
mod tests;
