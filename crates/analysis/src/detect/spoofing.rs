//! Rule `spoofing`: responses to one query that contradict each other, so that one of them is
//! forged.
//!
//! A further response with the same content is harmless: a duplicate by the network, or the answer
//! to a retry. A response with other content to a query that was sent once is a spoofing race.
//! After a retry a server may have answered both queries, with different addresses of a large site;
//! such contradictions count only in numbers.

use super::attribution::{EvidenceSample, hash, is_multicast, is_other_end};
use super::finding::{Detector, Entity, Figure, Finding, Rule, Severity};
use super::rolling::Rolling;
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::Status;
use std::time::Duration;

const MAX_RESOLVERS: usize = 512;
/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(5);

// Thresholds for one resolver, over five to ten minutes.

/// Contradictions without a retry of the query: warning and critical.
const RACES: (u64, u64) = (1, 3);
/// Contradictions after a retry: warning.
const AFTER_RETRIES: u64 = 10;

/// Finds responses that contradict each other.
#[derive(Debug, Default)]
pub struct Spoofing {
    resolvers: AssociativeTable<Resolver, MAX_RESOLVERS>,
}

#[derive(Debug)]
struct Resolver {
    name: Box<str>,
    counts: Rolling<Counts>,
    evidence: EvidenceSample,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    races: u64,
    after_retries: u64,
    /// Shortest time from the query to the contradicting response, in milliseconds.
    soonest_ms: Option<f64>,
}

impl Detector for Spoofing {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::Spoofing]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let contradicts = observation.status == Status::Duplicate && observation.conflict;
        if !contradicts || is_other_end(observation) || is_multicast(observation) {
            return;
        }
        let key = hash(observation.resolver.as_bytes());
        let resolver = self.resolvers.entry(key, observation.ts, || Resolver {
            name: observation.resolver.into(),
            counts: Rolling::default(),
            evidence: EvidenceSample::default(),
        });
        resolver.counts.roll(observation.response_ts.unwrap_or(observation.ts), SPAN);
        let counts = &mut resolver.counts.current;
        if observation.retries == 0 {
            counts.races += 1;
        } else {
            counts.after_retries += 1;
        }
        counts.soonest_ms = soonest(counts.soonest_ms, observation.latency_ms);
        resolver.evidence.record(observation);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.resolvers.evaluate(now, SPAN * 3, |resolver| resolver.evaluate(now), each);
    }
}

impl Resolver {
    fn evaluate(&mut self, now: Timestamp) -> Option<Finding> {
        self.counts.roll(now, SPAN);
        let races = self.counts.sum(|counts| counts.races);
        let after_retries = self.counts.sum(|counts| counts.after_retries);
        let (level, value, threshold, how) = if races >= RACES.0 {
            let level = Severity::at_least_warning(races >= RACES.1);
            (level, races, RACES.0, "to queries that were sent once")
        } else if after_retries >= AFTER_RETRIES {
            (Severity::Warning, after_retries, AFTER_RETRIES, "to queries that were sent again")
        } else {
            return None;
        };
        let soonest = soonest(self.counts.current.soonest_ms, self.counts.previous.soonest_ms);
        let within =
            soonest.map_or(String::new(), |ms| format!(", the soonest {ms:.1} ms after the query"));
        let summary = format!(
            "{value} responses of {} within 10 min contradict an earlier one, {how}{within}: one of the two \
             is forged",
            self.name
        );
        let mut figures = vec![
            Figure::new("contradictions", to_f64(value), Some(to_f64(threshold))),
            Figure::new("contradictions_after_retries", to_f64(after_retries), None),
        ];
        figures.extend(soonest.map(|ms| Figure::new("soonest_ms", ms, None)));
        let entity = Entity { resolver: Some(self.name.clone()), ..Entity::default() };
        Some(self.evidence.finding(Rule::Spoofing, entity, level, (summary, figures)))
    }
}

fn soonest(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests;
