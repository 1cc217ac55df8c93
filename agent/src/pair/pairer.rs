//! The state machine: what each message, each ICMP error and the time that passes change.

use super::established::Established;
use super::key::{Ends, Key, asked};
use super::multicast::{self, Group};
use super::table::{Age, Entry, Slot, State, Table};
use super::transfer::{self, Running};
use super::{
    MAX_REMEMBERED, MAX_SPARED, MAX_TRANSFERS, MEMORY, PairOptions, Status, Stray, Transaction,
    Vantage, digest, resemblance,
};
use crate::decode::{Message, Unreachable};
use crate::ledger;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// Whoever takes transactions.
type Each<'a> = &'a mut dyn FnMut(&Transaction<'_>);

/// Pairs responses with queries.
#[derive(Debug)]
pub struct Pairer {
    options: PairOptions,
    table: Table,
    established: Established,
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
            established: Established::default(),
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

    /// Octets of memory that the table takes, roughly: within [`PairOptions::memory_limit_bytes`], but
    /// for the first messages of zone transfers under way, which are few.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table.bytes() + Established::BYTES
    }

    /// Takes a message; gives the transactions that it ends.
    pub fn observe(&mut self, message: Box<Message>, each: Each<'_>) {
        self.expire(message.envelope.ts, each);
        if message.dns.flags.response() {
            self.response(message, each);
        } else {
            self.counters.queries += 1;
            self.query(message, each);
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
            self.fail(slot, Status::IcmpError, error.ts, each);
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
                forget_oldest(remembered, &mut self.table);
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

    fn query(&mut self, mut message: Box<Message>, each: Each<'_>) {
        let key = Key::of(&message);
        let hash = self.table.hash(&key);
        let ts = message.envelope.ts;
        if let Some(slot) = self.table.find(hash, &key) {
            match self.table.get_mut(slot) {
                Some(entry) if entry.is_waiting() && ts <= entry.deadline => {
                    entry.retries += 1;
                    self.counters.retransmitted += 1;
                    return;
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
        // The octets were for the record of the message, which has been written.
        message.wire = None;
        let entry = Entry::waiting(message, ts.plus(self.options.query_timeout));
        self.make_room(entry.cost(), ts, each);
        self.table.insert(hash, entry);
    }

    fn response(&mut self, message: Box<Message>, each: Each<'_>) {
        if let Some(slot) = self.find_for(&message) {
            self.answer(slot, message, each);
        } else if let Some(group) = multicast::speaks_for(&message).filter(|group| group.is_mdns())
        {
            self.answer_everyone(&message, group, each);
        } else {
            self.orphan(&message, each);
        }
    }

    /// The transaction that a response belongs to.
    fn find_for(&self, response: &Message) -> Option<Slot> {
        if asked(response).is_none() {
            return self.table.nameless(&Ends::of(response), response.dns.id);
        }
        let find = |key: &Key<'_>| self.table.find(self.table.hash(key), key);
        find(&Key::of(response))
            .or_else(|| find(&Key::of_group(response, multicast::speaks_for(response)?)))
    }

    fn answer(&mut self, slot: Slot, message: Box<Message>, each: Each<'_>) {
        let ts = message.envelope.ts;
        match self.table.get(slot).map(|entry| (entry.deadline, &entry.state)) {
            Some((deadline, State::Waiting)) if ts > deadline => {
                self.fail(slot, Status::Timeout, ts, each);
            }
            Some((_, State::Transferring(running))) if ts > running.last.plus(transfer::IDLE) => {
                self.close_transfer(slot, ts, each);
            }
            _ => {}
        }
        let Some(entry) = self.table.get_mut(slot) else { return };
        let status = match &mut entry.state {
            State::Transferring(running) => {
                self.counters.continued += 1;
                if !running.take(entry.query.envelope.ts, &message) {
                    self.close_transfer(slot, ts, each);
                }
                return;
            }
            State::Answered(first) => {
                let further = digest::of(&message, &self.hasher);
                let conflict = first.is_some() && further.is_some() && *first != further;
                if !transfer::is_asked_by(&entry.query) {
                    // The first may have been cut short; then this is what others must agree with.
                    *first = first.or(further);
                }
                self.counters.responses += 1;
                self.counters.duplicate += 1;
                let transaction = entry.transaction(Status::Duplicate);
                each(&Transaction { response: Some(&message), conflict, ..transaction });
                return;
            }
            State::Waiting => Status::Answered,
            State::Failed => Status::Late,
        };
        self.counters.responses += 1;
        match status {
            Status::Answered => self.counters.answered += 1,
            _ => self.counters.late += 1,
        }
        if status == Status::Answered {
            let (client, server) = entry.query.ends();
            self.established.note(client, server);
        }
        if transfer::is_asked_by(&entry.query) {
            self.begin_transfer(slot, status, message, each);
            return;
        }
        each(&Transaction { response: Some(&message), ..entry.transaction(status) });
        if status == Status::Answered {
            self.remember_answer(slot, digest::of(&message, &self.hasher), ts);
        }
    }

    /// What a response to all of mDNS answers: every query that waits for one of its records; if
    /// none does, it is one more response to the newest of those that do not wait any longer.
    fn answer_everyone(&mut self, message: &Message, group: Group, each: Each<'_>) {
        let ts = message.envelope.ts;
        let to = (!multicast::is_to_group(message)).then_some(message.envelope.dst);
        let mut waiting = Vec::new();
        let mut answered = None;
        multicast::answered(message, |asked| {
            for (slot, entry) in self.table.asked(message, group, asked) {
                let wanted = ts <= entry.deadline
                    && to.is_none_or(|to| to == entry.query.ends().0)
                    && !multicast::is_own_probe(&entry.query, message);
                match entry.state {
                    State::Waiting if wanted && !waiting.contains(&slot) => waiting.push(slot),
                    State::Answered(_) if wanted => answered = Some(slot),
                    _ => {}
                }
            }
        });
        let said = digest::of(message, &self.hasher);
        for (place, slot) in waiting.iter().enumerate() {
            let Some(entry) = self.table.get(*slot) else { continue };
            self.counters.responses += 1;
            self.counters.answered += 1;
            self.counters.shared += u64::from(place > 0);
            each(&Transaction { response: Some(message), ..entry.transaction(Status::Answered) });
            self.remember_answer(*slot, said, ts);
        }
        if !waiting.is_empty() {
            return;
        }
        match answered.and_then(|slot| self.table.get(slot)) {
            Some(entry) => {
                self.counters.responses += 1;
                self.counters.duplicate += 1;
                let transaction = entry.transaction(Status::Duplicate);
                each(&Transaction { response: Some(message), ..transaction });
            }
            None => self.orphan(message, each),
        }
    }

    fn orphan(&mut self, message: &Message, each: Each<'_>) {
        self.counters.responses += 1;
        self.counters.orphan += 1;
        let (reason, slot) = resemblance::of(&self.table, message);
        let victim = slot.and_then(|slot| self.table.get_mut(slot));
        let resembles = victim.map(|entry| {
            entry.rejected += u32::from(entry.is_waiting());
            entry.query.envelope.id
        });
        each(&Transaction {
            status: Status::Orphan,
            vantage: Vantage::of(message.envelope.sight, true),
            query: None,
            response: Some(message),
            retries: 0,
            conflict: false,
            rejected: 0,
            transfer: None,
            stray: Some(Stray { reason, resembles }),
        });
    }

    fn begin_transfer(
        &mut self,
        slot: Slot,
        status: Status,
        message: Box<Message>,
        each: Each<'_>,
    ) {
        let ts = message.envelope.ts;
        let Some(entry) = self.table.get(slot) else { return };
        match transfer::begin(&entry.query, message, status) {
            Ok((running, true)) => {
                if self.table.transfers() >= MAX_TRANSFERS
                    && let Some(oldest) = self.table.oldest(Age::Transfers)
                {
                    self.close_transfer(oldest, ts, each);
                }
                self.table.begin_transfer(slot, Box::new(running));
                self.table.set_timer(slot, ts.plus(transfer::IDLE));
            }
            Ok((running, false)) => {
                each(&transferred(entry, &running));
                self.remember_answer(slot, None, ts);
            }
            Err(refusal) => {
                each(&Transaction { response: Some(&refusal), ..entry.transaction(status) });
                self.remember_answer(slot, digest::of(&refusal, &self.hasher), ts);
            }
        }
    }

    fn close_transfer(&mut self, slot: Slot, now: Timestamp, each: Each<'_>) {
        let Some(entry) = self.table.get(slot) else { return };
        if let State::Transferring(running) = &entry.state {
            each(&transferred(entry, running));
        }
        self.remember_answer(slot, None, now);
    }

    /// The answer has come; a late one changes nothing about a query that is remembered as failed.
    fn remember_answer(&mut self, slot: Slot, said: Option<u64>, now: Timestamp) {
        match self.table.get(slot).map(|entry| &entry.state) {
            Some(State::Waiting) => {}
            Some(State::Transferring(running)) if running.status == Status::Answered => {}
            Some(State::Transferring(_)) => {
                self.table.end(slot, State::Failed, Some(now));
                return remember(&mut self.failed, &mut self.table, now, slot);
            }
            _ => return,
        }
        self.table.end(slot, State::Answered(said), Some(now));
        remember(&mut self.answered, &mut self.table, now, slot);
    }

    /// Makes room for one more query of so many octets: within the number that may wait, and within
    /// the memory.
    fn make_room(&mut self, bytes: usize, now: Timestamp, each: Each<'_>) {
        while self.table.waiting() >= self.options.max_transactions {
            if !self.evict(now, each) {
                break;
            }
        }
        while self.memory_bytes() + bytes > self.options.memory_limit_bytes() {
            let has_room = forget_oldest(&mut self.failed, &mut self.table)
                || forget_oldest(&mut self.answered, &mut self.table)
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
            let (client, server) = entry.query.ends();
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

    fn fail(&mut self, slot: Slot, status: Status, now: Timestamp, each: Each<'_>) {
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

fn transferred<'a>(entry: &'a Entry, running: &'a Running) -> Transaction<'a> {
    Transaction {
        response: Some(&running.first),
        transfer: Some(running.so_far),
        ..entry.transaction(running.status)
    }
}

fn remember(
    ended: &mut VecDeque<(Timestamp, Slot)>,
    table: &mut Table,
    now: Timestamp,
    slot: Slot,
) {
    if ended.len() >= MAX_REMEMBERED {
        forget_oldest(ended, table);
    }
    ended.push_back((now, slot));
}

fn forget_oldest(ended: &mut VecDeque<(Timestamp, Slot)>, table: &mut Table) -> bool {
    let oldest = ended.pop_front();
    if let Some((since, slot)) = oldest
        // A late zone transfer may have begun since, and ended later.
        && table.get(slot).is_some_and(|entry| entry.ended == Some(since))
    {
        table.forget(slot);
    }
    oldest.is_some()
}
