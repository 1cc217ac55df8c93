//! The command line.

#![expect(
    missing_docs,
    reason = "clap would take the comment of flattened flags for the command's help"
)]

use crate::config::{Layer, ResolverUrl, Sources};
use crate::target::Contact;
use clap::{Args, Parser, Subcommand};
use dnscribe_cli::pages::{CompletionsArgs, ManArgs, SchemaArgs};
use dnscribe_config::kafka::KafkaLayer;
use dnscribe_config::log::LogLayer;
use dnscribe_config::sinks::MetricsLayer;
use dnscribe_config::value::{Broker, Listen, LogFormat, LogLevel, Output, RecordOutput};
use dnscribe_delivery::{SinkSpec, StreamSet};
use std::path::PathBuf;

/// Active probes: is it DNS, the certificate, the path, or the host?
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dnscribe-probe",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  dnscribe-probe run --config probes.yaml --once   Measure every target once and print a table
  dnscribe-probe run --config probes.yaml          Measure until stopped, records on stdout
  dnscribe-probe explain shop.example.com          Measure what a name depends on: 1 if a fault is found
  dnscribe-probe check --config probes.yaml        Check the configuration

Exit codes: 0 success, 1 a target failed or the program did, 2 bad usage or configuration."
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Measure the targets, and send records
    Run(RunArgs),
    /// Measure a name or a service once, and print what is wrong
    Explain(ExplainArgs),
    /// Check the configuration
    Check(CheckArgs),
    /// Print the JSON Schema of a record, or list the schemas
    Schema(SchemaArgs),
    /// Print a configuration file that documents every key, to start from
    Config,
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
    /// Print the manual page of dnscribe-probe, or of one of its commands
    Man(ManArgs),
}

/// Flags of all commands that read the configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// Read the configuration from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_PROBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Send these streams to every sink: probes, alerts, ledger
    #[arg(long, value_name = "LIST")]
    pub stream: Option<StreamSet>,

    /// Destinations of records; may be repeated.
    #[arg(
        long,
        value_name = "DEST",
        help = "Send records to stdout, file:PATH, kafka, alertmanager or null; may be repeated"
    )]
    pub sink: Vec<SinkSpec>,

    /// Connect to Kafka at these brokers: HOST:PORT,...
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub brokers: Vec<Broker>,

    /// Serve /metrics, /healthz, /livez and /readyz at this address, or "off" [default: 127.0.0.1:9354]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics_listen: Option<Listen>,

    /// Write log lines as text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// `dnscribe-probe run`.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// Write stdout as text, json, ecs, or auto: text on a terminal [default: auto]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,

    /// Measure each target once, print a table (or records, with -o json), and end: 1 if any failed
    #[arg(long)]
    pub once: bool,
}

/// `dnscribe-probe check`.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub common: CommonArgs,

    /// Print the results as text or json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
}

/// `dnscribe-probe explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// A name such as shop.example.com, or the name of a configured service
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Ask this resolver too: udp://, tcp://, tls://, https:// or quic:// with its address; may be repeated
    #[arg(long, value_name = "URL")]
    pub resolver: Vec<ResolverUrl>,

    /// Contact these hosts of a name: none, public, or all: private addresses too [default: public]
    #[arg(long, value_name = "HOSTS")]
    pub contact: Option<Contact>,

    /// Read resolvers, services and what is trusted from this YAML file
    #[arg(long, value_name = "FILE", env = "DNSCRIBE_PROBE_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Write text, or records as json [default: text]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<RecordOutput>,

    /// Log more on stderr: debug; twice: trace
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

impl ExplainArgs {
    /// Returns the sources of the configuration.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let common = CommonArgs {
            config: self.config.clone(),
            verbose: self.verbose,
            ..CommonArgs::default()
        };
        // Text for people, also through a pipe.
        common.sources(Some(self.output.unwrap_or(RecordOutput::Text)))
    }
}

impl CommonArgs {
    /// Returns the sources of the configuration, with the format of records on stdout if a flag gives it.
    #[must_use]
    pub fn sources(&self, output: Option<RecordOutput>) -> Sources {
        let some = |list: &[Broker]| (!list.is_empty()).then(|| list.to_vec());
        let level = match self.verbose {
            0 => None,
            1 => Some(LogLevel::Debug),
            _ => Some(LogLevel::Trace),
        };
        let flags = Layer {
            streams: self.stream,
            sinks: (!self.sink.is_empty()).then(|| self.sink.clone()),
            kafka: KafkaLayer { brokers: some(&self.brokers), ..KafkaLayer::default() },
            metrics: MetricsLayer { listen: self.metrics_listen },
            output,
            log: LogLayer { format: self.log_format, level },
            ..Layer::default()
        };
        let file = self.config.clone().filter(|path| !path.as_os_str().is_empty());
        Sources { file, environment: std::env::vars_os().collect(), flags }
    }
}
