//! Quantiles with a bounded relative error: a DDSketch (Masson, Rim, Lee: "DDSketch: A Fast and
//! Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", VLDB 2019).
//!
//! Bin `i` counts the values in (γ^(i-1), γ^i]. The serialized form is the Protobuf message
//! `DDSketch` of Datadog's sketches-go, sketches-java and sketches-py. The maintained Rust crates
//! do not expose their bins, or serialize them in a form that sketches-py cannot read.

use dnscribe_record::Merge;
use prost::Message;

/// Maximum relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;

/// γ for [`RELATIVE_ERROR`]: (1 + α) / (1 - α).
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// Range of values in milliseconds: one microsecond, the resolution of many capture clocks, to ten
/// minutes. Smaller values count as zero, larger ones as the upper bound; the maximum is exact.
const RANGE: (f64, f64) = (1e-3, 6e5);

/// Number of bins allocated at a time.
const CHUNK: i32 = 32;

/// Maximum number of bins, for [`RANGE`].
const MAX_BINS: usize = 1024;

/// A value with its bin, computed once for all sketches.
#[derive(Clone, Copy, Debug)]
pub struct Binned {
    value: f64,
    /// `None` for a value that counts as zero.
    index: Option<i32>,
}

impl Binned {
    /// Creates one of a value in milliseconds. Negative, infinite and NaN values count as zero.
    #[must_use]
    pub fn new(value: f64) -> Self {
        if value < RANGE.0 || !value.is_finite() {
            return Self { value: 0.0, index: None };
        }
        Self { value, index: Some(index(value.min(RANGE.1))) }
    }
}

/// Counts of values by magnitude.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantileSketch {
    /// Counts of the bins from `first` on; a window has fewer than 2^32 answers.
    bins: Vec<u32>,
    /// Index of the first bin: a multiple of [`CHUNK`].
    first: i32,
    zeros: u64,
    count: u64,
    max: f64,
}

impl QuantileSketch {
    /// Maximum heap memory in bytes.
    pub const MAX_HEAP_BYTES: usize = MAX_BINS * size_of::<u32>();

    /// Adds a value.
    pub fn add(&mut self, value: Binned) {
        self.count += 1;
        self.max = self.max.max(value.value);
        match value.index {
            Some(index) => self.add_to_bin(index, 1),
            None => self.zeros += 1,
        }
    }

    /// Returns the number of values.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the exact maximum, or `None` without values.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// Returns the value of rank `q * (count - 1)`, `q` from 0 to 1, within [`RELATIVE_ERROR`], or
    /// `None` without values.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a window stay far below 2^53")]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = q.clamp(0.0, 1.0) * self.count.checked_sub(1)? as f64;
        let mut below = self.zeros;
        if below as f64 > rank {
            return Some(0.0);
        }
        for (index, count) in (self.first..).zip(&self.bins) {
            below += u64::from(*count);
            if below as f64 > rank {
                return Some(value(index).min(self.max));
            }
        }
        Some(self.max)
    }

    /// Serializes the Protobuf message `DDSketch`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a window stay far below 2^53")]
    pub fn serialize(&self) -> Vec<u8> {
        let used = |count: &u32| *count > 0;
        let from = self.bins.iter().position(used).unwrap_or(0);
        let to = self.bins.iter().rposition(used).map_or(0, |last| last + 1);
        let counts = self.bins.get(from..to).unwrap_or_default();
        let first = self.first + i32::try_from(from).unwrap_or(0);
        proto::DdSketch {
            mapping: Some(proto::IndexMapping {
                gamma: GAMMA,
                index_offset: 0.0,
                interpolation: 0,
            }),
            positive_values: Some(proto::Store {
                bins: counts.iter().copied().map(f64::from).collect(),
                first,
            }),
            negative_values: Some(proto::Store { bins: Vec::new(), first: 0 }),
            zero_count: self.zeros as f64,
        }
        .encode_to_vec()
    }

    /// Heap memory in bytes.
    #[must_use]
    pub const fn heap_bytes(&self) -> usize {
        self.bins.capacity() * size_of::<u32>()
    }

    /// Adds to a bin, allocating it if necessary.
    fn add_to_bin(&mut self, index: i32, count: u32) {
        let offset = |first: i32| usize::try_from(index - first).ok();
        if let Some(bin) = offset(self.first).and_then(|offset| self.bins.get_mut(offset)) {
            *bin = bin.saturating_add(count);
            return;
        }
        self.allocate(index);
        if let Some(bin) = offset(self.first).and_then(|offset| self.bins.get_mut(offset)) {
            *bin = bin.saturating_add(count);
        }
    }

    /// Allocates the chunk of `index` and those between it and the present ones.
    fn allocate(&mut self, index: i32) {
        let chunk = index.div_euclid(CHUNK) * CHUNK;
        let end = self.first + i32::try_from(self.bins.len()).unwrap_or(0);
        let (first, end) = if self.bins.is_empty() {
            (chunk, chunk + CHUNK)
        } else {
            (self.first.min(chunk), end.max(chunk + CHUNK))
        };
        let mut bins = Vec::with_capacity(usize::try_from(end - first).unwrap_or(0));
        bins.resize(usize::try_from(self.first - first).unwrap_or(0), 0);
        bins.extend_from_slice(&self.bins);
        bins.resize(bins.capacity(), 0);
        (self.first, self.bins) = (first, bins);
    }
}

impl Merge for QuantileSketch {
    fn merge(&mut self, other: &Self) {
        if let Some(last) = other.bins.len().checked_sub(1) {
            // Allocates both ends.
            self.add_to_bin(other.first, 0);
            self.add_to_bin(other.first + i32::try_from(last).unwrap_or(0), 0);
            let before = usize::try_from(other.first - self.first).unwrap_or(0);
            for (sum, count) in self.bins.iter_mut().skip(before).zip(&other.bins) {
                *sum = sum.saturating_add(*count);
            }
        }
        self.zeros += other.zeros;
        self.count += other.count;
        self.max = self.max.max(other.max);
    }
}

/// Reads the counts of a serialized sketch, each with the value that represents its bin; `None` if it is none of ours.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and not negative"
)]
pub fn read_bins(serialized: &[u8]) -> Option<Vec<(f64, u64)>> {
    let sketch = proto::DdSketch::decode(serialized).ok()?;
    sketch.mapping.filter(|mapping| (mapping.gamma - GAMMA).abs() < 1e-9)?;
    let store = sketch.positive_values.unwrap_or_default();
    let bins = (store.first..).zip(store.bins).map(|(index, count)| (value(index), count as u64));
    let zeros = (0.0, sketch.zero_count as u64);
    Some(std::iter::once(zeros).chain(bins).filter(|(_, count)| *count > 0).collect())
}

/// Returns the bin of a value within [`RANGE`].
#[expect(clippy::cast_possible_truncation, reason = "RANGE keeps it within a thousand")]
fn index(value: f64) -> i32 {
    (value.ln() / GAMMA.ln()).ceil() as i32
}

/// Returns the value that represents a bin, at most [`RELATIVE_ERROR`] from either end.
fn value(index: i32) -> f64 {
    GAMMA.powi(index) * 2.0 / (1.0 + GAMMA)
}

/// `DDSketch.proto` as published by Datadog, without maps of single bins.
mod proto {
    #[derive(prost::Message)]
    pub struct DdSketch {
        #[prost(message, optional, tag = "1")]
        pub mapping: Option<IndexMapping>,
        #[prost(message, optional, tag = "2")]
        pub positive_values: Option<Store>,
        #[prost(message, optional, tag = "3")]
        pub negative_values: Option<Store>,
        #[prost(double, tag = "4")]
        pub zero_count: f64,
    }

    #[derive(prost::Message)]
    pub struct IndexMapping {
        #[prost(double, tag = "1")]
        pub gamma: f64,
        #[prost(double, tag = "2")]
        pub index_offset: f64,
        #[prost(int32, tag = "3")]
        pub interpolation: i32,
    }

    #[derive(prost::Message)]
    pub struct Store {
        #[prost(double, repeated, tag = "2")]
        pub bins: Vec<f64>,
        #[prost(sint32, tag = "3")]
        pub first: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> QuantileSketch {
        let mut sketch = QuantileSketch::default();
        for value in values {
            sketch.add(Binned::new(*value));
        }
        sketch
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_error(
            mut values in prop::collection::vec(2e-3..5e5_f64, 1..300), q in 0.0..=1.0_f64,
        ) {
            let found = of(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
            let exact = values[(q * (values.len() - 1) as f64) as usize];
            prop_assert!((found - exact).abs() <= exact * RELATIVE_ERROR * 1.000_001, "{found} {exact}");
        }

        #[test]
        fn bins_are_read_back(values in prop::collection::vec(0.0..1e5_f64, 1..50)) {
            let bins = read_bins(&of(&values).serialize()).unwrap();
            prop_assert_eq!(bins.iter().map(|(_, count)| count).sum::<u64>(), values.len() as u64);
            let near = |value: f64| bins.iter().any(|(bin, _)| (bin - value).abs() <= value * RELATIVE_ERROR * 1.000_001);
            prop_assert!(values.iter().all(|value| near(*value) || *value < RANGE.0), "{:?}", bins);
        }

        #[test]
        fn parts_merge_to_the_whole(
            one in prop::collection::vec(0.0..1e5_f64, 0..50),
            other in prop::collection::vec(0.0..1e5_f64, 0..50),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&other));
            let whole = of(&[one, other].concat());
            prop_assert_eq!(merged.quantile(0.5), whole.quantile(0.5));
            prop_assert_eq!((merged.count(), merged.max()), (whole.count(), whole.max()));
        }
    }

    #[test]
    fn odd_values_have_a_place() {
        let sketch = of(&[0.0, -1.0, f64::NAN, f64::INFINITY, 1e300]);
        assert_eq!(sketch.count(), 5);
        assert_eq!(sketch.quantile(0.0), Some(0.0));
        assert_eq!(sketch.max(), Some(1e300));
        assert!(sketch.heap_bytes() <= 256);
        assert_eq!(QuantileSketch::default().quantile(0.5), None);
    }

    #[test]
    fn the_bins_are_bounded() {
        let sketch = of(&[1e-300, 1e-3, 1e9, f64::MAX]);
        assert_eq!(sketch.heap_bytes(), QuantileSketch::MAX_HEAP_BYTES);
    }
}
