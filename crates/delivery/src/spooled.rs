//! Base of sinks that send over the network: records wait on disk while their destination is unavailable.
//!
//! ```text
//!  queue ─▶ sender ─┬──────────────▶ in flight ─▶ client ─▶ destination
//!                   └─▶ spool ──────▶   ▲                      │
//!                       (disk)          └── delivery reports ◀─┘
//! ```

mod backlog;
mod dead_letter;
mod in_flight;
mod sender;

pub(crate) use backlog::BacklogGauges;
pub(crate) use in_flight::{Cursor, InFlight, InFlightBatch, Outcome, Tallies};
pub(crate) use sender::Destination;

use crate::spool::SpoolConfig;
use crate::tally::{DropReason, Tally};
use crate::threaded::{QueueLimits, SharedState, SinkReceiver, SpoolReport, ThreadedSink};
use crate::{OutputFormat, SinkError, Stream, StreamSet};
use backlog::Backlog;
use dnscribe_record::Labels;
use sender::Sender;
use std::sync::Arc;
use std::time::Duration;

/// What all sinks with a spool have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpooledPlan {
    /// The destination's kind, for logs.
    pub(crate) name: &'static str,
    /// Identifies the destination: the records of another one in the same directory are not its own.
    pub(crate) destination: String,
    pub(crate) node: Arc<str>,
    pub(crate) region: Option<String>,
    pub(crate) labels: Option<Labels>,
    /// How long the destination may be unreachable after the start before the sink fails; `None`: without
    /// limit.
    pub(crate) patience: Option<Duration>,
    pub(crate) spool: Option<SpoolConfig>,
}

/// Starts a sink without waiting for its destination. `connect` creates the client.
pub(crate) fn open<D: Destination>(
    name: String,
    streams: StreamSet,
    plan: &SpooledPlan,
    limits: QueueLimits,
    reasons: &'static [DropReason],
    connect: impl FnOnce(&Arc<InFlight>) -> Result<D, SinkError>,
) -> Result<(ThreadedSink, Arc<BacklogGauges>), SinkError> {
    let shared = SharedState::new(streams, reasons);
    let recovered = Arc::new(Tally::new(Stream::ALL.into_iter().collect(), reasons));
    let tallies = Tallies { own: Arc::clone(&shared), recovered: Arc::clone(&recovered) };
    let in_flight = Arc::new(InFlight::new(tallies));
    let gauges = Arc::new(BacklogGauges::default());
    let plan = Arc::new(plan.clone());
    let backlog = Backlog::new(&plan, D::CAUSES_FIRST, Arc::clone(&in_flight), Arc::clone(&gauges));
    // A flush that comes before the thread runs waits for recovered records, too.
    shared.draining.set(!backlog.is_empty());
    let destination = connect(&in_flight)?;
    let sender = Sender::new(&plan, in_flight, destination, backlog);
    let work = move |receiver: &SinkReceiver| sender.run(receiver);
    let mut sink = ThreadedSink::start(name, OutputFormat::Json, limits, shared, work)?;
    if plan.spool.is_some() {
        sink.spool = Some(SpoolReport { recovered, bytes: Arc::clone(&gauges.bytes) });
    }
    Ok((sink, gauges))
}
