//! Bounds of histograms with fixed buckets, which merge by addition.

/// Upper bounds of the entropy of a name, in bits per byte.
pub const ENTROPY: &[f64; 9] = &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0];

/// Upper bounds of the length of a label, in bytes.
pub const LABEL_LENGTHS: &[f64; 7] = &[4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0];

/// Upper bounds of a response's smallest TTL, in seconds.
pub const MIN_TTL: &[f64; 9] = &[0.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// Returns the bucket of a value: the first whose upper bound is at least the value, otherwise the
/// last one, which is unbounded.
#[must_use]
pub fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len())
}
