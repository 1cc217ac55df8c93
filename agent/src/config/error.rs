//! Why there is no configuration, in sentences.

use std::net::IpAddr;
use std::path::PathBuf;

/// Why there is no configuration. Never tells a secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::sync::Arc<std::io::Error>,
    },
    /// Something in the file is wrong.
    #[error("{}: line {line}, column {column}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
        /// What is wrong, with the key.
        message: String,
    },
    /// The file does not say which version of the format it has.
    #[error("{}: line 1, column 1: version is missing: write \"version: 1\"", path.display())]
    NoVersion {
        /// The file.
        path: PathBuf,
    },
    /// A `DNSCRIBE_` variable is wrong.
    #[error("environment variable {name}: {message}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A Kafka sink, and nowhere to find Kafka.
    #[error("sink kafka needs brokers: give --brokers HOST:PORT or kafka.brokers")]
    NoBrokers,
    /// A file of `kafka.option_files` gives no value.
    #[error("kafka.option_files.{option}: cannot take its value from {}: {why}", path.display())]
    OptionFile {
        /// librdkafka's setting.
        option: String,
        /// The file.
        path: PathBuf,
        /// Why not, without its content.
        why: String,
    },
    /// A setting of librdkafka by two ways.
    #[error("{option} is in kafka.options and in kafka.option_files: keep one of them")]
    TwoValues {
        /// librdkafka's setting.
        option: String,
    },
    /// librdkafka does not take one of `kafka.options`.
    #[error("{0}")]
    KafkaOption(String),
    /// Formats and the schema registry do not fit together.
    #[error("{0}")]
    Registry(String),
    /// Section `alertmanager` is wrong.
    #[error("{0}")]
    Alertmanager(String),
    /// Section `privacy` is wrong.
    #[error("privacy: {0}")]
    Privacy(String),
    /// A filter for a stream whose records are all told.
    #[error(
        "filters.streams.{0}: records of this stream are all told: filter messages, transactions, lookups or \
         connections"
    )]
    NotFiltered(&'static str),
    /// An address with two names.
    #[error("resolvers: {address} is both \"{first}\" and \"{second}\": keep one of them")]
    TwoNames {
        /// The address.
        address: IpAddr,
        /// One name.
        first: String,
        /// The other.
        second: String,
    },
    /// More prefixes than the programs hold.
    #[error(
        "encrypted.resolvers: {given} addresses and prefixes are too many: give {most} at most, \
         such as one prefix for several addresses"
    )]
    TooManyResolvers {
        /// How many there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
    /// Fewer failures would be critical than are worth a warning.
    #[error(
        "detect.rules.success_ratio: critical {critical} is above warning {warning}: what is critical \
         must be worse"
    )]
    SuccessRatio {
        /// The share below which a warning is given.
        warning: f64,
        /// The share below which it is critical.
        critical: f64,
    },
    /// A maintenance without a time, or with two.
    #[error(
        "detect.maintenance: number {number} has no time: give start and a later end, or from and \
         another to, with days if not every day"
    )]
    Maintenance {
        /// Its place in the list, from 1.
        number: usize,
    },
    /// More than one sink on stdout.
    #[error("sink stdout is given twice: records would be mixed; keep one of them")]
    TwoStdouts,
    /// Two sinks on one file.
    #[error(
        "sinks file:{} and file:{} are the same file: records would be in it twice; keep one of them",
        first.display(), second.display()
    )]
    TwoOfAFile {
        /// One path.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// What becomes of rotated files, and no rotation.
    #[error("file.{0} is for rotated files: give file.rotate_bytes or file.rotate_every too")]
    NothingRotates(&'static str),
}
