//! Queries that have recently left a client on this host and may arrive at a server on this host.

use super::direct_mapped::DirectMappedCache;
use super::query::Query;
use crate::decode::MessageId;
use dnscribe_record::time::Timestamp;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

/// Maximum time from leaving to arriving, including delays that a test adds between namespaces.
/// Later, ports and ids may have been reused.
const LIMIT: Duration = Duration::from_secs(5);

/// Number of sets; the hash of a query selects its set.
const SETS: usize = 1 << 10;

/// Queries per set; beyond it, the newest replaces the oldest.
const WAYS: usize = 8;

/// Number of replaced queries remembered, to count those that arrive later.
const REPLACED_SLOTS: usize = 1 << 14;

/// A query that left its client.
#[derive(Clone, Copy, Debug)]
struct SentQuery {
    hash: u64,
    id: MessageId,
    ts: Timestamp,
    scope: u64,
    server: SocketAddr,
}

#[derive(Clone, Copy, Debug, Default)]
struct CacheSet {
    sent: [Option<SentQuery>; WAYS],
    next: usize,
}

/// The most recent queries that left sockets of this host: a set-associative cache.
#[derive(Debug, Default)]
pub(super) struct ClientQueries {
    /// Empty until the first query.
    groups: Vec<CacheSet>,
    /// Hashes of queries that were replaced.
    replaced: DirectMappedCache<u64, (), REPLACED_SLOTS>,
    /// Queries that arrived after they were replaced.
    pub(super) overflowed: u64,
}

impl ClientQueries {
    /// Returns whether no query was ever captured leaving its client.
    pub(super) const fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn sent(&mut self, query: &Query) {
        if self.groups.is_empty() {
            self.groups.resize(SETS, CacheSet::default());
        }
        let hash = hash(query);
        let Some(group) = self.groups.get_mut(place(hash)) else { return };
        let Query { id, ts, scope, server, .. } = *query;
        if let Some(oldest) = group.sent.get_mut(group.next)
            && let Some(replaced) = oldest.replace(SentQuery { hash, id, ts, scope, server })
        {
            self.replaced.insert(replaced.hash, ());
        }
        group.next = (group.next + 1) % WAYS;
    }

    /// Returns the client's query that arrives as `query`.
    ///
    /// If the server's address was translated on the way (a Kubernetes service), the two differ in
    /// it. Then a query that matches in everything else is returned, if it is the only one.
    pub(super) fn arrived(&mut self, query: &Query) -> Option<MessageId> {
        let hash = hash(query);
        let found = self.find(query, hash);
        if found.is_none() && self.replaced.remove(&hash).is_some() {
            self.overflowed += 1;
        }
        found
    }

    fn find(&self, query: &Query, hash: u64) -> Option<MessageId> {
        let group = self.groups.get(place(hash))?;
        let fits = |sent: &&SentQuery| {
            sent.hash == hash && sent.ts <= query.ts && query.ts.since(sent.ts) <= LIMIT
        };
        let fitting = || group.sent.iter().flatten().filter(fits);
        // Each network namespace has its own loopback.
        let loopback = query.exchange.client.ip().is_loopback();
        let same_place = |sent: &&SentQuery| sent.scope == query.scope || !loopback;
        let exact = fitting().filter(|sent| sent.server == query.server).filter(same_place);
        exact.max_by_key(|sent| (sent.scope == query.scope, sent.ts)).map(|sent| sent.id).or_else(
            || {
                let mut translated = fitting().filter(same_place);
                let only = translated.next()?;
                translated.next().is_none().then_some(only.id)
            },
        )
    }
}

fn hash(query: &Query) -> u64 {
    FixedState::default().hash_one(query.exchange)
}

#[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
const fn place(hash: u64) -> usize {
    hash as usize % SETS
}
