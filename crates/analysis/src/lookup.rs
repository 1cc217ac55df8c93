//! Groups the transactions of one resolver call of an application into a lookup.
//!
//! For one call a stub resolver sends several queries: A and AAAA, each name of the search list,
//! the next server after a timeout, TCP after truncation. A [`Lookup`] states what was asked, the
//! outcome, the caller's waiting time, and how many queries contributed nothing. `docs/lookups.md`
//! describes the method and its limits.
//!
//! A pure state machine: time comes with the queries. A query is assigned when it is sent
//! ([`LookupTable::begin`]), since the stub's next query depends on what it knows by then; its outcome
//! comes later ([`LookupTable::observe`]). Each query belongs to exactly one lookup. Memory is bounded;
//! when it is exhausted, the oldest lookup is emitted early.

mod matching;
mod index;
mod labels;
mod state;
mod pods;
mod query;
mod suffixes;
mod table;
mod result;

use dnscribe_dns::rcode::{NOERROR, NXDOMAIN, REFUSED, SERVFAIL};
pub use pods::{PacketCounts, PacketsByPod};
pub use query::Query;
pub use table::{LookupRef, LookupTable};

use crate::attribution::Attribution;
use crate::view::TransactionView;
use dnscribe_dns::Answer;
use dnscribe_dns::rtype::ANY;
use dnscribe_record::LookupFields;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::packet::Transport;
use dnscribe_transaction::pair::{QUERY_TIMEOUT, Status, Vantage};
use smallvec::SmallVec;
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

const MAX_ADDRESSES: usize = 32;

const MAX_CHAIN: usize = 16;

/// Most names in `names_tried`.
const MAX_NAMES: usize = 32;

dnscribe_record::named_enum! {
    /// How a lookup ended. With several types it is the best outcome of any, in the order of this list.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Outcome {
        /// Records of a requested type.
        Answered = "answered",
        /// The name exists but has no records of the type (NOERROR; RFC 2308, 2.2).
        Nodata = "nodata",
        /// The name does not exist (NXDOMAIN).
        Nxdomain = "nxdomain",
        /// The answer did not fit into a datagram, and no query over TCP followed.
        Truncated = "truncated",
        /// The server failed (SERVFAIL).
        Servfail = "servfail",
        /// The server refused (REFUSED).
        Refused = "refused",
        /// Another code: FORMERR, NOTIMP and so on.
        Error = "error",
        /// The server could not be reached, as reported by ICMP.
        Unreachable = "unreachable",
        /// No answer within the query timeout. One that the kernel of this host discarded is none.
        Timeout = "timeout",
        /// Unknown: the capture ended, or a table was full, before the outcome.
        Open = "open",
    }
}

impl Outcome {
    /// Returns whether a server stated if the records exist.
    #[must_use]
    pub const fn is_definitive(self) -> bool {
        matches!(self, Self::Answered | Self::Nodata | Self::Nxdomain)
    }

    /// Returns the outcome of a transaction for its question.
    fn of_transaction(observation: &TransactionView<'_>) -> Self {
        let is_truncated = observation.transport == Transport::Udp && observation.truncated();
        Self::new(observation.status, observation.rcode, is_truncated, || has_records(observation))
    }

    /// Returns the outcome of a transaction. `is_truncated`: an answer over UDP with the TC bit; `has_records`: the
    /// answer has records that were asked for.
    #[must_use]
    pub fn new(
        status: Status,
        rcode: Option<u16>,
        is_truncated: bool,
        has_records: impl FnOnce() -> bool,
    ) -> Self {
        match status {
            Status::Timeout => Self::Timeout,
            Status::IcmpError => Self::Unreachable,
            Status::Evicted | Status::Open => Self::Open,
            Status::Answered | Status::Late | Status::Duplicate | Status::Orphan => match rcode {
                _ if is_truncated => Self::Truncated,
                Some(NOERROR) if has_records() => Self::Answered,
                Some(NOERROR) => Self::Nodata,
                Some(NXDOMAIN) => Self::Nxdomain,
                Some(SERVFAIL) => Self::Servfail,
                Some(REFUSED) => Self::Refused,
                _ => Self::Error,
            },
        }
    }
}

/// Returns the transaction as its program knows it, if the kernel of this host discarded the answer: without one. Whoever
/// closed its socket first did not wait for the answer.
fn without_lost_answer<'a>(observation: &TransactionView<'a>) -> Option<TransactionView<'a>> {
    // The loss of a query that was sent again may be that of another answer.
    let lost = observation.lost.filter(|lost| lost.is_response && observation.retries == 0)?;
    let function = lost.loss.function.as_deref();
    let is_closed = &*lost.loss.reason == "NO_SOCKET" || function == Some("udp_destruct_common");
    let is_answer = matches!(observation.status, Status::Answered | Status::Late) && !is_closed;
    is_answer.then_some(TransactionView {
        status: Status::Timeout,
        rcode: None,
        response_ts: None,
        ..*observation
    })
}

/// Returns whether the answer has records of the type. For clipped answers the header's count
/// decides.
fn has_records(observation: &TransactionView<'_>) -> bool {
    let TransactionView { answers, qtype, .. } = observation;
    let kept = u16::try_from(answers.len()).unwrap_or(u16::MAX);
    let is_wanted = |answer: Answer<'_>| *qtype == Some(ANY) || *qtype == Some(answer.rtype);
    answers.iter().any(is_wanted) || observation.answer_count.is_some_and(|count| count > kept)
}

/// A list with inline capacity for what most lookups have.
pub type Few<T> = SmallVec<[T; 4]>;

/// A lookup of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct Lookup<'a> {
    /// Id of its first query.
    pub id: MessageId,
    /// Time of its first query.
    pub ts: Timestamp,
    /// The side that was observed.
    pub vantage: Vantage,
    /// The types of the queries, in the order of their first queries.
    pub qtypes: Few<u16>,
    /// The names of the queries in order, without those of CNAME targets.
    pub names: Few<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// What its record says of it.
    pub fields: LookupFields<'a>,
    /// Ids of its transactions in the order of their queries.
    pub members: Few<MessageId>,
    /// Whether the lookup, or one of its transactions, was evicted before its end.
    pub evicted: bool,
    /// The process with its container and pod; empty if the process is unknown.
    pub attribution: &'a Attribution,
    /// `namespace/pod`, or the container's id.
    pub pod: Option<&'a str>,
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
        Self { query_timeout: QUERY_TIMEOUT, max_lookups: 1 << 17, max_bytes: 64 << 20 };
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
