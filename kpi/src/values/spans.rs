//! What is known of the spans of an answer.

use super::calendar::{Calendar, Place};
use super::collect::AnswerSlices;
use super::question::{Grain, Question, ValueState};
use super::rows::{MeasureRows, NO_SLOT};
use super::sums::{Lack, SpanState};
use super::{DayValues, Key, Scope, SpanSlice, Values, before};
use crate::completeness::Needs;
use crate::definition::{Definition, Formula};
use crate::dictionary::{Dictionary, Kpi, KpiType};
use crate::facts::epoch_day;
use crate::rows::date;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

impl Values {
    /// Slices of a sum that is always sliced, by spans of days that lack nothing, of which the days before have rows: their sum is 0
    /// where the span has none. Older days whose parts are not kept belong to the day of a time zone in which they begin.
    pub(super) fn stopped(
        &self,
        kpi: &Kpi,
        question: &Question,
        scope: &Scope<'_>,
        formula: &Formula,
        spans: &[SpanState],
    ) -> BTreeSet<Key> {
        let is_sum = matches!(kpi.kind, KpiType::Simple | KpiType::Derived);
        let is_plain = question.by.iter().all(|name| kpi.always_by.contains(name));
        if kpi.always_by.is_empty() || !is_sum || !is_plain || scope.calendar.has_parts {
            return BTreeSet::new();
        }
        let (Some(first), Some(last)) = (scope.calendar.spans.first(), scope.calendar.spans.last())
        else {
            return BTreeSet::new();
        };
        let by_days = Question { grain: Grain::Day, ..question.clone() };
        let days = Calendar::new(&by_days, (before(first.from), last.to), i64::MAX);
        let Some((first, last)) = days.utc_days() else { return BTreeSet::new() };
        let mut slices = AnswerSlices::new(&scope.selection);
        let mut seen: BTreeMap<i32, BTreeSet<u32>> = BTreeMap::new();
        for (day, values) in self.days.range(first..=last) {
            let whole = days.place(*day, 0);
            slices.add(values.official(kpi, formula), |slot, number, _| {
                let place = if days.has_utc_days { whole } else { days.place(*day, slot) };
                if let Place::In(index) = place {
                    seen.entry(epoch_day(days.spans[index].from)).or_default().insert(number);
                }
            });
        }
        let complete =
            spans.iter().enumerate().filter(|(_, span)| span.state() != ValueState::Incomplete);
        let keys = complete.flat_map(|(index, _)| {
            let from = scope.calendar.spans[index].from;
            let days = seen.range(epoch_day(before(from))..epoch_day(from));
            days.flat_map(|(_, of_day)| of_day).map(move |number| (index, *number))
        });
        let keys: BTreeSet<SpanSlice> = keys.collect();
        keys.into_iter()
            .map(|(index, number)| (index, slices.slices[number as usize].clone()))
            .collect()
    }

    /// Finds out what is known of each span. A running total needs all days before its span, too, from its opening on.
    pub(super) fn span_states(
        &self,
        dictionary: &Dictionary,
        kpi: &Kpi,
        question: &Question,
        scope: &Scope<'_>,
        definition: &Definition,
    ) -> Vec<SpanState> {
        let needs = Needs::of(dictionary, kpi, &self.coverage);
        let missing = |day: Date| self.days.get(&day).map(|values| &values.state.incomplete);
        // What comes before all spans need not be divided.
        let begins = scope.calendar.utc_days().map(|(first, _)| first);
        let add = |span: &mut SpanState, day: Date| {
            let values = self.days.get(&day);
            let state = values.map(|values| &values.state);
            span.add(kpi, day, state, &definition.sha256, || needs.reasons(day, missing));
            let rows = values.map(|values| values.official(kpi, &definition.formula).0);
            let divided = values.zip(rows).filter(|_| Some(day) >= begins);
            let lacks =
                divided.and_then(|(day, rows)| self.lacks_parts(kpi, day, rows, question, scope));
            if let Some(why) = lacks {
                span.add_lack(Lack::Parts, format!("{day}: {why}"));
            }
        };
        let known = self.days.first_key_value().map(|(first, _)| *first);
        let mut next = known.into_iter().chain(begins);
        let mut next = epoch_day(next.by_ref().min().unwrap_or_default());
        let mut total = SpanState::new(date(next));
        let spans = scope.calendar.spans.iter().map(|span| {
            let (first, last) = span.utc_days();
            let first = scope.window.map_or(first, |window| window.start(span.to));
            if !scope.is_cumulative || last < scope.opening {
                let mut state = SpanState::new(first);
                (epoch_day(first)..=epoch_day(last)).for_each(|day| add(&mut state, date(day)));
                return state;
            }
            while next <= epoch_day(last) {
                if date(next) >= scope.opening {
                    add(&mut total, date(next));
                }
                next += 1;
            }
            total.clone()
        });
        spans.collect()
    }

    /// Why the rows of a day cannot be divided as the question asks for.
    fn lacks_parts(
        &self,
        kpi: &Kpi,
        day: &DayValues,
        rows: &MeasureRows,
        question: &Question,
        scope: &Scope<'_>,
    ) -> Option<String> {
        if scope.calendar.has_utc_days {
            return None;
        }
        let zone = question.zone();
        let has_zone = zone == TimeZone::UTC || self.detail.time_zones.contains(&zone);
        if !day.has_parts && (scope.calendar.has_parts || !has_zone) {
            let days = self.detail.days;
            let zone = &question.time_zone;
            // A time zone has its days kept apart, and not the hours of these.
            let or = if scope.calendar.has_parts {
                String::new()
            } else {
                format!(", or --time-zone {zone}")
            };
            return Some(format!(
                "parts of days are kept for the {days} newest days: start `serve` with --parts DAYS{or}"
            ));
        }
        let rows = kpi.measures().into_iter().filter_map(|name| rows.get(name));
        let has_day = rows.into_iter().flat_map(|rows| rows.iter()).any(|row| row.slot == NO_SLOT);
        has_day.then(|| "computed without parts of the day: compute it again".to_owned())
    }
}
