//! Histograms of positive values: with fixed bounds, and as Prometheus' native histograms.

use crate::proto;

/// Schema of native histograms: 8 buckets from a number to its double, 9 % wide.
const SCHEMA: i32 = 3;

/// Upper bounds of the buckets from 0.5 to 1, without 1: 2^(k/8) / 2. With `SCHEMA` 3, bucket `i` ends at 2^(i/8).
const MANTISSAS: [f64; 8] = [
    0.5,
    0.545_253_866_332_628_8,
    0.594_603_557_501_360_5,
    0.648_419_777_325_504_8,
    0.707_106_781_186_547_5,
    0.771_105_412_703_970_4,
    0.840_896_415_253_714_4,
    0.917_004_043_204_671_1,
];

/// Range of native buckets: a nanosecond to twelve days, in seconds. Smaller values count as zero, larger ones
/// as the largest.
const RANGE: (f64, f64) = (1.0 / (1 << 30) as f64, (1 << 20) as f64);

/// Counts of values in buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Values per bucket, then values above all bounds.
    counts: Box<[u64]>,
    sum: f64,
    native: Native,
}

impl Histogram {
    /// Creates an empty histogram; `bounds` must be in increasing order.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = vec![0; bounds.len() + 1].into();
        Self { bounds, counts, sum: 0.0, native: Native::default() }
    }

    /// Counts a value.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
        self.native.observe(value);
    }
}

impl From<&Histogram> for proto::Histogram {
    fn from(histogram: &Histogram) -> Self {
        let Histogram { bounds, counts, sum, native } = histogram;
        let mut count = 0;
        let buckets =
            bounds.iter().chain([&f64::INFINITY]).zip(counts).map(|(bound, of_bucket)| {
                count += of_bucket;
                proto::Bucket { cumulative_count: count, upper_bound: *bound }
            });
        let buckets = buckets.collect();
        let (spans, deltas) = native.spans();
        Self {
            count,
            sum: *sum,
            buckets,
            schema: SCHEMA,
            zero_threshold: RANGE.0,
            zero_count: native.zeros,
            spans,
            deltas,
        }
    }
}

/// Counts of values by magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Native {
    /// Values per bucket from `first` on.
    counts: Vec<u64>,
    first: i32,
    zeros: u64,
}

impl Native {
    fn observe(&mut self, value: f64) {
        if value.is_nan() || value <= RANGE.0 {
            self.zeros += 1;
            return;
        }
        let index = index(value.min(RANGE.1));
        if self.counts.is_empty() {
            self.first = index;
        }
        if let Ok(missing @ 1..) = usize::try_from(self.first - index) {
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = index;
        }
        let place = usize::try_from(index - self.first).unwrap_or(0);
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
    }

    /// Returns the buckets with values, as spans of neighbours and the differences between their counts.
    fn spans(&self) -> (Vec<proto::BucketSpan>, Vec<i64>) {
        let (mut spans, mut deltas) = (Vec::<proto::BucketSpan>::new(), Vec::new());
        let (mut end, mut before) = (0, 0);
        for (index, count) in (self.first..).zip(&self.counts).filter(|(_, count)| **count > 0) {
            match spans.last_mut().filter(|_| index == end) {
                Some(span) => span.length += 1,
                None => spans.push(proto::BucketSpan { offset: index - end, length: 1 }),
            }
            end = index + 1;
            deltas.push(count.cast_signed() - before);
            before = count.cast_signed();
        }
        // A native histogram without buckets has a span, so that it is not taken for a classic one.
        if spans.is_empty() {
            spans.push(proto::BucketSpan::default());
        }
        (spans, deltas)
    }
}

/// Returns the bucket of a positive normal number: bucket `i` holds those in (2^((i-1)/8), 2^(i/8)].
fn index(value: f64) -> i32 {
    const EXPONENT_BITS: u64 = 0x7ff << 52;
    let bits = value.to_bits();
    // value = mantissa * 2^exponent, with the mantissa in [0.5, 1).
    let exponent = (bits & EXPONENT_BITS) >> 52;
    let mantissa = f64::from_bits(bits & !EXPONENT_BITS | 1022 << 52);
    let part = MANTISSAS.partition_point(|bound| *bound < mantissa);
    let place = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    (place(exponent) - 1023) * 8 + place(part as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f64]) -> proto::Histogram {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in values {
            histogram.observe(*value);
        }
        proto::Histogram::from(&histogram)
    }

    #[test]
    fn bounds_of_buckets_are_inclusive() {
        for power in -200..160 {
            let bound = (f64::from(power) / 8.0).exp2();
            // The powers of two are exact; between them the library may round otherwise than the table.
            let (below, above) = if power % 8 == 0 {
                (bound, bound.next_up())
            } else {
                (bound * (1.0 - 1e-12), bound * (1.0 + 1e-12))
            };
            assert_eq!([index(below), index(above)], [power, power + 1], "2^({power}/8)");
        }
    }

    #[test]
    fn native_buckets_are_spans_of_differences() {
        // Buckets 0 (three), 1 (one), 8 (two) and -8 (four).
        let found = histogram(&[1.0, 2.0, 1.0, 1.05, 0.5, 0.5, 1.0, 0.5, 1.9, 0.5]);
        let span = |offset, length| proto::BucketSpan { offset, length };
        assert_eq!(found.spans, [span(-8, 1), span(7, 2), span(6, 1)]);
        assert_eq!(found.deltas, [4, -1, -2, 1]);
        assert_eq!((found.count, found.schema, found.zero_count), (10, 3, 0));
        let classic: Vec<u64> =
            found.buckets.iter().map(|bucket| bucket.cumulative_count).collect();
        assert_eq!(classic, [4, 7, 10]);
    }

    #[test]
    fn every_value_is_in_a_bucket() {
        let values = [0.0, -1.0, 1e-12, RANGE.0, RANGE.0.next_up(), 1e9, f64::INFINITY];
        let found = histogram(&values);
        assert_eq!((found.count, found.zero_count), (7, 4));
        let mut counts = Vec::new();
        for delta in &found.deltas {
            counts.push(counts.last().unwrap_or(&0) + delta);
        }
        assert_eq!(counts, [1, 2]);
        assert_eq!(found.spans[0].offset, -239, "(2^-30, 2^(-239/8)]");
    }

    #[test]
    fn empty_histogram_is_native() {
        assert_eq!(histogram(&[]).spans, [proto::BucketSpan { offset: 0, length: 0 }]);
    }
}
