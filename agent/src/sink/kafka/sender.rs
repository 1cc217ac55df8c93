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

/// How much may be on its way at once: more waits on disk, or in the queue.
const MAX_RECORDS: u64 = 100_000;
/// The same in octets of batches.
const MAX_BYTES: usize = 64 << 20;

/// Kafka counts as away when it has had records for so long and has acknowledged none.
const STALL: Duration = Duration::from_secs(1);

/// The same before the first acknowledgement, which takes connecting, logging in and more.
const FIRST_STALL: Duration = Duration::from_secs(3);

/// So many records go to the producer from disk while Kafka is away, to find out when it is back.
const AWAY_RECORDS: u64 = 1000;

/// What has waited for its acknowledgement for so long is put on disk too.
const MAX_EXPOSURE: Duration = Duration::from_secs(5);

/// How long to wait for room before asking again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait for a batch where nothing else is to be done.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// The same where no record is on its way either.
const REST: Duration = Duration::from_secs(1);

/// Frames from disk between two looks at the queue: more than one, so that the disk gets emptied.
const FRAMES: usize = 4;

/// While Kafka is away a small batch waits so long for others: the disk likes them larger.
const LINGER: Duration = Duration::from_millis(20);

/// Between two words on whether Kafka takes records.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Between two words on why producers fail.
const TELL_FATAL_EVERY: Duration = Duration::from_secs(300);

/// How long it may take to find out why Kafka cannot be reached.
const DIAGNOSIS: Duration = Duration::from_secs(5);

/// Between two producers.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// What the sender is made from.
pub(super) struct Parts {
    pub(super) config: KafkaConfig,
    pub(super) node: Arc<str>,
    pub(super) flight: Arc<Flight>,
    pub(super) health: Arc<Health>,
    pub(super) dead_letters: DeadLetters,
    /// How long no record at all may arrive from the start; for ever where absent.
    pub(super) patience: Option<Duration>,
}

/// The thread's state.
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
    /// Makes the first producer. Does not wait for a broker.
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

    /// Works until the sink is closed.
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

    /// Everything that is due at times.
    fn look_after(&mut self, now: Instant, back: &Back) {
        let away = !self.schemas.register(now)
            || self.parts.health.is_down()
            || self.parts.flight.silence(now) > self.patience();
        if away != self.away && self.backlog.is_there() {
            self.tell(away, now);
        }
        self.away = away;
        self.backlog.note_away(away);
        // Of several brokers one may be away while the others answer.
        let exposure = if away { Duration::ZERO } else { MAX_EXPOSURE };
        self.backlog.insure(exposure, now);
        self.backlog.tend(now);
        back.shared.set_draining(!self.backlog.is_empty());
        self.bury();
    }

    /// Has dead letters sent for what nobody takes.
    fn bury(&mut self) {
        for letters in self.parts.dead_letters.batches(&self.parts.flight.take_dead()) {
            self.take(&Arc::new(letters));
        }
    }

    /// How long Kafka may be silent before it counts as away.
    fn patience(&self) -> Duration {
        if self.parts.flight.has_reached() { STALL } else { FIRST_STALL }
    }

    fn is_hopeless(&self, now: Instant) -> bool {
        let flight = &self.parts.flight;
        self.parts
            .patience
            .is_some_and(|limit| flight.silence(now) > limit && !flight.has_reached())
    }

    /// Ends the sink before its time: nobody is there who would take the records.
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

    /// Says where records go from now on; of a broker that comes and goes not every time.
    fn tell(&mut self, away: bool, now: Instant) {
        if away && now >= self.next_word {
            self.next_word = now + TELL_EVERY;
            self.told_away = true;
            warn!("Kafka does not take records; they go to the spool");
            // Where librdkafka has said nothing, somebody should find out.
            if self.schemas.missing().is_none() {
                self.parts.health.warn_once(None);
            }
        } else if !away && std::mem::take(&mut self.told_away) {
            info!("Kafka takes records; the spool is being emptied");
        }
    }

    /// Replaces a producer that can do nothing any more; the new one gets what is on its way.
    fn renew(&mut self, now: Instant) {
        if now < self.next_link {
            return;
        }
        let told = self.parts.health.take_fatal();
        let Some(reason) = self.link.fatal().or(told) else { return };
        self.next_link = now + RENEW_EVERY;
        // The next one may fail in the same way, until somebody has looked after it.
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

    /// Hands over what librdkafka has room for; false where it has none for the next record.
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
                // It may be that the disk cannot be read now: that is no reason to spin.
                None => return !self.backlog.has_unsent(),
            }
        }
        true
    }

    /// Hands over the batch from the cursor on; false where librdkafka is full before its end, or a
    /// schema is not registered yet.
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

    /// Sends a batch on one of its ways.
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
        // What the disk does not take may still find room in memory, if that leaves all in order.
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

    /// Whether librdkafka has got all that there is.
    fn caught_up(&self) -> bool {
        !self.backlog.has_unsent() && self.parts.flight.is_past_end(self.cursor)
    }

    /// Whether nothing is on its way, or wants to be.
    fn is_at_rest(&self) -> bool {
        !self.away && self.parts.flight.load().0 == 0 && self.backlog.is_empty()
    }

    fn has_room(&self) -> bool {
        let (records, bytes) = self.parts.flight.load();
        records < MAX_RECORDS && bytes < MAX_BYTES
    }

    /// Whether a batch may leave the queue: without a disk only where librdkafka will take it.
    fn takes_more(&self) -> bool {
        self.backlog.is_there() || (self.caught_up() && self.has_room())
    }

    /// What has not arrived goes to disk; where there is none, closing the sink counts it.
    fn end(mut self, back: &Back) {
        self.bury();
        if self.backlog.is_there() {
            let streams = self.parts.flight.tallies().own.tally.streams();
            while let Some(first) = back.ready().next() {
                // What the disk refuses is still in flight, and dropped in the shutdown.
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
