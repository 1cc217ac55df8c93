//! Correlation stage: links the transactions that belong to one lookup.
//!
//! On the host of a resolver, one lookup is captured three times: leaving its client, arriving at the
//! resolver, and leaving the resolver for authoritative servers. Each of these names the previous one
//! as its parent. The queries that the resolver sends show whether its answer came from the cache.
//!
//! Input: queries that start transactions, and transactions. Output: [`TransactionLinks`] for each transaction. A
//! pure state machine that takes its time from the messages. All tables are bounded, each event costs
//! O(1), and what exceeds the capacity is counted and not linked. `docs/correlation.md` describes the
//! method and its limits.

mod cache;
mod client_queries;
mod correlator;
mod direct_mapped;
mod dual_stack;
mod name_hash;
mod pending_queries;
mod query;
mod tcp_fallback;
mod upstream;

use crate::decode::{Message, MessageId};
use crate::packet::sampling::{Change, Timeline};
use crate::pair::Transaction;
use correlator::Correlator;
use dnscribe_record::named_enum;
use tcp_fallback::TcpFallback;

named_enum! {
    /// How a transaction was matched with its parent, most reliable first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ParentMatch {
        /// Same query, captured at its other end.
        Exchange = "exchange",
        /// The resolver asks the question that it was asked.
        Question = "question",
        /// The resolver asks for the target of a CNAME of the name that it was asked for.
        Cname = "cname",
        /// The resolver repeats a question that it has just answered, to renew its cache.
        Prefetch = "prefetch",
        /// The resolver asks about the zone of the name or one above it: name minimization, delegations,
        /// keys.
        Ancestor = "ancestor",
        /// The only query waiting at the process, which had caused an upstream query before.
        Only = "only",
    }
}

named_enum! {
    /// Source of a resolver's answer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum AnswerSource {
        /// The cache.
        Hit = "hit",
        /// Other servers, queried first.
        Miss = "miss",
        /// Expired cache data, as the resolver reports (RFC 8767, RFC 8914).
        Stale = "stale",
        /// The resolver's own data: it sets AA and queried no other server.
        Local = "local",
    }
}

/// The transaction that caused another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Id of its query. A transaction with this query has been or will be emitted.
    pub id: MessageId,
    /// How it was matched.
    pub by: ParentMatch,
}

impl Parent {
    const fn new(id: MessageId, by: ParentMatch) -> Self {
        Self { id, by }
    }
}

/// Links of a transaction to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionLinks {
    /// The transaction that caused this one.
    pub parent: Option<Parent>,
    /// Source of the answer; at the resolver, and at its client if both are captured.
    pub cache: Option<AnswerSource>,
    /// Over TCP: the truncated UDP transaction that this one repeats.
    pub tcp_fallback_of: Option<MessageId>,
}

/// Counters of the correlation stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CorrelationCounters {
    /// Transactions with a parent, in the order of [`ParentMatch::ALL`].
    pub linked: [u64; ParentMatch::ALL.len()],
    /// Upstream queries of resolvers without a known parent.
    pub unlinked: u64,
    /// Answers of resolvers by source, in the order of [`AnswerSource::ALL`].
    pub cache: [u64; AnswerSource::ALL.len()],
    /// Queries and resolvers that exceeded the capacity, so that links are missing.
    pub overflowed: u64,
}

named_enum! {
    /// Which transactions are linked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum CorrelationMode: "a way to join", "give one of" {
        /// Transactions of each process or host that acts as a resolver.
        #[default]
        Auto = "auto",
        /// None, except for TCP after truncation.
        Off = "off",
    }
}

/// Links transactions of one lookup.
#[derive(Debug)]
pub struct CorrelateStage {
    fallback: TcpFallback,
    correlator: Option<Box<Correlator>>,
    sampling: Timeline,
}

impl CorrelateStage {
    /// Creates a stage without state.
    #[must_use]
    pub fn new(mode: CorrelationMode) -> Self {
        let correlator = (mode == CorrelationMode::Auto).then(Box::default);
        Self { fallback: TcpFallback::default(), correlator, sampling: Timeline::default() }
    }

    /// Handles a query that starts a transaction, that is, not a retransmission.
    pub fn start_transaction(&mut self, query: &Message<'_>) {
        if let Some(correlator) = &mut self.correlator
            && let Some(query) = correlator.read_query(query)
        {
            correlator.begin(&query);
        }
    }

    /// Handles an ended transaction. Returns its links.
    pub fn end_transaction(&mut self, transaction: &Transaction<'_>) -> TransactionLinks {
        let tcp_fallback_of = self.fallback.join(transaction);
        let whole = self.sees_all(transaction);
        let links = self
            .correlator
            .as_mut()
            .map(|correlator| correlator.end(transaction, whole))
            .unwrap_or_default();
        TransactionLinks { tcp_fallback_of, ..links }
    }

    /// Records that the sampling ratio has changed.
    pub fn note_sampling(&mut self, change: Change) {
        self.sampling.push(change);
    }

    /// Returns whether all queries were captured during this transaction. Only then does the absence
    /// of upstream queries prove anything.
    fn sees_all(&self, transaction: &Transaction<'_>) -> bool {
        let ends = transaction.query.zip(transaction.response);
        ends.is_none_or(|(query, response)| {
            self.sampling.max_cut(query.envelope.ts, response.envelope.ts) == 0
        })
    }

    /// Returns the counters.
    #[must_use]
    pub fn counters(&self) -> CorrelationCounters {
        self.correlator.as_ref().map(|correlator| correlator.counters()).unwrap_or_default()
    }

    /// Returns the number of waiting queries or of upstream queries, whichever is greater.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.correlator.as_ref().map_or(0, |correlator| correlator.waiting())
    }
}

#[cfg(test)]
mod tests;
