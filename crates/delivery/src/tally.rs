//! Counters of one sink by stream. Identity 5 of the ledger holds at every moment.

use super::threaded::lock;
use super::{Batch, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use dnscribe_record::named_enum;
use std::collections::BTreeMap;
use std::sync::Mutex;

named_enum! {
    /// Why a sink dropped a record, with its name in the ledger.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum DropReason: "a reason" {
        QueueFull = "queue_full",
        Shutdown = "shutdown",
        WriteError = "write_error",
        PipeClosed = "pipe_closed",
        MessageTimedOut = "message_timed_out",
        MessageTooLarge = "message_too_large",
        UnknownTopic = "unknown_topic",
        NotAuthorised = "not_authorised",
        Rejected = "rejected",
        BrokerError = "broker_error",
        NotEncodable = "not_encodable",
        SpoolFull = "spool_full",
        SpoolExpired = "spool_expired",
        SpoolCorrupt = "spool_corrupt",
        SpoolError = "spool_error",
        PartialSuccess = "partial_success",
    }
}

impl DropReason {
    /// How to end refusals for this reason, where that is known.
    pub(super) const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::UnknownTopic => Some(
                "`dnscribe kafka init` creates missing topics; or correct kafka.topics and kafka.topic_prefix",
            ),
            Self::NotAuthorised => Some("grant this client's user the right to write the topic"),
            _ => None,
        }
    }
}

/// Where an undelivered record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In memory only.
    Memory,
    /// On disk, and possibly also in memory.
    Disk,
}

/// Names of all drop reasons, as in the ledger.
pub fn drop_reasons() -> impl Iterator<Item = &'static str> {
    DropReason::ALL.into_iter().map(DropReason::name)
}

/// One number for each stream, indexed by `Stream as usize`.
pub(super) type PerStream = [u64; Stream::ALL.len()];

/// Records that were on disk and are dropped, by stream and reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskLosses([[u64; DropReason::ALL.len()]; Stream::ALL.len()]);

impl DiskLosses {
    pub(super) fn add(&mut self, stream: Stream, reason: DropReason, count: u64) {
        self.0[stream as usize][reason as usize] += count;
    }

    pub(super) fn plus(self, more: &Self) -> Self {
        self.combine(more, u64::saturating_add)
    }

    pub(super) fn minus(self, less: &Self) -> Self {
        self.combine(less, u64::saturating_sub)
    }

    fn combine(mut self, other: &Self, combine: fn(u64, u64) -> u64) -> Self {
        for (count, other) in self.0.as_flattened_mut().iter_mut().zip(other.0.as_flattened()) {
            *count = combine(*count, *other);
        }
        self
    }

    /// All counts that are not 0.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Stream, DropReason, u64)> {
        let counts = move |stream: Stream| {
            DropReason::ALL.map(|reason| (stream, reason, self.0[stream as usize][reason as usize]))
        };
        Stream::ALL.into_iter().flat_map(counts).filter(|(_, _, count)| *count > 0)
    }
}

#[derive(Clone, Copy, Default)]
struct StreamCounters {
    records: u64,
    filtered: u64,
    delivered: u64,
    spooled: u64,
    /// Records in flight that the sink keeps in memory: what becomes of them is not decided yet.
    held: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl StreamCounters {
    fn in_flight(&self) -> u64 {
        let settled = self.filtered + self.delivered + self.spooled;
        self.records - settled - self.dropped.iter().sum::<u64>()
    }

    fn settle(&mut self, count: u64, outcome: Result<(), DropReason>) {
        match outcome {
            Ok(()) => self.delivered += count,
            Err(reason) => self.dropped[reason as usize] += count,
        }
    }
}

#[derive(Default)]
struct TallyState {
    cells: [StreamCounters; Stream::ALL.len()],
    lost: DiskLosses,
    /// `lost` when the counters were read last, by a ledger record or a page of metrics.
    read_lost: DiskLosses,
    /// The part of `lost` that the last ledger record contains.
    ledger_lost: DiskLosses,
    /// Set when the sink is closed. Later reports on records in memory are ignored.
    closed: bool,
}

/// The counters of one sink. A lock, not atomics, so that readers see all counters of the same
/// moment; it is held only for a few additions.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) streams: StreamSet,
    reasons: &'static [DropReason],
    state: Mutex<TallyState>,
}

impl Tally {
    /// Creates counters for a sink that receives `streams` and may drop records for `reasons`.
    pub(super) fn new(streams: StreamSet, reasons: &'static [DropReason]) -> Self {
        Self { streams, reasons, state: Mutex::default() }
    }

    /// Number of the batch's records that belong to the sink, by stream.
    pub(super) fn count_batch(&self, batch: &Batch) -> PerStream {
        let mut share = *batch.counted();
        for record in batch.iter() {
            share[record.stream as usize] += 1;
        }
        for stream in Stream::ALL.into_iter().filter(|stream| !self.streams.contains(*stream)) {
            share[stream as usize] = 0;
        }
        share
    }

    /// Counts the records that a filter removed from `batch`.
    pub(super) fn add_filtered(&self, batch: &Batch) {
        if *batch.filtered() == PerStream::default() {
            return;
        }
        let mut state = lock(&self.state);
        for stream in self.streams.iter() {
            let count = batch.filtered()[stream as usize];
            let cell = &mut state.cells[stream as usize];
            cell.records += count;
            cell.filtered += count;
        }
    }

    /// Counts records as received and in flight.
    pub(super) fn add_in_flight(&self, share: &PerStream) {
        let mut state = lock(&self.state);
        for (cell, count) in state.cells.iter_mut().zip(share) {
            cell.records += count;
        }
        if state.closed {
            drop_all_in_flight(&mut state);
        }
    }

    /// Moves records from in flight to delivered.
    pub(super) fn delivered(&self, share: &PerStream) {
        self.settle(share, Ok(()));
    }

    /// Marks records in flight as kept in memory: nobody waits for them.
    pub(super) fn held(&self, stream: Stream, count: u64) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.cells[stream as usize].held += count;
        }
    }

    /// Counts records that were held as delivered or, if the sink has let go of them, as filtered.
    pub(super) fn released(&self, stream: Stream, count: u64, is_delivered: bool) {
        let mut state = lock(&self.state);
        if state.closed {
            return;
        }
        let cell = &mut state.cells[stream as usize];
        cell.held -= count;
        let outcome = if is_delivered { &mut cell.delivered } else { &mut cell.filtered };
        *outcome += count;
    }

    /// Moves records from in flight to dropped.
    pub(super) fn dropped(&self, share: &PerStream, reason: DropReason) {
        self.settle(share, Err(reason));
    }

    /// Removes records in flight, because a replacement sink counts them from now on.
    pub(super) fn withdrawn(&self, share: &PerStream) {
        let mut state = lock(&self.state);
        for (cell, count) in state.cells.iter_mut().zip(share) {
            cell.records -= count;
        }
    }

    /// Counts records of one stream, stored at `location` until now, as delivered or dropped.
    pub(super) fn settle_at(
        &self,
        location: Location,
        stream: Stream,
        count: u64,
        outcome: Result<(), DropReason>,
    ) {
        let mut state = lock(&self.state);
        // Records in memory were counted as dropped when the sink was closed.
        if state.closed && location == Location::Memory {
            return;
        }
        if let (Location::Disk, Err(reason)) = (location, outcome) {
            state.lost.add(stream, reason, count);
        }
        let cell = &mut state.cells[stream as usize];
        if location == Location::Disk {
            cell.spooled -= count;
        }
        cell.settle(count, outcome);
    }

    /// Records that were on disk and are dropped.
    pub(super) fn lost(&self) -> DiskLosses {
        lock(&self.state).lost
    }

    /// Notes that a ledger record contains the counters that were read last.
    pub(super) fn note_in_ledger(&self) {
        let mut state = lock(&self.state);
        state.ledger_lost = state.read_lost;
    }

    /// Returns the part of the lost records that the last ledger record contains.
    pub(super) fn ledger_lost(&self) -> DiskLosses {
        lock(&self.state).ledger_lost
    }

    /// Counts a record of a stream, stored at `location` until now, as filtered.
    pub(super) fn filtered_at(&self, location: Location, stream: Stream) {
        let mut state = lock(&self.state);
        if state.closed && location == Location::Memory {
            return;
        }
        let cell = &mut state.cells[stream as usize];
        cell.spooled -= u64::from(location == Location::Disk);
        cell.filtered += 1;
    }

    /// Moves records from in flight to spooled.
    pub(super) fn spooled(&self, stream: Stream, count: u64) {
        let mut state = lock(&self.state);
        if !state.closed {
            state.cells[stream as usize].spooled += count;
        }
    }

    pub(super) fn add_recovered(&self, found: &PerStream) {
        let mut state = lock(&self.state);
        for (cell, count) in state.cells.iter_mut().zip(found) {
            cell.records += count;
            cell.spooled += count;
        }
    }

    fn settle(&self, share: &PerStream, outcome: Result<(), DropReason>) {
        let mut state = lock(&self.state);
        if !state.closed {
            let cells = state.cells.iter_mut().zip(share);
            cells.for_each(|(cell, count)| cell.settle(*count, outcome));
        }
    }

    /// Counts all records in flight as dropped (`shutdown`) and ignores later reports.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        drop_all_in_flight(&mut state);
    }

    /// Records in flight of all streams, but for those that are held.
    pub(super) fn in_flight(&self) -> u64 {
        let waiting = |cell: &StreamCounters| cell.in_flight() - cell.held;
        lock(&self.state).cells.iter().map(waiting).sum()
    }

    /// The current counters by stream name. The next ledger record in the queue contains them.
    pub(super) fn counters(&self) -> BTreeMap<String, Delivery> {
        let cells = {
            let mut state = lock(&self.state);
            state.read_lost = state.lost;
            state.cells
        };
        let named = self.streams.iter().map(|stream| {
            let cell = cells[stream as usize];
            let dropped = self
                .reasons
                .iter()
                .map(|reason| (reason.name().to_owned(), cell.dropped[*reason as usize]))
                .collect();
            let delivery = Delivery {
                records: cell.records,
                delivered: cell.delivered,
                spooled: cell.spooled,
                in_flight: cell.in_flight(),
                filtered: cell.filtered,
                dropped,
            };
            (stream.name().to_owned(), delivery)
        });
        named.collect()
    }
}

fn drop_all_in_flight(state: &mut TallyState) {
    for cell in &mut state.cells {
        cell.dropped[DropReason::Shutdown as usize] += cell.in_flight();
        cell.held = 0;
    }
}
