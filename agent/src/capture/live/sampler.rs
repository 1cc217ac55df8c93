//! Sampling in the programs: writes the share to leave out into their map `CONFIG`, and reads their counts of
//! packets that were not exported.

use super::LiveOptions;
use super::pressure::{Load, Pressure, Recent};
use super::tap::Locals;
use crate::capture::Sight;
use crate::capture::sampling::{Change, Unheard, Untold};
use aya::Ebpf;
use aya::maps::{MapData, MapError, PerCpuArray, PerCpuHashMap};
use dnscribe_common::CONFIG_SAMPLING;
use dnscribe_common::flow::Address;
use dnscribe_common::sample::{Cut, Cuts};
use dnscribe_common::totals::{Key, Kind, LOST, OUTCOMES, SAMPLED, WHATS, Way, What};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Time beyond the query timeout for which a response is sampled like its query.
const SLACK: Duration = Duration::from_secs(1);

/// Words of a [`Key`].
type Words = [u64; size_of::<Key>() / 8];

/// The controller of the load, and the maps that it reads and writes.
pub(super) struct Sampler {
    /// None if sampling is off.
    pressure: Option<Pressure>,
    recent: Recent,
    told: Cuts,
    totals: Totals,
    /// This host's addresses, at hook `socket`.
    locals: Option<Locals>,
}

impl Sampler {
    /// Takes the maps over.
    pub(super) fn new(
        ebpf: &mut Ebpf,
        options: &LiveOptions,
        locals: Option<Locals>,
    ) -> Result<Self, MapError> {
        let mut take = |name: &str| {
            ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
        };
        let totals = PerCpuHashMap::try_from(take("TOTALS")?)?;
        let others = PerCpuArray::try_from(take("TOTALS_OTHER")?)?;
        Ok(Self::of(totals, others, options, locals))
    }

    /// Creates it from its maps.
    pub(super) fn of(
        by_server: PerCpuHashMap<MapData, Words, [u64; OUTCOMES]>,
        others: PerCpuArray<MapData, [u64; OUTCOMES]>,
        options: &LiveOptions,
        locals: Option<Locals>,
    ) -> Self {
        let seen = (HashMap::new(), HashMap::new());
        Self {
            pressure: options.sampling_floor.map(Pressure::new),
            recent: Recent::new(options.query_timeout + SLACK),
            told: Cuts::default(),
            totals: Totals { by_server, others, seen: seen.0, seen_others: seen.1 },
            locals,
        }
    }

    /// Returns the counts that were already reported.
    pub(super) fn seen(&self) -> Seen {
        let Totals { seen, seen_others, .. } = &self.totals;
        Seen {
            servers: seen.iter().map(|(key, sums)| (*key, *sums)).collect(),
            others: seen_others.iter().map(|(key, sums)| (*key, *sums)).collect(),
        }
    }

    /// Continues where another process stopped that had set `word`.
    pub(super) fn go_on(&mut self, word: u64, seen: Seen) {
        self.totals.seen = seen.servers.into_iter().collect();
        self.totals.seen_others = seen.others.into_iter().collect();
        let now = Instant::now();
        self.told = Cuts::unpack(word);
        if self.told == Cuts::default() {
            return;
        }
        // Assumes that the largest share of late was left out until now.
        self.recent.change(now, self.told.most);
        self.recent.change(now, self.told.now);
        if let Some(pressure) = &mut self.pressure {
            pressure.leave_out(self.told.now);
        }
    }

    /// Measures the load. Returns the new word for the programs, if any, and the new share that is left
    /// out, if it changes.
    pub(super) fn observe(&mut self, now: Instant, load: Load<'_>) -> (Option<Cuts>, Option<Cut>) {
        let Some(pressure) = &mut self.pressure else { return (None, None) };
        let changed = pressure.observe(now, load);
        if let Some(cut) = changed {
            self.recent.change(now, cut);
        }
        if self.told == Cuts::default() && changed.is_none() {
            return (None, None);
        }
        (self.cuts(now), changed)
    }

    /// Sets the share that is left out, whatever the load. For tests of the programs.
    pub(super) fn force(&mut self, now: Instant, cut: Cut) -> Option<Cuts> {
        self.recent.change(now, cut);
        self.cuts(now)
    }

    fn cuts(&mut self, now: Instant) -> Option<Cuts> {
        let cuts = self.recent.cuts(now);
        (cuts != self.told).then(|| {
            self.told = cuts;
            cuts
        })
    }

    /// Returns the packets that were not exported since the last call.
    pub(super) fn untold(&mut self) -> Result<Vec<Untold>, MapError> {
        self.totals.read(self.locals.as_mut())
    }
}

/// Totals that were already reported.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    servers: Vec<(Words, [u64; OUTCOMES])>,
    others: Vec<(u32, [u64; OUTCOMES])>,
}

/// The programs' totals, and their values at the last read.
struct Totals {
    by_server: PerCpuHashMap<MapData, Words, [u64; OUTCOMES]>,
    others: PerCpuArray<MapData, [u64; OUTCOMES]>,
    seen: HashMap<Words, [u64; OUTCOMES]>,
    seen_others: HashMap<u32, [u64; OUTCOMES]>,
}

impl Totals {
    /// The kernel's map never shrinks, so an iteration meets every key that was there at its start; later
    /// keys are read the next time.
    fn read(&mut self, mut locals: Option<&mut Locals>) -> Result<Vec<Untold>, MapError> {
        let mut found = Vec::new();
        for key in self.by_server.keys() {
            let key = key?;
            let [high, low, what] = key;
            let sums = sums(&self.by_server.get(&key, 0)?);
            let more = grown(sums, self.seen.entry(key).or_default());
            let what = u32::try_from(what).ok().and_then(What::unpack);
            if let (Some(what), Some(more)) = (what, more) {
                found.push(untold(what, Some(address([high, low])), more, &mut locals));
            }
        }
        for number in 0..WHATS {
            let Some(what) = What::unpack(number) else { continue };
            let sums = sums(&self.others.get(&number, 0)?);
            if sums == [0; OUTCOMES] {
                continue;
            }
            if let Some(more) = grown(sums, self.seen_others.entry(number).or_default()) {
                found.push(untold(what, None, more, &mut locals));
            }
        }
        Ok(found)
    }
}

fn sums(cpus: &[[u64; OUTCOMES]]) -> [u64; OUTCOMES] {
    cpus.iter().fold([0; OUTCOMES], |[a, b], [more_a, more_b]| [a + more_a, b + more_b])
}

/// Returns the growth of the counts; none if they did not grow.
fn grown(now: [u64; OUTCOMES], seen: &mut [u64; OUTCOMES]) -> Option<[u64; OUTCOMES]> {
    let before = std::mem::replace(seen, now);
    (now != before).then(|| [now[0] - before[0], now[1] - before[1]])
}

fn untold(
    what: What,
    server: Option<IpAddr>,
    more: [u64; OUTCOMES],
    locals: &mut Option<&mut Locals>,
) -> Untold {
    let unheard = match what.kind {
        Kind::Query => Unheard::Query,
        Kind::Response => Unheard::Response { rcode: what.rcode, truncated: what.truncated },
        Kind::ToServer => Unheard::Segment { to_server: true },
        Kind::FromServer => Unheard::Segment { to_server: false },
        Kind::Other => Unheard::Other,
    };
    let mut is_here =
        |server: IpAddr| locals.as_mut().is_some_and(|locals| locals.contains(server));
    let from_server = unheard.is_from_server();
    let sight = match what.way {
        Way::Loopback => Sight::Loopback,
        Way::Passing => Sight::Passive,
        // The client's address is unknown: packets of remote servers count as this host's own.
        Way::Sent if from_server && !server.is_some_and(&mut is_here) => Sight::Passive,
        Way::Arrived if !from_server && !server.is_some_and(&mut is_here) => Sight::Passive,
        Way::Egress | Way::Sent => Sight::Egress,
        Way::Ingress | Way::Spread | Way::Arrived => Sight::Ingress,
    };
    Untold { what: unheard, sight, server, sampled: more[SAMPLED], lost: more[LOST] }
}

fn address(words: Address) -> IpAddr {
    let mut octets = [0; 16];
    let both = words.iter().flat_map(|word| word.to_le_bytes());
    octets.iter_mut().zip(both).for_each(|(octet, byte)| *octet = byte);
    Ipv6Addr::from(octets).to_canonical()
}

impl super::Live {
    /// Measures the load of the rings, and changes the share that the programs leave out. Returns the
    /// change, if any, for the records. `behind` is how long the thread that takes the readers' packets
    /// has waited for them, if that is another thread.
    pub fn regulate(&mut self, behind: Option<Duration>) -> Option<Change> {
        let fill = self.gauges.iter().map(|ring| ring.take_fill()).fold(0.0, f64::max);
        let waited: Vec<_> = self.gauges.iter().map(|ring| ring.waited()).chain(behind).collect();
        let load = Load { fill, waited: &waited };
        let (cuts, changed) = self.sampler.observe(Instant::now(), load);
        let at = self.clock.now();
        self.tell(cuts);
        changed.map(|cut| Change { at, cut })
    }

    /// Sets the share that is left out, whatever the load. For tests of the programs.
    #[doc(hidden)]
    pub fn force_sampling(&mut self, cut: Cut) {
        let cuts = self.sampler.force(Instant::now(), cut);
        self.tell(cuts);
    }

    fn tell(&self, cuts: Option<Cuts>) {
        let Some(cuts) = cuts else { return };
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = config.set(CONFIG_SAMPLING, cuts.pack(), 0) {
            // Writing to an array map does not fail.
            tracing::error!(%error, "cannot tell the programs what to leave out");
        }
    }

    /// Returns the packets that were not exported since the last call.
    pub fn untold(&mut self) -> Vec<Untold> {
        self.sampler.untold().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the totals of what was not told");
            Vec::new()
        })
    }
}
