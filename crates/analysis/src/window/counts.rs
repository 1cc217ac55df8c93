//! Bounded counters by a number that the traffic chooses (response code, query type).

use dnscribe_record::Merge;

/// Maximum number of keys; further ones are counted as `other`.
const MAX_KEYS: usize = 24;

/// Counts by key. Keys beyond the capacity are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BoundedCounts {
    keys: Vec<(u16, u32)>,
    other: u64,
}

impl BoundedCounts {
    /// Maximum heap memory in bytes: the capacity grows by doubling.
    pub const MAX_HEAP_BYTES: usize = MAX_KEYS.next_power_of_two() * size_of::<(u16, u32)>();

    /// Adds `times` to the count of `key`.
    pub fn add(&mut self, key: u16, times: u32) {
        if let Some((_, count)) = self.keys.iter_mut().find(|(known, _)| *known == key) {
            // A window has fewer than 2^32 transactions.
            *count = count.saturating_add(times);
        } else if self.keys.len() < MAX_KEYS {
            self.keys.push((key, times));
        } else {
            self.other += u64::from(times);
        }
    }

    /// Returns the count of `key`, or 0 if it is counted as `other`.
    #[must_use]
    pub fn get(&self, key: u16) -> u64 {
        self.keys.iter().find(|(known, _)| *known == key).map_or(0, |(_, count)| u64::from(*count))
    }

    /// Returns the keys with their counts, most frequent first.
    #[must_use]
    pub fn sorted(&self) -> Vec<(u16, u64)> {
        let mut sorted: Vec<_> =
            self.keys.iter().map(|(key, count)| (*key, u64::from(*count))).collect();
        sorted.sort_unstable_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
        sorted
    }

    /// Returns the count of keys beyond the capacity.
    #[must_use]
    pub const fn other(&self) -> u64 {
        self.other
    }

    /// Returns the sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.keys.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() + self.other
    }

    /// Heap memory in bytes.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<(u16, u32)>()
    }
}

impl Merge for BoundedCounts {
    fn merge(&mut self, other: &Self) {
        for (key, count) in &other.keys {
            self.add(*key, *count);
        }
        self.other += other.other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn total_is_exact(
            one in prop::collection::vec(0..60_u16, 0..200),
            other in prop::collection::vec(0..60_u16, 0..200),
        ) {
            let of = |keys: &[u16]| {
                let mut counts = BoundedCounts::default();
                for key in keys {
                    counts.add(*key, 1);
                }
                counts
            };
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged.total(), (one.len() + other.len()) as u64);
            prop_assert!(merged.heap_bytes() <= BoundedCounts::MAX_HEAP_BYTES);
        }
    }
}
