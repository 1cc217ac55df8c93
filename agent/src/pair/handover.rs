//! Handover of waiting and remembered queries to the table of another agent.

use super::Status;
use super::entry::{QueryEntry, QueryState};
use super::key::PairKey;
use super::pairer::{Pairer, TransactionSink, remember};
use super::table::Table;
use crate::decode::Message;
use dnscribe_record::ledger;
use dnscribe_record::time::{Timestamp, nanos};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Maximum age of the answer of a handed over answered query: a response that the network has
/// duplicated follows at once.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(250);

/// State of a handed over query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoverQueryState {
    /// Waits for its response.
    Waiting,
    /// Was answered; remembered since this time.
    Answered(#[serde(with = "nanos")] Timestamp),
    /// Timed out or failed in another way; remembered since this time.
    Failed(#[serde(with = "nanos")] Timestamp),
}

/// A query with its state in the table.
#[derive(Clone, Copy, Debug)]
pub struct HandoverQuery<'a> {
    /// The query as first sent.
    pub query: Message<'a>,
    /// Deadline of its response.
    pub deadline: Timestamp,
    /// Number of retransmissions.
    pub retries: u32,
    /// Number of orphan responses that resembled the expected one.
    pub rejected: u32,
    /// State of the query.
    pub state: HandoverQueryState,
}

impl Pairer {
    /// Ends running zone transfers, since the other agent could not assign their further messages.
    pub fn end_transfers(&mut self, now: Timestamp, each: TransactionSink<'_>) {
        for entry_ref in self.table.unended_in_order() {
            if self.table.get(entry_ref).is_some_and(|entry| !entry.is_waiting()) {
                self.close_transfer(entry_ref, now, each);
            }
        }
    }

    /// Calls `each` with the waiting queries and those of the remembered ones that may get a further
    /// response. They stay in the table.
    pub fn for_each_handover_query(
        &self,
        now: Timestamp,
        each: &mut dyn FnMut(&HandoverQuery<'_>),
    ) {
        let mut show = |entry_ref, fate| {
            if let Some(entry) = self.table.get(entry_ref) {
                each(&HandoverQuery {
                    query: entry.query.message(),
                    deadline: entry.deadline,
                    retries: entry.retries,
                    rejected: entry.rejected,
                    state: fate,
                });
            }
        };
        let failed = self.failed.iter().map(|ended| (ended, HandoverQueryState::Failed(ended.0)));
        let recent = self.answered.iter().filter(|ended| now.since(ended.0) <= DUPLICATE_WINDOW);
        let answered = recent.map(|ended| (ended, HandoverQueryState::Answered(ended.0)));
        for ((since, entry_ref), state) in failed.chain(answered) {
            if self.table.ended(*entry_ref) == Some(*since) {
                show(*entry_ref, state);
            }
        }
        for entry_ref in self.table.unended_in_order() {
            if self.table.get(entry_ref).is_some_and(QueryEntry::is_waiting) {
                show(entry_ref, HandoverQueryState::Waiting);
            }
        }
    }

    /// Emits the waiting queries as `open`. They stay in the table, and the counters stay the same.
    pub fn emit_open(&self, each: TransactionSink<'_>) {
        for entry_ref in self.table.unended_in_order() {
            if let Some(entry) = self.table.get(entry_ref).filter(|entry| entry.is_waiting()) {
                each(&entry.transaction(Status::Open));
            }
        }
    }

    /// Continues the counters of another table, except for the waiting queries, which are restored
    /// one by one.
    pub fn restore_counters(&mut self, counters: ledger::Pairing) {
        self.counters = ledger::Pairing { open: 0, ..counters };
    }

    /// Adds a query of another table, which has counted it.
    pub fn restore_query(&mut self, carried: &HandoverQuery<'_>, each: TransactionSink<'_>) {
        let HandoverQuery { query, deadline, retries, rejected, state: fate } = carried;
        let key = PairKey::of(query);
        let hash = self.table.hash(&key);
        if let Some(entry_ref) = self.table.find(hash, &key) {
            // Each key is unique in the other table; a duplicate would still be counted.
            if *fate != HandoverQueryState::Waiting
                || self.table.get(entry_ref).is_some_and(QueryEntry::is_waiting)
            {
                self.counters.evicted += u64::from(*fate == HandoverQueryState::Waiting);
                return;
            }
            self.table.forget(entry_ref);
        }
        self.free_capacity(Table::cost_of(query), query.envelope.ts, each);
        let entry_ref = self.table.insert(hash, query, *deadline);
        if let Some(entry) = self.table.get_mut(entry_ref) {
            (entry.retries, entry.rejected) = (*retries, *rejected);
        }
        let (since, state, ended) = match *fate {
            HandoverQueryState::Waiting => return,
            HandoverQueryState::Answered(since) => {
                (since, QueryState::Answered(None), &mut self.answered)
            }
            HandoverQueryState::Failed(since) => (since, QueryState::Failed, &mut self.failed),
        };
        self.table.end(entry_ref, state, Some(since));
        remember(ended, &mut self.table, since, entry_ref);
    }
}
