//! The command line.

use crate::attributes::Kind;
use crate::input::Format;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use dnscribe_cli::pages::{CompletionsArgs, ManArgs, SchemaArgs};
use dnscribe_config::value::{Broker, read_bytes};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Governed KPIs from registrar events and DNS records
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dnscribe-kpi",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dnscribe-kpi demo                                 Serve the page with a sample registrar
  dnscribe-kpi import events.ndjson.gz              Add events; the same file again changes nothing
  dnscribe-kpi compute                              Compute all days
  dnscribe-kpi compute --from 2026-01-01 --to 2026-01-31 --final
                                                    Freeze a month
  dnscribe-kpi serve --listen 127.0.0.1:9356 --no-auth
                                                    Serve the metrics API and a page
  dnscribe-kpi reconcile --against billing.csv      Compare with an export: 1 if they differ

Exit codes: 0 success, 1 failed or differences found, 2 bad usage, dictionary or input file."
)]
pub struct Cli {
    /// Store of facts and values.
    #[arg(
        help = "Store: a folder, or s3://BUCKET/PREFIX [default: $STATE_DIRECTORY, else /var/lib/dnscribe-kpi]",
        long,
        global = true,
        value_name = "DIR",
        env = "DNSCRIBE_KPI_DATA",
        hide_env_values = true
    )]
    pub data: Option<String>,

    /// Metric dictionary [default: the built-in one]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DNSCRIBE_KPI_DICTIONARY",
        hide_env_values = true
    )]
    pub dictionary: Option<PathBuf>,

    /// Configuration with the declared sources
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DNSCRIBE_KPI_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Add events, DNS windows or probe results from files
    Import(ImportArgs),
    /// Fetch what declared sources have had since the last time, from HTTP APIs and S3-compatible storage
    Pull(PullArgs),
    /// List rows that were refused at import
    Rejected(OutputArgs),
    /// Erase accounts and domains from all facts, and their rows as they came; numbers stay
    Erase(EraseArgs),
    /// Compute the values of all KPIs
    Compute(ComputeArgs),
    /// Serve the metrics API and a page
    Serve(ServeArgs),
    /// Compare with an authoritative export: exit code 1 if they differ
    Reconcile(ReconcileArgs),
    /// Check the dictionary: definitions, columns, lineage
    Check(OutputArgs),
    /// Write a report as one HTML file
    Report(FileArgs),
    /// Write the dictionary for other tools
    Export(ExportArgs),
    /// Write sample data of a registrar, as NDJSON or CSV
    Sample(SampleArgs),
    /// Show what it does: write, import, compute and serve the sample of a registrar
    Demo(DemoArgs),
    /// Print the JSON Schema of a record, or list the schemas
    Schema(SchemaArgs),
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of dnscribe-kpi, or of one of its commands
    Man(ManArgs),
}

/// Look of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of commands that print a result.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// `import`.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("earlier").args(["undo", "again"]))]
pub struct ImportArgs {
    /// Files of NDJSON or CSV, plain or compressed with gzip or zstd, and Parquet for dimension tables; - is standard input
    #[arg(required_unless_present_any = ["topic", "complete", "earlier"], value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Import what this topic has had since its last import
    #[arg(long, value_name = "TOPIC", requires = "brokers", conflicts_with = "files")]
    pub topic: Option<String>,

    /// Read the topic from its beginning, after it was made anew or messages were removed
    #[arg(long, requires = "topic")]
    pub from_beginning: bool,

    /// Connect to Kafka at these brokers (HOST:PORT,...): refused rows also go to the topic registrar.dlq
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Name of the source [default: the file's name]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,

    /// Map of the file's own columns, values and times to those of registrar.event/1
    #[arg(long, value_name = "FILE", conflicts_with = "topic")]
    pub map: Option<PathBuf>,

    /// The files are dimension tables: what accounts, domains, campaigns, partners or top-level domains are, from when on
    #[arg(long, value_name = "KIND", value_enum, conflicts_with_all = ["topic", "map", "complete"])]
    pub dimension: Option<Kind>,

    /// Policy for personal data: which fields are kept, tokenised or refused
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_KPI_POLICY", hide_env_values = true)]
    pub policy: Option<PathBuf>,

    /// Replace the rejected rows of this earlier import: its file, or its SHA-256
    #[arg(long, value_name = "FILE|SHA256")]
    pub replaces: Option<String>,

    /// Say that --source has delivered all of this day: nothing later is waited for
    #[arg(long, value_name = "DAY", requires = "source")]
    pub complete: Option<Date>,

    /// Take back an earlier import: its file (with its --map), or its SHA-256; its final days are reopened. Messages of a topic
    /// are read again only with --from-beginning
    #[arg(long, value_name = "FILE|SHA256", requires = "reason",
        conflicts_with_all = ["files", "topic", "complete", "replaces"])]
    pub undo: Option<String>,

    /// Read the rows of an earlier import again as they came, with its map or with --map: its name, its file, or its SHA-256. If this
    /// gives other facts, they count instead, and its final days are reopened
    #[arg(long, value_name = "FILE|SHA256", requires = "reason",
        conflicts_with_all = ["files", "topic", "complete", "replaces", "dimension", "source"])]
    pub again: Option<String>,

    /// Why the import is taken back, or read again; kept for ever
    #[arg(long, value_name = "TEXT", requires = "earlier")]
    pub reason: Option<String>,

    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// `erase`.
#[derive(Clone, Debug, Args)]
pub struct EraseArgs {
    /// Account, with the domains that no other account has had; repeatable
    #[arg(long = "account", value_name = "ID", required_unless_present_any = ["domains", "list"])]
    pub accounts: Vec<String>,

    /// Domain; repeatable
    #[arg(long = "domain", value_name = "NAME")]
    pub domains: Vec<String>,

    /// Why, without the name: it is kept for ever
    #[arg(long, value_name = "TEXT", required_unless_present = "list")]
    pub reason: Option<String>,

    /// Policy for personal data that facts were imported with; repeatable, one for each key
    #[arg(
        long = "policy",
        value_name = "FILE",
        env = "DNSCRIBE_KPI_POLICY",
        hide_env_values = true
    )]
    pub policies: Vec<PathBuf>,

    /// List earlier erasures
    #[arg(long, conflicts_with_all = ["accounts", "domains", "reason"])]
    pub list: bool,

    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// `pull`.
#[derive(Clone, Debug, Args)]
pub struct PullArgs {
    /// Names of sources [default: all whose declaration has `pull`]
    #[arg(value_name = "SOURCE")]
    pub names: Vec<String>,

    /// Fetch everything again, not only what is new
    #[arg(long)]
    pub from_beginning: bool,

    /// Also send refused rows to the topic registrar.dlq of these brokers (HOST:PORT,...)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Policy for personal data: which fields are kept, tokenised or refused
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_KPI_POLICY", hide_env_values = true)]
    pub policy: Option<PathBuf>,

    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// `compute`.
#[derive(Clone, Debug, Args)]
pub struct ComputeArgs {
    /// Compute one day
    #[arg(long, value_name = "DAY", conflicts_with_all = ["from", "to"])]
    pub date: Option<Date>,

    /// Compute from this day on [default: the first day with facts]
    #[arg(long, value_name = "DAY")]
    pub from: Option<Date>,

    /// Compute up to this day [default: the last day with facts]
    #[arg(long, value_name = "DAY")]
    pub to: Option<Date>,

    /// Freeze values whose finalisation window has ended and whose data are complete
    #[arg(long = "final")]
    pub is_final: bool,

    /// Read all facts, and not those alone that were added since all days were computed and what they have to do with: the values are
    /// the same
    #[arg(long)]
    pub all: bool,

    /// Make a final day provisional again and compute it; its former values are shown beside the new ones
    #[arg(long, value_name = "DAY", requires = "reason", conflicts_with_all = ["date", "from", "to"])]
    pub reopen: Option<Date>,

    /// Why the day is reopened; kept for ever
    #[arg(long, value_name = "TEXT", requires = "reopen")]
    pub reason: Option<String>,

    /// Use this much memory for queries, and the disk beyond it: at least 64MiB
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = memory)]
    pub memory: usize,

    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Address
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9356")]
    pub listen: SocketAddr,

    /// Allow requests without token; only on a loopback address
    #[arg(long, conflicts_with = "tokens")]
    pub no_auth: bool,

    /// Tokens with their scopes
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_KPI_TOKENS", hide_env_values = true)]
    pub tokens: Option<PathBuf>,

    /// Certificate chain for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key for TLS, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Keep days of this time zone apart on all days, such as Europe/Berlin: for `time_zone` of a request; repeatable
    #[arg(long = "time-zone", value_name = "NAME", value_parser = time_zone)]
    pub time_zones: Vec<TimeZone>,

    /// Keep hours and five minutes of this many of the newest days in memory
    #[arg(long, value_name = "DAYS", default_value_t = 35)]
    pub parts: u16,

    /// Serve without TLS on an address that is not loopback: a proxy in front of it adds TLS
    #[arg(long, conflicts_with = "tls_cert")]
    pub behind_proxy: bool,
}

/// `reconcile`.
#[derive(Clone, Debug, Args)]
pub struct ReconcileArgs {
    /// Export to compare with: registrar.event/1 rows, or rows of day,kpi,by,value
    #[arg(long, value_name = "FILE|URL")]
    pub against: String,

    /// Accept this absolute difference of a value, or this number of differing events
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0)]
    pub tolerance: f64,

    /// Accept this difference divided by the authoritative value, or differing events per event
    #[arg(long, value_name = "RATIO", default_value_t = 0.0)]
    pub tolerance_ratio: f64,

    /// Policy for personal data that the facts were imported with
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_KPI_POLICY", hide_env_values = true)]
    pub policy: Option<PathBuf>,

    /// The export has all days from this one on [default: the first of its rows]
    #[arg(long, value_name = "DAY")]
    pub from: Option<Date>,

    /// The export has all days up to this one [default: the last of its rows]
    #[arg(long, value_name = "DAY")]
    pub to: Option<Date>,

    /// The export has events of this type, or values of this KPI; with several, one each [default: those of its rows]
    #[arg(long = "has", value_name = "TYPE|KPI", value_delimiter = ',')]
    pub names: Vec<String>,

    /// Send an alert to the topic dns.alerts of these brokers beyond the tolerance, and its end: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Name of the export in the alert [default: the file's name, or the URL]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,

    /// Write text or json
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Arguments of commands that write a file.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// What `export` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// YAML of the dbt Semantic Layer.
    #[default]
    Dbt,
    /// YAML of Apache Ossie.
    Ossie,
    /// The reference of all KPIs (docs/kpis.md).
    Markdown,
    /// SQL for `ClickHouse` that computes all values from the store's files.
    Clickhouse,
    /// Alerting rules for Prometheus, one for each decision rule.
    Prometheus,
}

/// `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Format
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,

    /// First day of clickhouse's values
    #[arg(long, value_name = "DAY")]
    pub from: Option<Date>,

    /// Last day of clickhouse's values
    #[arg(long, value_name = "DAY")]
    pub to: Option<Date>,

    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `sample`.
#[derive(Clone, Debug, Args)]
pub struct SampleArgs {
    /// Equal seeds give equal bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// First day
    #[arg(long, value_name = "DAY", default_value = "2025-01-01")]
    pub from: Date,

    /// Number of days
    #[arg(long, value_name = "NUMBER", default_value_t = 365)]
    pub days: u16,

    /// Registrations that are tried on a usual day
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    pub registrations: u32,

    /// Mix in duplicates, corrections, other time zones and malformed rows
    #[arg(long)]
    pub hostile: bool,

    /// Write ndjson, or csv: events only, as their CSV has no columns for windows of the fleet and measurements
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// File to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Number of days, of which yesterday is the last
    #[arg(long, value_name = "NUMBER", default_value_t = 60)]
    pub days: u16,

    /// Registrations that are tried on a usual day
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub registrations: u32,

    /// Address: a loopback one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9356")]
    pub listen: SocketAddr,
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|error| format!("{error}: give a name such as Europe/Berlin"))
}

fn memory(text: &str) -> Result<usize, &'static str> {
    let bytes = read_bytes(text).filter(|bytes| *bytes >= 64 << 20);
    bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or("a size of 64MiB or more, such as 4GiB")
}
