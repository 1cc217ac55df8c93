//! Distinct count: a HyperLogLog sketch of Apache DataSketches in its serialized form, which its
//! C++, Java and Python implementations read and merge.

use datasketches::common::NumStdDev;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};
use dnscribe_record::Merge;

/// 2^11 registers: a standard error of 1.04 / √2048 = 2.3 %.
const LG_K: u8 = 11;

/// Hash of a value, computed once for all sketches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed(Coupon);

impl Hashed {
    /// Returns the hash that the other implementations compute of the same bytes.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self(Coupon::from_value(raw_bytes::from_slice(value)))
    }
}

/// Sketch of the number of distinct values.
#[derive(Clone, Debug)]
pub struct DistinctSketch(State);

#[derive(Clone, Debug)]
enum State {
    /// Built from values: the library estimates more accurately in this state.
    Values(HllSketch),
    /// Merged from other sketches.
    Union(HllUnion),
}

/// An estimate with a 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistinctEstimate {
    /// Most likely value.
    pub value: f64,
    /// Lower bound: two standard deviations below.
    pub lower: f64,
    /// Upper bound: two standard deviations above.
    pub upper: f64,
}

impl Default for DistinctSketch {
    fn default() -> Self {
        Self(State::Values(created(HllSketch::new(LG_K, HllType::Hll6))))
    }
}

impl DistinctSketch {
    /// Maximum heap memory in bytes: one for each register after a merge, otherwise three quarters.
    pub const MAX_HEAP_BYTES: usize = 1 << LG_K;

    /// Adds a value.
    pub fn add(&mut self, value: Hashed) {
        match &mut self.0 {
            State::Values(sketch) => sketch.update_with_coupon(value.0),
            State::Union(union) => {
                let mut sketch = created(HllSketch::new(LG_K, HllType::Hll6));
                sketch.update_with_coupon(value.0);
                union.update(&sketch);
            }
        }
    }

    /// Estimates the number of distinct values.
    #[must_use]
    pub fn estimate(&self) -> DistinctEstimate {
        const TWO: NumStdDev = NumStdDev::Two;
        let (value, lower, upper) = match &self.0 {
            State::Values(sketch) => {
                (sketch.estimate(), sketch.lower_bound(TWO), sketch.upper_bound(TWO))
            }
            State::Union(union) => {
                (union.estimate(), union.lower_bound(TWO), union.upper_bound(TWO))
            }
        };
        DistinctEstimate { value, lower, upper }
    }

    /// Serializes the sketch as Apache DataSketches does: `HLL_6`, compact.
    #[must_use]
    pub fn serialize(&self) -> Vec<u8> {
        match &self.0 {
            State::Values(sketch) => sketch.serialize(),
            State::Union(union) => union.to_sketch(HllType::Hll6).serialize(),
        }
    }

    /// Heap memory in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            State::Values(sketch) => sketch.estimated_size(),
            State::Union(union) => union.estimated_size(),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.0 {
            State::Values(sketch) => sketch.is_empty(),
            State::Union(union) => union.is_empty(),
        }
    }
}

impl Merge for DistinctSketch {
    fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            self.clone_from(other);
            return;
        }
        if let State::Values(sketch) = &self.0 {
            let mut union = created(HllUnion::new(LG_K));
            union.update(sketch);
            self.0 = State::Union(union);
        }
        if let State::Union(union) = &mut self.0 {
            match &other.0 {
                State::Values(sketch) => union.update(sketch),
                State::Union(other) => union.update(&other.to_sketch(HllType::Hll8)),
            }
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "the only error is a size out of bounds, and ours is a constant"
)]
fn created<T>(sketch: Result<T, datasketches::error::Error>) -> T {
    sketch.expect("LG_K is within 4 and 21")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: std::ops::Range<u32>) -> DistinctSketch {
        let mut sketch = DistinctSketch::default();
        values.for_each(|value| sketch.add(Hashed::of(value.to_string().as_bytes())));
        sketch
    }

    #[test]
    fn estimate_is_within_error() {
        for count in [0, 1, 10, 100] {
            let found = of(0..count).estimate().value;
            assert!((found - f64::from(count)).abs() < 0.5, "{count}: {found}");
        }
        for count in [5_000, 50_000] {
            let found = of(0..count).estimate();
            assert!((found.value / f64::from(count) - 1.0).abs() < 0.08, "{count}: {found:?}");
            assert!(found.lower < found.value && found.value < found.upper);
        }
    }

    #[test]
    fn merges_overlapping_parts() {
        for (middle, end) in [(3, 9), (300, 900), (4_000, 9_000)] {
            let mut merged = DistinctSketch::default();
            // Merges a plain sketch and a merged one.
            merged.merge(&of(0..middle + end / 10));
            let mut rest = of(middle..end);
            rest.merge(&of(middle + 1..end));
            merged.merge(&rest);
            let (merged, whole) = (merged.estimate().value, of(0..end).estimate().value);
            assert!((merged / whole - 1.0).abs() < 0.08, "{merged} {whole}");
        }
    }

    #[test]
    fn serialization_round_trips() {
        let mut merged = of(0..4_000);
        merged.merge(&of(3_000..9_000));
        for sketch in [of(0..0), of(0..5), of(0..150), of(0..9_000), merged] {
            let read = HllSketch::deserialize(&sketch.serialize()).unwrap();
            let (read, own) = (read.estimate(), sketch.estimate().value);
            assert!((read - own).abs() <= own * 1e-9, "{read} {own}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut merged = of(0..100_000);
        assert!(merged.heap_bytes() <= DistinctSketch::MAX_HEAP_BYTES);
        merged.merge(&of(50_000..150_000));
        assert!(merged.heap_bytes() <= DistinctSketch::MAX_HEAP_BYTES);
        assert!(of(0..3).heap_bytes() < 64, "{}", of(0..3).heap_bytes());
    }
}
