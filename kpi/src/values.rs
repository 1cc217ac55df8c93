//! Values in memory: the rows of all measures by day, and KPIs made of them at any grain and slice.

mod calendar;
mod change;
mod collect;
mod question;
mod rows;
mod spans;
mod sums;

pub use change::{Change, ChangeQuestion};
pub use question::{
    Adjustment, AdjustmentCause, Grain, KpiValue, Question, Restatement, UTC, ValueState,
};

use crate::completeness::TOO_LARGE;
use crate::decision::LOOK_BACK_DAYS;
use crate::definition::{Formula, Window};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi};
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::date;
use crate::store::{Coverage, DayState, Frozen, State, Store, Table};
use calendar::{Calendar, beginnings};
use collect::{Selection, VersionedSums};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rows::{MeasureRows, Slices, TextId, Texts, merged};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use sums::{Lack, SpanState, Sums};

/// Which parts of days are kept in memory.
#[derive(Clone, Debug)]
pub struct Detail {
    /// Time zones whose days are kept apart on all days.
    pub time_zones: Vec<TimeZone>,
    /// Newest days of which all parts are kept.
    pub days: u16,
}

impl Default for Detail {
    fn default() -> Self {
        Self { time_zones: Vec::new(), days: 35 }
    }
}

/// Values of a day.
#[derive(Clone, Debug, Default)]
struct DayValues {
    /// Rows of each file that the state names.
    files: BTreeMap<String, MeasureRows>,
    state: DayState,
    /// Whether all parts of the day are kept.
    has_parts: bool,
}

impl DayValues {
    /// As of the newest computation.
    fn current(&self) -> &MeasureRows {
        &self.files[&self.state.current]
    }

    /// As they are published: frozen where the KPI is final.
    fn official<'a>(&'a self, kpi: &Kpi, present: &'a Formula) -> (&'a MeasureRows, &'a Formula) {
        self.frozen(self.state.frozen.get(&kpi.name), present)
    }

    /// As they were published before a time at which days were reopened.
    fn previous<'a>(
        &'a self,
        kpi: &Kpi,
        present: &'a Formula,
        at: jiff::Timestamp,
    ) -> (&'a MeasureRows, &'a Formula) {
        let mut later = self.state.reopened.iter().filter(|reopening| reopening.at >= at);
        let previous = later.find_map(|reopening| reopening.previous.get(&kpi.name));
        self.frozen(previous.or_else(|| self.state.frozen.get(&kpi.name)), present)
    }

    fn frozen<'a>(
        &'a self,
        frozen: Option<&'a Frozen>,
        present: &'a Formula,
    ) -> (&'a MeasureRows, &'a Formula) {
        match frozen {
            Some(frozen) => (&self.files[&frozen.path], &frozen.definition.formula),
            None => (self.current(), present),
        }
    }

    /// Whether a final value may differ from the newest one.
    fn is_adjusted(&self, kpi: &Kpi) -> bool {
        let frozen = self.state.frozen.get(&kpi.name);
        frozen.is_some_and(|frozen| frozen.path != self.state.current)
    }
}

/// First of the days that say which slices a sum has.
fn before(day: Date) -> Date {
    date(epoch_day(day) - LOOK_BACK_DAYS)
}

/// What is added up: which rows, by which spans.
#[derive(Debug)]
struct Scope<'a> {
    selection: Selection<'a>,
    calendar: Calendar,
    is_cumulative: bool,
    /// Days that a running total adds up, if not all.
    window: Option<Window>,
    /// First day that counts.
    opening: Date,
    /// Sums at most, of all spans and slices.
    most: usize,
}

impl Scope<'_> {
    /// First and last day in UTC whose rows count.
    fn days(&self) -> Option<(Date, Date)> {
        let (first, last) = self.calendar.utc_days()?;
        let windows =
            self.calendar.spans.iter().filter_map(|span| Some(self.window?.start(span.to)));
        let first = windows.fold(first, Date::min);
        Some((if self.is_cumulative { Date::MIN } else { first }, last))
    }
}

/// All values of a store.
#[derive(Clone, Debug, Default)]
pub struct Values {
    days: BTreeMap<Date, DayValues>,
    texts: Texts,
    slices: Slices,
    detail: Detail,
    /// What sources were declared at the newest computation.
    coverage: Coverage,
    /// When values were computed last.
    pub as_of: Option<jiff::Timestamp>,
    /// Newest fact by table.
    pub newest: BTreeMap<Table, jiff::Timestamp>,
    /// Number of the newest commit.
    pub number: u64,
}

/// Index of a span, and slice.
type Key = (usize, Vec<TextId>);

/// Index of a span, and number of a slice in [`collect::AnswerSlices`].
type SpanSlice = (usize, u32);

impl Values {
    /// Reads all values of a store.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn load(store: &Store, state: &State, detail: Detail) -> Result<Self, KpiError> {
        let mut values = Self { detail, ..Self::default() };
        values.refresh(store, state).await?;
        Ok(values)
    }

    /// Reads the days that have changed.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn refresh(&mut self, store: &Store, state: &State) -> Result<(), KpiError> {
        self.days.retain(|day, _| state.days.contains_key(day));
        self.newest.clear();
        let newest = state.days.last_key_value().map_or(Date::MIN, |(day, _)| *day);
        let first_with_parts = epoch_day(newest) - i32::from(self.detail.days) + 1;
        for (day, wanted) in &state.days {
            let has_parts = epoch_day(*day) >= first_with_parts;
            if let Some(have) = self.days.get_mut(day) {
                if have.has_parts && !has_parts {
                    have.has_parts = false;
                    let begins = beginnings(*day, &self.detail.time_zones);
                    for rows in have.files.values_mut().flat_map(BTreeMap::values_mut) {
                        *rows = Arc::new(merged(rows.to_vec(), Some(&begins)));
                    }
                }
                if have.state == *wanted {
                    continue;
                }
            }
            // A day that once was merged stays so.
            let has_parts = self.days.get(day).map_or(has_parts, |have| have.has_parts);
            let reopened = wanted.reopened.iter().flat_map(|reopening| reopening.previous.values());
            let frozen = wanted.frozen.values().chain(reopened).map(|frozen| &frozen.path);
            let mut files = BTreeMap::new();
            for path in frozen.chain([&wanted.current]) {
                let known = self.days.get(day).and_then(|have| have.files.get(path).cloned());
                if !files.contains_key(path) {
                    let rows = if let Some(rows) = known {
                        rows
                    } else {
                        let bytes = store.read_hashed(path).await?;
                        self.decode(path, bytes, *day, has_parts)?
                    };
                    files.insert(path.clone(), rows);
                }
            }
            self.days.insert(*day, DayValues { files, state: wanted.clone(), has_parts });
        }
        for (_, _, import) in state.imports.values() {
            for file in &import.files {
                if let Some(newest) = import.newest {
                    let known = self.newest.entry(file.table).or_insert(newest);
                    *known = newest.max(*known);
                }
            }
        }
        self.as_of = state.computed_at;
        self.coverage.clone_from(&state.coverage);
        self.number = state.number;
        Ok(())
    }

    fn decode(
        &mut self,
        path: &str,
        bytes: bytes::Bytes,
        day: Date,
        has_parts: bool,
    ) -> Result<MeasureRows, KpiError> {
        let rows = rows::decode(path, bytes, &mut self.texts, &mut self.slices)?;
        let begins = beginnings(day, &self.detail.time_zones);
        let begins = (!has_parts).then_some(&*begins);
        Ok(rows.into_iter().map(|(name, rows)| (name, Arc::new(merged(rows, begins)))).collect())
    }

    /// First and last day with values.
    #[must_use]
    pub fn span(&self) -> Option<(Date, Date)> {
        Some((*self.days.first_key_value()?.0, *self.days.last_key_value()?.0))
    }

    /// Newest fact of the sources of a KPI.
    #[must_use]
    pub fn newest_of(&self, dictionary: &Dictionary, kpi: &Kpi) -> Option<jiff::Timestamp> {
        let sources = dictionary.sources(kpi);
        sources
            .iter()
            .filter_map(|source| self.newest.get(&Table::of_schema(source)).copied())
            .min()
    }

    /// Answers a question about a KPI: values by span, and by slice where slices are asked for.
    #[must_use]
    pub fn answer(&self, dictionary: &Dictionary, kpi: &Kpi, question: &Question) -> Vec<KpiValue> {
        let all = self.page(dictionary, kpi, question, usize::MAX, |count| 0..count);
        all.map(|page| page.values).unwrap_or_default()
    }

    /// Answers a question with those of its values that `choose` names of their number.
    ///
    /// # Errors
    /// It has more than `most` sums: a running total has one for each slice on each day.
    pub fn page(
        &self,
        dictionary: &Dictionary,
        kpi: &Kpi,
        question: &Question,
        most: usize,
        choose: impl FnOnce(usize) -> Range<usize>,
    ) -> Result<ValuePage, String> {
        let Some((from, to)) = question.days(self.span()) else { return Ok(ValuePage::default()) };
        let definition = dictionary.definition(kpi);
        let present = &definition.formula;
        let until = self.as_of.map_or(i64::MIN, jiff::Timestamp::as_microsecond);
        let scope = Scope {
            selection: self.selection(kpi, question),
            calendar: Calendar::new(question, (from, to), until),
            is_cumulative: kpi.is_running_total(),
            window: kpi.window,
            opening: self.coverage.opening(&kpi.name),
            most,
        };
        let Some((first, last)) = scope.days() else { return Ok(ValuePage::default()) };
        let spans = self.span_states(dictionary, kpi, question, &scope, &definition);
        let mut counted = self.days.range(first..=last);
        let is_adjusted = counted.any(|(_, day)| day.is_adjusted(kpi));
        let too_many = || {
            format!(
                "from {from} to {to}: more than {most} sums: ask for fewer days, a longer grain, or fewer slices by filter"
            )
        };
        let sums = self.versions(kpi, present, &scope, &spans, is_adjusted);
        let sums = sums.ok_or_else(too_many)?;
        // Where data are missing, a day without slices has one value that says so.
        let nothing = vec![0; scope.selection.by.len()];
        let has_rows: BTreeSet<usize> = sums.official.keys().map(|(index, _)| *index).collect();
        let without_rows = spans
            .iter()
            .enumerate()
            .filter(|(index, span)| {
                span.state() == ValueState::Incomplete && !has_rows.contains(index)
            })
            .map(|(index, _)| (index, nothing.clone()));
        let without_rows: Vec<Key> =
            without_rows.chain(self.stopped(kpi, question, &scope, present, &spans)).collect();
        let keys: BTreeSet<&Key> = sums
            .official
            .keys()
            .chain(&without_rows)
            .chain(sums.current.iter().flat_map(BTreeMap::keys))
            .chain(sums.previous.values().flat_map(BTreeMap::keys))
            .collect();
        if keys.len() > most {
            return Err(too_many());
        }
        let parts = AnswerParts {
            values: self,
            scope: &scope,
            spans: &spans,
            sums: &sums,
            present,
            notes: self.notes(dictionary, kpi),
            horizon: i32::try_from(dictionary.horizon_days(kpi)).unwrap_or_default(),
        };
        let (chosen, count) = (choose(keys.len()), keys.len());
        let values = keys.into_iter().skip(chosen.start).take(chosen.len());
        Ok(ValuePage { values: values.map(|key| parts.value(key)).collect(), count })
    }

    /// What values of a KPI take for granted.
    fn notes(&self, dictionary: &Dictionary, kpi: &Kpi) -> Vec<String> {
        let types = dictionary.event_types(kpi);
        let absent = types.iter().filter(|kind| self.coverage.absent.contains(**kind));
        let never = |kind: &&str| {
            format!("{kind} has never come, and no sources are declared: none is counted")
        };
        let mut notes: Vec<String> = absent.map(never).collect();
        let opening = self.coverage.opening(&kpi.name);
        if opening > Date::MIN {
            notes.push(format!(
                "counted from {opening} on, when its sources begin: nothing before is in it"
            ));
        }
        notes
    }

    fn slice(&self, selection: &Selection, ids: &[TextId]) -> BTreeMap<String, Option<String>> {
        let names = selection.by.iter().map(|index| DIMENSIONS[*index].to_owned());
        names.zip(ids.iter().map(|id| self.texts.get(*id).map(str::to_owned))).collect()
    }

    fn selection(&self, kpi: &Kpi, question: &Question) -> Selection<'_> {
        let index = |name: &str| DIMENSIONS.iter().position(|known| *known == name);
        let mut by: Vec<usize> = Vec::new();
        for name in kpi.always_by.iter().chain(&question.by) {
            by.extend(index(name).filter(|index| !by.contains(index)));
        }
        let filter = question.filter.iter().filter_map(|(name, values)| {
            Some((index(name)?, values.iter().map(|text| self.texts.id(text)).collect()))
        });
        Selection { by, filter: filter.collect(), slices: &self.slices.all }
    }
}

/// Values of an answer, and the number of all that it has.
#[derive(Clone, Debug, Default)]
pub struct ValuePage {
    /// The values.
    pub values: Vec<KpiValue>,
    /// How many the answer has.
    pub count: usize,
}

/// What the values of an answer are made of.
struct AnswerParts<'a> {
    values: &'a Values,
    scope: &'a Scope<'a>,
    spans: &'a [SpanState],
    sums: &'a VersionedSums,
    /// Formula of today.
    present: &'a Formula,
    notes: Vec<String>,
    horizon: i32,
}

impl AnswerParts<'_> {
    fn value(&self, key: &Key) -> KpiValue {
        let Self { values, scope, sums, present, horizon, .. } = *self;
        let (place, mut span) = (&scope.calendar.spans[key.0], self.spans[key.0].clone());
        let time = |micros| jiff::Timestamp::from_microsecond(micros).ok();
        let time = |micros| if scope.calendar.has_utc_days { None } else { time(micros) };
        let then = self.spans[key.0].definition.as_ref().map_or(present, |then| &then.formula);
        if sums.official.get(key).is_some_and(|sums| sums.is_too_large(then)) {
            span.add_reason(TOO_LARGE.to_owned());
        }
        let state = span.state();
        let value = |sums: &BTreeMap<Key, Sums>, formula| {
            // The rows of a whole day are no value of a part of it.
            if span.lacks(Lack::Parts) {
                return Value::Null;
            }
            let sums = sums.get(key).cloned().unwrap_or_default();
            sums.value(formula, state == ValueState::Incomplete)
        };
        let official = value(&sums.official, then);
        let cause = match span.definition {
            Some(_) => AdjustmentCause::Definition,
            None => AdjustmentCause::Late,
        };
        let current = sums.current.as_ref().filter(|_| !span.lacks(Lack::Present));
        let adjustment = current
            .and_then(|current| Adjustment::between(&official, value(current, present), cause));
        let restatements = span.reopened.iter().map(|(at, reason)| Restatement {
            previous: value(&sums.previous[at], then),
            at: *at,
            reason: reason.clone(),
        });
        let mut earlier_restatements: Vec<_> = restatements.collect();
        let restatement = earlier_restatements.pop();
        let closes = date(epoch_day(span.last) + horizon);
        let today = values.as_of.map(|at| crate::facts::day_of(at.as_microsecond()));
        let is_open = horizon > 0 && today.is_some_and(|today| today <= closes);
        let notes = if state == ValueState::Incomplete { &[][..] } else { &*self.notes };
        KpiValue {
            from: place.from,
            to: place.to,
            start: time(place.start_us),
            end: time(place.end_us),
            value: official,
            state,
            by: values.slice(&scope.selection, &key.1),
            open_until: is_open.then_some(closes),
            adjustment,
            restatement,
            earlier_restatements,
            reasons: span.reasons(),
            notes: notes.to_vec(),
            rejected_rows: span.rejected,
        }
    }
}
