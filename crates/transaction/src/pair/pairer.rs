//! The pairing state machine: handles messages, ICMP errors and the passing of time.

use super::answer_hash::AnswerHasher;
use super::entry::{QueryEntry, QueryState};
use super::established_pairs::EstablishedPairs;
use super::key::{Endpoints, PairKey};
use super::table::{self, EntryRef, FORGET_BATCH, Table, WaitQueue};
use super::{
    ENDED_RETENTION, MAX_ENDED, MAX_EVICTION_SCAN, PairOptions, Status, Transaction, Vantage,
    transfer,
};
use crate::decode::{Message, Unreachable};
use crate::packet::sampling::{Change, Timeline};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use std::collections::VecDeque;

/// Receives the transactions that end.
pub(super) type TransactionSink<'a> = &'a mut dyn FnMut(&Transaction<'_>);

/// Pairs responses with queries.
#[derive(Debug, Default)]
pub struct Pairer {
    /// What was configured.
    pub options: PairOptions,
    pub(super) table: Table,
    pub(super) established_pairs: EstablishedPairs,
    pub(super) answered: VecDeque<(Timestamp, EntryRef)>,
    pub(super) failed: VecDeque<(Timestamp, EntryRef)>,
    pub(super) counters: ledger::Pairing,
    pub(super) answer_hasher: AnswerHasher,
    /// Changes of the sampling ratio, to recognize responses whose query was not sampled.
    pub(super) sampling: Timeline,
}

impl Pairer {
    /// Creates a pairer with an empty table.
    #[must_use]
    pub fn new(options: PairOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Applies new limits. Waiting queries keep their deadlines.
    pub fn set_limits(&mut self, options: PairOptions) {
        self.options = options;
    }

    /// Records that the sampling ratio has changed.
    pub fn note_sampling(&mut self, change: Change) {
        self.sampling.push(change);
    }

    /// Returns the counters. `open` counts the waiting queries and those given up without an outcome
    /// (see [`Self::drop_unwatched_ports`]).
    #[must_use]
    pub fn counters(&self) -> ledger::Pairing {
        let waiting = self.table.waiting as u64;
        ledger::Pairing { open: self.counters.open + waiting, ..self.counters }
    }

    /// Returns the approximate memory of the table in bytes. It stays within
    /// [`PairOptions::memory_limit_bytes`], except for the first messages of running zone transfers.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table.bytes + EstablishedPairs::BYTES
    }

    /// Handles a message and emits the transactions that it ends. Returns whether the message is a
    /// query that starts a transaction, that is, not a retransmission.
    pub fn observe(&mut self, message: &Message<'_>, each: TransactionSink<'_>) -> bool {
        self.expire(message.envelope.ts, each);
        if message.dns.flags.is_response() {
            self.observe_response(message, each);
            false
        } else if message.dns.is_one_way() {
            self.counters.one_way += 1;
            false
        } else {
            self.counters.queries += 1;
            self.observe_query(message, each)
        }
    }

    /// Handles an ICMP error: the waiting query that it refers to fails. Returns whether there is one.
    pub fn observe_icmp_error(&mut self, error: &Unreachable, each: TransactionSink<'_>) -> bool {
        self.expire(error.ts, each);
        let found = Vantage::ALL.into_iter().find_map(|vantage| {
            let endpoints = Endpoints::of_unreachable(error, vantage);
            self.table.oldest_waiting(&endpoints, error.query_id)
        });
        if let Some(entry_ref) = found {
            let mut emit_with_cause = |transaction: &Transaction<'_>| {
                each(&Transaction { icmp: Some(error.cause), ..*transaction });
            };
            self.fail(entry_ref, Status::IcmpError, error.ts, &mut emit_with_cause);
        }
        found.is_some()
    }

    /// Ends the queries whose deadline passed before `now`.
    ///
    /// Deadlines are rounded up to ticks of 17 ms. A response that comes before the tick ends is
    /// still judged by the timestamps of the packets.
    pub fn expire(&mut self, now: Timestamp, each: TransactionSink<'_>) {
        while let Some((deadline, entry_ref)) = self.table.pop_due(now) {
            // Not `now`: with few packets, that may be much later.
            let ended = table::tick_end(deadline);
            match self.table.get(entry_ref).map(|entry| &entry.state) {
                Some(QueryState::Waiting) => self.fail(entry_ref, Status::Timeout, ended, each),
                Some(QueryState::Transferring(running)) => {
                    let end = running.last.plus(transfer::IDLE_TIMEOUT);
                    if end <= deadline {
                        self.close_transfer(entry_ref, ended, each);
                    } else {
                        self.table.set_timer(entry_ref, end);
                    }
                }
                _ => {}
            }
        }
        for remembered in [&mut self.answered, &mut self.failed] {
            while remembered.front().is_some_and(|(since, _)| now.since(*since) > ENDED_RETENTION) {
                forget_oldest(remembered, &mut self.table, 1);
            }
        }
    }

    /// Ends the capture at `now`: queries past their deadline time out, the others are `open` and
    /// stay counted as such. Zone transfers end incomplete.
    pub fn finish(&mut self, now: Timestamp, each: TransactionSink<'_>) {
        self.expire(now, each);
        for entry_ref in self.table.unended_in_order() {
            let Some(entry) = self.table.get(entry_ref) else { continue };
            if !entry.is_waiting() {
                self.close_transfer(entry_ref, now, each);
            } else if entry.deadline < now {
                self.fail(entry_ref, Status::Timeout, now, each);
            } else {
                each(&entry.transaction(Status::Open));
            }
        }
    }

    /// Stops waiting for servers at ports other than those for which `is_watched` returns true. Their
    /// waiting queries are `open` for good, and their zone transfers end incomplete.
    pub fn drop_unwatched_ports(
        &mut self,
        is_watched: impl Fn(u16) -> bool,
        now: Timestamp,
        each: TransactionSink<'_>,
    ) {
        self.expire(now, each);
        for entry_ref in self.table.unended_in_order() {
            let Some(entry) = self.table.get(entry_ref) else { continue };
            let (_, server) = entry.query.message().client_and_server();
            if is_watched(server.port()) {
                continue;
            }
            if entry.is_waiting() {
                each(&entry.transaction(Status::Open));
                self.counters.open += 1;
                self.table.end(entry_ref, QueryState::Failed, None);
            } else {
                self.close_transfer(entry_ref, now, each);
            }
            self.table.forget(entry_ref);
        }
    }

    fn observe_query(&mut self, message: &Message<'_>, each: TransactionSink<'_>) -> bool {
        let key = PairKey::of(message);
        let hash = self.table.hash(&key);
        let ts = message.envelope.ts;
        if let Some(entry_ref) = self.table.find(hash, &key) {
            match self.table.get_mut(entry_ref) {
                Some(entry) if entry.is_waiting() && ts <= entry.deadline => {
                    entry.retries += 1;
                    self.counters.retransmitted += 1;
                    return false;
                }
                Some(entry) if entry.is_waiting() => {
                    self.fail(entry_ref, Status::Timeout, ts, each);
                }
                Some(QueryEntry { state: QueryState::Transferring(_), .. }) => {
                    self.close_transfer(entry_ref, ts, each);
                }
                _ => {}
            }
            // The id is in use again: the old transaction must not match its responses.
            self.table.forget(entry_ref);
        }
        self.free_capacity(Table::cost_of(message), ts, each);
        self.table.insert(hash, message, ts.plus(self.options.query_timeout));
        true
    }

    /// Makes space for a query of `bytes` bytes, within the limits of queries and memory.
    pub(super) fn free_capacity(
        &mut self,
        bytes: usize,
        now: Timestamp,
        each: TransactionSink<'_>,
    ) {
        while self.table.waiting >= self.options.max_transactions && self.evict(now, each) {}
        while self.memory_bytes() + bytes > self.options.memory_limit_bytes()
            && (forget_oldest(&mut self.failed, &mut self.table, 1)
                || forget_oldest(&mut self.answered, &mut self.table, 1)
                || self.evict(now, each))
        {}
    }

    /// Evicts the oldest query between hosts without an answered query, else the oldest one. The
    /// source addresses of a flood are invented, so its queries go before those of established flows.
    fn evict(&mut self, now: Timestamp, each: TransactionSink<'_>) -> bool {
        for _ in 0..MAX_EVICTION_SCAN {
            let Some(entry_ref) = self.table.oldest(WaitQueue::Fresh) else { break };
            let Some(entry) = self.table.get(entry_ref) else { break };
            let (client, server) = entry.query.message().client_and_server();
            if !self.established_pairs.contains(client, server) {
                self.fail(entry_ref, Status::Evicted, now, each);
                return true;
            }
            self.table.spare(entry_ref);
        }
        let oldest =
            self.table.oldest(WaitQueue::Spared).or_else(|| self.table.oldest(WaitQueue::Fresh));
        if let Some(entry_ref) = oldest {
            self.fail(entry_ref, Status::Evicted, now, each);
        }
        oldest.is_some()
    }

    pub(super) fn fail(
        &mut self,
        entry_ref: EntryRef,
        status: Status,
        now: Timestamp,
        each: TransactionSink<'_>,
    ) {
        if let Some(entry) = self.table.get(entry_ref) {
            match status {
                Status::Timeout => self.counters.timeout += 1,
                Status::IcmpError => self.counters.icmp_error += 1,
                _ => self.counters.evicted += 1,
            }
            each(&entry.transaction(status));
            self.table.end(entry_ref, QueryState::Failed, Some(now));
            remember(&mut self.failed, &mut self.table, now, entry_ref);
        }
    }
}

/// Adds an ended transaction to `ended` and forgets the oldest ones if there are too many.
pub(super) fn remember(
    ended: &mut VecDeque<(Timestamp, EntryRef)>,
    table: &mut Table,
    now: Timestamp,
    entry_ref: EntryRef,
) {
    if ended.len() >= MAX_ENDED {
        forget_oldest(ended, table, FORGET_BATCH);
    }
    ended.push_back((now, entry_ref));
}

/// Forgets the `count` transactions that ended first. Returns whether there was one.
fn forget_oldest(
    ended: &mut VecDeque<(Timestamp, EntryRef)>,
    table: &mut Table,
    count: usize,
) -> bool {
    let count = count.min(ended.len());
    // Entries that changed since (a late zone transfer) have a newer time and are skipped.
    table.forget_ended(ended.drain(..count));
    count > 0
}
