//! Days that declared sources have delivered, and the first day of what they deliver.

use super::{Gaps, event_key};
use crate::dictionary::Dictionary;
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::date;
use crate::sources::{Calendar, Source, Sources};
use crate::store::State;
use crate::summary::{Count, Kind, QUARTER_US, Summary};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Length of a day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// Returns the days of a source of which a day in UTC has parts: one or two.
fn days_of(source: &Source, day: i32) -> BTreeSet<Date> {
    let (start, end) = (i64::from(day) * DAY_US, i64::from(day + 1) * DAY_US);
    BTreeSet::from([source.day_of(start), source.day_of(end - 1)])
}

/// Returns the first day in UTC that lies wholly on days of a source of this type, and the source.
fn beginning<'a>(sources: &'a Sources, kind: &str) -> Option<(Date, &'a Source)> {
    let first = |source: &'a Source| {
        let day = epoch_day(source.first_day);
        let is_whole = days_of(source, day).first().is_some_and(|first| *first >= source.first_day);
        (date(if is_whole { day } else { day + 1 }), source)
    };
    let sources = sources.iter().filter(|source| source.delivers(kind)).map(first);
    sources.min_by_key(|(day, _)| *day)
}

/// Returns the first day that each running total counts: the first on which each of its types has a declared source.
/// A total that was ever final keeps its opening, since another one would change its final values.
pub(super) fn openings(
    dictionary: &Dictionary,
    sources: &Sources,
    state: &State,
) -> BTreeMap<String, Date> {
    let totals = dictionary.kpis.iter().filter(|kpi| kpi.is_running_total());
    let openings = totals.filter_map(|kpi| {
        let opening = if state.was_final(&kpi.name) {
            state.coverage.openings.get(&kpi.name).copied()
        } else {
            let types = dictionary.event_types(kpi).into_iter().chain(dictionary.sources(kpi));
            types.filter_map(|kind| beginning(sources, kind)).map(|(day, _)| day).max()
        };
        Some((kpi.name.clone(), opening?))
    });
    openings.collect()
}

impl Gaps {
    /// Finds days that declared sources have not delivered, by their calendars. A day is delivered once something of the
    /// source lies after it, or by the user's word.
    pub(super) fn find_undelivered(
        &mut self,
        summary: &Summary,
        state: &State,
        dictionary: &Dictionary,
        sources: &Sources,
        (from, to): (Date, Date),
    ) -> Result<(), KpiError> {
        let days = days_with_rows(summary, sources)?;
        let horizons = dictionary.kpis.iter().map(|kpi| dictionary.horizon_days(kpi));
        let after = i32::try_from(horizons.max().unwrap_or_default()).unwrap_or_default();
        let today = epoch_day(crate::facts::day_of(crate::clock::now().as_microsecond()));
        let (first, last) = (epoch_day(from), (epoch_day(to) + after).min(today - 1));
        let needed: BTreeSet<&str> =
            dictionary.kpis.iter().flat_map(|kpi| dictionary.event_types(kpi)).collect();
        for kind in &needed {
            let Some((begins, source)) = beginning(sources, kind) else { continue };
            for day in first..epoch_day(begins).min(last + 1) {
                let reason = format!("{} delivers from {} on", source.name, source.first_day);
                self.add(date(day), event_key(kind), reason);
            }
        }
        for source in sources.iter() {
            let name = source.name.as_str();
            let (has, said) = (days.get(name), state.delivered.get(name));
            let newest = has.and_then(|days| days.last());
            let has_rows = |day: &Date| has.is_some_and(|days| days.contains(day));
            let is_delivered = |day: &Date| {
                let is_over = newest.is_some_and(|newest| newest > day);
                said.is_some_and(|days| days.contains(day))
                    || is_over && (source.calendar == Calendar::Sparse || has_rows(day))
            };
            for number in first..=last {
                let days = days_of(source, number);
                let due =
                    days.iter().filter(|day| **day >= source.first_day && source.is_due(**day));
                let Some(day) = due.filter(|day| !is_delivered(day)).min() else { continue };
                let reason = match newest {
                    None => format!("{name} has never delivered"),
                    Some(_) if has_rows(day) => {
                        format!(
                            "{name} may not have delivered all of {day}: nothing later has come"
                        )
                    }
                    Some(_) => format!("{name} has not delivered {day}"),
                };
                for kind in needed.iter().filter(|kind| source.delivers(kind)) {
                    self.add(date(number), event_key(kind), reason.clone());
                }
            }
        }
        Ok(())
    }
}

/// Returns the days of each declared source that have rows.
fn days_with_rows<'a>(
    summary: &Summary,
    sources: &'a Sources,
) -> Result<BTreeMap<&'a str, BTreeSet<Date>>, KpiError> {
    let mut days: BTreeMap<&str, BTreeSet<Date>> = BTreeMap::new();
    summary.of(Kind::Quarters, |Count { source, part, .. }| {
        let Some(source) = source.and_then(|name| sources.find(name)) else { return };
        days.entry(&source.name).or_default().insert(source.day_of(part * QUARTER_US));
    })?;
    Ok(days)
}
