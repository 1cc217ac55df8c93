//! Values in memory: the rows of all measures by day, and KPIs made of them at any grain and slice.

mod question;
mod sums;

pub use question::{Adjustment, Grain, KpiValue, Question, ValueState};

use crate::dictionary::{DIMENSIONS, Dictionary, Kpi, KpiType};
use crate::error::KpiError;
use crate::facts::epoch_day;
use crate::rows::{Columns, date, text};
use crate::store::{DayState, State, Store, Table};
use datafusion::arrow::array::Array as _;
use jiff::civil::Date;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeMap, HashMap};
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
    /// As they are published: frozen where they are final.
    official: MeasureRows,
    /// As of the newest computation.
    current: MeasureRows,
    state: DayState,
}

/// All values of a store.
#[derive(Clone, Debug, Default)]
pub struct Values {
    days: BTreeMap<Date, DayValues>,
    texts: Texts,
    slices: Slices,
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
        let mut files: HashMap<String, MeasureRows> = HashMap::new();
        for (day, wanted) in &state.days {
            if self.days.get(day).is_some_and(|have| have.state == *wanted) {
                continue;
            }
            for path in wanted.frozen.values().chain([&wanted.current]) {
                if !files.contains_key(path) {
                    files.insert(path.clone(), self.read(store, path).await?);
                }
            }
            let current = files[&wanted.current].clone();
            let mut official = current.clone();
            for (measure, path) in &wanted.frozen {
                match files[path].get(measure) {
                    Some(rows) => official.insert(measure.clone(), Arc::clone(rows)),
                    None => official.remove(measure),
                };
            }
            files.clear();
            self.days.insert(*day, DayValues { official, current, state: wanted.clone() });
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
        let selection = self.selection(kpi, question);
        let mut official: BTreeMap<Key, Sums> = BTreeMap::new();
        let mut current: BTreeMap<Key, Sums> = BTreeMap::new();
        let mut spans: BTreeMap<Date, SpanState> = BTreeMap::new();
        let (mut before, mut before_current) = (BTreeMap::new(), BTreeMap::new());
        if kpi.kind == KpiType::Cumulative {
            for values in self.days.range(..from).map(|(_, values)| values) {
                selection.add(kpi, &values.official, Date::MIN, &mut before);
                selection.add(kpi, &values.current, Date::MIN, &mut before_current);
            }
        }
        for day in (epoch_day(from)..=epoch_day(to)).map(date) {
            let start = question.grain.start(day).max(from);
            let span = spans.entry(start).or_insert_with(|| SpanState::new(day));
            span.last = day;
            if selection.by.is_empty() {
                official.entry((start, Vec::new())).or_default();
                current.entry((start, Vec::new())).or_default();
            }
            let Some(values) = self.days.get(&day) else {
                span.add_missing(day);
                continue;
            };
            span.add(dictionary, kpi, day, &values.state);
            selection.add(kpi, &values.official, start, &mut official);
            selection.add(kpi, &values.current, start, &mut current);
        }
        if kpi.kind == KpiType::Cumulative {
            accumulate(&mut official, before, &spans);
            accumulate(&mut current, before_current, &spans);
        }
        let keys: std::collections::BTreeSet<Key> =
            official.keys().chain(current.keys()).cloned().collect();
        let values = keys.into_iter().map(|key| {
            let span = &spans[&key.0];
            let is_incomplete = span.state() == ValueState::Incomplete;
            let value = official.get(&key).cloned().unwrap_or_default().value(kpi, is_incomplete);
            let adjusted = current.get(&key).cloned().unwrap_or_default().value(kpi, is_incomplete);
            KpiValue {
                from: key.0.max(from),
                to: span.last,
                adjustment: Adjustment::between(&value, adjusted),
                value,
                state: span.state(),
                by: self.slice(&selection, &key.1),
                reasons: span.reasons.clone(),
                rejected_rows: span.rejected,
            }
        });
        values.collect()
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
    fn add(&self, kpi: &Kpi, rows: &MeasureRows, start: Date, into: &mut BTreeMap<Key, Sums>) {
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
        for name in &kpi.plus {
            each(name, &|sums, row| sums.numerator += i128::from(row.value));
        }
        for name in &kpi.minus {
            each(name, &|sums, row| sums.numerator -= i128::from(row.value));
        }
        for name in &kpi.over {
            each(name, &|sums, row| sums.denominator += i128::from(row.value));
        }
        if let Some(name) = &kpi.samples {
            each(name, &|sums, row| sums.samples.push((row.sample, row.value)));
        }
    }
}
