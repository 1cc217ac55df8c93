//! Rules `resolver_down` and `resolver_flapping`: resolvers that stop answering, once or
//! repeatedly.
//!
//! Only queries sent after the last answer arrived count. A timeout is known only after the query
//! timeout, when later queries may have been answered. So a resolver that loses every other packet
//! is never down, and one that falls silent is, as soon as enough queries were sent to it.
//!
//! A client that asks several servers at once closes its socket at the first answer. The answers of the others are
//! no failures.

use super::finding::{Detector, Entity, Evidence, Figure, Finding, Rule, Severity};
use super::options::{DownOptions, FlappingOptions};
use super::recent::RecentAnswers;
use super::samples::{Outcome, Sample};
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::{Status, Vantage};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use std::collections::VecDeque;
use std::time::Duration;

const MAX_RESOLVERS: usize = 4096;
/// Time after which a resolver that is not queried is no longer reported.
const STALE: Duration = Duration::from_mins(5);
/// Number of failures sampled.
const MAX_SAMPLES: usize = 3;
const MAX_RECOVERIES: usize = 32;
/// Factor for the number of failures of a server that is queried without recursion desired: a
/// resolver meets broken resolvers every day.
const NON_RECURSIVE_FACTOR: u64 = 10;
/// Minimum number of resolvers that are down together, if they are at least half of those queried
/// in the last minute.
const MIN_TOGETHER: usize = 5;

#[derive(Debug, Default)]
struct ResolverState {
    last_answer: Option<Timestamp>,
    /// Whether it is queried with recursion desired.
    recursive: bool,
    last_query: Timestamp,
    /// Failed queries sent since its last answer.
    failures: u64,
    /// Failed queries that ended with an ICMP error.
    unreachable: u64,
    /// Time of the first and the last failed query.
    failing: (Timestamp, Timestamp),
    samples: Vec<Sample>,
    /// Times of its recoveries.
    recoveries: VecDeque<Timestamp>,
}

/// Tracks whether resolvers answer.
#[derive(Debug)]
pub(super) struct ResolverHealth {
    down: DownOptions,
    flapping: FlappingOptions,
    answers: RecentAnswers,
    /// Resolvers by name, for each vantage.
    resolvers: [HashMap<Box<str>, ResolverState, RandomState>; Vantage::ALL.len()],
}

impl ResolverHealth {
    pub(super) fn new(down: DownOptions, flapping: FlappingOptions) -> Self {
        Self { down, flapping, answers: RecentAnswers::default(), resolvers: Default::default() }
    }

    pub(super) const fn reconfigure(&mut self, down: DownOptions, flapping: FlappingOptions) {
        self.down = down;
        self.flapping = flapping;
    }

    /// Returns whether this host queries a server with recursion desired; true if nothing is known.
    pub(super) fn is_recursive(&self, resolver: &str) -> bool {
        let resolvers = &self.resolvers[Vantage::Client as usize];
        resolvers.get(resolver).is_none_or(|state| state.recursive)
    }

    /// Returns the number of resolvers tracked.
    pub(super) fn known(&self) -> usize {
        self.resolvers.iter().map(HashMap::len).sum()
    }

    fn resolver_mut(&mut self, observation: &TransactionView<'_>) -> Option<&mut ResolverState> {
        let is_full = self.known() >= MAX_RESOLVERS;
        match self.resolvers[observation.vantage as usize].entry_ref(observation.resolver) {
            EntryRef::Occupied(known) => Some(known.into_mut()),
            EntryRef::Vacant(_) if is_full => None,
            EntryRef::Vacant(new) => {
                Some(new.insert_with_key(observation.resolver.into(), ResolverState::default()))
            }
        }
    }
}

impl ResolverState {
    fn record_answer(&mut self, at: Timestamp, down: DownOptions) {
        if self.is_down(down) {
            if self.recoveries.len() == MAX_RECOVERIES {
                self.recoveries.pop_front();
            }
            self.recoveries.push_back(at);
        }
        self.last_answer = self.last_answer.max(Some(at));
        self.failures = 0;
        self.unreachable = 0;
        self.samples.clear();
    }

    fn record_failure(&mut self, observation: &TransactionView<'_>) {
        let sent = observation.ts;
        if self.last_answer.is_some_and(|last_answer| sent <= last_answer) {
            return;
        }
        let (first, last) = self.failing;
        self.failing =
            if self.failures == 0 { (sent, sent) } else { (first.min(sent), last.max(sent)) };
        self.failures += 1;
        self.unreachable += u64::from(observation.status == Status::IcmpError);
        if self.samples.len() < MAX_SAMPLES {
            self.samples.push(Sample::new(observation, Outcome::Unanswered));
        }
    }

    fn is_down(&self, options: DownOptions) -> bool {
        let (first, last) = self.failing;
        let needed = if self.recursive {
            options.min_queries
        } else {
            options.min_queries * NON_RECURSIVE_FACTOR
        };
        self.failures >= needed && last.since(first) >= options.span
    }

    /// Returns whether it can be reported as down. Scanners query any address: at the server's
    /// vantage a resolver must have answered before.
    fn may_be_down(&self, vantage: Vantage) -> bool {
        vantage != Vantage::Server || self.last_answer.is_some()
    }

    fn finding(
        &self,
        (vantage, resolver): (Vantage, &str),
        now: Timestamp,
        options: DownOptions,
    ) -> Finding {
        let (first, last) = self.failing;
        let (failures, seconds) = (to_f64(self.failures), last.since(first).as_secs_f64());
        let mut evidence = Evidence {
            figures: vec![
                Figure::new("unanswered_queries", failures, Some(to_f64(options.min_queries))),
                Figure::new("failing_seconds", seconds, Some(options.span.as_secs_f64())),
                Figure::new("icmp_error_ratio", to_f64(self.unreachable) / failures, None),
            ],
            ..Evidence::default()
        };
        let since = self.last_answer.map(|last_answer| now.since(last_answer).as_secs_f64());
        evidence.figures.extend(since.map(|since| Figure::new("last_answer_seconds", since, None)));
        self.samples.iter().for_each(|sample| sample.add_to(&mut evidence));
        let how = match self.unreachable {
            0 => "nothing came back",
            some if some == self.failures => "each was refused by an ICMP error",
            _ => "ICMP errors or nothing came back",
        };
        let answer = match since {
            Some(since) => format!("its last answer came {since:.0} s before"),
            None => "no answer of it was ever seen".to_owned(),
        };
        Finding {
            rule: Rule::ResolverDown,
            entity: entity(vantage, Some(resolver)),
            level: if self.recursive { Severity::Critical } else { Severity::Warning },
            summary: format!(
                "{resolver} is down: {} queries in {seconds:.0} s and no answer, {how}; {answer}.",
                self.failures,
            ),
            evidence,
        }
    }

    fn flapping(&self, vantage: Vantage, resolver: &str, options: FlappingOptions) -> Finding {
        let times = to_f64(self.recoveries.len() as u64);
        Finding {
            rule: Rule::ResolverFlapping,
            entity: entity(vantage, Some(resolver)),
            level: Severity::Warning,
            summary: format!(
                "{resolver} was down and came back {} times in {} minutes.",
                self.recoveries.len(),
                options.span.as_secs() / 60,
            ),
            evidence: Evidence {
                figures: vec![Figure::new("returns", times, Some(to_f64(options.times)))],
                resolvers: vec![resolver.into()],
                ..Evidence::default()
            },
        }
    }
}

impl Detector for ResolverHealth {
    #[cfg(any(test, feature = "testing"))]
    fn settings_in_force(&self) -> String {
        format!("{:?} {:?}", self.rules(), (self.down, self.flapping))
    }

    fn rules(&self) -> &'static [Rule] {
        &[Rule::ResolverDown, Rule::ResolverFlapping]
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        // Multicast queries (mDNS, LLMNR) need no answer.
        if observation.opcode != 0 || observation.server.ip().is_multicast() {
            return;
        }
        self.answers.note(observation);
        let answered_at = observation.answered_at();
        if answered_at.is_none()
            && (observation.is_lost_here() || self.answers.is_answered_elsewhere(observation))
        {
            return;
        }
        let down = self.down;
        let Some(state) = self.resolver_mut(observation) else { return };
        match (observation.status, answered_at) {
            // Unknown outcomes, and responses that anybody could have sent.
            (Status::Orphan | Status::Evicted | Status::Open, _) => return,
            (Status::Timeout | Status::IcmpError, None) => state.record_failure(observation),
            (_, at) => state.record_answer(at.unwrap_or(observation.ts), down),
        }
        state.recursive |= observation.flags.recursion_desired();
        state.last_query = state.last_query.max(observation.ts);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        let Self { down, flapping, resolvers, .. } = self;
        for (vantage, resolvers) in Vantage::ALL.into_iter().zip(resolvers.iter_mut()) {
            let mut known: Vec<(&str, &mut ResolverState)> =
                resolvers.iter_mut().map(|(resolver, state)| (&**resolver, state)).collect();
            known.sort_unstable_by_key(|(resolver, _)| *resolver);
            let mut queried = 0;
            let mut down_resolvers = Vec::new();
            for (resolver, state) in known {
                queried += usize::from(now.since(state.last_query) < Duration::from_mins(1));
                state.recoveries.retain(|then| now.since(*then) < flapping.span);
                if state.recoveries.len() as u64 >= flapping.times {
                    each(state.flapping(vantage, resolver, *flapping));
                }
                if state.is_down(*down)
                    && state.may_be_down(vantage)
                    && now.since(state.last_query) < STALE
                {
                    down_resolvers.push((resolver, state.failures));
                    each(state.finding((vantage, resolver), now, *down));
                }
            }
            if down_resolvers.len() >= MIN_TOGETHER && down_resolvers.len() * 2 >= queried {
                each(down_together(vantage, &down_resolvers, queried));
            }
        }
        // If the table is full, resolvers are kept for less long: one that matters is added again
        // by its next query.
        let known: usize = resolvers.iter().map(HashMap::len).sum();
        let keeps = if known < MAX_RESOLVERS { STALE * 2 } else { Duration::from_secs(30) };
        for resolvers in resolvers {
            resolvers.retain(|_, state| now.since(state.last_query) < keeps);
        }
    }
}

fn entity(vantage: Vantage, resolver: Option<&str>) -> Entity {
    let resolver = resolver.map(Into::into);
    Entity { vantage: Some(vantage), resolver, ..Entity::default() }
}

/// Returns the finding for many resolvers that are down together.
fn down_together(vantage: Vantage, resolvers: &[(&str, u64)], queried: usize) -> Finding {
    let (down, failures) = (resolvers.len(), resolvers.iter().map(|(_, failures)| failures).sum());
    Finding {
        rule: Rule::ResolverDown,
        entity: entity(vantage, None),
        level: Severity::Critical,
        summary: format!("{down} of {queried} resolvers are down together."),
        evidence: Evidence {
            figures: vec![
                Figure::new(
                    "resolvers_down",
                    to_f64(down as u64),
                    Some(to_f64(MIN_TOGETHER as u64)),
                ),
                Figure::new("unanswered_queries", to_f64(failures), None),
            ],
            resolvers: resolvers
                .iter()
                .take(MIN_TOGETHER)
                .map(|(resolver, _)| (*resolver).into())
                .collect(),
            ..Evidence::default()
        },
    }
}

#[cfg(test)]
mod tests;
