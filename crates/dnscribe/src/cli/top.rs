//! `dnscribe top`.

use super::{CaptureArgs, CommonArgs, PairingArgs};
use clap::Args;
use dnscribe_agent::config::layer::Layer;
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::value::{Broker, Listen, PositiveSpan, Switch};
use dnscribe_delivery::{SinkSpec, Stream, StreamSet};
use dnscribe_transaction::packet::ports::PortSet;
use dnscribe_view::top::Vantage;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Default duration of `--once` with live capture.
const ONCE: Duration = Duration::from_secs(10);

/// Streams that the view shows of every capture.
const CAPTURED: [Stream; 3] = [Stream::Transactions, Stream::Alerts, Stream::Ledger];

/// `dnscribe top`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Examples:
  dnscribe top                                   Watch this host's DNS
  dnscribe top traffic.pcapng.zst                Explore a capture file
  dnscribe top traffic.pcap --speed 10x          Watch it, ten times as fast as it was
  dnscribe top --records /var/log/dns.ndjson     Watch the records of another dnscribe
  dnscribe top --brokers kafka-1:9092            Watch all nodes, from their records in Kafka
  dnscribe top --once --duration 30s             Every page as plain text, for scripts

Press ? for help. The sinks of the configuration are not used, and no metrics are served. NO_COLOR turns colours off.")]
pub struct TopArgs {
    /// Capture files: pcap or pcapng, plain, .gz or .zst; - is stdin [default: live capture]
    #[arg(value_name = "FILE", conflicts_with = "records")]
    pub files: Vec<PathBuf>,

    /// Show the records in this NDJSON file, and follow it; - is stdin
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,

    /// Show the records that all nodes send to these brokers: HOST:PORT,...
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with_all = ["files", "records"]
    )]
    pub brokers: Vec<Broker>,

    /// Replay files at this speed: 1x, 10x, max [default: max]
    #[arg(
        long,
        value_name = "SPEED",
        requires = "files",
        conflicts_with_all = ["records", "brokers"]
    )]
    pub speed: Option<Speed>,

    /// Print every page once as plain text and end
    #[arg(long)]
    pub once: bool,

    /// End after this time, such as 30s [default: run until stopped; with --once: 10s]
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["files", "records"])]
    pub duration: Option<PositiveSpan>,

    /// Show this side: once (each query once), client, server, passive, all [default: once]
    #[arg(long, value_name = "SIDE")]
    pub vantage: Option<Vantage>,

    /// Draw with ASCII only [default: where the locale is not UTF-8]
    #[arg(long)]
    pub ascii: bool,

    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub capture: CaptureArgs,

    /// Capture DNS on these ports [default: 53]
    #[arg(long, value_name = "LIST")]
    pub port: Option<PortSet>,

    #[command(flatten)]
    pub pairing: PairingArgs,

    /// Log more, to the page Loss: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl TopArgs {
    /// Returns the sources of the configuration: those of `run` or `replay`, with the view as the only
    /// sink.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs {
            config: self.config.clone(),
            stream: Some(CAPTURED.into_iter().collect()),
            // Stands for the view, since the sinks decide what the pipeline does.
            sink: vec![SinkSpec::Null],
            brokers: self.brokers.clone(),
            port: self.port.clone(),
            metrics_listen: Some(Listen(None)),
            pairing: self.pairing,
            verbose: self.verbose,
            ..CommonArgs::default()
        };
        let mut layer: Layer = common.layer();
        self.capture.add_to(&mut layer);
        // The view captures them wherever the hook can.
        layer.capture.connections = Some(Switch(false));
        layer.duration = self.duration.or(self.once.then_some(PositiveSpan(ONCE)));
        let is_live = self.files.is_empty() && self.brokers.is_empty();
        let purpose = if is_live { Purpose::Live } else { Purpose::Replay };
        common.sources(purpose, layer)
    }

    /// Returns the streams that the view shows.
    #[must_use]
    pub fn streams() -> StreamSet {
        CAPTURED.into_iter().chain([Stream::Uses]).collect()
    }
}

/// Speed of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as they can be read.
    Max,
    /// This many times the speed of the capture.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let number = text.strip_suffix('x').unwrap_or(text).parse().ok();
        let times = number.filter(|times: &f64| (1e-3..=1e6).contains(times));
        times
            .map(Self::Times)
            .ok_or_else(|| "give a number of times, such as 1x or 10x, or max".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_agent::config::Config;

    #[test]
    fn reads_speeds() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for bad in ["", "x", "0x", "-1x", "NaN", "fast", "1e9x"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ignores_the_sinks_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dnscribe.yaml");
        let text = "version: 1\ncapture: {connections: true}\nsinks: [kafka, \"file:/var/log/dns.ndjson\"]\nkafka:\n  \
                    brokers: [\"kafka-1:9092\"]\n  streams: [messages]\nmetrics:\n  listen: 0.0.0.0:9353\n";
        std::fs::write(&file, text).unwrap();
        let args = TopArgs { config: Some(file), ..TopArgs::default() };
        let mut sources = args.sources();
        sources.environment.clear();
        let config = Config::load(&sources).unwrap();
        assert_eq!((config.sinks, config.metrics_listen), (vec![SinkSpec::Null], None));
        assert_eq!(config.streams.for_sink(&SinkSpec::Null), CAPTURED.into_iter().collect());
        assert!(config.duration.is_none());
    }
}
