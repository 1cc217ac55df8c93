//! What the dictionary says about a KPI, and its lineage: measures, models, sources and imported files.

use crate::dictionary::{Dictionary, Kpi};
use crate::query::{self, Dialect};
use crate::store::{State, Table};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Describes a KPI as the API, the page and the report show it.
#[must_use]
pub fn describe(dictionary: &Dictionary, kpi: &Kpi) -> Value {
    json!({
        "name": kpi.name,
        "label": kpi.label,
        "family": kpi.family,
        "description": kpi.description,
        "type": kpi.kind,
        "formula": kpi.formula(),
        "unit": kpi.unit,
        "grain": dictionary.grain(kpi).name(),
        "dimensions": dictionary.dimensions(kpi),
        "always_by": kpi.always_by,
        "cadence": kpi.cadence,
        "lateness_days": dictionary.lateness_days(kpi),
        "horizon_days": dictionary.horizon_days(kpi),
        "owner": kpi.owner,
        "sources": dictionary.sources(kpi),
        "decision": kpi.decision.describe(&kpi.unit),
    })
}

/// Describes where the values of a KPI come from.
#[must_use]
pub fn of_kpi(dictionary: &Dictionary, kpi: &Kpi, state: &State) -> Value {
    let measures: Vec<_> =
        kpi.measures().into_iter().filter_map(|name| dictionary.measure(name)).collect();
    let models: BTreeSet<&str> = measures.iter().map(|measure| measure.model.as_str()).collect();
    let models = models.into_iter().filter_map(|name| dictionary.model(name)).map(|model| {
        json!({
            "name": model.name,
            "description": model.description,
            "source": model.source,
            "sql": model.sql,
        })
    });
    let sources = dictionary.sources(kpi);
    let tables: BTreeSet<Table> = sources.iter().map(|source| Table::of_schema(source)).collect();
    let mut imports: Vec<_> = state
        .imports
        .values()
        .filter(|(_, _, import)| import.files.iter().any(|file| tables.contains(&file.table)))
        .collect();
    imports.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    let newest = imports.iter().take(100).map(|(_, at, import)| {
        json!({
            "sha256": import.sha256,
            "source": import.source,
            "name": import.name,
            "imported_at": at,
            "rows": import.rows,
            "accepted": import.accepted,
            "rejected": import.rejected.values().sum::<u64>(),
        })
    });
    json!({
        "kpi": kpi.name,
        "formula": kpi.formula(),
        "measures": measures.iter().map(|measure| json!({
            "name": measure.name,
            "model": measure.model,
            "agg": measure.agg,
            "where": measure.condition,
            "expr": measure.expr,
            "event_types": measure.types,
            "lateness_days": measure.lateness_days,
            "sql": sql(dictionary, measure),
        })).collect::<Vec<_>>(),
        "models": models.collect::<Vec<_>>(),
        "sources": sources,
        "import_count": imports.len(),
        "imports": newest.collect::<Vec<_>>(),
        "undone": state.undone.iter().rev().take(100).collect::<Vec<_>>(),
        "dictionary_sha256": dictionary.sha256,
    })
}

/// Whole query of a measure, for one day.
fn sql(dictionary: &Dictionary, measure: &crate::dictionary::Measure) -> Option<String> {
    let day = jiff::civil::date(2026, 1, 1);
    query::measure(dictionary, measure, (day, day), Dialect::DataFusion).ok()
}
