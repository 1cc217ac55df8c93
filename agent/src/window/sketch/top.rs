//! Which values are the most frequent: a Frequent Items sketch of Apache DataSketches (Anderson et
//! al.: "A High-Performance Algorithm for Identifying Frequent Items in Data Streams", IMC 2017), with
//! bounds around each count, in the serialized form that its C++, Java and Python implementations
//! read and merge.

use datasketches::codec::{SketchBytes, SketchSlice};
use datasketches::error::Error;
use datasketches::frequencies::{ErrorType, FrequentItemValue, FrequentItemsSketch};
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Octets of a value at most: names are never longer, unless they are written with escapes. Longer
/// ones are cut.
pub const MAX_OCTETS: usize = 255;

/// Octets that a shared text takes beside its own: its two counters.
const SHARED_OCTETS: usize = 16;

/// A value by its hash, with its text. Two values are the same if their hashes are: they have 64 bits.
#[derive(Clone, Debug)]
struct Value {
    hash: u64,
    /// Empty where a value is only looked for. Windows that merge share it.
    text: Arc<str>,
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Borrow<u64> for Value {
    fn borrow(&self) -> &u64 {
        &self.hash
    }
}

/// As the library's own for strings: the length in four octets, little end first, then UTF-8.
impl FrequentItemValue for Value {
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

/// The hash by which values are told apart: the same on every machine.
#[must_use]
pub fn hash_of(value: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(value)
}

/// Counts the most frequent values.
#[derive(Clone, Debug)]
pub struct Top(FrequentItemsSketch<Value>);

/// A frequent value. Its true count is between `lower` and `upper`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The value.
    pub value: Arc<str>,
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

    /// Counts a value some times more. `text` is asked for only where the value is new: no more of it than
    /// [`MAX_OCTETS`].
    pub fn add(&mut self, hash: u64, times: u64, text: impl FnOnce() -> Arc<str>) {
        // Looking does not allocate, and neither does counting what is there.
        let text = if self.0.lower_bound(&hash) > 0 { Arc::default() } else { text() };
        self.0.update_with_count(Value { hash, text }, times);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// How many values were counted, repeated ones as often as they came.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total_weight()
    }

    /// The `limit` most frequent values, most frequent first; values of one count by name.
    #[must_use]
    pub fn ranked(&self, limit: usize) -> Vec<Ranked> {
        let rows = self.0.frequent_items(ErrorType::NoFalseNegatives);
        let mut ranked: Vec<Ranked> = rows
            .iter()
            .map(|row| Ranked {
                value: Arc::clone(&row.item().text),
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

    /// The octets of a sketch of at most 2^`lg_slots` slots, as Apache DataSketches writes it for
    /// strings: this one, or where it is larger, its merger into an empty one of that size.
    #[must_use]
    pub fn serialize(&self, lg_slots: u8) -> Vec<u8> {
        if self.0.lg_max_map_size() <= lg_slots {
            return self.0.serialize();
        }
        let mut smaller = Self::new(lg_slots);
        smaller.merge(self);
        smaller.0.serialize()
    }

    /// Octets on the heap; texts that are shared with other sketches count in each.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let values = self.0.frequent_items_with_threshold(ErrorType::NoFalseNegatives, 0);
        let texts = values.iter().map(|row| SHARED_OCTETS + row.item().text.len());
        self.0.estimated_size() + texts.sum::<usize>()
    }

    /// The most that [`Self::heap_bytes`] can be for values of up to so many octets.
    #[must_use]
    pub const fn max_heap_bytes(lg_slots: u8, octets: usize) -> usize {
        let slots = 1 << lg_slots;
        // Beside each value: its count and its distance from where it belongs.
        let slot = size_of::<Option<Value>>() + size_of::<u64>() + size_of::<u16>();
        slots * slot + slots / 4 * 3 * (octets + SHARED_OCTETS)
    }
}

/// A text that several sketches may hold, as much of it as they keep.
#[must_use]
pub fn shared(text: &str) -> Arc<str> {
    within(text).into()
}

/// As much of a text as a sketch keeps: [`MAX_OCTETS`] at most.
#[must_use]
pub fn within(text: &str) -> &str {
    if text.len() <= MAX_OCTETS {
        return text;
    }
    let mut ends = (0..=text.len().min(MAX_OCTETS)).rev();
    ends.find_map(|end| text.get(..end)).unwrap_or_default()
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn created(slots: usize) -> FrequentItemsSketch<Value> {
    FrequentItemsSketch::new(slots).expect("a power of two from 8 to 2^30")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn add(top: &mut Top, text: &str) {
        top.add(hash_of(text.as_bytes()), 1, || shared(text));
    }

    fn of(values: &[u32]) -> Top {
        let mut top = Top::new(7);
        for value in values {
            add(&mut top, &value.to_string());
        }
        top
    }

    /// Each count is within its bounds, and what has a larger share than `share` is there.
    fn check(top: &Top, exact: &HashMap<String, u64>, share: f64) -> Result<(), TestCaseError> {
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
            // The a-priori error of the sketch and of a merger.
            check(&top, &exact, 7.0 / 128.0)?;
            let smaller = Top(FrequentItemsSketch::deserialize(&top.serialize(5)).unwrap());
            check(&smaller, &exact, 7.0 / 128.0 + 3.5 / 32.0)?;
        }
    }

    #[test]
    fn the_most_frequent_stand_first() {
        let ranked = of(&[7, 7, 7, 3, 3, 5, 4]).ranked(3);
        let found: Vec<_> = ranked.iter().map(|row| (&*row.value, row.lower)).collect();
        assert_eq!(found, [("7", 3), ("3", 2), ("4", 1)]);
    }

    #[test]
    fn memory_is_bounded_whatever_the_values() {
        let mut top = Top::new(6);
        for number in 0..10_000 {
            add(&mut top, &format!("{number:0300}é"));
            assert!(top.heap_bytes() <= Top::max_heap_bytes(6, MAX_OCTETS));
        }
        assert!(top.heap_bytes() > 12 * MAX_OCTETS);
    }
}
