//! Values in memory: the rows of all measures by day, and KPIs made of them at any grain and slice.

mod question;
mod sums;

pub use question::{
    Adjustment, AdjustmentCause, Grain, KpiValue, Question, Restatement, ValueState,
};

use crate::completeness::Needs;
use crate::definition::{Definition, Formula};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi, KpiType};
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::{Columns, date, text};
use crate::store::{Coverage, DayState, Frozen, State, Store, Table};
use datafusion::arrow::array::Array as _;
use jiff::civil::Date;
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
    value: i64,
    sample: f64,
}

/// Rows of a file, by measure.
type MeasureRows = BTreeMap<String, Arc<Vec<SliceRow>>>;

/// Values of a day.
#[derive(Clone, Debug, Default)]
struct DayValues {
    /// Rows of each file that the state names.
    files: BTreeMap<String, MeasureRows>,
    state: DayState,
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

    /// As they were published before the day was reopened.
    fn previous<'a>(&'a self, kpi: &Kpi, present: &'a Formula) -> (&'a MeasureRows, &'a Formula) {
        let reopened = self.state.reopened.as_ref();
        let previous = reopened.and_then(|reopening| reopening.previous.get(&kpi.name));
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

/// What is added up: which rows, by which spans.
#[derive(Debug)]
struct Scope<'a> {
    selection: Selection<'a>,
    grain: Grain,
    days: (Date, Date),
    is_cumulative: bool,
    /// First day that counts.
    opening: Date,
}

/// All values of a store.
#[derive(Clone, Debug, Default)]
pub struct Values {
    days: BTreeMap<Date, DayValues>,
    texts: Texts,
    slices: Slices,
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

/// Slice and first day of a span.
type Key = (Date, Vec<TextId>);

impl Values {
    /// Reads all values of a store.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn load(store: &Store, state: &State) -> Result<Self, KpiError> {
        let mut values = Self::default();
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
        for (day, wanted) in &state.days {
            if self.days.get(day).is_some_and(|have| have.state == *wanted) {
                continue;
            }
            let reopened = wanted.reopened.iter().flat_map(|reopening| reopening.previous.values());
            let frozen = wanted.frozen.values().chain(reopened).map(|frozen| &frozen.path);
            let mut files = BTreeMap::new();
            for path in frozen.chain([&wanted.current]) {
                let known = self.days.get(day).and_then(|have| have.files.get(path).cloned());
                if !files.contains_key(path) {
                    let rows = match known {
                        Some(rows) => rows,
                        None => self.read(store, path).await?,
                    };
                    files.insert(path.clone(), rows);
                }
            }
            self.days.insert(*day, DayValues { files, state: wanted.clone() });
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

    async fn read(&mut self, store: &Store, path: &str) -> Result<MeasureRows, KpiError> {
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
            let dimensions =
                DIMENSIONS.iter().map(|name| columns.texts(name)).collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let mut ids = [0; WIDTH];
                for (id, column) in ids.iter_mut().zip(&dimensions) {
                    *id = text(column, row).map_or(0, |text| self.texts.add(text));
                }
                let sample = if samples.is_valid(row) { samples.value(row) } else { 0.0 };
                let name = text(&measures, row).unwrap_or_default();
                let slice = self.slices.add(ids);
                let slice = SliceRow { slice, value: counts.value(row), sample };
                match rows.get_mut(name) {
                    Some(list) => list.push(slice),
                    None => drop(rows.insert(name.to_owned(), vec![slice])),
                }
            }
        }
        Ok(rows.into_iter().map(|(name, rows)| (name, Arc::new(rows))).collect())
    }

    /// First and last day with values.
    #[must_use]
    pub fn span(&self) -> Option<(Date, Date)> {
        Some((*self.days.first_key_value()?.0, *self.days.last_key_value()?.0))
    }

    /// Newest fact of the sources of a KPI.
    #[must_use]
    pub fn newest_of(&self, dictionary: &Dictionary, kpi: &Kpi) -> Option<jiff::Timestamp> {
        let table = |source: &str| match source {
            "dns.fleet/1" => Table::Dns,
            "dns.probe/1" => Table::Probes,
            _ => Table::Events,
        };
        let sources = dictionary.sources(kpi);
        sources.iter().filter_map(|source| self.newest.get(&table(source)).copied()).min()
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
        let spans = self.span_states(dictionary, kpi, question.grain, (from, to), &definition);
        let scope = Scope {
            selection: self.selection(kpi, question),
            grain: question.grain,
            days: (from, to),
            is_cumulative: kpi.kind == KpiType::Cumulative,
            opening: self.coverage.opening(&kpi.name),
        };
        let official = self.collect(&scope, &spans, |day| day.official(kpi, present));
        let counted = self.days.range(if scope.is_cumulative { Date::MIN } else { from }..=to);
        let is_adjusted = counted.clone().any(|(_, day)| day.is_adjusted(kpi));
        let is_adjusted = is_adjusted || spans.values().any(|span| span.definition.is_some());
        let current =
            is_adjusted.then(|| self.collect(&scope, &spans, |day| (day.current(), present)));
        let is_restated = spans.values().any(|span| span.reopened.is_some());
        let previous =
            is_restated.then(|| self.collect(&scope, &spans, |day| day.previous(kpi, present)));
        let types = dictionary.event_types(kpi);
        let absent = types.iter().filter(|kind| self.coverage.absent.contains(**kind));
        let never = |kind: &&str| {
            format!("{kind} has never come, and no sources are declared: none is counted")
        };
        let mut notes: Vec<String> = absent.map(never).collect();
        if scope.opening > Date::MIN {
            let opening = scope.opening;
            notes.push(format!(
                "counted from {opening} on, when its sources begin: nothing before is in it"
            ));
        }
        let horizon = i32::try_from(dictionary.horizon_days(kpi)).unwrap_or_default();
        // Where data are missing, a day without slices has one value that says so.
        let nothing = vec![0; scope.selection.by.len()];
        let has_rows: BTreeSet<Date> = official.keys().map(|(start, _)| *start).collect();
        let without_rows = spans
            .iter()
            .filter(|(start, span)| {
                span.state() == ValueState::Incomplete && !has_rows.contains(start)
            })
            .map(|(start, _)| (*start, nothing.clone()));
        let without_rows: Vec<Key> = without_rows.collect();
        let keys: BTreeSet<&Key> = official
            .keys()
            .chain(&without_rows)
            .chain(current.iter().flat_map(BTreeMap::keys))
            .chain(previous.iter().flat_map(BTreeMap::keys))
            .collect();
        let values = keys.into_iter().map(|key| {
            let span = &spans[&key.0];
            let state = span.state();
            let then = span.definition.as_ref().map_or(present, |then| &then.formula);
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
            let restatement = previous.as_ref().zip(span.reopened.as_ref());
            let restatement = restatement.map(|(previous, (at, reason))| Restatement {
                previous: value(previous, then),
                at: *at,
                reason: reason.clone(),
            });
            let closes = date(epoch_day(span.last) + horizon);
            let today = self.as_of.map(|at| crate::facts::day_of(at.as_microsecond()));
            let is_open = horizon > 0 && today.is_some_and(|today| today <= closes);
            KpiValue {
                from: key.0.max(from),
                to: span.last,
                value: official,
                state,
                by: self.slice(&scope.selection, &key.1),
                open_until: is_open.then_some(closes),
                adjustment,
                restatement,
                reasons: span.reasons.clone(),
                notes: if state == ValueState::Incomplete { Vec::new() } else { notes.clone() },
                rejected_rows: span.rejected,
            }
        });
        values.collect()
    }

    /// Finds out what is known of each span. A running total needs all days before its span, too, from its opening on.
    fn span_states(
        &self,
        dictionary: &Dictionary,
        kpi: &Kpi,
        grain: Grain,
        (from, to): (Date, Date),
        definition: &Definition,
    ) -> BTreeMap<Date, SpanState> {
        let is_cumulative = kpi.kind == KpiType::Cumulative;
        let first = self.days.first_key_value().map_or(from, |(first, _)| *first);
        let first = if is_cumulative { first.min(from) } else { from };
        let mut spans: BTreeMap<Date, SpanState> = BTreeMap::new();
        let mut total = SpanState::new(first);
        let opening = self.coverage.opening(&kpi.name);
        let needs = Needs::of(dictionary, kpi, &self.coverage);
        let missing = |day: Date| self.days.get(&day).map(|values| &values.state.incomplete);
        for day in (epoch_day(first)..=epoch_day(to)).map(date) {
            let state = self.days.get(&day).map(|values| &values.state);
            let reasons = || needs.reasons(day, missing);
            let start = grain.start(day).max(from);
            if is_cumulative && day >= opening {
                total.add(kpi, day, state, &definition.sha256, reasons);
                if day >= from {
                    spans.insert(start, total.clone());
                }
            } else if day >= from {
                let span = spans.entry(start).or_insert_with(|| SpanState::new(day));
                span.add(kpi, day, state, &definition.sha256, reasons);
            }
        }
        spans
    }

    /// Adds up the rows that `pick` chooses of each day, by span and slice.
    fn collect<'a>(
        &'a self,
        scope: &Scope<'_>,
        spans: &BTreeMap<Date, SpanState>,
        pick: impl Fn(&'a DayValues) -> (&'a MeasureRows, &'a Formula),
    ) -> BTreeMap<Key, Sums> {
        let (from, to) = scope.days;
        let mut sums: BTreeMap<Key, Sums> = BTreeMap::new();
        if scope.selection.by.is_empty() {
            sums.extend(spans.keys().map(|start| ((*start, Vec::new()), Sums::default())));
        }
        let counts = |(day, _): &(&Date, &DayValues)| **day >= scope.opening;
        for (day, values) in self.days.range(from..=to).filter(counts) {
            let (rows, formula) = pick(values);
            let start = scope.grain.start(*day).max(from);
            scope.selection.add(formula, rows, start, &mut sums);
        }
        if scope.is_cumulative {
            let mut before = BTreeMap::new();
            for (_, values) in self.days.range(..from).filter(counts) {
                let (rows, formula) = pick(values);
                scope.selection.add(formula, rows, Date::MIN, &mut before);
            }
            accumulate(&mut sums, before, spans);
        }
        sums
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
    /// Adds the rows of a KPI's measures to the sums of the span that begins with `start`.
    fn add(
        &self,
        formula: &Formula,
        rows: &MeasureRows,
        start: Date,
        into: &mut BTreeMap<Key, Sums>,
    ) {
        let mut each = |name: &str, add: &dyn Fn(&mut Sums, &SliceRow)| {
            for row in rows.get(name).into_iter().flat_map(|rows| rows.iter()) {
                let dimensions = &self.slices[row.slice as usize];
                let has = |(index, ids): &(usize, Vec<TextId>)| ids.contains(&dimensions[*index]);
                if self.filter.iter().all(has) {
                    let slice = self.by.iter().map(|index| dimensions[*index]).collect();
                    let sums = into.entry((start, slice)).or_default();
                    sums.rows += 1;
                    add(sums, row);
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
}
