//! Learned baseline of one value of one entity, updated every minute; of this hour of the week once
//! it was seen in enough weeks.
//!
//! Mean and mean absolute deviation are exponentially weighted. Each step is clamped to three
//! deviations (Huber: "Robust Estimation of a Location Parameter", 1964): an outlier moves the mean
//! no further than a large ordinary value, and a new level is still adopted, because every clamped
//! step increases the deviation.
//!
//! ```
//! use dnscribe_baseline::LearnedBaseline;
//! use dnscribe_record::time::Timestamp;
//!
//! let minute = |number: u64| Timestamp::from_nanos(number * 60_000_000_000);
//! let mut latency_ms = LearnedBaseline::default();
//! for number in 0..60 {
//!     latency_ms.learn(minute(number), 12.0, 1.0, false);
//! }
//! let compared = latency_ms.compare(minute(60), 480.0, 1.0).unwrap();
//! assert!((compared.mean - 12.0).abs() < 0.1 && compared.z > 100.0);
//! ```

use dnscribe_record::FigureFields;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;

/// Weight of a new value once there are many: a memory of one hour.
const WEIGHT: f64 = 1.0 / 60.0;
/// Weight of a new value within an hour of the week: a memory of three weeks.
const SEASON_WEIGHT: f64 = 1.0 / 180.0;
/// Factor for the weight while an anomaly is found.
const ANOMALY_WEIGHT: f64 = 1.0 / 8.0;
/// Number of deviations to which a step is clamped.
const CLAMP: f64 = 3.0;
/// Number of values from which steps are clamped: before, the deviation is unknown.
const MIN_CLAMPED: u32 = 5;
/// Standard deviation divided by mean absolute deviation, for a normal distribution: √(π/2).
const SIGMA: f64 = 1.253_314_137_315_500_1;
const HOURS: usize = 168;
/// Number of weeks in which an hour of the week must have been seen before it is used.
const MIN_WEEKS: u8 = 3;
/// Minimum number of values of a baseline.
const MIN_VALUES: u32 = 10;

/// Learned baseline of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Mean value.
    pub mean: f64,
    /// Robustly estimated standard deviation.
    pub deviation: f64,
    /// Deviations between the value and the mean (z-score).
    pub z: f64,
    /// Number of spans from which the baseline was learned.
    pub samples: u64,
    /// Whether it is the baseline of this hour of the week.
    pub seasonal: bool,
}

/// A value behind a finding, with what it was compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figure {
    /// Name with its unit: `timeout_ratio`, `latency_p95_ms`.
    pub name: &'static str,
    /// Measured value.
    pub value: f64,
    /// Fixed threshold, if any.
    pub threshold: Option<f64>,
    /// Learned baseline, if any.
    pub baseline: Option<Baseline>,
}

impl Figure {
    /// Creates a figure without a baseline.
    #[must_use]
    pub const fn new(name: &'static str, value: f64, threshold: Option<f64>) -> Self {
        Self { name, value, threshold, baseline: None }
    }
}

impl From<&Figure> for FigureFields {
    fn from(figure: &Figure) -> Self {
        let usual = figure.baseline.as_ref();
        Self {
            name: figure.name,
            value: figure.value,
            threshold: figure.threshold,
            baseline_mean: usual.map(|usual| usual.mean),
            baseline_deviation: usual.map(|usual| usual.deviation),
            z_score: usual.map(|usual| usual.z),
            baseline_samples: usual.map(|usual| usual.samples),
            seasonal: usual.map(|usual| usual.seasonal),
        }
    }
}

/// Mean and deviation of the values seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Estimate {
    mean: f32,
    /// Mean absolute deviation.
    deviation: f32,
    count: u32,
}

impl Estimate {
    fn learn(&mut self, value: f64, floor: f64, weight: f64, trust: f64) {
        let (mean, deviation) = (f64::from(self.mean), f64::from(self.deviation));
        if self.count == 0 {
            *self = Self { mean: single(value), deviation: 0.0, count: 1 };
            return;
        }
        let weight = weight.max(1.0 / f64::from(self.count.saturating_add(1))) * trust;
        let bound = CLAMP * self.sigma(floor);
        let step = value - mean;
        let step = if self.count < MIN_CLAMPED { step } else { step.clamp(-bound, bound) };
        self.mean = single(mean + weight * step);
        self.deviation = single(deviation + weight * (step.abs() - deviation));
        self.count = self.count.saturating_add(1);
    }

    fn sigma(&self, floor: f64) -> f64 {
        (f64::from(self.deviation) * SIGMA).max(floor)
    }
}

/// Estimate for an hour of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hour {
    estimate: Estimate,
    /// Number of weeks in which it was seen, and the number of the last one.
    weeks: u8,
    last: u16,
}

/// Baseline of one value of one entity, which learns.
#[derive(Clone, Debug, Default)]
pub struct LearnedBaseline {
    recent: Estimate,
    hours: Option<Box<[Hour; HOURS]>>,
}

impl LearnedBaseline {
    /// Learns the value of a minute. `floor` is the smallest deviation assumed; `anomalous` reduces
    /// the weight of the value.
    pub fn learn(&mut self, at: Timestamp, value: f64, floor: f64, anomalous: bool) {
        if anomalous && self.recent.count < MIN_VALUES {
            // A value that is anomalous from the start must not become the baseline.
            return;
        }
        let trust = if anomalous { ANOMALY_WEIGHT } else { 1.0 };
        self.recent.learn(value, floor, WEIGHT, trust);
        let (week, hour) = hour_of(at);
        let hour = &mut self.hours.get_or_insert_with(|| Box::new([Hour::default(); HOURS]))[hour];
        if hour.weeks == 0 || hour.last != week {
            hour.weeks = hour.weeks.saturating_add(1);
            hour.last = week;
        }
        hour.estimate.learn(value, floor, SEASON_WEIGHT, trust);
    }

    /// Compares a value with the baseline; `None` while too little is known.
    #[must_use]
    pub fn compare(&self, at: Timestamp, value: f64, floor: f64) -> Option<Baseline> {
        let (_, hour) = hour_of(at);
        let season = self.hours.as_ref().map(|hours| hours[hour]);
        let season = season.filter(|hour| hour.weeks > MIN_WEEKS).map(|hour| hour.estimate);
        let estimate = season.unwrap_or(self.recent);
        if estimate.count < MIN_VALUES {
            return None;
        }
        let (mean, deviation) = (f64::from(estimate.mean), estimate.sigma(floor));
        Some(Baseline {
            mean,
            deviation,
            z: (value - mean) / deviation,
            samples: u64::from(estimate.count),
            seasonal: season.is_some(),
        })
    }

    /// Returns the mean so far, for a floor that depends on it.
    #[must_use]
    pub fn mean(&self) -> f64 {
        f64::from(self.recent.mean)
    }
}

/// Returns the number of the week since 1970 and the hour within it.
fn hour_of(at: Timestamp) -> (u16, usize) {
    let hours = at.as_nanos() / 3_600_000_000_000;
    let week = u16::try_from(hours / HOURS as u64).unwrap_or(u16::MAX);
    (week, usize::try_from(hours % HOURS as u64).unwrap_or(0))
}

#[expect(clippy::cast_possible_truncation, reason = "six digits are enough for what is usual")]
const fn single(value: f64) -> f32 {
    value as f32
}

/// Returns the lower bound of the Wilson interval (99.5 %) of the share `part / whole` (Wilson:
/// "Probable Inference, the Law of Succession, and Statistical Inference", 1927). The bound is near
/// 0 for few observations.
#[must_use]
pub fn lower_bound(part: u64, whole: u64) -> f64 {
    const Z: f64 = 2.576;
    if whole == 0 {
        return 0.0;
    }
    let (part, whole) = (to_f64(part.min(whole)), to_f64(whole));
    let share = part / whole;
    let square = Z * Z / whole;
    let middle = share + square / 2.0;
    let width = Z * (share * (1.0 - share) / whole + square / (4.0 * whole)).sqrt();
    ((middle - width) / (1.0 + square)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLOOR: f64 = 0.5;

    fn minute(number: u64) -> Timestamp {
        Timestamp::from_nanos(number * 60_000_000_000)
    }

    fn learned(values: impl IntoIterator<Item = f64>) -> LearnedBaseline {
        let mut baseline = LearnedBaseline::default();
        for (number, value) in (0..).zip(values) {
            baseline.learn(minute(number), value, FLOOR, false);
        }
        baseline
    }

    #[test]
    fn has_no_baseline_before_warmup() {
        assert_eq!(learned(vec![1.0; 9]).compare(minute(10), 1.0, FLOOR), None);
        let known = learned(vec![1.0; 10]).compare(minute(10), 1.0, FLOOR).unwrap();
        assert_eq!((known.samples, known.seasonal), (10, false));
        assert!(known.z.abs() < 1e-3 && (known.deviation - FLOOR).abs() < 1e-9);
    }

    #[test]
    fn ignores_outlier_and_adopts_new_level() {
        let noise = |number: u32| 100.0 + f64::from(number * 7919 % 21) - 10.0;
        let mut baseline = learned((0..300).map(noise));
        baseline.learn(minute(300), 1e6, FLOOR, false);
        let after = baseline.compare(minute(301), 200.0, FLOOR).unwrap();
        assert!((after.mean - 100.0).abs() < 3.0 && after.z > 5.0, "{after:?}");
        for number in 301..900 {
            baseline.learn(minute(number), 500.0, FLOOR, false);
        }
        let later = baseline.compare(minute(900), 500.0, FLOOR).unwrap();
        assert!(later.z.abs() < 2.0, "{later:?}");
    }

    #[test]
    fn learns_anomalies_slowly() {
        let baseline = |wrong| {
            let mut baseline = learned(vec![10.0; 200]);
            (200..230).for_each(|number| baseline.learn(minute(number), 50.0, FLOOR, wrong));
            baseline.compare(minute(230), 50.0, FLOOR).unwrap().mean - 10.0
        };
        let (slow, fast) = (baseline(true), baseline(false));
        assert!(slow > 0.0 && slow * 4.0 < fast, "{slow} {fast}");
    }

    #[test]
    fn uses_hour_of_week_after_weeks() {
        // At night 10, by day 1000.
        let value = |number: u64| if number / 60 % 24 < 8 { 10.0 } else { 1000.0 };
        let week = 7 * 24 * 60;
        let mut baseline = LearnedBaseline::default();
        for number in 0..4 * week {
            baseline.learn(minute(number), value(number), FLOOR, false);
        }
        // First minute of the working hours of a Thursday, which the baseline of the last hour does
        // not know.
        let morning = 4 * week + 8 * 60;
        let known = baseline.compare(minute(morning), 1000.0, FLOOR).unwrap();
        assert!(known.seasonal && known.z.abs() < 1.0, "{known:?}");
        assert!(baseline.compare(minute(4 * week), 1000.0, FLOOR).unwrap().z > 100.0);
        assert!(
            !learned((0..3 * week).map(value))
                .compare(minute(3 * week), 1.0, FLOOR)
                .unwrap()
                .seasonal
        );
    }

    proptest! {
        #[test]
        fn mean_stays_within_values(values in prop::collection::vec(0.0..1e6_f64, 1..300)) {
            let baseline = learned(values.iter().copied());
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            let mean = f64::from(baseline.recent.mean);
            prop_assert!(mean >= least * 0.999 - 1.0 && mean <= most * 1.001 + 1.0);
            prop_assert!(baseline.recent.deviation.is_finite());
        }

        #[test]
        fn lower_bound_is_below_share(part in 0..1000_u64, more in 0..1000_u64) {
            let whole = part + more;
            let low = lower_bound(part, whole);
            prop_assert!((0.0..=1.0).contains(&low));
            if let Some(share) = (whole > 0).then(|| to_f64(part) / to_f64(whole)) {
                prop_assert!(low <= share + 1e-9);
                prop_assert!(lower_bound(part * 100, whole * 100) >= low - 1e-9);
            }
        }
    }

    #[test]
    fn lower_bound_of_few_is_low() {
        assert!(lower_bound(1, 2) < 0.1 && lower_bound(50, 100) > 0.35 && lower_bound(0, 0) < 1e-9);
    }
}
