//! What is asked, and what is answered.

use crate::definition::Part;
use crate::facts::epoch_day;
use crate::rows::date;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Length of the spans that values are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// A quarter of an hour.
    #[serde(rename = "15m")]
    QuarterHour,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A week from Monday.
    Week,
    /// A month.
    Month,
    /// A quarter.
    Quarter,
    /// A year.
    Year,
    /// The whole span that is asked for.
    All,
}

impl Grain {
    /// Names, in the order of the lengths.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("5m", Self::FiveMinutes),
        ("15m", Self::QuarterHour),
        ("hour", Self::Hour),
        ("day", Self::Day),
        ("week", Self::Week),
        ("month", Self::Month),
        ("quarter", Self::Quarter),
        ("year", Self::Year),
        ("all", Self::All),
    ];

    /// Short names of grains.
    const SHORT_NAMES: [(&'static str, Self); 4] =
        [("1h", Self::Hour), ("1d", Self::Day), ("1w", Self::Week), ("1mo", Self::Month)];

    /// Finds a grain by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let all = Self::NAMES.into_iter().chain(Self::SHORT_NAMES);
        all.into_iter().find(|(known, _)| *known == name).map(|(_, grain)| grain)
    }

    /// Length of a part of a day in microseconds; nothing for a day and more.
    #[must_use]
    pub const fn step_us(self) -> Option<i64> {
        match self {
            Self::FiveMinutes => Some(Part::FiveMinutes.micros()),
            Self::QuarterHour => Some(Part::QuarterHour.micros()),
            Self::Hour => Some(3_600_000_000),
            Self::Day | Self::Week | Self::Month | Self::Quarter | Self::Year | Self::All => None,
        }
    }

    /// Returns whether all spans have the same length in UTC.
    pub(super) fn is_regular(self) -> bool {
        self == Self::Day || self.step_us().is_some()
    }

    /// Names of the grains whose spans all have the same length in UTC.
    #[must_use]
    pub fn regular_names() -> Vec<&'static str> {
        let regular = Self::NAMES.into_iter().filter(|(_, grain)| grain.is_regular());
        regular.map(|(name, _)| name).collect()
    }

    /// First day of the span that contains `day`.
    pub(super) fn start(self, day: Date) -> Date {
        let month = |month: i8| Date::new(day.year(), month, 1).unwrap_or(day);
        match self {
            Self::FiveMinutes | Self::QuarterHour | Self::Hour | Self::Day => day,
            Self::Week => {
                let back = i32::from(day.weekday().since(Weekday::Monday));
                date(epoch_day(day) - back)
            }
            Self::Month => month(day.month()),
            Self::Quarter => month((day.month() - 1) / 3 * 3 + 1),
            Self::Year => month(1),
            Self::All => Date::MIN,
        }
    }
}

/// Time zone of days that no other one is asked for.
pub const UTC: &str = "UTC";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// First day; the first with values if absent.
    pub from: Option<Date>,
    /// Last day; the last with values if absent.
    pub to: Option<Date>,
    /// Length of the spans.
    pub grain: Grain,
    /// Time zone of the days.
    pub time_zone: String,
    /// Dimensions by which values are sliced.
    pub by: Vec<String>,
    /// Dimensions and their values: rows with one of the values of each dimension count.
    pub filter: BTreeMap<String, Vec<String>>,
}

/// Longest span of a question in days: a century.
const MAX_DAYS: i32 = 36_525;

/// Parts of days in an answer at most: five weeks of five minutes.
const MAX_PARTS: i64 = 10_080;

impl Question {
    /// Time zone of the days.
    pub(super) fn zone(&self) -> TimeZone {
        TimeZone::get(&self.time_zone).unwrap_or(TimeZone::UTC)
    }

    /// First and last day; `known` are those in UTC with values, which other days of the time zone may touch.
    pub(super) fn days(&self, known: Option<(Date, Date)>) -> Option<(Date, Date)> {
        let zone = self.zone();
        let day_at = |micros: i64| {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
            time.to_zoned(zone.clone()).date()
        };
        let begin = |day: Date| i64::from(epoch_day(day)) * Part::Day.micros();
        let first = known.map(|(first, _)| day_at(begin(first)));
        let last = known.map(|(_, last)| day_at(begin(last) + Part::Day.micros() - 1));
        Some((self.from.or(first)?, self.to.or(last)?))
    }

    /// Checks whether a KPI whose finest grain is `part` has such values.
    ///
    /// # Errors
    /// It has not.
    pub fn check_grain(&self, part: Part) -> Result<(), String> {
        let unknown =
            |_| format!("time_zone {}: give a name such as Europe/Berlin", self.time_zone);
        let zone = TimeZone::get(&self.time_zone).map_err(unknown)?;
        let finest = part.name();
        if self.grain.step_us().is_some_and(|step| step < part.micros()) {
            return Err(format!("grain: this KPI has no values for less than {finest}"));
        }
        if part == Part::Day && zone != TimeZone::UTC {
            return Err("time_zone: this KPI is counted by days in UTC alone".to_owned());
        }
        Ok(())
    }

    /// Checks the length of the span; `known` are the first and the last day with values.
    ///
    /// # Errors
    /// It is longer than a century.
    pub fn check_length(&self, known: Option<(Date, Date)>) -> Result<(), String> {
        match self.days(known) {
            Some((from, to)) if epoch_day(to) - epoch_day(from) > MAX_DAYS => {
                Err(format!("from {from} to {to}: more than {MAX_DAYS} days"))
            }
            Some((from, to)) => {
                let days = i64::from(epoch_day(to) - epoch_day(from) + 1);
                match self.grain.step_us() {
                    Some(step) if days * (Part::Day.micros() / step) > MAX_PARTS => Err(format!(
                        "from {from} to {to}: more than {MAX_PARTS} parts of days: give from and to"
                    )),
                    _ => Ok(()),
                }
            }
            None => Ok(()),
        }
    }
}

/// Whether a value can still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ValueState {
    /// It can.
    Provisional,
    /// It cannot; what arrives later is shown as an adjustment.
    Final,
    /// Data are missing, or were not computed.
    Incomplete,
}

/// Why a final value would be another one today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentCause {
    /// Facts arrived after it became final.
    Late,
    /// The KPI's definition has changed; facts may have arrived, too.
    Definition,
}

/// What the value of a reopened day was before.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Restatement {
    /// The value that was final.
    #[schemars(with = "Option<f64>")]
    pub previous: Value,
    /// When the day was reopened.
    pub at: jiff::Timestamp,
    /// Why.
    pub reason: String,
}

/// What a final value would be with all facts and the present definition.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Adjustment {
    /// The value with all facts.
    #[schemars(with = "Option<f64>")]
    pub value: Value,
    /// Difference to the final value.
    #[schemars(with = "Option<f64>")]
    pub difference: Value,
    /// Why they differ.
    pub cause: AdjustmentCause,
}

/// A value of a KPI.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct KpiValue {
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// Beginning, of parts of days and of days that are not those of UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<jiff::Timestamp>,
    /// End, of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<jiff::Timestamp>,
    /// The value; null for a ratio over nothing, and where it is too large.
    #[schemars(with = "Option<f64>")]
    pub value: Value,
    /// Whether it can still change.
    pub state: ValueState,
    /// Slice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub by: BTreeMap<String, Option<String>>,
    /// Last day on which something can still happen that the value counts, while that day is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Date>,
    /// What has changed since the value became final.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjustment: Option<Adjustment>,
    /// What the value was before its day was reopened last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restatement: Option<Restatement>,
    /// What it was before its day was reopened earlier, in the order of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub earlier_restatements: Vec<Restatement>,
    /// Why the value is incomplete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What the value takes for granted: no source has ever delivered one of its types of events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Rows of these days that were refused at import and wait for a correction.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected_rows: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Adjustment {
    /// Compares a final value with the value that all facts give; nothing if they are equal.
    pub(super) fn between(value: &Value, adjusted: Value, cause: AdjustmentCause) -> Option<Self> {
        if *value == adjusted {
            return None;
        }
        let difference = match (value.as_i64(), adjusted.as_i64()) {
            (Some(before), Some(after)) if after.checked_sub(before).is_some() => {
                json!(after - before)
            }
            _ => match (value.as_f64(), adjusted.as_f64()) {
                (Some(before), Some(after)) => json!(after - before),
                _ => Value::Null,
            },
        };
        Some(Self { value: adjusted, difference, cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_begin_where_calendars_say() {
        let day = jiff::civil::date(2026, 11, 22);
        let starts = Grain::NAMES.map(|(_, grain)| grain.start(day).to_string());
        assert_eq!(
            starts[3..8],
            ["2026-11-22", "2026-11-16", "2026-11-01", "2026-10-01", "2026-01-01"]
        );
    }
}
