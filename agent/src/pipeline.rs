//! The rooms in a row: packets in, records out, every unit counted.
//!
//! One thread owns it all; nothing here waits for a sink unless told to (replay).

mod analysis;
mod back;
mod event;
mod front;
mod observe;
mod outbox;
mod output;
#[cfg(test)]
mod tests;
mod who;

pub use observe::{Facts, observation};
pub use outbox::Outbox;
pub use output::{Output, OutputOptions};

use crate::capture::Packet;
use crate::capture::sampling::{Change, Unheard, Untold, told};
use crate::connection::{ConnectionOptions, Connections};
use crate::decode::DecoderOptions;
use crate::detect::DetectOptions;
use crate::health::Vitals;
use crate::join::Joining;
use crate::ledger::{self, Counters, Kernel, Ring};
use crate::metrics::{self, Build, Snapshot};
use crate::pair::PairOptions;
use crate::time::Timestamp;
use crate::window::WindowOptions;
use back::Back;
use front::Front;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// What the kernel and the ring between it and the agent counted; in replay, the file reader.
pub type Taken = (BTreeMap<String, Kernel>, Ring);

/// Time between two ledger records.
pub const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// What waits is looked through this often, by the capture's clock.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

/// Decoder, pairing, joining and output, with their state.
///
/// In two parts, with [`event::Event`] between them: a front, in which packets meet others of their flow
/// only, and a back, in which all flows meet.
pub struct Pipeline {
    front: Front,
    back: Back,
    last_packet: Timestamp,
    next_expiry: Timestamp,
    next_ledger: Timestamp,
    ledger_every: Duration,
    sampling: Option<ledger::Sampling>,
}

impl Pipeline {
    /// An empty pipeline, whose first ledger record is due [`LEDGER_EVERY`] after the epoch.
    #[must_use]
    pub fn new(
        decoder: DecoderOptions,
        pairing: PairOptions,
        joining: Joining,
        mut output: Output,
    ) -> Self {
        output.adopt_query_timeout(pairing.query_timeout);
        let epoch = output.epoch();
        Self {
            front: Front::new(decoder, pairing),
            back: Back::new(joining, output),
            last_packet: epoch,
            next_expiry: epoch.plus(EXPIRE_EVERY),
            next_ledger: epoch.plus(LEDGER_EVERY),
            ledger_every: LEDGER_EVERY,
            sampling: None,
        }
    }

    /// The same with a room for encrypted DNS, whose packets the decoder must have been told to give.
    #[must_use]
    pub fn with_connections(mut self, connections: Option<Connections>) -> Self {
        self.front.set_connections(connections);
        self
    }

    /// The same with another time between two ledger records.
    #[must_use]
    pub fn with_ledger_every(mut self, every: Duration) -> Self {
        self.ledger_every = every;
        self.next_ledger = self.back.output.epoch().plus(every);
        self
    }

    /// The same of a live capture, of which some may be left out.
    #[must_use]
    pub fn with_sampling(mut self) -> Self {
        self.sampling = Some(ledger::Sampling::default());
        self
    }

    /// Another share of the transactions is told from here on.
    pub fn sample(&mut self, change: Change) {
        let sampling = self.sampling.get_or_insert_default();
        sampling.ratio = told(change.cut);
        if change.cut == 0 {
            sampling.since = None;
        } else if sampling.since.is_none() {
            sampling.since = Some(change.at.to_string());
            sampling.episodes += 1;
        }
        self.front.sample(change);
        self.back.joiner.sample(change);
        self.back.output.sample(change);
    }

    /// Takes what the kernel counted instead of telling it, up to a time.
    pub fn untold(&mut self, ts: Timestamp, untold: &Untold) {
        let count = untold.sampled + untold.lost;
        let sums = &mut self.sampling.get_or_insert_default().untold;
        *match untold.what {
            Unheard::Query => &mut sums.queries,
            Unheard::Response { .. } => &mut sums.responses,
            Unheard::Segment { .. } => &mut sums.segments,
            Unheard::Other => &mut sums.other,
        } += count;
        self.back.output.untold(ts, untold);
    }

    /// Takes one packet through all rooms.
    pub fn observe(&mut self, packet: &Packet<'_>) {
        // The clock may step back, and then expiry must not sleep until it has caught up.
        if packet.ts >= self.next_expiry || packet.ts < self.last_packet {
            self.expire(packet.ts);
        }
        self.last_packet = packet.ts;
        let Self { front, back, .. } = self;
        back.output.tick(packet.ts);
        front.observe(packet, &mut |event| back.take(event));
    }

    /// Lets time pass: what has waited too long is given up.
    pub fn expire(&mut self, now: Timestamp) {
        self.next_expiry = now.plus(EXPIRE_EVERY);
        let Self { front, back, .. } = self;
        back.output.tick(now);
        front.expire(now, &mut |event| back.take(event));
        back.output.expire(now);
    }

    /// Sends what was rendered to the sinks.
    pub fn flush_batches(&mut self) {
        self.back.output.outbox().offer();
    }

    /// When the newest packet passed; the epoch before the first.
    #[must_use]
    pub const fn last_packet(&self) -> Timestamp {
        self.last_packet
    }

    /// Whether a ledger record is due at `now`.
    #[must_use]
    pub fn ledger_due(&self, now: Timestamp) -> bool {
        now >= self.next_ledger
    }

    /// How long it is from `now` until a ledger record is due.
    #[must_use]
    pub const fn ledger_in(&self, now: Timestamp) -> Duration {
        self.next_ledger.since(now)
    }

    /// Writes a ledger record.
    pub fn write_ledger(&mut self, taken: Taken, now: Timestamp, last: bool) -> Counters {
        self.next_ledger = now.plus(self.ledger_every);
        let counters = self.counters(taken);
        self.back.output.ledger(&counters, now, last);
        counters
    }

    /// The counters of all rooms.
    #[must_use]
    pub fn counters(&self, (kernel, ring): Taken) -> Counters {
        Counters {
            kernel,
            ring,
            decode: self.front.decode(),
            pairing: self.front.pairing(),
            connections: self.front.connections(),
            sampling: self.sampling.clone(),
            delivery: self.back.output.sinks().delivery(),
        }
    }

    /// The page for `/metrics`; `ring_used_bytes` where there is a ring.
    #[must_use]
    pub fn exposition(&self, taken: Taken, ring_used_bytes: Option<u64>) -> String {
        metrics::render(&Snapshot {
            counters: &self.counters(taken),
            transactions: self.back.output.metrics(),
            joined: &self.back.joiner.joined(),
            ring_used_bytes,
            spool_bytes: self.back.output.sinks().spool_bytes(),
            late: self.back.output.late(),
            windows_bytes: self.back.output.windows_bytes(),
            looked_up: self.back.output.looked_up(),
            alerts: self.back.output.alerts(),
            gauges: &self.back.output.sinks().gauges(),
            build: Build { version: env!("CARGO_PKG_VERSION"), revision: "" },
        })
    }

    /// What `/healthz` looks at.
    #[must_use]
    pub fn vitals(&self, taken: Taken) -> Vitals {
        let sinks = self.back.output.sinks();
        Vitals::new(&self.counters(taken), sinks.fullest_spool_bytes(), sinks.failures())
    }

    /// The capture has ended at `now`: what waits becomes `open`, what lies behind holes is given.
    pub fn finish(&mut self, now: Timestamp) {
        let Self { front, back, .. } = self;
        back.output.tick(now);
        front.finish(now, &mut |event| back.take(event));
        back.output.finish(now);
    }

    /// Memory used by packets that wait for others, in octets: see the decoder.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.front.waiting_bytes()
    }

    /// The sinks.
    pub const fn outbox(&mut self) -> &mut Outbox {
        self.back.output.outbox()
    }

    /// Adopts other settings.
    pub fn reconfigure(&mut self, changes: Changes) {
        self.front.reconfigure(changes.pairing, changes.connecting);
        self.back.output.adopt_query_timeout(changes.pairing.query_timeout);
        self.back.output.reconfigure(changes.resolvers, changes.windows, changes.detect);
    }
}

/// What can be changed while a pipeline runs.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Bounds of pairing.
    pub pairing: PairOptions,
    /// Times and bounds of connections of encrypted DNS.
    pub connecting: ConnectionOptions,
    /// Names of resolvers by address.
    pub resolvers: HashMap<IpAddr, String>,
    /// Which windows are written.
    pub windows: WindowOptions,
    /// How detection decides.
    pub detect: Option<DetectOptions>,
}
