//! Kafka: the connection's settings, and records to topics.

use crate::error::KpiError;
use dnscribe_config::kafka::{self, KafkaLayer};
use dnscribe_config::reader::Field as _;
use dnscribe_config::value::Broker;
use dnscribe_config::{section, source};
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::{self as client, KeyedRecord};
use std::collections::BTreeMap;

section! {
    /// Settings that the environment gives.
    Layer {
        /// Connection to Kafka.
        section kafka: KafkaLayer,
    }
}

/// Variables of this program that are not settings of Kafka.
const FLAGS: [&str; 5] = [
    "DNSCRIBE_KPI_CONFIG",
    "DNSCRIBE_KPI_DATA",
    "DNSCRIBE_KPI_DICTIONARY",
    "DNSCRIBE_KPI_POLICY",
    "DNSCRIBE_KPI_TOKENS",
];

/// Returns the connection to Kafka: brokers from the command line, everything else from the environment
/// (`DNSCRIBE_KPI_KAFKA__OPTIONS__SASL_PASSWORD`).
///
/// # Errors
/// A variable is wrong.
pub fn config(brokers: &[Broker]) -> Result<KafkaConfig, KpiError> {
    let fail = |error: dnscribe_config::ConfigError| KpiError::Usage(error.to_string());
    let environment: Layer =
        source::environment("DNSCRIBE_KPI_", &FLAGS, std::env::vars_os()).map_err(fail)?;
    let given = (!brokers.is_empty()).then(|| brokers.to_vec());
    let flags = KafkaLayer { brokers: given, ..KafkaLayer::default() };
    kafka::resolve(flags.over(environment.kafka), &BTreeMap::new()).map_err(fail)
}

/// Sends records to a topic and waits until all are acknowledged; `node` is their header of that name.
///
/// # Errors
/// Kafka has not acknowledged all of them.
pub fn publish(
    config: &KafkaConfig,
    topic: &str,
    node: &str,
    records: impl IntoIterator<Item = KeyedRecord>,
) -> Result<(), KpiError> {
    tokio::task::block_in_place(|| client::publish(config, topic, node, records))
        .map_err(|why| KpiError::Failed(format!("{}: {}", why.problem, why.remedy)))
}
