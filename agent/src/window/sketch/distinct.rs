//! How many different values there are: a HyperLogLog sketch of Apache DataSketches, in its own
//! serialized form (compact HLL, preamble version 1), which its C++, Java and Python
//! implementations read and merge.

use datasketches::common::NumStdDev;
use datasketches::hash::value::raw_bytes;
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};

/// 2^11 registers: a standard error of 1.04 / √2048 = 2.3 %, in about 1 KiB.
const LG_K: u8 = 11;

/// A value's hash, made once for all the sketches that it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Hashed(Coupon);

impl Hashed {
    /// The hash that the other implementations make of the same octets.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        Self(Coupon::from_value(raw_bytes::from_slice(value)))
    }
}

/// Counts different values.
#[derive(Clone, Debug)]
pub struct Distinct(HllSketch);

/// An estimate and where the truth is with a probability of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The likeliest number.
    pub value: f64,
    /// Two standard deviations below.
    pub lower: f64,
    /// Two standard deviations above.
    pub upper: f64,
}

impl Default for Distinct {
    fn default() -> Self {
        Self(created(HllSketch::new(LG_K, HllType::Hll8)))
    }
}

impl Distinct {
    /// Adds a value.
    pub fn add(&mut self, value: Hashed) {
        self.0.update_with_coupon(value.0);
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: &Self) {
        let mut union = created(HllUnion::new(LG_K));
        union.update(&self.0);
        union.update(&other.0);
        self.0 = union.to_sketch(HllType::Hll8);
    }

    /// How many different values were added.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        Estimate {
            value: self.0.estimate(),
            lower: self.0.lower_bound(NumStdDev::Two),
            upper: self.0.upper_bound(NumStdDev::Two),
        }
    }

    /// The octets of the sketch as Apache DataSketches writes it.
    #[must_use]
    pub fn serialize(&self) -> Vec<u8> {
        self.0.serialize()
    }

    /// Octets on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.0.estimated_size()
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

    fn of(values: std::ops::Range<u32>) -> Distinct {
        let mut sketch = Distinct::default();
        values.for_each(|value| sketch.add(Hashed::of(value.to_string().as_bytes())));
        sketch
    }

    #[test]
    fn few_values_are_counted_exactly_and_many_within_the_error() {
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
    fn parts_that_overlap_merge_to_the_whole() {
        for (middle, end) in [(3, 9), (300, 900), (4_000, 9_000)] {
            let mut merged = of(0..middle + end / 10);
            merged.merge(&of(middle..end));
            let (merged, whole) = (merged.estimate().value, of(0..end).estimate().value);
            assert!((merged / whole - 1.0).abs() < 0.08, "{merged} {whole}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        assert!(of(0..100_000).heap_bytes() < 4096);
        assert!(of(0..3).heap_bytes() < 512, "{}", of(0..3).heap_bytes());
    }
}
