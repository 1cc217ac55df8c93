//! Groups the transactions of one resolver call of an application into a lookup.
//!
//! For one call a stub resolver sends several queries: A and AAAA, each name of the search list,
//! the next server after a timeout, TCP after truncation. A [`Lookup`] states what was asked, the
//! outcome, the caller's waiting time, and how many queries contributed nothing. `docs/lookups.md`
//! describes the method and its limits.
//!
//! A pure state machine: time comes with the queries. A query is assigned when it is sent
//! ([`Lookups::begin`]), since the stub's next query depends on what it knows by then; its outcome
//! comes later ([`Lookups::observe`]). Each query belongs to exactly one lookup. Memory is bounded;
//! when it is exhausted, the oldest lookup is emitted early.

#![forbid(unsafe_code)]

mod matching;
mod index;
mod labels;
mod state;
mod outcome;
mod pods;
mod query;
mod slots;
mod suffixes;
mod table;
mod texts;
mod result;

pub use pods::{PacketCounts, PacketsByPod};
pub use query::Query;
pub use table::LookupTable;
pub use texts::TextList;

use crate::capture::PacketId;
use crate::decode::MessageId;
use crate::enrich::PodRef;
use crate::pair::Vantage;
use dnscribe_record::time::Timestamp;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Longest pause of a stub after an answer; then the lookup has ended.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause if only the time connects two queries.
const MAX_PAUSE_BY_TIME: Duration = Duration::from_millis(50);

/// Shortest timeout after which a stub sends another query with a new id.
const MIN_RETRY_TIMEOUT: Duration = Duration::from_millis(900);

/// Shortest timeout after which a stub repeats a query with the same id.
const MIN_REPEAT_TIMEOUT: Duration = Duration::from_millis(200);

/// Longest timeout of a stub: five seconds (resolv.conf(5)), six for a third server.
const MAX_STUB_TIMEOUT: Duration = Duration::from_secs(7);

/// Default number of queries with different ids that a stub sends to a server for one question.
const DEFAULT_ATTEMPTS: usize = 2;

/// Most transactions of a lookup; further ones begin another. Six search domains, three servers and
/// two attempts make 84.
const MAX_TRANSACTIONS: usize = 256;

/// Most addresses in a lookup.
const MAX_ADDRESSES: usize = 32;

/// Most CNAMEs in a lookup.
const MAX_CHAIN: usize = 16;

/// How a lookup ended. With several types it is the best outcome of any, in the order of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Records of a requested type.
    Answered,
    /// The name exists but has no records of the type (NOERROR; RFC 2308, 2.2).
    Nodata,
    /// The name does not exist (NXDOMAIN).
    Nxdomain,
    /// The answer did not fit into a datagram, and no query over TCP followed.
    Truncated,
    /// The server failed (SERVFAIL).
    Servfail,
    /// The server refused (REFUSED).
    Refused,
    /// Another code: FORMERR, NOTIMP and so on.
    Error,
    /// The server could not be reached, as reported by ICMP.
    Unreachable,
    /// No answer within the query timeout.
    Timeout,
    /// Unknown: the capture ended, or a table was full, before the outcome.
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

    /// Returns the name in records.
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

    /// Returns whether a server stated if the records exist.
    #[must_use]
    pub const fn is_definitive(self) -> bool {
        matches!(self, Self::Answered | Self::Nodata | Self::Nxdomain)
    }
}

/// The process of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Process name.
    pub comm: Box<str>,
    /// The executable's path.
    pub exe: Option<Box<str>>,
}

/// The container of a lookup's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// Container id, 64 hexadecimal digits.
    pub id: Box<str>,
    /// Container runtime.
    pub runtime: Option<&'static str>,
    /// The pod's uid.
    pub pod_uid: Option<Box<str>>,
    /// The pod.
    pub pod: Option<PodRef>,
}

/// A lookup of an application. The fields are defined in `dns.lookup/1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup {
    /// Id of its first query.
    pub id: MessageId,
    /// Time of its first query.
    pub ts: Timestamp,
    /// The side that was observed.
    pub vantage: Vantage,
    /// Address of the client.
    pub client: IpAddr,
    /// Names of the servers, in the order of their first queries.
    pub resolvers: TextList,
    /// The name that the application asked for, as far as it can be derived.
    pub qname: String,
    /// The class of the queries.
    pub qclass: u16,
    /// The types of the queries, in the order of their first queries.
    pub qtypes: Vec<u16>,
    /// The names of the queries in order, without those of CNAME targets.
    pub names: TextList,
    /// The name with records.
    pub answered_name: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it was answered, but without a definitive answer for one of A and AAAA.
    pub partial: bool,
    /// Extended rcode of the deciding response.
    pub rcode: Option<u16>,
    /// The targets of the CNAMEs.
    pub cname_chain: TextList,
    /// The first [`MAX_ADDRESSES`] addresses found.
    pub addresses: TextList,
    /// Number of address records found.
    pub address_count: u32,
    /// From the first query to the last response that the caller needed.
    pub duration: Duration,
    /// Number of transactions. Retransmissions belong to the first query's transaction.
    pub transactions: u32,
    /// Query messages sent.
    pub packets: u32,
    /// Query messages that contributed nothing.
    pub packets_wasted: u32,
    /// Number of names other than `qname`.
    pub search_expansions: u32,
    /// Query messages that repeated a question.
    pub retries: u32,
    /// Number of servers asked.
    pub servers_tried: u32,
    /// Whether a query over TCP followed a truncated answer.
    pub tcp_fallback: bool,
    /// Ids of its transactions in the order of their queries.
    pub members: Vec<MessageId>,
    /// Whether the lookup, or one of its transactions, was evicted before its end.
    pub evicted: bool,
    /// The process, if known.
    pub process: Option<Process>,
    /// Its container, if known.
    pub container: Option<ContainerRef>,
    /// `namespace/pod`, or the container's id.
    pub pod: Option<Box<str>>,
}

impl Lookup {
    /// Returns an empty lookup, to be filled.
    const fn empty() -> Self {
        Self {
            id: MessageId { packet: PacketId { cpu: 0, seq: 0 }, index: 0 },
            ts: Timestamp::from_nanos(0),
            vantage: Vantage::Passive,
            client: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            resolvers: TextList::EMPTY,
            qname: String::new(),
            qclass: 0,
            qtypes: Vec::new(),
            names: TextList::EMPTY,
            answered_name: None,
            outcome: Outcome::Open,
            partial: false,
            rcode: None,
            cname_chain: TextList::EMPTY,
            addresses: TextList::EMPTY,
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

/// Limits of the open lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupOptions {
    /// Timeout of a query; dates the timeouts reported by pairing.
    pub query_timeout: Duration,
    /// Most open lookups. The oldest is evicted for a new one.
    pub max_lookups: usize,
    /// Most memory in bytes. The oldest lookups are evicted above it.
    pub max_bytes: usize,
}

impl LookupOptions {
    /// A timeout of five seconds, and 131,072 lookups in 64 MiB.
    pub const DEFAULT: Self =
        Self { query_timeout: Duration::from_secs(5), max_lookups: 1 << 17, max_bytes: 64 << 20 };
}

/// Counters of all lookups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupCounters {
    /// Ended lookups, indexed like [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Query messages by pod.
    pub packets: PacketsByPod,
    /// Lookups evicted because a limit was reached.
    pub evicted: u64,
    /// Open lookups.
    pub open: u64,
}

#[cfg(test)]
mod tests;
