//! Servers in common use.

use crate::detect::attribution::{combine_hashes, hash_address, share};
use crate::detect::rolling::{BloomFilter, Rolling};
use crate::detect::table::AssociativeTable;
use dnscribe_record::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

const MAX_SERVERS: usize = 1024;
/// Half of the look-back.
const SPAN: Duration = Duration::from_hours(1);
/// Minimum number of queries before any server is unusual,
const MIN_QUERIES: u64 = 200;
/// and of clients that sent them.
const MIN_CLIENTS: u64 = 4;

/// Distinct clients that put a server in common use.
const COMMON_CLIENTS: u64 = 3;
/// Share of all queries that puts a server in common use, if more than one client uses it.
const COMMON_SHARE: f64 = 0.2;

/// Number of queries and clients of each server.
#[derive(Debug, Default)]
pub(super) struct ServerUsage {
    servers: AssociativeTable<Rolling<Counts>, MAX_SERVERS>,
    all: Rolling<Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    queries: u64,
    clients: u64,
    seen: BloomFilter<4>,
}

impl ServerUsage {
    /// Records a query or connection to `server` by the client with hash `client`.
    pub(super) fn record(&mut self, server: IpAddr, client: u64, ts: Timestamp, encrypted: bool) {
        if !encrypted {
            count(&mut self.all, client, ts);
        }
        count(self.servers.entry(key(server, encrypted), ts, Rolling::default), client, ts);
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.all.roll(now, SPAN);
        self.servers.values_mut().for_each(|counts| counts.roll(now, SPAN));
        self.servers.age(now, SPAN * 2);
    }

    /// Returns whether enough traffic was seen to tell what is usual.
    pub(super) fn is_ready(&self) -> bool {
        self.all.sum(|counts| counts.queries) >= MIN_QUERIES && clients(&self.all) >= MIN_CLIENTS
    }

    /// Returns whether a server is in common use. For encrypted DNS, heavy use by a single program
    /// does not count.
    pub(super) fn is_common(&self, server: IpAddr, encrypted: bool) -> bool {
        let Some(server) = self.servers.get(key(server, encrypted)) else { return false };
        let queries = |counts: &Counts| counts.queries;
        let share = share(server.sum(queries), self.all.sum(queries));
        let clients = clients(server);
        clients >= COMMON_CLIENTS || (!encrypted && clients > 1 && share >= COMMON_SHARE)
    }
}

fn count(counts: &mut Rolling<Counts>, client: u64, ts: Timestamp) {
    counts.roll(ts, SPAN);
    let counts = &mut counts.current;
    counts.queries += 1;
    counts.clients += u64::from(counts.seen.insert(client));
}

/// Returns the number of distinct clients in the span that had more.
fn clients(counts: &Rolling<Counts>) -> u64 {
    counts.current.clients.max(counts.previous.clients)
}

fn key(server: IpAddr, encrypted: bool) -> u64 {
    combine_hashes(hash_address(server), u64::from(encrypted))
}
