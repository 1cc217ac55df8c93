//! Maintenance periods: their keys, and their time.

use crate::ConfigError;
use crate::value::BadValue;
use dnscribe_record::time::Timestamp;
use std::str::FromStr;
use wildmatch::WildMatch;

const DAY: u64 = 86_400;

/// Time of a maintenance period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenancePeriod {
    /// A single period, from the first time to before the second.
    Once(Timestamp, Timestamp),
    /// A weekly period, UTC.
    Weekly {
        /// Days on which it starts: bit 0 is Monday.
        days: u8,
        /// Start, in seconds after midnight.
        from: u32,
        /// End (exclusive), in seconds after midnight; on the next day if it is not after the
        /// start.
        to: u32,
    },
}

impl MaintenancePeriod {
    /// Returns whether a time is within the period.
    #[must_use]
    pub fn contains(self, now: Timestamp) -> bool {
        match self {
            Self::Once(start, end) => (start..end).contains(&now),
            Self::Weekly { days, from, to } => {
                let seconds = now.as_nanos() / 1_000_000_000;
                let (day, time) = (seconds / DAY, seconds % DAY);
                // 1 January 1970 was a Thursday.
                let starts_on = |day: u64| days >> ((day + 3) % 7) & 1 == 1;
                let (from, to) = (u64::from(from), u64::from(to));
                if from < to {
                    starts_on(day) && (from..to).contains(&time)
                } else {
                    starts_on(day) && time >= from || starts_on(day + 6) && time < to
                }
            }
        }
    }
}

section! {
    /// Keys of the time of a maintenance period.
    PeriodLayer {
        /// Begin of a single time.
        text start: Option<Timestamp> = example("2026-11-21T22:00:00Z"),
        /// End of a single time.
        text end: Option<Timestamp> = example("2026-11-22T02:00:00Z"),
        /// Days of the week on which a weekly time begins. Default: every day.
        joined days: Option<Days> = example("[sat, sun]"),
        /// Time of day at which a weekly time begins, UTC.
        text from: Option<TimeOfDay> = example("22:30"),
        /// Time of day at which a weekly time ends, UTC.
        text to: Option<TimeOfDay> = example("04:00"),
    }
}

impl PeriodLayer {
    /// Checks the time of the item `number`, from 1, of a list.
    ///
    /// # Errors
    /// There is no time, or it ends before it begins. `section` names the list.
    pub fn resolve(&self, section: &str, number: usize) -> Result<MaintenancePeriod, ConfigError> {
        let is_weekly = self.days.is_some() || self.from.is_some() || self.to.is_some();
        match (self.start, self.end, self.from, self.to) {
            (Some(start), Some(end), ..) if !is_weekly && start < end => {
                Ok(MaintenancePeriod::Once(start, end))
            }
            (None, None, Some(from), Some(to)) if from != to => {
                let days = self.days.unwrap_or(Days::ALL);
                Ok(MaintenancePeriod::Weekly { days: days.0, from: from.0, to: to.0 })
            }
            _ => {
                let problem = format!(
                    "number {number} has no time: give start and a later end, or from and another to, with \
                     days if not every day"
                );
                ConfigError::in_section(section, problem)
            }
        }
    }
}

value! {
    /// A pattern: `*` for any characters, `?` for any one character.
    #[derive(Clone, Debug, PartialEq)]
    Pattern(WildMatch): "a pattern", "one such as 192.0.2.* or *.example.com";
    |text| (!text.is_empty()).then(|| WildMatch::new(text))
}

/// Days of the week: bit 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(pub u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7F);
}

impl FromStr for Days {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let bad = |day| BadValue::new(day, "a day", "some of mon tue wed thu fri sat sun");
        let mut days = 0;
        for day in text.split(',').map(str::trim) {
            let number = NAMES.iter().position(|name| *name == day);
            days |= 1 << number.ok_or_else(|| bad(day))?;
        }
        Ok(Self(days))
    }
}

value! {
    /// A time of day, in seconds after midnight.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    TimeOfDay(u32): "a time of day", "hours and minutes, such as 22:30";
    |text| {
        let (hours, minutes) = text.split_once(':')?;
        let is_plain = hours.len() <= 2 && minutes.len() == 2 && !text.contains(['+', '-']);
        let number = |text: &str, end| text.parse().ok().filter(|number: &u32| *number < end);
        is_plain.then_some(number(hours, 24)? * 3600 + number(minutes, 60)? * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn weekly_period_may_end_on_next_day() {
        // Saturdays.
        let night = MaintenancePeriod::Weekly { days: 1 << 5, from: 22 * 3600, to: 4 * 3600 };
        for (time, inside) in [
            ("2026-11-21T21:59:59Z", false),
            ("2026-11-21T22:00:00Z", true),
            ("2026-11-22T03:59:59Z", true),
            ("2026-11-22T04:00:00Z", false),
            ("2026-11-22T23:00:00Z", false),
            ("2026-11-28T23:00:00Z", true),
        ] {
            assert_eq!(night.contains(at(time)), inside, "{time}");
        }
        let day = MaintenancePeriod::Weekly { days: 1, from: 3600, to: 7200 };
        assert!(
            day.contains(at("2026-11-23T01:30:00Z")) && !day.contains(at("2026-11-24T01:30:00Z"))
        );
    }
}
