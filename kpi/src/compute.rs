//! Computation: facts become the rows of all measures, one file for each day.
//!
//! A computation depends on nothing but the facts and the dictionary, so running it again, or in parallel for other
//! days, gives the same bytes. Final KPIs keep the file that they were finalised with.
//!
//! If facts were added since all values were computed, only those are read that new ones have to do with ([`crate::closure`]): the values
//! change by the difference between theirs with the new facts and without them. The bytes are those that all facts give. Of a sum that is too
//! large this difference says nothing: then all facts are read.

mod values;

pub use values::schema;

use crate::completeness::{Gaps, Needs};
use crate::dictionary::{Dictionary, Kpi};
use crate::error::KpiError;
use crate::facts::{self, epoch_day};
use crate::index;
use crate::rows::date;
use crate::sources::Sources;
use crate::store::{
    Base, CommitKind, ComputeCommit, DayCommit, Method, ReopenCommit, State, Store,
};
use crate::summary;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use values::{DayFile, Values, method, values_from, values_of_all};

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
                    // What was added to a sum that is too large, or makes it so, is not known from the difference. Nor can one be added
                    // to damaged values.
                    Err(KpiError::TooLarge | KpiError::Damaged(_)) => None,
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
        let definitions = Arc::new(dictionary.definitions());
        let with = Method { dictionary: dictionary.sha256.clone(), definitions };
        let is_new = |(day, commit): &(&Date, &DayCommit)| is_change(&state, **day, commit);
        outcome.changed = commits.range(asked.0..=asked.1).filter(is_new).count();
        let changed: BTreeMap<_, _> = commits
            .into_iter()
            .filter(|(day, commit)| is_new(&(day, commit)) || is_redefined(&state, *day, &with))
            .collect();
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
                method: (state.method.as_ref() != Some(&with))
                    .then(|| with.definitions.as_ref().clone()),
                days: changed,
            };
            // What another computation writes after this commit is not among these.
            let mut files = store.files(summary::FOLDER).await;
            files.extend(store.files(index::FOLDER).await);
            let needed =
                compute.base.iter().flat_map(|base| base.index.iter().chain([&base.summary]));
            let needed: BTreeSet<_> = needed.map(|path| store.location(path)).collect();
            if !commit(store, &mut state, compute).await? {
                tracing::info!("other values were computed meanwhile: computing again");
                continue;
            }
            for file in files.iter().filter(|file| !needed.contains(file)) {
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
    let said = |base: &Base| (base.method.clone(), base.summary.clone(), base.index.clone());
    known.map(said) != base.map(said)
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

fn is_change(state: &State, day: Date, commit: &DayCommit) -> bool {
    state.days.get(&day).is_none_or(|old| {
        old.current != commit.path
            || !commit.finalised.is_empty()
            || old.incomplete != commit.incomplete
            || old.rejected != commit.rejected
    })
}

/// Whether the values of a day are not known to be those of these definitions: equal values may be.
fn is_redefined(state: &State, day: Date, method: &Method) -> bool {
    let known = state.days.get(&day).and_then(|known| known.definitions.as_ref());
    known != Some(&method.definitions)
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
