//! The bounded table of connections.

use super::tls::Side;
use super::wheel::Wheel;
use super::{Connection, ConnectionOptions, Ends, Outcome, Protocol, Report, Status};
use crate::capture::encrypted::Encrypted;
use crate::capture::{Sight, Transport};
use crate::decode::{Content, Sealed, Unreachable};
use crate::ledger;
use crate::pair::Vantage;
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the end of a connection is remembered, so that what still comes of it is not taken for
/// another. A SYN is sent again after up to 64 s.
const MEMORY: Duration = Duration::from_secs(70);

/// Ends remembered at most.
const MOST_REMEMBERED: usize = 1 << 16;

/// Timers that may be set for nothing, beyond as many as are set for connections.
const SPARE_TIMERS: usize = 1 << 14;

/// What tells connections apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    client: SocketAddr,
    server: SocketAddr,
}

/// What stands in the table.
#[derive(Debug)]
enum Place {
    Live(Box<Connection>),
    /// It is over; with the number of its SYN, if there was one.
    Over(Status, Option<u32>),
}

/// Which connection of those that used a key in turn.
type Turn = u64;

/// Takes packets of encrypted DNS and reports connections.
#[derive(Debug)]
pub struct Connections {
    encrypted: Encrypted,
    options: ConnectionOptions,
    places: HashMap<Key, (Turn, Place), foldhash::fast::RandomState>,
    wheel: Wheel<(Key, Turn)>,
    over: VecDeque<(Timestamp, Key, Turn)>,
    turns: Turn,
    live: usize,
    handshake_bytes: usize,
    counters: ledger::Connections,
}

impl Connections {
    /// An empty table.
    #[must_use]
    pub fn new(encrypted: Encrypted, options: ConnectionOptions) -> Self {
        Self {
            encrypted,
            options,
            places: HashMap::default(),
            wheel: Wheel::default(),
            over: VecDeque::new(),
            turns: 0,
            live: 0,
            handshake_bytes: 0,
            counters: ledger::Connections::default(),
        }
    }

    /// This moment's counters; `open` is the number of connections that are not over.
    #[must_use]
    pub fn counters(&self) -> ledger::Connections {
        ledger::Connections { open: self.live as u64, ..self.counters }
    }

    /// Timers that are set, some for nothing.
    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// Adopts new times and bounds.
    pub fn reconfigure(&mut self, options: ConnectionOptions) {
        self.options = options;
    }

    /// Whether what cannot be reached was to be a connection of encrypted DNS.
    #[must_use]
    pub fn is_meant(&self, error: &Unreachable) -> bool {
        self.encrypted.service(error.server).is_some()
    }

    /// Takes a packet; reports the connections that it ends.
    pub fn observe(&mut self, sealed: &Sealed, each: &mut dyn FnMut(&Report<'_>)) {
        self.expire(sealed.envelope.ts, each);
        self.counters.packets += 1;
        let Some((key, side, protocol)) = self.place_of(sealed) else {
            self.counters.stray += 1;
            return;
        };
        if !self.prepare(key, side, sealed, protocol, each) {
            self.counters.stray += 1;
            return;
        }
        let Some((_, Place::Live(connection))) = self.places.get_mut(&key) else { return };
        let before = connection.cost();
        let outcome = connection.observe(side, sealed);
        let after = connection.cost();
        self.handshake_bytes = self.handshake_bytes + after - before;
        if self.handshake_bytes > self.options.handshake_memory_bytes {
            connection.stop_reading();
            self.handshake_bytes -= after;
        }
        if let Outcome::Ended(status) = outcome {
            self.end(key, status, sealed.envelope.ts, each);
        }
    }

    /// Takes an ICMP error; the attempt that it tells of fails.
    pub fn unreachable(&mut self, error: &Unreachable, each: &mut dyn FnMut(&Report<'_>)) {
        self.expire(error.ts, each);
        for vantage in Vantage::ALL {
            let Unreachable { scope, transport, client, server, .. } = *error;
            let key = Key { scope, vantage, transport, client, server };
            let Some((_, Place::Live(connection))) = self.places.get_mut(&key) else { continue };
            if let Some(status) = connection.unreachable() {
                connection.last = connection.last.max(error.ts);
                self.end(key, status, error.ts, each);
                return;
            }
        }
    }

    /// Ends what has been silent for too long at `now`, reports what goes on for long.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Report<'_>)) {
        while let Some((key, turn)) = self.wheel.pop_due(now) {
            let options = self.options;
            let Some((found, Place::Live(connection))) = self.places.get_mut(&key) else {
                continue;
            };
            if *found != turn {
                continue;
            }
            let (deadline, status) = connection.deadline(&options);
            if deadline < now {
                self.end(key, status, now, each);
                continue;
            }
            let mut next = connection.reported.plus(options.report_every);
            if next <= now {
                if connection.last >= connection.reported {
                    each(&Report { connection, status: Status::Open, is_final: false });
                    connection.reports += 1;
                    self.counters.interim += 1;
                }
                connection.reported = now;
                next = now.plus(options.report_every);
            }
            self.wheel.insert(deadline.min(next), (key, turn));
        }
        while self.over.front().is_some_and(|(since, ..)| {
            now.since(*since) > MEMORY || self.over.len() > MOST_REMEMBERED
        }) {
            self.forget();
        }
    }

    /// The capture has ended at `now`: what is not over is reported as `open` and stays so in the
    /// counters.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Report<'_>)) {
        self.expire(now, each);
        let mut left: Vec<(Key, Status)> = self
            .places
            .iter()
            .filter_map(|(key, (_, place))| match place {
                Place::Live(connection) => {
                    let (deadline, status) = connection.deadline(&self.options);
                    // The wheel turns in coarse ticks.
                    let is_due = deadline < now;
                    Some((*key, if is_due { status } else { connection.last_word() }))
                }
                Place::Over(..) => None,
            })
            .collect();
        left.sort_by_key(|(key, _)| self.places.get(key).map(|(turn, _)| *turn));
        for (key, status) in left {
            if status != Status::Open {
                self.end(key, status, now, each);
            } else if let Some((_, Place::Live(connection))) = self.places.get(&key) {
                each(&Report { connection, status: Status::Open, is_final: true });
            }
        }
    }

    /// Whose packet it is, and which side sent it.
    fn place_of(&self, sealed: &Sealed) -> Option<(Key, Side, Protocol)> {
        let envelope = &sealed.envelope;
        let (scope, transport) = (envelope.scope, envelope.transport);
        let key = |side: Side| {
            let (client, server) = match side {
                Side::Client => (envelope.src, envelope.dst),
                Side::Server => (envelope.dst, envelope.src),
            };
            let vantage = vantage(envelope.sight, side);
            let service = self.encrypted.service(server)?;
            let key = Key { scope, vantage, transport, client, server };
            Some((key, side, Protocol::of(service, transport)))
        };
        let (to, from) = (key(Side::Client), key(Side::Server));
        if to.is_some() && from.is_some() {
            // Both ports are ours: who is known is right, else who begins is the client.
            let known = |found: &(Key, Side, Protocol)| self.places.contains_key(&found.0);
            let answers = matches!(
                sealed.content,
                Content::Segment { ack: true, flags, .. } if flags.syn
            );
            let (first, second) = if answers { (from, to) } else { (to, from) };
            return first.filter(known).or_else(|| second.filter(known)).or(first);
        }
        to.or(from)
    }

    /// Sees to it that the packet's connection is in the table. Not so where it belongs to none: it
    /// comes after the end of one, or tells of the end of one that was not seen.
    fn prepare(
        &mut self,
        key: Key,
        side: Side,
        sealed: &Sealed,
        protocol: Protocol,
        each: &mut dyn FnMut(&Report<'_>),
    ) -> bool {
        match self.places.get(&key) {
            Some((_, Place::Live(connection))) => {
                if !begins_anew(sealed, side, connection.attempt()) {
                    return true;
                }
                // The port is used again, and the end of the one before was not seen.
                let status = connection.over(Status::Idle);
                self.end(key, status, sealed.envelope.ts, each);
            }
            Some((_, Place::Over(status, attempt))) => {
                if !revives(sealed, side, *status, *attempt) {
                    return false;
                }
            }
            None => {
                if let Content::Segment { flags, payload_wire, .. } = &sealed.content
                    && (flags.fin || flags.rst)
                    && *payload_wire == 0
                    && !flags.syn
                {
                    return false;
                }
            }
        }
        self.make_room(sealed.envelope.ts, each);
        let ends = Ends { client: key.client, server: key.server };
        let connection = Connection::new(sealed, ends, key.vantage, protocol);
        let (deadline, _) = connection.deadline(&self.options);
        self.turns += 1;
        self.places.insert(key, (self.turns, Place::Live(Box::new(connection))));
        self.live += 1;
        self.counters.connections += 1;
        // It is not known yet what it waits for: the first packet will tell.
        let first = sealed.envelope.ts.plus(self.options.answer_timeout);
        self.wheel.insert(deadline.min(first), (key, self.turns));
        self.sweep();
        true
    }

    /// Takes back the timers of connections that are over, once they are most of all.
    fn sweep(&mut self) {
        let Self { wheel, places, live, .. } = self;
        if wheel.len() > 2 * *live + SPARE_TIMERS {
            wheel.keep(|(key, turn)| {
                matches!(places.get(key), Some((found, Place::Live(_))) if found == turn)
            });
        }
    }

    fn make_room(&mut self, now: Timestamp, each: &mut dyn FnMut(&Report<'_>)) {
        while self.live >= self.options.max_connections.max(1) {
            let Some((key, turn)) = self.wheel.pop_first() else { return };
            if let Some((found, Place::Live(_))) = self.places.get(&key)
                && *found == turn
            {
                self.end(key, Status::Evicted, now, each);
            }
        }
    }

    fn end(&mut self, key: Key, status: Status, now: Timestamp, each: &mut dyn FnMut(&Report<'_>)) {
        let Some((turn, place)) = self.places.get_mut(&key) else { return };
        let Place::Live(connection) = place else { return };
        each(&Report { connection, status, is_final: true });
        self.live -= 1;
        self.handshake_bytes -= connection.cost();
        *self.counters.of(status) += 1;
        *place = Place::Over(status, connection.attempt());
        self.over.push_back((now, key, *turn));
    }

    fn forget(&mut self) {
        let Some((_, key, turn)) = self.over.pop_front() else { return };
        if let Some((found, Place::Over(..))) = self.places.get(&key)
            && *found == turn
        {
            self.places.remove(&key);
        }
    }
}

impl ledger::Connections {
    fn of(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Closed => &mut self.closed,
            Status::Reset => &mut self.reset,
            Status::Refused => &mut self.refused,
            Status::Timeout => &mut self.timeout,
            Status::HandshakeFailed => &mut self.handshake_failed,
            Status::Idle => &mut self.idle,
            Status::Evicted => &mut self.evicted,
            Status::Open => &mut self.open,
        }
    }
}

/// The side that a packet was seen from.
const fn vantage(sight: Sight, side: Side) -> Vantage {
    Vantage::of(sight, matches!(side, Side::Server))
}

/// Whether the packet is the client's SYN of another attempt than this.
fn begins_anew(sealed: &Sealed, side: Side, attempt: Option<u32>) -> bool {
    match &sealed.content {
        Content::Segment { seq, ack: false, flags, .. } => {
            side == Side::Client && flags.syn && !flags.rst && attempt != Some(*seq)
        }
        _ => false,
    }
}

/// Whether a packet on the ends of a connection that is over is of a new one.
fn revives(sealed: &Sealed, side: Side, status: Status, attempt: Option<u32>) -> bool {
    match &sealed.content {
        // An answer after all.
        Content::Segment { ack: true, flags, .. } if flags.syn => status == Status::Timeout,
        Content::Segment { payload_wire, flags, .. } if status == Status::Idle => {
            *payload_wire > 0 || flags.syn
        }
        Content::Segment { .. } => begins_anew(sealed, side, attempt),
        // What a server sends after the end is of that, unless the end was mere silence.
        Content::Datagram { .. } => {
            side == Side::Client || matches!(status, Status::Idle | Status::Timeout)
        }
    }
}
