//! Counts and sketches of one group in a window. Tallies of different spans or nodes can be merged.

use super::bounds::{ENTROPY, LABEL_LENGTHS, MIN_TTL};
use super::counts::BoundedCounts;
use super::measured::Measured;
use super::not_exported::{NotExported, SampledCount};
use dnscribe_record::Merge;
use dnscribe_sketch::{DistinctSketch, Hashed, MAX_VALUE_BYTES, QuantileSketch, TopSketch};
use dnscribe_transaction::correlate::AnswerSource;
use dnscribe_transaction::pair::Status;

dnscribe_record::merged_struct! {
    /// Counts and sketches of a group.
    #[derive(Clone, Debug, Default)]
    pub struct Tally {
        /// All transactions.
        pub transactions: u64,
        /// Whether `other` may contain further transactions of the group, because it had no slot in
        /// some panes of the window.
        pub undercounted: bool,
        /// Queries answered with NOERROR or NXDOMAIN.
        pub successes: u64,
        /// Transactions by status, in the order of [`Status`].
        pub statuses: [u64; Status::ALL.len()],
        /// Transactions without an answer because this host lost the messages.
        pub lost_here: u64,
        /// Responses by extended response code.
        pub rcodes: BoundedCounts,
        /// Queries by type.
        pub qtypes: BoundedCounts,
        /// Retries.
        pub retries: u64,
        /// Responses with the TC bit.
        pub truncated: u64,
        /// Answers over TCP after truncation over UDP.
        pub tcp_fallbacks: u64,
        /// Queries with the DO bit (DNSSEC).
        pub dnssec_ok: u64,
        /// Queries with a client subnet (RFC 7871).
        pub client_subnets: u64,
        /// Answers from a resolver's cache.
        pub cache_hits: u64,
        /// Answers for which the resolver queried other servers.
        pub cache_misses: u64,
        /// Duplicate responses with different content.
        pub conflicts: u64,
        /// Bytes of the queries.
        pub query_bytes: u64,
        /// Bytes of the responses.
        pub response_bytes: u64,
        /// Latencies of answered queries, in milliseconds.
        pub latency: QuantileSketch,
        /// Distinct names.
        pub qnames: DistinctSketch,
        /// Distinct clients.
        pub clients: DistinctSketch,
        /// Distinct resolvers (fan-out).
        pub resolvers: DistinctSketch,
        /// Names by entropy.
        pub entropy: [u64; ENTROPY.len() + 1],
        /// Labels by length.
        pub label_lengths: [u64; LABEL_LENGTHS.len() + 1],
        /// Responses by smallest TTL.
        pub min_ttl: [u64; MIN_TTL.len() + 1],
        /// Estimates how many transactions the sampled ones represent.
        pub sampled: SampledCount,
        /// Messages that were not exported, if any; in the groupings `node` and `resolver`.
        pub not_exported: Option<Box<NotExported>>,
        /// Most frequent names, zones, clients and processes, in groupings that keep them.
        pub tops: Option<Box<Tops>>,
    }
}

/// Distinct-count sketches of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DistinctField {
    Qname,
    Client,
    Resolver,
}

dnscribe_record::merged_struct! {
    /// Most frequent values of a group.
    #[derive(Clone, Debug)]
    pub struct Tops {
        /// Names.
        pub qnames: TopSketch,
        /// Zones.
        pub zones: TopSketch,
        /// Client addresses.
        pub clients: TopSketch,
        /// Processes.
        pub processes: TopSketch,
    }
}

/// Sizes of the tables of [`Tops`], as powers of two, in the order of its fields; see
/// [`TopSketch::new`].
pub type TopSlots = [u8; 4];

impl Tally {
    /// Creates an empty tally with tables of the most frequent values.
    #[must_use]
    pub fn with_tops(slots: TopSlots) -> Self {
        let [qnames, zones, clients, processes] = slots.map(TopSketch::new);
        let tops = Tops { qnames, zones, clients, processes };
        Self { tops: Some(Box::new(tops)), ..Self::default() }
    }

    /// Counts a transaction, except for the most frequent values. `is_new` returns whether a value,
    /// given with its hash, may be new to the group.
    pub(super) fn add(
        &mut self,
        measured: &Measured,
        mut is_new: impl FnMut(DistinctField, Hashed, u64) -> bool,
    ) {
        self.transactions += 1;
        self.sampled.add(measured.sample_ratio);
        self.statuses[measured.status as usize] += 1;
        self.lost_here += u64::from(measured.lost_here);
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
            Some(AnswerSource::Hit | AnswerSource::Stale) => self.cache_hits += 1,
            Some(AnswerSource::Miss) => self.cache_misses += 1,
            // Local data of a server is not cached.
            Some(AnswerSource::Local) | None => {}
        }
        self.conflicts += u64::from(measured.conflict);
        self.query_bytes += u64::from(measured.query_bytes);
        self.response_bytes += measured.response_bytes;
        if let Some(latency) = measured.latency {
            self.latency.add(latency);
        }
        if let Some(qname) = measured.qname
            && is_new(DistinctField::Qname, qname, measured.qname_hash)
        {
            self.qnames.add(qname);
        }
        if is_new(DistinctField::Client, measured.client, measured.client_hash) {
            self.clients.add(measured.client);
        }
        if is_new(DistinctField::Resolver, measured.resolver, measured.resolver_hash) {
            self.resolvers.add(measured.resolver);
        }
        if let Some(bucket) = measured.entropy {
            self.entropy[usize::from(bucket)] += 1;
        }
        self.label_lengths.merge(&measured.labels.map(u64::from));
        if let Some(bucket) = measured.min_ttl {
            self.min_ttl[usize::from(bucket)] += 1;
        }
    }

    /// Counts messages that were not exported.
    pub fn add_not_exported(&mut self, not_exported: &NotExported) {
        self.not_exported.get_or_insert_default().merge(not_exported);
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.rcodes.heap_bytes()
            + self.qtypes.heap_bytes()
            + self.latency.heap_bytes()
            + self.qnames.heap_bytes()
            + self.clients.heap_bytes()
            + self.resolvers.heap_bytes()
            + self.not_exported.as_ref().map_or(0, |not_exported| size_of_val(&**not_exported))
            + self.tops.as_ref().map_or(0, |tops| tops.bytes())
    }

    /// Maximum of [`Self::bytes`].
    #[must_use]
    pub const fn max_bytes(tops: Option<TopSlots>) -> usize {
        // Groupings with tops are those that count messages that were not exported.
        let tops = match tops {
            Some(slots) => Tops::max_bytes(slots) + size_of::<NotExported>(),
            None => 0,
        };
        size_of::<Self>()
            + 2 * BoundedCounts::MAX_HEAP_BYTES
            + QuantileSketch::MAX_HEAP_BYTES
            + 3 * DistinctSketch::MAX_HEAP_BYTES
            + tops
    }
}

impl Tops {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + [&self.qnames, &self.zones, &self.clients, &self.processes]
                .iter()
                .map(|top| top.heap_bytes())
                .sum::<usize>()
    }

    const fn max_bytes(slots: TopSlots) -> usize {
        // Length of an IPv6 address as text; length of a process name of 15 bytes, each of which
        // may be written as three.
        const ADDRESS: usize = 39;
        const COMM: usize = 45;
        const VALUES: [usize; 4] = [MAX_VALUE_BYTES, MAX_VALUE_BYTES, ADDRESS, COMM];
        let (mut bytes, mut number) = (size_of::<Self>(), 0);
        while number < VALUES.len() {
            bytes += TopSketch::max_heap_bytes(slots[number], VALUES[number]);
            number += 1;
        }
        bytes
    }
}
