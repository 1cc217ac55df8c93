//! Points in time, as the records carry them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Nanoseconds since the Unix epoch, UTC. Good until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This host's clock, now.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self(saturating_nanos(since_epoch))
    }

    /// The time from `earlier` to this one; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The time that is `by` after this one.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(by)))
    }

    /// The time that is `by` before this one; the beginning where there is none.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_nanos(by)))
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with nine digits after the second: `2026-11-20T07:30:00.000000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rfc3339(&mut [0; LENGTH]).ok_or(fmt::Error)?)
    }
}

/// Octets of a time as text.
const LENGTH: usize = "2026-11-20T07:30:00.000000001Z".len();

impl Timestamp {
    /// The time as records have it, in `room`: digit by digit, for every record has one.
    fn rfc3339(self, room: &mut [u8; LENGTH]) -> Option<&str> {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0)).ok()?;
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        *room = *b"0000-00-00T00:00:00.000000000Z";
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
            for digit in room[range].iter_mut().rev() {
                *digit += u8::try_from(rest % 10).ok()?;
                rest /= 10;
            }
        }
        std::str::from_utf8(room).ok()
    }
}

/// Reads RFC 3339 with any offset; refuses times before 1970 and after 2554.
impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let time: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp(text.into()))?;
        let nanos = u64::try_from(time.as_nanosecond());
        nanos.map(Self).map_err(|_| BadTimestamp(text.into()))
    }
}

/// Why something is not a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an RFC 3339 time, such as 2026-11-20T07:30:00Z")]
pub struct BadTimestamp(String);

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut room = [0; LENGTH];
        let text = self.rfc3339(&mut room);
        serializer.serialize_str(text.ok_or_else(|| serde::ser::Error::custom("no such time"))?)
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
    fn prints_nine_digits() {
        assert_eq!(Timestamp::from_nanos(1).to_string(), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(
            Timestamp::from_nanos(1_537_557_828_343_603_000).to_string(),
            "2018-09-21T19:23:48.343603000Z"
        );
        assert!(Timestamp::from_nanos(u64::MAX).to_string().starts_with("2554-"));
    }

    #[test]
    fn reads_what_it_prints() {
        for nanos in [0, 1, 1_537_557_828_343_603_000, u64::MAX] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
        for wrong in ["", "now", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn never_goes_below_zero() {
        let (early, late) = (Timestamp::from_nanos(5), Timestamp::from_nanos(9));
        assert_eq!(late.since(early), Duration::from_nanos(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
