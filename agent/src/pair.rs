//! The third room: messages become transactions, each one query with its outcome.
//!
//! A pure state machine: time comes in with the messages, so capture files and live traffic are
//! paired alike. The table is bounded, every event costs O(1), and every query and every response
//! ends in exactly one counter (identity 4 of the ledger).

mod key;
mod table;
mod wheel;

use crate::capture::Sight;
use crate::decode::dns::Question;
use crate::decode::{Message, Unreachable};
use crate::ledger;
use crate::time::Timestamp;
use key::{Ends, Key};
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;
use table::{Entry, Slot, State, Table};
use wheel::Wheel;

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

/// One query with its outcome, or a response that answers none.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// How it ended.
    pub status: Status,
    /// From which side it was seen.
    pub vantage: Vantage,
    /// The query as first sent; absent for an orphan.
    pub query: Option<&'a Message>,
    /// The response; absent where none came.
    pub response: Option<&'a Message>,
    /// Times the query was sent again before it was answered.
    pub retries: u32,
    /// A duplicate that answers differently from the first response.
    pub conflict: bool,
}

impl<'a> Transaction<'a> {
    /// The message that gives the transaction its identity: the response where it is what this
    /// record tells of (`late`, `duplicate`, `orphan`), else the query.
    #[must_use]
    pub fn subject(&self) -> Option<&'a Message> {
        match self.status {
            Status::Late | Status::Duplicate | Status::Orphan => self.response,
            _ => self.query,
        }
    }

    /// What was asked: as the query has it, else as the response repeats it.
    #[must_use]
    pub fn question(&self) -> Option<&'a Question> {
        let of = |message: &'a Message| message.dns.question.as_ref();
        self.query.and_then(of).or_else(|| self.response.and_then(of))
    }

    /// From the first query to the response.
    #[must_use]
    pub fn latency(&self) -> Option<Duration> {
        Some(self.response?.envelope.ts.since(self.query?.envelope.ts))
    }
}

/// Bounds of the pairing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairOptions {
    /// How long a query waits for its response.
    pub query_timeout: Duration,
    /// Queries that may wait at a time; the oldest is evicted when one more comes.
    pub max_transactions: usize,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self { query_timeout: Duration::from_secs(5), max_transactions: 1 << 18 }
    }
}

/// How long an ended transaction is remembered, so that a further response is known for what it is.
const MEMORY: Duration = Duration::from_secs(60);

/// Ended transactions remembered at most: so many answered, and as many failed.
const MAX_REMEMBERED: usize = 1 << 16;

/// Pairs responses with queries.
#[derive(Debug)]
pub struct Pairer {
    options: PairOptions,
    table: Table,
    wheel: Wheel<Slot>,
    answered: VecDeque<(Timestamp, Slot)>,
    failed: VecDeque<(Timestamp, Slot)>,
    counters: ledger::Pairing,
    hasher: foldhash::fast::RandomState,
}

impl Pairer {
    /// An empty table.
    #[must_use]
    pub fn new(options: PairOptions) -> Self {
        Self {
            options,
            table: Table::default(),
            wheel: Wheel::default(),
            answered: VecDeque::new(),
            failed: VecDeque::new(),
            counters: ledger::Pairing::default(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Adopts new bounds; queries that wait keep the deadline that they have.
    pub fn reconfigure(&mut self, options: PairOptions) {
        self.options = options;
    }

    /// This moment's counters. `open` is the number of queries that wait.
    #[must_use]
    pub fn counters(&self) -> ledger::Pairing {
        ledger::Pairing { open: self.table.waiting() as u64, ..self.counters }
    }

    /// Takes a message; gives the transactions that it ends.
    pub fn observe(&mut self, message: Box<Message>, each: &mut dyn FnMut(&Transaction<'_>)) {
        self.expire(message.envelope.ts, each);
        if message.dns.flags.response() {
            self.counters.responses += 1;
            self.response(&message, each);
        } else {
            self.counters.queries += 1;
            self.query(message, each);
        }
    }

    /// Takes an ICMP error; the query that it tells of, if it waits, fails.
    pub fn unreachable(&mut self, error: &Unreachable, each: &mut dyn FnMut(&Transaction<'_>)) {
        self.expire(error.ts, each);
        let found = Vantage::ALL.into_iter().find_map(|vantage| {
            let ends = Ends::of_unreachable(error, vantage);
            self.table.oldest_waiting(&ends, error.query_id)
        });
        if let Some(slot) = found {
            self.counters.icmp_error += 1;
            self.fail(slot, Status::IcmpError, error.ts, each);
        }
    }

    /// Ends the queries whose deadline has passed at `now`.
    ///
    /// The wheel turns in coarse ticks, so one may be overdue by up to a tick; a response that
    /// comes meanwhile is nevertheless judged by the packets' own times.
    pub fn expire(&mut self, now: Timestamp, each: &mut dyn FnMut(&Transaction<'_>)) {
        while let Some(slot) = self.wheel.pop_due(now) {
            if self.table.is_waiting(slot) {
                self.counters.timeout += 1;
                self.fail(slot, Status::Timeout, now, each);
            }
        }
        for remembered in [&mut self.answered, &mut self.failed] {
            while remembered.front().is_some_and(|(since, _)| now.since(*since) > MEMORY) {
                if let Some((_, slot)) = remembered.pop_front() {
                    self.table.forget(slot);
                }
            }
        }
    }

    /// The capture has ended at `now`: what waits past its deadline timed out, the rest is `open`
    /// and stays so in the counters.
    pub fn finish(&mut self, now: Timestamp, each: &mut dyn FnMut(&Transaction<'_>)) {
        self.expire(now, each);
        for slot in self.table.waiting_in_order() {
            if self.table.get(slot).is_some_and(|entry| entry.deadline < now) {
                self.counters.timeout += 1;
                self.fail(slot, Status::Timeout, now, each);
            } else if let Some(entry) = self.table.get(slot) {
                each(&entry.transaction(Status::Open));
            }
        }
    }

    fn query(&mut self, message: Box<Message>, each: &mut dyn FnMut(&Transaction<'_>)) {
        let key = Key::of(&message);
        let hash = self.hasher.hash_one(key);
        let ts = message.envelope.ts;
        if let Some(slot) = self.table.find(hash, &key) {
            match self.table.get_mut(slot) {
                Some(entry) if matches!(entry.state, State::Waiting) && ts <= entry.deadline => {
                    entry.retries += 1;
                    self.counters.retransmitted += 1;
                    return;
                }
                Some(entry) if matches!(entry.state, State::Waiting) => {
                    self.counters.timeout += 1;
                    self.fail(slot, Status::Timeout, ts, each);
                }
                _ => {}
            }
            // The id is used anew: what was remembered of its last use would mislead.
            self.table.forget(slot);
        }
        if self.table.waiting() >= self.options.max_transactions {
            self.evict(ts, each);
        }
        let deadline = ts.plus(self.options.query_timeout);
        let slot = self.table.insert(hash, Entry::waiting(message, deadline));
        self.wheel.insert(deadline, slot);
    }

    fn response(&mut self, message: &Message, each: &mut dyn FnMut(&Transaction<'_>)) {
        let Some(slot) = self.find_for(message) else {
            self.counters.orphan += 1;
            let vantage = Vantage::of(message.envelope.sight, true);
            each(&Transaction {
                status: Status::Orphan,
                vantage,
                query: None,
                response: Some(message),
                retries: 0,
                conflict: false,
            });
            return;
        };
        let ts = message.envelope.ts;
        let overdue = self
            .table
            .get(slot)
            .is_some_and(|entry| matches!(entry.state, State::Waiting) && ts > entry.deadline);
        if overdue {
            self.counters.timeout += 1;
            self.fail(slot, Status::Timeout, ts, each);
        }
        let digest = self.answer_digest(message);
        let Some(entry) = self.table.get_mut(slot) else { return };
        let (status, conflict) = match entry.state {
            State::Waiting => (Status::Answered, false),
            State::Answered { digest: first } => {
                (Status::Duplicate, first != digest && !is_transfer(message))
            }
            State::Failed => (Status::Late, false),
        };
        each(&Transaction { response: Some(message), conflict, ..entry.transaction(status) });
        match status {
            Status::Answered => {
                self.counters.answered += 1;
                self.table.end(slot, State::Answered { digest });
                remember(&mut self.answered, &mut self.table, ts, slot);
            }
            Status::Duplicate => self.counters.duplicate += 1,
            _ => self.counters.late += 1,
        }
    }

    /// The transaction that a response belongs to. One without a question (FORMERR may leave it
    /// out) goes to the oldest query with its id that waits between the two.
    fn find_for(&self, response: &Message) -> Option<Slot> {
        if response.dns.question.is_none() {
            return self.table.oldest(&Ends::of(response), response.dns.id);
        }
        let key = Key::of(response);
        self.table.find(self.hasher.hash_one(key), &key)
    }

    fn evict(&mut self, now: Timestamp, each: &mut dyn FnMut(&Transaction<'_>)) {
        while let Some(slot) = self.wheel.pop_first() {
            if self.table.is_waiting(slot) {
                self.counters.evicted += 1;
                self.fail(slot, Status::Evicted, now, each);
                return;
            }
        }
    }

    fn fail(
        &mut self,
        slot: Slot,
        status: Status,
        now: Timestamp,
        each: &mut dyn FnMut(&Transaction<'_>),
    ) {
        if let Some(entry) = self.table.get(slot) {
            each(&entry.transaction(status));
            self.table.end(slot, State::Failed);
            remember(&mut self.failed, &mut self.table, now, slot);
        }
    }

    /// What a response says, TTLs and the order of records aside, as a number.
    fn answer_digest(&self, response: &Message) -> u64 {
        let records = response.dns.answers.iter().fold(0_u64, |sum, answer| {
            let mut hasher = self.hasher.build_hasher();
            for octet in answer.name.bytes() {
                hasher.write_u8(octet.to_ascii_lowercase());
            }
            (answer.rtype, &answer.data).hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        });
        self.hasher.hash_one((response.dns.rcode(), records))
    }
}

/// Whether the message is of a zone transfer (AXFR, IXFR), which may take many messages, each with
/// other records (RFC 5936, 2.2).
fn is_transfer(message: &Message) -> bool {
    message.dns.question.as_ref().is_some_and(|question| matches!(question.qtype, 251 | 252))
}

fn remember(
    ended: &mut VecDeque<(Timestamp, Slot)>,
    table: &mut Table,
    now: Timestamp,
    slot: Slot,
) {
    if ended.len() >= MAX_REMEMBERED
        && let Some((_, oldest)) = ended.pop_front()
    {
        table.forget(oldest);
    }
    ended.push_back((now, slot));
}

#[cfg(test)]
mod tests;
