//! Sampling in the programs: writes the share to leave out into their map `CONFIG`, and reads their counts of
//! packets that were not exported.

use super::LiveOptions;
use super::pressure::{Load, Pressure, Recent};
use super::tap::LocalAddresses;
use aya::maps::{MapData, MapError, PerCpuArray, PerCpuHashMap};
use dnscribe_common::CONFIG_SAMPLING;
use dnscribe_common::flow::Address;
use dnscribe_common::sample::{Cut, Cuts};
use dnscribe_common::totals::{
    CLASSES, LOST, OUTCOMES, PacketKind, PacketPath, SAMPLED, TotalsKey, TrafficClass,
};
use dnscribe_transaction::packet::Direction;
use dnscribe_transaction::packet::sampling::{Change, NotExported, PacketClass};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Time beyond the query timeout for which a response is sampled like its query.
const SLACK: Duration = Duration::from_secs(1);

/// Words of a [`TotalsKey`].
type Words = [u64; size_of::<TotalsKey>() / 8];

/// Packets that were not exported, by outcome.
type Sums = [u64; OUTCOMES];

/// Server of packets, if the programs' table had space for it, and their packed class.
pub type Key = (Option<Address>, u32);

/// The controller of the load, and the maps that it reads and writes.
pub(super) struct Sampler {
    /// None if sampling is off.
    pressure: Option<Pressure>,
    pub(super) recent: Recent,
    cuts: Cuts,
    by_server: PerCpuHashMap<MapData, Words, Sums>,
    others: PerCpuArray<MapData, Sums>,
    /// The programs' totals at the last read.
    pub(super) reported: HashMap<Key, Sums>,
    /// This host's addresses, at hook `socket`.
    locals: Option<LocalAddresses>,
}

impl Sampler {
    /// Creates it from the maps of totals.
    pub(super) fn new(
        (by_server, others): (PerCpuHashMap<MapData, Words, Sums>, PerCpuArray<MapData, Sums>),
        options: &LiveOptions,
        locals: Option<LocalAddresses>,
    ) -> Self {
        Self {
            pressure: options.sampling_floor.map(Pressure::new),
            recent: Recent::new(Duration::MAX),
            cuts: Cuts::default(),
            by_server,
            others,
            reported: HashMap::new(),
            locals,
        }
    }

    /// Returns the packets that were not exported since the last call. The kernel's map never shrinks, so an
    /// iteration returns every key that existed at its start; later keys are read next time.
    pub(super) fn not_exported(&mut self) -> Result<Vec<NotExported>, MapError> {
        let mut totals = Vec::new();
        for key in self.by_server.keys() {
            let key = key?;
            let [high, low, class] = key;
            let class = u32::try_from(class).unwrap_or(u32::MAX);
            totals.push(((Some([high, low]), class), sums(&self.by_server.get(&key, 0)?)));
        }
        for class in 0..CLASSES {
            totals.push(((None, class), sums(&self.others.get(&class, 0)?)));
        }
        let mut found = Vec::new();
        for (key, now) in totals.into_iter().filter(|(_, now)| *now != [0; OUTCOMES]) {
            let before = self.reported.insert(key, now).unwrap_or_default();
            let (server, class) = key;
            if let Some(class) = TrafficClass::unpack(class).filter(|_| now != before) {
                let more = [now[0] - before[0], now[1] - before[1]];
                found.push(not_exported(class, server.map(address), more, self.locals.as_mut()));
            }
        }
        Ok(found)
    }
}

fn sums(cpus: &[Sums]) -> Sums {
    cpus.iter().fold([0; OUTCOMES], |[a, b], [next_a, next_b]| [a + next_a, b + next_b])
}

/// Returns the report for one class of packets.
fn not_exported(
    class: TrafficClass,
    server: Option<IpAddr>,
    more: Sums,
    mut locals: Option<&mut LocalAddresses>,
) -> NotExported {
    let packet_class = match class.kind {
        PacketKind::Query => PacketClass::Query,
        PacketKind::Response => {
            PacketClass::Response { rcode: class.rcode, truncated: class.truncated }
        }
        PacketKind::ToServer => PacketClass::Segment { to_server: true },
        PacketKind::FromServer => PacketClass::Segment { to_server: false },
        PacketKind::Other => PacketClass::Other,
    };
    let mut is_here =
        |server: IpAddr| locals.as_mut().is_some_and(|locals| locals.contains(server));
    let from_server = packet_class.is_from_server();
    let direction = match class.path {
        PacketPath::Loopback => Direction::Loopback,
        PacketPath::Transit => Direction::Passive,
        // The client's address is unknown: packets of remote servers count as this host's own.
        PacketPath::Sent if from_server && !server.is_some_and(&mut is_here) => Direction::Passive,
        PacketPath::Received if !from_server && !server.is_some_and(&mut is_here) => {
            Direction::Passive
        }
        PacketPath::Egress | PacketPath::Sent => Direction::Egress,
        PacketPath::Ingress | PacketPath::Broadcast | PacketPath::Received => Direction::Ingress,
    };
    let (class, sampled, lost) = (packet_class, more[SAMPLED], more[LOST]);
    NotExported { class, direction, server, sampled, lost }
}

fn address(words: Address) -> IpAddr {
    let bytes: [u8; 16] = zerocopy::transmute!(words.map(u64::to_le));
    Ipv6Addr::from(bytes).to_canonical()
}

impl super::Live {
    /// Measures the load of the rings, and changes the share that the programs leave out. Returns the
    /// change, if any, for the records. `behind` is how long the thread that takes the readers' packets
    /// has waited for them, if that is another thread.
    pub fn regulate(&mut self, behind: Option<Duration>) -> Option<Change> {
        let fill = self.gauges.iter().map(|ring| ring.take_fill()).fold(0.0, f64::max);
        let waited: Vec<_> = self.gauges.iter().map(|ring| ring.waited()).chain(behind).collect();
        let load = Load { fill, waited: &waited };
        let (now, at) = (Instant::now(), self.clock.now());
        let changed = self.sampler.pressure.as_mut().and_then(|one| one.observe(now, load));
        self.write_cuts(now, changed);
        changed.map(|cut| Change { at, cut })
    }

    /// Sets how long a query waits for its response: responses within this time are sampled like their queries. Until
    /// the first call, all are.
    pub fn set_query_timeout(&mut self, query_timeout: Duration) {
        let now = Instant::now();
        self.sampler.recent.set_memory(now, query_timeout.saturating_add(SLACK));
        self.write_cuts(now, None);
    }

    /// Tells the programs the share that is left out from now on, if it changes, and those of the recent past.
    pub(super) fn write_cuts(&mut self, now: Instant, changed: Option<Cut>) {
        let sampler = &mut self.sampler;
        if let Some(cut) = changed {
            sampler.recent.change(now, cut);
        }
        let cuts = sampler.recent.cuts(now);
        if std::mem::replace(&mut sampler.cuts, cuts) == cuts {
            return;
        }
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = config.set(CONFIG_SAMPLING, cuts.pack(), 0) {
            // Writing to an array map does not fail.
            tracing::error!(%error, "cannot set the sampling cut of the eBPF programs");
        }
    }

    /// Returns the packets that were not exported since the last call.
    pub fn not_exported(&mut self) -> Vec<NotExported> {
        self.sampler.not_exported().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the totals of packets that were not exported");
            Vec::new()
        })
    }
}
