//! Who asked what of whom, and how it ended: what one drills into. Bounded as the tables are.

use super::stats::Kind;
use super::table::{Event, Sight, Vantage, lightest_quarter};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// What is kept at most: some 300 octets each, names of usual length.
pub const CAPACITY: usize = 16_384;

/// What a fact is about. The parts that a drill can be narrowed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Who was asked.
    Resolver,
    /// The name's registrable domain.
    Zone,
    /// The name.
    Name,
    /// Its type.
    Type,
    /// The response code, else the status.
    Outcome,
    /// Who asked.
    Process,
}

impl Part {
    /// How many there are.
    pub const COUNT: usize = 6;
}

/// Stands between the parts of a key: no part holds it, for names are escaped and so are the others.
pub const SEPARATOR: char = '\0';

/// The parts of a key.
#[must_use]
pub fn parts(key: &str) -> [&str; Part::COUNT] {
    let mut parts = [""; Part::COUNT];
    for (place, part) in parts.iter_mut().zip(key.split(SEPARATOR)) {
        *place = part;
    }
    parts
}

/// How often something happened, and when last.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    counts: [u64; Sight::COUNT],
    /// The second in which it last happened.
    pub last: u64,
    /// Milliseconds to the response, the last time.
    pub latency_ms: Option<f64>,
    /// The process, the last time; 0 where it is not known.
    pub pid: u32,
    /// The record of the last time, where its id is one.
    pub event_id: Option<u128>,
    /// How it ended.
    pub kind: Option<Kind>,
    weight: f32,
}

impl Fact {
    /// How often, as far as it is shown.
    #[must_use]
    pub fn count(&self, vantage: Vantage) -> u64 {
        let sights = [Sight::Client, Sight::Server, Sight::Again, Sight::Passive];
        let shown = sights.into_iter().filter(|sight| vantage.shows(*sight));
        shown.map(|sight| self.counts[sight as usize]).sum()
    }
}

/// Facts by their parts.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    facts: HashMap<Box<str>, Fact, RandomState>,
    key: String,
}

impl Facts {
    /// Counts a transaction; `parts` in the order of [`Part`].
    pub fn add(&mut self, parts: [&str; Part::COUNT], event: &Event, event_id: Option<u128>) {
        self.key.clear();
        for (place, part) in parts.into_iter().enumerate() {
            if place > 0 {
                self.key.push(SEPARATOR);
            }
            self.key.push_str(part);
        }
        if !self.facts.contains_key(self.key.as_str()) {
            self.make_room();
            self.facts.insert(self.key.as_str().into(), Fact::default());
        }
        let Some(fact) = self.facts.get_mut(self.key.as_str()) else { return };
        fact.counts[event.sight as usize] += 1;
        fact.last = event.moment.at.max(fact.last);
        fact.latency_ms = event.latency_ms;
        fact.event_id = event_id;
        fact.kind = Some(event.kind);
        // A failure outlives many successes: failures are what one drills for.
        fact.weight += if event.kind.is_failure() { 8.0 } else { 1.0 };
        if event.pid != 0 {
            fact.pid = event.pid;
        }
    }

    fn make_room(&mut self) {
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

    /// Every fact, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.facts.iter().map(|(key, fact)| (&**key, fact))
    }
}
