//! The Kafka sink: an idempotent producer whose delivery reports drive the ledger.
//!
//! The sink's thread, the sender of [`crate::spooled`], hands records to librdkafka. While Kafka is unavailable, or slower
//! than the records arrive, they go to the spool and return from it in order. No rdkafka type leaves
//! this module. Its parts, in the order in which a record passes them:
//!
//! | module | contents |
//! |---|---|
//! | `settings` | librdkafka's settings; errors without secrets |
//! | `encode` | JSON or Avro, schema registry |
//! | `brokers` | the client of the sink's thread |
//! | `producer` | the producer: record to message |
//! | `reports` | librdkafka's callbacks: delivery reports, errors, statistics |
//! | `topics` | creation of topics |
//! | `probe`, `read_back`, `publish` | checks, reading back and writing, for commands |
//! | `follow` | records as they arrive |
//! | `diagnose` | explanation of errors |

mod brokers;
mod diagnose;
mod encode;
mod follow;
mod probe;
mod producer;
mod publish;
mod read_back;
mod reports;
mod settings;
pub mod topics;

pub use diagnose::Diagnosis;
pub use encode::probe_registry;
pub use follow::follow;
pub use probe::probe_brokers;
pub use publish::{KeyedRecord, publish};
pub use read_back::{
    Gap, RecordDecoder, RecordPosition, TimeSpan, TopicMessage, TopicReader, read_back, read_topic,
    topic_names,
};
pub use settings::{is_path, validate};

use super::spooled::{self, BacklogGauges, SpooledPlan};
use super::tally::DropReason;
use super::threaded::{QueueLimits, ThreadedSink};
use super::{KafkaConfig, SinkError, StreamSet};
use brokers::Brokers;
use rdkafka::statistics::Statistics;
use reports::BrokerHealth;
use std::sync::Arc;
use std::time::Duration;

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::MessageTimedOut,
    DropReason::MessageTooLarge,
    DropReason::UnknownTopic,
    DropReason::NotAuthorised,
    DropReason::NotEncodable,
    DropReason::Rejected,
    DropReason::BrokerError,
    DropReason::SpoolFull,
    DropReason::SpoolExpired,
    DropReason::SpoolCorrupt,
    DropReason::SpoolError,
    DropReason::Shutdown,
];

/// Everything that defines a Kafka sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KafkaPlan {
    pub(super) config: KafkaConfig,
    pub(super) spooled: SpooledPlan,
}

/// Starts a sink without waiting for a broker.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    plan: &KafkaPlan,
) -> Result<ThreadedSink, SinkError> {
    assemble(name, streams, plan, QueueLimits::default()).map(|(sink, _)| sink)
}

/// The spool's name of the brokers.
pub(super) fn destination(config: &KafkaConfig) -> String {
    let mut brokers = config.brokers.clone();
    brokers.sort_unstable();
    brokers.join(",")
}

/// Starts a sink; also returns the state of its connection.
fn assemble(
    name: String,
    streams: StreamSet,
    plan: &KafkaPlan,
    limits: QueueLimits,
) -> Result<(ThreadedSink, Arc<BrokerHealth>), SinkError> {
    let health = Arc::new(BrokerHealth::new(&plan.config));
    let (mut sink, gauges) =
        spooled::open(name, streams, &plan.spooled, limits, REASONS, |in_flight| {
            Brokers::new(plan, in_flight, &health)
        })?;
    if plan.spooled.spool.is_some() {
        // The thread may wait for the registry before it writes what it has to the spool.
        sink.end_timeout += plan.config.registry.as_ref().map_or(Duration::ZERO, |one| one.timeout);
    }
    let seen = Arc::clone(&health);
    sink.gauges = Box::new(move || [seen.gauges(), gauges.gauges(UP)].concat());
    Ok((sink, health))
}

/// The metric that says whether Kafka accepts records.
const UP: &str = "dnscribe_kafka_up";

#[cfg(test)]
mod tests;

/// All metrics of this kind of sink.
pub(super) fn every_gauge() -> Vec<super::Gauge> {
    [reports::gauges(&Statistics::default()), BacklogGauges::default().gauges(UP)].concat()
}
