//! Pairing stage: matches queries with responses and emits one [`Transaction`] for each.
//!
//! Input: decoded messages and ICMP errors. Output: transactions, passed to a callback. A pure state
//! machine that takes its time from the messages, so live traffic and capture files are paired
//! alike. The table is bounded, each event costs O(1), and each query and each response ends in
//! exactly one counter (identity 4 of the ledger).

mod answer_hash;
mod entry;
mod established_pairs;
mod intrusive_list;
mod key;
mod multicast;
mod orphan;
mod pairer;
mod response;
mod table;
mod texts;
mod transaction;
mod transfer;

pub use pairer::Pairer;
pub use texts::MessageTexts;
pub use transaction::{OrphanDetails, OrphanReason, Transaction};
pub use transfer::ZoneTransfer;

use crate::packet::Direction;
use dnscribe_record::named_enum;
use std::time::Duration;

named_enum! {
    /// Side of the exchange from which the packets were captured.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Vantage {
        /// At the client's socket.
        Client = "client",
        /// At the server's socket.
        Server = "server",
        /// Between the two.
        Passive = "passive",
    }
}

impl Vantage {
    /// Returns the vantage of a message captured in direction `sight`. A query leaves its client and
    /// arrives at its server; a response goes the other way.
    #[must_use]
    pub const fn from_direction(direction: Direction, response: bool) -> Self {
        match (direction, response) {
            (Direction::Egress, false) | (Direction::Ingress, true) | (Direction::Loopback, _) => {
                Self::Client
            }
            (Direction::Egress, true) | (Direction::Ingress, false) => Self::Server,
            (Direction::Passive, _) => Self::Passive,
        }
    }
}

named_enum! {
    /// Outcome of a transaction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Status {
        /// The response came within the query timeout.
        Answered = "answered",
        /// No response came within the query timeout.
        Timeout = "timeout",
        /// The response came after the query was reported as failed: timed out, unreachable or evicted.
        Late = "late",
        /// An ICMP error reported the server as unreachable.
        IcmpError = "icmp_error",
        /// A further response to an answered query.
        Duplicate = "duplicate",
        /// A response without a matching query.
        Orphan = "orphan",
        /// The query was removed because the table was full.
        Evicted = "evicted",
        /// The query was still waiting when the capture ended.
        Open = "open",
    }
}

/// Default time that a query waits for its response.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Limits of the pairing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// Time that a query waits for its response.
    pub query_timeout: Duration,
    /// Maximum number of waiting queries; beyond it, one is evicted for each new one.
    pub max_transactions: usize,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self { query_timeout: QUERY_TIMEOUT, max_transactions: 1 << 18 }
    }
}

impl PairOptions {
    /// Returns the memory limit of the table in bytes: 1 KiB for each query that may wait, at least
    /// 16 MiB. At the limit, ended transactions are forgotten first, then queries are evicted.
    #[must_use]
    pub const fn memory_limit_bytes(&self) -> usize {
        let wanted = self.max_transactions.saturating_mul(1024);
        let least = 16 << 20;
        if wanted > least { wanted } else { least }
    }
}

/// Time that an ended transaction is remembered, to recognize late and duplicate responses.
const ENDED_RETENTION: Duration = Duration::from_mins(1);

/// Maximum number of remembered transactions, separately for answered and failed ones.
const MAX_ENDED: usize = 1 << 16;

/// Maximum number of running zone transfers; beyond it, the oldest ends incomplete.
const MAX_TRANSFERS: usize = 256;

/// Maximum number of transactions visited where the pairing key is not known. Honest exchanges have
/// fewer under way, and a flood must not cause more work.
const MAX_SCAN: usize = 64;

/// Maximum number of queries visited to find one to evict.
const MAX_EVICTION_SCAN: usize = 8;

#[cfg(test)]
mod tests;
