//! Handling of responses: finds the transaction that a response answers, continues or resembles.

use super::entry::{QueryEntry, QueryState};
use super::key::{Endpoints, PairKey, normalized_question};
use super::multicast::{self, MulticastGroup};
use super::pairer::{Pairer, TransactionSink, remember};
use super::table::{EntryRef, WaitQueue};
use super::transfer::{self, RunningTransfer};
use super::{MAX_TRANSFERS, OrphanDetails, OrphanReason, Status, Transaction, Vantage, orphan};
use crate::decode::{Envelope, Message};
use crate::packet::Transport;
use dnscribe_record::time::Timestamp;

impl Pairer {
    pub(super) fn observe_response(&mut self, message: &Message<'_>, each: TransactionSink<'_>) {
        if let Some(entry_ref) = self.find_query(message) {
            self.answer(entry_ref, message, each);
        } else if let Some(group) =
            multicast::responding_group(message).filter(|group| group.is_mdns())
        {
            self.answer_group(message, group, each);
        } else {
            self.orphan(message, each);
        }
    }

    /// Returns the transaction that a response belongs to.
    fn find_query(&self, response: &Message<'_>) -> Option<EntryRef> {
        if normalized_question(response).is_none() {
            return self.table.find_without_question(&Endpoints::of(response), response.dns.id);
        }
        let find = |key: &PairKey<'_>| self.table.find(self.table.hash(key), key);
        find(&PairKey::of(response))
            .or_else(|| find(&PairKey::of_group(response, multicast::responding_group(response)?)))
    }

    fn answer(&mut self, entry_ref: EntryRef, message: &Message<'_>, each: TransactionSink<'_>) {
        let ts = message.envelope.ts;
        match self.table.get(entry_ref).map(|entry| (entry.deadline, &entry.state)) {
            Some((deadline, QueryState::Waiting)) if ts > deadline => {
                self.fail(entry_ref, Status::Timeout, ts, each);
            }
            Some((_, QueryState::Transferring(running)))
                if ts > running.last.plus(transfer::IDLE_TIMEOUT) =>
            {
                self.close_transfer(entry_ref, ts, each);
            }
            _ => {}
        }
        let Some(entry) = self.table.get_mut(entry_ref) else { return };
        let status = match &mut entry.state {
            QueryState::Transferring(running) => {
                self.counters.continued += 1;
                if !running.add(entry.query.message().envelope.ts, message) {
                    self.close_transfer(entry_ref, ts, each);
                }
                return;
            }
            QueryState::Answered(first) => {
                let query = entry.query.message();
                let further = self.answer_hasher.hash(message);
                let conflict = first.is_some()
                    && further.is_some()
                    && *first != further
                    && !multicast::is_mdns_query(&query);
                if !transfer::is_transfer_query(&query) {
                    // A truncated first response is replaced as the reference for conflicts.
                    *first = first.or(further);
                }
                self.counters.responses += 1;
                self.counters.duplicate += 1;
                let transaction = entry.transaction(Status::Duplicate);
                each(&Transaction { response: Some(*message), conflict, ..transaction });
                return;
            }
            QueryState::Waiting => Status::Answered,
            QueryState::Failed => Status::Late,
        };
        self.counters.responses += 1;
        if status == Status::Answered {
            self.counters.answered += 1;
            let (client, server) = entry.query.message().client_and_server();
            self.established_pairs.insert(client, server);
        } else {
            self.counters.late += 1;
        }
        if transfer::is_transfer_query(&entry.query.message()) {
            self.begin_transfer(entry_ref, status, message, each);
            return;
        }
        each(&Transaction { response: Some(*message), ..entry.transaction(status) });
        if status == Status::Answered {
            let answer_hash = self.answer_hasher.hash(message);
            self.remember_answer(entry_ref, answer_hash, ts);
        }
    }

    /// Handles an mDNS response to the group: it answers each waiting query for one of its records.
    /// Without such a query, it is a duplicate for the newest answered one, or an orphan.
    fn answer_group(
        &mut self,
        message: &Message<'_>,
        group: MulticastGroup,
        each: TransactionSink<'_>,
    ) {
        let ts = message.envelope.ts;
        let to = (!multicast::is_to_group(message)).then_some(message.envelope.dst);
        let mut waiting = Vec::new();
        let mut answered = None;
        multicast::for_each_answered_question(message, |asked| {
            for (entry_ref, entry) in self.table.find_by_question(message, group, asked) {
                let query = entry.query.message();
                let matches = ts <= entry.deadline
                    && to.is_none_or(|to| to == query.client_and_server().0)
                    && !multicast::is_own_probe(&query, message);
                match entry.state {
                    QueryState::Waiting if matches && !waiting.contains(&entry_ref) => {
                        waiting.push(entry_ref);
                    }
                    QueryState::Answered(_) if matches => answered = Some(entry_ref),
                    _ => {}
                }
            }
        });
        for (index, entry_ref) in waiting.iter().enumerate() {
            let Some(entry) = self.table.get(*entry_ref) else { continue };
            self.counters.responses += 1;
            self.counters.answered += 1;
            self.counters.shared += u64::from(index > 0);
            each(&Transaction { response: Some(*message), ..entry.transaction(Status::Answered) });
            self.remember_answer(*entry_ref, None, ts);
        }
        if !waiting.is_empty() {
            return;
        }
        match answered.and_then(|entry_ref| self.table.get(entry_ref)) {
            Some(entry) => {
                self.counters.responses += 1;
                self.counters.duplicate += 1;
                let transaction = entry.transaction(Status::Duplicate);
                each(&Transaction { response: Some(*message), ..transaction });
            }
            None => self.orphan(message, each),
        }
    }

    fn orphan(&mut self, message: &Message<'_>, each: TransactionSink<'_>) {
        self.counters.responses += 1;
        self.counters.orphan += 1;
        // If the query was not sampled, any resemblance is a coincidence.
        let (reason, entry_ref) = if self.may_be_sampled(message) {
            (OrphanReason::Sampled, None)
        } else {
            orphan::classify(&self.table, message)
        };
        let victim = entry_ref.and_then(|entry_ref| self.table.get_mut(entry_ref));
        let resembles = victim.map(|entry| {
            entry.rejected += u32::from(entry.is_waiting());
            entry.query.message().envelope.id
        });
        let vantage = Vantage::from_direction(message.envelope.direction, true);
        each(&Transaction {
            response: Some(*message),
            orphan: Some(OrphanDetails { reason, resembles }),
            ..Transaction::new(Status::Orphan, vantage)
        });
    }

    /// Returns whether sampling may have excluded the query of a response. The eBPF programs also drop
    /// the response while they remember the query, but never drop fragments.
    fn may_be_sampled(&self, response: &Message<'_>) -> bool {
        let Envelope { ts, src, dst, transport, .. } = *response.envelope;
        let within = (ts.minus(self.options.query_timeout * 2), ts);
        transport == Transport::Udp
            && self.sampling.may_have_left_out((src, dst), response.dns.id, within)
    }

    fn begin_transfer(
        &mut self,
        entry_ref: EntryRef,
        status: Status,
        message: &Message<'_>,
        each: TransactionSink<'_>,
    ) {
        let ts = message.envelope.ts;
        let Some(entry) = self.table.get(entry_ref) else { return };
        match transfer::start(&entry.query.message(), message, status) {
            Some((running, true)) => {
                if self.table.transfers >= MAX_TRANSFERS
                    && let Some(oldest) = self.table.oldest(WaitQueue::Transfers)
                {
                    self.close_transfer(oldest, ts, each);
                }
                self.table.begin_transfer(entry_ref, Box::new(running));
                self.table.set_timer(entry_ref, ts.plus(transfer::IDLE_TIMEOUT));
            }
            Some((running, false)) => {
                each(&transfer_transaction(entry, &running));
                self.remember_answer(entry_ref, None, ts);
            }
            None => {
                each(&Transaction { response: Some(*message), ..entry.transaction(status) });
                let answer_hash = self.answer_hasher.hash(message);
                self.remember_answer(entry_ref, answer_hash, ts);
            }
        }
    }

    pub(super) fn close_transfer(
        &mut self,
        entry_ref: EntryRef,
        now: Timestamp,
        each: TransactionSink<'_>,
    ) {
        let Some(entry) = self.table.get(entry_ref) else { return };
        if let QueryState::Transferring(running) = &entry.state {
            each(&transfer_transaction(entry, running));
        }
        self.remember_answer(entry_ref, None, now);
    }

    /// Ends a transaction as answered. A late answer to a failed query leaves it failed.
    fn remember_answer(&mut self, entry_ref: EntryRef, answer_hash: Option<u64>, now: Timestamp) {
        match self.table.get(entry_ref).map(|entry| &entry.state) {
            Some(QueryState::Waiting) => {}
            Some(QueryState::Transferring(running)) if running.status == Status::Answered => {}
            Some(QueryState::Transferring(_)) => {
                self.table.end(entry_ref, QueryState::Failed, Some(now));
                return remember(&mut self.failed, &mut self.table, now, entry_ref);
            }
            _ => return,
        }
        self.table.end(entry_ref, QueryState::Answered(answer_hash), Some(now));
        remember(&mut self.answered, &mut self.table, now, entry_ref);
    }
}

fn transfer_transaction<'a>(
    entry: &'a QueryEntry,
    running: &'a RunningTransfer,
) -> Transaction<'a> {
    Transaction {
        response: Some(running.first.message()),
        transfer: Some(running.so_far),
        ..entry.transaction(running.status)
    }
}
