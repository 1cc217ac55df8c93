//! What the third room gives.

use super::{Status, Transfer, Vantage};
use crate::decode::dns::Question;
use crate::decode::{Message, MessageId};
use crate::net::Cause;
use std::time::Duration;

/// One query with its outcome, or a response that answers none.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// How it ended.
    pub status: Status,
    /// From which side it was seen.
    pub vantage: Vantage,
    /// The query as first sent; absent for an orphan.
    pub query: Option<Message<'a>>,
    /// The response; absent where none came. Of a zone transfer, its first message.
    pub response: Option<Message<'a>>,
    /// Times the query was sent again before it was answered.
    pub retries: u32,
    /// A duplicate that answers differently from the first response.
    pub conflict: bool,
    /// What ICMP said of the query, where that ended it.
    pub icmp: Option<Cause>,
    /// Responses that resembled the one that the query waited for, and were not it. Each of them is
    /// an orphan of its own.
    pub rejected: u32,
    /// What a zone transfer over TCP came to; absent where it was refused.
    pub transfer: Option<Transfer>,
    /// On an orphan: what it looks like.
    pub stray: Option<Stray>,
}

/// What an orphan looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Why it answers no query.
    pub reason: OrphanReason,
    /// The query that it resembles.
    pub resembles: Option<MessageId>,
}

/// Why a response answers no query: in what it differs from the one that a query waits for. The
/// first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrphanReason {
    /// It comes from an address that was not asked.
    WrongSource,
    /// It comes from, or goes to, another port.
    WrongPort,
    /// It answers another question.
    WrongQuestion,
    /// It has another id.
    WrongId,
    /// mDNS: it was sent to all, and nobody seen had asked.
    Announcement,
    /// It resembles no query.
    NoQuery,
    /// Its query may have been left out on purpose: of late, so much was.
    Sampled,
}

impl OrphanReason {
    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongSource => "wrong_source",
            Self::WrongPort => "wrong_port",
            Self::WrongQuestion => "wrong_question",
            Self::WrongId => "wrong_id",
            Self::Announcement => "announcement",
            Self::NoQuery => "no_query",
            Self::Sampled => "sampled",
        }
    }
}

impl<'a> Transaction<'a> {
    /// The same without its messages: what is left outlives them.
    #[must_use]
    pub const fn without_messages(&self) -> Transaction<'static> {
        let Transaction {
            status, vantage, retries, conflict, icmp, rejected, transfer, stray, ..
        } = *self;
        let (query, response) = (None, None);
        Transaction {
            status,
            vantage,
            query,
            response,
            retries,
            conflict,
            icmp,
            rejected,
            transfer,
            stray,
        }
    }

    /// The message that gives the transaction its identity: the response where it is what this
    /// record tells of (`late`, `duplicate`, `orphan`), else the query.
    #[must_use]
    pub fn subject(&self) -> Option<Message<'a>> {
        match self.status {
            Status::Late | Status::Duplicate | Status::Orphan => self.response,
            _ => self.query,
        }
    }

    /// What was asked: as the query has it, else as the response repeats it.
    #[must_use]
    pub fn question(&self) -> Option<Question<'a>> {
        let of = |message: Message<'a>| message.dns.question();
        self.query.and_then(of).or_else(|| self.response.and_then(of))
    }

    /// From the first query to the response; of a zone transfer, to its first message.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        Some(self.response?.envelope.ts.since(self.query?.envelope.ts))
    }
}
