//! Configuration of dnscribe programs.
//!
//! A program declares its keys with [`section!`], each with type, default and description. Reading from a
//! YAML file and the environment ([`source`]), merging of sources ([`reader::Field::over`]) and the
//! reference for users ([`mod@reference`]) are generated from the declaration. An error names the key, line and
//! column, or the variable, and says what to give instead; it never contains a secret.
//!
//! Sections that several programs have are here, each with the function that checks it and fills in the
//! defaults: [`kafka`], [`otlp`], [`alertmanager`], [`sinks`] (spool, files, metrics, health), [`privacy`] and [`log`].
//!
//! # Example
//!
//! ```
//! use dnscribe_config::kafka::{self, KafkaLayer};
//! use dnscribe_config::reader::Field as _;
//! use dnscribe_config::value::{PositiveSpan, Version};
//! use dnscribe_config::{section, source};
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! section! {
//!     /// All sections of a program.
//!     Layer {
//!         /// Version of this file's format.
//!         text version: Option<Version> = default(1),
//!         /// Interval of the probes.
//!         text every: Option<PositiveSpan> = default(Duration::from_secs(10)),
//!         /// Connection to Kafka.
//!         section kafka: KafkaLayer,
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = tempfile::NamedTempFile::new()?.into_temp_path();
//! std::fs::write(&path, "version: 1\nevery: 5s\nkafka:\n  brokers: [kafka-1]\n")?;
//! let variables = [("DNSCRIBE_PROBE_EVERY".into(), "1s".into())];
//!
//! let file: Layer = source::file(&path, |layer: &Layer| layer.version.is_some())?;
//! let environment: Layer = source::environment("DNSCRIBE_PROBE_", &[], variables)?;
//! let layer = environment.over(file);
//! assert_eq!(layer.every().0, Duration::from_secs(1));
//! assert_eq!(kafka::resolve(layer.kafka, &BTreeMap::new())?.brokers, ["kafka-1"]);
//!
//! std::fs::write(&path, "version: 1\nevery: soon\n")?;
//! let error = source::file(&path, |layer: &Layer| layer.version.is_some()).err();
//! let error = error.map(|error| error.to_string()).unwrap_or_default();
//! assert!(error.contains("line 2, column 8: every: \"soon\" is not a duration"), "{error}");
//! # Ok(())
//! # }
//! ```

#[macro_use]
mod macros;
pub mod alertmanager;
mod error;
pub mod host;
pub mod kafka;
pub mod log;
pub mod maintenance;
pub mod otlp;
pub mod privacy;
pub mod reader;
pub mod reference;
mod secret;
pub mod sinks;
pub mod source;
pub mod value;
pub mod yaml;

pub use error::ConfigError;
pub use secret::{Secret, Url, read as read_secret};
