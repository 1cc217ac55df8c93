//! `dnscribe kafka`.

use super::CommonArgs;
use crate::config::layer::KafkaLayer;
use crate::config::value::{Broker, Output, Partitions, Replicas};
use crate::config::{Purpose, Sources};
use crate::sink::Stream;
use crate::sink::kafka::topics::Mode;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `dnscribe kafka`.
#[derive(Clone, Debug, Subcommand)]
pub enum KafkaCommand {
    /// Make the topics that are missing; what is there stays as it is
    #[command(after_help = "\
Examples:
  dnscribe kafka init --brokers kafka-1:9092 --dry-run
  dnscribe kafka init --config /etc/dnscribe.yaml --replication-factor 3
  dnscribe kafka init --config /etc/dnscribe.yaml --alter

Exit codes: 0 every topic is there, 1 one could not be made or altered, 2 bad usage or configuration.")]
    Init(InitArgs),
}

/// `dnscribe kafka init`.
#[derive(Clone, Debug, Default, Args)]
pub struct InitArgs {
    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Find Kafka at these brokers: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Give every topic so many partitions [default: by stream]
    #[arg(long, value_name = "N")]
    pub partitions: Option<Partitions>,

    /// Keep so many copies of each partition [default: as the brokers have it]
    #[arg(long, value_name = "N")]
    pub replication_factor: Option<Replicas>,

    /// Set retention and cleanup policy of topics that are there, and raise their partitions:
    /// then records of a key may go to another partition than before
    #[arg(long)]
    pub alter: bool,

    /// Let the brokers say what they would do, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Print the findings as text or json [default: text]
    #[arg(short, long, value_name = "LOOK")]
    pub output: Option<Output>,
}

impl InitArgs {
    /// What the configuration is made from.
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

    /// How far to go.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        Mode { alter: self.alter, dry_run: self.dry_run }
    }
}
