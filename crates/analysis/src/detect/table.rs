//! Bounded per-entity state of the detectors, where the traffic chooses the entities.

use super::finding::Finding;
use dnscribe_record::time::Timestamp;
use std::time::Duration;

/// Slots in which a key may be stored.
const WAYS: usize = 8;

/// Eight-way set-associative table of values, keyed by a 64-bit hash, with `SLOTS` slots in all (a
/// power of two, at least [`WAYS`]).
///
/// If all slots of a key are taken, the least frequently used value is evicted; among equals, the
/// least recently used one. Each access has the same cost whatever the traffic, and entities seen
/// once give way to those that recur. [`Self::iter`] is deterministic: its order depends only on the
/// keys and their order of arrival.
#[derive(Debug)]
pub(super) struct AssociativeTable<T, const SLOTS: usize> {
    keys: Box<[u64]>,
    /// Kept apart from the values, so that the search for a victim reads one cache line.
    usage: Box<[Usage]>,
    values: Box<[Option<Box<T>>]>,
}

/// Number of uses of a value and time of the last one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Usage {
    times: u32,
    last: Timestamp,
}

impl Usage {
    fn count(&mut self, now: Timestamp) {
        self.times = self.times.saturating_add(1);
        self.last = self.last.max(now);
    }
}

impl<T, const SLOTS: usize> Default for AssociativeTable<T, SLOTS> {
    fn default() -> Self {
        const { assert!(SLOTS.is_power_of_two() && SLOTS >= WAYS) };
        let values = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { keys: vec![0; SLOTS].into(), usage: vec![Usage::default(); SLOTS].into(), values }
    }
}

impl<T, const SLOTS: usize> AssociativeTable<T, SLOTS> {
    /// Returns the value of `key` without counting a use.
    pub(super) fn get(&self, key: u64) -> Option<&T> {
        self.values[self.find(key)?].as_deref()
    }

    /// Returns the value of `key` and counts a use.
    pub(super) fn get_mut(&mut self, key: u64, now: Timestamp) -> Option<&mut T> {
        let slot = self.find(key)?;
        self.usage[slot].count(now);
        self.values[slot].as_deref_mut()
    }

    /// Returns the value of `key`, created with `new` if there is none, and counts a use.
    pub(super) fn entry(&mut self, key: u64, now: Timestamp, new: impl FnOnce() -> T) -> &mut T {
        let found = self.find(key);
        let slot = found.unwrap_or_else(|| self.victim(key));
        let Self { keys, usage, values } = self;
        if found.is_none() {
            keys[slot] = key;
            usage[slot] = Usage { times: 0, last: now };
        }
        usage[slot].count(now);
        match (&mut values[slot], found) {
            (Some(value), Some(_)) => value,
            // Reuses the allocation of the evicted value.
            (Some(evicted), None) => {
                **evicted = new();
                evicted
            }
            (empty, _) => empty.insert(Box::new(new())),
        }
    }

    /// Removes values unused for longer than `idle`, and reduces the use counts of the others by a
    /// quarter.
    pub(super) fn age(&mut self, now: Timestamp, idle: Duration) {
        for (usage, value) in self.usage.iter_mut().zip(&mut self.values) {
            if now.since(usage.last) > idle {
                *value = None;
                *usage = Usage::default();
            } else {
                usage.times -= usage.times / 4;
            }
        }
    }

    /// Passes the finding of each value to `each`, then removes values unused for longer than `idle`.
    pub(super) fn evaluate(
        &mut self,
        now: Timestamp,
        idle: Duration,
        find: impl FnMut(&mut T) -> Option<Finding>,
        each: &mut dyn FnMut(Finding),
    ) {
        self.values_mut().filter_map(find).for_each(each);
        self.age(now, idle);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter().flatten().map(|value| &**value)
    }

    /// Returns all values for modification, without counting a use.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut().flatten().map(|value| &mut **value)
    }

    /// Returns the slots in which `key` may be stored.
    fn ways(key: u64) -> std::ops::Range<usize> {
        // The result is less than SLOTS.
        let set = usize::try_from(key >> 32).unwrap_or(0) & (SLOTS / WAYS - 1);
        set * WAYS..(set + 1) * WAYS
    }

    fn find(&self, key: u64) -> Option<usize> {
        Self::ways(key).find(|slot| self.keys[*slot] == key && self.values[*slot].is_some())
    }

    /// Returns the slot for a new key: an empty one, otherwise that of the least used value.
    fn victim(&self, key: u64) -> usize {
        let ways = Self::ways(key);
        ways.clone().min_by_key(|slot| self.usage[*slot]).unwrap_or(ways.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::helpers::{key, seconds as at};

    #[test]
    fn keeps_recurring_key_during_flood() {
        let mut table = AssociativeTable::<u64, 512>::default();
        for number in 0..200_000 {
            table.entry(key(number), at(number / 10_000), || number);
            if number % 100 == 0 {
                *table.entry(1 << 40, at(number / 10_000), || 0) += 1;
            }
            if number % 20_000 == 0 {
                table.age(at(number / 10_000), Duration::from_mins(10));
            }
        }
        assert_eq!(table.get(1 << 40), Some(&2_000));
        assert!(table.iter().count() <= 512);
    }

    #[test]
    fn removes_idle_values() {
        let mut table = AssociativeTable::<&str, 8>::default();
        table.entry(1, at(0), || "old");
        table.entry(2, at(50), || "new");
        table.age(at(70), Duration::from_mins(1));
        assert_eq!(table.iter().collect::<Vec<_>>(), [&"new"]);
        assert_eq!(table.get_mut(1, at(70)), None);
    }
}
