//! Kafka: an idempotent producer whose delivery reports drive the ledger.
//!
//! ```text
//!  queue ─▶ sender ─┬──────────────▶ flight ─▶ librdkafka ─▶ broker
//!                   └─▶ spool ──────▶   ▲                      │
//!                       (disk)          └──── reports ◀────────┘
//! ```
//!
//! The sink's own thread, the sender, hands records to librdkafka; while Kafka is away, or slower
//! than the records come, they go to the spool and come back from it in order. No rdkafka type
//! leaves this module.

mod backlog;
mod bits;
mod dead_letter;
mod diagnose;
mod encode;
mod flight;
mod link;
mod probe;
mod read_back;
mod reports;
mod sender;
mod settings;
pub mod topics;

pub use diagnose::Diagnosis;
pub use encode::probe_registry;
pub use probe::probe_brokers;
pub use read_back::{Gap, read_back};
pub use settings::validate;

use super::spool::SpoolConfig;
use super::tally::{Reason, Tally};
use super::threaded::{Bounds, Spool, Threaded};
use super::{KafkaConfig, Look, SinkError, Stream, StreamSet};
use backlog::{Backlog, BacklogGauges};
use dead_letter::DeadLetters;
use flight::{Flight, Tallies};
use reports::Health;
use sender::{Parts, Sender};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const REASONS: &[Reason] = &[
    Reason::QueueFull,
    Reason::MessageTimedOut,
    Reason::MessageTooLarge,
    Reason::UnknownTopic,
    Reason::NotAuthorised,
    Reason::NotEncodable,
    Reason::Rejected,
    Reason::BrokerError,
    Reason::SpoolFull,
    Reason::SpoolExpired,
    Reason::SpoolCorrupt,
    Reason::SpoolError,
    Reason::Shutdown,
];

/// Who writes, and how Kafka and the disk are to be used.
#[derive(Clone, Copy)]
pub(super) struct With<'a> {
    pub(super) node: &'a str,
    pub(super) region: Option<&'a str>,
    pub(super) config: &'a KafkaConfig,
    pub(super) patience: Option<Duration>,
    pub(super) spool: Option<&'a SpoolConfig>,
}

/// Starts a sink. Does not wait for a broker: records do.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    with: With<'_>,
) -> Result<Threaded, SinkError> {
    assemble(name, streams, with, Bounds::default()).map(|(sink, _)| sink)
}

/// The sink, and what is known of Kafka's state.
fn assemble(
    name: String,
    streams: StreamSet,
    with: With<'_>,
    bounds: Bounds,
) -> Result<(Threaded, Arc<Health>), SinkError> {
    let shared = Threaded::shared(Tally::new(streams, REASONS));
    let recovered = Arc::new(Tally::new(Stream::ALL.into_iter().collect(), REASONS));
    let tallies = Tallies { own: Arc::clone(&shared), recovered: Arc::clone(&recovered) };
    let flight = Arc::new(Flight::new(tallies));
    let health = Arc::new(Health::new(with.config));
    let gauges = Arc::new(BacklogGauges::default());
    let With { node, region, config, patience, spool } = with;
    let backlog =
        Backlog::new(spool, &config.brokers, node, Arc::clone(&flight), Arc::clone(&gauges));
    let node: Arc<str> = node.into();
    let dead_letters = DeadLetters {
        node: Arc::clone(&node),
        region: region.map(str::to_owned),
        wanted: streams.contains(Stream::Dlq),
        shared: Arc::clone(&shared),
        told: BTreeSet::new(),
    };
    let parts = Parts {
        config: config.clone(),
        node,
        flight,
        health: Arc::clone(&health),
        dead_letters,
        patience,
    };
    let sender = Sender::new(parts, backlog)?;
    let thread = name.clone();
    let bytes = Arc::clone(&gauges.bytes);
    let sink = Threaded::start(name, Look::Json, bounds, shared, move |back| sender.run(back))
        .map_err(|error| SinkError::Thread { name: thread, error })?;
    let sink = if spool.is_some() { sink.with_spool(Spool { recovered, bytes }) } else { sink };
    let seen = Arc::clone(&health);
    Ok((sink.with_gauges(move || [seen.stats.gauges(), gauges.gauges()].concat()), health))
}

#[cfg(test)]
mod tests;

/// What this kind of sink measures.
#[cfg(test)]
pub(super) fn every_gauge() -> Vec<super::Gauge> {
    [reports::Stats::default().gauges(), BacklogGauges::default().gauges()].concat()
}
