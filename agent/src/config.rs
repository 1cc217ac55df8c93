//! The configuration: defaults, then a YAML file, then the environment, then flags; each wins over
//! what is before it.
//!
//! [`Config::load`] either gives a configuration that makes sense or says in one sentence what
//! does not, and where.

#![forbid(unsafe_code)]

mod alertmanager;
mod detect;
mod error;
mod filters;
mod kubernetes;
pub mod layer;
mod privacy;
mod privileges;
pub mod reference;
mod registry;
mod secret;
mod shape;
mod source;
pub mod value;

pub use error::ConfigError;
pub use privileges::Privileges;

use crate::capture::encrypted::{ENCRYPTED_PORT, Encrypted, HTTPS_PORT};
use crate::capture::ports::PortSet;
use crate::connection::ConnectionOptions;
use crate::detect::DetectOptions;
use crate::enrich::kubernetes::KubernetesConfig;
use crate::filter::Filters;
use crate::join::Joining;
use crate::pair::PairOptions;
use crate::privacy::Privacy;
use crate::sink::spool::{SpoolConfig, WhenFull};
use crate::sink::{
    AlertmanagerConfig, KafkaConfig, OpenWith, Plan, Rotation, SinkSpec, Stream, StreamChoice,
    TopicCreation, same_place,
};
use crate::window::WindowOptions;
use layer::{EncryptedLayer, FileLayer, KafkaLayer, Layer, Over, SpoolLayer, WindowsLayer};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use value::{
    Compress, Hook, Join, Listen, LogFormat, LogLevel, Millionths, Output, SamplingMode, Threads,
};

/// Whoever replays a file sits before it, and need not wait longer for a wrong address.
const REPLAY_PATIENCE: Duration = Duration::from_secs(30);

/// As many as the programs' map holds.
const MAX_RESOLVERS: usize = dnscribe_common::RESOLVERS as usize;

/// The least share that is told unless told otherwise: a hundredth.
const SAMPLING_FLOOR: Millionths = Millionths(10_000);

/// For which command the configuration is: defaults differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `run`, and `check`, which asks whether `run` would work.
    Live,
    /// `replay`: the node is `replay`, and metrics are served only where a flag or the environment
    /// asks for it.
    Replay,
}

/// What the configuration is made from. Kept for reloading it.
#[derive(Clone)]
pub struct Sources {
    /// Whose defaults apply.
    pub purpose: Purpose,
    /// The file, if any.
    pub file: Option<PathBuf>,
    /// All environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// What the flags say.
    pub flags: Layer,
}

/// Leaves the environment and the flags out: they may hold secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("purpose", &self.purpose)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This host's name in records.
    pub node: String,
    /// Where this host is.
    pub region: Option<String>,
    /// What is captured and how.
    pub capture: CaptureConfig,
    /// How queries meet their responses.
    pub pairing: PairOptions,
    /// Times and bounds of connections of encrypted DNS.
    pub connecting: ConnectionOptions,
    /// Whether the transactions of one lookup at a resolver are joined.
    pub joining: Joining,
    /// Which windows are written.
    pub windows: WindowOptions,
    /// How detection decides; none where nobody wants to be told of alerts.
    pub detect: Option<DetectOptions>,
    /// The streams of the sinks.
    pub streams: StreamChoice,
    /// Where records go; at least one.
    pub sinks: Vec<SinkSpec>,
    /// How stdout looks.
    pub output: Output,
    /// How to reach Kafka; with brokers where a sink needs them.
    pub kafka: KafkaConfig,
    /// How to reach Alertmanager; there where a sink needs it.
    pub alertmanager: Option<AlertmanagerConfig>,
    /// How long Kafka may be out of reach from the start until its sink gives up, and Alertmanager
    /// at a time; for ever where absent.
    pub kafka_patience: Option<Duration>,
    /// Where records wait while Kafka is away; in memory only where absent.
    pub spool: Option<SpoolConfig>,
    /// When the files of file sinks are rotated.
    pub rotation: Rotation,
    /// Names of resolvers by address (IPv4-mapped IPv6 addresses as IPv4).
    pub resolvers: BTreeMap<IpAddr, String>,
    /// How pods are named, if they are.
    pub kubernetes: Option<KubernetesConfig>,
    /// Where `/metrics` is served, if at all.
    pub metrics_listen: Option<SocketAddr>,
    /// How long a loss makes `/healthz` say so.
    pub health_window: Duration,
    /// Whether message records hold the message's octets.
    pub messages_wire: bool,
    /// Whether records hold internationalised names in Unicode, too.
    pub records_idn: bool,
    /// What is given up once capture has begun.
    pub privileges: Privileges,
    /// Files besides the configuration's own that were read, and will be when it is reloaded.
    pub secret_files: Vec<PathBuf>,
    /// Which records are told.
    pub filters: Filters,
    /// What records do not tell.
    pub privacy: Privacy,
    /// Where a new agent takes over from a running one, if one may.
    pub takeover_socket: Option<PathBuf>,
    /// What is logged.
    pub log: LogConfig,
    /// How long the end may take.
    pub drain_timeout: Duration,
    /// How long to run; for ever where absent.
    pub duration: Option<Duration>,
}

/// What is captured and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Where programs are attached.
    pub hook: Hook,
    /// The cgroup to watch, absolute or relative to the cgroup2 mount; its root where absent.
    pub cgroup: Option<PathBuf>,
    /// Interfaces for hook `socket`; all where empty.
    pub interfaces: Vec<String>,
    /// The ports of DNS.
    pub ports: PortSet,
    /// Where encrypted DNS is looked for; nowhere where no sink wants its connections.
    pub encrypted: Option<Encrypted>,
    /// The size of all rings: a power of two.
    pub ring_bytes: u32,
    /// Threads that read packets, each with its share of the flows, and as many rings.
    pub threads: u32,
    /// How nice they are while their rings have room: 0 to 19.
    pub nice: u8,
    /// Octets captured of a packet at most: 128 to 131072.
    pub snap_bytes: u32,
    /// The least share of transactions that is told when more comes than can be handled; none where
    /// nothing may be left out.
    pub sampling_floor: Option<Millionths>,
}

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How log lines look.
    pub format: LogFormat,
    /// From which importance on.
    pub level: LogLevel,
}

impl Config {
    /// Reads all sources.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut file = sources.file.as_deref().map(source::file).transpose()?.unwrap_or_default();
        if sources.purpose == Purpose::Replay {
            // A file is written for `run`, whose endpoint may well be up while something is replayed.
            file.metrics.listen = Some(Listen(None));
        }
        let environment = source::environment(sources.environment.iter().cloned())?;
        let mut below = environment.over(file);
        if sources.flags.streams.is_some() {
            // `--stream` is meant for this run, and for every sink of it.
            below.kafka.streams = None;
            below.file.streams = None;
        }
        let mut layer = sources.flags.clone().over(below);
        if layer.spool.directory.is_none() {
            layer.spool.directory = Some(default_spool(&sources.environment));
        }
        resolve(layer, sources)
    }

    /// What [`crate::sink::open`] wants, with stdout as the terminal has it.
    #[must_use]
    pub fn open_with(&self) -> OpenWith<'_> {
        use crate::sink::Look;
        let stdout = match self.output {
            Output::Text => Look::Text,
            Output::Auto if std::io::stdout().is_terminal() => Look::Text,
            Output::Json | Output::Auto => Look::Json,
        };
        OpenWith {
            streams: self.streams,
            stdout,
            node: &self.node,
            region: self.region.as_deref(),
            rotation: self.rotation,
            kafka: &self.kafka,
            alertmanager: self.alertmanager.as_ref(),
            kafka_patience: self.kafka_patience,
            spool: self.spool.as_ref(),
        }
    }
}

impl Config {
    /// The sinks, in order.
    #[must_use]
    pub fn sink_plans(&self) -> Vec<Plan> {
        let with = self.open_with();
        self.sinks.iter().map(|sink| Plan::of(sink, &with)).collect()
    }

    /// The same with the sinks of another, all that they are told, and whether there is detection.
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
            kafka_patience: other.kafka_patience,
            spool: other.spool,
            rotation: other.rotation,
            secret_files: other.secret_files,
            ..self
        }
    }
}

fn resolve(layer: Layer, sources: &Sources) -> Result<Config, ConfigError> {
    let purpose = sources.purpose;
    let streams = StreamChoice {
        general: layer.streams,
        kafka: layer.kafka.streams,
        file: layer.file.streams,
    };
    let secret_files = privileges::secret_files(&layer);
    let kafka = kafka(layer.kafka)?;
    let alertmanager = alertmanager::resolve(layer.alertmanager)?;
    let mut sinks = sinks(layer.sinks.unwrap_or_default(), &kafka)?;
    alertmanager::add_sink(&mut sinks, alertmanager.as_ref(), purpose == Purpose::Live)?;
    let node = layer.node.map_or_else(|| default_node(purpose), |node| node.0);
    let default = PairOptions::default();
    let pairing = PairOptions {
        query_timeout: layer.pairing.query_timeout.map_or(default.query_timeout, |span| span.0),
        max_transactions: layer
            .pairing
            .max_transactions
            .map_or(default.max_transactions, |count| count.0),
    };
    let ports = layer.capture.ports.unwrap_or_default();
    let wants = |stream| sinks.iter().any(|sink| streams.of(sink).contains(stream));
    let detect = detect::resolve(layer.detect, wants(Stream::Alerts))?;
    // Whoever says where encrypted DNS may be wants to be told of it.
    let is_looked_for =
        wants(Stream::Connections) || detect.is_some() && layer.encrypted.says_where();
    let encrypted = is_looked_for.then(|| encrypted(&layer.encrypted, &ports)).transpose()?;
    let capture = CaptureConfig {
        hook: layer.capture.hook.unwrap_or(Hook::Auto),
        cgroup: layer.capture.cgroup,
        interfaces: layer.capture.interfaces.unwrap_or_default(),
        ports,
        encrypted,
        threads: layer.capture.threads.unwrap_or_else(Threads::of_this_host).0,
        nice: layer.capture.nice.unwrap_or_default().0,
        ring_bytes: layer.capture.ring_bytes.map_or(32 << 20, |size| size.0),
        snap_bytes: layer.capture.snap_bytes.map_or(131_072, |size| size.0),
        sampling_floor: match layer.sampling.mode {
            None | Some(SamplingMode::Auto) => Some(layer.sampling.floor.unwrap_or(SAMPLING_FLOOR)),
            Some(SamplingMode::Off) => None,
        },
    };
    let joining = match layer.join {
        None | Some(Join::Auto) => Joining::Auto,
        Some(Join::Off) => Joining::Off,
    };
    let messages_wire = layer.messages.wire.is_some_and(|wire| wire.0);
    let log = LogConfig {
        format: layer.log.format.unwrap_or(LogFormat::Text),
        level: layer.log.level.unwrap_or(LogLevel::Info),
    };
    Ok(Config {
        node,
        region: layer.region.map(|region| region.0),
        capture,
        pairing,
        connecting: connecting(&layer.encrypted, pairing.query_timeout),
        joining,
        windows: windows(&layer.windows, pairing.query_timeout),
        detect,
        streams,
        sinks,
        output: layer.output.unwrap_or(Output::Auto),
        kafka,
        alertmanager,
        kafka_patience: (purpose == Purpose::Replay).then_some(REPLAY_PATIENCE),
        spool: spool(layer.spool, purpose),
        rotation: rotation(&layer.file, purpose)?,
        resolvers: resolvers(layer.resolvers)?,
        kubernetes: kubernetes::resolve(layer.kubernetes, &sources.environment, purpose)?,
        metrics_listen: layer.metrics.listen.unwrap_or(Listen::DEFAULT).0,
        health_window: layer.health.window.map_or(crate::health::WINDOW, |span| span.0),
        messages_wire,
        records_idn: layer.records.idn.is_some_and(|idn| idn.0),
        privileges: privileges::resolve(layer.privileges),
        takeover_socket: layer.takeover.socket.filter(|_| purpose == Purpose::Live),
        secret_files,
        filters: filters::resolve(layer.filters)?,
        privacy: privacy::resolve(layer.privacy, messages_wire)?,
        log,
        drain_timeout: layer.drain_timeout.map_or(Duration::from_secs(10), |span| span.0),
        duration: layer.duration.map(|span| span.0),
    })
}

fn encrypted(layer: &EncryptedLayer, dns: &PortSet) -> Result<Encrypted, ConfigError> {
    let ports = |given: &Option<PortSet>, default: u16| match given {
        Some(ports) => ports.iter().collect(),
        None => vec![default],
    };
    let resolvers = layer.resolvers.clone().unwrap_or_default();
    if resolvers.len() > MAX_RESOLVERS {
        return Err(ConfigError::TooManyResolvers { given: resolvers.len(), most: MAX_RESOLVERS });
    }
    let own = ports(&layer.ports, ENCRYPTED_PORT);
    Ok(Encrypted::new(dns, &own, &ports(&layer.https_ports, HTTPS_PORT), resolvers))
}

/// An attempt to connect is a question, and waits as long as any.
fn connecting(layer: &EncryptedLayer, answer_timeout: Duration) -> ConnectionOptions {
    let default = ConnectionOptions::default();
    let span = |given: Option<value::PositiveSpan>, default| given.map_or(default, |span| span.0);
    ConnectionOptions {
        answer_timeout,
        idle_timeout: span(layer.idle_timeout, default.idle_timeout),
        quic_idle_timeout: span(layer.quic_idle_timeout, default.quic_idle_timeout),
        report_every: span(layer.report_every, default.report_every),
        max_connections: layer.max_connections.map_or(default.max_connections, |count| count.0),
        ..default
    }
}

/// A query's outcome is known when its timeout is over, and the sweep that finds it has come.
fn windows(layer: &WindowsLayer, query_timeout: Duration) -> WindowOptions {
    let default = WindowOptions::DEFAULT;
    WindowOptions {
        lateness: layer.lateness.map_or(Duration::from_secs(1), |span| span.0) + query_timeout,
        spans: layer.spans.unwrap_or(default.spans),
        groupings: layer.groupings.unwrap_or(default.groupings),
    }
}

fn default_node(purpose: Purpose) -> String {
    match purpose {
        Purpose::Replay => "replay".to_owned(),
        Purpose::Live => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    }
}

/// A service manager's directory for what must outlive the service, else the usual one.
fn default_spool(environment: &[(OsString, OsString)]) -> PathBuf {
    let given = environment.iter().find(|(name, _)| name == "STATE_DIRECTORY");
    let base = given.map_or_else(|| PathBuf::from("/var/lib/dnscribe"), |(_, path)| path.into());
    base.join("spool")
}

/// Replay needs none: it can wait for Kafka, and can be run again.
fn spool(layer: SpoolLayer, purpose: Purpose) -> Option<SpoolConfig> {
    let wanted = purpose == Purpose::Live && layer.enabled.is_none_or(|enabled| enabled.0);
    wanted.then(|| SpoolConfig {
        directory: layer.directory.unwrap_or_default(),
        max_bytes: layer.max_bytes.map_or(1 << 30, |size| size.0),
        max_age: layer.max_age.map_or(Duration::from_secs(72 * 3600), |span| span.0),
        when_full: layer.when_full.unwrap_or(WhenFull::DropOldest),
    })
}

fn kafka(layer: KafkaLayer) -> Result<KafkaConfig, ConfigError> {
    let mut kafka = KafkaConfig {
        brokers: layer.brokers.unwrap_or_default().into_iter().map(|one| one.0).collect(),
        topics: layer.topics.into_iter().map(|(key, topic)| (key, topic.0)).collect(),
        options: layer.options,
        hidden: layer.option_files.keys().cloned().collect(),
        creation: TopicCreation {
            partitions: layer.partitions.into_iter().map(|(key, count)| (key, count.0)).collect(),
            retention: layer.retention.into_iter().map(|(key, span)| (key, span.0)).collect(),
            replication_factor: layer.replication_factor.map(|factor| factor.0),
        },
        format: layer.format.unwrap_or_default(),
        formats: layer.formats,
        registry: registry::resolve(layer.registry)?,
    };
    for (option, path) in layer.option_files {
        if kafka.options.contains_key(&option) {
            return Err(ConfigError::TwoValues { option });
        }
        let value = secret::read(&path).map_err(|why| ConfigError::OptionFile {
            option: option.clone(),
            path,
            why,
        })?;
        kafka.options.insert(option, value);
    }
    crate::sink::kafka::validate(&kafka).map_err(ConfigError::KafkaOption)?;
    registry::validate(&kafka)?;
    Ok(kafka)
}

/// Where nothing is said, records go to Kafka if it is known, else to stdout.
fn sinks(given: Vec<SinkSpec>, kafka: &KafkaConfig) -> Result<Vec<SinkSpec>, ConfigError> {
    if given.is_empty() {
        let known = !kafka.brokers.is_empty();
        return Ok(vec![if known { SinkSpec::Kafka } else { SinkSpec::Stdout }]);
    }
    if given.contains(&SinkSpec::Kafka) && kafka.brokers.is_empty() {
        return Err(ConfigError::NoBrokers);
    }
    if given.iter().filter(|sink| **sink == SinkSpec::Stdout).count() > 1 {
        return Err(ConfigError::TwoStdouts);
    }
    let files = || given.iter().filter_map(SinkSpec::file);
    for (number, first) in files().enumerate() {
        if let Some(second) = files().skip(number + 1).find(|second| same_place(first, second)) {
            let (first, second) = (first.to_path_buf(), second.to_path_buf());
            return Err(ConfigError::TwoOfAFile { first, second });
        }
    }
    Ok(given)
}

/// In replay the wall clock decides nothing.
fn rotation(file: &FileLayer, purpose: Purpose) -> Result<Rotation, ConfigError> {
    let compress = file.compress == Some(Compress::Zstd);
    if file.rotate_bytes.is_none() && file.rotate_every.is_none() {
        let given = [("keep", file.keep.is_some()), ("compress", compress)];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given) {
            return Err(ConfigError::NothingRotates(key));
        }
    }
    Ok(Rotation {
        bytes: file.rotate_bytes.map(|size| size.0),
        every: file.rotate_every.filter(|_| purpose == Purpose::Live).map(|span| span.0),
        keep: file.keep.map(|count| count.0),
        compress,
    })
}

fn resolvers(
    by_name: BTreeMap<value::Name, Vec<value::Address>>,
) -> Result<BTreeMap<IpAddr, String>, ConfigError> {
    let mut by_address = BTreeMap::new();
    for (value::Name(name), addresses) in by_name {
        for value::Address(address) in addresses {
            let before = by_address.insert(address, name.clone());
            if let Some(first) = before.filter(|first| *first != name) {
                return Err(ConfigError::TwoNames { address, first, second: name });
            }
        }
    }
    Ok(by_address)
}

#[cfg(test)]
mod tests;
