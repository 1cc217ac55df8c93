//! Conversions of counts and durations into `f64`.

use std::time::Duration;

/// Returns a count as `f64`; inexact above 2⁵³.
#[expect(clippy::cast_precision_loss, reason = "used for displayed figures and ratios only")]
#[must_use]
pub const fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Returns a duration in milliseconds, rounded once, to the nearest `f64`.
#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days, and far finer than a clock")]
#[must_use]
pub const fn milliseconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e6
}
