//! The state machine: what each message, each ICMP error and the time that passes change.

use super::digest::Digest;
use super::entry::{Entry, State};
use super::established::Established;
use super::key::{Ends, Key};
use super::table::{Age, FORGOTTEN_TOGETHER, Slot, Table};
use super::transfer;
use super::{MAX_REMEMBERED, MAX_SPARED, MEMORY, PairOptions, Status, Transaction, Vantage};
use crate::capture::sampling::{Change, Timeline};
use crate::decode::{Message, Unreachable};
use crate::ledger;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Whoever takes transactions.
pub(super) type Each<'a> = &'a mut dyn FnMut(&Transaction<'_>);

/// Pairs responses with queries.
#[derive(Debug)]
pub struct Pairer {
    pub(super) options: PairOptions,
    pub(super) table: Table,
    pub(super) established: Established,
    pub(super) answered: VecDeque<(Timestamp, Slot)>,
    pub(super) failed: VecDeque<(Timestamp, Slot)>,
    pub(super) counters: ledger::Pairing,
    pub(super) digest: Digest,
    /// What was left out on purpose.
    pub(super) sampling: Timeline,
}

impl Pairer {
    /// An empty table.
    #[must_use]
    pub fn new(options: PairOptions) -> Self {
        Self {
            options,
            table: Table::default(),
            established: Established::default(),
            answered: VecDeque::new(),
            failed: VecDeque::new(),
            counters: ledger::Pairing::default(),
            digest: Digest::default(),
            sampling: Timeline::default(),
        }
    }

    /// Adopts new bounds; queries that wait keep the deadline that they have.
    pub fn reconfigure(&mut self, options: PairOptions) {
        self.options = options;
    }

    /// Another share of the transactions is told from here on.
    pub fn sample(&mut self, change: Change) {
        self.sampling.note(change);
    }

    /// This moment's counters. `open` is the number of queries that wait, and of those that do not any more
    /// although nothing became of them.
    #[must_use]
    pub fn counters(&self) -> ledger::Pairing {
        let waiting = self.table.waiting() as u64;
        ledger::Pairing { open: self.counters.open + waiting, ..self.counters }
    }

    /// Octets of memory that the table takes, roughly: within [`PairOptions::memory_limit_bytes`], but
    /// for the first messages of zone transfers under way, which are few.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table.bytes() + Established::BYTES
    }

    /// Takes a message; gives the transactions that it ends. True where it began one: a query that
    /// is not the same one sent again.
    pub fn observe(&mut self, message: &Message<'_>, each: Each<'_>) -> bool {
        self.expire(message.envelope.ts, each);
        if message.dns.flags.response() {
            self.response(message, each);
            false
        } else if message.dns.is_one_way() {
            self.counters.one_way += 1;
            false
        } else {
            self.counters.queries += 1;
            self.query(message, each)
        }
    }

    /// Takes an ICMP error; the query that it tells of, if it waits, fails.
    pub fn unreachable(&mut self, error: &Unreachable, each: Each<'_>) {
        self.expire(error.ts, each);
        let found = Vantage::ALL.into_iter().find_map(|vantage| {
            let ends = Ends::of_unreachable(error, vantage);
            self.table.oldest_waiting(&ends, error.query_id)
        });
        if let Some(slot) = found {
            let mut tell = |transaction: &Transaction<'_>| {
                each(&Transaction { icmp: Some(error.cause), ..*transaction });
            };
            self.fail(slot, Status::IcmpError, error.ts, &mut tell);
        }
    }

    /// Ends the queries whose deadline has passed at `now`.
    ///
    /// Timers ring in coarse ticks, so one may be overdue by up to a tick; a response that comes
    /// meanwhile is nevertheless judged by the packets' own times.
    pub fn expire(&mut self, now: Timestamp, each: Each<'_>) {
        while let Some(slot) = self.table.pop_due(now) {
            match self.table.get(slot).map(|entry| &entry.state) {
                Some(State::Waiting) => self.fail(slot, Status::Timeout, now, each),
                Some(State::Transferring(running)) => {
                    let end = running.last.plus(transfer::IDLE);
                    if end < now {
                        self.close_transfer(slot, now, each);
                    } else {
                        self.table.set_timer(slot, end);
                    }
                }
                _ => {}
            }
        }
        for remembered in [&mut self.answered, &mut self.failed] {
            while remembered.front().is_some_and(|(since, _)| now.since(*since) > MEMORY) {
                forget_oldest(remembered, &mut self.table, 1);
            }
        }
    }

    /// The capture has ended at `now`: what waits past its deadline timed out, the rest is `open`
    /// and stays so in the counters. Zone transfers end incomplete.
    pub fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        self.expire(now, each);
        for slot in self.table.unended_in_order() {
            let Some(entry) = self.table.get(slot) else { continue };
            if !entry.is_waiting() {
                self.close_transfer(slot, now, each);
            } else if entry.deadline < now {
                self.fail(slot, Status::Timeout, now, each);
            } else {
                each(&entry.transaction(Status::Open));
            }
        }
    }

    /// Servers are not watched any more from `now` on, but those at ports that `is_watched`: queries to
    /// the others wait no longer and are `open` for good, and their zone transfers end incomplete.
    pub(crate) fn abandon(
        &mut self,
        is_watched: impl Fn(u16) -> bool,
        now: Timestamp,
        each: Each<'_>,
    ) {
        self.expire(now, each);
        for slot in self.table.unended_in_order() {
            let Some(entry) = self.table.get(slot) else { continue };
            let (_, server) = entry.query.message().ends();
            if is_watched(server.port()) {
                continue;
            }
            if entry.is_waiting() {
                each(&entry.transaction(Status::Open));
                self.counters.open += 1;
                self.table.end(slot, State::Failed, None);
            } else {
                self.close_transfer(slot, now, each);
            }
            self.table.forget(slot);
        }
    }

    fn query(&mut self, message: &Message<'_>, each: Each<'_>) -> bool {
        let key = Key::of(message);
        let hash = self.table.hash(&key);
        let ts = message.envelope.ts;
        if let Some(slot) = self.table.find(hash, &key) {
            match self.table.get_mut(slot) {
                Some(entry) if entry.is_waiting() && ts <= entry.deadline => {
                    entry.retries += 1;
                    self.counters.retransmitted += 1;
                    return false;
                }
                Some(entry) if entry.is_waiting() => self.fail(slot, Status::Timeout, ts, each),
                Some(Entry { state: State::Transferring(_), .. }) => {
                    self.close_transfer(slot, ts, each);
                }
                _ => {}
            }
            // The id is used anew: what was remembered of its last use would mislead.
            self.table.forget(slot);
        }
        self.make_room(Table::cost_of(message), ts, each);
        self.table.insert(hash, message, ts.plus(self.options.query_timeout));
        true
    }

    /// Makes room for one more query of so many octets: within the number that may wait, and within
    /// the memory.
    pub(super) fn make_room(&mut self, bytes: usize, now: Timestamp, each: Each<'_>) {
        while self.table.waiting() >= self.options.max_transactions {
            if !self.evict(now, each) {
                break;
            }
        }
        while self.memory_bytes() + bytes > self.options.memory_limit_bytes() {
            let has_room = forget_oldest(&mut self.failed, &mut self.table, 1)
                || forget_oldest(&mut self.answered, &mut self.table, 1)
                || self.evict(now, each);
            if !has_room {
                break;
            }
        }
    }

    /// Evicts the oldest query, but rather one between hosts that have not met: a flood's sources
    /// are invented, and its queries die before those of established flows do.
    fn evict(&mut self, now: Timestamp, each: Each<'_>) -> bool {
        for _ in 0..MAX_SPARED {
            let Some(slot) = self.table.oldest(Age::Fresh) else { break };
            let Some(entry) = self.table.get(slot) else { break };
            let (client, server) = entry.query.message().ends();
            if !self.established.knows(client, server) {
                self.fail(slot, Status::Evicted, now, each);
                return true;
            }
            self.table.spare(slot);
        }
        let oldest = self.table.oldest(Age::Spared).or_else(|| self.table.oldest(Age::Fresh));
        if let Some(slot) = oldest {
            self.fail(slot, Status::Evicted, now, each);
        }
        oldest.is_some()
    }

    pub(super) fn fail(&mut self, slot: Slot, status: Status, now: Timestamp, each: Each<'_>) {
        if let Some(entry) = self.table.get(slot) {
            match status {
                Status::Timeout => self.counters.timeout += 1,
                Status::IcmpError => self.counters.icmp_error += 1,
                _ => self.counters.evicted += 1,
            }
            each(&entry.transaction(status));
            self.table.end(slot, State::Failed, Some(now));
            remember(&mut self.failed, &mut self.table, now, slot);
        }
    }
}

pub(super) fn remember(
    ended: &mut VecDeque<(Timestamp, Slot)>,
    table: &mut Table,
    now: Timestamp,
    slot: Slot,
) {
    if ended.len() >= MAX_REMEMBERED {
        forget_oldest(ended, table, FORGOTTEN_TOGETHER);
    }
    ended.push_back((now, slot));
}

/// Forgets so many of those that ended first.
fn forget_oldest(ended: &mut VecDeque<(Timestamp, Slot)>, table: &mut Table, count: usize) -> bool {
    let count = count.min(ended.len());
    // A late zone transfer may have begun since, and ended later.
    table.forget_ended(ended.drain(..count));
    count > 0
}
