//! What the dictionary says about a KPI, and its lineage: measures, models, sources and imported files.

use crate::answer::{self, Lineage, LineageImport, LineageMeasure, LineageModel, LineageReopening};
use crate::dictionary::{Dictionary, Kpi, Measure, Model};
use crate::query::{self, Dialect};
use crate::store::{State, Table};
use crate::verdict::Verdict;
use std::collections::BTreeSet;

/// Imports and imports that were taken back that are named.
const NEWEST: usize = 100;

/// Describes a KPI and what its rule says, as the API, the page and the report show it.
#[must_use]
pub fn describe<'a>(
    dictionary: &'a Dictionary,
    kpi: &'a Kpi,
    verdicts: &'a [Verdict],
) -> answer::Kpi<'a> {
    answer::Kpi {
        name: &kpi.name,
        label: &kpi.label,
        family: &kpi.family,
        description: &kpi.description,
        kind: kpi.kind,
        formula: kpi.formula(),
        unit: &kpi.unit,
        grain: dictionary.grain(kpi).name(),
        dimensions: dictionary.dimensions(kpi),
        always_by: &kpi.always_by,
        cadence: &kpi.cadence,
        lateness_days: dictionary.lateness_days(kpi),
        horizon_days: dictionary.horizon_days(kpi),
        owner: &kpi.owner,
        sources: dictionary.sources(kpi),
        decision: answer::Decision::of(kpi),
        verdicts,
    }
}

fn reopened<'a>(kpi: &Kpi, state: &'a State) -> Vec<LineageReopening<'a>> {
    let all = state.days.iter().flat_map(|(day, of_day)| {
        let all = of_day.reopened.iter();
        let all = all.filter(|reopening| reopening.previous.contains_key(&kpi.name));
        all.map(|one| LineageReopening { day: *day, at: one.at, reason: &one.reason })
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|one| std::cmp::Reverse((one.at, one.day)));
    all.truncate(NEWEST);
    all
}

/// Describes where the values of a KPI come from.
#[must_use]
pub fn of_kpi<'a>(dictionary: &'a Dictionary, kpi: &'a Kpi, state: &'a State) -> Lineage<'a> {
    let measures: Vec<_> =
        kpi.measures().into_iter().filter_map(|name| dictionary.measure(name)).collect();
    let models: BTreeSet<&str> = measures.iter().map(|measure| measure.model.as_str()).collect();
    let models = models.into_iter().filter_map(|name| dictionary.model(name));
    let sources = dictionary.sources(kpi);
    let tables: BTreeSet<Table> = sources.iter().map(|source| Table::of_schema(source)).collect();
    let mut imports: Vec<_> = state
        .imports
        .values()
        .filter(|(_, _, import)| import.files.iter().any(|file| tables.contains(&file.table)))
        .collect();
    imports.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    let newest = imports.iter().take(NEWEST).map(|(_, at, import)| LineageImport {
        sha256: &import.sha256,
        source: &import.source,
        name: &import.name,
        imported_at: *at,
        rows: import.rows,
        accepted: import.accepted,
        rejected: import.rejected.values().sum(),
    });
    Lineage {
        kpi: &kpi.name,
        formula: kpi.formula(),
        import_count: imports.len(),
        imports: newest.collect(),
        measures: measures
            .into_iter()
            .map(|measure| describe_measure(dictionary, measure))
            .collect(),
        models: models.map(describe_model).collect(),
        sources,
        undone: state.undone.iter().rev().take(NEWEST).collect(),
        reopened: reopened(kpi, state),
        dictionary_sha256: &dictionary.sha256,
    }
}

fn describe_measure<'a>(dictionary: &Dictionary, measure: &'a Measure) -> LineageMeasure<'a> {
    LineageMeasure {
        name: &measure.name,
        model: &measure.model,
        agg: measure.agg,
        condition: measure.condition.as_deref(),
        expr: measure.expr.as_deref(),
        event_types: &measure.types,
        lateness_days: measure.lateness_days,
        sql: sql(dictionary, measure),
    }
}

fn describe_model(model: &Model) -> LineageModel<'_> {
    LineageModel {
        name: &model.name,
        description: &model.description,
        source: &model.source,
        sql: &model.sql,
    }
}

/// Whole query of a measure, for one day.
fn sql(dictionary: &Dictionary, measure: &Measure) -> Option<String> {
    let day = jiff::civil::date(2026, 1, 1);
    query::measure(dictionary, measure, (day, day), Dialect::DataFusion).ok()
}
