//! What is usual: of one number of one entity, learned minute by minute, for this time of day where it
//! has been seen on enough weeks.
//!
//! Mean and mean absolute deviation are exponentially weighted. Each step is clamped to three
//! deviations (Huber: "Robust Estimation of a Location Parameter", 1964), so that an outlier moves the
//! mean no further than a large, ordinary value would, while a new level is adopted in time, for the
//! deviation grows with every clamped step.

use super::finding::Baseline;
use crate::number::float;
use crate::time::Timestamp;

/// The newest value's weight, once there are many: an hour's memory.
const WEIGHT: f64 = 1.0 / 60.0;
/// The same within an hour of the week: some three weeks' memory.
const SEASON_WEIGHT: f64 = 1.0 / 180.0;
/// While something is wrong, values weigh so much less.
const WRONG: f64 = 1.0 / 8.0;
/// Deviations to which a step is clamped.
const CLAMP: f64 = 3.0;
/// Values from which on steps are clamped: a deviation must be known.
const FIRST: u32 = 5;
/// A standard deviation per mean absolute deviation, of what is normally distributed: √(π/2).
const SIGMA: f64 = 1.253_314_137_315_500_1;
/// Hours of a week.
const HOURS: usize = 168;
/// Weeks in which an hour of the week was seen, until it is believed.
const WEEKS: u8 = 3;
/// Values until anything is believed.
pub(super) const WARM: u32 = 10;

/// Mean and deviation of what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Estimate {
    mean: f32,
    /// Mean absolute.
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
        let step = if self.count < FIRST { step } else { step.clamp(-bound, bound) };
        self.mean = single(mean + weight * step);
        self.deviation = single(deviation + weight * (step.abs() - deviation));
        self.count = self.count.saturating_add(1);
    }

    fn sigma(&self, floor: f64) -> f64 {
        (f64::from(self.deviation) * SIGMA).max(floor)
    }
}

/// An hour of the week.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Hour {
    estimate: Estimate,
    /// Weeks in which it was seen, and the last of them by number.
    weeks: u8,
    last: u16,
}

/// What is usual of one number.
#[derive(Clone, Debug, Default)]
pub(super) struct Usual {
    lately: Estimate,
    hours: Option<Box<[Hour; HOURS]>>,
}

impl Usual {
    /// Learns what a minute's value was. `floor`: a smaller deviation is not believed. `wrong`: whether
    /// this is not what should be usual.
    pub(super) fn learn(&mut self, at: Timestamp, value: f64, floor: f64, wrong: bool) {
        if wrong && self.lately.count < WARM {
            // What is plainly wrong from the beginning shall not become what is usual.
            return;
        }
        let trust = if wrong { WRONG } else { 1.0 };
        self.lately.learn(value, floor, WEIGHT, trust);
        let (week, hour) = hour_of(at);
        let hour = &mut self.hours.get_or_insert_with(|| Box::new([Hour::default(); HOURS]))[hour];
        if hour.weeks == 0 || hour.last != week {
            hour.weeks = hour.weeks.saturating_add(1);
            hour.last = week;
        }
        hour.estimate.learn(value, floor, SEASON_WEIGHT, trust);
    }

    /// Compares a value with what is usual; none while too little is known.
    pub(super) fn compare(&self, at: Timestamp, value: f64, floor: f64) -> Option<Baseline> {
        let (_, hour) = hour_of(at);
        let season = self.hours.as_ref().map(|hours| hours[hour]);
        let season = season.filter(|hour| hour.weeks > WEEKS).map(|hour| hour.estimate);
        let estimate = season.unwrap_or(self.lately);
        if estimate.count < WARM {
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

    /// The usual value, as far as is known; for a floor that depends on it.
    pub(super) fn mean(&self) -> f64 {
        f64::from(self.lately.mean)
    }
}

/// The number of the week since 1970, and the hour in it.
fn hour_of(at: Timestamp) -> (u16, usize) {
    let hours = at.as_nanos() / 3_600_000_000_000;
    let week = u16::try_from(hours / HOURS as u64).unwrap_or(u16::MAX);
    (week, usize::try_from(hours % HOURS as u64).unwrap_or(0))
}

#[expect(clippy::cast_possible_truncation, reason = "six digits are enough for what is usual")]
const fn single(value: f64) -> f32 {
    value as f32
}

/// The lower end of the interval in which the share lies of which `part` of `whole` was seen, with a
/// probability of 99.5 % (Wilson: "Probable Inference, the Law of Succession, and Statistical
/// Inference", 1927): of 1 of 2, little can be said.
pub(super) fn at_least(part: u64, whole: u64) -> f64 {
    const Z: f64 = 2.576;
    if whole == 0 {
        return 0.0;
    }
    let (part, whole) = (float(part.min(whole)), float(whole));
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

    fn learned(values: impl IntoIterator<Item = f64>) -> Usual {
        let mut usual = Usual::default();
        for (number, value) in (0..).zip(values) {
            usual.learn(minute(number), value, FLOOR, false);
        }
        usual
    }

    #[test]
    fn knows_nothing_before_it_is_warm() {
        assert_eq!(learned(vec![1.0; 9]).compare(minute(10), 1.0, FLOOR), None);
        let known = learned(vec![1.0; 10]).compare(minute(10), 1.0, FLOOR).unwrap();
        assert_eq!((known.samples, known.seasonal), (10, false));
        assert!(known.z.abs() < 1e-3 && (known.deviation - FLOOR).abs() < 1e-9);
    }

    #[test]
    fn an_outlier_does_not_poison_and_a_new_level_is_adopted() {
        let noise = |number: u32| 100.0 + f64::from(number * 7919 % 21) - 10.0;
        let mut usual = learned((0..300).map(noise));
        usual.learn(minute(300), 1e6, FLOOR, false);
        let after = usual.compare(minute(301), 200.0, FLOOR).unwrap();
        assert!((after.mean - 100.0).abs() < 3.0 && after.z > 5.0, "{after:?}");
        for number in 301..900 {
            usual.learn(minute(number), 500.0, FLOOR, false);
        }
        let later = usual.compare(minute(900), 500.0, FLOOR).unwrap();
        assert!(later.z.abs() < 2.0, "{later:?}");
    }

    #[test]
    fn what_is_wrong_is_learned_slowly() {
        let usual = |wrong| {
            let mut usual = learned(vec![10.0; 200]);
            (200..230).for_each(|number| usual.learn(minute(number), 50.0, FLOOR, wrong));
            usual.compare(minute(230), 50.0, FLOOR).unwrap().mean - 10.0
        };
        let (slow, fast) = (usual(true), usual(false));
        assert!(slow > 0.0 && slow * 4.0 < fast, "{slow} {fast}");
    }

    #[test]
    fn an_hour_is_believed_after_weeks() {
        // At night 10, by day 1000.
        let value = |number: u64| if number / 60 % 24 < 8 { 10.0 } else { 1000.0 };
        let week = 7 * 24 * 60;
        let mut usual = Usual::default();
        for number in 0..4 * week {
            usual.learn(minute(number), value(number), FLOOR, false);
        }
        // The first minute of a Thursday's working hours: an hour's memory knows nothing of it.
        let morning = 4 * week + 8 * 60;
        let known = usual.compare(minute(morning), 1000.0, FLOOR).unwrap();
        assert!(known.seasonal && known.z.abs() < 1.0, "{known:?}");
        assert!(usual.compare(minute(4 * week), 1000.0, FLOOR).unwrap().z > 100.0);
        assert!(
            !learned((0..3 * week).map(value))
                .compare(minute(3 * week), 1.0, FLOOR)
                .unwrap()
                .seasonal
        );
    }

    proptest! {
        #[test]
        fn the_mean_stays_among_the_values(values in prop::collection::vec(0.0..1e6_f64, 1..300)) {
            let usual = learned(values.iter().copied());
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            let mean = f64::from(usual.lately.mean);
            prop_assert!(mean >= least * 0.999 - 1.0 && mean <= most * 1.001 + 1.0);
            prop_assert!(usual.lately.deviation.is_finite());
        }

        #[test]
        fn at_least_is_below_the_share_and_nears_it(part in 0..1000_u64, more in 0..1000_u64) {
            let whole = part + more;
            let low = at_least(part, whole);
            prop_assert!((0.0..=1.0).contains(&low));
            if let Some(share) = (whole > 0).then(|| float(part) / float(whole)) {
                prop_assert!(low <= share + 1e-9);
                prop_assert!(at_least(part * 100, whole * 100) >= low - 1e-9);
            }
        }
    }

    #[test]
    fn one_of_two_is_no_incident() {
        assert!(at_least(1, 2) < 0.1 && at_least(50, 100) > 0.35 && at_least(0, 0) < 1e-9);
    }
}
