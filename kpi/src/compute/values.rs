//! Values of measures: from all facts, or from earlier values and what new facts change.

use crate::closure::{self, Closure};
use crate::completeness;
use crate::dictionary::{DIMENSIONS, Dictionary, Measure};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts::{self, epoch_day};
use crate::index::Index;
use crate::query::{self, Dialect};
use crate::rows::{self, Columns, date};
use crate::store::{Base, DayState, State, Store, Table};
use crate::summary::Summary;
use datafusion::arrow::array::{Array as _, Date32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Memory in bytes for each row of facts that new ones have to do with. If there are more, reading all facts is not dearer.
const CLOSURE_ROW_BYTES: usize = 4 << 10;

/// Rows of facts that are computed at once, unless a day has more: planning a query takes as long as running it over
/// some ten thousand rows.
const CHUNK_ROWS: u64 = 8 << 20;

/// Values of a span of days.
pub(super) struct Values {
    /// First and last day: those that were asked for, and all others where that costs nothing.
    pub(super) span: (Date, Date),
    pub(super) files: BTreeMap<Date, DayFile>,
    pub(super) summary: Summary,
    /// What the next computation can go on from.
    pub(super) base: Option<Base>,
    /// Facts that were read, in rows.
    pub(super) facts: u64,
}

/// File with the values of a day.
pub(super) struct DayFile {
    pub(super) path: String,
    /// Measures with a sum that is too large.
    pub(super) too_large: BTreeSet<String>,
}

impl DayFile {
    /// Returns the newest file of a day that was computed before.
    fn known(day: &DayState) -> Self {
        let too_large = day.incomplete.keys().filter_map(|key| completeness::measure_of_key(key));
        Self { path: day.current.clone(), too_large: too_large.map(str::to_owned).collect() }
    }

    async fn write(
        store: &Store,
        day: Date,
        (bytes, too_large): (Vec<u8>, BTreeSet<String>),
    ) -> Result<Self, KpiError> {
        let path = store.write_hashed(&format!("values/day={day}"), "parquet", bytes).await?;
        Ok(Self { path, too_large })
    }
}

/// Encodes the rows of a day. Returns the measures with a sum that is too large, too.
fn encoded(rows: &RecordBatch) -> Result<(Vec<u8>, BTreeSet<String>), KpiError> {
    let columns = Columns(rows);
    let (measures, values) = (columns.texts("measure")?, columns.integers("value")?);
    let too_large = (0..rows.num_rows()).filter(|row| values.is_null(*row));
    let too_large = too_large.map(|row| measures.value(row).to_owned()).collect();
    Ok((facts::parquet(rows)?, too_large))
}

/// Hash of everything that makes values of facts.
pub(super) fn method(dictionary: &Dictionary) -> String {
    let day = (Date::MIN, Date::MAX);
    let measures = dictionary.measures.iter();
    let measures = measures.map(|measure| {
        query::measure_of(&measure.model, dictionary, measure, day, Dialect::DataFusion)
    });
    let mut hash = Sha256::new();
    hash.update(&dictionary.sha256);
    // The text of a dictionary does not say how this program writes its models out.
    let models = dictionary.models.iter().map(|model| model.sql.clone());
    for sql in query::net_queries().chain(Summary::queries()).chain(models).chain(measures) {
        hash.update(sql);
        hash.update([0]);
    }
    crate::input::hex(&hash.finalize()[..16])
}

/// Computes values from all facts.
pub(super) async fn values_of_all(
    store: &Store,
    state: &State,
    dictionary: &Dictionary,
    method: &str,
    span: (Date, Date),
    memory: usize,
) -> Result<Values, KpiError> {
    let engine = Engine::open_copies(store, state, memory).await?;
    let summary = Summary::count(&engine).await?;
    let measures = measures(dictionary, &completeness::event_types(&summary)?);
    engine.models(dictionary, span).await?;
    let mut files = BTreeMap::new();
    for chunk in chunks(&state.rows_by_day(), span) {
        files.extend(write_days(store, dictionary, &engine, &measures, chunk).await?);
    }
    let base = if Some(span) == state.span() {
        let summary = summary.write(store).await?;
        let known = state.base.as_ref().map_or(&[][..], |base| &base.index);
        let mut index = Index::open(store, state, dictionary, known).await;
        index.extend(store, state.files(Table::Events).collect()).await?;
        let index = index.paths();
        Some(Base { snapshot: state.number, method: method.to_owned(), summary, index })
    } else {
        None
    };
    Ok(Values { span, files, summary, base, facts: state.fact_rows() })
}

/// Computes the values of all days from those of an earlier computation and from what was added since; nothing if all facts have to
/// be read.
pub(super) async fn values_from(
    store: &Store,
    state: &State,
    dictionary: &Dictionary,
    base: &Base,
    asked: (Date, Date),
    memory: usize,
) -> Result<Option<Values>, KpiError> {
    let (first, last) = state.span().unwrap_or(asked);
    let span = (first.min(asked.0), last.max(asked.1));
    let Some(summary) = Summary::read(store, &base.summary).await? else { return Ok(None) };
    let days = || (epoch_day(span.0)..=epoch_day(span.1)).map(date);
    // Days before the first fact and after the last may be those of another computation.
    let present = dictionary.definitions();
    let known = |day| state.days.get(&day)?.definitions.as_ref();
    if days().filter_map(known).any(|definitions| **definitions != present) {
        return Ok(None);
    }
    let files = || Table::ALL.into_iter().flat_map(|table| state.numbered_files(table));
    let (new, old): (Vec<_>, Vec<_>) = files().partition(|(number, _)| *number > base.snapshot);
    let rows = |files: &[(u64, &crate::store::FactFile)]| -> u64 {
        files.iter().map(|(_, file)| file.rows).sum()
    };
    let limit = memory / CLOSURE_ROW_BYTES;
    let are_too_many = rows(&new) > rows(&old).min(limit as u64);
    // Rows of dimension tables say something of events at any time.
    if are_too_many || new.iter().any(|(_, file)| file.table == Table::Attributes) {
        return Ok(None);
    }
    if new.is_empty() && days().all(|day| state.days.contains_key(&day)) {
        let file = |day: Date| Some((day, DayFile::known(state.days.get(&day)?)));
        let files = days().filter_map(file).collect();
        return Ok(Some(Values { span, files, summary, base: Some(base.clone()), facts: 0 }));
    }
    let types = completeness::event_types(&summary)?;
    let mut index = Index::open(store, state, dictionary, &base.index).await;
    let limits = (memory, limit);
    let known = (base.snapshot, &index);
    let found = closure::find(store, state, known, dictionary, &types, limits).await?;
    let Some(Closure { new, old }) = found else { return Ok(None) };
    let mut all = old.clone();
    for (table, batches) in new {
        all.entry(table).or_default().extend(batches);
    }
    let facts = all.values().flatten().map(|batch| batch.num_rows() as u64).sum();
    let before = Engine::open_rows(store, state, old, memory).await?;
    let after = Engine::open_rows(store, state, all, memory).await?;
    let counts = (Summary::count(&before).await?, Summary::count(&after).await?);
    let measures = measures(dictionary, &completeness::event_types(&counts.1)?);
    let rows = async |engine: &Engine| {
        engine.models(dictionary, span).await?;
        measure_rows(dictionary, engine, &measures, span).await
    };
    let change = rows::merged(&rows(&after).await?, &rows(&before).await?, -1)?;
    let mut changed = by_day(&change, span);
    let jobs = days().map(|day| change_day(store, day, state.days.get(&day), changed.remove(&day)));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = futures_util::stream::iter(jobs.collect::<Vec<_>>()).buffered(threads);
    let files = jobs.try_collect().await?;
    let summary = summary.changed(&counts.0, &counts.1)?;
    let path = summary.write(store).await?;
    index.extend(store, state.files(Table::Events).collect()).await?;
    let (method, index) = (base.method.clone(), index.paths());
    let base = Base { snapshot: state.number, method, summary: path, index };
    Ok(Some(Values { span, files, summary, base: Some(base), facts }))
}

/// Writes the file of a day whose values change, by what they change.
async fn change_day(
    store: &Store,
    day: Date,
    known: Option<&DayState>,
    change: Option<RecordBatch>,
) -> Result<(Date, DayFile), KpiError> {
    if let (Some(known), None) = (known, &change) {
        return Ok((day, DayFile::known(known)));
    }
    let known = match known {
        Some(known) => Some((known.current.clone(), store.read_hashed(&known.current).await?)),
        None => None,
    };
    let bytes = tokio::task::spawn_blocking(move || {
        let none = || RecordBatch::new_empty(schema());
        let values = match known {
            Some((path, bytes)) => facts::parquet_rows(&path, bytes, &schema())?,
            None => none(),
        };
        encoded(&rows::merged(&values, &change.unwrap_or_else(none), 1)?)
    });
    let bytes = bytes.await.map_err(|error| KpiError::Failed(format!("values: {error}")))??;
    Ok((day, DayFile::write(store, day, bytes).await?))
}

/// Measures that can have rows: one of events of which there are none has not, and planning its query takes longer than running it.
fn measures<'a>(dictionary: &'a Dictionary, present: &BTreeSet<String>) -> Vec<&'a Measure> {
    let can_have_rows = |measure: &&Measure| {
        measure.types.is_empty() || measure.types.iter().any(|kind| present.contains(kind))
    };
    dictionary.measures.iter().filter(can_have_rows).collect()
}

/// Divides a span of days into those that are computed at once.
fn chunks(rows: &BTreeMap<Date, u64>, (from, to): (Date, Date)) -> Vec<(Date, Date)> {
    let mut chunks: Vec<(Date, Date)> = Vec::new();
    let mut held = 0;
    for day in (epoch_day(from)..=epoch_day(to)).map(date) {
        let more = rows.get(&day).copied().unwrap_or(0);
        match chunks.last_mut() {
            Some((_, last)) if held + more <= CHUNK_ROWS => {
                *last = day;
                held += more;
            }
            _ => {
                chunks.push((day, day));
                held = more;
            }
        }
    }
    chunks
}

/// Columns of a file of values.
#[must_use]
pub fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("day", DataType::Date32, true),
        Field::new("measure", DataType::Utf8, true),
        Field::new("slot", DataType::Int64, true),
    ];
    fields.extend(DIMENSIONS.map(|name| Field::new(name, DataType::Utf8, true)));
    fields.push(Field::new("value", DataType::Int64, true));
    fields.push(Field::new("sample", DataType::Float64, true));
    Arc::new(Schema::new(fields))
}

/// Computes the rows of measures for a span of days, sorted. `engine` has the models.
async fn measure_rows(
    dictionary: &Dictionary,
    engine: &Engine,
    measures: &[&Measure],
    days: (Date, Date),
) -> Result<RecordBatch, KpiError> {
    let schema = schema();
    let mut batches = Vec::new();
    for measure in measures {
        let model = format!("model_{}", measure.model);
        let sql = query::measure_of(&model, dictionary, measure, days, Dialect::DataFusion);
        for batch in engine.query(&format!("measure {}", measure.name), &sql).await? {
            batches.push(rows::with_schema(&schema, &batch)?);
        }
    }
    rows::sorted(&schema, &batches)
}

/// Divides sorted rows of measures by day. Days without rows are left out.
fn by_day(rows: &RecordBatch, days: (Date, Date)) -> BTreeMap<Date, RecordBatch> {
    let column = Date32Array::from(rows.column(0).to_data());
    let mut start = 0;
    let slice = |day: i32| {
        let length = (start..column.len()).take_while(|row| column.value(*row) == day).count();
        let slice = rows.slice(start, length);
        start += length;
        (length > 0).then(|| (date(day), slice))
    };
    (epoch_day(days.0)..=epoch_day(days.1)).filter_map(slice).collect()
}

/// Computes and writes the file of each day.
async fn write_days(
    store: &Store,
    dictionary: &Dictionary,
    engine: &Engine,
    measures: &[&Measure],
    days: (Date, Date),
) -> Result<BTreeMap<Date, DayFile>, KpiError> {
    let rows = by_day(&measure_rows(dictionary, engine, measures, days).await?, days);
    let mut files = BTreeMap::new();
    for day in (epoch_day(days.0)..=epoch_day(days.1)).map(date) {
        let none = RecordBatch::new_empty(schema());
        let bytes = encoded(rows.get(&day).unwrap_or(&none))?;
        files.insert(day, DayFile::write(store, day, bytes).await?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_facts_are_computed_at_once() {
        let day = |number: usize| date(i32::try_from(number).unwrap());
        let rows = |count: u64| (0..300).map(|number| (day(number), count)).collect();
        let span = (day(0), day(299));
        assert_eq!(chunks(&BTreeMap::new(), span), [span]);
        assert_eq!(chunks(&rows(1_000), span), [span]);
        let weeks = (0..300).step_by(7).map(|first| (day(first), day((first + 6).min(299))));
        assert_eq!(chunks(&rows(CHUNK_ROWS / 7), span), weeks.collect::<Vec<_>>());
        let days = (0..300).map(|number| (day(number), day(number)));
        assert_eq!(chunks(&rows(2 * CHUNK_ROWS), span), days.collect::<Vec<_>>());
        assert_eq!(chunks(&rows(1), (day(7), day(7))), [(day(7), day(7))]);
    }
}
