//! Samples of the transactions of the last minute, for evidence and to decide which alerts have a
//! common cause.
//!
//! For each span between two evaluations, a uniform sample is kept (Vitter: "Random Sampling with a
//! Reservoir", ACM TOMS 1985) of all queries, of the failed ones, and of those answered with
//! NXDOMAIN. The selection is reproducible for the same traffic.

use super::finding::{Entity, Evidence, Rule};
use crate::view::TransactionView;
use dnscribe_dns::rcode::NXDOMAIN;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageId;
use dnscribe_transaction::pair::Status;
use std::collections::VecDeque;

/// Number of samples per pool and span.
const MAX_PER_SPAN: usize = 128;
/// Number of past spans kept: one minute.
const MAX_SPANS: usize = 6;
/// Minimum number of samples with a name that tell how many names there are.
const MIN_KNOWN: usize = 10;
/// Maximum number of items of each kind in evidence.
const MAX_SHOWN: usize = 5;

/// Outcome of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answered, or the outcome is unknown.
    Fine,
    Nxdomain,
    Error,
    Unanswered,
}

impl Outcome {
    /// Returns the outcome of a transaction, or `None` if it did not begin with a query.
    pub(super) fn from_observation(observation: &TransactionView<'_>) -> Option<Self> {
        match (observation.status, observation.rcode) {
            (Status::Late | Status::Duplicate | Status::Orphan, _) => None,
            (Status::Timeout | Status::IcmpError, _) => Some(Self::Unanswered),
            (Status::Answered, Some(NXDOMAIN)) => Some(Self::Nxdomain),
            (Status::Answered, Some(rcode)) if is_failure(rcode) => Some(Self::Error),
            (Status::Answered | Status::Evicted | Status::Open, _) => Some(Self::Fine),
        }
    }
}

/// Returns whether a response code means that the server could not or would not answer: FORMERR,
/// SERVFAIL, NOTIMP, REFUSED, NOTAUTH, NOTZONE. The other codes are answers, or part of a protocol.
pub(super) const fn is_failure(rcode: u16) -> bool {
    matches!(rcode, 1 | 2 | 4 | 5 | 9 | 10)
}

/// A sampled transaction.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) id: MessageId,
    /// Time of the query.
    pub(super) ts: Timestamp,
    outcome: Outcome,
    latency_ms: f64,
    /// Everything that the transaction belongs to.
    entity: Entity,
    pid: Option<u32>,
}

impl Sample {
    pub(super) fn new(observation: &TransactionView<'_>, outcome: Outcome) -> Self {
        // What this host lost is no evidence against them.
        let concerns_server = !observation.is_lost_here();
        Self {
            id: observation.id,
            ts: observation.ts,
            outcome,
            latency_ms: observation.latency_ms.unwrap_or(0.0),
            entity: Entity {
                vantage: Some(observation.vantage),
                resolver: concerns_server.then(|| observation.resolver.into()),
                zone: observation.zone.filter(|_| concerns_server).map(Into::into),
                qname: observation.qname.map(Into::into),
                process: observation.process.map(|process| process.comm.into()),
                pod: observation.pod.map(Into::into),
                client: Some(observation.client.ip().to_string().into()),
            },
            pid: observation.process.map(|process| process.pid),
        }
    }

    /// Returns whether it belongs to `entity`, from any vantage.
    pub(super) fn concerns(&self, entity: &Entity) -> bool {
        let mut parts = entity.texts().into_iter().zip(self.entity.texts());
        parts.all(|((_, part), (_, own))| part.is_none() || part == own)
    }

    /// Returns whether it was captured from the entity's vantage.
    pub(super) fn has_vantage_of(&self, entity: &Entity) -> bool {
        entity.vantage.is_none() || entity.vantage == self.entity.vantage
    }

    /// Returns whether it is of the kind that `rule` counts. `limit` is the threshold of the rule's
    /// decisive figure.
    pub(super) fn matches_rule(&self, rule: Rule, limit: Option<f64>) -> bool {
        match rule {
            Rule::Latency => limit.is_none_or(|limit| self.latency_ms >= limit),
            Rule::ResolverDown | Rule::ResolverFlapping | Rule::Timeout => {
                matches!(self.outcome, Outcome::Unanswered)
            }
            Rule::Servfail => matches!(self.outcome, Outcome::Error),
            Rule::SuccessRatio => matches!(self.outcome, Outcome::Error | Outcome::Unanswered),
            Rule::Nxdomain | Rule::Dga => matches!(self.outcome, Outcome::Nxdomain),
            _ => true,
        }
    }

    /// Adds it to `evidence`, up to [`MAX_SHOWN`] items.
    pub(super) fn add_to(&self, evidence: &mut Evidence) {
        if evidence.samples.len() < MAX_SHOWN && !evidence.samples.contains(&self.id) {
            evidence.samples.push(self.id);
        }
        let Entity { qname, process, client, resolver, .. } = &self.entity;
        let process = process.as_ref().zip(self.pid);
        add(&mut evidence.qnames, qname.clone());
        add(&mut evidence.processes, process.map(|(comm, pid)| format!("{comm}[{pid}]").into()));
        add(&mut evidence.clients, client.clone());
        add(&mut evidence.resolvers, resolver.clone());
    }
}

fn add(list: &mut Vec<Box<str>>, value: Option<Box<str>>) {
    if let Some(value) = value
        && list.len() < MAX_SHOWN
        && !list.contains(&value)
    {
        list.push(value);
    }
}

/// Population of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    All,
    Failed,
    Nxdomain,
}

impl Pool {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Failed, Self::Nxdomain];

    /// Returns the pool that contains the evidence of `rule`.
    pub(super) const fn for_rule(rule: Rule) -> Self {
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

/// Samples of the last minute.
#[derive(Debug)]
pub(super) struct Samples {
    pools: [Reservoir; Pool::ALL.len()],
    /// State of the random number generator (Marsaglia: "Xorshift RNGs", 2003); never 0.
    random: u64,
}

#[derive(Debug, Default)]
struct Reservoir {
    current: Vec<Sample>,
    seen: u64,
    previous: VecDeque<Vec<Sample>>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { pools: Default::default(), random: 0x9E37_79B9_7F4A_7C15 }
    }
}

impl Samples {
    /// Offers a transaction to the pools that it belongs to.
    pub(super) fn observe(&mut self, observation: &TransactionView<'_>) {
        let Some(outcome) = Outcome::from_observation(observation) else { return };
        self.offer(Pool::All, observation, outcome);
        match outcome {
            Outcome::Fine => {}
            Outcome::Nxdomain => self.offer(Pool::Nxdomain, observation, outcome),
            Outcome::Error | Outcome::Unanswered => {
                self.offer(Pool::Failed, observation, outcome);
            }
        }
    }

    pub(super) fn next_span(&mut self) {
        for pool in &mut self.pools {
            if pool.previous.len() == MAX_SPANS {
                pool.previous.pop_front();
            }
            pool.previous.push_back(std::mem::take(&mut pool.current));
            pool.seen = 0;
        }
    }

    /// Returns the samples of `pool`, newest span first.
    pub(super) fn pool(&self, pool: Pool) -> impl Iterator<Item = &Sample> {
        let pool = &self.pools[pool as usize];
        pool.current.iter().chain(pool.previous.iter().rev().flatten())
    }

    /// Adds matching samples to the evidence of a finding of `rule` about `entity`.
    pub(super) fn add_evidence(&self, rule: Rule, entity: &Entity, evidence: &mut Evidence) {
        let limit = evidence.limit();
        let matches = |sample: &&Sample| {
            sample.matches_rule(rule, limit)
                && sample.concerns(entity)
                && sample.has_vantage_of(entity)
        };
        for sample in self.pool(Pool::for_rule(rule)).filter(matches).take(MAX_PER_SPAN) {
            sample.add_to(evidence);
        }
    }

    /// Returns whether the matching samples of a finding of `rule` about `entity` have fewer than
    /// `least` names. False if there are too few samples to tell.
    pub(super) fn has_fewer_names(&self, least: usize, rule: Rule, entity: &Entity) -> bool {
        let mut names: Vec<&str> = Vec::with_capacity(least);
        let mut known = 0;
        let pool = self.pool(Pool::for_rule(rule));
        for sample in pool.filter(|sample| {
            sample.matches_rule(rule, None)
                && sample.concerns(entity)
                && sample.has_vantage_of(entity)
        }) {
            let Some(name) = sample.entity.qname.as_deref() else { continue };
            known += 1;
            if !names.contains(&name) {
                names.push(name);
                if names.len() >= least {
                    return false;
                }
            }
        }
        known >= MIN_KNOWN
    }

    fn offer(&mut self, pool: Pool, observation: &TransactionView<'_>, outcome: Outcome) {
        let reservoir = &mut self.pools[pool as usize];
        reservoir.seen += 1;
        if reservoir.current.len() < MAX_PER_SPAN {
            reservoir.current.push(Sample::new(observation, outcome));
            return;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        // Random index below `seen`, without a division.
        let index = (u128::from(self.random) * u128::from(reservoir.seen)) >> 64;
        if let Some(sample) =
            usize::try_from(index).ok().and_then(|index| reservoir.current.get_mut(index))
        {
            *sample = Sample::new(observation, outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ProcessView;
    use crate::view::testing::{example, lost};
    use dnscribe_transaction::packet::LossStage;

    fn failing(resolver: &str) -> TransactionView<'_> {
        TransactionView {
            resolver,
            status: Status::Timeout,
            rcode: None,
            response_ts: None,
            ..example(Timestamp::default())
        }
    }

    #[test]
    fn samples_uniformly_within_bounds() {
        let mut samples = Samples::default();
        for number in 0..100_000 {
            samples.observe(&failing(if number % 4 == 0 { "a" } else { "b" }));
        }
        let drawn: Vec<_> = samples.pool(Pool::Failed).collect();
        assert_eq!(drawn.len(), MAX_PER_SPAN);
        let share =
            drawn.iter().filter(|sample| sample.entity.resolver.as_deref() == Some("a")).count();
        assert!((16..48).contains(&share), "{share} of {MAX_PER_SPAN}, not about a quarter");
        for _ in 0..20 {
            samples.next_span();
            (0..1000).for_each(|_| samples.observe(&failing("c")));
        }
        assert_eq!(samples.pool(Pool::Failed).count(), MAX_PER_SPAN * (MAX_SPANS + 1));
        assert!(
            samples.pool(Pool::Failed).all(|sample| sample.entity.resolver.as_deref() == Some("c"))
        );
        assert_eq!(samples.pool(Pool::Nxdomain).count(), 0);
    }

    #[test]
    fn evidence_belongs_to_entity() {
        let mut samples = Samples::default();
        (0..20).for_each(|_| samples.observe(&failing("a")));
        samples.observe(&failing("b"));
        let lost = lost(false, LossStage::Netfilter, 1);
        let process = Some(ProcessView { pid: 9, comm: "blocked" });
        samples.observe(&TransactionView { lost: Some(&lost), process, ..failing("b") });
        let entity = Entity { resolver: Some("b".into()), ..Entity::default() };
        let mut evidence = Evidence::default();
        samples.add_evidence(Rule::Timeout, &entity, &mut evidence);
        assert_eq!(evidence.resolvers, ["b".into()]);
        assert_eq!(evidence.processes, ["curl[4242]".into()]);
        samples.add_evidence(Rule::Servfail, &entity, &mut evidence);
        assert_eq!(evidence.samples.len(), 1);
    }
}
