//! Computation: facts become the rows of all measures, one file for each day.
//!
//! A computation depends on nothing but the facts and the dictionary, so running it again, or in parallel for other
//! days, gives the same bytes. Final KPIs keep the file that they were finalised with.
//!
//! If facts were added since all values were computed, only those are read that new ones have to do with ([`crate::closure`]): the values
//! change by the difference between theirs with the new facts and without them. The bytes are those that all facts give. Of a sum that is too
//! large this difference says nothing: then all facts are read.

use crate::closure::{self, Closure};
use crate::completeness::{self, Gaps, Needs};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi, Measure};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts::{self, epoch_day};
use crate::query::{self, Dialect};
use crate::rows::{self, Columns, date};
use crate::sources::Sources;
use crate::store::{
    Base, CommitKind, ComputeCommit, DayCommit, DayState, ReopenCommit, State, Store, Table,
};
use crate::summary::{self, Summary};
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

/// Which days are computed, and whether they are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// First day; the first with facts if absent.
    pub from: Option<Date>,
    /// Last day; the last with facts if absent.
    pub to: Option<Date>,
    /// Whether values are frozen that can be final.
    pub is_final: bool,
    /// Whether all facts are read, and not those alone that new ones have to do with.
    pub from_all: bool,
    /// Memory of queries in bytes.
    pub memory: usize,
}

/// What a computation has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Days that were computed: first, last and number.
    pub days: Option<(Date, Date, usize)>,
    /// Facts that were read, and all facts, in rows.
    pub facts: (u64, u64),
    /// Days whose values have changed.
    pub changed: usize,
    /// Values of KPIs that this computation has frozen, one for each KPI and day.
    pub finalised: usize,
    /// Days of which all KPIs are final now.
    pub finished: usize,
    /// Days of which something is incomplete, with the reasons by source.
    pub incomplete: BTreeMap<Date, BTreeMap<String, String>>,
}

/// Values of a span of days.
struct Values {
    /// First and last day: those that were asked for, and all others where that costs nothing.
    span: (Date, Date),
    files: BTreeMap<Date, DayFile>,
    summary: Summary,
    /// What the next computation can go on from.
    base: Option<Base>,
    /// Facts that were read, in rows.
    facts: u64,
}

/// File with the values of a day.
struct DayFile {
    path: String,
    /// Measures with a sum that is too large.
    too_large: BTreeSet<String>,
}

impl DayFile {
    /// Returns the newest file of a day that was computed before.
    fn known(day: &DayState) -> Self {
        let too_large = day.incomplete.keys().filter_map(|key| completeness::measure_of_key(key));
        Self { path: day.current.clone(), too_large: too_large.map(str::to_owned).collect() }
    }

    /// Writes a file, whose name depends on its bytes alone.
    async fn write(
        store: &Store,
        day: Date,
        (bytes, too_large): (Vec<u8>, BTreeSet<String>),
    ) -> Result<Self, KpiError> {
        let hash = crate::input::hex(&Sha256::digest(&bytes)[..8]);
        let path = format!("values/day={day}/{hash}.parquet");
        store.write(&path, bytes).await?;
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

/// Computes the values of a span of days.
///
/// # Errors
/// A query fails, or the store cannot be written; then no value has changed.
pub async fn compute(
    store: &Store,
    dictionary: &Dictionary,
    sources: &Sources,
    request: Request,
) -> Result<Outcome, KpiError> {
    let method = method(dictionary);
    loop {
        let mut state = store.state().await?;
        state.require_sources(sources)?;
        let Some(asked) = span(&state, request)? else { return Ok(Outcome::default()) };
        let snapshot = state.number;
        let known = match &state.base {
            Some(base) if !request.from_all && base.method == method => {
                let known = values_from(store, &state, dictionary, base, asked, request.memory);
                match known.await {
                    // What was added to a sum that is too large, or makes it so, is not known from the difference.
                    Err(KpiError::TooLarge) => None,
                    known => known?,
                }
            }
            _ => None,
        };
        let Values { span, files, summary, base, facts } = match known {
            Some(values) => values,
            None => {
                values_of_all(store, &state, dictionary, &method, asked, request.memory).await?
            }
        };
        let mut gaps = Gaps::find(&summary, store, &state, dictionary, sources, span).await?;
        for (day, file) in &files {
            gaps.add_too_large(*day, &file.too_large);
        }
        let commits = commits(&state, dictionary, &gaps, files, request.is_final.then_some(asked));
        let days = Some((asked.0, asked.1, commits.range(asked.0..=asked.1).count()));
        let mut outcome = Outcome { days, facts: (facts, state.fact_rows()), ..Outcome::default() };
        for (day, commit) in commits.range(asked.0..=asked.1) {
            if !commit.incomplete.is_empty() {
                outcome.incomplete.insert(*day, commit.incomplete.clone());
            }
        }
        let changed: BTreeMap<_, _> =
            commits.into_iter().filter(|(day, commit)| is_change(&state, *day, commit)).collect();
        outcome.changed = changed.range(asked.0..=asked.1).count();
        outcome.finalised = changed.values().map(|commit| commit.finalised.len()).sum();
        if !changed.is_empty()
            || state.computed_at.is_none()
            || state.coverage != gaps.coverage
            || is_other_base(state.base.as_ref(), base.as_ref())
        {
            let finalised: BTreeSet<&String> =
                changed.values().flat_map(|commit| &commit.finalised).collect();
            let kpis = dictionary.kpis.iter().filter(|kpi| finalised.contains(&kpi.name));
            let definitions =
                kpis.map(|kpi| (kpi.name.clone(), dictionary.definition(kpi))).collect();
            let compute = ComputeCommit {
                snapshot,
                dictionary: dictionary.sha256.clone(),
                coverage: gaps.coverage,
                base,
                definitions,
                days: changed,
            };
            // What another computation writes after this commit is not among these.
            let summaries = store.files(summary::FOLDER).await;
            let needed = compute.base.as_ref().map(|base| store.location(&base.summary));
            if !commit(store, &mut state, compute).await? {
                tracing::info!("other values were computed meanwhile: computing again");
                continue;
            }
            for file in summaries.iter().filter(|file| Some(*file) != needed.as_ref()) {
                store.remove(file).await;
            }
        }
        let all = dictionary.kpis.len();
        let finished = state.days.range(asked.0..=asked.1);
        outcome.finished = finished.filter(|(_, day)| day.frozen.len() >= all).count();
        return Ok(outcome);
    }
}

/// Whether the next computation has something else to go on from.
fn is_other_base(known: Option<&Base>, base: Option<&Base>) -> bool {
    // A commit without new facts has changed nothing but the number.
    let said = |base: &Base| (base.method.clone(), base.summary.clone());
    known.map(said) != base.map(said)
}

/// Hash of everything that makes values of facts.
fn method(dictionary: &Dictionary) -> String {
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
async fn values_of_all(
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
        Some(Base { snapshot: state.number, method: method.to_owned(), summary })
    } else {
        None
    };
    Ok(Values { span, files, summary, base, facts: state.fact_rows() })
}

/// Computes the values of all days from those of an earlier computation and from what was added since; nothing if all facts have to
/// be read.
async fn values_from(
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
    let limits = (memory, limit);
    let found = closure::find(store, state, base.snapshot, dictionary, &types, limits).await?;
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
    let base = Base { snapshot: state.number, method: base.method.clone(), summary: path };
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
        Some(known) => Some((known.current.clone(), store.read(&known.current).await?)),
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

/// Commits values. Facts that were imported meanwhile are left to the next computation; returns false if values or their
/// finality have changed meanwhile.
async fn commit(
    store: &Store,
    state: &mut State,
    compute: ComputeCommit,
) -> Result<bool, KpiError> {
    let decided = state.decided;
    loop {
        if store.commit(state, CommitKind::Compute(compute.clone())).await? {
            return Ok(true);
        }
        store.refresh(state).await?;
        if state.decided != decided {
            return Ok(false);
        }
    }
}

fn span(state: &State, request: Request) -> Result<Option<(Date, Date)>, KpiError> {
    let known = state.span();
    let from = request.from.or(known.map(|(first, _)| first));
    let to = request.to.or(known.map(|(_, last)| last));
    let (Some(from), Some(to)) = (from, to) else { return Ok(None) };
    if from > to {
        return Err(KpiError::Usage(format!("from {from} is after to {to}")));
    }
    Ok(Some((from, to)))
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

fn is_change(state: &State, day: Date, commit: &DayCommit) -> bool {
    state.days.get(&day).is_none_or(|old| {
        old.current != commit.path
            || !commit.finalised.is_empty()
            || old.incomplete != commit.incomplete
            || old.rejected != commit.rejected
    })
}

/// Decides what each day's commit says: its file, and which KPIs are final with it, of those days that may be frozen.
fn commits(
    state: &State,
    dictionary: &Dictionary,
    gaps: &Gaps,
    files: BTreeMap<Date, DayFile>,
    freeze: Option<(Date, Date)>,
) -> BTreeMap<Date, DayCommit> {
    let now = epoch_day(facts::day_of(crate::clock::now().as_microsecond()));
    let is_frozen = |day: Date, name: &str| {
        state.days.get(&day).is_some_and(|old| old.frozen.contains_key(name))
    };
    // A running total is final only where it is final on all days before, from its opening on.
    let first = state.span().map_or(Date::MAX, |(first, _)| first);
    let start = files.keys().next().copied().unwrap_or(first);
    let is_open_before = |name: &&str| {
        let first = gaps.coverage.opening(name).max(first);
        (epoch_day(first)..epoch_day(start)).any(|day| !is_frozen(date(day), name))
    };
    let cumulative = dictionary.kpis.iter().filter(|kpi| kpi.is_running_total());
    let mut open: BTreeSet<&str> =
        cumulative.map(|kpi| kpi.name.as_str()).filter(is_open_before).collect();
    let needs = |kpi: &Kpi| (kpi.name.clone(), Needs::of(dictionary, kpi, &gaps.coverage));
    let needs: BTreeMap<String, Needs> = dictionary.kpis.iter().map(needs).collect();
    let mut commits = BTreeMap::new();
    for (day, DayFile { path, .. }) in files {
        let mut finalised = BTreeSet::new();
        for kpi in dictionary.kpis.iter().filter(|kpi| !is_frozen(day, &kpi.name)) {
            let lateness = i32::try_from(dictionary.lateness_days(kpi)).unwrap_or(i32::MAX);
            if freeze.is_some_and(|(from, to)| (from..=to).contains(&day))
                && epoch_day(day).saturating_add(lateness) < now
                && !open.contains(kpi.name.as_str())
                && needs[&kpi.name].reasons(day, |day| gaps.of_day(day)).is_empty()
            {
                finalised.insert(kpi.name.clone());
            } else if kpi.is_running_total() && day >= gaps.coverage.opening(&kpi.name) {
                open.insert(&kpi.name);
            }
        }
        let incomplete = gaps.of_day(day).cloned().unwrap_or_default();
        commits
            .insert(day, DayCommit { path, finalised, incomplete, rejected: gaps.rejected(day) });
    }
    commits
}

/// Ends the finality of a day. What was final stays recorded, and is shown beside what replaces it.
///
/// # Errors
/// Nothing of the day is final, sources are missing, or the store cannot be written.
pub async fn reopen(
    store: &Store,
    sources: &Sources,
    day: Date,
    reason: &str,
) -> Result<(), KpiError> {
    if reason.trim().is_empty() {
        return Err(KpiError::Usage("--reason is empty: say why the day is reopened".to_owned()));
    }
    let mut state = store.state().await?;
    state.require_sources(sources)?;
    loop {
        if state.days.get(&day).is_none_or(|values| values.frozen.is_empty()) {
            return Err(KpiError::Usage(format!(
                "--reopen {day}: no value of this day is final; `compute` alone changes it"
            )));
        }
        let reopen = ReopenCommit { day, reason: reason.trim().to_owned() };
        if store.commit(&mut state, CommitKind::Reopen(reopen)).await? {
            return Ok(());
        }
        store.refresh(&mut state).await?;
    }
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
