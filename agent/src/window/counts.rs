//! Counts by a number that the traffic chooses, in bounded room.

/// Different keys at most; the rest is `other`.
const KEYS: usize = 24;

/// How often each key was seen; what found no room is counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    keys: Vec<(u16, u32)>,
    other: u64,
}

impl Counts {
    /// The most octets that it takes on the heap: it grows by doubling.
    pub const MAX_HEAP_BYTES: usize = KEYS.next_power_of_two() * size_of::<(u16, u32)>();

    /// Counts a key `times` more.
    pub fn add(&mut self, key: u16, times: u32) {
        if let Some((_, count)) = self.keys.iter_mut().find(|(known, _)| *known == key) {
            // No window sees as many as 2^32.
            *count = count.saturating_add(times);
        } else if self.keys.len() < KEYS {
            self.keys.push((key, times));
        } else {
            self.other += u64::from(times);
        }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.keys {
            self.add(*key, *count);
        }
        self.other += other.other;
    }

    /// How often a key was seen, where it found room.
    #[must_use]
    pub fn of(&self, key: u16) -> u64 {
        self.keys.iter().find(|(known, _)| *known == key).map_or(0, |(_, count)| u64::from(*count))
    }

    /// The keys with their counts, most frequent first.
    #[must_use]
    pub fn sorted(&self) -> Vec<(u16, u64)> {
        let mut sorted: Vec<_> =
            self.keys.iter().map(|(key, count)| (*key, u64::from(*count))).collect();
        sorted.sort_unstable_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
        sorted
    }

    /// How often keys without room were seen.
    #[must_use]
    pub const fn other(&self) -> u64 {
        self.other
    }

    /// How often anything was seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.keys.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() + self.other
    }

    /// Octets on the heap.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<(u16, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_is_forgotten(
            one in prop::collection::vec(0..60_u16, 0..200),
            other in prop::collection::vec(0..60_u16, 0..200),
        ) {
            let of = |keys: &[u16]| {
                let mut counts = Counts::default();
                for key in keys {
                    counts.add(*key, 1);
                }
                counts
            };
            let mut merged = of(&one);
            merged.merge(&of(&other));
            prop_assert_eq!(merged.total(), (one.len() + other.len()) as u64);
            prop_assert!(merged.heap_bytes() <= Counts::MAX_HEAP_BYTES);
        }
    }
}
