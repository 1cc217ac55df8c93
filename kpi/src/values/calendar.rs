//! Spans of an answer: days of a time zone, longer ones made of them, and parts of them.

use super::question::Question;
use super::rows::NO_SLOT;
use crate::definition::Part;
use crate::facts::{day_of, epoch_day};
use crate::query::SLOT_US;
use crate::rows::date;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const DAY_US: i64 = Part::Day.micros();

/// A span of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First day, in the time zone of the question.
    pub(super) from: Date,
    /// Last day.
    pub(super) to: Date,
    /// Beginning, in microseconds since the Unix epoch.
    pub(super) start_us: i64,
    /// End.
    pub(super) end_us: i64,
}

impl Span {
    /// First and last day in UTC that the span touches.
    pub(super) fn utc_days(&self) -> (Date, Date) {
        (day_of(self.start_us), day_of(self.end_us - 1))
    }
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Before the first span.
    Before,
    /// In the span with this index.
    In(usize),
    /// Behind the last span.
    After,
}

/// Spans of an answer, in their order.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    pub(super) spans: Vec<Span>,
    /// Whether all spans are whole days in UTC.
    pub(super) has_utc_days: bool,
    /// Whether spans are parts of days.
    pub(super) has_parts: bool,
}

impl Calendar {
    /// Divides days into spans. Parts of days that end after `until_us` are left out.
    pub(super) fn new(question: &Question, (from, to): (Date, Date), until_us: i64) -> Self {
        let zone = question.zone();
        let step = question.grain.step_us();
        let has_utc_days = zone == TimeZone::UTC && step.is_none();
        let mut spans: Vec<Span> = Vec::new();
        for number in epoch_day(from)..=epoch_day(to) {
            let day = date(number);
            let (start_us, end_us) = day_bounds(day, &zone);
            // A zone that changes to the other side of the date line skips a day.
            if start_us >= end_us {
                continue;
            }
            if let Some(step) = step {
                let mut at = start_us;
                while at < end_us {
                    let next = at.saturating_add(step).min(end_us);
                    if next <= until_us {
                        spans.push(Span { from: day, to: day, start_us: at, end_us: next });
                    }
                    at = next;
                }
                continue;
            }
            let begins = question.grain.start(day).max(from);
            match spans.last_mut() {
                Some(span) if span.from == begins => (span.to, span.end_us) = (day, end_us),
                _ => spans.push(Span { from: begins, to: day, start_us, end_us }),
            }
        }
        Self { spans, has_utc_days, has_parts: step.is_some() }
    }

    /// First and last day in UTC that the spans touch.
    pub(super) fn utc_days(&self) -> Option<(Date, Date)> {
        let (first, last) = (self.spans.first()?, self.spans.last()?);
        Some((first.utc_days().0, last.utc_days().1))
    }

    /// Finds the span of the rows of a part of a day in UTC.
    pub(super) fn place(&self, day: Date, slot: u16) -> Place {
        let slot = if slot == NO_SLOT { 0 } else { i64::from(slot) };
        let at = i64::from(epoch_day(day)) * DAY_US + slot * SLOT_US;
        match self.spans.partition_point(|span| span.start_us <= at).checked_sub(1) {
            None => Place::Before,
            Some(index) if at < self.spans[index].end_us => Place::In(index),
            Some(_) => Place::After,
        }
    }
}

/// Beginning and end of a day of a time zone: 23 or 25 hours, where clocks change.
fn day_bounds(day: Date, zone: &TimeZone) -> (i64, i64) {
    let start = |day: Date| {
        let utc = i64::from(epoch_day(day)) * DAY_US;
        day.to_zoned(zone.clone()).map_or(utc, |start| start.timestamp().as_microsecond())
    };
    (start(day), start(date(epoch_day(day) + 1)))
}

/// Slots of a day in UTC with which days of these time zones begin.
pub(super) fn beginnings(day: Date, zones: &[TimeZone]) -> Vec<u16> {
    let midnight = i64::from(epoch_day(day)) * DAY_US;
    let mut slots = vec![0];
    for zone in zones {
        // Zones are up to 14 hours apart from UTC.
        let near = (epoch_day(day) - 1..=epoch_day(day) + 1).map(date);
        let starts = near.map(|near| (day_bounds(near, zone).0 - midnight).div_euclid(SLOT_US));
        slots.extend(starts.filter_map(|slot| u16::try_from(slot).ok()).filter(|slot| *slot < 288));
    }
    slots.sort_unstable();
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::Grain;
    use std::collections::BTreeMap;

    fn calendar(grain: Grain, zone: &str, from: Date, to: Date) -> Calendar {
        let question = Question {
            from: None,
            to: None,
            grain,
            time_zone: zone.to_owned(),
            by: Vec::new(),
            filter: BTreeMap::new(),
        };
        Calendar::new(&question, (from, to), i64::MAX)
    }

    fn hours(calendar: &Calendar) -> Vec<i64> {
        calendar.spans.iter().map(|span| (span.end_us - span.start_us) / 3_600_000_000).collect()
    }

    #[test]
    fn days_have_as_many_hours_as_clocks_say() {
        let day = |day| jiff::civil::date(2026, 3, day);
        assert_eq!(hours(&calendar(Grain::Day, "Europe/Berlin", day(28), day(30))), [24, 23, 24]);
        assert_eq!(calendar(Grain::Hour, "Europe/Berlin", day(29), day(29)).spans.len(), 23);
        let october = jiff::civil::date(2026, 10, 25);
        assert_eq!(hours(&calendar(Grain::Day, "Europe/Berlin", october, october)), [25]);
        assert_eq!(
            calendar(Grain::FiveMinutes, "Europe/Berlin", october, october).spans.len(),
            300
        );
        let month = calendar(Grain::Month, "Europe/Berlin", day(1), day(31));
        assert_eq!(hours(&month), [31 * 24 - 1]);
        let december = |day| jiff::civil::date(2011, 12, day);
        let samoa = calendar(Grain::Day, "Pacific/Apia", december(29), december(31));
        assert_eq!(samoa.spans.iter().map(|span| span.from.day()).collect::<Vec<_>>(), [29, 31]);
        assert_eq!(hours(&samoa), [24, 24]);
        let utc = calendar(Grain::Day, "UTC", day(28), day(30));
        assert!(utc.has_utc_days && hours(&utc) == [24, 24, 24]);
    }

    #[test]
    fn rows_belong_to_the_span_of_their_time() {
        let day = jiff::civil::date(2026, 3, 2);
        let days = calendar(Grain::Day, "Asia/Kathmandu", day, day);
        let before = jiff::civil::date(2026, 3, 1);
        // Midnight is at 18:15 in UTC.
        let quarter = |hour: u16, quarter: u16| hour * 12 + quarter * 3;
        assert_eq!(days.place(before, quarter(18, 0)), Place::Before);
        assert_eq!(days.place(before, quarter(18, 1)), Place::In(0));
        assert_eq!(days.place(day, quarter(18, 0)), Place::In(0));
        assert_eq!(days.place(day, quarter(18, 1)), Place::After);
        let zone = TimeZone::get("Asia/Kathmandu").unwrap();
        assert_eq!(beginnings(day, &[zone]), [0, quarter(18, 1)]);
        assert_eq!(beginnings(day, &[]), [0]);
    }

    #[test]
    fn parts_that_are_not_over_are_left_out() {
        let day = jiff::civil::date(2026, 3, 2);
        let whole = calendar(Grain::Hour, "UTC", day, day);
        let until = whole.spans[3].end_us + 1;
        let question = Question {
            from: None,
            to: None,
            grain: Grain::Hour,
            time_zone: "UTC".to_owned(),
            by: Vec::new(),
            filter: BTreeMap::new(),
        };
        assert_eq!(Calendar::new(&question, (day, day), until).spans.len(), 4);
    }
}
