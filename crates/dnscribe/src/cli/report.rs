//! `dnscribe report`.

use super::{CommonArgs, PairingArgs};
use clap::Args;
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::{Broker, Listen, PositiveSpan};
use dnscribe_delivery::SinkSpec;
use dnscribe_record::time::Timestamp;
use dnscribe_view::report::{self, TimeSpan};
use std::path::PathBuf;

/// `dnscribe report`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  dnscribe report traffic.pcapng.zst > report.html       What a capture file shows
  dnscribe report dns.ndjson.*.zst dns.ndjson --output-file report.html --title 'Outage of Monday'
  dnscribe report --brokers kafka-1:9092 --from 2026-11-20T07:00:00Z --to 2026-11-20T08:00:00Z --output-file report.html
  dnscribe report --store http://clickhouse:8123/?database=dns --store postgres://dns@db/dns --from 2026-11-20T07:00:00Z
  dnscribe run --stream transactions,lookups,alerts,ledger -o json | dnscribe report - --output-file report.html

The file needs no network and no other file; mail it, attach it to a ticket, print it. The same input gives
the same file.")]
pub struct ReportArgs {
    /// Capture files (pcap, pcapng, dnstap), or files of records as NDJSON; plain, .gz or .zst; - is records on stdin
    #[arg(value_name = "FILE", required_unless_present_any = ["brokers", "store"])]
    #[arg(conflicts_with_all = ["brokers", "store"])]
    pub files: Vec<PathBuf>,

    /// Read the topics of these brokers instead: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Read stores instead: transactions and connections of http://..., alerts and changes of postgres://...; can be repeated
    #[arg(long, value_name = "URL", requires = "begin", conflicts_with = "brokers")]
    pub store: Vec<String>,

    /// Write the report to this file [default: standard output, unless that is a terminal]
    #[arg(long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,

    /// Title of the report
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// Begin with transactions of this time, such as 2026-11-20T07:00:00Z
    #[arg(long, value_name = "TIME", group = "begin")]
    pub from: Option<Timestamp>,

    /// Begin this long ago, such as 1h
    #[arg(long, value_name = "DURATION", group = "begin")]
    pub since: Option<PositiveSpan>,

    /// End before this time
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,

    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub pairing: PairingArgs,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl ReportArgs {
    /// Returns the sources of the configuration: those of `replay`, with the report as the only sink.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs {
            config: self.config.clone(),
            stream: Some(report::STREAMS.into_iter().collect()),
            // Stands for the report, since the sinks decide what the pipeline does.
            sink: vec![SinkSpec::Null],
            brokers: self.brokers.clone(),
            metrics_listen: Some(Listen(None)),
            pairing: self.pairing,
            verbose: self.verbose,
            ..CommonArgs::default()
        };
        common.sources(Purpose::Replay, common.layer())
    }

    /// Returns the time of the report.
    #[must_use]
    pub fn span(&self) -> TimeSpan {
        let since = self.since.map(|since| Timestamp::now().minus(since.0));
        TimeSpan { from: self.from.or(since), to: self.to }
    }
}
