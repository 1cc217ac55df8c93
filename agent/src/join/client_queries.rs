//! Queries that have just left a client of this host, and may arrive at a server of this host.

use super::note::Query;
use crate::decode::MessageId;
use crate::time::Timestamp;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

/// A query arrives at once, or after what a test puts between two namespaces; later, ports and ids
/// may have been used again.
const LIMIT: Duration = Duration::from_secs(5);

/// Groups of places: a query's group follows from what both ends know of it.
const GROUPS: usize = 512;

/// Queries of one group at most; then the newest takes the place of the oldest.
const GROUP: usize = 4;

/// A query that left.
#[derive(Clone, Copy, Debug)]
struct Sent {
    hash: u64,
    id: MessageId,
    ts: Timestamp,
    scope: u64,
    server: SocketAddr,
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    sent: [Option<Sent>; GROUP],
    next: usize,
}

/// The newest queries that left this host's sockets.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// Empty until the first query.
    groups: Vec<Group>,
}

impl Clients {
    /// Whether no query was ever seen to leave.
    pub(super) const fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn sent(&mut self, query: &Query) {
        if self.groups.is_empty() {
            self.groups.resize(GROUPS, Group::default());
        }
        let hash = hash(query);
        let Some(group) = self.groups.get_mut(place(hash)) else { return };
        let Query { id, ts, scope, server, .. } = *query;
        if let Some(oldest) = group.sent.get_mut(group.next) {
            *oldest = Some(Sent { hash, id, ts, scope, server });
        }
        group.next = (group.next + 1) % GROUP;
    }

    /// The query that arrives here as `query`.
    ///
    /// Where the server's address was translated on the way (a Kubernetes service), the ends do not
    /// agree on it: then the one query that fits in all else is meant, if it is the only one.
    pub(super) fn arrived(&self, query: &Query) -> Option<MessageId> {
        let hash = hash(query);
        let group = self.groups.get(place(hash))?;
        let fits = |sent: &&Sent| {
            sent.hash == hash && sent.ts <= query.ts && query.ts.since(sent.ts) <= LIMIT
        };
        let fitting = || group.sent.iter().flatten().filter(fits);
        // Every namespace has its own loopback.
        let loopback = query.exchange.client.ip().is_loopback();
        let same_place = |sent: &&Sent| sent.scope == query.scope || !loopback;
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
    hash as usize % GROUPS
}
