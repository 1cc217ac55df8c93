//! Slow and simple model of pairing as in the contract: all queries are in one list that is searched
//! from the front.
//!
//! Two details are not in the contract but copied from the implementation: deadlines are rounded up
//! to ticks of 2^24 ns, at whose end what is due ends, and the choice of the evicted query.

use super::*;
use crate::decode::Message;
use std::collections::HashSet;
use std::net::IpAddr;

/// The properties of a transaction that pairing determines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) query: Option<u64>,
    pub(super) response: Option<u64>,
    pub(super) latency: Option<Duration>,
    pub(super) retries: u32,
    pub(super) conflict: bool,
    pub(super) rejected: u32,
    pub(super) transfer: Option<(u64, u64, u64, Duration, bool)>,
    pub(super) stray: Option<(OrphanReason, Option<u64>)>,
}

impl Outcome {
    pub(super) fn of(transaction: &Transaction<'_>) -> Self {
        let seq = |message: Message<'_>| message.envelope.id.packet.seq;
        Self {
            status: transaction.status,
            query: transaction.query.map(seq),
            response: transaction.response.map(seq),
            latency: transaction.latency(),
            retries: transaction.retries,
            conflict: transaction.conflict,
            rejected: transaction.rejected,
            transfer: transaction
                .transfer
                .map(|t| (t.messages, t.bytes, t.records, t.duration, t.complete)),
            stray: transaction
                .orphan
                .map(|stray| (stray.reason, stray.resembles.map(|id| id.packet.seq))),
        }
    }
}

#[derive(Debug)]
enum ModelState {
    Waiting,
    Transferring { status: Status, messages: Vec<Draft>, timer: Timestamp },
    Answered { first: Box<Draft>, since: Timestamp },
    Failed { since: Timestamp },
}

#[derive(Debug)]
struct ModelQuery {
    query: Draft,
    state: ModelState,
    retries: u32,
    rejected: u32,
    /// Increasing number of the eviction that passed over it.
    spared: Option<u64>,
}

pub(super) struct Model {
    options: PairOptions,
    known: Vec<ModelQuery>,
    answered_pairs: HashSet<(IpAddr, IpAddr)>,
    spared: u64,
}

const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

fn tick(time: Timestamp) -> u64 {
    time.as_nanos() >> 24
}

fn tick_end(time: Timestamp) -> Timestamp {
    Timestamp::from_nanos((tick(time) + 1) << 24)
}

/// Rcode and records.
type AnswerContents = (u16, Vec<(String, u16, String)>);

/// Returns rcode and sorted records; `None` for a truncated response.
fn answer_contents(response: &Draft) -> Option<AnswerContents> {
    let mut records: Vec<_> = response
        .dns
        .answers
        .iter()
        .map(|a| (a.name.to_lowercase(), a.rtype, a.data.to_string()))
        .collect();
    records.sort();
    (!response.dns.flags.is_truncated()).then(|| (response.dns.rcode(), records))
}

fn question(message: &Draft) -> Option<(&str, u16, u16)> {
    message.dns.question.as_ref().map(|q| (&*q.qname, q.qtype, q.qclass))
}

fn asks_for_transfer(query: &Draft) -> bool {
    query.envelope.transport == Transport::Tcp
        && question(query).is_some_and(|(_, qtype, _)| qtype == 251 || qtype == 252)
}

/// RFC 5936, 2.2, and RFC 1995, 4: whether these messages are a complete transfer. `None` while more
/// must follow; false if none can follow.
fn is_closed(query: &Draft, messages: &[Draft]) -> Option<bool> {
    if messages.iter().any(|message| message.dns.rcode() != 0) {
        return Some(false);
    }
    let records: Vec<Option<u32>> = messages
        .iter()
        .flat_map(|message| message.dns.answers.iter())
        .map(|a| (a.rtype == 6).then(|| a.data.split(' ').nth(2).unwrap().parse().unwrap()))
        .collect();
    let incremental = question(query).is_some_and(|(_, qtype, _)| qtype == 251);
    let Some(Some(newest)) = records.first() else { return Some(false) };
    let newest_seen = records.iter().filter(|serial| **serial == Some(*newest)).count();
    // The serials of the histories are far from wrapping.
    let has_newer = query.dns.client_serial.is_some_and(|client| *newest > client);
    if incremental && records.len() == 1 && messages.len() == 1 && !has_newer {
        return Some(true);
    }
    let has_differences =
        incremental && matches!(records.get(1), Some(Some(serial)) if serial != newest);
    (newest_seen >= if has_differences { 3 } else { 2 }).then_some(true)
}

impl ModelQuery {
    fn ends(&self) -> (Transport, SocketAddr, SocketAddr) {
        let (client, server) = self.query.client_and_server();
        (self.query.envelope.transport, client, server)
    }

    fn is_waiting(&self) -> bool {
        matches!(self.state, ModelState::Waiting)
    }

    fn outcome(&self, status: Status, response: Option<&Draft>, conflict: bool) -> Outcome {
        let since = self.query.envelope.ts;
        let transfer = match &self.state {
            ModelState::Transferring { messages, .. } => {
                let last = messages.last().unwrap();
                Some((
                    messages.len() as u64,
                    messages.iter().map(|m| u64::from(m.wire_bytes)).sum(),
                    messages.iter().map(|m| m.dns.answers.len() as u64).sum(),
                    last.envelope.ts.since(since),
                    is_closed(&self.query, messages) == Some(true),
                ))
            }
            _ => None,
        };
        Outcome {
            status,
            query: Some(self.query.envelope.id.packet.seq),
            response: response.map(|r| r.envelope.id.packet.seq),
            latency: response
                .map(|r| r.envelope.ts)
                .filter(|ts| since <= *ts)
                .map(|ts| ts.since(since)),
            retries: self.retries,
            conflict,
            rejected: self.rejected,
            transfer,
            stray: None,
        }
    }
}

impl Model {
    pub(super) fn new(options: PairOptions) -> Self {
        Self { options, known: Vec::new(), answered_pairs: HashSet::new(), spared: 0 }
    }

    pub(super) fn waiting(&self) -> usize {
        self.known.iter().filter(|known| known.is_waiting()).count()
    }

    fn deadline(&self, place: usize) -> Timestamp {
        self.known[place].query.envelope.ts.plus(self.options.query_timeout)
    }

    fn fail(&mut self, place: usize, status: Status, now: Timestamp, out: &mut Vec<Outcome>) {
        out.push(self.known[place].outcome(status, None, false));
        self.known[place].state = ModelState::Failed { since: now };
    }

    fn close(&mut self, place: usize, now: Timestamp, out: &mut Vec<Outcome>) {
        let known = &mut self.known[place];
        let ModelState::Transferring { status, messages, .. } = &known.state else { return };
        out.push(known.outcome(*status, messages.first(), false));
        known.state = match status {
            Status::Answered => {
                ModelState::Answered { first: Box::new(messages[0].clone()), since: now }
            }
            _ => ModelState::Failed { since: now },
        };
    }

    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Vec<Outcome>) {
        for place in 0..self.known.len() {
            let deadline = self.deadline(place);
            match &mut self.known[place].state {
                ModelState::Waiting if tick(deadline) < tick(now) => {
                    self.fail(place, Status::Timeout, tick_end(deadline), out);
                }
                ModelState::Transferring { messages, timer, .. } if tick(*timer) < tick(now) => {
                    let end = messages.last().unwrap().envelope.ts.plus(IDLE_TIMEOUT);
                    *timer = end.max(*timer);
                    let due = *timer;
                    if tick(due) < tick(now) {
                        self.close(place, tick_end(due), out);
                    }
                }
                _ => {}
            }
        }
        self.known.retain(|known| match known.state {
            ModelState::Answered { since, .. } | ModelState::Failed { since } => {
                now.since(since) <= Duration::from_mins(1)
            }
            _ => true,
        });
    }

    pub(super) fn query(&mut self, query: Draft, out: &mut Vec<Outcome>) {
        let now = query.envelope.ts;
        self.expire(now, out);
        let same = self.known.iter().position(|known| {
            ModelQuery::ends(known) == ends(&query)
                && known.query.dns.id == query.dns.id
                && question(&known.query) == question(&query)
        });
        if let Some(place) = same {
            match self.known[place].state {
                ModelState::Waiting if now <= self.deadline(place) => {
                    self.known[place].retries += 1;
                    return;
                }
                ModelState::Waiting => self.fail(place, Status::Timeout, now, out),
                ModelState::Transferring { .. } => self.close(place, now, out),
                _ => {}
            }
            self.known.remove(place);
        }
        while self.waiting() >= self.options.max_transactions {
            let victim = self.victim();
            self.fail(victim, Status::Evicted, now, out);
        }
        self.known.push(ModelQuery {
            query,
            state: ModelState::Waiting,
            retries: 0,
            rejected: 0,
            spared: None,
        });
    }

    /// Returns the oldest query between hosts without an answered query, and passes over older ones.
    /// Else, returns the one that was passed over first.
    fn victim(&mut self) -> usize {
        for (place, known) in self.known.iter_mut().enumerate() {
            if known.is_waiting() && known.spared.is_none() {
                let (_, client, server) = known.ends();
                if !self.answered_pairs.contains(&(client.ip(), server.ip())) {
                    return place;
                }
                self.spared += 1;
                known.spared = Some(self.spared);
            }
        }
        let waiting = self.known.iter().enumerate().filter(|(_, known)| known.is_waiting());
        waiting.min_by_key(|(_, known)| known.spared).unwrap().0
    }

    pub(super) fn response(&mut self, response: Draft, out: &mut Vec<Outcome>) {
        let now = response.envelope.ts;
        self.expire(now, out);
        let Some(place) = self.answered_by(&response) else {
            let (reason, place) = self.resembled(&response);
            let resembles = place.map(|place| {
                let known = &mut self.known[place];
                known.rejected += u32::from(known.is_waiting());
                known.query.envelope.id.packet.seq
            });
            out.push(Outcome {
                status: Status::Orphan,
                query: None,
                response: Some(response.envelope.id.packet.seq),
                latency: None,
                retries: 0,
                conflict: false,
                rejected: 0,
                transfer: None,
                stray: Some((reason, resembles)),
            });
            return;
        };
        if self.known[place].is_waiting() && now > self.deadline(place) {
            self.fail(place, Status::Timeout, now, out);
        }
        if let ModelState::Transferring { messages, .. } = &self.known[place].state
            && now > messages.last().unwrap().envelope.ts.plus(IDLE_TIMEOUT)
        {
            self.close(place, now, out);
        }
        self.take(place, response, out);
    }

    fn take(&mut self, place: usize, response: Draft, out: &mut Vec<Outcome>) {
        let now = response.envelope.ts;
        let known = &mut self.known[place];
        let is_transfer = asks_for_transfer(&known.query);
        let status = match &mut known.state {
            ModelState::Transferring { messages, .. } => {
                messages.push(response);
                if is_closed(&known.query, messages).is_some() {
                    self.close(place, now, out);
                }
                return;
            }
            ModelState::Answered { first, .. } => {
                let refused = first.dns.rcode() != 0;
                let (before, after) = (answer_contents(first), answer_contents(&response));
                let comparable = !is_transfer || refused;
                let conflict = comparable && before.is_some() && after.is_some() && before != after;
                if before.is_none() && !is_transfer {
                    **first = response.clone();
                }
                out.push(known.outcome(Status::Duplicate, Some(&response), conflict));
                return;
            }
            ModelState::Waiting => Status::Answered,
            ModelState::Failed { .. } => Status::Late,
        };
        if status == Status::Answered {
            let (_, client, server) = known.ends();
            self.answered_pairs.insert((client.ip(), server.ip()));
        }
        if is_transfer && response.dns.rcode() == 0 {
            let was_failed = match known.state {
                ModelState::Failed { since } => Some(since),
                _ => None,
            };
            let messages = vec![response];
            let is_over = is_closed(&known.query, &messages).is_some();
            known.state =
                ModelState::Transferring { status, messages, timer: now.plus(IDLE_TIMEOUT) };
            if is_over {
                self.close(place, now, out);
                if let Some(since) = was_failed {
                    self.known[place].state = ModelState::Failed { since };
                }
            }
            return;
        }
        out.push(known.outcome(status, Some(&response), false));
        if status == Status::Answered {
            known.state = ModelState::Answered { first: Box::new(response), since: now };
        }
    }

    /// Returns the query with the pairing key of a response; without a question: a running
    /// transfer, else the oldest waiting query, else the newest one.
    fn answered_by(&self, response: &Draft) -> Option<usize> {
        let candidates: Vec<usize> = (0..self.known.len())
            .filter(|&place| {
                self.known[place].ends() == ends(response)
                    && self.known[place].query.dns.id == response.dns.id
            })
            .collect();
        let find = |wanted: &dyn Fn(&ModelQuery) -> bool| {
            candidates.iter().copied().find(|&place| wanted(&self.known[place]))
        };
        match question(response) {
            Some(asked) => find(&|known| question(&known.query) == Some(asked)),
            None => find(&|known| matches!(known.state, ModelState::Transferring { .. }))
                .or_else(|| find(&ModelQuery::is_waiting))
                .or_else(|| candidates.last().copied()),
        }
    }

    /// Returns the query that an orphan resembles: waiting ones first, then in the order of the
    /// reasons, then the newest; with another id, the oldest.
    fn resembled(&self, response: &Draft) -> (OrphanReason, Option<usize>) {
        let (transport, client, server) = ends(response);
        let mut found = Vec::new();
        for (place, known) in self.known.iter().enumerate() {
            let (its_transport, its_client, its_server) = known.ends();
            if its_transport != transport || its_client.ip() != client.ip() {
                continue;
            }
            let same_id = known.query.dns.id == response.dns.id;
            let same_question =
                question(response).is_none() || question(response) == question(&known.query);
            let same_source = its_server.ip() == server.ip();
            let same_ports =
                (its_client.port(), its_server.port()) == (client.port(), server.port());
            let same_client_port = its_client.port() == client.port();
            let reason = match (same_id, same_question, same_source, same_ports) {
                (true, true, false, _) if same_client_port => OrphanReason::WrongSource,
                (true, true, true, false) => OrphanReason::WrongPort,
                (true, false, true, true) => OrphanReason::WrongQuestion,
                (false, true, true, true) if known.is_waiting() => OrphanReason::WrongId,
                _ => continue,
            };
            let order = i64::try_from(place).unwrap();
            let order = if reason == OrphanReason::WrongId { order } else { -order };
            found.push((!known.is_waiting(), reason, order, place));
        }
        found.sort_unstable();
        found.first().map_or((OrphanReason::NoQuery, None), |found| (found.1, Some(found.3)))
    }

    pub(super) fn unreachable(&mut self, error: &Unreachable, out: &mut Vec<Outcome>) {
        self.expire(error.ts, out);
        let found = self.known.iter().position(|known| {
            known.is_waiting()
                && known.ends() == (error.transport, error.client, error.server)
                && error.query_id.is_none_or(|id| id == known.query.dns.id)
        });
        if let Some(place) = found {
            self.fail(place, Status::IcmpError, error.ts, out);
        }
    }

    pub(super) fn finish(&mut self, now: Timestamp, out: &mut Vec<Outcome>) {
        self.expire(now, out);
        for place in 0..self.known.len() {
            match self.known[place].state {
                ModelState::Waiting if self.deadline(place) < now => {
                    self.fail(place, Status::Timeout, now, out);
                }
                ModelState::Waiting => {
                    out.push(self.known[place].outcome(Status::Open, None, false));
                }
                ModelState::Transferring { .. } => self.close(place, now, out),
                _ => {}
            }
        }
    }
}

fn ends(message: &Draft) -> (Transport, SocketAddr, SocketAddr) {
    let (client, server) = message.client_and_server();
    (message.envelope.transport, client, server)
}
