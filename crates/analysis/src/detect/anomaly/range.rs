//! Highest and lowest value of a day.

use dnscribe_record::time::Timestamp;

/// Number of hours kept: those of a day, and the one that has begun.
const HOURS: usize = 25;

/// Lowest and highest value of a minute, for each of the last hours.
///
/// A minute enters only once the next one was judged: the minute in which a flood begins would
/// otherwise be the highest value with which the flood is compared.
#[derive(Clone, Debug, Default)]
pub(super) struct DayRange {
    hours: [Option<(f32, f32)>; HOURS],
    /// Number of the last hour since 1970.
    last: u64,
    /// The last minute, which may be the first of an anomaly.
    pending: Option<(u64, f32)>,
}

impl DayRange {
    /// Adds the value of the minute that begins at `at`. `anomalous`: neither this minute nor the one
    /// before it is usual.
    pub(super) fn add(&mut self, at: Timestamp, value: f64, anomalous: bool) {
        let hour = at.as_nanos() / 3_600_000_000_000;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "six digits are enough for what is usual"
        )]
        let pending = self.pending.replace((hour, value as f32));
        if anomalous {
            self.pending = None;
        } else if let Some((hour, value)) = pending {
            self.commit(hour, value);
        }
    }

    fn commit(&mut self, hour: u64, value: f32) {
        let passed = hour.saturating_sub(self.last).min(HOURS as u64);
        for skipped in 0..passed {
            self.hours[index(hour - skipped)] = None;
        }
        self.last = self.last.max(hour);
        let known = &mut self.hours[index(hour)];
        let (lowest, highest) = known.unwrap_or((value, value));
        *known = Some((lowest.min(value), highest.max(value)));
    }

    /// Returns the lowest and the highest value of the last 24 hours, if there is one.
    pub(super) fn bounds(&self) -> Option<(f64, f64)> {
        let known = self.hours.iter().flatten();
        let (lowest, highest) = known
            .copied()
            .reduce(|(lowest, highest), (low, high)| (lowest.min(low), highest.max(high)))?;
        Some((lowest.into(), highest.into()))
    }
}

/// Returns the place of an hour.
fn index(hour: u64) -> usize {
    usize::try_from(hour % HOURS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn keeps_a_day() {
        let mut range = DayRange::default();
        let add = |range: &mut DayRange, hour, rate| {
            range.add(at(hour * HOUR), rate, false);
            range.add(at(hour * HOUR + 60), rate, false);
        };
        assert_eq!(range.bounds(), None);
        add(&mut range, 1000, 90.0);
        (1001..1024).for_each(|hour| add(&mut range, hour, 10.0));
        add(&mut range, 1024, 2.0);
        assert_eq!(range.bounds(), Some((2.0, 90.0)));
        add(&mut range, 1025, 10.0);
        assert_eq!(range.bounds(), Some((2.0, 10.0)));
        // After a week without a minute, only the last one is known.
        add(&mut range, 1200, 7.0);
        assert_eq!(range.bounds(), Some((7.0, 7.0)));
    }

    #[test]
    fn first_minute_of_anomaly_does_not_enter() {
        let mut range = DayRange::default();
        for (minute, (rate, anomalous)) in [
            (10.0, false),
            (10.0, false),
            (400.0, false),
            (600.0, true),
            (600.0, true),
            (10.0, false),
        ]
        .into_iter()
        .enumerate()
        {
            range.add(at(minute as u64 * 60), rate, anomalous);
        }
        assert_eq!(range.bounds(), Some((10.0, 10.0)));
    }
}
