//! `dnscribe policy`.

use super::CommonArgs;
use clap::{Args, Subcommand};
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::{Broker, PositiveSpan};
use dnscribe_delivery::SinkSpec;
use dnscribe_view::policy::PolicyFormat;
use std::path::PathBuf;

/// A subcommand of `dnscribe policy`.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyCommand {
    /// Print a network policy that allows each workload what it has reached
    Suggest(SuggestArgs),
    /// Compare connections with policies; exit with 1 if one would have been refused
    Check(CheckArgs),
}

/// `dnscribe policy suggest`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  dnscribe policy suggest --brokers kafka-1:9092 --since 7d --namespace shop > policy.yaml
  dnscribe policy suggest uses.ndjson --namespace shop --workload web --selector app=web -o cluster
  clickhouse-client -q \"SELECT * FROM dns.dns_uses FINAL FORMAT JSONEachRow\" | dnscribe policy suggest -

Records are those of the stream uses, from agents with capture.connections: true.")]
pub struct SuggestArgs {
    #[command(flatten)]
    pub uses: UsesArgs,

    /// Select pods by these labels: KEY=VALUE,... [default: labels that all pods of the workload have]
    #[arg(long, value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    pub selector: Vec<(String, String)>,

    /// Kind of policy: cilium, cluster (both with names), or kubernetes (addresses)
    #[arg(short, long, value_name = "FORMAT", default_value = "cilium", value_parser = format)]
    pub output: PolicyFormat,
}

/// `dnscribe policy check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  dnscribe policy check policy.yaml --brokers kafka-1:9092 --since 7d
  dnscribe policy check policy.yaml other.yaml --records uses.ndjson")]
pub struct CheckArgs {
    /// Files with policies
    #[arg(value_name = "POLICY", required = true)]
    pub policies: Vec<PathBuf>,

    /// Files of records as NDJSON; plain, .gz or .zst; - is stdin
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "brokers",
        conflicts_with = "brokers"
    )]
    pub records: Vec<PathBuf>,

    #[command(flatten)]
    pub topics: TopicsArgs,
}

/// Where uses are read from, and of which workloads.
#[derive(Clone, Debug, Args)]
pub struct UsesArgs {
    /// Files of records as NDJSON; plain, .gz or .zst; - is stdin
    #[arg(value_name = "FILE", required_unless_present = "brokers", conflicts_with = "brokers")]
    pub records: Vec<PathBuf>,

    #[command(flatten)]
    pub topics: TopicsArgs,
}

/// A topic of uses, and which of them.
#[derive(Clone, Debug, Args)]
pub struct TopicsArgs {
    /// Read the topic of uses of these brokers instead: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    // A requirement alone would be dropped where files exclude what it requires.
    /// Read topics from this long ago on, such as 7d [default: from the oldest record on]
    #[arg(long, value_name = "DURATION", requires = "brokers", conflicts_with = "records")]
    pub since: Option<PositiveSpan>,

    /// Only workloads of this namespace
    #[arg(long, value_name = "NAME")]
    pub namespace: Option<String>,

    /// Only this workload, or those of this name: NAME, or KIND/NAME such as Deployment/web
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,

    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl TopicsArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs {
            // Nothing is written; the connection to Kafka is all that is needed.
            sink: vec![SinkSpec::Null],
            ..CommonArgs::of_kafka(self.config.as_deref(), &self.brokers)
        };
        common.sources(Purpose::Replay, common.layer())
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be KEY=VALUE, such as app=web".to_owned())
}

fn format(text: &str) -> Result<PolicyFormat, String> {
    PolicyFormat::ALL
        .into_iter()
        .find(|format| format.name() == text)
        .ok_or_else(|| "choose from cilium, cluster, kubernetes".to_owned())
}
