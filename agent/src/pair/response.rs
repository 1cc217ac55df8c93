//! What a response changes: the transaction that it answers, or continues, or resembles.

use super::entry::{Entry, State};
use super::key::{Ends, Key, asked};
use super::multicast::{self, Group};
use super::pairer::{Each, Pairer, remember};
use super::table::{Age, Slot};
use super::transfer::{self, Running};
use super::{MAX_TRANSFERS, OrphanReason, Status, Stray, Transaction, Vantage, resemblance};
use crate::capture::Transport;
use crate::decode::Message;
use crate::time::Timestamp;

impl Pairer {
    pub(super) fn response(&mut self, message: &Message<'_>, each: Each<'_>) {
        if let Some(slot) = self.find_for(message) {
            self.answer(slot, message, each);
        } else if let Some(group) = multicast::speaks_for(message).filter(|group| group.is_mdns()) {
            self.answer_everyone(message, group, each);
        } else {
            self.orphan(message, each);
        }
    }

    /// The transaction that a response belongs to.
    fn find_for(&self, response: &Message<'_>) -> Option<Slot> {
        if asked(response).is_none() {
            return self.table.nameless(&Ends::of(response), response.dns.id);
        }
        let find = |key: &Key<'_>| self.table.find(self.table.hash(key), key);
        find(&Key::of(response))
            .or_else(|| find(&Key::of_group(response, multicast::speaks_for(response)?)))
    }

    fn answer(&mut self, slot: Slot, message: &Message<'_>, each: Each<'_>) {
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
                if !running.take(entry.query.message().envelope.ts, message) {
                    self.close_transfer(slot, ts, each);
                }
                return;
            }
            State::Answered(first) => {
                let further = self.digest.of(message);
                let conflict = first.is_some() && further.is_some() && *first != further;
                if !transfer::is_asked_by(&entry.query.message()) {
                    // The first may have been cut short; then this is what others must agree with.
                    *first = first.or(further);
                }
                self.counters.responses += 1;
                self.counters.duplicate += 1;
                let transaction = entry.transaction(Status::Duplicate);
                each(&Transaction { response: Some(*message), conflict, ..transaction });
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
            let (client, server) = entry.query.message().ends();
            self.established.note(client, server);
        }
        if transfer::is_asked_by(&entry.query.message()) {
            self.begin_transfer(slot, status, message, each);
            return;
        }
        each(&Transaction { response: Some(*message), ..entry.transaction(status) });
        if status == Status::Answered {
            let said = self.digest.of(message);
            self.remember_answer(slot, said, ts);
        }
    }

    /// What a response to all of mDNS answers: every query that waits for one of its records; if
    /// none does, it is one more response to the newest of those that do not wait any longer.
    fn answer_everyone(&mut self, message: &Message<'_>, group: Group, each: Each<'_>) {
        let ts = message.envelope.ts;
        let to = (!multicast::is_to_group(message)).then_some(message.envelope.dst);
        let mut waiting = Vec::new();
        let mut answered = None;
        multicast::answered(message, |asked| {
            for (slot, entry) in self.table.asked(message, group, asked) {
                let query = entry.query.message();
                let wanted = ts <= entry.deadline
                    && to.is_none_or(|to| to == query.ends().0)
                    && !multicast::is_own_probe(&query, message);
                match entry.state {
                    State::Waiting if wanted && !waiting.contains(&slot) => waiting.push(slot),
                    State::Answered(_) if wanted => answered = Some(slot),
                    _ => {}
                }
            }
        });
        let said = self.digest.of(message);
        for (place, slot) in waiting.iter().enumerate() {
            let Some(entry) = self.table.get(*slot) else { continue };
            self.counters.responses += 1;
            self.counters.answered += 1;
            self.counters.shared += u64::from(place > 0);
            each(&Transaction { response: Some(*message), ..entry.transaction(Status::Answered) });
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
                each(&Transaction { response: Some(*message), ..transaction });
            }
            None => self.orphan(message, each),
        }
    }

    fn orphan(&mut self, message: &Message<'_>, each: Each<'_>) {
        self.counters.responses += 1;
        self.counters.orphan += 1;
        // A response whose query was left out resembles others of the same client by chance.
        let (reason, slot) = if self.may_be_sampled(message) {
            (OrphanReason::Sampled, None)
        } else {
            resemblance::of(&self.table, message)
        };
        let victim = slot.and_then(|slot| self.table.get_mut(slot));
        let resembles = victim.map(|entry| {
            entry.rejected += u32::from(entry.is_waiting());
            entry.query.message().envelope.id
        });
        each(&Transaction {
            status: Status::Orphan,
            vantage: Vantage::of(message.envelope.sight, true),
            query: None,
            response: Some(*message),
            retries: 0,
            conflict: false,
            icmp: None,
            rejected: 0,
            transfer: None,
            stray: Some(Stray { reason, resembles }),
        });
    }

    /// Whether the query of a response may have been left out on purpose. The programs leave out what
    /// answers it, too, as far as they remember; fragments they always tell.
    fn may_be_sampled(&self, response: &Message<'_>) -> bool {
        let envelope = &response.envelope;
        let within = (envelope.ts.minus(self.options.query_timeout * 2), envelope.ts);
        envelope.transport == Transport::Udp
            && self.sampling.may_have_left_out(
                (envelope.src, envelope.dst),
                response.dns.id,
                within,
            )
    }

    fn begin_transfer(
        &mut self,
        slot: Slot,
        status: Status,
        message: &Message<'_>,
        each: Each<'_>,
    ) {
        let ts = message.envelope.ts;
        let Some(entry) = self.table.get(slot) else { return };
        match transfer::begin(&entry.query.message(), message, status) {
            Some((running, true)) => {
                if self.table.transfers() >= MAX_TRANSFERS
                    && let Some(oldest) = self.table.oldest(Age::Transfers)
                {
                    self.close_transfer(oldest, ts, each);
                }
                self.table.begin_transfer(slot, Box::new(running));
                self.table.set_timer(slot, ts.plus(transfer::IDLE));
            }
            Some((running, false)) => {
                each(&transferred(entry, &running));
                self.remember_answer(slot, None, ts);
            }
            None => {
                each(&Transaction { response: Some(*message), ..entry.transaction(status) });
                let said = self.digest.of(message);
                self.remember_answer(slot, said, ts);
            }
        }
    }

    pub(super) fn close_transfer(&mut self, slot: Slot, now: Timestamp, each: Each<'_>) {
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
}

fn transferred<'a>(entry: &'a Entry, running: &'a Running) -> Transaction<'a> {
    Transaction {
        response: Some(running.first.message()),
        transfer: Some(running.so_far),
        ..entry.transaction(running.status)
    }
}
