//! The Kafka sink: an idempotent producer whose delivery reports drive the ledger.
//!
//! ```text
//!  queue ─▶ sender ─┬──────────────▶ in flight ─▶ librdkafka ─▶ broker
//!                   └─▶ spool ──────▶   ▲                        │
//!                       (disk)          └──── delivery reports ◀─┘
//! ```
//!
//! The sink's thread, the sender, hands records to librdkafka. While Kafka is unavailable, or slower
//! than the records arrive, they go to the spool and return from it in order. No rdkafka type leaves
//! this module. Its parts, in the order in which a record passes them:
//!
//! | module | contents |
//! |---|---|
//! | `settings` | librdkafka's settings; errors without secrets |
//! | `encode` | JSON or Avro, schema registry |
//! | `sender` | the sink's thread |
//! | `backlog` | the connection to the spool |
//! | `in_flight` | unacknowledged records |
//! | `producer` | the producer: record to message |
//! | `reports` | librdkafka's callbacks: delivery reports, errors, statistics |
//! | `dead_letter` | dead letters of rejected records |
//! | `topics` | creation of topics |
//! | `probe`, `read_back`, `publish` | checks, reading back and writing, for commands |
//! | `follow` | records as they arrive |
//! | `diagnose` | explanation of errors |

mod backlog;
mod dead_letter;
mod diagnose;
mod encode;
mod follow;
mod in_flight;
mod probe;
mod producer;
mod publish;
mod read_back;
mod reports;
mod sender;
mod settings;
pub mod topics;

pub use diagnose::Diagnosis;
pub use encode::probe_registry;
pub use follow::follow;
pub use probe::probe_brokers;
pub use publish::{KeyedRecord, publish};
pub use read_back::{
    Gap, RecordDecoder, RecordPosition, TimeSpan, TopicMessage, read_back, read_topic, topic_names,
};
pub use settings::{is_path, validate};

use super::spool::SpoolConfig;
use super::tally::{DropReason, Tally};
use super::threaded::{QueueLimits, SharedState, SinkReceiver, SpoolReport, ThreadedSink};
use super::{KafkaConfig, OutputFormat, SinkError, Stream, StreamSet};
use backlog::{Backlog, BacklogGauges};
use dnscribe_record::Labels;
use in_flight::{InFlight, Tallies};
use rdkafka::statistics::Statistics;
use reports::BrokerHealth;
use sender::Sender;
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
    pub(super) node: Arc<str>,
    pub(super) region: Option<String>,
    pub(super) labels: Option<Labels>,
    pub(super) config: KafkaConfig,
    /// How long Kafka may be unreachable after the start before the sink fails; `None`: without
    /// limit.
    pub(super) patience: Option<Duration>,
    pub(super) spool: Option<SpoolConfig>,
}

/// Starts a sink without waiting for a broker.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    plan: &KafkaPlan,
) -> Result<ThreadedSink, SinkError> {
    assemble(name, streams, plan, QueueLimits::default()).map(|(sink, _)| sink)
}

/// Starts a sink; also returns the state of its connection.
fn assemble(
    name: String,
    streams: StreamSet,
    plan: &KafkaPlan,
    limits: QueueLimits,
) -> Result<(ThreadedSink, Arc<BrokerHealth>), SinkError> {
    let shared = SharedState::new(streams, REASONS);
    let recovered = Arc::new(Tally::new(Stream::ALL.into_iter().collect(), REASONS));
    let tallies = Tallies { own: Arc::clone(&shared), recovered: Arc::clone(&recovered) };
    let in_flight = Arc::new(InFlight::new(tallies));
    let health = Arc::new(BrokerHealth::new(&plan.config));
    let gauges = Arc::new(BacklogGauges::default());
    let plan = Arc::new(plan.clone());
    let backlog = Backlog::new(&plan, Arc::clone(&in_flight), Arc::clone(&gauges));
    // A flush that comes before the thread runs waits for recovered records, too.
    shared.draining.set(!backlog.is_empty());
    let sender = Sender::new(&plan, in_flight, Arc::clone(&health), backlog)?;
    let work = move |receiver: &SinkReceiver| sender.run(receiver);
    let mut sink = ThreadedSink::start(name, OutputFormat::Json, limits, shared, work)?;
    let bytes = Arc::clone(&gauges.bytes);
    if plan.spool.is_some() {
        sink.spool = Some(SpoolReport { recovered, bytes });
        // The thread may wait for the registry before it writes what it has to the spool.
        sink.end_timeout += plan.config.registry.as_ref().map_or(Duration::ZERO, |one| one.timeout);
    }
    let seen = Arc::clone(&health);
    sink.gauges = Box::new(move || [seen.gauges(), gauges.gauges()].concat());
    Ok((sink, health))
}

#[cfg(test)]
mod tests;

/// All metrics of this kind of sink.
pub(super) fn every_gauge() -> Vec<super::Gauge> {
    [reports::gauges(&Statistics::default()), BacklogGauges::default().gauges()].concat()
}
