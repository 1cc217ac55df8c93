//! The sink's thread: takes batches from the queue and hands them to the destination or the spool.
//!
//! While the destination answers and the spool is empty, batches go to its client at once. Otherwise they are
//! appended to the spool and read back in order, so that the destination never receives a newer record
//! before an older one of its stream.

use super::SpooledPlan;
use super::backlog::Backlog;
use super::dead_letter::DeadLetters;
use super::in_flight::{Cursor, InFlight, InFlightBatch, Origin, Outcomes};
use crate::tally::{DiskLosses, DropReason, Location};
use crate::threaded::{NextStep, QueuedBatch, SharedState, SinkReceiver};
use crate::{Batch, Failure, Stream, StreamSet};
use fixedbitset::FixedBitSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// The client of a sink's destination. Delivery reports reach [`InFlight`] on another thread.
pub(crate) trait Destination: Send + 'static {
    /// The destination counts as unavailable when no record in flight was acknowledged for this long.
    const STALL: Duration;
    /// Timeout before the first acknowledgement, which includes connecting and authentication.
    const FIRST_STALL: Duration;
    /// Whether lookups, which are more important, leave the spool behind their transactions all the same.
    const CAUSES_FIRST: bool = false;

    /// Replaces a failed client. Returns whether the new one needs the records in flight again.
    fn replace_failed(&mut self, _now: Instant) -> bool {
        false
    }

    /// Returns whether the destination is known to accept nothing for now.
    fn is_down(&mut self, now: Instant) -> bool;

    /// Since when records could be handed over, if something else had to be there before: until then their age says nothing of
    /// the destination.
    fn tried_since(&self) -> Option<Instant> {
        None
    }

    /// Logs, if it is not clear yet, why the destination accepts nothing.
    fn note_away(&mut self) {}

    /// Hands over the batch from the cursor on. Returns false if the client cannot take the record at the cursor.
    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool;

    /// Sends what waits for further records, because none come. Called once all others are settled, perhaps several times.
    fn finish(&mut self) {}

    /// How long what [`Self::finish`] sends has been without an answer.
    fn unanswered(&self, _now: Instant) -> Duration {
        Duration::ZERO
    }

    /// Sends at once what was handed over, at most for `limit`.
    fn flush(&self, limit: Duration);

    /// Why no record was ever accepted, as a sentence.
    fn why_unreachable(&self) -> String;

    /// Ends the client. Unless the destination is `away`, waits for a moment for acknowledgements.
    fn end(&mut self, away: bool);

    /// Stops sending; what is not acknowledged stays in flight.
    fn purge(&mut self);
}

/// Most records in flight; further records wait on disk or in the queue.
const MAX_RECORDS: u64 = 100_000;
/// Most bytes of batches in flight.
const MAX_BYTES: usize = 64 << 20;
/// One part in `ANSWERED` of both is in flight while the destination answers: enough for 80,000 records a second that are
/// acknowledged after 300 ms. More would take memory, and would not be faster.
const ANSWERED: u8 = 4;

/// One part in `SPOOL_PART` of the spool's size is in flight at most. What is in flight stays in the spool, and the rest is for
/// other records.
const SPOOL_PART: u64 = 2;

/// While the destination is unavailable, this many records are read from disk for its client, to notice
/// when it is available again.
const AWAY_RECORDS: u64 = 1000;

/// Records without acknowledgement for this long are also written to disk.
const MAX_EXPOSURE: Duration = Duration::from_secs(5);

/// Pause while the client's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Wait for a batch when there is nothing else to do.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// Wait for a batch when no record is in flight either.
const REST_PAUSE: Duration = Duration::from_secs(1);

/// Frames read from disk between two checks of the queue; more than one, so that the spool is
/// emptied.
const FRAMES_PER_TURN: usize = 4;

/// While the destination is unavailable, a small batch waits this long for others, because the disk handles
/// large batches better.
const LINGER: Duration = Duration::from_millis(20);

/// Shortest time between two logs that the destination is unavailable.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Small batches are merged up to this many bytes.
const GATHER_BYTES: usize = 64 << 10;
/// Small batches are merged up to this many records.
const GATHER_RECORDS: usize = 4096;

/// Sends the records of one sink to its destination.
pub(crate) struct Sender<D> {
    plan: Arc<SpooledPlan>,
    in_flight: Arc<InFlight>,
    dead_letters: DeadLetters,
    destination: D,
    backlog: Backlog,
    cursor: Cursor,
    away: bool,
    /// Outcomes when the destination was last found to be unavailable.
    before_away: Outcomes,
    next_log: Instant,
    logged_away: bool,
}

impl<D: Destination> Sender<D> {
    pub(crate) fn new(
        plan: &Arc<SpooledPlan>,
        in_flight: Arc<InFlight>,
        destination: D,
        backlog: Backlog,
    ) -> Self {
        Self {
            plan: Arc::clone(plan),
            dead_letters: DeadLetters::new(plan, &in_flight.tallies.own),
            in_flight,
            destination,
            backlog,
            cursor: Cursor::default(),
            away: false,
            before_away: Outcomes::default(),
            next_log: Instant::now(),
            logged_away: false,
        }
    }

    pub(crate) fn run(mut self, receiver: &SinkReceiver) {
        loop {
            let now = Instant::now();
            if self.destination.replace_failed(now) {
                self.cursor = self.in_flight.start();
            }
            if self.is_unreachable(now) {
                return self.give_up(receiver);
            }
            self.do_periodic_work(now, receiver);
            let fed = self.feed();
            if !self.accepts_more() {
                if receiver.shared.stop.get() {
                    break;
                }
                thread::sleep(FULL_PAUSE);
                continue;
            }
            let pause = match (fed, self.caught_up()) {
                (true, true) if self.is_at_rest() => REST_PAUSE,
                (true, true) => IDLE_PAUSE,
                (true, false) => Duration::ZERO,
                (false, _) => FULL_PAUSE,
            };
            match receiver.next(pause) {
                NextStep::Batch(taken) => {
                    let linger = if self.away { LINGER } else { Duration::ZERO };
                    self.take(&gather(&taken, receiver, linger));
                }
                NextStep::Idle => self.hurry(&receiver.shared),
                NextStep::Stop => break,
            }
        }
        self.end(receiver);
    }

    /// Sends what waits, if somebody waits for that.
    fn hurry(&mut self, shared: &SharedState) {
        if shared.finishing.get() && shared.tally.in_flight() == 0 && self.backlog.is_empty() {
            self.destination.finish();
        }
        if shared.flushing.get() && self.caught_up() && !self.away {
            self.destination.flush(IDLE_PAUSE);
        }
    }

    fn do_periodic_work(&mut self, now: Instant, receiver: &SinkReceiver) {
        let away = self.destination.is_down(now)
            || self.in_flight.silence(now) > self.patience()
            || self.away && !self.has_recovered();
        if away && !self.away {
            self.before_away = self.in_flight.outcomes();
        }
        if away != self.away && self.backlog.is_open() {
            self.log_availability(away, now);
        }
        self.away = away;
        self.backlog.note_away(away);
        // One of several brokers may be unavailable while others answer.
        let exposure = if away { Duration::ZERO } else { MAX_EXPOSURE };
        self.backlog.spool_unacked(exposure, now);
        self.backlog.maintain(now);
        receiver.shared.draining.set(!self.backlog.is_empty());
        self.send_dead_letters();
    }

    fn send_dead_letters(&mut self) {
        for letters in self.dead_letters.batches(&self.in_flight.take_dead()) {
            self.take(&Arc::new(letters));
        }
    }

    /// Returns whether a destination that was unavailable has accepted a record since, or none was left to accept. One that
    /// refuses records is not back.
    fn has_recovered(&self) -> bool {
        let (outcomes, before) = (self.in_flight.outcomes(), self.before_away);
        let has_none_left = self.in_flight.load().0 == 0 && self.backlog.is_empty();
        outcomes.delivered > before.delivered || has_none_left && outcomes.refused == before.refused
    }

    /// How long the destination may be silent before it counts as unavailable.
    fn patience(&self) -> Duration {
        if self.in_flight.has_delivered() { D::STALL } else { D::FIRST_STALL }
    }

    /// Returns whether to give up the destination: it was never reached, or does not answer at the end.
    fn is_unreachable(&self, now: Instant) -> bool {
        let Some(limit) = self.plan.patience else { return false };
        let silence = self.in_flight.silence(now);
        let tried = self.destination.tried_since();
        let silence =
            tried.map_or(silence, |since| silence.min(now.saturating_duration_since(since)));
        silence > limit && !self.in_flight.has_delivered()
            || self.destination.unanswered(now) > limit
    }

    /// Fails the sink because the destination cannot be reached.
    fn give_up(&mut self, receiver: &SinkReceiver) {
        let reason = DropReason::BrokerError;
        receiver.shared.fail(Failure::Broken(self.destination.why_unreachable()), reason);
        self.destination.purge();
        self.in_flight.abandon(reason);
        receiver.drop_all(reason);
    }

    /// Logs whether records go to the destination or to the spool, not more often than [`LOG_EVERY`].
    fn log_availability(&mut self, away: bool, now: Instant) {
        let name = self.plan.name;
        if away && now >= self.next_log {
            self.next_log = now + LOG_EVERY;
            self.logged_away = true;
            warn!("{name} does not accept records; they go to the spool");
            self.destination.note_away();
        } else if !away && std::mem::take(&mut self.logged_away) {
            info!("{name} accepts records; the spool is being emptied");
        }
    }

    /// Hands records to the client until it is full. Returns false if it cannot take the next
    /// record.
    fn feed(&mut self) -> bool {
        for _ in 0..FRAMES_PER_TURN {
            if let Some(batch) = self.in_flight.at(&mut self.cursor) {
                if !self.destination.hand_over(&batch, &mut self.cursor) {
                    return false;
                }
                self.cursor = self.cursor.next_batch();
                continue;
            }
            if !self.has_capacity() || self.away && self.in_flight.load().0 >= AWAY_RECORDS {
                return false;
            }
            match self.backlog.next() {
                Some(batch_in_flight) => {
                    self.in_flight.add(batch_in_flight, Instant::now());
                }
                // The disk may be unreadable for the moment; do not spin.
                None => return !self.backlog.has_unsent(),
            }
        }
        true
    }

    fn take(&mut self, batch: &Arc<Batch>) {
        let streams = self.in_flight.own().streams;
        let reported = self.in_flight.tallies.own.take_reported(batch);
        let reported = reported.as_ref();
        let direct = self.caught_up() && self.has_capacity() && !self.away;
        if direct || !self.backlog.is_open() {
            return self.send_directly(batch, streams, reported);
        }
        // Records in memory only are older, and must be sent before these also by the next run.
        self.backlog.spool_unacked(Duration::ZERO, Instant::now());
        let refused = self.backlog.put(batch, streams, reported);
        if refused.is_empty() {
            return;
        }
        // Records that the spool refuses may go to memory, if that keeps the order.
        if self.caught_up() && self.has_capacity() {
            let streams = refused.into_iter().map(|(stream, _)| stream).collect();
            return self.send_directly(batch, streams, reported);
        }
        for (stream, reason) in refused {
            self.drop_all(batch, stream, reason);
        }
    }

    /// `reported`: losses that a ledger record of the batch contains.
    fn send_directly(
        &mut self,
        batch: &Arc<Batch>,
        streams: StreamSet,
        reported: Option<&DiskLosses>,
    ) {
        let batch_in_flight = InFlightBatch {
            batch: Arc::clone(batch),
            node: Arc::clone(&self.plan.node),
            origin: Origin::Own,
            streams,
            spool_frames: [None; Stream::ALL.len()],
            settled: FixedBitSet::with_capacity(batch.len()),
        };
        let number = self.in_flight.add(batch_in_flight, Instant::now());
        if let Some(lost) = reported.filter(|_| streams.contains(Stream::Ledger)) {
            self.backlog.add_reporting(number, lost);
        }
    }

    fn drop_all(&self, batch: &Batch, stream: Stream, reason: DropReason) {
        let count = batch.iter().filter(|record| record.stream == stream).count() as u64;
        let tally = self.in_flight.own();
        tally.settle_at(Location::Memory, stream, count, Err(reason));
    }

    /// Returns whether the client has all records.
    fn caught_up(&self) -> bool {
        !self.backlog.has_unsent() && self.in_flight.is_at_end(self.cursor)
    }

    /// Returns whether no record is in flight or waiting.
    fn is_at_rest(&self) -> bool {
        !self.away && self.in_flight.load().0 == 0 && self.backlog.is_empty()
    }

    fn has_capacity(&self) -> bool {
        let (records, bytes) = self.in_flight.load();
        let part = if self.away { 1 } else { ANSWERED };
        let spool = self.plan.spool.as_ref().filter(|_| self.backlog.is_open());
        let spool_bytes = spool.map_or(u64::MAX, |spool| spool.max_bytes);
        let max_bytes = usize::try_from(spool_bytes / SPOOL_PART).unwrap_or(usize::MAX);
        records < MAX_RECORDS / u64::from(part)
            && bytes < max_bytes.min(MAX_BYTES / usize::from(part))
    }

    /// Returns whether a batch may be taken from the queue. Without a spool, only if the client
    /// will take it.
    fn accepts_more(&self) -> bool {
        self.backlog.is_open() || (self.caught_up() && self.has_capacity())
    }

    /// Writes all undelivered records to disk, the oldest first, so that the next run sends them in
    /// order. Without a spool, closing the sink counts them.
    fn end(mut self, receiver: &SinkReceiver) {
        self.backlog.ensure_open(Instant::now());
        self.send_dead_letters();
        if self.backlog.is_open() {
            self.backlog.spool_all();
            while let Some(first) = receiver.queued().next() {
                self.put(&gather(&first, receiver, Duration::ZERO));
            }
        }
        self.destination.end(self.away);
        if self.backlog.is_open() {
            // Of records that the destination has rejected meanwhile.
            for letters in self.dead_letters.batches(&self.in_flight.take_dead()) {
                self.put(&Arc::new(letters));
            }
        }
        self.backlog.close();
    }

    /// Appends a batch to the spool, and counts what the spool refuses as dropped.
    fn put(&mut self, batch: &Batch) {
        let reported = self.in_flight.tallies.own.take_reported(batch);
        let reported = reported.as_ref();
        for (stream, reason) in self.backlog.put(batch, self.in_flight.own().streams, reported) {
            self.drop_all(batch, stream, reason);
        }
    }
}

/// Merges the small batches waiting in the queue into one. If it is still small, waits for `linger`
/// for more.
fn gather(first: &QueuedBatch, receiver: &SinkReceiver, linger: Duration) -> Arc<Batch> {
    let mut all = Arc::clone(&first.batch);
    fill(&mut all, receiver);
    if is_small(&all) && !linger.is_zero() {
        thread::sleep(linger);
        fill(&mut all, receiver);
    }
    all
}

fn is_small(batch: &Batch) -> bool {
    batch.size_bytes() < GATHER_BYTES && batch.len() < GATHER_RECORDS
}

/// Adds batches from the queue while there are any.
fn fill(all: &mut Arc<Batch>, receiver: &SinkReceiver) {
    let mut ready = receiver.queued();
    while is_small(all)
        && let Some(next) = ready.next()
    {
        Arc::make_mut(all).extend(&next.batch);
    }
}

#[cfg(test)]
mod tests;
