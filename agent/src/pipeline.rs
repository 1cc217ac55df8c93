//! The rooms in a row: packets in, records out, every unit counted.
//!
//! Nothing here waits for a sink unless told to (replay). Either one thread owns it all, or several have a
//! front each, with a share of the flows, and one has the back: see [`Pipeline::parted`].

mod analysis;
mod back;
mod batch;
mod event;
mod front;
mod handover;
mod merge;
mod observe;
mod outbox;
mod output;
mod resolvers;
mod scribe;
mod shard;
#[cfg(test)]
mod tests;
mod who;

pub use batch::Batch;
pub use handover::Standing;
pub use observe::{Facts, observation};
pub use outbox::{Next, Outbox, Post};
pub use output::{Detects, Output, OutputOptions, SinkChange};
pub use scribe::Wanted;
pub use shard::{Shard, Snapshot, Stand};

use crate::capture::Packet;
use crate::capture::Received;
use crate::capture::encrypted::Encrypted;
use crate::capture::ports::PortSet;
use crate::capture::sampling::{Change, Unheard, Untold, told};
use crate::connection::{ConnectionOptions, Connections};
use crate::decode::DecoderOptions;
use crate::detect::DetectOptions;
use crate::filter::Filters;
use crate::health::Vitals;
use crate::join::Joining;
use crate::ledger::{self, Counters, Kernel, Ring};
use crate::metrics::{self, Build};
use crate::pair::PairOptions;
use crate::privacy::{BadKey, Privacy};
use crate::time::Timestamp;
use crate::window::WindowOptions;
use back::Back;
use merge::Merge;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// What the kernel and the ring between it and the agent counted; in replay, the file reader.
pub type Taken = (BTreeMap<String, Kernel>, Ring);

/// Time between two ledger records.
pub const LEDGER_EVERY: Duration = Duration::from_secs(10);

/// Batches of a shard. Enough that it can fill one while others are on their way, or wait for what another
/// shard has not got past yet.
pub const SHARD_BATCHES: usize = 8;

/// What waits is looked through this often, by the capture's clock.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);

/// Decoder, pairing, joining and output, with their state.
///
/// In two parts, with [`event::Event`] between them: fronts, in which packets meet others of their flow
/// only, and a back, in which all flows meet.
pub struct Pipeline {
    fronts: Fronts,
    back: Back,
    next_ledger: Timestamp,
    ledger_every: Duration,
    sampling: Option<ledger::Sampling>,
}

/// Where the fronts are.
enum Fronts {
    /// There is one, and it is here.
    Here(Box<Shard>),
    /// Other threads have them.
    Elsewhere(Merge),
}

impl Pipeline {
    /// An empty pipeline, whose first ledger record is due [`LEDGER_EVERY`] after the epoch.
    #[must_use]
    pub fn new(
        decoder: DecoderOptions,
        pairing: PairOptions,
        joining: Joining,
        output: Output,
    ) -> Self {
        let shard = Shard::new((0, 1), decoder, pairing, &output);
        Self::with_fronts(Fronts::Here(Box::new(shard)), pairing, joining, output)
    }

    /// An empty pipeline without its front, and so many of these, each for a share of the flows. What
    /// they give is to be [gathered](Self::gather). The bounds are of all together.
    #[must_use]
    pub fn parted(
        shards: usize,
        (decoder, connecting): (&DecoderOptions, ConnectionOptions),
        pairing: PairOptions,
        joining: Joining,
        output: Output,
    ) -> (Self, Vec<Shard>) {
        let epoch = output.epoch();
        let connecting = shard::share_connecting(connecting, shards);
        let shard = |number| {
            let mut shard = Shard::new((number, shards), decoder.clone(), pairing, &output);
            let room = |encrypted: &Encrypted| Connections::new(encrypted.clone(), connecting);
            shard.set_connections(decoder.encrypted.as_ref().map(room));
            shard
        };
        let fronts = Fronts::Elsewhere(Merge::new(shards, SHARD_BATCHES, epoch));
        let parts = (0..shards).map(shard).collect();
        (Self::with_fronts(fronts, pairing, joining, output), parts)
    }

    fn with_fronts(
        fronts: Fronts,
        pairing: PairOptions,
        joining: Joining,
        mut output: Output,
    ) -> Self {
        output.adopt_query_timeout(pairing.query_timeout);
        let next_ledger = output.epoch().plus(LEDGER_EVERY);
        let back = Back::new(joining, output);
        Self { fronts, back, next_ledger, ledger_every: LEDGER_EVERY, sampling: None }
    }

    /// The same with a room for encrypted DNS, whose packets the decoder must have been told to give.
    #[must_use]
    pub fn with_connections(mut self, connections: Option<Connections>) -> Self {
        if let Fronts::Here(shard) = &mut self.fronts {
            shard.set_connections(connections);
        }
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

    /// Another share of the transactions is told from here on. Fronts that are elsewhere have to be told
    /// by whoever has them.
    pub fn sample(&mut self, change: Change) {
        let sampling = self.sampling.get_or_insert_default();
        sampling.ratio = told(change.cut);
        if change.cut == 0 {
            sampling.since = None;
        } else if sampling.since.is_none() {
            sampling.since = Some(change.at.to_string());
            sampling.episodes += 1;
        }
        if let Fronts::Here(shard) = &mut self.fronts {
            shard.sample(change);
        }
        self.back.joiner.sample(change);
        self.back.output.sample(change);
    }

    /// Looks for DNS on these ports, too. Fronts that are elsewhere have to be told by whoever has them.
    pub fn widen(&mut self, ports: &PortSet) {
        if let Fronts::Here(shard) = &mut self.fronts {
            shard.widen(ports);
        }
    }

    /// Looks for DNS on these ports only: what waits for packets of others is `open`. To be called once
    /// no packet of them can come any more; about fronts that are elsewhere, the same as above.
    pub fn narrow(&mut self, ports: &PortSet, now: Timestamp) {
        let Self { fronts, back, .. } = self;
        if let Fronts::Here(shard) = fronts {
            shard.narrow(ports, now, &mut |at, told| back.take(at, told));
        }
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

    /// Takes one packet through all rooms, if the front is here.
    pub fn observe(&mut self, packet: &Packet<'_>) {
        if let Fronts::Here(shard) = &self.fronts
            && shard.is_due(packet.ts)
        {
            self.expire(packet.ts);
        }
        let Self { fronts: Fronts::Here(shard), back, .. } = self else { return };
        shard.observe(packet, &mut |at, told| back.take(at, told));
    }

    /// Lets time pass: what has waited too long is given up. Where fronts are elsewhere, all of them must
    /// have done so, and time passes as far as they have got.
    pub fn expire(&mut self, now: Timestamp) {
        let Self { fronts, back, .. } = self;
        let now = match fronts {
            Fronts::Here(shard) => {
                shard.expire(now, &mut |at, told| back.take(at, told));
                now
            }
            Fronts::Elsewhere(merge) => now.min(merge.horizon()),
        };
        back.output.tick(now);
        back.output.expire(now);
    }

    /// Takes a batch of a front that is elsewhere.
    pub fn put(&mut self, batch: Batch) {
        if let Fronts::Elsewhere(merge) = &mut self.fronts {
            merge.put(batch);
        }
    }

    /// A front that is elsewhere, all of whose batches were put, gives nothing of before `time` any more.
    pub fn is_past(&mut self, shard: usize, time: Timestamp) {
        if let Fronts::Elsewhere(merge) = &mut self.fronts {
            merge.is_past(shard, time);
        }
    }

    /// Takes what all fronts have got past, in order, and lets go of batches that are empty now.
    pub fn gather(&mut self, spent: &mut dyn FnMut(Batch)) {
        let Self { fronts: Fronts::Elsewhere(merge), back, .. } = self else { return };
        merge.show(&mut |at, told| back.take(at, told));
        merge.spent().for_each(spent);
    }

    /// Takes everything that was put, although something earlier may follow: so that what is counted and
    /// what was written agree, for a ledger record.
    pub fn gather_all(&mut self) {
        let Self { fronts: Fronts::Elsewhere(merge), back, .. } = self else { return };
        merge.show_all(&mut |at, told| back.take(at, told));
    }

    /// Whether events wait until another front has got past them.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(&self.fronts, Fronts::Elsewhere(merge) if merge.is_waiting())
    }

    /// What the fronts that are elsewhere had taken from their rings when they had given what was
    /// gathered.
    pub fn received(&self) -> impl Iterator<Item = &[Received]> {
        self.snapshots().map(|snapshot| snapshot.received.as_slice())
    }

    fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        let merge = match &self.fronts {
            Fronts::Here(_) => None,
            Fronts::Elsewhere(merge) => Some(merge),
        };
        merge.into_iter().flat_map(Merge::snapshots)
    }

    /// Sends what was rendered to the sinks.
    pub fn flush_batches(&mut self) {
        self.back.output.outbox().offer();
    }

    /// When the newest packet passed; the epoch before the first, and where fronts are elsewhere.
    #[must_use]
    pub fn last_packet(&self) -> Timestamp {
        match &self.fronts {
            Fronts::Here(shard) => shard.last_packet(),
            Fronts::Elsewhere(_) => self.back.output.epoch(),
        }
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
        let delivery = self.back.output.post().delivery();
        let sampling = self.sampling.clone();
        let mut counters = Counters { kernel, ring, sampling, delivery, ..Counters::default() };
        match &self.fronts {
            Fronts::Here(shard) => shard.counters().add_to(&mut counters),
            Fronts::Elsewhere(_) => {
                self.snapshots().for_each(|snapshot| snapshot.add_to(&mut counters));
            }
        }
        counters
    }

    /// The page for `/metrics`; `ring_used_bytes` where there is a ring.
    #[must_use]
    pub fn exposition(&self, taken: Taken, ring_used_bytes: Option<u64>) -> String {
        metrics::render(&metrics::Snapshot {
            counters: &self.counters(taken),
            transactions: self.back.output.metrics(),
            joined: &self.back.joiner.joined(),
            ring_used_bytes,
            spool_bytes: self.back.output.post().spool_bytes(),
            late: self.back.output.late(),
            windows_bytes: self.back.output.windows_bytes(),
            looked_up: self.back.output.looked_up(),
            alerts: self.back.output.alerts(),
            kubernetes: self.back.output.kubernetes().as_ref(),
            gauges: &self.back.output.post().gauges(),
            build: Build { version: env!("CARGO_PKG_VERSION"), revision: "" },
        })
    }

    /// What `/healthz` looks at.
    #[must_use]
    pub fn vitals(&self, taken: Taken) -> Vitals {
        let post = self.back.output.post();
        Vitals::new(&self.counters(taken), post.fullest_spool_bytes(), post.failures())
    }

    /// The capture has ended at `now`: what waits becomes `open`, what lies behind holes is given. Fronts
    /// that are elsewhere must have ended before.
    pub fn finish(&mut self, now: Timestamp) {
        let Self { fronts, back, .. } = self;
        if let Fronts::Here(shard) = fronts {
            shard.finish(now, &mut |at, told| back.take(at, told));
        }
        self.gather_all();
        self.back.output.tick(now);
        self.back.output.finish(now);
    }

    /// Memory used by packets that wait for others, in octets: see the decoder.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        match &self.fronts {
            Fronts::Here(shard) => shard.front.waiting_bytes(),
            Fronts::Elsewhere(_) => 0,
        }
    }

    /// Memory used by pairing, in octets.
    #[cfg(test)]
    fn pairing_bytes(&self) -> usize {
        match &self.fronts {
            Fronts::Here(shard) => shard.front.pairing_bytes(),
            Fronts::Elsewhere(_) => 0,
        }
    }

    /// The sinks.
    pub const fn outbox(&mut self) -> &mut Outbox {
        self.back.output.outbox()
    }

    /// Writes to other sinks from here on. Gives what of records the fronts that are elsewhere are to begin,
    /// which whoever has them has to tell them; until then the back does it for them.
    pub fn replace_sinks(&mut self, change: SinkChange) -> Wanted {
        let Self { fronts, back, .. } = self;
        back.output.replace_sinks(change);
        let wanted = back.output.wanted();
        back.write(wanted);
        if let Fronts::Here(shard) = fronts {
            shard.write(wanted);
        }
        wanted
    }

    /// Adopts other settings. Fronts that are elsewhere have to be told by whoever has them.
    ///
    /// # Errors
    /// There is no key for the pseudonyms. Then what records tell stays as it was.
    pub fn reconfigure(&mut self, changes: Changes) -> Result<(), BadKey> {
        if let Fronts::Here(shard) = &mut self.fronts {
            shard.reconfigure(changes.pairing, changes.connecting);
        }
        self.back.output.adopt_query_timeout(changes.pairing.query_timeout);
        self.back.output.reconfigure(changes.resolvers, changes.windows, changes.detect);
        self.back.output.disclose(changes.filters, changes.privacy)
    }
}

/// What can be changed while a pipeline runs, beside the sinks.
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
    /// Which records are told.
    pub filters: Filters,
    /// What they do not tell.
    pub privacy: Privacy,
}
