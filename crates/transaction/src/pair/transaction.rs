//! Output of the pairing stage.

use super::{Status, Vantage, ZoneTransfer};
use crate::decode::{Message, MessageId};
use crate::packet::net::UnreachableReason;
use dnscribe_dns::Question;
use dnscribe_record::named_enum;
use std::time::Duration;

/// A query with its outcome, or a response without a query.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// Outcome.
    pub status: Status,
    /// Side from which the messages were captured.
    pub vantage: Vantage,
    /// The query as first sent; absent for an orphan.
    pub query: Option<Message<'a>>,
    /// The response, if one came; for a zone transfer, its first message.
    pub response: Option<Message<'a>>,
    /// Number of retransmissions of the query before its answer.
    pub retries: u32,
    /// Whether this is a duplicate that contradicts the first response.
    pub conflict: bool,
    /// Cause of the ICMP error that ended the query.
    pub icmp: Option<UnreachableReason>,
    /// Number of responses that resembled the expected one without matching. Each is also reported
    /// as an orphan.
    pub rejected: u32,
    /// Summary of a zone transfer over TCP; absent if it was refused.
    pub transfer: Option<ZoneTransfer>,
    /// For an orphan: why it did not match.
    pub orphan: Option<OrphanDetails>,
}

/// Classification of an orphan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrphanDetails {
    /// Why it answers no query.
    pub reason: OrphanReason,
    /// The query that it resembles.
    pub resembles: Option<MessageId>,
}

named_enum! {
    /// Reason why a response matches no query: how it differs from the response that a query expects.
    /// The first reason that applies, in this order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum OrphanReason {
        /// It comes from an address that was not queried.
        WrongSource = "wrong_source",
        /// Its source or destination port differs.
        WrongPort = "wrong_port",
        /// It answers another question.
        WrongQuestion = "wrong_question",
        /// Its id differs.
        WrongId = "wrong_id",
        /// An mDNS response to the group without a captured query.
        Announcement = "announcement",
        /// It resembles no query that is waiting or remembered.
        NoQuery = "no_query",
        /// Sampling may have excluded its query.
        Sampled = "sampled",
    }
}

impl<'a> Transaction<'a> {
    /// Creates a transaction without messages and details.
    #[must_use]
    pub const fn new(status: Status, vantage: Vantage) -> Self {
        Self {
            status,
            vantage,
            query: None,
            response: None,
            retries: 0,
            conflict: false,
            icmp: None,
            rejected: 0,
            transfer: None,
            orphan: None,
        }
    }

    /// Returns the transaction without its messages, so that it can outlive them.
    #[must_use]
    pub const fn without_messages(&self) -> Transaction<'static> {
        let Self { status, vantage, retries, conflict, icmp, rejected, transfer, orphan, .. } =
            *self;
        let transaction = Transaction::new(status, vantage);
        Transaction { retries, conflict, icmp, rejected, transfer, orphan, ..transaction }
    }

    /// Returns the message that identifies the transaction: the response for `late`, `duplicate` and
    /// `orphan`, else the query.
    #[must_use]
    pub fn identifying_message(&self) -> Option<Message<'a>> {
        match self.status {
            Status::Late | Status::Duplicate | Status::Orphan => self.response,
            _ => self.query,
        }
    }

    /// Returns the question of the query, else of the response.
    #[must_use]
    pub fn question(&self) -> Option<Question<'a>> {
        let of = |message: Message<'a>| message.dns.question();
        self.query.and_then(of).or_else(|| self.response.and_then(of))
    }

    /// Returns the time from the first query to the response, or to the first message of a zone
    /// transfer; none if the clock was set back between them.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        let (query, response) = (self.query?.envelope.ts, self.response?.envelope.ts);
        (query <= response).then(|| response.since(query))
    }
}
