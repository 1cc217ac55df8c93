//! TCP reassembly (RFC 9293, as far as a bystander can): the streams, bounded in number and bytes.
//!
//! Of octets that come twice the first copy counts, as in most receivers. Segments that do not fit
//! what is known of a connection, a SYN with another number among them, do not end it: they get a
//! second stream beside it, for they may be forged, or belong to a new connection on the same ports.
//! When room is needed, streams that never gave a message go first.

#![forbid(unsafe_code)]

mod buffer;
mod framing;
mod stream;
mod turns;

use super::Malformed;
use super::outlet::{Carrier, Flow, Outlet};
use crate::capture::{Sight, Transport};
use crate::net::TcpSegment;
use crate::time::Timestamp;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stream::Stream;
use turns::{Turn, Turns};

/// How long a silent stream is remembered, by capture time: resolvers keep idle connections for
/// some tens of seconds (RFC 7766, 6.2.3), and a resent segment must not look like a new stream.
const IDLE: Duration = Duration::from_secs(120);
/// How often a stream that holds octets is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Streams looked at for one that was idle longest, when the table is full.
const EVICTION_LOOKS: usize = 16;

/// One direction of a connection, at one point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    sight: Sight,
    src: SocketAddr,
    dst: SocketAddr,
    /// Whether this is the second stream of the direction: see [`Streams::find`].
    second: bool,
}

impl Key {
    /// The direction's second stream.
    fn second(self) -> Self {
        Self { second: true, ..self }
    }

    /// The other direction, at the same point of capture.
    fn reverse(&self) -> Self {
        let sight = match self.sight {
            Sight::Egress => Sight::Ingress,
            Sight::Ingress => Sight::Egress,
            sight @ (Sight::Loopback | Sight::Passive) => sight,
        };
        Self { scope: self.scope, sight, src: self.dst, dst: self.src, second: false }
    }
}

#[derive(Debug)]
struct Entry {
    stream: Box<Stream>,
    /// Tells this stream from an earlier one of the same key, and the order of their beginnings.
    born: u64,
    /// Whether the stream stands in the queue of those that hold octets.
    queued: bool,
}

/// What a stream takes while none of its octets wait, in octets: it, its place in a table that is at
/// least 7/16 full when it is full, and its turns.
pub(super) const STREAM_BYTES: usize =
    size_of::<Stream>() + 16 * (size_of::<(Key, Entry)>() + 1) / 7 + 4 * size_of::<Turn>();

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    capacity: usize,
    max_cost: usize,
    cost: usize,
    held: u64,
    births: u64,
    /// Streams that are the second of their direction: few.
    seconds: usize,
    /// Streams that made room for others.
    evicted: u64,
    /// Each stream once, about in the order in which they fell silent.
    idle: Turns,
    /// Each stream that holds octets once, the one that began to hold them first in front.
    holding: Turns,
}

impl Streams {
    pub(super) fn new(capacity: usize, max_cost: usize) -> Self {
        Self {
            entries: HashMap::default(),
            capacity: capacity.max(1),
            max_cost,
            cost: 0,
            held: 0,
            births: 0,
            seconds: 0,
            evicted: 0,
            idle: Turns::default(),
            holding: Turns::default(),
        }
    }

    /// Packets that wait.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Memory that they use, in octets, roughly.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Streams that made room for others, so far.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Takes a segment; `packets`: the number of packets that it came in.
    pub(super) fn segment(
        &mut self,
        (src, dst): (IpAddr, IpAddr),
        segment: &TcpSegment<'_>,
        carrier: Carrier,
        packets: u64,
        out: &mut Outlet<'_>,
    ) {
        let key = Key {
            scope: carrier.scope,
            sight: carrier.sight,
            src: SocketAddr::new(src, segment.src_port),
            dst: SocketAddr::new(dst, segment.dst_port),
            second: false,
        };
        let syn = segment.flags.syn;
        // A SYN takes one sequence number before the first octet.
        let seq = segment.seq.wrapping_add(u32::from(syn));
        let found = self.find(key, seq, syn);
        if found.is_none() && (segment.flags.rst || (!syn && segment.payload_wire == 0)) {
            // Nothing to read, and no stream to end.
            out.tally.settle(packets, None);
            return;
        }
        let key = found.unwrap_or_else(|| self.open(key, seq, syn, carrier.steady, out));
        // First what this segment answers: a query behind a hole comes before its response.
        if let Some(ack) = segment.ack {
            for answered in self.slots(key.reverse()) {
                self.with(&answered, out, |stream, out| stream.acknowledged(ack, out));
            }
        }
        let reset =
            self.with(&key, out, |stream, out| stream.segment(segment, seq, carrier, packets, out));
        if reset == Some(true) {
            self.reset_reverse(key.reverse(), segment.ack, out);
        }
        self.enqueue(&key, carrier.steady);
        self.bound(out);
    }

    /// Where the streams of a direction are, if there are any.
    fn slots(&self, key: Key) -> impl Iterator<Item = Key> + use<> {
        let second = (self.seconds > 0).then(|| key.second());
        std::iter::once(key).chain(second)
    }

    /// The stream that a segment belongs to: of the two that a direction may have the one that
    /// expects it sooner.
    fn find(&mut self, key: Key, seq: u32, syn: bool) -> Option<Key> {
        let mut best = None;
        for key in self.slots(key) {
            let Some(Entry { stream, .. }) = self.entries.get_mut(&key) else { continue };
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

    /// Where a direction's new stream goes: where none is, or only one that has ended; else in place
    /// of the one that never gave a message, or that was silent longer.
    fn vacancy(&self, key: Key) -> Key {
        let used = |key: &Key| {
            let entry = self.entries.get(key).filter(|entry| !entry.stream.is_over());
            entry.map(|entry| (entry.stream.is_proven(), entry.stream.last_seen()))
        };
        let Some(first) = used(&key) else { return key };
        let second = used(&key.second());
        if second.is_some_and(|second| first < second) { key } else { key.second() }
    }

    /// A reset ends both directions.
    fn reset_reverse(&mut self, reverse: Key, ack: Option<u32>, out: &mut Outlet<'_>) {
        for key in self.slots(reverse) {
            self.with(&key, out, |stream, out| {
                if ack.is_none_or(|ack| stream.distance(ack).is_some()) {
                    stream.abandon(Malformed::TcpIncomplete, out);
                }
            });
        }
    }

    /// Gives up what has waited too long, and forgets silent streams.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        while let Some(turn) = self.holding.pop_due(now) {
            if self.is_current(&turn) {
                self.with(&turn.key, out, |stream, out| stream.expire(now, out));
                self.requeue(&turn.key, now);
            }
        }
        while let Some(turn) = self.idle.pop_due(now) {
            let Some(stream) = self.current(&turn) else { continue };
            let (due, proven) = (stream.last_seen().plus(IDLE), stream.is_proven());
            if due > now {
                self.idle.push(Turn { due, ..turn }, proven);
            } else {
                self.remove(&turn.key, out);
            }
        }
    }

    /// Gives what lies behind holes: nothing more will come. What waits goes on waiting.
    pub(super) fn finish(&mut self, out: &mut Outlet<'_>) {
        let mut turns: Vec<Turn> = self.holding.iter().copied().collect();
        turns.sort_unstable_by_key(|turn| turn.born);
        for turn in turns {
            if self.is_current(&turn) {
                self.with(&turn.key, out, Stream::finish);
            }
        }
    }

    fn current(&self, turn: &Turn) -> Option<&Stream> {
        let entry = self.entries.get(&turn.key)?;
        (entry.born == turn.born).then_some(entry.stream.as_ref())
    }

    fn is_current(&self, turn: &Turn) -> bool {
        self.current(turn).is_some()
    }

    /// Runs `act` on a stream, if there is one, and keeps the sums over all streams.
    fn with<T>(
        &mut self,
        key: &Key,
        out: &mut Outlet<'_>,
        act: impl FnOnce(&mut Stream, &mut Outlet<'_>) -> T,
    ) -> Option<T> {
        let stream = &mut self.entries.get_mut(key)?.stream;
        self.cost -= stream.cost();
        self.held -= stream.held();
        let done = act(stream, out);
        self.cost += stream.cost();
        self.held += stream.held();
        Some(done)
    }

    /// Opens a stream of a direction; its key.
    fn open(&mut self, key: Key, seq: u32, syn: bool, now: Timestamp, out: &mut Outlet<'_>) -> Key {
        let key = self.vacancy(key);
        self.remove(&key, out);
        if self.entries.len() >= self.capacity {
            self.evict(out);
        }
        let flow = Flow { transport: Transport::Tcp, src: key.src, dst: key.dst };
        self.births += 1;
        let born = self.births;
        let stream = Box::new(Stream::new(flow, seq, syn));
        self.entries.insert(key, Entry { stream, born, queued: false });
        self.seconds += usize::from(key.second);
        self.idle.push(Turn { due: now.plus(IDLE), key, born }, false);
        key
    }

    /// Makes room: forgets the stream that was idle longest, or nearly, of those that never gave a
    /// message, if there are any.
    fn evict(&mut self, out: &mut Outlet<'_>) {
        let mut looks = 0;
        while let Some((turn, was_proven)) = self.idle.pop_first() {
            let Some(stream) = self.current(&turn) else { continue };
            let (due, proven) = (stream.last_seen().plus(IDLE), stream.is_proven());
            if proven && !was_proven {
                // Once in a stream's life.
                self.idle.push(Turn { due, ..turn }, true);
            } else if due > turn.due && looks < EVICTION_LOOKS {
                looks += 1;
                self.idle.push(Turn { due, ..turn }, proven);
            } else {
                self.remove(&turn.key, out);
                self.evicted += 1;
                return;
            }
        }
    }

    fn remove(&mut self, key: &Key, out: &mut Outlet<'_>) {
        self.with(key, out, |stream, out| stream.abandon(Malformed::TcpIncomplete, out));
        let removed = self.entries.remove(key).is_some();
        self.seconds -= usize::from(removed && key.second);
    }

    fn enqueue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
            && entry.stream.holds()
        {
            entry.queued = true;
            let turn = Turn { due: now.plus(LOOK), key: *key, born: entry.born };
            self.holding.push(turn, entry.stream.is_proven());
        }
    }

    fn requeue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
        }
        self.enqueue(key, now);
    }

    /// Gives up the octets that have waited longest while there are too many, those of streams that
    /// never gave a message before others.
    fn bound(&mut self, out: &mut Outlet<'_>) {
        while self.cost > self.max_cost {
            let Some((turn, was_proven)) = self.holding.pop_first() else { return };
            let Some(proven) = self.current(&turn).map(Stream::is_proven) else { continue };
            if proven && !was_proven {
                self.holding.push(turn, true);
                continue;
            }
            self.with(&turn.key, out, |stream, out| {
                stream.abandon(Malformed::TcpIncomplete, out);
            });
            self.requeue(&turn.key, turn.due);
        }
        // Turns of streams long gone.
        let Self { entries, idle, holding, capacity, .. } = self;
        for turns in [idle, holding] {
            if turns.len() > 2 * *capacity {
                turns.retain(|turn| {
                    entries.get(&turn.key).is_some_and(|entry| entry.born == turn.born)
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
