//! The command line.

mod helper;
mod import;
mod kafka;
mod policy;
mod report;
mod top;
mod trace;

pub use helper::HelperArgs;
pub use import::{AnnotateArgs, IntelArgs, IntelCommand, PublishArgs, ZonesArgs, ZonesCommand};
pub use kafka::{InitArgs, KafkaCommand};
pub use policy::{CheckArgs as PolicyCheckArgs, PolicyCommand, SuggestArgs, TopicsArgs};
pub use report::ReportArgs;
pub use top::{Speed, TopArgs};
pub use trace::TraceArgs;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use dnscribe_agent::capture::dnstap::DnstapAddress;
use dnscribe_agent::capture::live::HookChoice;
use dnscribe_agent::config::capture::{CaptureLayer, PairingLayer};
use dnscribe_agent::config::filters::{
    CriteriaLayer, FilterLayer, Qtype, ResolverName, StatusName,
};
use dnscribe_agent::config::layer::Layer;
use dnscribe_agent::config::{InterfaceName, Purpose, Sources, Threads};
use dnscribe_agent::pipeline::filter::{FILTERED_STREAMS, NameSuffix};
use dnscribe_cli::pages::{CompletionsArgs, ManArgs, SchemaArgs};
use dnscribe_config::kafka::KafkaLayer;
use dnscribe_config::log::LogLayer;
use dnscribe_config::sinks::MetricsLayer;
use dnscribe_config::value::{
    Broker, Listen, LogFormat, LogLevel, Name, Output, PositiveSpan, RecordOutput, Span,
};
use dnscribe_delivery::{SinkSpec, Stream, StreamSet};
use dnscribe_transaction::packet::encrypted::Prefix;
use dnscribe_transaction::packet::ports::PortSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Every DNS message at the socket, with its process, exactly accounted for.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dnscribe",
    version,
    long_version = dnscribe_agent::VERSION,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dnscribe run                                      Show this host's DNS transactions
  dnscribe run --brokers kafka-1:9092               Stream them to Kafka
  dnscribe replay traffic.pcapng.gz -o json | jq .  Read a capture file
  dnscribe top                                      Watch DNS on a live screen
  dnscribe trace -- curl -s https://example.com     See what one command asks, and where it waits
  dnscribe report traffic.pcap > report.html        Tell others what happened
  dnscribe check                                    Check whether `run` would work here

Exit codes: 0 success, 1 failed while running, 2 bad usage, configuration or input file,
3 this host cannot capture."
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Capture live DNS on this host and stream records until stopped
    Run(RunArgs),
    /// Send capture files through the same pipeline, in capture time
    Replay(ReplayArgs),
    /// Show DNS on a live screen: resolvers, zones, names, processes, alerts, losses
    Top(TopArgs),
    /// Run a command and show what it asks of DNS, and where its seconds go
    Trace(TraceArgs),
    /// Write what happened as one HTML file, from capture files, records, Kafka or stores
    Report(ReportArgs),
    /// Write network policies from what pods were connected to, by name, and check them
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Check the configuration, and whether `run` would work on this host
    Check(CheckArgs),
    /// Work with the ledger
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Work with Kafka
    #[command(subcommand)]
    Kafka(KafkaCommand),
    /// Tell the stream jobs about zones
    #[command(subcommand)]
    Zones(ZonesCommand),
    /// Tell the stream jobs about threats
    #[command(subcommand)]
    Intel(IntelCommand),
    /// Record that something was changed: a deployment, a zone, a certificate, maintenance
    Annotate(AnnotateArgs),
    /// Print the JSON Schema or the Avro schema of a record, or list the schemas
    Schema(SchemaArgs),
    /// Do the privileged work of `run`, which starts it
    #[command(hide = true)]
    Helper(HelperArgs),
    /// Print a configuration file that documents every key, to start from
    Config,
    /// Print the completion script of a shell
    #[command(after_help = "\
Examples:
  dnscribe completions bash > /usr/share/bash-completion/completions/dnscribe
  dnscribe completions zsh > ~/.zfunc/_dnscribe")]
    Completions(CompletionsArgs),
    /// Print the manual page of dnscribe, or of one of its commands
    #[command(after_help = "\
Examples:
  dnscribe man | man -l -
  dnscribe man ledger verify > dnscribe-ledger-verify.1
  dnscribe man --list")]
    Man(ManArgs),
}

/// Flags of all commands that make records.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Send these streams to every sink: messages, transactions, lookups, metrics, alerts, dlq, ledger,
    /// connections, uses
    #[arg(long, value_name = "LIST", value_parser = agent_streams)]
    pub stream: Option<StreamSet>,

    /// Destinations of records; may be repeated.
    #[arg(
        long,
        value_name = "DEST",
        help = "Send records to stdout, file:PATH, kafka, otlp:URL, parquet:DIR, dnstap:unix:PATH, pcapng:PATH, evidence:DIR, alertmanager or null; may be repeated"
    )]
    pub sink: Vec<SinkSpec>,

    /// Connect to Kafka at these brokers: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Capture DNS on these ports [default: 53]
    #[arg(long, value_name = "LIST")]
    pub port: Option<PortSet>,

    /// Serve /metrics, /healthz, /livez and /readyz at this address, or "off" [default: 127.0.0.1:9353; replay: off]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_listen: Option<Listen>,

    #[command(flatten)]
    pub pairing: PairingArgs,

    /// Write log lines as text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Flags of pairing.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct PairingArgs {
    /// Time that a query waits for its response [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub query_timeout: Option<PositiveSpan>,
}

impl PairingArgs {
    fn layer(self) -> PairingLayer {
        PairingLayer { query_timeout: self.query_timeout, ..PairingLayer::default() }
    }
}

/// Flags of live capture.
#[derive(Clone, Debug, Default, Args)]
pub struct CaptureArgs {
    /// Attach programs at this hook: auto, cgroup or socket [default: auto]
    #[arg(long, value_name = "HOOK")]
    pub hook: Option<HookChoice>,

    /// Watch this cgroup, absolute or relative to the cgroup2 mount [default: its root]
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Watch this interface with hook socket; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<InterfaceName>,

    /// Receive dnstap of servers at unix:PATH, tcp:ADDRESS:PORT or tls:ADDRESS:PORT, instead of a hook or beside --hook; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub dnstap: Vec<DnstapAddress>,

    /// Number of threads that read packets [default: one for every four CPUs, 1 to 4]
    #[arg(long, value_name = "N")]
    pub threads: Option<Threads>,
}

/// Flags of commands that write records to stdout.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Write stdout as text, json, ecs, or auto: text on a terminal [default: auto]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,
}

/// Flags that choose the records of transactions, messages, lookups and connections. Each stands for the same criterion
/// of `filters.include`, and replaces it in all streams. Windows and alerts are of all traffic.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters (each replaces its criterion of filters.include)")]
pub struct FilterArgs {
    /// Records of these names and all names below them
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<NameSuffix>)]
    pub name: Vec<NameSuffix>,

    /// Records of clients at these addresses and prefixes
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<Prefix>)]
    pub client: Vec<Prefix>,

    /// Records of these query types
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<Qtype>)]
    pub qtype: Vec<Qtype>,

    /// Records of these resolvers: configured names, else addresses
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<ResolverName>)]
    pub resolver: Vec<ResolverName>,

    /// Transactions and lookups that ended so: statuses, outcomes, response codes
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<StatusName>)]
    pub status: Vec<StatusName>,
}

impl FilterArgs {
    fn criteria(&self) -> CriteriaLayer {
        let Self { name, client, qtype, resolver, status } = self;
        CriteriaLayer {
            qname: some(name),
            client: some(client),
            qtype: some(qtype),
            resolver: some(resolver),
            status: some(status),
            ..CriteriaLayer::default()
        }
    }
}

/// Filters by what only a live capture knows: who asks.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters (each replaces its criterion of filters.include)")]
pub struct OwnerFilterArgs {
    /// Records of these processes: names, or paths of executables
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<Name>)]
    pub process: Vec<Name>,

    /// Records of pods of these Kubernetes namespaces
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<Name>)]
    pub namespace: Vec<Name>,

    /// Records of pods of these names
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = item::<Name>)]
    pub pod: Vec<Name>,
}

/// Sets criteria of all filtered streams: above those of the configuration, also of its `filters.streams`.
fn include(layer: &mut Layer, criteria: &CriteriaLayer) {
    let filter = FilterLayer { include: criteria.clone(), ..FilterLayer::default() };
    layer.filters.streams.0.extend(FILTERED_STREAMS.map(|stream| (stream, filter.clone())));
}

/// `dnscribe run`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  dnscribe run --duration 30s
  dnscribe run --sink file:/var/log/dns.ndjson --stream transactions,ledger
  dnscribe run --config /etc/dnscribe.yaml --brokers kafka-1:9092,kafka-2:9092
  dnscribe run --hook socket --interface eth0 --port 53,5353
  dnscribe run --dnstap unix:/run/dnstap.sock               What a server reports, DoT and DoH too
  dnscribe run --process curl,/usr/bin/dig --name example.com
  dnscribe run --status timeout,icmp_error,servfail         What fails, and whose it is")]
pub struct RunArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub capture: CaptureArgs,
    #[command(flatten)]
    pub output: OutputArgs,

    /// Stop after this time, such as 30s [default: run until stopped]
    #[arg(long, value_name = "DURATION")]
    pub duration: Option<PositiveSpan>,

    /// Time limit of the shutdown [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub drain_timeout: Option<Span>,

    // Last, since their heading holds for all flags after them.
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub owner: OwnerFilterArgs,
}

/// `dnscribe replay`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  dnscribe replay traffic.pcap
  dnscribe replay resolver.dnstap
  dnscribe replay monday.pcapng.zst tuesday.pcapng.zst --stream transactions,ledger -o json
  tcpdump -w - port 53 | dnscribe replay -")]
pub struct ReplayArgs {
    /// Capture files: pcap, pcapng or dnstap, plain, .gz or .zst; - is stdin
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// `dnscribe check`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub capture: CaptureArgs,

    /// Create missing Kafka topics first, as `kafka init` does
    #[arg(long)]
    pub create_topics: bool,

    /// Print the results as text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// `dnscribe ledger`.
#[derive(Clone, Debug, Subcommand)]
pub enum LedgerCommand {
    /// Read ledger and data records back and check whether every identity closes
    #[command(after_help = "\
Examples:
  dnscribe ledger verify dns.ndjson
  dnscribe ledger verify dns.ndjson.*.zst dns.ndjson --sink file -o json
  dnscribe ledger verify --brokers kafka-1:9092 --temp /var/tmp
  PGPASSWORD=... dnscribe ledger verify --brokers kafka-1:9092 \\
    --store postgres://reader@timescaledb/dns --store http://clickhouse:8123/?database=dns

Exit codes: 0 the balance closes, 1 it does not, 2 bad usage or a file that cannot be read.")]
    Verify(VerifyArgs),
}

/// `dnscribe ledger verify`.
#[derive(Clone, Debug, Default, Args)]
pub struct VerifyArgs {
    /// Files of records as NDJSON, plain, .gz or .zst; - is stdin
    #[arg(
        value_name = "FILE",
        required_unless_present_any = ["brokers", "config"],
        conflicts_with = "brokers"
    )]
    pub files: Vec<PathBuf>,

    /// Read the topics of these brokers instead: HOST:PORT,... [default: those of the configuration]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Take brokers, topics and kafka.options from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Stores whose rows are counted.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "files",
        help = "Also count the rows of this store: postgres://USER@HOST/DB, \
                http://HOST:8123/?database=dns (ClickHouse), influx:http://HOST:8086/?org=O&bucket=B; \
                may be repeated"
    )]
    // Read by the command, since clap repeats a wrong value, which may contain a password.
    pub store: Vec<String>,

    /// Compare with the ledger of this sink [default: kafka; for files: the sink that delivered
    /// most]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,

    /// Directory for data that does not fit into memory [default: $TMPDIR, else /tmp]
    #[arg(long, value_name = "DIR")]
    pub temp: Option<PathBuf>,

    /// Print the balance as text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// Parses a list of streams that agents write.
fn agent_streams(text: &str) -> Result<StreamSet, String> {
    let names: Vec<&str> = Stream::ALL
        .into_iter()
        .filter(|stream| *stream != Stream::Probes)
        .map(Stream::name)
        .collect();
    let mut chosen = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    match chosen.find(|name| !names.contains(name)) {
        Some(name) => {
            Err(format!("\"{name}\" is not a stream of agents: choose from {}", names.join(", ")))
        }
        None => text.parse::<StreamSet>().map_err(|error| error.to_string()),
    }
}

/// Parses an item of a list: a space may follow the comma.
fn item<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

/// Hides the wrong value that clap repeats if it may contain a password, such as that of a URL.
pub fn without_secret(mut error: clap::Error) -> clap::Error {
    let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
    if value.is_some_and(|value| value.contains(['@', '?'])) {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
    }
    error
}

/// Returns the list, or none where it is empty.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

impl CommonArgs {
    /// Returns the flags of a command that only connects to Kafka.
    fn of_kafka(config: Option<&Path>, brokers: &[Broker]) -> Self {
        let config = config.map(Path::to_path_buf);
        Self { config, brokers: brokers.to_vec(), ..Self::default() }
    }

    /// Returns the flags as a layer of configuration.
    #[must_use]
    pub fn layer(&self) -> Layer {
        Layer {
            streams: self.stream,
            sinks: some(&self.sink),
            capture: CaptureLayer { ports: self.port.clone(), ..CaptureLayer::default() },
            pairing: self.pairing.layer(),
            kafka: KafkaLayer { brokers: some(&self.brokers), ..KafkaLayer::default() },
            metrics: MetricsLayer { listen: self.metrics_listen },
            log: LogLayer { format: self.log_format, level: level(self.verbose) },
            ..Layer::default()
        }
    }

    fn sources(&self, purpose: Purpose, flags: Layer) -> Sources {
        let file = self.config.clone().filter(|path| !path.as_os_str().is_empty());
        Sources { purpose, file, environment: std::env::vars_os().collect(), flags }
    }
}

/// Returns the log level of `-v`.
const fn level(verbose: u8) -> Option<LogLevel> {
    match verbose {
        0 => None,
        1 => Some(LogLevel::Debug),
        _ => Some(LogLevel::Trace),
    }
}

impl CaptureArgs {
    fn add_to(&self, layer: &mut Layer) {
        layer.capture.hook = self.hook;
        layer.capture.cgroup.clone_from(&self.cgroup);
        layer.capture.interfaces = some(&self.interface);
        layer.capture.dnstap = some(&self.dnstap);
        layer.capture.threads = self.threads;
    }
}

impl RunArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut layer = self.common.layer();
        self.capture.add_to(&mut layer);
        let OwnerFilterArgs { process, namespace, pod } = &self.owner;
        let criteria = CriteriaLayer {
            process: some(process),
            namespace: some(namespace),
            pod: some(pod),
            ..self.filter.criteria()
        };
        include(&mut layer, &criteria);
        layer.output = self.output.output;
        layer.duration = self.duration;
        layer.drain_timeout = self.drain_timeout;
        self.common.sources(Purpose::Live, layer)
    }
}

impl ReplayArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut layer = Layer { output: self.output.output, ..self.common.layer() };
        include(&mut layer, &self.filter.criteria());
        self.common.sources(Purpose::Replay, layer)
    }
}

impl CheckArgs {
    /// Returns the sources of the configuration, which are those of `run`.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let mut layer = self.common.layer();
        self.capture.add_to(&mut layer);
        self.common.sources(Purpose::Live, layer)
    }
}

impl VerifyArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs::of_kafka(self.config.as_deref(), &self.brokers);
        common.sources(Purpose::Replay, common.layer())
    }
}

#[cfg(test)]
mod tests;
