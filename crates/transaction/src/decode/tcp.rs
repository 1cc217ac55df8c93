//! TCP reassembly from the view of an observer (RFC 9293): the table of streams, bounded in number
//! and bytes.
//!
//! If bytes arrive twice, the first copy counts, as in most receivers. Segments that contradict a
//! connection, such as a SYN with another sequence number, do not end it: they may be forged, or
//! belong to a new connection on the same ports, so they get a second stream beside it. Streams
//! without a message are evicted first.

mod buffer;
mod framing;
mod stream;

use super::Malformed;
use super::emitter::{Emitter, Flow, PacketContext};
use crate::packet::net::TcpSegment;
use crate::packet::{Direction, Transport};
use dnscribe_record::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stream::Stream;

/// Idle timeout of a stream, by capture time. Resolvers keep idle connections for some tens of
/// seconds (RFC 7766, 6.2.3), and a retransmission must not look like a new stream.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// Interval at which streams with pending data are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Streams examined for an eviction before an active one is taken.
const MAX_EVICTION_SCANS: usize = 16;

/// One direction of a connection at one point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    direction: Direction,
    src: SocketAddr,
    dst: SocketAddr,
    /// Whether this is the second stream of the direction. See [`Streams::find`].
    second: bool,
}

impl Key {
    /// Returns the key of the direction's second stream.
    fn second(self) -> Self {
        Self { second: true, ..self }
    }

    /// Returns the key of the other direction at the same point of capture.
    fn reverse(&self) -> Self {
        let direction = match self.direction {
            Direction::Egress => Direction::Ingress,
            Direction::Ingress => Direction::Egress,
            same @ (Direction::Loopback | Direction::Passive) => same,
        };
        Self { scope: self.scope, direction, src: self.dst, dst: self.src, second: false }
    }
}

#[derive(Debug)]
struct StreamSlot {
    stream: Box<Stream>,
    /// Number of the stream in order of creation; distinguishes streams of one key.
    number: u64,
    /// Whether the stream is in the queue of streams with pending data.
    queued: bool,
}

/// A queued check of a stream.
#[derive(Clone, Copy, Debug)]
struct QueuedCheck {
    due: Timestamp,
    key: Key,
    number: u64,
}

/// Queued checks, approximately in order of time: those of streams without a message, and of those
/// with one, so that a flood of connections without data evicts only its own kind.
#[derive(Debug, Default)]
struct ExpiryQueue([VecDeque<QueuedCheck>; 2]);

impl ExpiryQueue {
    fn push(&mut self, check: QueuedCheck, has_message: bool) {
        self.0[usize::from(has_message)].push_back(check);
    }

    /// Removes and returns an entry that is due.
    fn pop_due(&mut self, now: Timestamp) -> Option<QueuedCheck> {
        self.0.iter_mut().find_map(|queue| {
            queue.front().filter(|check| check.due <= now)?;
            queue.pop_front()
        })
    }

    /// Removes and returns the next entry to evict, and whether its stream had a message.
    fn pop_first(&mut self) -> Option<(QueuedCheck, bool)> {
        let mut queues = self.0.iter_mut().zip([false, true]);
        queues.find_map(|(queue, has_message)| Some((queue.pop_front()?, has_message)))
    }

    fn len(&self) -> usize {
        self.0.iter().map(VecDeque::len).sum()
    }

    /// Removes the entries for which `keep` returns false.
    fn retain(&mut self, mut keep: impl FnMut(&QueuedCheck) -> bool) {
        for queue in &mut self.0 {
            queue.retain(&mut keep);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &QueuedCheck> {
        self.0.iter().flatten()
    }
}

/// Memory of a stream without pending data, in bytes: its state, its slot in a table that is at
/// least 7/16 full at capacity, and its queue entries.
pub(super) const STREAM_BYTES: usize = size_of::<Stream>()
    + 16 * (size_of::<(Key, StreamSlot)>() + 1) / 7
    + 4 * size_of::<QueuedCheck>();

/// The table of streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    entries: HashMap<Key, StreamSlot, foldhash::fast::RandomState>,
    capacity: usize,
    max_memory_bytes: usize,
    /// Approximate memory of pending data.
    pub memory_bytes: usize,
    /// Number of packets held.
    pub held: u64,
    created: u64,
    /// Number of second streams; small.
    seconds: usize,
    /// Number of streams evicted.
    pub evicted: u64,
    /// Each stream once, approximately in order of last activity.
    idle: ExpiryQueue,
    /// Each stream with pending data once, in the order in which it became pending.
    pending: ExpiryQueue,
}

impl Streams {
    pub(super) fn new(capacity: usize, max_memory_bytes: usize) -> Self {
        Self { capacity: capacity.max(1), max_memory_bytes, ..Self::default() }
    }

    /// Adds a segment.
    pub(super) fn segment(
        &mut self,
        (src, dst): (IpAddr, IpAddr),
        segment: &TcpSegment<'_>,
        context: PacketContext,
        out: &mut Emitter<'_>,
    ) {
        let key = Key {
            scope: context.scope,
            direction: context.direction,
            src: SocketAddr::new(src, segment.src_port),
            dst: SocketAddr::new(dst, segment.dst_port),
            second: false,
        };
        let syn = segment.flags.syn;
        // A SYN takes one sequence number before the first byte.
        let seq = segment.seq.wrapping_add(u32::from(syn));
        let found = self.find(key, seq, syn);
        if found.is_none() && (segment.flags.rst || (!syn && segment.payload_wire == 0)) {
            // No data, and no stream to end.
            out.counters.account(context.packets, None);
            return;
        }
        let key = found.unwrap_or_else(|| self.create(key, seq, syn, context.steady_ts, out));
        // First process the acknowledgement: a query behind a gap comes before its response.
        if let Some(ack) = segment.ack {
            for answered in self.keys_of(key.reverse()) {
                self.update(&answered, out, |stream, out| stream.acknowledged(ack, out));
            }
        }
        let reset =
            self.update(&key, out, |stream, out| stream.segment(segment, seq, context, out));
        if reset == Some(true) {
            self.reset_reverse(key.reverse(), segment.ack, out);
        }
        self.enqueue(&key, context.steady_ts);
        self.enforce_limits(out);
    }

    /// Returns the possible keys of a direction's streams.
    fn keys_of(&self, key: Key) -> impl Iterator<Item = Key> + use<> {
        let second = (self.seconds > 0).then(|| key.second());
        std::iter::once(key).chain(second)
    }

    /// Returns the direction's stream whose expected sequence number is closest to a segment.
    fn find(&mut self, key: Key, seq: u32, syn: bool) -> Option<Key> {
        let mut best = None;
        for key in self.keys_of(key) {
            let Some(StreamSlot { stream, .. }) = self.entries.get_mut(&key) else { continue };
            let distance =
                if syn { stream.is_opened_by(seq).then_some(0) } else { stream.distance(seq) };
            match distance {
                Some(0) => return Some(key),
                Some(distance) if best.is_none_or(|(least, _)| distance < least) => {
                    best = Some((distance, key));
                }
                _ => {}
            }
        }
        best.map(|(_, key)| key)
    }

    /// Returns the key for a direction's new stream: a free one, or one whose stream has ended;
    /// else that of the stream without a message, or that was idle longer.
    fn key_for_new_stream(&self, key: Key) -> Key {
        let used = |key: &Key| {
            let entry = self.entries.get(key).filter(|entry| !entry.stream.is_over());
            entry.map(|entry| (entry.stream.has_message, entry.stream.last_seen))
        };
        let Some(first) = used(&key) else { return key };
        let second = used(&key.second());
        if second.is_some_and(|second| first < second) { key } else { key.second() }
    }

    /// Ends the other direction after a reset.
    fn reset_reverse(&mut self, reverse: Key, ack: Option<u32>, out: &mut Emitter<'_>) {
        for key in self.keys_of(reverse) {
            self.update(&key, out, |stream, out| {
                if ack.is_none_or(|ack| stream.distance(ack).is_some()) {
                    stream.abandon(Malformed::TcpIncomplete, out);
                }
            });
        }
    }

    /// Discards pending data whose timeout has passed, and removes idle streams.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Emitter<'_>) {
        while let Some(check) = self.pending.pop_due(now) {
            if self.current(&check).is_some() {
                self.update(&check.key, out, |stream, out| stream.expire(now, out));
                self.requeue(&check.key, now);
            }
        }
        while let Some(check) = self.idle.pop_due(now) {
            let Some(stream) = self.current(&check) else { continue };
            let (due, has_message) = (stream.last_seen.plus(IDLE_TIMEOUT), stream.has_message);
            if due > now {
                self.idle.push(QueuedCheck { due, ..check }, has_message);
            } else {
                self.remove(&check.key, out);
            }
        }
    }

    /// Emits the messages behind gaps at the end of the capture. Incomplete messages stay held.
    pub(super) fn finish(&mut self, out: &mut Emitter<'_>) {
        let mut queue: Vec<QueuedCheck> = self.pending.iter().copied().collect();
        queue.sort_unstable_by_key(|check| check.number);
        for check in queue {
            if self.current(&check).is_some() {
                self.update(&check.key, out, Stream::finish);
            }
        }
    }

    fn current(&self, check: &QueuedCheck) -> Option<&Stream> {
        let entry = self.entries.get(&check.key)?;
        (entry.number == check.number).then_some(entry.stream.as_ref())
    }

    /// Runs `act` on a stream, if it exists, and updates the sums over all streams.
    fn update<T>(
        &mut self,
        key: &Key,
        out: &mut Emitter<'_>,
        act: impl FnOnce(&mut Stream, &mut Emitter<'_>) -> T,
    ) -> Option<T> {
        let stream = &mut self.entries.get_mut(key)?.stream;
        self.memory_bytes -= stream.buffer.memory_bytes();
        self.held -= stream.packets;
        let done = act(stream, out);
        self.memory_bytes += stream.buffer.memory_bytes();
        self.held += stream.packets;
        Some(done)
    }

    /// Creates a stream for a direction; returns its key.
    fn create(
        &mut self,
        key: Key,
        seq: u32,
        syn: bool,
        now: Timestamp,
        out: &mut Emitter<'_>,
    ) -> Key {
        let key = self.key_for_new_stream(key);
        self.remove(&key, out);
        if self.entries.len() >= self.capacity {
            self.evict(out);
        }
        let flow = Flow { transport: Transport::Tcp, src: key.src, dst: key.dst };
        self.created += 1;
        let number = self.created;
        let stream = Box::new(Stream::new(flow, seq, syn));
        self.entries.insert(key, StreamSlot { stream, number, queued: false });
        self.seconds += usize::from(key.second);
        self.idle.push(QueuedCheck { due: now.plus(IDLE_TIMEOUT), key, number }, false);
        key
    }

    /// Evicts approximately the stream that was idle longest, streams without a message first.
    fn evict(&mut self, out: &mut Emitter<'_>) {
        let mut scanned = 0;
        while let Some((check, had_message)) = self.idle.pop_first() {
            let Some(stream) = self.current(&check) else { continue };
            let (due, has_message) = (stream.last_seen.plus(IDLE_TIMEOUT), stream.has_message);
            if has_message && !had_message {
                // At most once per stream.
                self.idle.push(QueuedCheck { due, ..check }, true);
            } else if due > check.due && scanned < MAX_EVICTION_SCANS {
                scanned += 1;
                self.idle.push(QueuedCheck { due, ..check }, has_message);
            } else {
                self.remove(&check.key, out);
                self.evicted += 1;
                return;
            }
        }
    }

    fn remove(&mut self, key: &Key, out: &mut Emitter<'_>) {
        self.update(key, out, |stream, out| stream.abandon(Malformed::TcpIncomplete, out));
        let removed = self.entries.remove(key).is_some();
        self.seconds -= usize::from(removed && key.second);
    }

    fn enqueue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
            && entry.stream.packets > 0
        {
            entry.queued = true;
            let check =
                QueuedCheck { due: now.plus(CHECK_INTERVAL), key: *key, number: entry.number };
            self.pending.push(check, entry.stream.has_message);
        }
    }

    fn requeue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
        }
        self.enqueue(key, now);
    }

    /// Discards the oldest pending data while memory exceeds the limit, that of streams without a
    /// message first.
    fn enforce_limits(&mut self, out: &mut Emitter<'_>) {
        while self.memory_bytes > self.max_memory_bytes {
            let Some((check, had_message)) = self.pending.pop_first() else { return };
            let Some(has_message) = self.current(&check).map(|stream| stream.has_message) else {
                continue;
            };
            if has_message && !had_message {
                self.pending.push(check, true);
                continue;
            }
            self.update(&check.key, out, |stream, out| {
                stream.abandon(Malformed::TcpIncomplete, out);
            });
            self.requeue(&check.key, check.due);
        }
        // Drop the queue entries of removed streams.
        let Self { entries, idle, pending, capacity, .. } = self;
        for queue in [idle, pending] {
            if queue.len() > 2 * *capacity {
                queue.retain(|check| {
                    entries.get(&check.key).is_some_and(|entry| entry.number == check.number)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
