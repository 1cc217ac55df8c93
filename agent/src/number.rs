//! Counts as numbers to calculate with.

/// A count to calculate with; beyond 2⁵³ not exact.
#[expect(clippy::cast_precision_loss, reason = "figures are for readers and for ratios")]
#[must_use]
pub const fn float(count: u64) -> f64 {
    count as f64
}
