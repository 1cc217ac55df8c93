//! Computation: facts become the rows of all measures, one file for each day.
//!
//! A computation depends on nothing but the facts and the dictionary, so running it again, or in parallel for other
//! days, gives the same bytes. Final KPIs keep the file that they were finalised with.

use crate::completeness::{Gaps, Needs};
use crate::dictionary::{DIMENSIONS, Dictionary, Kpi, Measure};
use crate::engine::Engine;
use crate::error::KpiError;
use crate::facts::{self, epoch_day};
use crate::query::{self, Dialect};
use crate::rows::{Columns, date, text};
use crate::sources::Sources;
use crate::store::{CommitKind, ComputeCommit, DayCommit, ReopenCommit, State, Store};
use datafusion::arrow::array::{Array as _, ArrayRef, Date32Array, RecordBatch};
use datafusion::arrow::compute::{
    SortColumn, cast, concat_batches, lexsort_to_indices, take_record_batch,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use jiff::civil::Date;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    /// Memory of queries in bytes.
    pub memory: usize,
}

/// What a computation has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Days that were computed: first, last and number.
    pub days: Option<(Date, Date, usize)>,
    /// Days whose values have changed.
    pub changed: usize,
    /// Values of KPIs that this computation has frozen, one for each KPI and day.
    pub finalised: usize,
    /// Days of which all KPIs are final now.
    pub finished: usize,
    /// Days of which something is incomplete, with the reasons by source.
    pub incomplete: BTreeMap<Date, BTreeMap<String, String>>,
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
    loop {
        let mut state = store.state().await?;
        state.require_sources(sources)?;
        let Some(span) = span(&state, request)? else { return Ok(Outcome::default()) };
        let snapshot = state.number;
        let engine = Engine::open_copies(store, &state, request.memory).await?;
        engine.models(dictionary, span).await?;
        let present = event_types(&engine).await?;
        let gaps = Gaps::find(&engine, &state, dictionary, sources, span, &present).await?;
        // A measure of events of which there are none has no rows, and planning its query takes longer than running it.
        let can_have_rows = |measure: &&Measure| {
            measure.types.is_empty() || measure.types.iter().any(|kind| present.contains(kind))
        };
        let measures: Vec<&Measure> = dictionary.measures.iter().filter(can_have_rows).collect();
        let mut days = BTreeMap::new();
        for chunk in chunks(&state.rows_by_day(), span) {
            days.extend(write_days(store, dictionary, &engine, &measures, chunk).await?);
        }
        let commits = commits(&state, dictionary, &gaps, days, request.is_final);
        let mut outcome =
            Outcome { days: Some((span.0, span.1, commits.len())), ..Outcome::default() };
        for (day, commit) in &commits {
            if !commit.incomplete.is_empty() {
                outcome.incomplete.insert(*day, commit.incomplete.clone());
            }
        }
        let changed: BTreeMap<_, _> =
            commits.into_iter().filter(|(day, commit)| is_change(&state, *day, commit)).collect();
        outcome.changed = changed.len();
        outcome.finalised = changed.values().map(|commit| commit.finalised.len()).sum();
        if !changed.is_empty() || state.computed_at.is_none() || state.coverage != gaps.coverage {
            let finalised: BTreeSet<&String> =
                changed.values().flat_map(|commit| &commit.finalised).collect();
            let kpis = dictionary.kpis.iter().filter(|kpi| finalised.contains(&kpi.name));
            let definitions =
                kpis.map(|kpi| (kpi.name.clone(), dictionary.definition(kpi))).collect();
            let compute = ComputeCommit {
                snapshot,
                dictionary: dictionary.sha256.clone(),
                coverage: gaps.coverage,
                definitions,
                days: changed,
            };
            if !commit(store, &mut state, compute).await? {
                tracing::info!("other values were computed meanwhile: computing again");
                continue;
            }
        }
        let all = dictionary.kpis.len();
        let finished = state.days.range(span.0..=span.1);
        outcome.finished = finished.filter(|(_, day)| day.frozen.len() >= all).count();
        return Ok(outcome);
    }
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

/// Decides what each day's commit says: its file, and which KPIs are final with it.
fn commits(
    state: &State,
    dictionary: &Dictionary,
    gaps: &Gaps,
    paths: BTreeMap<Date, String>,
    is_final: bool,
) -> BTreeMap<Date, DayCommit> {
    let now = epoch_day(facts::day_of(crate::clock::now().as_microsecond()));
    let is_frozen = |day: Date, name: &str| {
        state.days.get(&day).is_some_and(|old| old.frozen.contains_key(name))
    };
    // A running total is final only where it is final on all days before, from its opening on.
    let first = state.span().map_or(Date::MAX, |(first, _)| first);
    let start = paths.keys().next().copied().unwrap_or(first);
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
    for (day, path) in paths {
        let mut finalised = BTreeSet::new();
        for kpi in dictionary.kpis.iter().filter(|kpi| !is_frozen(day, &kpi.name)) {
            let lateness = i32::try_from(dictionary.lateness_days(kpi)).unwrap_or(i32::MAX);
            if is_final
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
    let failed = |error| KpiError::Failed(format!("values: {error}"));
    let mut batches = Vec::new();
    for measure in measures {
        let model = format!("model_{}", measure.model);
        let sql = query::measure_of(&model, dictionary, measure, days, Dialect::DataFusion);
        for batch in engine.query(&format!("measure {}", measure.name), &sql).await? {
            let columns = batch.columns().iter().zip(schema.fields());
            let columns: Vec<ArrayRef> = columns
                .map(|(column, field)| cast(column, field.data_type()))
                .collect::<Result<_, _>>()
                .map_err(failed)?;
            batches.push(RecordBatch::try_new(Arc::clone(&schema), columns).map_err(failed)?);
        }
    }
    let all = concat_batches(&schema, &batches).map_err(failed)?;
    let sample = schema.fields().len() - 1;
    let order = (0..schema.fields().len() - 2).chain([sample]);
    let order: Vec<SortColumn> = order
        .map(|index| SortColumn { values: Arc::clone(all.column(index)), options: None })
        .collect();
    let order = lexsort_to_indices(&order, None).map_err(failed)?;
    take_record_batch(&all, &order).map_err(failed)
}

/// Returns the types of all events; alerts are one more type.
async fn event_types(engine: &Engine) -> Result<BTreeSet<String>, KpiError> {
    let sql = "SELECT DISTINCT event_type FROM events_raw \
               UNION ALL SELECT DISTINCT 'dns.alert/1' AS event_type FROM alerts_raw";
    let mut all = BTreeSet::new();
    for batch in engine.query("types of events", sql).await? {
        let kinds = Columns(&batch).texts("event_type")?;
        all.extend((0..batch.num_rows()).filter_map(|row| text(&kinds, row)).map(str::to_owned));
    }
    Ok(all)
}

/// Computes and writes the file of each day; returns the paths.
async fn write_days(
    store: &Store,
    dictionary: &Dictionary,
    engine: &Engine,
    measures: &[&Measure],
    days: (Date, Date),
) -> Result<BTreeMap<Date, String>, KpiError> {
    let rows = measure_rows(dictionary, engine, measures, days).await?;
    let column = Date32Array::from(rows.column(0).to_data());
    let mut paths = BTreeMap::new();
    let mut start = 0;
    for day in epoch_day(days.0)..=epoch_day(days.1) {
        let length = (start..column.len()).take_while(|row| column.value(*row) == day).count();
        let bytes = facts::parquet(&rows.slice(start, length))?;
        start += length;
        let hash = crate::input::hex(&Sha256::digest(&bytes)[..8]);
        let path = format!("values/day={}/{hash}.parquet", date(day));
        store.write(&path, bytes).await?;
        paths.insert(date(day), path);
    }
    Ok(paths)
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
