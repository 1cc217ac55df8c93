//! Which values are the most frequent: a Frequent Items sketch of Apache DataSketches (Anderson et
//! al.: "A High-Performance Algorithm for Identifying Frequent Items in Data Streams", IMC 2017), with
//! bounds around each count, in the serialized form that its C++, Java and Python implementations
//! read and merge.

use datasketches::frequencies::{ErrorType, FrequentItemsSketch};

/// Counts the most frequent values.
#[derive(Clone, Debug)]
pub struct Top(FrequentItemsSketch<String>);

/// A frequent value. Its true count is between `lower` and `upper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The value.
    pub value: String,
    /// At least so often.
    pub lower: u64,
    /// At most so often.
    pub upper: u64,
}

impl Top {
    /// An empty sketch whose table has 2^`lg_slots` slots, from 2^3 to 2^30, of which three quarters
    /// hold values. A value with more than `3.5 / 2^lg_slots` of the weight is never missed.
    #[must_use]
    pub fn new(lg_slots: u8) -> Self {
        Self(created(1 << lg_slots.clamp(3, 30)))
    }

    /// Counts a value once more.
    pub fn add(&mut self, value: &str) {
        self.0.update_ref(value);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// The `limit` most frequent values, most frequent first; values of one count by name.
    #[must_use]
    pub fn ranked(&self, limit: usize) -> Vec<Ranked> {
        let rows = self.0.frequent_items(ErrorType::NoFalseNegatives);
        let mut ranked: Vec<Ranked> = rows
            .iter()
            .map(|row| Ranked {
                value: row.item().clone(),
                lower: row.lower_bound(),
                upper: row.upper_bound(),
            })
            .collect();
        ranked.sort_unstable_by(|one, other| {
            (other.upper, &one.value).cmp(&(one.upper, &other.value))
        });
        ranked.truncate(limit);
        ranked
    }

    /// Octets on the heap, the values' own included.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.0.estimated_size()
    }
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn created(slots: usize) -> FrequentItemsSketch<String> {
    FrequentItemsSketch::new(slots).expect("a power of two from 8 to 2^30")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn of(values: &[u32]) -> Top {
        let mut top = Top::new(7);
        for value in values {
            top.add(&value.to_string());
        }
        top
    }

    proptest! {
        #[test]
        fn bounds_hold_and_nothing_frequent_is_missed(
            // Few values often, many seldom.
            one in prop::collection::vec(prop_oneof![0..5_u32, 0..1000_u32], 0..2000),
            other in prop::collection::vec(prop_oneof![0..5_u32, 0..1000_u32], 0..2000),
        ) {
            let mut exact: HashMap<String, u64> = HashMap::new();
            for value in one.iter().chain(&other) {
                *exact.entry(value.to_string()).or_default() += 1;
            }
            let mut top = of(&one);
            top.merge(&of(&other));
            let ranked = top.ranked(usize::MAX);
            for row in &ranked {
                let count = exact[&row.value];
                prop_assert!((row.lower..=row.upper).contains(&count), "{row:?} {count}");
            }
            let total: u64 = exact.values().sum();
            for (value, count) in exact {
                // The a-priori error of the sketch and of a merger.
                if count * 128 > total * 7 {
                    prop_assert!(ranked.iter().any(|row| row.value == value), "{value}");
                }
            }
        }
    }

    #[test]
    fn the_most_frequent_stand_first() {
        let ranked = of(&[7, 7, 7, 3, 3, 5, 4]).ranked(3);
        let found: Vec<_> = ranked.iter().map(|row| (row.value.as_str(), row.lower)).collect();
        assert_eq!(found, [("7", 3), ("3", 2), ("4", 1)]);
    }
}
