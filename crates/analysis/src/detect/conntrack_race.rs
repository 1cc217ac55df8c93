//! Rule `conntrack_race`: of A and AAAA that leave one socket together, the second is lost, again and again
//! (kubernetes #56903).
//!
//! Both queries are the first packets of one flow. Where connection tracking translates them at the same time, the entry of the
//! second cannot be inserted, and its packet is discarded. Loss on the path takes the first as often as the second, and a resolver that does
//! not answer one of the types does not answer it either when it is asked again. See `docs/detectors.md`.

use super::attribution::{
    Attribution, EvidenceSample, combine_hashes, hash, hash_address, is_echo, is_multicast,
};
use super::finding::{Detector, Figure, Finding, Rule, Severity};
use super::recent::{Recent, RecentAnswers};
use super::rolling::Rolling;
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_dns::rtype::{A, AAAA};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{LossStage, Transport};
use dnscribe_transaction::pair::{Status, Vantage};
use std::time::Duration;

/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(5);
/// Longest time between the two queries of a pair.
const PAIR: Duration = Duration::from_millis(20);
/// Longest time until a query that was lost is asked again; resolvers of programs wait for 5 s, or less.
const REPEAT: Duration = Duration::from_secs(10);
/// Least number of pairs that lost the second query within five to ten minutes.
const MIN_LOST: u64 = 5;
/// For each loss of another kind this many of the second query.
const MIN_FACTOR: u64 = 4;
/// Least share of the lost queries that were answered when asked again.
const MIN_REPEATED: f64 = 0.8;

const MAX_CLIENTS: usize = 1024;
/// Lost queries that are remembered until they are asked again.
const MAX_WAITING: usize = 256;
/// Time after which an idle client is forgotten.
const IDLE: Duration = Duration::from_hours(1);

/// Finds clients that lose the second query of pairs.
#[derive(Debug, Default)]
pub struct ConntrackRace {
    /// Halves of pairs by [`pair_key`], and answers by their question.
    recent: Recent<Query>,
    answers: RecentAnswers,
    clients: AssociativeTable<Client, MAX_CLIENTS>,
    /// Lost queries that have not been answered since.
    waiting: Vec<Waiting>,
}

/// A lost query that its client may ask again.
#[derive(Debug)]
struct Waiting {
    /// Key of the question, without the client's port.
    question: u64,
    ts: Timestamp,
    client: u64,
}

/// A client that has lost one query of a pair.
#[derive(Debug)]
struct Client {
    attribution: Attribution,
    counts: Rolling<Counts>,
    sample: EvidenceSample,
}

#[derive(Clone, Debug, Default)]
struct Counts {
    /// Pairs without the query that was sent second.
    second: u64,
    /// Pairs without the first, or without both.
    other: u64,
    /// Lost queries of pairs that were answered when asked again.
    repeated: u64,
}

/// A query, as far as a pair needs it.
#[derive(Clone, Copy, Debug, Default)]
struct Query {
    ts: Timestamp,
    qtype: u16,
    is_lost: bool,
}

impl Client {
    fn new(observation: &TransactionView<'_>) -> Self {
        Self {
            attribution: Attribution::new(observation),
            counts: Rolling::default(),
            sample: EvidenceSample::default(),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let second = self.counts.sum(|counts| counts.second);
        let other = self.counts.sum(|counts| counts.other);
        let repeated = self.counts.sum(|counts| counts.repeated);
        let repeated = to_f64(repeated) / to_f64((second + other).max(1));
        if second < MIN_LOST || second < other * MIN_FACTOR || repeated < MIN_REPEATED {
            return None;
        }
        let summary = format!(
            "{} lost the second of two queries that it sent at once (A and AAAA) {second} times within 10 min, and \
             had an answer when it asked again: a race in connection tracking",
            self.attribution
        );
        let figures = vec![
            Figure::new("second_lost", to_f64(second), Some(to_f64(MIN_LOST))),
            Figure::new("other_lost", to_f64(other), None),
            Figure::new("repeated_ratio", repeated, Some(MIN_REPEATED)),
        ];
        let (entity, level) = (self.attribution.entity(), Severity::Warning);
        Some(self.sample.finding(Rule::ConntrackRace, entity, level, (summary, figures)))
    }
}

/// Returns the key of a pair: name and sockets, and the second in which it was sent. A program may ask again by the same
/// socket, and have its answer before the lost query ends; that is another pair.
fn pair_key(name: u64, observation: &TransactionView<'_>) -> u64 {
    let TransactionView { ts, client, server, .. } = observation;
    let sockets = u64::from(client.port()) << 16 | u64::from(server.port());
    combine_hashes(combine_hashes(name, sockets), ts.as_nanos() / 1_000_000_000)
}

/// Returns whether what came at `later` makes a query good that was lost at `ts`.
fn is_repeated(ts: Timestamp, later: Timestamp) -> bool {
    later > ts && later.since(ts) <= REPEAT
}

impl ConntrackRace {
    /// Counts a pair that lost a query. `earlier`: the half of it that ended first.
    fn count(
        &mut self,
        observation: &TransactionView<'_>,
        [earlier, this]: [Query; 2],
        question: u64,
    ) {
        let (ts, key) = (this.ts, Attribution::hash(observation));
        let client = self.clients.entry(key, ts, || Client::new(observation));
        client.counts.roll(ts, SPAN);
        let counts = &mut client.counts.current;
        if earlier.is_lost || ts < earlier.ts {
            counts.other += 1;
        } else {
            counts.second += 1;
            client.sample.record(observation);
        }
        let answers = [observation.response_ts, self.recent.get(question).map(|query| query.ts)];
        if answers.into_iter().flatten().any(|answer| is_repeated(ts, answer)) {
            counts.repeated += 1;
        } else if self.waiting.len() < MAX_WAITING {
            self.waiting.push(Waiting { question, ts, client: key });
        }
    }

    /// Counts the lost queries that this answer, to the same question asked again, makes good.
    fn count_repeated(&mut self, question: u64, ts: Timestamp) {
        let clients = &mut self.clients;
        self.waiting.retain(|lost| {
            let is_repeated = lost.question == question && is_repeated(lost.ts, ts);
            if is_repeated && let Some(client) = clients.get_mut(lost.client, ts) {
                client.counts.current.repeated += 1;
            }
            !is_repeated
        });
    }
}

impl Detector for ConntrackRace {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::ConntrackRace]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let (Some(qname), Some(qtype @ (A | AAAA))) = (observation.qname, observation.qtype) else {
            return;
        };
        let TransactionView { ts, client, server, .. } = *observation;
        if observation.vantage != Vantage::Client
            || observation.transport != Transport::Udp
            || !matches!(observation.status, Status::Answered | Status::Timeout)
            || is_echo(observation)
            || is_multicast(observation)
            // What the kernel of this host discards elsewhere has another cause.
            || observation.lost.is_some_and(|lost| lost.loss.stage != LossStage::Netfilter)
        {
            return;
        }
        let is_answered = observation.response_ts.is_some();
        let exchange = combine_hashes(hash_address(client.ip()), hash_address(server.ip()));
        let name = combine_hashes(exchange, hash(qname.as_bytes()));
        let question = combine_hashes(name, qtype.into());
        let pair = pair_key(name, observation);
        self.answers.note(observation);
        let is_lost = (!is_answered || observation.retries > 0)
            && !self.answers.is_answered_elsewhere(observation);
        let this = Query { ts, qtype, is_lost };
        match self.recent.get(pair) {
            None => self.recent.insert(pair, this),
            Some(earlier)
                if earlier.qtype != qtype
                    && (earlier.is_lost || is_lost)
                    && earlier.ts.since(ts).max(ts.since(earlier.ts)) <= PAIR =>
            {
                self.count(observation, [earlier, this], question);
            }
            // Both were answered, or this was asked again within the second.
            Some(_) => {}
        }
        if is_answered {
            self.count_repeated(question, ts);
            self.recent.insert(question, this);
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.waiting.retain(|lost| now.since(lost.ts) <= REPEAT * 2);
        self.clients.values_mut().for_each(|client| client.counts.roll(now, SPAN));
        self.clients.evaluate(now, IDLE, |client| client.finding(), each);
    }
}

#[cfg(test)]
mod tests;
