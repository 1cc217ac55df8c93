//! Values of one sort that were seen at one endpoint, and which of them are good.

use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Number of rounds, among the last 128, that brought something never seen before, from which a value rotates
/// instead of changing. With 64 addresses, four in each answer, the last one comes within 128 rounds of the
/// third last in all but one case of a thousand.
const ROTATES: u32 = 3;

/// When a value that is new becomes good. Both must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearningRules {
    /// Number of good rounds in which it was seen.
    pub rounds: u32,
    /// Time since it was first seen.
    pub after: Duration,
}

/// A value, and when it was seen in good rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownValue<V> {
    /// The value.
    pub value: V,
    /// When it was first seen.
    pub first_seen: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// Number of good rounds in which it was seen.
    pub count: u64,
    /// Whether it is good, not just seen.
    pub good: bool,
}

/// Values of one sort, at most a given number of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownValues<V> {
    values: Vec<KnownValue<V>>,
    /// One bit for each of the last 128 good rounds, the latest lowest: whether it brought a value that was
    /// never seen before.
    recent_new: u128,
}

impl<V> Default for KnownValues<V> {
    fn default() -> Self {
        Self { values: Vec::new(), recent_new: 0 }
    }
}

/// How the values of a round are learned.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// When the round began.
    pub now: Timestamp,
    /// When a new value becomes good.
    pub rules: &'a LearningRules,
    /// Whether nothing was known before: then everything is good.
    pub is_first: bool,
    /// Whether a change was announced: then new values are no sign of rotation.
    pub announced: bool,
}

impl<V: Clone + PartialEq> KnownValues<V> {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns whether a value is good.
    pub fn is_good(&self, value: &V) -> bool {
        self.good().any(|known| known.value == *value)
    }

    /// Returns the good values.
    pub fn good(&self) -> impl Iterator<Item = &KnownValue<V>> {
        self.values.iter().filter(|known| known.good)
    }

    /// Returns the good value that was seen last.
    pub fn last_good(&self) -> Option<&V> {
        self.good().max_by_key(|known| known.last_seen).map(|known| &known.value)
    }

    /// Learns the values of a good round. A new value is good at once if `is_related` finds that it belongs to
    /// those that are, or if values rotate.
    pub fn learn(
        &mut self,
        values: &[V],
        lesson: Lesson<'_>,
        is_related: impl Fn(&Self, &V) -> bool,
    ) {
        let Lesson { now, rules, is_first, announced } = lesson;
        let mut is_new = false;
        for value in values {
            if self.values.iter().all(|known| known.value != *value) {
                let good = is_first || is_related(self, value);
                is_new |= !good && !announced;
                let value = value.clone();
                let new = KnownValue { value, first_seen: now, last_seen: now, count: 0, good };
                self.values.push(new);
            }
        }
        self.recent_new = self.recent_new << 1 | u128::from(is_new);
        let rotates = self.recent_new.count_ones() >= ROTATES;
        for known in self.values.iter_mut().filter(|known| values.contains(&known.value)) {
            known.count += 1;
            known.last_seen = now;
            let is_old = now.since(known.first_seen) >= rules.after;
            known.good |= rotates || is_old && known.count >= u64::from(rules.rounds);
        }
    }

    /// Learns a value whose goodness follows from others: it neither rotates nor becomes good by itself.
    pub fn note(&mut self, value: &V, now: Timestamp, good: bool) {
        if let Some(known) = self.values.iter_mut().find(|known| known.value == *value) {
            known.count += 1;
            known.last_seen = now;
            known.good = good;
        } else {
            let value = value.clone();
            self.values.push(KnownValue { value, first_seen: now, last_seen: now, count: 1, good });
        }
    }

    /// Makes values good, which must be known.
    pub fn accept(&mut self, values: &[V]) {
        for known in self.values.iter_mut().filter(|known| values.contains(&known.value)) {
            known.good = true;
        }
    }

    /// Forgets values that were last seen before `limit`.
    pub fn forget(&mut self, limit: Timestamp) {
        self.values.retain(|known| known.last_seen >= limit);
    }

    /// Forgets the values that were not seen for the longest time, until there are at most `capacity`. Returns
    /// how many.
    pub fn shrink_to(&mut self, capacity: usize) -> u64 {
        let Some(surplus) = self.values.len().checked_sub(capacity).filter(|number| *number > 0)
        else {
            return 0;
        };
        self.values.sort_by_key(|known| known.last_seen);
        self.values.drain(..surplus);
        surplus as u64
    }
}
