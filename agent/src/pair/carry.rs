//! Queries that go on waiting, and ended ones that go on being remembered, at another agent's table.

use super::Status;
use super::entry::{Entry, State};
use super::key::Key;
use super::pairer::{Each, Pairer, remember};
use super::table::Table;
use crate::decode::Message;
use crate::ledger;
use crate::time::Timestamp;
use std::time::Duration;

/// Answered queries are carried if they were answered so short a time ago: for a response that the network
/// has doubled, which follows at once.
const DOUBLED: Duration = Duration::from_millis(250);

/// What became of a query so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits.
    Waiting,
    /// It was answered, and that is remembered since.
    Answered(Timestamp),
    /// It timed out or failed in another way, and that is remembered since.
    Failed(Timestamp),
}

/// A query with all that the table knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Carried<'a> {
    /// The query as first sent.
    pub query: Message<'a>,
    /// Until when it waits for its response.
    pub deadline: Timestamp,
    /// Times it was sent again.
    pub retries: u32,
    /// Responses that resembled its own.
    pub rejected: u32,
    /// What became of it.
    pub fate: Fate,
}

impl Pairer {
    /// Ends zone transfers under way: of what is still to come of them nobody knows what it belongs to.
    pub fn break_off(&mut self, now: Timestamp, each: Each<'_>) {
        for slot in self.table.unended_in_order() {
            if self.table.get(slot).is_some_and(|entry| !entry.is_waiting()) {
                self.close_transfer(slot, now, each);
            }
        }
    }

    /// Shows the queries that wait and, of those that are remembered, the ones that may be asked for
    /// again. They stay.
    pub fn carry(&self, now: Timestamp, each: &mut dyn FnMut(&Carried<'_>)) {
        let mut show = |slot, fate| {
            if let Some(entry) = self.table.get(slot) {
                each(&Carried {
                    query: entry.query.message(),
                    deadline: entry.deadline,
                    retries: entry.retries,
                    rejected: entry.rejected,
                    fate,
                });
            }
        };
        for (since, slot) in &self.failed {
            if self.table.ended(*slot) == Some(*since) {
                show(*slot, Fate::Failed(*since));
            }
        }
        for (since, slot) in &self.answered {
            if self.table.ended(*slot) == Some(*since) && now.since(*since) <= DOUBLED {
                show(*slot, Fate::Answered(*since));
            }
        }
        for slot in self.table.unended_in_order() {
            if self.table.get(slot).is_some_and(Entry::is_waiting) {
                show(slot, Fate::Waiting);
            }
        }
    }

    /// Shows the queries that wait as `open`. They stay, and so do the counters.
    pub fn leave_open(&self, each: Each<'_>) {
        for slot in self.table.unended_in_order() {
            if let Some(entry) = self.table.get(slot).filter(|entry| entry.is_waiting()) {
                each(&entry.transaction(Status::Open));
            }
        }
    }

    /// Goes on from these counters, but for the queries that wait: those are to be restored.
    pub fn adopt(&mut self, counters: ledger::Pairing) {
        self.counters = ledger::Pairing { open: 0, ..counters };
    }

    /// Takes a query of another table, which counted it.
    pub fn restore(&mut self, carried: &Carried<'_>, each: Each<'_>) {
        let Carried { query, deadline, retries, rejected, fate } = carried;
        let key = Key::of(query);
        let hash = self.table.hash(&key);
        if let Some(slot) = self.table.find(hash, &key) {
            // The other table held each key once, so that this cannot be; it must be counted all the same.
            if *fate != Fate::Waiting || self.table.get(slot).is_some_and(Entry::is_waiting) {
                self.counters.evicted += u64::from(*fate == Fate::Waiting);
                return;
            }
            self.table.forget(slot);
        }
        self.make_room(Table::cost_of(query), query.envelope.ts, each);
        let slot = self.table.insert(hash, query, *deadline);
        if let Some(entry) = self.table.get_mut(slot) {
            (entry.retries, entry.rejected) = (*retries, *rejected);
        }
        match *fate {
            Fate::Waiting => {}
            Fate::Answered(since) => {
                self.table.end(slot, State::Answered(None), Some(since));
                remember(&mut self.answered, &mut self.table, since, slot);
            }
            Fate::Failed(since) => {
                self.table.end(slot, State::Failed, Some(since));
                remember(&mut self.failed, &mut self.table, since, slot);
            }
        }
    }
}
