//! Most frequent values: a Frequent Items sketch of Apache DataSketches (Anderson et al.: "A
//! High-Performance Algorithm for Identifying Frequent Items in Data Streams", IMC 2017), with
//! bounds for each count, in the serialized form that its C++, Java and Python implementations read
//! and merge.

use datasketches::codec::{SketchBytes, SketchSlice};
use datasketches::error::Error;
use datasketches::frequencies::{ErrorType, FrequentItemValue, FrequentItemsSketch};
use dnscribe_record::{Merge, RankedFields};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Maximum length of a value in bytes; longer ones are truncated. Only escaped names are longer.
pub const MAX_VALUE_BYTES: usize = 255;

/// Overhead of an `Arc<str>` in bytes: its two counters.
const ARC_BYTES: usize = 16;

/// A value with its hash. Values with equal 64-bit hashes are the same.
#[derive(Clone, Debug)]
struct HashedText {
    hash: u64,
    /// Empty in a lookup. Shared by windows that are merged.
    text: Arc<str>,
}

impl PartialEq for HashedText {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for HashedText {}

impl Hash for HashedText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Borrow<u64> for HashedText {
    fn borrow(&self) -> &u64 {
        &self.hash
    }
}

/// Same form as for strings in the library: length in four little-endian bytes, then UTF-8.
impl FrequentItemValue for HashedText {
    fn serialize_size(item: &Self) -> usize {
        size_of::<u32>() + item.text.len()
    }

    fn serialize_value(&self, bytes: &mut SketchBytes) {
        bytes.write_u32_le(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        bytes.write(self.text.as_bytes());
    }

    fn deserialize_value(cursor: &mut SketchSlice<'_>) -> Result<Self, Error> {
        let text = String::deserialize_value(cursor)?;
        Ok(Self { hash: hash_of(text.as_bytes()), text: text.into() })
    }
}

/// Returns the hash that identifies a value: the same on every machine.
#[must_use]
pub fn hash_of(value: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(value)
}

/// Sketch of the most frequent values.
#[derive(Clone, Debug)]
pub struct TopSketch(FrequentItemsSketch<HashedText>);

impl TopSketch {
    /// Creates an empty sketch with 2^`lg_slots` slots, from 2^3 to 2^30, of which three quarters
    /// hold values. A value with more than `3.5 / 2^lg_slots` of the total count is never missed.
    #[must_use]
    pub fn new(lg_slots: u8) -> Self {
        Self(created(1 << lg_slots.clamp(3, 30)))
    }

    /// Adds `times` to the count of a value. `text` is called only if the value is new, and returns
    /// at most [`MAX_VALUE_BYTES`] bytes.
    pub fn add(&mut self, hash: u64, times: u64, text: impl FnOnce() -> Arc<str>) {
        // A lookup does not allocate, and neither does an update of a known value.
        let text = if self.0.lower_bound(&hash) > 0 { Arc::default() } else { text() };
        self.0.update_with_count(HashedText { hash, text }, times);
    }

    /// Returns the total count of all values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total_weight()
    }

    /// Returns the `limit` most frequent values with bounds of their counts, most frequent first;
    /// equal counts are sorted by value.
    #[must_use]
    pub fn ranked(&self, limit: usize) -> Vec<RankedFields> {
        let mut rows = self.0.frequent_items(ErrorType::NoFalseNegatives);
        rows.sort_unstable_by(|one, other| {
            (other.upper_bound(), &one.item().text).cmp(&(one.upper_bound(), &other.item().text))
        });
        let ranked = rows.iter().take(limit).map(|row| RankedFields {
            value: (*row.item().text).to_owned(),
            lower: row.lower_bound(),
            upper: row.upper_bound(),
        });
        ranked.collect()
    }

    /// Serializes the sketch as Apache DataSketches does for strings, with at most 2^`lg_slots`
    /// slots: a larger sketch is merged into an empty one of that size.
    #[must_use]
    pub fn serialize(&self, lg_slots: u8) -> Vec<u8> {
        if self.0.lg_max_map_size() <= lg_slots {
            return self.0.serialize();
        }
        let mut smaller = Self::new(lg_slots);
        smaller.merge(self);
        smaller.0.serialize()
    }

    /// Heap memory in bytes; texts shared with other sketches count in each.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let values = self.0.frequent_items_with_threshold(ErrorType::NoFalseNegatives, 0);
        let texts = values.iter().map(|row| ARC_BYTES + row.item().text.len());
        self.0.estimated_size() + texts.sum::<usize>()
    }

    /// Maximum of [`Self::heap_bytes`] for values of up to `max_bytes` bytes.
    #[must_use]
    pub const fn max_heap_bytes(lg_slots: u8, max_bytes: usize) -> usize {
        let slots = 1 << lg_slots;
        // HashedText, its count, and its distance from its preferred slot.
        let slot = size_of::<Option<HashedText>>() + size_of::<u64>() + size_of::<u16>();
        slots * slot + slots / 4 * 3 * (max_bytes + ARC_BYTES)
    }
}

impl Merge for TopSketch {
    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }
}

/// Returns a text that sketches can share, truncated to [`MAX_VALUE_BYTES`].
#[must_use]
pub fn shared_text(text: &str) -> Arc<str> {
    truncated(text).into()
}

/// Truncates a text to [`MAX_VALUE_BYTES`] at a character boundary.
#[must_use]
pub fn truncated(text: &str) -> &str {
    if text.len() <= MAX_VALUE_BYTES {
        return text;
    }
    let mut ends = (0..=text.len().min(MAX_VALUE_BYTES)).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn created(slots: usize) -> FrequentItemsSketch<HashedText> {
    FrequentItemsSketch::new(slots).expect("a power of two from 8 to 2^30")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn add(top: &mut TopSketch, text: &str) {
        top.add(hash_of(text.as_bytes()), 1, || shared_text(text));
    }

    fn of(values: &[u32]) -> TopSketch {
        let mut top = TopSketch::new(7);
        for value in values {
            add(&mut top, &value.to_string());
        }
        top
    }

    /// Checks that each count is within its bounds, and that no value with more than `share` is
    /// missing.
    fn check(
        top: &TopSketch,
        exact: &HashMap<String, u64>,
        share: f64,
    ) -> Result<(), TestCaseError> {
        let ranked = top.ranked(usize::MAX);
        for row in &ranked {
            let count = exact[&*row.value];
            prop_assert!((row.lower..=row.upper).contains(&count), "{row:?} {count}");
        }
        let total: u64 = exact.values().sum();
        prop_assert_eq!(top.total(), total);
        for (value, count) in exact {
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let frequent = *count as f64 > total as f64 * share;
            prop_assert!(!frequent || ranked.iter().any(|row| *row.value == **value), "{value}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn bounds_hold_and_frequent_values_are_kept(
            // A few frequent values and many rare ones.
            one in prop::collection::vec(prop_oneof![0..5_u32, 0..1000_u32], 0..2000),
            other in prop::collection::vec(prop_oneof![0..5_u32, 0..1000_u32], 0..2000),
        ) {
            let mut exact: HashMap<String, u64> = HashMap::new();
            for value in one.iter().chain(&other) {
                *exact.entry(value.to_string()).or_default() += 1;
            }
            let mut top = of(&one);
            top.merge(&of(&other));
            // A-priori error of the sketch and of a merge.
            check(&top, &exact, 7.0 / 128.0)?;
            let smaller = TopSketch(FrequentItemsSketch::deserialize(&top.serialize(5)).unwrap());
            check(&smaller, &exact, 7.0 / 128.0 + 3.5 / 32.0)?;
        }
    }

    #[test]
    fn most_frequent_come_first() {
        let ranked = of(&[7, 7, 7, 3, 3, 5, 4]).ranked(3);
        let found: Vec<_> = ranked.iter().map(|row| (&*row.value, row.lower)).collect();
        assert_eq!(found, [("7", 3), ("3", 2), ("4", 1)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut top = TopSketch::new(6);
        for number in 0..10_000 {
            add(&mut top, &format!("{number:0300}é"));
            assert!(top.heap_bytes() <= TopSketch::max_heap_bytes(6, MAX_VALUE_BYTES));
        }
        assert!(top.heap_bytes() > 12 * MAX_VALUE_BYTES);
    }
}
