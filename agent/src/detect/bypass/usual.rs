//! Which servers are in common use.

use super::BypassOptions;
use crate::detect::table::{Halves, Seen, Table};
use crate::detect::who::{both, hash_of_address, share};
use crate::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// Servers at a time.
const SERVERS: usize = 1024;
/// Half of the look back.
const SPAN: Duration = Duration::from_secs(3600);
/// Nothing is unusual before so many queries
const LEAST_QUERIES: u64 = 200;
/// of so many askers.
const LEAST_ASKERS: u64 = 4;

/// Who is asked by how many, and how often.
#[derive(Debug)]
pub(super) struct Usual {
    servers: Table<Halves<Counts>>,
    all: Halves<Counts>,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    queries: u64,
    askers: u64,
    seen: Seen<4>,
}

impl Default for Usual {
    fn default() -> Self {
        Self { servers: Table::new(SERVERS), all: Halves::default() }
    }
}

impl Usual {
    /// A server is asked.
    pub(super) fn take(&mut self, server: IpAddr, who: u64, ts: Timestamp, encrypted: bool) {
        if !encrypted {
            count(&mut self.all, who, ts);
        }
        count(self.servers.entry(key(server, encrypted), ts, Halves::default), who, ts);
    }

    pub(super) fn roll(&mut self, now: Timestamp) {
        self.all.roll(now, SPAN);
        self.servers.values_mut().for_each(|halves| halves.roll(now, SPAN));
        self.servers.age(now, SPAN * 2);
    }

    /// Whether enough was seen to tell what is usual.
    pub(super) fn is_ready(&self) -> bool {
        let Halves { now, before, .. } = &self.all;
        now.queries + before.queries >= LEAST_QUERIES
            && now.askers.max(before.askers) >= LEAST_ASKERS
    }

    /// Whether a server is in common use. Encrypted, what one program makes much use of is still that one
    /// program's.
    pub(super) fn is_common(
        &self,
        server: IpAddr,
        encrypted: bool,
        options: &BypassOptions,
    ) -> bool {
        let Some(halves) = self.servers.get(key(server, encrypted)) else { return false };
        let Halves { now, before, .. } = halves;
        let queries = now.queries + before.queries;
        let of_all = share(queries, self.all.now.queries + self.all.before.queries);
        let askers = now.askers.max(before.askers);
        askers >= options.common_askers
            || (!encrypted && askers > 1 && of_all >= options.common_share)
    }

    pub(super) fn bytes(&self) -> usize {
        self.servers.bytes(|_| 0)
    }
}

fn count(halves: &mut Halves<Counts>, who: u64, ts: Timestamp) {
    halves.roll(ts, SPAN);
    let counts = &mut halves.now;
    counts.queries += 1;
    if !counts.seen.has(who) {
        counts.seen.insert(who);
        counts.askers += 1;
    }
}

fn key(server: IpAddr, encrypted: bool) -> u64 {
    both(hash_of_address(server), u64::from(encrypted))
}
