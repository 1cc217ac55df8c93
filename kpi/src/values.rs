//! Values in memory: the rows of all measures by day, and KPIs made of them at any grain and slice.

mod calendar;
mod change;
mod question;
mod sums;

pub use change::{Change, ChangeQuestion};
pub use question::{
    Adjustment, AdjustmentCause, Grain, KpiValue, Question, Restatement, UTC, ValueState,
};

use crate::completeness::{Needs, TOO_LARGE};
use crate::decision::LOOK_BACK_DAYS;
use crate::definition::{Definition, Formula, Window};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi, KpiType};
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::{Columns, date, text};
use crate::store::{Coverage, DayState, Frozen, State, Store, Table};
use calendar::{Calendar, Place, beginnings};
use datafusion::arrow::array::Array as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use sums::{SpanState, Sums, accumulate};

/// Number of dimensions.
const WIDTH: usize = DIMENSIONS.len();

/// Identity of a dimension's value; 0 is no value.
type TextId = u32;

/// Values of all dimensions.
type Slice = [TextId; WIDTH];

/// A row of a measure. There may be as many as events: of samples, nearly each has its own.
#[derive(Clone, Debug)]
struct SliceRow {
    /// Index in [`Slices`].
    slice: u32,
    /// Part of the day: number of its first five minutes, or [`NO_SLOT`].
    slot: u16,
    /// Whether the value is too large to be known.
    is_too_large: bool,
    value: i64,
    sample: f64,
}

/// The whole day.
const NO_SLOT: u16 = u16::MAX;

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

/// Rows of a file, by measure.
type MeasureRows = BTreeMap<String, Arc<Vec<SliceRow>>>;

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

#[derive(Clone, Debug, Default)]
struct Texts {
    all: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, TextId>,
}

impl Texts {
    fn add(&mut self, text: &str) -> TextId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        let id = TextId::try_from(self.all.len()).unwrap_or(TextId::MAX);
        self.ids.insert(text, id);
        id
    }

    fn get(&self, id: TextId) -> Option<&str> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.all.get(index).map(|text| &**text)
    }
}

/// All different slices.
#[derive(Clone, Debug, Default)]
struct Slices {
    all: Vec<Slice>,
    indices: HashMap<Slice, u32>,
}

impl Slices {
    fn add(&mut self, slice: Slice) -> u32 {
        *self.indices.entry(slice).or_insert_with(|| {
            self.all.push(slice);
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        })
    }
}

/// Index of a span, and slice.
type Key = (usize, Vec<TextId>);

/// Index of a span, and number of a slice in [`AnswerSlices`].
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
                    let rows = match known {
                        Some(rows) => rows,
                        None => self.read(store, path, *day, has_parts).await?,
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

    async fn read(
        &mut self,
        store: &Store,
        path: &str,
        day: Date,
        has_parts: bool,
    ) -> Result<MeasureRows, KpiError> {
        let bytes = store.read(path).await?;
        let fail = |error: String| KpiError::store(path, &error);
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| fail(error.to_string()))?;
        let mut rows: BTreeMap<String, Vec<SliceRow>> = BTreeMap::new();
        for batch in reader {
            let batch = batch.map_err(|error| fail(error.to_string()))?;
            let columns = Columns(&batch);
            let (measures, counts) = (columns.texts("measure")?, columns.integers("value")?);
            let samples = columns.numbers("sample")?;
            // Files that an older version has written lack what is newer.
            let has = |name: &str| batch.column_by_name(name).is_some();
            let slots = has("slot").then(|| columns.integers("slot")).transpose()?;
            let dimensions = DIMENSIONS.iter().enumerate().filter(|(_, name)| has(name));
            let dimensions = dimensions.map(|(index, name)| Ok((index, columns.texts(name)?)));
            let dimensions = dimensions.collect::<Result<Vec<_>, KpiError>>()?;
            for row in 0..batch.num_rows() {
                let mut ids = [0; WIDTH];
                for (index, column) in &dimensions {
                    ids[*index] = text(column, row).map_or(0, |text| self.texts.add(text));
                }
                let slot = slots.as_ref().filter(|slots| slots.is_valid(row));
                let slot = slot.and_then(|slots| u16::try_from(slots.value(row)).ok());
                let sample = if samples.is_valid(row) { samples.value(row) } else { 0.0 };
                let name = text(&measures, row).unwrap_or_default();
                let slice = self.slices.add(ids);
                let slot = slot.unwrap_or(NO_SLOT);
                let is_too_large = counts.is_null(row);
                let value = if is_too_large { 0 } else { counts.value(row) };
                let slice = SliceRow { slice, slot, is_too_large, value, sample };
                match rows.get_mut(name) {
                    Some(list) => list.push(slice),
                    None => drop(rows.insert(name.to_owned(), vec![slice])),
                }
            }
        }
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
        let known = self.span();
        let from = question.from.or(known.map(|(first, _)| first));
        let to = question.to.or(known.map(|(_, last)| last));
        let (Some(from), Some(to)) = (from, to) else { return Vec::new() };
        let definition = dictionary.definition(kpi);
        let present = &definition.formula;
        let until = self.as_of.map_or(i64::MIN, jiff::Timestamp::as_microsecond);
        let scope = Scope {
            selection: self.selection(kpi, question),
            calendar: Calendar::new(question, (from, to), until),
            is_cumulative: kpi.is_running_total(),
            window: kpi.window,
            opening: self.coverage.opening(&kpi.name),
        };
        let Some((first, last)) = scope.days() else { return Vec::new() };
        let spans = self.span_states(dictionary, kpi, question, &scope, &definition);
        let official = self.collect(&scope, |day| day.official(kpi, present));
        let mut counted = self.days.range(first..=last);
        let is_adjusted = counted.any(|(_, day)| day.is_adjusted(kpi));
        let is_adjusted = is_adjusted || spans.iter().any(|span| span.definition.is_some());
        let current = is_adjusted.then(|| self.collect(&scope, |day| (day.current(), present)));
        let times: BTreeSet<_> = spans.iter().flat_map(|span| span.reopened.keys()).collect();
        let previous = times
            .into_iter()
            .map(|at| (*at, self.collect(&scope, |day| day.previous(kpi, present, *at))));
        let previous: BTreeMap<_, _> = previous.collect();
        let notes = self.notes(dictionary, kpi);
        let horizon = i32::try_from(dictionary.horizon_days(kpi)).unwrap_or_default();
        // Where data are missing, a day without slices has one value that says so.
        let nothing = vec![0; scope.selection.by.len()];
        let has_rows: BTreeSet<usize> = official.keys().map(|(index, _)| *index).collect();
        let without_rows = spans
            .iter()
            .enumerate()
            .filter(|(index, span)| {
                span.state() == ValueState::Incomplete && !has_rows.contains(index)
            })
            .map(|(index, _)| (index, nothing.clone()));
        let without_rows: Vec<Key> =
            without_rows.chain(self.stopped(kpi, question, &scope, present, &spans)).collect();
        let keys: BTreeSet<&Key> = official
            .keys()
            .chain(&without_rows)
            .chain(current.iter().flat_map(BTreeMap::keys))
            .chain(previous.values().flat_map(BTreeMap::keys))
            .collect();
        let values = keys.into_iter().map(|key| {
            let (place, mut span) = (&scope.calendar.spans[key.0], spans[key.0].clone());
            let time = |micros| jiff::Timestamp::from_microsecond(micros).ok();
            let time = |micros| if scope.calendar.has_utc_days { None } else { time(micros) };
            let then = spans[key.0].definition.as_ref().map_or(present, |then| &then.formula);
            if official.get(key).is_some_and(|sums| sums.is_too_large(then)) {
                span.add_reason(TOO_LARGE.to_owned());
            }
            let state = span.state();
            let value = |sums: &BTreeMap<Key, Sums>, formula| {
                let sums = sums.get(key).cloned().unwrap_or_default();
                sums.value(formula, state == ValueState::Incomplete)
            };
            let official = value(&official, then);
            let cause = match span.definition {
                Some(_) => AdjustmentCause::Definition,
                None => AdjustmentCause::Late,
            };
            let adjustment = current
                .as_ref()
                .and_then(|current| Adjustment::between(&official, value(current, present), cause));
            let restatements = span.reopened.iter().map(|(at, reason)| Restatement {
                previous: value(&previous[at], then),
                at: *at,
                reason: reason.clone(),
            });
            let mut earlier_restatements: Vec<_> = restatements.collect();
            let restatement = earlier_restatements.pop();
            let closes = date(epoch_day(span.last) + horizon);
            let today = self.as_of.map(|at| crate::facts::day_of(at.as_microsecond()));
            let is_open = horizon > 0 && today.is_some_and(|today| today <= closes);
            KpiValue {
                from: place.from,
                to: place.to,
                start: time(place.start_us),
                end: time(place.end_us),
                value: official,
                state,
                by: self.slice(&scope.selection, &key.1),
                open_until: is_open.then_some(closes),
                adjustment,
                restatement,
                earlier_restatements,
                reasons: span.reasons(),
                notes: if state == ValueState::Incomplete { Vec::new() } else { notes.clone() },
                rejected_rows: span.rejected,
            }
        });
        values.collect()
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

    /// Slices of a sum that is always sliced, by spans of whole days that lack nothing, of which the days before have rows: their sum is 0
    /// where the span has none.
    fn stopped(
        &self,
        kpi: &Kpi,
        question: &Question,
        scope: &Scope<'_>,
        formula: &Formula,
        spans: &[SpanState],
    ) -> BTreeSet<Key> {
        let is_sum = matches!(kpi.kind, KpiType::Simple | KpiType::Derived);
        let is_plain = question.by.iter().all(|name| kpi.always_by.contains(name));
        let whole = scope.calendar.has_utc_days && question.grain.step_us().is_none();
        let Some((first, last)) = scope.days() else { return BTreeSet::new() };
        if kpi.always_by.is_empty() || !is_sum || !is_plain || !whole {
            return BTreeSet::new();
        }
        let mut slices = AnswerSlices::new(&scope.selection);
        let mut seen: BTreeMap<i32, BTreeSet<u32>> = BTreeMap::new();
        for (day, values) in self.days.range(before(first)..=last) {
            let of_day = seen.entry(epoch_day(*day)).or_default();
            let (rows, formula) = values.official(kpi, formula);
            slices.add(formula, rows, |_, number, _| of_day.extend([number]));
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
    fn span_states(
        &self,
        dictionary: &Dictionary,
        kpi: &Kpi,
        question: &Question,
        scope: &Scope<'_>,
        definition: &Definition,
    ) -> Vec<SpanState> {
        let needs = Needs::of(dictionary, kpi, &self.coverage);
        let missing = |day: Date| self.days.get(&day).map(|values| &values.state.incomplete);
        let add = |span: &mut SpanState, day: Date| {
            let values = self.days.get(&day);
            let state = values.map(|values| &values.state);
            span.add(kpi, day, state, &definition.sha256, || needs.reasons(day, missing));
            let rows = values.map(|values| values.official(kpi, &definition.formula).0);
            let lacks = values.zip(rows);
            let lacks =
                lacks.and_then(|(day, rows)| self.lacks_parts(kpi, day, rows, question, scope));
            if let Some(why) = lacks {
                span.add_reason(format!("{day}: {why}"));
            }
        };
        let known = self.days.first_key_value().map(|(first, _)| *first);
        let mut next = known.into_iter().chain(scope.calendar.utc_days().map(|(first, _)| first));
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
            return Some(format!(
                "parts of days are kept for the {days} newest days: start `serve` with --parts DAYS, or --time-zone NAME"
            ));
        }
        let rows = kpi.measures().into_iter().filter_map(|name| rows.get(name));
        let has_day = rows.into_iter().flat_map(|rows| rows.iter()).any(|row| row.slot == NO_SLOT);
        has_day.then(|| "computed without parts of the day: compute it again".to_owned())
    }

    /// Adds up the rows that `pick` chooses of each day, by span and slice.
    fn collect<'a>(
        &'a self,
        scope: &Scope<'_>,
        pick: impl Fn(&'a DayValues) -> (&'a MeasureRows, &'a Formula),
    ) -> BTreeMap<Key, Sums> {
        let mut sums: BTreeMap<SpanSlice, Sums> = BTreeMap::new();
        let mut before: BTreeMap<u32, Sums> = BTreeMap::new();
        let spans = scope.calendar.spans.len();
        let Some((first, last)) = scope.days() else { return BTreeMap::new() };
        let mut slices = AnswerSlices::new(&scope.selection);
        if scope.selection.by.is_empty() {
            let all = slices.number(Vec::new());
            sums.extend((0..spans).map(|index| ((index, all), Sums::default())));
        }
        if let Some(window) = scope.window {
            let mut days: BTreeMap<Date, BTreeMap<u32, Sums>> = BTreeMap::new();
            for (day, values) in self.days.range(first..=last) {
                let (rows, formula) = pick(values);
                let of_day = days.entry(*day).or_default();
                let add =
                    |_, number, add: &dyn Fn(&mut Sums)| add(of_day.entry(number).or_default());
                slices.add(formula, rows, add);
            }
            for (index, span) in scope.calendar.spans.iter().enumerate() {
                let of_window = days.range(window.start(span.to)..=span.to);
                for (number, added) in of_window.flat_map(|(_, of_day)| of_day) {
                    sums.entry((index, *number)).or_default().add(added);
                }
            }
            return slices.named(sums);
        }
        for (day, values) in self.days.range(first..=last) {
            if *day < scope.opening {
                continue;
            }
            let (rows, formula) = pick(values);
            let whole = scope.calendar.place(*day, 0);
            let place = |slot: u16| {
                if scope.calendar.has_utc_days { whole } else { scope.calendar.place(*day, slot) }
            };
            slices.add(formula, rows, |slot, number, add| match place(slot) {
                Place::In(index) => add(sums.entry((index, number)).or_default()),
                Place::Before if scope.is_cumulative => add(before.entry(number).or_default()),
                Place::Before | Place::After => {}
            });
        }
        if scope.is_cumulative {
            accumulate(&mut sums, before, spans);
        }
        slices.named(sums)
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
            // A value that does not occur gets an identity that no row has.
            let id = |text: &String| match text.as_str() {
                "" => 0,
                _ => self.texts.ids.get(text.as_str()).copied().unwrap_or(TextId::MAX),
            };
            Some((index(name)?, values.iter().map(id).collect()))
        });
        Selection { by, filter: filter.collect(), slices: &self.slices.all }
    }
}

/// Which rows count, and by which dimensions they are sliced.
#[derive(Debug)]
struct Selection<'a> {
    by: Vec<usize>,
    filter: Vec<(usize, Vec<TextId>)>,
    slices: &'a [Slice],
}

impl Selection<'_> {
    /// Slice of the answer to which rows of a slice count; `None` if the filter leaves them out.
    fn slice(&self, index: usize) -> Option<Vec<TextId>> {
        let dimensions = &self.slices[index];
        let has = |(index, ids): &(usize, Vec<TextId>)| ids.contains(&dimensions[*index]);
        let slice = || self.by.iter().map(|index| dimensions[*index]).collect();
        self.filter.iter().all(has).then(slice)
    }
}

/// What is known of the rows of one of [`Slices`].
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    /// The filter leaves them out.
    LeftOut,
    /// Number of their slice of the answer.
    Number(u32),
}

/// Slices of an answer by number, found once for each of [`Slices`]: there are far more rows.
struct AnswerSlices<'a> {
    selection: &'a Selection<'a>,
    /// By index in [`Slices`].
    known: Vec<Known>,
    numbers: HashMap<Vec<TextId>, u32>,
    slices: Vec<Vec<TextId>>,
}

impl<'a> AnswerSlices<'a> {
    fn new(selection: &'a Selection<'a>) -> Self {
        let known = vec![Known::Nothing; selection.slices.len()];
        Self { selection, known, numbers: HashMap::new(), slices: Vec::new() }
    }

    /// Number of a slice of the answer.
    fn number(&mut self, slice: Vec<TextId>) -> u32 {
        *self.numbers.entry(slice).or_insert_with_key(|slice| {
            self.slices.push(slice.clone());
            u32::try_from(self.slices.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn of_row(&mut self, row: &SliceRow) -> Option<u32> {
        let index = row.slice as usize;
        match self.known[index] {
            Known::Number(number) => return Some(number),
            Known::LeftOut => return None,
            Known::Nothing => {}
        }
        let number = self.selection.slice(index).map(|slice| self.number(slice));
        self.known[index] = number.map_or(Known::LeftOut, Known::Number);
        number
    }

    /// Calls `into` with the part of the day and the slice of each row of a KPI's measures, and with what adds the row to sums.
    fn add(
        &mut self,
        formula: &Formula,
        rows: &MeasureRows,
        mut into: impl FnMut(u16, u32, &dyn Fn(&mut Sums)),
    ) {
        let mut each = |name: &str, add: &dyn Fn(&mut Sums, &SliceRow)| {
            for row in rows.get(name).into_iter().flat_map(|rows| rows.iter()) {
                if let Some(number) = self.of_row(row) {
                    into(row.slot, number, &|sums| {
                        sums.rows += 1;
                        sums.is_too_large |= row.is_too_large;
                        add(sums, row);
                    });
                }
            }
        };
        for name in &formula.plus {
            each(name, &|sums, row| sums.numerator += i128::from(row.value));
        }
        for name in &formula.minus {
            each(name, &|sums, row| sums.numerator -= i128::from(row.value));
        }
        for name in &formula.over {
            each(name, &|sums, row| sums.denominator += i128::from(row.value));
        }
        if let Some(name) = &formula.samples {
            each(name, &|sums, row| sums.samples.push((row.sample, row.value)));
        }
    }

    /// Sums by slices instead of their numbers.
    fn named(&self, sums: BTreeMap<SpanSlice, Sums>) -> BTreeMap<Key, Sums> {
        let name = |((index, number), sums)| ((index, self.slices[number as usize].clone()), sums);
        sums.into_iter().map(name).collect()
    }
}

/// Merges rows of equal slices and samples. `begins` are the parts of the day that stay apart; all, if absent.
fn merged(mut rows: Vec<SliceRow>, begins: Option<&[u16]>) -> Vec<SliceRow> {
    let Some(begins) = begins else { return rows };
    for row in rows.iter_mut().filter(|row| row.slot != NO_SLOT) {
        let part = begins.partition_point(|begin| *begin <= row.slot).saturating_sub(1);
        row.slot = begins.get(part).copied().unwrap_or_default();
    }
    rows.sort_unstable_by(|a, b| {
        (a.slice, a.slot).cmp(&(b.slice, b.slot)).then(a.sample.total_cmp(&b.sample))
    });
    rows.dedup_by(|next, row| {
        let is_equal = (next.slice, next.slot) == (row.slice, row.slot)
            && next.sample.total_cmp(&row.sample).is_eq();
        if is_equal {
            let Some(sum) = row.value.checked_add(next.value) else { return false };
            row.value = sum;
            row.is_too_large |= next.is_too_large;
        }
        is_equal
    });
    rows.shrink_to_fit();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of a day whose sum overflows stay apart, and what is added to one without a value has none.
    #[test]
    fn merged_rows_do_not_overflow() {
        let row = |slot, value, is_too_large| SliceRow {
            slice: 0,
            slot,
            is_too_large,
            value,
            sample: 0.0,
        };
        let shown = |rows: Vec<SliceRow>| -> Vec<(i64, bool)> {
            let rows = merged(rows, Some(&[0]));
            rows.iter().map(|row| (row.value, row.is_too_large)).collect()
        };
        assert_eq!(shown(vec![row(0, 1, false), row(3, 2, false)]), [(3, false)]);
        assert_eq!(shown(vec![row(0, 1, false), row(3, 0, true)]), [(1, true)]);
        let large = shown(vec![row(0, i64::MAX, false), row(3, 2, false)]);
        assert_eq!(
            large.iter().map(|(value, _)| i128::from(*value)).sum::<i128>(),
            i128::from(i64::MAX) + 2
        );
    }
}
