//! Which of several things that are wrong is the cause of the others.
//!
//! Judged by the samples of the last minute: where nearly all that fails of a zone went to a resolver
//! of which much else fails too, the resolver's alert tells of the zone's. Where two are about the same
//! transactions, the one that is nearer to a cause is told.

use super::finding::{Entity, Rule};
use super::samples::{Pool, Samples};
use crate::time::Timestamp;
use std::cmp::Ordering;

/// The share of one's transactions that must be the other's.
const NEARLY_ALL: f64 = 0.8;
/// What has nearly all failures of another, and less than this share of its queries, is their cause.
const MOST: f64 = 0.5;

/// Something wrong that may be explained by something else, or explain it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspect<'a> {
    pub(super) rule: Rule,
    pub(super) entity: &'a Entity,
    /// Whether somebody was told of it.
    pub(super) told: bool,
    /// When it was over, if it is: it may still explain what it left behind.
    pub(super) over: Option<Timestamp>,
}

/// For each suspect, the place of the one that explains it, which is itself explained by none.
pub(super) fn explain(suspects: &[Suspect<'_>], samples: &Samples) -> Vec<Option<usize>> {
    let cases: Vec<Case<'_>> = suspects.iter().map(|suspect| Case::of(*suspect, samples)).collect();
    let nearest = |place: usize| {
        let explains = |other: &usize| *other != place && cases[*other].explains(&cases[place]);
        let all = (0..cases.len()).filter(explains);
        all.min_by(|one, other| cases[*one].order(&cases[*other]))
    };
    let nearest: Vec<Option<usize>> = (0..cases.len()).map(nearest).collect();
    (0..cases.len()).map(|place| root(place, &nearest)).collect()
}

/// Follows causes to the one that has none. Those that seem to explain each other in a circle, which
/// few samples could pretend, are all told.
fn root(place: usize, nearest: &[Option<usize>]) -> Option<usize> {
    let mut at = nearest[place]?;
    for _ in 0..nearest.len() {
        match nearest[at] {
            Some(next) => at = next,
            None => return Some(at),
        }
    }
    None
}

/// Samples of a pool, one bit each.
#[derive(Clone, Debug, Default)]
struct Set {
    words: Vec<u64>,
    drawn: u32,
}

impl Set {
    fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// How many of these are also in the other.
    fn common(&self, other: &Self) -> u32 {
        self.words.iter().zip(&other.words).map(|(one, two)| (one & two).count_ones()).sum()
    }

    /// The share of these that are also in the other; 0 of none.
    fn share_in(&self, other: &Self) -> f64 {
        share(self.common(other), self.count())
    }
}

impl FromIterator<bool> for Set {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let mut set = Self::default();
        for bit in bits {
            if set.drawn % 64 == 0 {
                set.words.push(0);
            }
            if let Some(word) = set.words.last_mut() {
                *word |= u64::from(bit) << (set.drawn % 64);
            }
            set.drawn += 1;
        }
        set
    }
}

fn share(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { f64::from(part) / f64::from(whole) }
}

/// A suspect with its samples.
struct Case<'a> {
    suspect: Suspect<'a>,
    /// Those that it rests on: of the rule's kind, seen from the entity's side.
    own: Set,
    /// By pool, those that it may explain: from any side, of the rule's kind where the pool is its own.
    any_side: [Set; Pool::ALL.len()],
}

impl<'a> Case<'a> {
    fn of(suspect: Suspect<'a>, samples: &Samples) -> Self {
        let Suspect { rule, entity, over, .. } = suspect;
        // All that a side sees is that side's; what has a name is the same from every side.
        let is_named = entity.parts().any(|(name, _)| name != "vantage");
        let any_side = Pool::ALL.map(|pool| {
            samples
                .of(pool)
                .map(|sample| {
                    sample.concerns(entity)
                        && over.is_none_or(|over| sample.ts <= over)
                        && (is_named || sample.is_seen_from(entity))
                        && (pool != Pool::of(rule) || sample.shows(rule))
                })
                .collect()
        });
        let own = samples.of(Pool::of(rule)).map(|sample| {
            sample.concerns(entity) && sample.is_seen_from(entity) && sample.shows(rule)
        });
        Self { suspect, own: own.collect(), any_side }
    }

    /// Whether this is why the other is found.
    fn explains(&self, other: &Self) -> bool {
        let (one, two) = (&self.suspect, &other.suspect);
        if two.over.is_some() {
            return false;
        }
        if one.rule == two.rule && is_other_side(one.entity, two.entity) {
            return self.order(other).is_lt();
        }
        match (one.rule, two.rule) {
            // To come and go, and to go all together, says more than each time, and each alone.
            (Rule::ResolverFlapping, Rule::ResolverDown) => {
                one.entity.resolver == two.entity.resolver && !two.told
            }
            (Rule::ResolverDown, Rule::ResolverDown) => {
                one.entity.resolver.is_none() && two.entity.resolver.is_some()
            }
            // Who asks a dead resolver waits, asks another, or asks no more.
            (Rule::ResolverDown, Rule::QueryRate | Rule::Latency) => {
                two.entity.resolver.is_some() || other.has_failures_of(self)
            }
            (one, two) => is_kin(one, two) && self.covers(other),
        }
    }

    /// Whether something of this one's failed because of the other.
    fn has_failures_of(&self, other: &Self) -> bool {
        let failed = Pool::Failed as usize;
        self.any_side[failed].common(&other.any_side[failed]) > 0
            || other.suspect.over.is_some() && self.any_side[failed].drawn == 0
    }

    /// Whether nearly all of the other's samples are this one's, and this one is nearer to a cause.
    fn covers(&self, other: &Self) -> bool {
        let pool = Pool::of(other.suspect.rule) as usize;
        let mine = &self.any_side[pool];
        if mine.drawn == 0 {
            // Nothing of the kind has happened for a minute.
            return self.suspect.over.is_some();
        }
        if other.own.count() == 0 {
            // Too few to be drawn: what is true of most is believed of them.
            return share(mine.count(), mine.drawn) >= NEARLY_ALL;
        }
        let mutual = mine.share_in(&other.any_side[pool]) >= NEARLY_ALL;
        other.own.share_in(mine) >= NEARLY_ALL && (!mutual || self.is_nearer_than(other))
    }

    /// Which of two about the same transactions is nearer to a cause.
    fn is_nearer_than(&self, other: &Self) -> bool {
        if self.suspect.over.is_some() {
            // What it left behind is its own.
            return true;
        }
        let all = Pool::All as usize;
        let is_part_of = |part: &Self, whole: &Self| {
            let whole = &whole.any_side[all];
            whole.count() > 0 && whole.share_in(&part.any_side[all]) < MOST
        };
        let fails = Pool::of(other.suspect.rule) == Pool::Failed && !is_direct(self.suspect.rule);
        if fails && is_part_of(self, other) != is_part_of(other, self) {
            return is_part_of(self, other);
        }
        self.order(other).is_lt()
    }

    /// Less is nearer to a cause.
    fn order(&self, other: &Self) -> Ordering {
        let key = |case: &Self| {
            let Suspect { rule, entity, told, over } = case.suspect;
            (!is_direct(rule), over.is_some(), !told, breadth(rule, entity))
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.suspect.rule.cmp(&other.suspect.rule))
            .then_with(|| self.suspect.entity.cmp(other.suspect.entity))
    }
}

/// Whether a rule names a cause, and not only numbers that are unusual.
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

/// Whether what the first finds shows in the numbers of the second.
const fn is_kin(cause: Rule, effect: Rule) -> bool {
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

/// Of two about the same transactions, the lower is the more likely cause: of failures the one who is
/// asked, of what is asked the one who asks.
fn breadth(rule: Rule, entity: &Entity) -> u8 {
    let by_server = matches!(Pool::of(rule), Pool::Failed) || rule == Rule::Latency;
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

/// Whether two are the same but for the side that they were seen from.
fn is_other_side(one: &Entity, two: &Entity) -> bool {
    let parts = |entity: &Entity| Entity { vantage: None, ..entity.clone() };
    one.vantage != two.vantage && parts(one) == parts(two)
}

#[cfg(test)]
mod tests;
