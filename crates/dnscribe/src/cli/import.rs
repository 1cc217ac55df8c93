//! Flags of `dnscribe zones import`, `dnscribe intel import` and `dnscribe annotate`.

use super::CommonArgs;
use clap::{Args, Subcommand, ValueEnum};
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::{Broker, Output, PositiveSpan};
use dnscribe_import::intel::IntelFormat;
use dnscribe_import::zones::ZoneFormat;
use dnscribe_record::time::Timestamp;
use std::path::PathBuf;
use std::str::FromStr;

/// `dnscribe zones`.
#[derive(Clone, Debug, Subcommand)]
pub enum ZonesCommand {
    /// Write owner, tier, environment, unit and nameservers of zones to Kafka
    #[command(after_help = "\
Examples:
  dnscribe zones import zones.csv --brokers kafka-1:9092
  dnscribe zones import zones.yaml --config /etc/dnscribe.yaml --replace
  dnscribe zones import zones.csv --dry-run | jq .

Exit codes: 0 every line was imported, 1 lines were refused or Kafka did not acknowledge, 2 bad usage
or a file that cannot be read.")]
    Import(ZonesArgs),
}

/// `dnscribe intel`.
#[derive(Clone, Debug, Subcommand)]
pub enum IntelCommand {
    /// Write indicators of threats to Kafka: domains and prefixes of addresses
    #[command(after_help = "\
Examples:
  dnscribe intel import hosts.txt --source stevenblack --category ads --brokers kafka-1:9092
  dnscribe intel import feed.csv.gz --source cert --replace --config /etc/dnscribe.yaml
  dnscribe intel import block.rpz --format rpz --dry-run | jq .

Exit codes: 0 every line was imported, 1 lines were refused or Kafka did not acknowledge, 2 bad usage
or a file that cannot be read.")]
    Import(IntelArgs),
}

/// Flags of commands that write to Kafka.
#[derive(Clone, Debug, Default, Args)]
pub struct PublishArgs {
    /// Take brokers, kafka.options and node from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Connect to Kafka at these brokers: HOST:PORT,... [default: those of the configuration]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Write to this topic [default: dns.zones, dns.intel or dns.changes, after the configured prefix]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,

    /// Print the records as NDJSON instead of sending them
    #[arg(long)]
    pub dry_run: bool,

    /// Print the result as text or json; json without brokers prints the records [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// `dnscribe zones import`.
#[derive(Clone, Debug, Args)]
pub struct ZonesArgs {
    /// File of zones: CSV, NDJSON or YAML, plain, .gz or .zst; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Format of the file [default: detected]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<ZoneFormat>,

    /// Remove zones from the topic that are not in the file
    #[arg(long)]
    pub replace: bool,

    #[command(flatten)]
    pub publish: PublishArgs,
}

/// `dnscribe intel import`.
#[derive(Clone, Debug, Args)]
pub struct IntelArgs {
    /// File of indicators, plain, .gz or .zst; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Format of the file [default: detected]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<IntelFormat>,

    /// Name of the list, for the field source [default: the file's name]
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,

    /// Category of indicators that have none
    #[arg(long, value_name = "WORD")]
    pub category: Option<String>,

    /// Confidence of indicators that have none, 0 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub confidence: Option<u8>,

    /// Time until which indicators hold that have none: RFC 3339, or a duration from now
    #[arg(long, value_name = "TIME")]
    pub valid_until: Option<Moment>,

    /// Remove indicators of the same source from the topic that are not in the file
    #[arg(long)]
    pub replace: bool,

    #[command(flatten)]
    pub publish: PublishArgs,
}

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Software was deployed.
    Deploy,
    /// A zone's data was changed.
    ZoneChange,
    /// A certificate was replaced.
    Certificate,
    /// Maintenance: alerts about the zone or service are muted until --ends.
    Maintenance,
    /// Anything else worth knowing.
    Note,
}

/// Judgement of a person about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum IncidentVerdict {
    /// It was a real problem.
    Confirmed,
    /// There was no problem: the alerts were wrong.
    #[value(alias = "false-alarm")]
    FalseAlarm,
}

/// `dnscribe annotate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  dnscribe annotate --kind zone_change --zone example.com --summary 'new MX' --brokers kafka-1:9092
  dnscribe annotate --kind maintenance --service shop --ends 2h --summary 'database upgrade'
  dnscribe annotate --kind deploy --service shop --summary 'v2.3' --url https://ci.example.com/42")]
pub struct AnnotateArgs {
    /// Kind of the change
    #[arg(long, value_name = "KIND")]
    pub kind: ChangeKind,

    /// Zone that is concerned
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,

    /// Service that is concerned
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// What is changed, in one sentence
    #[arg(long, value_name = "TEXT")]
    pub summary: String,

    /// Person or program that makes the change
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,

    /// Address of a page with details
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Time of the change, or of its beginning: RFC 3339, or a duration from now [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<Moment>,

    /// End of the change: RFC 3339, or a duration from its beginning
    #[arg(long, value_name = "TIME", required_if_eq("kind", "maintenance"))]
    pub ends: Option<Moment>,

    /// What the incident about the zone or service at this time was, in the judgement of a person
    #[arg(long, value_name = "VERDICT")]
    pub incident: Option<IncidentVerdict>,

    #[command(flatten)]
    pub publish: PublishArgs,
}

/// A point in time, absolute or relative to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// RFC 3339.
    Absolute(Timestamp),
    /// A duration after a time that depends on the flag.
    After(PositiveSpan),
}

impl Moment {
    /// Returns the point in time.
    #[must_use]
    pub fn since(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Absolute(time) => time,
            Self::After(span) => start.plus(span.0),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = text.parse().map(Self::After);
        span.or_else(|_| text.parse().map(Self::Absolute)).map_err(|_| {
            format!("\"{text}\" is neither a time such as 2026-11-20T07:30:00Z nor a duration such as 2h")
        })
    }
}

impl PublishArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs::of_kafka(self.config.as_deref(), &self.brokers);
        common.sources(Purpose::Live, common.layer())
    }
}
