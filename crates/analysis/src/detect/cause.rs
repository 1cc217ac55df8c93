//! Decides which of several alerts is the cause of the others.
//!
//! Judged by the samples of the last minute. If nearly all failures of a zone went to a resolver
//! with many other failures, the resolver's alert explains the zone's. If two alerts are about the
//! same transactions, the one nearer to the cause is reported.

use super::attribution::share;
use super::finding::{Entity, Rule};
use super::samples::{Pool, Sample, Samples};
use dnscribe_record::time::Timestamp;
use fixedbitset::FixedBitSet;
use std::cmp::Ordering;

/// Minimum share of an alert's samples that its cause must contain.
const NEARLY_ALL: f64 = 0.8;
/// An alert with nearly all failures of another and less than this share of its queries is its
/// cause.
const MAX_QUERY_SHARE: f64 = 0.5;

/// An alert that may explain others or be explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) rule: Rule,
    pub(super) entity: &'a Entity,
    /// Threshold of its decisive figure.
    pub(super) limit: Option<f64>,
    /// Whether it was reported.
    pub(super) reported: bool,
    /// Time of its resolution, if resolved: it may still explain others.
    pub(super) over: Option<Timestamp>,
}

/// Returns, for each candidate, the index of the one that explains it and is itself unexplained.
pub(super) fn explain(candidates: &[Candidate<'_>], samples: &Samples) -> Vec<Option<usize>> {
    let cases: Vec<SampledCandidate<'_>> =
        candidates.iter().map(|candidate| SampledCandidate::new(*candidate, samples)).collect();
    let nearest = |index: usize| {
        let explains = |other: &usize| *other != index && cases[*other].explains(&cases[index]);
        let all = (0..cases.len()).filter(explains);
        all.min_by(|one, other| cases[*one].order(&cases[*other]))
    };
    let nearest: Vec<Option<usize>> = (0..cases.len()).map(nearest).collect();
    (0..cases.len()).map(|index| root(index, &nearest)).collect()
}

/// Follows causes to the one without a cause. Returns `None` for a cycle, which few samples can
/// suggest: its members are all reported.
fn root(index: usize, nearest: &[Option<usize>]) -> Option<usize> {
    let mut at = nearest[index]?;
    for _ in 0..nearest.len() {
        match nearest[at] {
            Some(next) => at = next,
            None => return Some(at),
        }
    }
    None
}

/// Returns the share of the samples in `set` that are also in `other`, or 0 if `set` is empty.
fn share_in(set: &FixedBitSet, other: &FixedBitSet) -> f64 {
    share(set.intersection_count(other) as u64, set.count_ones(..) as u64)
}

/// A candidate with its samples, as bit sets over the samples of a pool.
struct SampledCandidate<'a> {
    candidate: Candidate<'a>,
    /// Samples that it is based on: of the rule's kind, from the entity's vantage.
    own: FixedBitSet,
    /// By pool, samples that it may explain: from any vantage, and of the rule's kind in the rule's
    /// own pool.
    any_vantage: [FixedBitSet; Pool::ALL.len()],
    /// All samples of the rule's kind.
    kind: FixedBitSet,
    /// All queries of the entity.
    queries: FixedBitSet,
    /// Whether any query of the last minute failed.
    has_failures: bool,
}

impl<'a> SampledCandidate<'a> {
    fn new(candidate: Candidate<'a>, samples: &Samples) -> Self {
        let Candidate { rule, entity, limit, over, .. } = candidate;
        // An entity that is only a vantage owns the samples of that vantage; a named entity is the
        // same from every vantage.
        let is_named = entity.parts().any(|(name, _)| name != "vantage");
        let select = |pool, is_in: &dyn Fn(&Sample) -> bool| -> FixedBitSet {
            let selected = samples.pool(pool).enumerate().filter(|(_, sample)| is_in(sample));
            selected.map(|(index, _)| index).collect()
        };
        let is_kind = |sample: &Sample| sample.matches_rule(rule, limit);
        let has_vantage = |sample: &Sample| sample.has_vantage_of(entity);
        let is_own = |sample: &Sample| sample.concerns(entity) && (is_named || has_vantage(sample));
        let rule_pool = Pool::for_rule(rule);
        Self {
            candidate,
            own: select(rule_pool, &|sample| {
                sample.concerns(entity) && has_vantage(sample) && is_kind(sample)
            }),
            any_vantage: Pool::ALL.map(|pool| {
                select(pool, &|sample| {
                    is_own(sample)
                        && over.is_none_or(|over| sample.ts <= over)
                        && (pool != rule_pool || is_kind(sample))
                })
            }),
            kind: select(rule_pool, &is_kind),
            queries: select(Pool::All, &is_own),
            has_failures: samples.pool(Pool::Failed).next().is_some(),
        }
    }

    /// Returns whether this alert explains `other`.
    fn explains(&self, other: &Self) -> bool {
        let (one, two) = (&self.candidate, &other.candidate);
        if two.over.is_some() {
            return false;
        }
        if one.rule == two.rule && is_other_vantage(one.entity, two.entity) {
            return self.order(other).is_lt();
        }
        match (one.rule, two.rule) {
            // A flapping resolver, or many that fail together, says more than a single failure.
            (Rule::ResolverFlapping, Rule::ResolverDown) => {
                one.entity.resolver == two.entity.resolver && !two.reported
            }
            (Rule::ResolverDown, Rule::ResolverDown) => {
                one.entity.resolver.is_none() && two.entity.resolver.is_some()
            }
            // Clients of a dead resolver wait, use another one, or stop.
            (Rule::ResolverDown, Rule::QueryRate | Rule::Latency) => {
                two.entity.resolver.is_some() || other.has_failures_of(self)
            }
            (one, two) => is_related(one, two) && self.covers(other),
        }
    }

    /// Returns whether queries of this entity failed because of `other`.
    fn has_failures_of(&self, other: &Self) -> bool {
        let failed = Pool::Failed as usize;
        !self.any_vantage[failed].is_disjoint(&other.any_vantage[failed])
            || other.candidate.over.is_some() && !self.has_failures
    }

    /// Returns whether this alert has nearly all samples of `other` and is nearer to the cause.
    fn covers(&self, other: &Self) -> bool {
        let pool = Pool::for_rule(other.candidate.rule) as usize;
        let mine = &self.any_vantage[pool];
        if other.kind.is_clear() {
            // Nothing of the kind happened within a minute: the values are old.
            return self.candidate.reported;
        }
        if other.own.is_clear() {
            // Too few were sampled: the samples of all entities decide.
            return share_in(&other.kind, mine) >= NEARLY_ALL;
        }
        let mutual = share_in(mine, &other.any_vantage[pool]) >= NEARLY_ALL;
        share_in(&other.own, mine) >= NEARLY_ALL && (!mutual || self.is_nearer_than(other))
    }

    /// Returns which of two alerts about the same transactions is nearer to the cause.
    fn is_nearer_than(&self, other: &Self) -> bool {
        if self.candidate.over.is_some() {
            // The remaining failures of a resolved alert are its own.
            return true;
        }
        let is_part_of = |part: &Self, whole: &Self| {
            !whole.queries.is_clear() && share_in(&whole.queries, &part.queries) < MAX_QUERY_SHARE
        };
        let rule = other.candidate.rule;
        let fails = Pool::for_rule(rule) == Pool::Failed || rule == Rule::Latency;
        let fails = fails && !is_direct(self.candidate.rule);
        if fails && is_part_of(self, other) != is_part_of(other, self) {
            return is_part_of(self, other);
        }
        self.order(other).is_lt()
    }

    /// Orders two alerts; the lesser is nearer to the cause.
    fn order(&self, other: &Self) -> Ordering {
        let key = |case: &Self| {
            let Candidate { rule, entity, reported, over, .. } = case.candidate;
            (!is_direct(rule), over.is_some(), !reported, breadth(rule, entity))
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.candidate.rule.cmp(&other.candidate.rule))
            .then_with(|| self.candidate.entity.cmp(other.candidate.entity))
    }
}

/// Returns whether a rule names a cause, rather than an unusual value.
pub(super) const fn is_direct(rule: Rule) -> bool {
    !matches!(
        rule,
        Rule::QueryRate
            | Rule::Latency
            | Rule::Nxdomain
            | Rule::Servfail
            | Rule::Timeout
            | Rule::SuccessRatio
    )
}

/// Returns whether the condition of `cause` shows in the values of `effect`.
const fn is_related(cause: Rule, effect: Rule) -> bool {
    match effect {
        Rule::Servfail | Rule::Timeout | Rule::SuccessRatio => matches!(
            cause,
            Rule::ResolverDown
                | Rule::ResolverFlapping
                | Rule::Servfail
                | Rule::Timeout
                | Rule::SuccessRatio
        ),
        Rule::Nxdomain => matches!(cause, Rule::Nxdomain | Rule::Dga | Rule::Tunnel),
        Rule::QueryRate => {
            matches!(cause, Rule::QueryRate | Rule::Dga | Rule::Tunnel | Rule::Amplification)
        }
        Rule::Latency => matches!(cause, Rule::Latency),
        _ => false,
    }
}

/// Ranks entities for alerts about the same transactions; the lower is the likelier cause. For
/// failures this is the server, for query rates the client.
fn breadth(rule: Rule, entity: &Entity) -> u8 {
    let by_server = matches!(Pool::for_rule(rule), Pool::Failed) || rule == Rule::Latency;
    let order = if by_server { [0, 1, 2, 3] } else { [3, 2, 0, 1] };
    [
        entity.resolver.is_some(),
        entity.zone.is_some() || entity.qname.is_some(),
        entity.pod.is_some() || entity.client.is_some(),
        entity.process.is_some(),
    ]
    .into_iter()
    .zip(order)
    .filter_map(|(has, order)| has.then_some(order))
    .min()
    .unwrap_or(4)
}

/// Returns whether two entities differ only in their vantage.
fn is_other_vantage(one: &Entity, two: &Entity) -> bool {
    let parts = |entity: &Entity| Entity { vantage: None, ..entity.clone() };
    one.vantage != two.vantage && parts(one) == parts(two)
}

#[cfg(test)]
mod tests;
