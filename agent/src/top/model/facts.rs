//! Facts: counts by resolver, zone, name, type, outcome and process, for drilling down. Bounded like the
//! tables.

use super::stats::OutcomeKind;
use super::table::{Event, Side, Vantage, lightest_quarter};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Capacity in facts; each takes about 300 bytes with names of usual length.
pub const CAPACITY: usize = 16_384;

/// Parts of a fact's key, by which a list can be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Resolver.
    Resolver,
    /// Registrable domain of the name.
    Zone,
    /// Name.
    Name,
    /// Record type.
    Type,
    /// Response code, else status.
    Outcome,
    /// Process.
    Process,
}

impl Part {
    /// Number of parts.
    pub const COUNT: usize = 6;
}

/// Separator of a key's parts. No part contains it, since all are escaped.
pub const SEPARATOR: char = '\0';

/// Splits a key into its parts.
#[must_use]
pub fn parts(key: &str) -> [&str; Part::COUNT] {
    let mut parts = [""; Part::COUNT];
    for (place, part) in parts.iter_mut().zip(key.split(SEPARATOR)) {
        *place = part;
    }
    parts
}

/// Number of transactions with the same key, and the last of them.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    counts: [u64; Side::COUNT],
    /// Second of the last one.
    pub last: u64,
    /// Latency of the last one in milliseconds.
    pub latency_ms: Option<f64>,
    /// Process id of the last one; 0 where it is unknown.
    pub pid: u32,
    /// Event id of the last one, if it is valid.
    pub event_id: Option<u128>,
    /// Outcome of the last one.
    pub kind: Option<OutcomeKind>,
    weight: f32,
}

impl Fact {
    /// Number of transactions of the sides that are shown.
    #[must_use]
    pub fn count(&self, vantage: Vantage) -> u64 {
        let sides = [Side::Client, Side::Server, Side::ServerRepeat, Side::Passive];
        let shown = sides.into_iter().filter(|side| vantage.shows(*side));
        shown.map(|side| self.counts[side as usize]).sum()
    }
}

/// Facts by their parts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    facts: HashMap<Box<str>, Fact, RandomState>,
    key: String,
}

impl Facts {
    /// Counts a transaction. `parts` are in the order of [`Part`].
    pub fn add(&mut self, parts: [&str; Part::COUNT], event: &Event, event_id: Option<u128>) {
        self.key.clear();
        for (place, part) in parts.into_iter().enumerate() {
            if place > 0 {
                self.key.push(SEPARATOR);
            }
            self.key.push_str(part);
        }
        if !self.facts.contains_key(self.key.as_str()) {
            self.evict();
            self.facts.insert(self.key.as_str().into(), Fact::default());
        }
        let Some(fact) = self.facts.get_mut(self.key.as_str()) else { return };
        fact.counts[event.side as usize] += 1;
        fact.last = event.moment.at.max(fact.last);
        fact.latency_ms = event.latency_ms;
        fact.event_id = event_id;
        fact.kind = Some(event.kind);
        // Failures stay longer than successes: users drill down to find them.
        fact.weight += if event.kind.is_failure() { 8.0 } else { 1.0 };
        if event.pid != 0 {
            fact.pid = event.pid;
        }
    }

    fn evict(&mut self) {
        if self.facts.len() < CAPACITY {
            return;
        }
        let weights = self.facts.values().map(|fact| fact.weight);
        let Some(limit) = lightest_quarter(weights) else { return };
        let mut surplus = CAPACITY / 4 + 1;
        self.facts.retain(|_, fact| {
            let stays = fact.weight > limit || surplus == 0;
            surplus -= usize::from(!stays);
            fact.weight /= 2.0;
            stays
        });
    }

    /// Every fact, unordered.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.facts.iter().map(|(key, fact)| (&**key, fact))
    }
}
