//! `dnscribe kafka`.

use super::CommonArgs;
use clap::{Args, Subcommand};
use dnscribe_agent::config::{Purpose, Sources};
use dnscribe_config::kafka::KafkaLayer;
use dnscribe_config::value::{Broker, Output, Partitions, Replicas};
use dnscribe_record::Stream;
use std::path::PathBuf;

/// `dnscribe kafka`.
#[derive(Clone, Debug, Subcommand)]
pub enum KafkaCommand {
    /// Create missing topics; existing ones stay as they are
    #[command(after_help = "\
Examples:
  dnscribe kafka init --brokers kafka-1:9092
  dnscribe kafka init --config /etc/dnscribe.yaml --replication-factor 3

Exit codes: 0 every topic exists, 1 one could not be created, 2 bad usage or configuration.")]
    Init(InitArgs),
}

/// `dnscribe kafka init`.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Connect to Kafka at these brokers: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Number of partitions of every topic [default: by stream]
    #[arg(long, value_name = "N")]
    pub partitions: Option<Partitions>,

    /// Number of copies of each partition [default: that of the brokers]
    #[arg(long, value_name = "N")]
    pub replication_factor: Option<Replicas>,

    /// Print the results as text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

impl InitArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs::of_kafka(self.config.as_deref(), &self.brokers);
        let mut layer = common.layer();
        let partitions = self.partitions.iter();
        layer.kafka = KafkaLayer {
            partitions: partitions
                .flat_map(|count| Stream::ALL.map(|stream| (stream, *count)))
                .collect(),
            replication_factor: self.replication_factor,
            ..layer.kafka
        };
        common.sources(Purpose::Live, layer)
    }
}
