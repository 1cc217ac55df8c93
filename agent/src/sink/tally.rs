//! One sink's side of identity 5, exact at every moment.

use super::{Batch, Stream, StreamSet};
use crate::ledger::Delivery;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a sink gave a record up. The names stand in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    QueueFull,
    Shutdown,
    WriteError,
    PipeClosed,
    MessageTimedOut,
    MessageTooLarge,
    UnknownTopic,
    NotAuthorised,
    Rejected,
    BrokerError,
    NotEncodable,
    SpoolFull,
    SpoolExpired,
    SpoolCorrupt,
    SpoolError,
}

/// Where a record is that has not arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In memory only.
    Memory,
    /// On disk, and perhaps in memory too.
    Disk,
}

impl Reason {
    const COUNT: usize = 15;

    #[cfg(test)]
    const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::Shutdown,
        Self::WriteError,
        Self::PipeClosed,
        Self::MessageTimedOut,
        Self::MessageTooLarge,
        Self::UnknownTopic,
        Self::NotAuthorised,
        Self::Rejected,
        Self::BrokerError,
        Self::NotEncodable,
        Self::SpoolFull,
        Self::SpoolExpired,
        Self::SpoolCorrupt,
        Self::SpoolError,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Shutdown => "shutdown",
            Self::WriteError => "write_error",
            Self::PipeClosed => "pipe_closed",
            Self::MessageTimedOut => "message_timed_out",
            Self::MessageTooLarge => "message_too_large",
            Self::UnknownTopic => "unknown_topic",
            Self::NotAuthorised => "not_authorised",
            Self::Rejected => "rejected",
            Self::BrokerError => "broker_error",
            Self::NotEncodable => "not_encodable",
            Self::SpoolFull => "spool_full",
            Self::SpoolExpired => "spool_expired",
            Self::SpoolCorrupt => "spool_corrupt",
            Self::SpoolError => "spool_error",
        }
    }
}

/// Why sinks give records up, as the ledger spells it.
#[cfg(test)]
pub(crate) fn drop_reasons() -> impl Iterator<Item = &'static str> {
    Reason::ALL.into_iter().map(Reason::name)
}

/// A number for each stream.
pub(super) type PerStream = [u64; Stream::ALL.len()];

#[derive(Clone, Copy, Default)]
struct Cell {
    records: u64,
    filtered: u64,
    delivered: u64,
    spooled: u64,
    dropped: [u64; Reason::COUNT],
}

impl Cell {
    fn in_flight(&self) -> u64 {
        let settled = self.filtered + self.delivered + self.spooled;
        self.records - settled - self.dropped.iter().sum::<u64>()
    }

    fn leave(&mut self, place: Place, count: u64) {
        if place == Place::Disk {
            self.spooled -= count;
        }
    }
}

#[derive(Default)]
struct State {
    cells: [Cell; Stream::ALL.len()],
    /// Set once the sink is closed: what arrives later than the last judgement changes nothing.
    sealed: bool,
}

/// The counters. A lock rather than atomics: readers see all of them at one moment, and it is held
/// for a few additions only.
pub(super) struct Tally {
    streams: StreamSet,
    reasons: &'static [Reason],
    state: Mutex<State>,
}

impl Tally {
    /// For a sink that takes `streams` and may drop for `reasons`.
    pub(super) fn new(streams: StreamSet, reasons: &'static [Reason]) -> Self {
        Self { streams, reasons, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn streams(&self) -> StreamSet {
        self.streams
    }

    /// How many records of the batch are the sink's, by stream.
    pub(super) fn share(&self, batch: &Batch) -> PerStream {
        let mut share = *batch.counted();
        for record in batch.iter() {
            share[record.stream as usize] += 1;
        }
        for stream in Stream::ALL.into_iter().filter(|stream| !self.streams.contains(*stream)) {
            share[stream as usize] = 0;
        }
        share
    }

    /// Records of a batch that a filter has left out.
    pub(super) fn filtered(&self, batch: &Batch) {
        if *batch.filtered() == PerStream::default() {
            return;
        }
        let mut state = self.state();
        for stream in self.streams.iter() {
            let count = batch.filtered()[stream as usize];
            let cell = &mut state.cells[stream as usize];
            cell.records += count;
            cell.filtered += count;
        }
    }

    /// Records offered: in flight from now on.
    pub(super) fn offered(&self, share: &PerStream) {
        let mut state = self.state();
        for (cell, count) in state.cells.iter_mut().zip(share) {
            cell.records += count;
        }
        if state.sealed {
            drop_in_flight(&mut state);
        }
    }

    /// Records in flight that arrived.
    pub(super) fn delivered(&self, share: &PerStream) {
        self.settle(share, |cell| &mut cell.delivered);
    }

    /// Records in flight that are given up.
    pub(super) fn dropped(&self, share: &PerStream, reason: Reason) {
        self.settle(share, |cell| &mut cell.dropped[reason as usize]);
    }

    /// Records in flight that another sink of this name takes on, and counts.
    pub(super) fn withdrawn(&self, share: &PerStream) {
        let mut state = self.state();
        for (cell, count) in state.cells.iter_mut().zip(share) {
            cell.records -= count;
        }
    }

    /// Records of one stream that arrived, or were given up, wherever they were till now.
    pub(super) fn settle_at(
        &self,
        place: Place,
        stream: Stream,
        count: u64,
        outcome: Result<(), Reason>,
    ) {
        let mut state = self.state();
        // Once sealed, what was in memory has been judged.
        if state.sealed && place == Place::Memory {
            return;
        }
        let cell = &mut state.cells[stream as usize];
        cell.leave(place, count);
        match outcome {
            Ok(()) => cell.delivered += count,
            Err(reason) => cell.dropped[reason as usize] += count,
        }
    }

    /// Records in flight that are on disk from now on.
    pub(super) fn spooled(&self, stream: Stream, count: u64) {
        let mut state = self.state();
        if !state.sealed {
            state.cells[stream as usize].spooled += count;
        }
    }

    /// Records on disk that are in memory only from now on.
    pub(super) fn unspooled(&self, stream: Stream, count: u64) {
        self.state().cells[stream as usize].spooled -= count;
    }

    /// Records that were found on disk.
    pub(super) fn found(&self, found: &PerStream) {
        let mut state = self.state();
        for (cell, count) in state.cells.iter_mut().zip(found) {
            cell.records += count;
            cell.spooled += count;
        }
    }

    fn settle(&self, share: &PerStream, counter: impl Fn(&mut Cell) -> &mut u64) {
        let mut state = self.state();
        if state.sealed {
            return;
        }
        for (cell, count) in state.cells.iter_mut().zip(share) {
            *counter(cell) += count;
        }
    }

    /// Gives up all that is in flight, for good: it counts as dropped in the shutdown.
    pub(super) fn seal(&self) {
        let mut state = self.state();
        state.sealed = true;
        drop_in_flight(&mut state);
    }

    /// Records on their way, all streams together.
    pub(super) fn in_flight(&self) -> u64 {
        self.state().cells.iter().map(Cell::in_flight).sum()
    }

    /// This moment's counters by stream name.
    pub(super) fn counters(&self) -> BTreeMap<String, Delivery> {
        let cells = self.state().cells;
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

fn drop_in_flight(state: &mut State) {
    for cell in &mut state.cells {
        cell.dropped[Reason::Shutdown as usize] += cell.in_flight();
    }
}
