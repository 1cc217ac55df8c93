//! What a window counts of one group of transactions. Tallies merge: that of two spans, or of two
//! nodes, is the sum of theirs.

use super::bounds::{ENTROPY, LABEL_LENGTHS, MIN_TTL};
use super::counts::Counts;
use super::measured::Measured;
use super::seen::Facet;
use super::sketch::{Distinct, Hashed, MAX_OCTETS, Quantiles, Top};
use super::untold::{Thinned, Untold};
use crate::join::Cache;
use crate::pair::Status;

/// Counts and sketches of a group.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All transactions.
    pub transactions: u64,
    /// Whether further transactions of the group may stand in `other`: of some panes of the window,
    /// it had no seat of its own.
    pub undercounted: bool,
    /// Queries that were answered, with NOERROR or NXDOMAIN: the name resolves, or is known not to.
    pub successes: u64,
    /// By status, in the order of [`Status`].
    pub statuses: [u64; Status::ALL.len()],
    /// Responses by extended code.
    pub rcodes: Counts,
    /// By the type asked for.
    pub qtypes: Counts,
    /// Queries sent again.
    pub retries: u64,
    /// Responses with the TC bit.
    pub truncated: u64,
    /// Answers over TCP to what was truncated over UDP.
    pub tcp_fallbacks: u64,
    /// Queries that ask for DNSSEC records (DO).
    pub dnssec_ok: u64,
    /// Queries with a client subnet.
    pub client_subnets: u64,
    /// Answered from a resolver's cache.
    pub cache_hits: u64,
    /// Answered by asking others first.
    pub cache_misses: u64,
    /// Duplicates that answer differently.
    pub conflicts: u64,
    /// Octets of the queries.
    pub query_bytes: u64,
    /// Octets of the responses.
    pub response_bytes: u64,
    /// Latencies of answered queries, in milliseconds.
    pub latency: Quantiles,
    /// Different names.
    pub qnames: Distinct,
    /// Different clients.
    pub clients: Distinct,
    /// Different resolvers: the fan-out.
    pub resolvers: Distinct,
    /// Names by entropy.
    pub entropy: [u64; ENTROPY.len() + 1],
    /// Labels by length.
    pub label_lengths: [u64; LABEL_LENGTHS.len() + 1],
    /// Responses by smallest TTL.
    pub min_ttl: [u64; MIN_TTL.len() + 1],
    /// How many transactions the counted ones stand for.
    pub thinned: Thinned,
    /// Messages that were not told, where there were any; groupings `node` and `resolver`.
    pub untold: Option<Box<Untold>>,
    /// The most frequent names, zones, clients and processes, where the group keeps them.
    pub tops: Option<Box<Tops>>,
}

/// What is most frequent.
#[derive(Clone, Debug)]
pub struct Tops {
    /// Names.
    pub qnames: Top,
    /// Zones.
    pub zones: Top,
    /// Addresses of clients.
    pub clients: Top,
    /// Processes.
    pub processes: Top,
}

/// How many slots the tables of [`Tops`] have, as powers of two: see [`Top::new`].
#[derive(Clone, Copy, Debug)]
pub struct TopSlots {
    /// Of the names.
    pub qnames: u8,
    /// Of the zones.
    pub zones: u8,
    /// Of the clients.
    pub clients: u8,
    /// Of the processes.
    pub processes: u8,
}

impl Tally {
    /// An empty tally that keeps what is most frequent.
    #[must_use]
    pub fn with_tops(slots: TopSlots) -> Self {
        let tops = Tops {
            qnames: Top::new(slots.qnames),
            zones: Top::new(slots.zones),
            clients: Top::new(slots.clients),
            processes: Top::new(slots.processes),
        };
        Self { tops: Some(Box::new(tops)), ..Self::default() }
    }

    /// Counts a transaction, but for what is most frequent. `is_new` says of a value, with its hash, whether
    /// it may be the first time that the group has it.
    pub(super) fn add(
        &mut self,
        measured: &Measured,
        mut is_new: impl FnMut(Facet, Hashed, u64) -> bool,
    ) {
        self.transactions += 1;
        self.thinned.add(measured.sample_ratio);
        self.statuses[measured.status as usize] += 1;
        if let Some(rcode) = measured.rcode {
            self.rcodes.add(rcode, 1);
        }
        if let Some(qtype) = measured.qtype {
            self.qtypes.add(qtype, 1);
        }
        self.successes += u64::from(measured.success);
        self.retries += u64::from(measured.retries);
        self.truncated += u64::from(measured.truncated);
        self.tcp_fallbacks += u64::from(measured.tcp_fallback);
        self.dnssec_ok += u64::from(measured.dnssec_ok);
        self.client_subnets += u64::from(measured.client_subnet);
        match measured.cache {
            Some(Cache::Hit | Cache::Stale) => self.cache_hits += 1,
            Some(Cache::Miss) => self.cache_misses += 1,
            // What is a server's own was never cached.
            Some(Cache::Local) | None => {}
        }
        self.conflicts += u64::from(measured.conflict);
        self.query_bytes += u64::from(measured.query_bytes);
        self.response_bytes += measured.response_bytes;
        if let Some(latency) = measured.latency {
            self.latency.add(latency);
        }
        if let Some(qname) = measured.qname
            && is_new(Facet::Qname, qname, measured.qname_hash)
        {
            self.qnames.add(qname);
        }
        if is_new(Facet::Client, measured.client, measured.client_hash) {
            self.clients.add(measured.client);
        }
        if is_new(Facet::Resolver, measured.resolver, measured.resolver_hash) {
            self.resolvers.add(measured.resolver);
        }
        if let Some(bucket) = measured.entropy {
            self.entropy[usize::from(bucket)] += 1;
        }
        add_each(&mut self.label_lengths, &measured.labels.map(u64::from));
        if let Some(bucket) = measured.min_ttl {
            self.min_ttl[usize::from(bucket)] += 1;
        }
    }

    /// Counts messages that were not told.
    pub fn add_untold(&mut self, untold: &Untold) {
        self.untold.get_or_insert_default().merge(untold);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.thinned.merge(&other.thinned);
        if let Some(untold) = &other.untold {
            self.add_untold(untold);
        }
        self.undercounted |= other.undercounted;
        self.successes += other.successes;
        add_each(&mut self.statuses, &other.statuses);
        self.rcodes.merge(&other.rcodes);
        self.qtypes.merge(&other.qtypes);
        self.retries += other.retries;
        self.truncated += other.truncated;
        self.tcp_fallbacks += other.tcp_fallbacks;
        self.dnssec_ok += other.dnssec_ok;
        self.client_subnets += other.client_subnets;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
        self.conflicts += other.conflicts;
        self.query_bytes += other.query_bytes;
        self.response_bytes += other.response_bytes;
        self.latency.merge(&other.latency);
        self.qnames.merge(&other.qnames);
        self.clients.merge(&other.clients);
        self.resolvers.merge(&other.resolvers);
        add_each(&mut self.entropy, &other.entropy);
        add_each(&mut self.label_lengths, &other.label_lengths);
        add_each(&mut self.min_ttl, &other.min_ttl);
        if let (Some(tops), Some(others)) = (&mut self.tops, &other.tops) {
            tops.merge(others);
        }
    }

    /// Octets that this tally takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rcodes.heap_bytes()
            + self.qtypes.heap_bytes()
            + self.latency.heap_bytes()
            + self.qnames.heap_bytes()
            + self.clients.heap_bytes()
            + self.resolvers.heap_bytes()
            + self.untold.as_ref().map_or(0, |untold| size_of_val(&**untold))
            + self.tops.as_ref().map_or(0, |tops| tops.bytes())
    }

    /// The most that [`Self::bytes`] can be.
    #[must_use]
    pub const fn max_bytes(tops: Option<TopSlots>) -> usize {
        // The groupings with tops are those with messages that were not told.
        let tops = match tops {
            Some(slots) => Tops::max_bytes(slots) + size_of::<Untold>(),
            None => 0,
        };
        size_of::<Self>()
            + 2 * Counts::MAX_HEAP_BYTES
            + Quantiles::MAX_HEAP_BYTES
            + 3 * Distinct::MAX_HEAP_BYTES
            + tops
    }
}

impl Tops {
    fn merge(&mut self, other: &Self) {
        self.qnames.merge(&other.qnames);
        self.zones.merge(&other.zones);
        self.clients.merge(&other.clients);
        self.processes.merge(&other.processes);
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + [&self.qnames, &self.zones, &self.clients, &self.processes]
                .iter()
                .map(|top| top.heap_bytes())
                .sum::<usize>()
    }

    const fn max_bytes(slots: TopSlots) -> usize {
        // As an IPv6 address is written; a name of 15 octets, of which each may be written as three.
        const ADDRESS: usize = 39;
        const COMM: usize = 45;
        size_of::<Self>()
            + Top::max_heap_bytes(slots.qnames, MAX_OCTETS)
            + Top::max_heap_bytes(slots.zones, MAX_OCTETS)
            + Top::max_heap_bytes(slots.clients, ADDRESS)
            + Top::max_heap_bytes(slots.processes, COMM)
    }
}

fn add_each<const N: usize>(sums: &mut [u64; N], more: &[u64; N]) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}
