//! A front with its clocks: what one thread does with its share of the flows.

use super::EXPIRE_EVERY;
use super::batch::Batch;
use super::front::Front;
use super::output::Output;
use super::scribe::{Scribe, Told, Wanted};
use crate::capture::Packet;
use crate::capture::Received;
use crate::capture::ports::PortSet;
use crate::capture::sampling::Change;
use crate::connection::{ConnectionOptions, Connections};
use crate::decode::DecoderOptions;
use crate::ledger::{self, Counters};
use crate::pair::{Carried, PairOptions};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// By so much a packet may be older than the one before it: they are stamped by different CPUs, and not in
/// the order in which they find room in the ring.
const SKEW: Duration = Duration::from_millis(1);

/// The rooms of one flow, for a share of the flows.
pub struct Shard {
    number: usize,
    shares: usize,
    pub(super) front: Front,
    scribe: Scribe,
    last_packet: Timestamp,
    expired: Timestamp,
    /// What was counted before, by another agent; of pairing the front goes on itself.
    before: Snapshot,
}

/// What a shard had counted at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// What it had taken out of its ring, by CPU.
    pub(super) received: Vec<Received>,
    decode: ledger::Decode,
    pairing: ledger::Pairing,
    connections: Option<ledger::Connections>,
}

/// Where a shard stands: what another agent's is to go on from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Stand {
    counted: Snapshot,
    last_packet: u64,
    expired: u64,
}

impl Stand {
    /// What it had taken out of its ring, by CPU.
    #[must_use]
    pub fn received(&self) -> &[Received] {
        &self.counted.received
    }
}

/// Whoever takes events, with the time of each.
pub(super) type Timed<'a> = &'a mut dyn FnMut(Timestamp, Told<'_>);

impl Shard {
    /// That of this number among so many, before this output; the bounds are of all together.
    pub(super) fn new(
        (number, shares): (usize, usize),
        decoder: DecoderOptions,
        pairing: PairOptions,
        output: &Output,
    ) -> Self {
        let decoder = DecoderOptions {
            tcp_memory_bytes: decoder.tcp_memory_bytes.div_ceil(shares),
            tcp_streams: decoder.tcp_streams.div_ceil(shares),
            fragment_memory_bytes: decoder.fragment_memory_bytes.div_ceil(shares),
            fragment_datagrams: decoder.fragment_datagrams.div_ceil(shares),
            ..decoder
        };
        Self {
            number,
            shares,
            front: Front::new(decoder, share_pairing(pairing, shares)),
            scribe: output.scribe(),
            last_packet: output.epoch(),
            expired: output.epoch(),
            before: Snapshot::default(),
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Adds a room for encrypted DNS.
    pub(super) fn set_connections(&mut self, connections: Option<Connections>) {
        self.front.set_connections(connections);
    }

    /// When the newest packet passed; the epoch before the first.
    pub(super) const fn last_packet(&self) -> Timestamp {
        self.last_packet
    }

    /// Whether time should pass before a packet of `now` is taken. The clock may step back, and then
    /// expiry must not sleep until it has caught up.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now >= self.expired.plus(EXPIRE_EVERY) || now < self.last_packet
    }

    /// Takes one packet.
    pub(super) fn observe(&mut self, packet: &Packet<'_>, each: Timed<'_>) {
        self.last_packet = packet.ts;
        let Self { front, scribe, .. } = self;
        front.observe(packet, &mut |event| each(packet.ts, scribe.tell(event)));
    }

    /// Lets time pass: what has waited too long is given up.
    pub(super) fn expire(&mut self, now: Timestamp, each: Timed<'_>) {
        self.expired = now;
        let Self { front, scribe, .. } = self;
        front.expire(now, &mut |event| each(now, scribe.tell(event)));
    }

    /// The capture has ended at `now`.
    pub(super) fn finish(&mut self, now: Timestamp, each: Timed<'_>) {
        let Self { front, scribe, .. } = self;
        front.finish(now, &mut |event| each(now, scribe.tell(event)));
    }

    /// Up to when it has let time pass.
    #[must_use]
    pub const fn expired(&self) -> Timestamp {
        self.expired
    }

    /// Adopts other bounds.
    pub fn reconfigure(&mut self, pairing: PairOptions, connecting: ConnectionOptions) {
        let connecting = share_connecting(connecting, self.shares);
        self.front.reconfigure(share_pairing(pairing, self.shares), connecting);
    }

    /// Begins other records from here on.
    pub const fn write(&mut self, wanted: Wanted) {
        self.scribe.write(wanted);
    }

    /// Another share of the transactions is told from here on.
    pub fn sample(&mut self, change: Change) {
        self.front.sample(change);
    }

    /// Looks for DNS on these ports, too.
    pub fn widen(&mut self, ports: &PortSet) {
        self.front.widen(ports);
    }

    /// Looks for DNS on these ports only. To be called once no packet of others can come any more.
    pub(super) fn narrow(&mut self, ports: &PortSet, now: Timestamp, each: Timed<'_>) {
        let Self { front, scribe, .. } = self;
        front.narrow(ports, now, &mut |event| each(now, scribe.tell(event)));
    }

    /// The same, and adds to a batch what comes of it.
    pub fn fill_narrowed(&mut self, ports: &PortSet, now: Timestamp, batch: &mut Batch) {
        self.narrow(ports, now, &mut |at, told| batch.push(at, told));
    }

    /// Takes one packet, and adds to a batch what comes of it.
    pub fn fill(&mut self, packet: &Packet<'_>, batch: &mut Batch) {
        if self.is_due(packet.ts) {
            self.expire(packet.ts, &mut |at, told| batch.push(at, told));
        }
        self.observe(packet, &mut |at, told| batch.push(at, told));
        batch.packets += 1;
    }

    /// Lets time pass, and adds to a batch what comes of it.
    pub fn fill_expired(&mut self, now: Timestamp, batch: &mut Batch) {
        self.expire(now, &mut |at, told| batch.push(at, told));
    }

    /// Adds to the shard's last batch what still waits at `now`.
    pub fn fill_last(&mut self, now: Timestamp, batch: &mut Batch) {
        self.finish(now, &mut |at, told| batch.push(at, told));
        batch.is_last = true;
    }

    /// Completes a batch: its shard has taken this much out of its ring, and has nothing more of
    /// before `until`; where that is not known, of a little before its newest packet. Whether there is
    /// anything in it that its receiver does not know yet.
    pub fn seal(
        &mut self,
        batch: &mut Batch,
        received: &[Received],
        until: Option<Timestamp>,
    ) -> bool {
        let is_idle = batch.packets == 0 && batch.is_empty() && !batch.is_last;
        batch.shard = self.number;
        batch.until = until.unwrap_or_else(|| self.last_packet.minus(SKEW));
        batch.snapshot = self.snapshot(received);
        !is_idle
    }

    fn snapshot(&self, received: &[Received]) -> Snapshot {
        // In this order: of a capture that no other agent had before, there is nothing to add.
        let mut decode = self.front.decode();
        decode += &self.before.decode;
        let mut connections = self.front.connections();
        if let (Some(now), Some(before)) = (&mut connections, &self.before.connections) {
            *now += before;
        }
        let (received, pairing) = (received.to_vec(), self.front.pairing());
        Snapshot { received, decode, pairing, connections }
    }

    /// Another agent goes on from here: gives what can be told before that, and lets time pass no more.
    pub(super) fn rest(&mut self, each: Timed<'_>) {
        let at = self.last_packet.max(self.expired);
        let Self { front, scribe, .. } = self;
        front.rest(at, &mut |event| each(at, scribe.tell(event)));
    }

    /// The same into a batch.
    pub fn fill_rest(&mut self, batch: &mut Batch) {
        self.rest(&mut |at, told| batch.push(at, told));
    }

    /// What another agent is to go on from, of a shard that [rests](Self::rest) and has taken this much out
    /// of its ring.
    #[must_use]
    pub fn stand(&self, received: &[Received]) -> Stand {
        let mut counted = self.snapshot(received);
        counted.decode = self.front.decode_given_up();
        counted.decode += &self.before.decode;
        Stand {
            counted,
            last_packet: self.last_packet.as_nanos(),
            expired: self.expired.as_nanos(),
        }
    }

    /// Shows the queries that another agent is to go on with.
    pub fn carry(&self, each: &mut dyn FnMut(&Carried<'_>)) {
        self.front.carry(self.last_packet.max(self.expired), each);
    }

    /// Another agent has gone on from here: adds to the shard's last batch what waits, as `open`.
    pub fn fill_left(&mut self, batch: &mut Batch) {
        self.leave(&mut |at, told| batch.push(at, told));
        batch.is_last = true;
    }

    /// The same, given.
    pub(super) fn leave(&mut self, each: Timed<'_>) {
        let at = self.last_packet.max(self.expired);
        let Self { front, scribe, .. } = self;
        front.leave(at, &mut |event| each(at, scribe.tell(event)));
    }

    /// Goes on from where another agent stood.
    pub fn adopt(&mut self, stand: &Stand) {
        self.front.adopt(stand.counted.pairing);
        self.before = stand.counted.clone();
        self.last_packet = Timestamp::from_nanos(stand.last_packet);
        self.expired = Timestamp::from_nanos(stand.expired);
    }

    /// Takes a query of another agent.
    pub(super) fn restore(&mut self, carried: &Carried<'_>, each: Timed<'_>) {
        let at = carried.query.envelope.ts;
        let Self { front, scribe, .. } = self;
        front.restore(carried, &mut |event| each(at, scribe.tell(event)));
    }

    /// Its counters, for one that is the only one.
    pub(super) fn counters(&self) -> Snapshot {
        self.snapshot(&[])
    }
}

impl Snapshot {
    /// Adds these counters to others.
    pub(super) fn add_to(&self, counters: &mut Counters) {
        counters.decode += &self.decode;
        counters.pairing += &self.pairing;
        if let Some(connections) = &self.connections {
            *counters.connections.get_or_insert_default() += connections;
        }
    }
}

/// A share of the bounds: flows spread evenly enough, and a bound is for what should not be.
fn share_pairing(options: PairOptions, shares: usize) -> PairOptions {
    PairOptions { max_transactions: options.max_transactions.div_ceil(shares), ..options }
}

/// The same of the bounds of connections.
pub(super) fn share_connecting(options: ConnectionOptions, shares: usize) -> ConnectionOptions {
    ConnectionOptions {
        max_connections: options.max_connections.div_ceil(shares),
        handshake_memory_bytes: options.handshake_memory_bytes.div_ceil(shares),
        ..options
    }
}
