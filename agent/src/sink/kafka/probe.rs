//! Whether Kafka can be reached, for `dnscribe check`.

use super::super::{KafkaConfig, StreamSet};
use super::settings;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Remembers the last trouble.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn note(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for Trouble {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        tracing::debug!(?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all brokers are down says less than what was before it.
        if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) {
            self.note(settings::essence(reason));
        }
    }
}

impl ProducerContext for Trouble {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// Asks the brokers for the cluster's metadata, for `timeout` at most: what was found, or why it
/// cannot be had, each in a sentence without secrets.
pub fn probe_brokers(config: &KafkaConfig, timeout: Duration) -> Result<String, String> {
    if config.brokers.is_empty() {
        return Err("no broker is configured".into());
    }
    let trouble = Trouble::default();
    let producer: ThreadedProducer<Trouble> = settings::producer(config, false)
        .create_with_context(trouble.clone())
        .map_err(|error| settings::explain(&error))?;
    let metadata = producer.client().fetch_metadata(None, timeout).map_err(|error| {
        let why = trouble.take().unwrap_or_else(|| settings::explain(&error));
        format!("no answer from {} within {timeout:?}: {why}", config.brokers.join(", "))
    })?;
    let topics: BTreeSet<&str> = metadata.topics().iter().map(MetadataTopic::name).collect();
    let missing: Vec<&str> = StreamSet::STORED
        .iter()
        .map(|stream| config.topic(stream))
        .filter(|topic| !topics.contains(topic))
        .collect();
    let brokers = metadata.brokers().len();
    let noun = if brokers == 1 { "broker" } else { "brokers" };
    let found = format!("{brokers} {noun}, {} topics", topics.len());
    Ok(match missing.as_slice() {
        [] => found,
        topics => format!("{found}; not there yet: {}", topics.join(", ")),
    })
}
