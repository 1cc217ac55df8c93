//! Between the third room and the records: transactions of one lookup are tied to each other.
//!
//! On a host with a resolver, one lookup is seen three times: leaving its client, arriving at the
//! resolver, and leaving it again for those who know. Each of the three names the one before it as
//! its parent, and from what a resolver had to ask follows whether it knew the answer.
//!
//! A pure state machine: time comes in with the messages. Every table is bounded, every event costs
//! O(1), and what finds no room is counted and merely goes without its link. `docs/joining.md`
//! tells the method and its limits.

#![forbid(unsafe_code)]

mod asks;
mod cache;
mod clients;
mod fallback;
mod name;
mod note;
mod recent;
mod twins;
mod upstream;
mod views;

use crate::capture::sampling::{Change, Timeline};
use crate::decode::{Message, MessageId};
use crate::pair::Transaction;
use fallback::Fallback;
use views::Views;

/// What tells that a transaction belongs to its parent, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// It is the parent itself, seen from its other end.
    Exchange,
    /// The resolver asks what it was asked.
    Question,
    /// The resolver asks for the target of a CNAME of the name that it was asked for.
    Cname,
    /// The resolver asks again what it has just answered: it renews its cache.
    Prefetch,
    /// The resolver asks about that name's own zone or one above it: name minimisation, delegations,
    /// keys.
    Ancestor,
    /// No other query waited at that process, and for this one it had asked before.
    Only,
}

impl Match {
    /// Every way to match.
    pub const ALL: [Self; 6] =
        [Self::Exchange, Self::Question, Self::Cname, Self::Prefetch, Self::Ancestor, Self::Only];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Question => "question",
            Self::Cname => "cname",
            Self::Prefetch => "prefetch",
            Self::Ancestor => "ancestor",
            Self::Only => "only",
        }
    }
}

/// Where a resolver had an answer from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// It was there before the query came.
    Hit,
    /// Others were asked first.
    Miss,
    /// It was there and past its time, as the resolver says (RFC 8767, RFC 8914).
    Stale,
    /// It is the resolver's own: it says so (AA) and asked nobody.
    Local,
}

impl Cache {
    /// Every answer.
    pub const ALL: [Self; 4] = [Self::Hit, Self::Miss, Self::Stale, Self::Local];

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Local => "local",
        }
    }
}

/// The transaction that caused another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its query, which names it: a transaction with this query exists or will.
    pub id: MessageId,
    /// How that is known.
    pub by: Match,
}

impl Parent {
    const fn new(id: MessageId, by: Match) -> Self {
        Self { id, by }
    }
}

/// What ties a transaction to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The transaction that caused this one.
    pub parent: Option<Parent>,
    /// At the resolver, and at its client where both are seen: where the answer was from.
    pub cache: Option<Cache>,
    /// Over TCP: the truncated UDP transaction that this one follows.
    pub tcp_fallback_of: Option<MessageId>,
}

/// What joining did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Transactions with a parent, as in [`Match::ALL`].
    pub linked: [u64; Match::ALL.len()],
    /// Upstream queries of resolvers of which no parent is known.
    pub unlinked: u64,
    /// Verdicts at resolvers, as in [`Cache::ALL`].
    pub cache: [u64; Cache::ALL.len()],
    /// Queries and resolvers that found no room and go without links.
    pub overflowed: u64,
}

/// Which transactions are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joining {
    /// Those of any process or host that is seen to be a resolver.
    #[default]
    Auto,
    /// None, but for TCP after truncation.
    Off,
}

/// Joins transactions.
#[derive(Debug)]
pub struct Joiner {
    fallback: Fallback,
    views: Option<Box<Views>>,
    sampling: Timeline,
}

impl Joiner {
    /// With nothing seen yet.
    #[must_use]
    pub fn new(joining: Joining) -> Self {
        let views = (joining == Joining::Auto).then(Box::default);
        Self { fallback: Fallback::default(), views, sampling: Timeline::default() }
    }

    /// A query has begun a transaction: it is not one that is sent again.
    pub fn begin(&mut self, query: &Message<'_>) {
        if let Some(views) = &mut self.views
            && let Some(query) = views.note(query)
        {
            views.begin(&query);
        }
    }

    /// A transaction has ended; what ties it to others.
    pub fn end(&mut self, transaction: &Transaction<'_>) -> Links {
        let tcp_fallback_of = self.fallback.join(transaction);
        let whole = self.sees_all(transaction);
        let links =
            self.views.as_mut().map(|views| views.end(transaction, whole)).unwrap_or_default();
        Links { tcp_fallback_of, ..links }
    }

    /// Another share of the transactions is told from here on.
    pub fn sample(&mut self, change: Change) {
        self.sampling.note(change);
    }

    /// Whether all queries were told while this transaction lasted: that a resolver asked nobody can be
    /// said only then.
    fn sees_all(&self, transaction: &Transaction<'_>) -> bool {
        let ends = transaction.query.zip(transaction.response);
        ends.is_none_or(|(query, response)| {
            self.sampling.most(query.envelope.ts, response.envelope.ts) == 0
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn joined(&self) -> Joined {
        self.views.as_ref().map(|views| views.joined()).unwrap_or_default()
    }

    /// Queries that wait, and upstream queries under way, whichever are more.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.views.as_ref().map_or(0, |views| views.waiting())
    }
}

#[cfg(test)]
mod tests;
