//! The sink's thread: from the queue to the producer, by way of the disk where Kafka is away.
//!
//! Records take one of two ways. While Kafka answers and nothing waits on disk, batches go to
//! librdkafka at once. Else they are appended to the spool and come back from it in order, so that
//! a partition never sees a younger record before an older one of its stream.

mod gather;
mod schemas;

use super::super::tally::{Place, Reason};
use super::super::threaded::{Back, Next};
use super::super::{Batch, Failure, KafkaConfig, SinkError, Stream, StreamSet};
use super::backlog::Backlog;
use super::bits::Bits;
use super::dead_letter::DeadLetters;
use super::diagnose::diagnose;
use super::encode::NotEncoded;
use super::flight::{Cargo, Cursor, Flight, Origin, Outcome, ToSend};
use super::link::{Link, Sent};
use super::reports::{Health, Reports};
use super::settings::without_secrets;
use gather::gather;
use schemas::Schemas;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Most records in flight; further records wait on disk or in the queue.
const MAX_RECORDS: u64 = 100_000;
/// Most bytes of batches in flight.
const MAX_BYTES: usize = 64 << 20;

/// Kafka counts as unavailable when no record in flight was acknowledged for this long.
const STALL: Duration = Duration::from_secs(1);

/// The same before the first acknowledgement, which includes connecting and authentication.
const FIRST_STALL: Duration = Duration::from_secs(3);

/// While Kafka is unavailable, this many records are read from disk for the producer, to notice
/// when Kafka is available again.
const AWAY_RECORDS: u64 = 1000;

/// Records without acknowledgement for this long are also written to disk.
const MAX_EXPOSURE: Duration = Duration::from_secs(5);

/// Pause while librdkafka's queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Wait for a batch when there is nothing else to do.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// Wait for a batch when no record is in flight either.
const REST: Duration = Duration::from_secs(1);

/// Frames read from disk between two checks of the queue; more than one, so that the spool is
/// emptied.
const FRAMES: usize = 4;

/// While Kafka is unavailable, a small batch waits this long for others, because the disk handles
/// large batches better.
const LINGER: Duration = Duration::from_millis(20);

/// Shortest time between two logs that Kafka is unavailable.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Shortest time between two logs of a producer's failure.
const TELL_FATAL_EVERY: Duration = Duration::from_secs(300);

/// Time limit for diagnosing why Kafka is unreachable.
const DIAGNOSIS: Duration = Duration::from_secs(5);

/// Shortest time between two producers.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// Parts of the sender.
pub(super) struct Parts {
    pub(super) config: KafkaConfig,
    pub(super) node: Arc<str>,
    pub(super) flight: Arc<Flight>,
    pub(super) health: Arc<Health>,
    pub(super) dead_letters: DeadLetters,
    /// How long Kafka may be unreachable after the start before the sink fails; `None`: without
    /// limit.
    pub(super) patience: Option<Duration>,
}

/// State of the sink's thread.
pub(super) struct Sender {
    parts: Parts,
    for_ever: bool,
    link: Link,
    backlog: Backlog,
    cursor: Cursor,
    next_link: Instant,
    schemas: Schemas,
    away: bool,
    next_word: Instant,
    next_fatal_word: Instant,
    told_away: bool,
}

impl Sender {
    /// Creates the first producer without waiting for a broker.
    pub(super) fn new(parts: Parts, backlog: Backlog) -> Result<Self, SinkError> {
        let for_ever = backlog.is_wanted();
        let link = link(&parts, for_ever).map_err(SinkError::Kafka)?;
        let cursor = Cursor::default();
        let streams = parts.flight.tallies().own.tally.streams();
        let schemas = Schemas::new(&parts.config, streams).map_err(SinkError::Kafka)?;
        let now = Instant::now();
        Ok(Self {
            parts,
            for_ever,
            link,
            backlog,
            cursor,
            next_link: now,
            schemas,
            away: false,
            next_word: now,
            next_fatal_word: now,
            told_away: false,
        })
    }

    /// Runs until the sink is closed.
    pub(super) fn run(mut self, back: &Back) {
        loop {
            let now = Instant::now();
            self.renew(now);
            if self.is_hopeless(now) {
                return self.give_up(back);
            }
            self.look_after(now, back);
            let fed = self.feed();
            if !self.takes_more() {
                if back.shared.stopping() {
                    break;
                }
                thread::sleep(FULL_PAUSE);
                continue;
            }
            let pause = match (fed, self.caught_up()) {
                (true, true) if self.is_at_rest() => REST,
                (true, true) => IDLE_PAUSE,
                (true, false) => Duration::ZERO,
                (false, _) => FULL_PAUSE,
            };
            match back.next(pause) {
                Next::Batch(taken) => {
                    let linger = if self.away { LINGER } else { Duration::ZERO };
                    self.take(&gather(&taken, back, linger));
                }
                Next::Idle if back.shared.flushing() && self.caught_up() && !self.away => {
                    self.link.hurry(IDLE_PAUSE);
                }
                Next::Idle => {}
                Next::Stop => break,
            }
        }
        self.end(back);
    }

    /// Does the periodic work.
    fn look_after(&mut self, now: Instant, back: &Back) {
        let away = !self.schemas.register(now)
            || self.parts.health.is_down()
            || self.parts.flight.silence(now) > self.patience();
        if away != self.away && self.backlog.is_there() {
            self.tell(away, now);
        }
        self.away = away;
        self.backlog.note_away(away);
        // One of several brokers may be unavailable while others answer.
        let exposure = if away { Duration::ZERO } else { MAX_EXPOSURE };
        self.backlog.insure(exposure, now);
        self.backlog.tend(now);
        back.shared.set_draining(!self.backlog.is_empty());
        self.bury();
    }

    /// Sends dead letters for records that Kafka rejects.
    fn bury(&mut self) {
        for letters in self.parts.dead_letters.batches(&self.parts.flight.take_dead()) {
            self.take(&Arc::new(letters));
        }
    }

    /// How long Kafka may be silent before it counts as unavailable.
    fn patience(&self) -> Duration {
        if self.parts.flight.has_reached() { STALL } else { FIRST_STALL }
    }

    fn is_hopeless(&self, now: Instant) -> bool {
        let flight = &self.parts.flight;
        self.parts
            .patience
            .is_some_and(|limit| flight.silence(now) > limit && !flight.has_reached())
    }

    /// Fails the sink because Kafka was never reachable.
    fn give_up(&self, back: &Back) {
        let reason = Reason::BrokerError;
        let missing = self.schemas.missing().map(str::to_owned);
        let why = missing.unwrap_or_else(|| {
            let why = diagnose(&self.parts.config, None, DIAGNOSIS);
            let why = why.map_or_else(|| "no record was taken".to_owned(), |why| why.to_string());
            format!("Kafka cannot be reached: {why}")
        });
        back.shared.fail(Failure::Broken(why), reason);
        self.link.give_up();
        self.parts.flight.abandon(reason);
        back.drop_all(reason);
    }

    /// Logs whether records go to Kafka or to the spool, not more often than [`TELL_EVERY`].
    fn tell(&mut self, away: bool, now: Instant) {
        if away && now >= self.next_word {
            self.next_word = now + TELL_EVERY;
            self.told_away = true;
            warn!("Kafka does not take records; they go to the spool");
            // librdkafka may have reported nothing, so ask for a diagnosis.
            if self.schemas.missing().is_none() {
                self.parts.health.warn_once(None);
            }
        } else if !away && std::mem::take(&mut self.told_away) {
            info!("Kafka takes records; the spool is being emptied");
        }
    }

    /// Replaces a failed producer. The new one gets the records in flight.
    fn renew(&mut self, now: Instant) {
        if now < self.next_link {
            return;
        }
        let told = self.parts.health.take_fatal();
        let Some(reason) = self.link.fatal().or(told) else { return };
        self.next_link = now + RENEW_EVERY;
        // The next one may fail in the same way until the cause is fixed.
        if now >= self.next_fatal_word {
            self.next_fatal_word = now + TELL_FATAL_EVERY;
            let reason = without_secrets(&self.parts.config, &reason);
            warn!(reason, "the Kafka producer has failed; another one takes over");
        }
        self.link.give_up();
        match link(&self.parts, self.for_ever) {
            Ok(link) => {
                self.link = link;
                self.cursor = self.parts.flight.start();
            }
            Err(error) => self.parts.health.set_fatal(error),
        }
    }

    /// Hands records to librdkafka until it is full. Returns false if it cannot take the next
    /// record.
    fn feed(&mut self) -> bool {
        for _ in 0..FRAMES {
            if let Some(batch) = self.parts.flight.at(&mut self.cursor) {
                if !self.hand_over(&batch) {
                    return false;
                }
                continue;
            }
            if !self.has_room() || self.away && self.parts.flight.load().0 >= AWAY_RECORDS {
                return false;
            }
            match self.backlog.next() {
                Some(cargo) => self.parts.flight.add(cargo, Instant::now()),
                // The disk may be unreadable for the moment; do not spin.
                None => return !self.backlog.has_unsent(),
            }
        }
        true
    }

    /// Hands over the batch from the cursor on. Returns false if librdkafka is full, or a schema is
    /// not registered yet.
    fn hand_over(&mut self, ToSend { batch, node, streams, settled }: &ToSend) -> bool {
        for (index, record) in batch.iter().enumerate().skip(self.cursor.index) {
            if !streams.contains(record.stream) || settled.has(index) {
                continue;
            }
            self.cursor.index = index;
            let number = self.cursor.number();
            let line = record.line.strip_suffix(b"\n").unwrap_or(record.line);
            let payload = match self.schemas.encode(record.stream, line) {
                Ok(payload) => payload,
                Err(NotEncoded::NotYet) => return false,
                Err(NotEncoded::Never(why)) => {
                    debug!("a record cannot be encoded: {why}");
                    self.parts.flight.settle(number, Outcome::Refused(Reason::NotEncodable));
                    continue;
                }
            };
            match self.link.send(&record, payload, node, number) {
                Sent::Taken => {}
                Sent::Full => return false,
                Sent::Refused(reason) => {
                    self.parts.flight.settle(number, Outcome::Refused(reason));
                }
            }
        }
        self.cursor = self.cursor.next_batch();
        true
    }

    /// Sends a batch directly or by the spool.
    fn take(&mut self, batch: &Arc<Batch>) {
        let streams = self.parts.flight.tallies().own.tally.streams();
        let direct = self.caught_up() && self.has_room() && !self.away;
        if direct || !self.backlog.is_there() {
            return self.send_directly(batch, streams);
        }
        let refused = self.backlog.put(batch, streams);
        if refused.is_empty() {
            return;
        }
        // Records that the spool refuses may go to memory, if that keeps the order.
        if self.caught_up() && self.has_room() {
            return self
                .send_directly(batch, refused.into_iter().map(|(stream, _)| stream).collect());
        }
        for (stream, reason) in refused {
            self.drop_all(batch, stream, reason);
        }
    }

    fn send_directly(&mut self, batch: &Arc<Batch>, streams: StreamSet) {
        let cargo = Cargo {
            batch: Arc::clone(batch),
            node: Arc::clone(&self.parts.node),
            origin: Origin::Own,
            streams,
            homes: [None; Stream::ALL.len()],
            settled: Bits::new(batch.len()),
        };
        self.parts.flight.add(cargo, Instant::now());
    }

    fn drop_all(&self, batch: &Batch, stream: Stream, reason: Reason) {
        let count = batch.iter().filter(|record| record.stream == stream).count() as u64;
        let tally = &self.parts.flight.tallies().own.tally;
        tally.settle_at(Place::Memory, stream, count, Err(reason));
    }

    /// Returns whether librdkafka has all records.
    fn caught_up(&self) -> bool {
        !self.backlog.has_unsent() && self.parts.flight.is_past_end(self.cursor)
    }

    /// Returns whether no record is in flight or waiting.
    fn is_at_rest(&self) -> bool {
        !self.away && self.parts.flight.load().0 == 0 && self.backlog.is_empty()
    }

    fn has_room(&self) -> bool {
        let (records, bytes) = self.parts.flight.load();
        records < MAX_RECORDS && bytes < MAX_BYTES
    }

    /// Returns whether a batch may be taken from the queue. Without a spool, only if librdkafka
    /// will take it.
    fn takes_more(&self) -> bool {
        self.backlog.is_there() || (self.caught_up() && self.has_room())
    }

    /// Writes undelivered records to disk. Without a spool, closing the sink counts them.
    fn end(mut self, back: &Back) {
        self.bury();
        if self.backlog.is_there() {
            let streams = self.parts.flight.tallies().own.tally.streams();
            while let Some(first) = back.ready().next() {
                // Records that the spool refuses are still in flight, and are counted as dropped in
                // the shutdown.
                self.backlog.put(&gather(&first, back, Duration::ZERO), streams);
            }
            self.backlog.insure(Duration::ZERO, Instant::now());
        }
        self.link.give_up();
        self.backlog.close();
    }
}

fn link(parts: &Parts, for_ever: bool) -> Result<Link, String> {
    let (flight, health) = (Arc::clone(&parts.flight), Arc::clone(&parts.health));
    Link::new(&parts.config, for_ever, Reports { flight, health })
}
