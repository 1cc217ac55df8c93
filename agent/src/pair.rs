//! The third room: messages become transactions, each one query with its outcome.
//!
//! A pure state machine: time comes in with the messages, so capture files and live traffic are
//! paired alike. The table is bounded, every event costs O(1), and every query and every response
//! ends in exactly one counter (identity 4 of the ledger).

mod carry;
mod digest;
mod entry;
mod established;
mod key;
mod list;
mod multicast;
mod pairer;
mod resemblance;
mod response;
mod table;
mod transaction;
mod transfer;
mod wheel;

pub use carry::{Carried, Fate};
pub use pairer::Pairer;
pub use transaction::{OrphanReason, Stray, Transaction};
pub use transfer::Transfer;

use crate::capture::Sight;
use std::time::Duration;

/// From which side of the exchange the packets were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// At the socket that asks.
    Client,
    /// At the socket that answers.
    Server,
    /// Between the two.
    Passive,
}

impl Vantage {
    /// Every vantage, in the order of the contract.
    pub const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Passive];

    /// The side that a message was seen from: a query leaves its client and arrives at its
    /// server, a response does the opposite.
    #[must_use]
    pub const fn of(sight: Sight, response: bool) -> Self {
        match (sight, response) {
            (Sight::Egress, false) | (Sight::Ingress, true) | (Sight::Loopback, _) => Self::Client,
            (Sight::Egress, true) | (Sight::Ingress, false) => Self::Server,
            (Sight::Passive, _) => Self::Passive,
        }
    }

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Passive => "passive",
        }
    }
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Response paired in time.
    Answered,
    /// No response within the query timeout.
    Timeout,
    /// Response after its timeout record was written.
    Late,
    /// ICMP unreachable for the query.
    IcmpError,
    /// A further response to an answered query.
    Duplicate,
    /// Response with no query seen.
    Orphan,
    /// Pushed out of the full table.
    Evicted,
    /// Still waiting when capture stopped.
    Open,
}

impl Status {
    /// Every status, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Answered,
        Self::Timeout,
        Self::Late,
        Self::IcmpError,
        Self::Duplicate,
        Self::Orphan,
        Self::Evicted,
        Self::Open,
    ];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Timeout => "timeout",
            Self::Late => "late",
            Self::IcmpError => "icmp_error",
            Self::Duplicate => "duplicate",
            Self::Orphan => "orphan",
            Self::Evicted => "evicted",
            Self::Open => "open",
        }
    }
}

/// Bounds of the pairing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// How long a query waits for its response.
    pub query_timeout: Duration,
    /// Queries that may wait at a time; one is evicted when one more comes.
    pub max_transactions: usize,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self { query_timeout: Duration::from_secs(5), max_transactions: 1 << 18 }
    }
}

impl PairOptions {
    /// The most memory that the table takes, in octets: 1 KiB for each query that may wait, and not
    /// below 16 MiB. What is remembered of ended transactions is given up first, then queries are
    /// evicted.
    #[must_use]
    pub const fn memory_limit_bytes(&self) -> usize {
        let wanted = self.max_transactions.saturating_mul(1024);
        let least = 16 << 20;
        if wanted > least { wanted } else { least }
    }
}

/// How long an ended transaction is remembered, so that a further response is known for what it is.
const MEMORY: Duration = Duration::from_secs(60);

/// Ended transactions remembered at most: so many answered, and as many failed.
const MAX_REMEMBERED: usize = 1 << 16;

/// Zone transfers under way at most; the oldest is ended, incomplete, when one more begins.
const MAX_TRANSFERS: usize = 256;

/// How many transactions are looked at where the key does not tell: no honest exchange has so many
/// under way, and a flood must not buy more work than this.
const MAX_WALK: usize = 64;

/// Queries looked at for one that may be evicted.
const MAX_SPARED: usize = 8;

#[cfg(test)]
mod tests;
