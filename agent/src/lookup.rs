//! What applications asked: transactions that one call made become one lookup.
//!
//! An application asks for the addresses of a name, and its stub resolver makes queries of that: A and
//! AAAA, each name of the search list, the next server after a timeout, TCP after truncation. A
//! [`Lookup`] tells what was asked, what came of it, how long the caller waited, and how many of
//! the queries contributed nothing. `docs/lookups.md` tells the method and its limits.
//!
//! A pure state machine: time comes in with the queries. A query is assigned when it is sent
//! ([`Lookups::begin`]), since a stub's next query follows from what it knows by then; its outcome comes
//! later ([`Lookups::observe`]). Each query that began belongs to exactly one lookup. Memory is
//! bounded, and what finds no room is given out early.

#![forbid(unsafe_code)]

mod fit;
mod index;
mod labels;
mod open;
mod outcome;
mod pods;
mod query;
mod slots;
mod suffixes;
mod table;
mod texts;
mod verdict;

pub use pods::{Packets, Pods};
pub use query::Query;
pub use table::Lookups;
pub use texts::Texts;

use crate::capture::Origin;
use crate::decode::MessageId;
use crate::enrich::Place;
use crate::pair::Vantage;
use crate::time::Timestamp;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// A stub goes on within this time after an answer, or it has ended.
const QUIET: Duration = Duration::from_millis(500);

/// The same where only the time tells that one query has to do with another.
const AT_ONCE: Duration = Duration::from_millis(50);

/// No stub waits shorter before it gives a query up and sends another with a new id.
const IMPATIENCE: Duration = Duration::from_millis(900);

/// The same of a query with the id of before.
const REPETITION: Duration = Duration::from_millis(200);

/// Stubs wait up to so long for an answer before they ask again: five seconds (resolv.conf(5)), for a
/// third server six.
const PATIENCE: Duration = Duration::from_secs(7);

/// How often stubs ask a server a question with ids of their own, unless told otherwise.
const ATTEMPTS: usize = 2;

/// Transactions of a lookup at most: the next one begins another. Six search domains, three servers and
/// two attempts make 84.
const MAX_TRANSACTIONS: usize = 256;

/// Addresses that a lookup lists.
const MAX_ADDRESSES: usize = 32;

/// CNAMEs that a lookup lists.
const MAX_CHAIN: usize = 16;

/// How a lookup ended. With several types it is the best end of any, in the order of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Records of a type that was asked for.
    Answered,
    /// The name exists, and has no such records (NOERROR; RFC 2308, 2.2).
    Nodata,
    /// The name does not exist (NXDOMAIN).
    Nxdomain,
    /// The answer did not fit into a datagram, and nobody asked over TCP.
    Truncated,
    /// The server failed (SERVFAIL).
    Servfail,
    /// The server did not want to answer (REFUSED).
    Refused,
    /// Another code: FORMERR, NOTIMP and so on.
    Error,
    /// The server could not be reached, as ICMP told.
    Unreachable,
    /// No answer within the query timeout.
    Timeout,
    /// Unknown: the capture stopped, or a table was full, before anything was decided.
    Open,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Answered,
        Self::Nodata,
        Self::Nxdomain,
        Self::Truncated,
        Self::Servfail,
        Self::Refused,
        Self::Error,
        Self::Unreachable,
        Self::Timeout,
        Self::Open,
    ];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Nodata => "nodata",
            Self::Nxdomain => "nxdomain",
            Self::Truncated => "truncated",
            Self::Servfail => "servfail",
            Self::Refused => "refused",
            Self::Error => "error",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Open => "open",
        }
    }

    /// Whether a server said whether there are such records.
    #[must_use]
    pub const fn is_definitive(self) -> bool {
        matches!(self, Self::Answered | Self::Nodata | Self::Nxdomain)
    }
}

/// The process that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Its name.
    pub comm: Box<str>,
    /// The executable's path.
    pub exe: Option<Box<str>>,
}

/// The container of the process that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// 64 hex digits.
    pub id: Box<str>,
    /// What runs it.
    pub runtime: Option<&'static str>,
    /// The uid of its pod.
    pub pod_uid: Option<Box<str>>,
    /// Its pod.
    pub place: Option<Place>,
}

/// What an application asked, and what came of it. Fields are named as in `dns.lookup/1`, which
/// defines them.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Its first query.
    pub id: MessageId,
    /// When that was sent.
    pub ts: Timestamp,
    /// The side that it was seen from.
    pub vantage: Vantage,
    /// Who asked.
    pub client: IpAddr,
    /// The servers' names, in the order in which they were asked first.
    pub resolvers: Texts,
    /// What the application asked for, as far as that can be told.
    pub qname: String,
    /// The class asked for.
    pub qclass: u16,
    /// The types asked for, in the order of their first queries.
    pub qtypes: Vec<u16>,
    /// The names asked for, in order; those of CNAMEs' targets not among them.
    pub names: Texts,
    /// The name that had records.
    pub answered_name: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Answered, but for one of A and AAAA no server said whether there are any.
    pub partial: bool,
    /// The extended code of the response that decided it.
    pub rcode: Option<u16>,
    /// The names that CNAMEs led to.
    pub cname_chain: Texts,
    /// The addresses found, the first [`MAX_ADDRESSES`] of them.
    pub addresses: Texts,
    /// How many address records there were.
    pub address_count: u32,
    /// From the first query to the last response that the caller needed.
    pub duration: Duration,
    /// Queries with their outcomes, resent ones not counted again.
    pub transactions: u32,
    /// Query messages sent.
    pub packets: u32,
    /// Those of them that contributed nothing.
    pub packets_wasted: u32,
    /// Names asked for beside `qname`.
    pub search_expansions: u32,
    /// Query messages that repeated a question.
    pub retries: u32,
    /// Different servers asked.
    pub servers_tried: u32,
    /// Whether TCP followed a truncated answer.
    pub tcp_fallback: bool,
    /// All its transactions, in the order of their queries.
    pub members: Vec<MessageId>,
    /// Given out before its end, or a query of it was given up early, for want of room.
    pub evicted: bool,
    /// Who asked, where that is known.
    pub process: Option<Asker>,
    /// Its container.
    pub container: Option<Home>,
    /// `namespace/pod`, else the container's id.
    pub pod: Option<Box<str>>,
}

impl Lookup {
    /// Room for one.
    const fn empty() -> Self {
        Self {
            id: MessageId { origin: Origin { cpu: 0, seq: 0 }, index: 0 },
            ts: Timestamp::from_nanos(0),
            vantage: Vantage::Passive,
            client: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            resolvers: Texts::EMPTY,
            qname: String::new(),
            qclass: 0,
            qtypes: Vec::new(),
            names: Texts::EMPTY,
            answered_name: None,
            outcome: Outcome::Open,
            partial: false,
            rcode: None,
            cname_chain: Texts::EMPTY,
            addresses: Texts::EMPTY,
            address_count: 0,
            duration: Duration::ZERO,
            transactions: 0,
            packets: 0,
            packets_wasted: 0,
            search_expansions: 0,
            retries: 0,
            servers_tried: 0,
            tcp_fallback: false,
            members: Vec::new(),
            evicted: false,
            process: None,
            container: None,
            pod: None,
        }
    }
}

/// Bounds of the lookups under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupOptions {
    /// How long a query waits for its response: when a timeout was known.
    pub query_timeout: Duration,
    /// Lookups at a time; the oldest is given out early when one more begins.
    pub max_lookups: usize,
    /// Octets of memory; the same.
    pub max_bytes: usize,
}

impl LookupOptions {
    /// Five seconds; 64 MiB for 131,072 lookups at most.
    pub const DEFAULT: Self =
        Self { query_timeout: Duration::from_secs(5), max_lookups: 1 << 17, max_bytes: 64 << 20 };
}

/// What all lookups came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupCounters {
    /// Lookups that ended, as in [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Their query messages.
    pub packets: Pods,
    /// Lookups given out early for want of room.
    pub evicted: u64,
    /// Lookups under way.
    pub open: u64,
}

#[cfg(test)]
mod tests;
