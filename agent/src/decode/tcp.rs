//! TCP reassembly (RFC 9293, as far as a bystander can): the streams, bounded in number and bytes.

#![forbid(unsafe_code)]

mod buffer;
mod framing;
mod stream;

use super::Malformed;
use super::outlet::{Carrier, Flow, Outlet};
use crate::capture::{Sight, Transport};
use crate::net::TcpSegment;
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use stream::Stream;

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
}

impl Key {
    /// The other direction, at the same point of capture.
    fn reverse(&self) -> Self {
        let sight = match self.sight {
            Sight::Egress => Sight::Ingress,
            Sight::Ingress => Sight::Egress,
            sight @ (Sight::Loopback | Sight::Passive) => sight,
        };
        Self { scope: self.scope, sight, src: self.dst, dst: self.src }
    }
}

#[derive(Debug)]
struct Entry {
    stream: Stream,
    /// Tells this stream from an earlier one of the same key, and the order of their beginnings.
    born: u64,
    /// Whether the stream stands in the queue of those that hold octets.
    queued: bool,
}

/// A stream's turn to be looked at.
#[derive(Clone, Copy, Debug)]
struct Turn {
    due: Timestamp,
    key: Key,
    born: u64,
}

/// All streams.
#[derive(Debug)]
pub(super) struct Streams {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    capacity: usize,
    max_cost: usize,
    cost: usize,
    held: u64,
    births: u64,
    /// Each stream once, about in the order in which they fell silent.
    idle: VecDeque<Turn>,
    /// Each stream that holds octets once, the one that began to hold them first in front.
    holding: VecDeque<Turn>,
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
            idle: VecDeque::new(),
            holding: VecDeque::new(),
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
        };
        let syn = segment.flags.syn;
        // A SYN takes one sequence number before the first octet.
        let seq = segment.seq.wrapping_add(u32::from(syn));
        let same = self.entries.get_mut(&key).is_some_and(|entry| {
            if syn { entry.stream.is_opened_by(seq) } else { entry.stream.is_near(seq) }
        });
        if !same {
            if segment.flags.rst || (!syn && segment.payload_wire == 0) {
                // Nothing to read, and no stream to end.
                out.tally.settle(packets, None);
                return;
            }
            self.remove(&key, out);
            self.open(key, seq, syn, carrier.ts, out);
        }
        // First what this segment answers: a query behind a hole comes before its response.
        if let Some(ack) = segment.ack {
            self.with(&key.reverse(), out, |stream, out| stream.acknowledged(ack, out));
        }
        self.with(&key, out, |stream, out| stream.segment(segment, seq, carrier, packets, out));
        self.enqueue(&key, carrier.ts);
        self.bound(out);
    }

    /// Gives up what has waited too long, and forgets silent streams.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        while let Some(turn) = due(&mut self.holding, now) {
            if self.is_current(&turn) {
                self.with(&turn.key, out, |stream, out| stream.expire(now, out));
                self.requeue(&turn.key, now);
            }
        }
        while let Some(turn) = due(&mut self.idle, now) {
            let due = self.current(&turn).map(|stream| stream.last_seen().plus(IDLE));
            match due {
                Some(due) if due > now => self.idle.push_back(Turn { due, ..turn }),
                Some(_) => self.remove(&turn.key, out),
                None => {}
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
        (entry.born == turn.born).then_some(&entry.stream)
    }

    fn is_current(&self, turn: &Turn) -> bool {
        self.current(turn).is_some()
    }

    /// Runs `act` on a stream and keeps the sums over all streams.
    fn with(
        &mut self,
        key: &Key,
        out: &mut Outlet<'_>,
        act: impl FnOnce(&mut Stream, &mut Outlet<'_>),
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let stream = &mut entry.stream;
        self.cost -= stream.cost();
        self.held -= stream.held();
        act(stream, out);
        self.cost += stream.cost();
        self.held += stream.held();
    }

    fn open(&mut self, key: Key, seq: u32, syn: bool, now: Timestamp, out: &mut Outlet<'_>) {
        if self.entries.len() >= self.capacity {
            self.evict(out);
        }
        let flow = Flow { transport: Transport::Tcp, src: key.src, dst: key.dst };
        self.births += 1;
        let born = self.births;
        let entry = Entry { stream: Stream::new(flow, seq, syn), born, queued: false };
        self.entries.insert(key, entry);
        self.idle.push_back(Turn { due: now.plus(IDLE), key, born });
    }

    /// Makes room: forgets the stream that was idle longest, or nearly.
    fn evict(&mut self, out: &mut Outlet<'_>) {
        for look in 0.. {
            let Some(turn) = self.idle.pop_front() else { return };
            let Some(due) = self.current(&turn).map(|stream| stream.last_seen().plus(IDLE)) else {
                continue;
            };
            if due > turn.due && look < EVICTION_LOOKS {
                self.idle.push_back(Turn { due, ..turn });
                continue;
            }
            self.remove(&turn.key, out);
            return;
        }
    }

    fn remove(&mut self, key: &Key, out: &mut Outlet<'_>) {
        self.with(key, out, |stream, out| stream.abandon(Malformed::TcpIncomplete, out));
        self.entries.remove(key);
    }

    fn enqueue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
            && entry.stream.holds()
        {
            entry.queued = true;
            self.holding.push_back(Turn { due: now.plus(LOOK), key: *key, born: entry.born });
        }
    }

    fn requeue(&mut self, key: &Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.queued = false;
        }
        self.enqueue(key, now);
    }

    /// Gives up the octets that have waited longest while there are too many.
    fn bound(&mut self, out: &mut Outlet<'_>) {
        while self.cost > self.max_cost {
            let Some(turn) = self.holding.pop_front() else { return };
            if self.is_current(&turn) {
                self.with(&turn.key, out, |stream, out| {
                    stream.abandon(Malformed::TcpIncomplete, out);
                });
                self.requeue(&turn.key, turn.due);
            }
        }
        // Turns of streams long gone.
        let most = 2 * self.capacity;
        while self.idle.len() > most || self.holding.len() > most {
            for queue in [&mut self.idle, &mut self.holding] {
                let Some(turn) = queue.pop_front() else { continue };
                if self.entries.get(&turn.key).is_some_and(|entry| entry.born == turn.born) {
                    queue.push_back(turn);
                }
            }
        }
    }
}

/// The turn in front, if it is due.
fn due(queue: &mut VecDeque<Turn>, now: Timestamp) -> Option<Turn> {
    queue.front().filter(|turn| turn.due <= now)?;
    queue.pop_front()
}

#[cfg(test)]
mod tests;
