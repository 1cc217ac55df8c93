//! Records in flight: handed to the destination's client or next in line, and not settled.
//!
//! Batches stay here, in order, until the destination has acknowledged each record. So a failed client
//! can be replaced and its successor given the remaining records, and records that wait for a
//! silent destination can be written to disk too.

mod batch;

pub(crate) use crate::spool::Origin;
pub(crate) use batch::{Cursor, InFlightBatch, Outcome, RejectedRecord};

use crate::Stream;
use crate::spool::FrameId;
use crate::tally::{DiskLosses, DropReason, PerStream, Tally};
use crate::threaded::{SharedState, lock};
use batch::PendingBatch;
use fixedbitset::FixedBitSet;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Most bytes of a rejected record in its dead letter.
pub(crate) const DEAD_BYTES: usize = 64 << 10;

/// Counters of this capture's records, and of recovered ones.
#[derive(Clone)]
pub(crate) struct Tallies {
    pub(crate) own: Arc<SharedState>,
    pub(crate) recovered: Arc<Tally>,
}

impl Tallies {
    pub(crate) fn of(&self, origin: Origin) -> &Tally {
        match origin {
            Origin::Own => &self.own.tally,
            Origin::Recovered => &self.recovered,
        }
    }

    /// Records of all captures that were on disk and are dropped.
    pub(crate) fn lost(&self) -> DiskLosses {
        self.own.tally.lost().plus(&self.recovered.lost())
    }

    /// Returns the part of these that the last ledger record contains.
    pub(crate) fn ledger_lost(&self) -> DiskLosses {
        self.own.tally.ledger_lost().plus(&self.recovered.ledger_lost())
    }
}

/// How many records a destination has accepted and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) delivered: u64,
    pub(crate) refused: u64,
}

struct State {
    first: usize,
    pending: VecDeque<PendingBatch>,
    records: u64,
    bytes: usize,
    last_delivery: Instant,
    outcomes: Outcomes,
    /// The batches before this one are on disk too.
    backed_up: usize,
    done: Vec<FrameId>,
    dead: Vec<RejectedRecord>,
}

/// The records in flight. Shared by the sender and the delivery reports.
pub(crate) struct InFlight {
    state: Mutex<State>,
    pub(crate) tallies: Tallies,
}

impl InFlight {
    pub(crate) fn new(tallies: Tallies) -> Self {
        let state = State {
            first: 0,
            pending: VecDeque::new(),
            records: 0,
            bytes: 0,
            last_delivery: Instant::now(),
            outcomes: Outcomes::default(),
            backed_up: 0,
            done: Vec::new(),
            dead: Vec::new(),
        };
        Self { state: Mutex::new(state), tallies }
    }

    /// Counters of this capture's records.
    pub(crate) fn own(&self) -> &Tally {
        &self.tallies.own.tally
    }

    /// Adds a batch behind all others. Returns its number.
    pub(crate) fn add(&self, batch_in_flight: InFlightBatch, now: Instant) -> usize {
        let mut left = PerStream::default();
        for (_, record) in batch_in_flight.unsettled() {
            left[record.stream as usize] += 1;
        }
        let mut state = lock(&self.state);
        if state.pending.is_empty() {
            // Waiting for a delivery starts now.
            state.last_delivery = now;
        }
        state.records += left.iter().sum::<u64>();
        state.bytes += batch_in_flight.batch.size_bytes();
        let left_out = FixedBitSet::with_capacity(batch_in_flight.batch.len());
        state.pending.push_back(PendingBatch {
            inner: batch_in_flight,
            left_out,
            left,
            since: now,
        });
        let number = state.first + state.pending.len() - 1;
        state.remove_done();
        number
    }

    /// The batch at the cursor or, if it is gone, the first after it; `None` at the end.
    pub(crate) fn at(&self, cursor: &mut Cursor) -> Option<InFlightBatch> {
        let state = lock(&self.state);
        if cursor.batch < state.first {
            *cursor = Cursor { batch: state.first, index: 0 };
        }
        Some(state.pending.get(cursor.batch - state.first)?.inner.clone())
    }

    /// Returns whether the cursor is behind the last batch.
    pub(crate) fn is_at_end(&self, cursor: Cursor) -> bool {
        let state = lock(&self.state);
        cursor.batch >= state.first + state.pending.len()
    }

    /// A cursor at the first batch with unsettled records.
    pub(crate) fn start(&self) -> Cursor {
        Cursor { batch: lock(&self.state).first, index: 0 }
    }

    /// Applies a delivery report. A second report on a record has no effect.
    pub(crate) fn settle(&self, number: usize, outcome: Outcome) {
        let Cursor { batch, index } = Cursor::of(number);
        let mut state = lock(&self.state);
        if outcome == Outcome::Returned {
            return;
        }
        state.last_delivery = Instant::now();
        match outcome {
            Outcome::Delivered => state.outcomes.delivered += 1,
            Outcome::Rejected(_) => state.outcomes.refused += 1,
            Outcome::Deferred | Outcome::Filtered | Outcome::Returned => {}
        }
        let Some(pending) = state.pending(batch) else { return };
        let Some(record) = pending.inner.batch.get(index) else { return };
        if pending.inner.settled.put(index) {
            return;
        }
        let stream = record.stream;
        let (origin, location) = (pending.inner.origin, pending.location(stream));
        let result = match outcome {
            Outcome::Rejected(reason) => Err(reason),
            _ => Ok(()),
        };
        // After a timeout a dead letter would not be delivered either. Which records a partial success leaves out is
        // not known.
        let has_letter = |reason: &DropReason| {
            !matches!(reason, DropReason::MessageTimedOut | DropReason::PartialSuccess)
        };
        let refused = result.err().filter(has_letter);
        if refused.is_some() && stream != Stream::Dlq {
            // Counted before the record is settled, so that a flush waits for the dead letter too.
            self.offer_dead_letter();
        }
        let tally = self.tallies.of(origin);
        if outcome == Outcome::Filtered {
            tally.filtered_at(location, stream);
        } else {
            tally.settle_at(location, stream, 1, result);
        }
        let dead = refused.map(|reason| RejectedRecord {
            stream,
            event_id: record.event_id,
            reason,
            bytes: record.line[..record.line.len().min(DEAD_BYTES)].to_vec(),
            whole_bytes: record.line.len(),
        });
        pending.left[stream as usize] -= 1;
        let done = pending.inner.spool_frames[stream as usize]
            .filter(|_| pending.left[stream as usize] == 0);
        state.records -= 1;
        state.done.extend(done);
        state.dead.extend(dead);
        state.remove_done();
    }

    /// Counts a dead letter as in flight, if this sink receives them.
    fn offer_dead_letter(&self) {
        let tally = self.own();
        if tally.streams.contains(Stream::Dlq) {
            let mut one = PerStream::default();
            one[Stream::Dlq as usize] = 1;
            tally.add_in_flight(&one);
        }
    }

    pub(crate) fn abandon(&self, reason: DropReason) {
        let mut state = lock(&self.state);
        for pending in std::mem::take(&mut state.pending) {
            for stream in Stream::ALL {
                let left = pending.left[stream as usize];
                let tally = self.tallies.of(pending.inner.origin);
                tally.settle_at(pending.location(stream), stream, left, Err(reason));
            }
            state.first += 1;
        }
        (state.records, state.bytes) = (0, 0);
    }

    /// Takes the frames whose records were all settled since the last call.
    pub(crate) fn take_done(&self) -> Vec<FrameId> {
        std::mem::take(&mut lock(&self.state).done)
    }

    /// Takes the records rejected since the last call. Their dead letters count as in flight.
    pub(crate) fn take_dead(&self) -> Vec<RejectedRecord> {
        std::mem::take(&mut lock(&self.state).dead)
    }

    pub(crate) fn load(&self) -> (u64, usize) {
        let state = lock(&self.state);
        (state.records, state.bytes)
    }

    /// How long records have been in flight without any delivery report.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        let state = lock(&self.state);
        let Some(oldest) = state.pending.front() else { return Duration::ZERO };
        now.saturating_duration_since(oldest.since.max(state.last_delivery))
    }

    pub(crate) fn has_delivered(&self) -> bool {
        self.outcomes().delivered > 0
    }

    /// What the destination has done with records so far.
    pub(crate) fn outcomes(&self) -> Outcomes {
        lock(&self.state).outcomes
    }

    /// Batches of at least this age with records that are in memory only, and their numbers. Leaves
    /// out those before [`Self::set_backed_up`].
    pub(crate) fn exposed(&self, age: Duration, now: Instant) -> Vec<(usize, InFlightBatch)> {
        let state = lock(&self.state);
        let before = state.backed_up.saturating_sub(state.first);
        let numbered = (state.first..).zip(&state.pending);
        numbered
            .skip(before)
            .take_while(|(_, pending)| now.saturating_duration_since(pending.since) >= age)
            .filter(|(_, pending)| pending.has_unspooled())
            .map(|(number, pending)| (number, pending.inner.clone()))
            .collect()
    }

    /// Returns whether records of a stream are in memory only.
    pub(crate) fn has_exposed(&self, stream: Stream) -> bool {
        let state = lock(&self.state);
        state.pending.iter().any(|pending| pending.is_unspooled(stream))
    }

    /// Returns whether the ledger records of a batch are delivered or on disk.
    pub(crate) fn is_ledger_safe(&self, number: usize) -> bool {
        let mut state = lock(&self.state);
        state.pending(number).is_none_or(|pending| !pending.is_unspooled(Stream::Ledger))
    }

    /// Marks the batches up to `number` as written to disk.
    pub(crate) fn set_backed_up(&self, number: usize) {
        lock(&self.state).backed_up = number + 1;
    }

    /// Notes that the exposed records of a stream are in `frame`. Returns false if all have been
    /// settled meanwhile, so that the frame is not needed.
    pub(crate) fn set_spooled(
        &self,
        number: usize,
        exposed: &InFlightBatch,
        frame: FrameId,
    ) -> bool {
        let stream = frame.stream;
        let mut state = lock(&self.state);
        let Some(pending) = state.pending(number) else { return false };
        let left = pending.left[stream as usize];
        if left == 0 {
            return false;
        }
        for (index, record) in exposed.batch.iter().enumerate() {
            if record.stream == stream && exposed.settled.contains(index) {
                pending.left_out.insert(index);
            }
        }
        pending.inner.spool_frames[stream as usize] = Some(frame);
        self.tallies.of(pending.inner.origin).spooled(stream, left);
        true
    }

    /// The frames on disk with unsettled records, and which of their records are settled.
    pub(crate) fn partial(&self) -> Vec<(FrameId, Vec<bool>)> {
        let state = lock(&self.state);
        let mut partial = Vec::new();
        for pending in &state.pending {
            for stream in Stream::ALL {
                let frame = pending.inner.spool_frames[stream as usize];
                if let Some(frame) = frame.filter(|_| pending.left[stream as usize] > 0) {
                    partial.push((frame, pending.settled_in_frame(stream)));
                }
            }
        }
        partial
    }
}

impl State {
    fn pending(&mut self, number: usize) -> Option<&mut PendingBatch> {
        self.pending.get_mut(number.checked_sub(self.first)?)
    }

    fn remove_done(&mut self) {
        while self.pending.front().is_some_and(PendingBatch::is_done) {
            if let Some(done) = self.pending.pop_front() {
                self.bytes -= done.inner.batch.size_bytes();
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
#[path = "in_flight/tests.rs"]
mod tests;
