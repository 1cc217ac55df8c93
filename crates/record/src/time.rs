//! Timestamps as records contain them.

use serde_with::DeserializeFromStr;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time: nanoseconds since the Unix epoch, UTC, up to the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, DeserializeFromStr)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates a timestamp from nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the current time of this host's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self(saturating_nanos(since_epoch))
    }

    /// Returns the time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns whether `interval` has passed at `now`. So it has where the clock was set back since: for a deadline by
    /// the time of day that may rather come early than wait until the clock has caught up.
    #[must_use]
    pub const fn has_passed(self, interval: Duration, now: Self) -> bool {
        now.0 < self.0 || now.since(self).as_nanos() >= interval.as_nanos()
    }

    /// Returns the timestamp `by` later, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(by)))
    }

    /// Returns the timestamp `by` earlier, at least zero.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(by)))
    }
}

/// How far a host's clock was set since a program began to follow it; negative if it was set back.
///
/// Deadlines and intervals need a clock that nobody sets. Records need the time of day. A program that runs on the
/// former adds this to its times when it writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockShift(i64);

impl ClockShift {
    /// Creates a shift of so many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the time of day at `time` of the clock that nobody sets.
    #[must_use]
    pub const fn apply(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add_signed(self.0))
    }

    /// Returns the time of the clock that nobody sets at the time of day `time`.
    #[must_use]
    pub const fn undo(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add_signed(self.0.saturating_neg()))
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Formats RFC 3339 in UTC with nine digits after the second: `2026-11-20T07:30:00.000000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.rfc3339()).map_err(|_| fmt::Error)?)
    }
}

/// Length of a formatted timestamp in bytes.
const LENGTH: usize = "2026-11-20T07:30:00.000000001Z".len();

impl Timestamp {
    /// Formats the timestamp. Done digit by digit, since every record contains one.
    pub(crate) fn rfc3339(self) -> [u8; LENGTH] {
        // All of them are in range: the last is in the year 2554.
        let time = jiff::Timestamp::from_nanosecond(self.0.into()).unwrap_or(jiff::Timestamp::MAX);
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        for (range, value) in [
            (0..4, i64::from(time.year())),
            (5..7, time.month().into()),
            (8..10, time.day().into()),
            (11..13, time.hour().into()),
            (14..16, time.minute().into()),
            (17..19, time.second().into()),
            (20..29, time.subsec_nanosecond().into()),
        ] {
            let mut rest = value.unsigned_abs();
            for digit in text[range].iter_mut().rev() {
                *digit += u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
        }
        text
    }
}

/// Parses RFC 3339 with any offset; rejects times before 1970 and after 2554.
impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let time: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp(text.into()))?;
        let nanos = u64::try_from(time.as_nanosecond());
        nanos.map(Self).map_err(|_| BadTimestamp(text.into()))
    }
}

/// A text is not a timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an RFC 3339 time, such as 2026-11-20T07:30:00Z")]
pub struct BadTimestamp(String);

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Serializes a timestamp as its nanoseconds, for `#[serde(with = "…")]`.
pub mod nanos {
    use super::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Serializes the nanoseconds.
    ///
    /// # Errors
    /// The error of the serializer.
    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.as_nanos())
    }

    /// Deserializes the nanoseconds.
    ///
    /// # Errors
    /// The error of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        u64::deserialize(deserializer).map(Timestamp::from_nanos)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_nine_digits() {
        assert_eq!(Timestamp::from_nanos(1).to_string(), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(
            Timestamp::from_nanos(1_537_557_828_343_603_000).to_string(),
            "2018-09-21T19:23:48.343603000Z"
        );
        assert!(Timestamp::from_nanos(u64::MAX).to_string().starts_with("2554-"));
    }

    #[test]
    fn parses_what_it_formats() {
        for nanos in [0, 1, 1_537_557_828_343_603_000, u64::MAX] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for wrong in ["", "now", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn interval_has_passed_if_the_clock_was_set_back() {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let minute = Duration::from_mins(1);
        for (now, passed) in [(1000, false), (1059, false), (1060, true), (999, true), (0, true)] {
            assert_eq!(at(1000).has_passed(minute, at(now)), passed, "{now}");
        }
    }

    #[test]
    fn shifts_back_and_forth() {
        let time = Timestamp::from_nanos(1_000);
        for (nanos, shifted) in [(0, 1_000), (5, 1_005), (-5, 995), (-2_000, 0)] {
            let shift = ClockShift::from_nanos(nanos);
            assert_eq!((shift.apply(time).as_nanos(), shift.as_nanos()), (shifted, nanos));
            assert!(shifted == 0 || shift.undo(shift.apply(time)) == time);
        }
    }

    #[test]
    fn saturates_at_zero() {
        let (early, late) = (Timestamp::from_nanos(5), Timestamp::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
