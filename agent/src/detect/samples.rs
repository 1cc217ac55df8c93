//! Some transactions of the last minute, as evidence, and to judge by which alerts have one cause.
//!
//! Of each span between two evaluations a fair sample is kept (Vitter: "Random Sampling with a
//! Reservoir", ACM TOMS 1985), of all queries, of those that failed, and of those for what does not
//! exist. The draw is the same for the same traffic.

use super::finding::{Entity, Evidence, Rule};
use crate::decode::MessageId;
use crate::observation::Observation;
use crate::pair::{Status, Vantage};
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Samples of a pool and a span.
const PER_SPAN: usize = 128;
/// Spans remembered beside the one under way: a minute.
const SPANS: usize = 6;
/// Of each kind, in evidence.
const SHOWN: usize = 5;

const NXDOMAIN: u16 = 3;

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered, or its outcome is not known.
    Fine,
    /// The name does not exist.
    Nxdomain,
    /// It got an answer that is an error.
    Refused,
    /// It got none.
    Unanswered,
}

impl Outcome {
    /// What became of a query; none of what began with no query.
    pub(super) fn of(observation: &Observation<'_>) -> Option<Self> {
        match (observation.status, observation.rcode) {
            (Status::Late | Status::Duplicate | Status::Orphan, _) => None,
            (Status::Timeout | Status::IcmpError, _) => Some(Self::Unanswered),
            (Status::Answered, Some(NXDOMAIN)) => Some(Self::Nxdomain),
            (Status::Answered, Some(rcode)) if is_failure(rcode) => Some(Self::Refused),
            (Status::Answered | Status::Evicted | Status::Open, _) => Some(Self::Fine),
        }
    }
}

/// Codes that say that a server could not, or would not, answer: FORMERR, SERVFAIL, NOTIMP, REFUSED,
/// NOTAUTH, NOTZONE. The others are answers, or steps of a protocol.
pub(super) const fn is_failure(rcode: u16) -> bool {
    matches!(rcode, 1 | 2 | 4 | 5 | 9 | 10)
}

/// A transaction that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) id: MessageId,
    /// When the query was sent.
    pub(super) ts: Timestamp,
    outcome: Outcome,
    latency_ms: f64,
    vantage: Vantage,
    resolver: Box<str>,
    zone: Option<Box<str>>,
    qname: Option<Box<str>>,
    process: Option<(Box<str>, u32)>,
    pod: Option<Box<str>>,
    client: IpAddr,
}

impl Sample {
    pub(super) fn of(observation: &Observation<'_>, outcome: Outcome) -> Self {
        Self {
            id: observation.id,
            ts: observation.ts,
            outcome,
            latency_ms: observation.latency_ms.unwrap_or(0.0),
            vantage: observation.vantage,
            resolver: observation.resolver.into(),
            zone: observation.zone.map(Into::into),
            qname: observation.qname.map(Into::into),
            process: observation.process.map(|process| (process.comm.into(), process.pid)),
            pod: observation.pod.map(Into::into),
            client: observation.client.ip(),
        }
    }

    /// Whether it is one of an entity's, from whichever side it was seen.
    pub(super) fn concerns(&self, entity: &Entity) -> bool {
        let is = |part: Option<&str>, own: Option<&str>| part.is_none() || part == own;
        is(entity.resolver.as_deref(), Some(&self.resolver))
            && is(entity.zone.as_deref(), self.zone.as_deref())
            && is(entity.qname.as_deref(), self.qname.as_deref())
            && is(entity.process.as_deref(), self.process.as_ref().map(|(comm, _)| &**comm))
            && is(entity.pod.as_deref(), self.pod.as_deref())
            && entity.client.as_deref().is_none_or(|client| client.parse() == Ok(self.client))
    }

    /// Whether it was seen from an entity's side.
    pub(super) fn is_seen_from(&self, entity: &Entity) -> bool {
        entity.vantage.is_none_or(|vantage| vantage == self.vantage)
    }

    /// Whether it is of the kind that a rule is about; `limit`: what its decisive figure was compared
    /// with.
    pub(super) fn shows(&self, rule: Rule, limit: Option<f64>) -> bool {
        match rule {
            Rule::Latency => limit.is_none_or(|limit| self.latency_ms >= limit),
            Rule::ResolverDown | Rule::ResolverFlapping | Rule::Timeout => {
                matches!(self.outcome, Outcome::Unanswered)
            }
            Rule::Servfail => matches!(self.outcome, Outcome::Refused),
            Rule::SuccessRatio => matches!(self.outcome, Outcome::Refused | Outcome::Unanswered),
            Rule::Nxdomain | Rule::Dga => matches!(self.outcome, Outcome::Nxdomain),
            _ => true,
        }
    }

    /// Adds it to evidence, as far as there is room.
    pub(super) fn add_to(&self, evidence: &mut Evidence) {
        if evidence.samples.len() < SHOWN && !evidence.samples.contains(&self.id) {
            evidence.samples.push(self.id);
        }
        let process = self.process.as_ref().map(|(comm, pid)| format!("{comm}[{pid}]").into());
        add(&mut evidence.qnames, self.qname.clone());
        add(&mut evidence.processes, process);
        add(&mut evidence.clients, Some(self.client.to_string().into()));
        add(&mut evidence.resolvers, Some(self.resolver.clone()));
    }
}

fn add(list: &mut Vec<Box<str>>, value: Option<Box<str>>) {
    if let Some(value) = value
        && list.len() < SHOWN
        && !list.contains(&value)
    {
        list.push(value);
    }
}

/// Which transactions are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    /// All queries.
    All,
    /// Those that failed.
    Failed,
    /// Those for what does not exist.
    Nxdomain,
}

impl Pool {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Failed, Self::Nxdomain];

    /// The pool in which a rule's evidence is.
    pub(super) const fn of(rule: Rule) -> Self {
        match rule {
            Rule::ResolverDown
            | Rule::ResolverFlapping
            | Rule::Timeout
            | Rule::Servfail
            | Rule::SuccessRatio => Self::Failed,
            Rule::Nxdomain | Rule::Dga => Self::Nxdomain,
            _ => Self::All,
        }
    }
}

/// The samples of the last minute.
#[derive(Debug)]
pub(super) struct Samples {
    pools: [Reservoir; Pool::ALL.len()],
    /// State of the generator (Marsaglia: "Xorshift RNGs", 2003); never 0.
    random: u64,
}

#[derive(Debug, Default)]
struct Reservoir {
    now: Vec<Sample>,
    seen: u64,
    before: VecDeque<Vec<Sample>>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { pools: Default::default(), random: 0x9E37_79B9_7F4A_7C15 }
    }
}

impl Samples {
    /// Draws.
    pub(super) fn observe(&mut self, observation: &Observation<'_>) {
        let Some(outcome) = Outcome::of(observation) else { return };
        self.offer(Pool::All, observation, outcome);
        match outcome {
            Outcome::Fine => {}
            Outcome::Nxdomain => self.offer(Pool::Nxdomain, observation, outcome),
            Outcome::Refused | Outcome::Unanswered => {
                self.offer(Pool::Failed, observation, outcome);
            }
        }
    }

    /// The next span begins.
    pub(super) fn turn(&mut self) {
        for pool in &mut self.pools {
            if pool.before.len() == SPANS {
                pool.before.pop_front();
            }
            pool.before.push_back(std::mem::take(&mut pool.now));
            pool.seen = 0;
        }
    }

    /// The samples of a pool, newest span first.
    pub(super) fn of(&self, pool: Pool) -> impl Iterator<Item = &Sample> {
        let pool = &self.pools[pool as usize];
        pool.now.iter().chain(pool.before.iter().rev().flatten())
    }

    /// Completes the evidence of what a rule found of an entity.
    pub(super) fn complete(&self, rule: Rule, entity: &Entity, evidence: &mut Evidence) {
        let limit = evidence.limit();
        let fits = |sample: &&Sample| {
            sample.shows(rule, limit) && sample.concerns(entity) && sample.is_seen_from(entity)
        };
        for sample in self.of(Pool::of(rule)).filter(fits).take(PER_SPAN) {
            sample.add_to(evidence);
        }
    }

    fn offer(&mut self, pool: Pool, observation: &Observation<'_>, outcome: Outcome) {
        let reservoir = &mut self.pools[pool as usize];
        reservoir.seen += 1;
        if reservoir.now.len() < PER_SPAN {
            reservoir.now.push(Sample::of(observation, outcome));
            return;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // A place below `seen`, without a division.
        let place = (u128::from(self.random) * u128::from(reservoir.seen)) >> 64;
        if let Some(place) =
            usize::try_from(place).ok().and_then(|place| reservoir.now.get_mut(place))
        {
            *place = Sample::of(observation, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::testing::example;

    fn failing(resolver: &str) -> Observation<'_> {
        Observation {
            resolver,
            status: Status::Timeout,
            rcode: None,
            response_ts: None,
            ..example(Timestamp::default())
        }
    }

    #[test]
    fn draws_fairly_and_keeps_no_more_than_there_is_room_for() {
        let mut samples = Samples::default();
        for number in 0..100_000 {
            samples.observe(&failing(if number % 4 == 0 { "a" } else { "b" }));
        }
        let drawn: Vec<_> = samples.of(Pool::Failed).collect();
        assert_eq!(drawn.len(), PER_SPAN);
        let share = drawn.iter().filter(|sample| &*sample.resolver == "a").count();
        assert!((16..48).contains(&share), "{share} of {PER_SPAN}, not about a quarter");
        for _ in 0..20 {
            samples.turn();
            (0..1000).for_each(|_| samples.observe(&failing("c")));
        }
        assert_eq!(samples.of(Pool::Failed).count(), PER_SPAN * (SPANS + 1));
        assert!(samples.of(Pool::Failed).all(|sample| &*sample.resolver == "c"));
        assert_eq!(samples.of(Pool::Nxdomain).count(), 0);
    }

    #[test]
    fn evidence_is_the_entitys_own() {
        let mut samples = Samples::default();
        (0..20).for_each(|_| samples.observe(&failing("a")));
        samples.observe(&failing("b"));
        let entity = Entity { resolver: Some("b".into()), ..Entity::default() };
        let mut evidence = Evidence::default();
        samples.complete(Rule::Timeout, &entity, &mut evidence);
        assert_eq!(evidence.resolvers, ["b".into()]);
        assert_eq!(evidence.processes, ["curl[4242]".into()]);
        samples.complete(Rule::Servfail, &entity, &mut evidence);
        assert_eq!(evidence.samples.len(), 1);
    }
}
