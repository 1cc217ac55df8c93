//! The dictionary for other tools: YAML of the dbt Semantic Layer and of Apache Ossie, SQL for `ClickHouse`, and rules for
//! Prometheus.

mod ossie;

pub use ossie::ossie;

use crate::answer::Decision;
use crate::attributes::Kind;
use crate::definition::Window;
use crate::dictionary::{
    Aggregation, DIMENSIONS, Dictionary, FAMILIES, Kpi, KpiType, Measure, Model,
};
use crate::error::KpiError;
use crate::facts;
use crate::query::{self, Bucket, Dialect};
use crate::reference;
use crate::store::{State, Store, Table};
use datafusion::arrow::datatypes::DataType;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Writes the dictionary as documents of `dbt-semantic-interfaces`: one semantic model for each model, one metric
/// for each KPI and for each part of a formula that needs a name there.
#[must_use]
pub fn dbt(dictionary: &Dictionary) -> String {
    let mut documents = vec![json!({ "project_configuration": {
        "time_spines": [{
            "node_relation": { "schema_name": "kpi", "alias": "time_spine" },
            "primary_column": { "name": TIME_DIMENSION, "time_granularity": "day" },
        }],
    } })];
    for model in &dictionary.models {
        documents.push(semantic_model(dictionary, model));
    }
    for kpi in &dictionary.kpis {
        documents
            .extend(metrics(dictionary, kpi).into_iter().map(|metric| json!({ "metric": metric })));
    }
    let mut page = String::new();
    for document in documents {
        page.push_str("---\n");
        // YAML 1.2 contains JSON; blocks are for people.
        add_yaml(&mut page, &document, 0);
    }
    page
}

/// Name of the day there: `day` is a reserved word.
const TIME_DIMENSION: &str = "metric_date";

fn semantic_model(dictionary: &Dictionary, model: &Model) -> Value {
    let measures = dictionary.measures.iter().filter(|measure| measure.model == model.name);
    let mut list: Vec<Value> = Vec::new();
    for measure in measures {
        if measure.agg == Aggregation::Samples {
            let percentiles =
                dictionary.kpis.iter().filter(|kpi| kpi.samples.as_deref() == Some(&measure.name));
            for kpi in percentiles {
                list.push(json!({
                    "name": format!("{}_samples", kpi.name), "agg": "percentile", "expr": expression(measure, "NULL"),
                    "agg_params": { "percentile": kpi.percentile, "use_discrete_percentile": false },
                }));
            }
        } else {
            list.push(
                json!({ "name": measure.name, "agg": "sum", "expr": expression(measure, "0") }),
            );
        }
    }
    for kpi in dictionary.kpis.iter().filter(|kpi| kpi.kind == KpiType::Cumulative) {
        let sums = [summed(dictionary, kpi, Summed::Change), summed(dictionary, kpi, Summed::Base)];
        for sum in sums.iter().flatten().filter(|sum| sum.model == model.name) {
            list.push(json!({ "name": sum.name, "agg": "sum", "expr": sum.expression }));
        }
    }
    let mut dimensions = vec![
        json!({ "name": TIME_DIMENSION, "type": "time", "expr": "day", "type_params": { "time_granularity": "day" } }),
    ];
    let names = model.dimensions.iter().filter(|name| DIMENSIONS.contains(&name.as_str()));
    dimensions.extend(names.map(|name| json!({ "name": name, "type": "categorical" })));
    json!({ "semantic_model": {
        "name": model.name,
        "description": model.description,
        "node_relation": { "schema_name": "kpi", "alias": model.name },
        "defaults": { "agg_time_dimension": TIME_DIMENSION },
        "primary_entity": model.name,
        "config": { "meta": { "sql": model.sql.trim() } },
        "dimensions": dimensions,
        "measures": list,
    } })
}

/// What a running total adds up of one model: a measure there has one.
struct ModelSum<'a> {
    model: &'a str,
    name: String,
    expression: String,
}

/// Which sums of a KPI are meant.
#[derive(Clone, Copy)]
enum Summed {
    /// What is added and subtracted.
    Change,
    /// What it is divided by.
    Base,
}

/// Sums that a running total adds up, by model.
fn summed<'a>(dictionary: &'a Dictionary, kpi: &Kpi, which: Summed) -> Vec<ModelSum<'a>> {
    let (suffix, plus, minus) = match which {
        Summed::Change => ("change", &*kpi.plus, &*kpi.minus),
        Summed::Base => ("base", &*kpi.over, &[][..]),
    };
    let signed = plus.iter().map(|name| ("+", name));
    let signed = signed.chain(minus.iter().map(|name| ("-", name)));
    let mut sums: BTreeMap<&str, String> = BTreeMap::new();
    for (sign, measure) in signed.filter_map(|(sign, name)| Some((sign, dictionary.measure(name)?)))
    {
        let sum = sums.entry(&measure.model).or_insert_with(|| "0".to_owned());
        // Writing to a string cannot fail.
        let _ = write!(sum, " {sign} {}", expression(measure, "0"));
    }
    let is_one = sums.len() == 1;
    let named = sums.into_iter().map(|(model, expression)| {
        let of = if is_one { String::new() } else { format!("_{model}") };
        ModelSum { model, name: format!("{}{of}_{suffix}", kpi.name), expression }
    });
    named.collect()
}

/// Metrics of a running total, the last with its name: one for each model, and their sum if they are several.
fn total(dictionary: &Dictionary, kpi: &Kpi, name: &str, which: Summed) -> Vec<Value> {
    let running = |name: &str, measure: &str| {
        let params =
            json!({ "measure": { "name": measure }, "cumulative_type_params": window(kpi.window) });
        json!({ "name": name, "type": "cumulative", "type_params": params })
    };
    let sums = summed(dictionary, kpi, which);
    if let [only] = &*sums {
        return vec![running(name, &only.name)];
    }
    let parts: Vec<String> = sums.iter().map(|sum| format!("{name}_{}", sum.model)).collect();
    let mut metrics: Vec<Value> =
        parts.iter().zip(&sums).map(|(part, sum)| running(part, &sum.name)).collect();
    let inputs: Vec<Value> = parts.iter().map(|part| json!({ "name": part })).collect();
    metrics.push(json!({ "name": name, "type": "derived",
        "type_params": { "expr": parts.join(" + "), "metrics": inputs } }));
    metrics
}

/// Expression of a measure without condition.
fn expression(measure: &Measure, otherwise: &str) -> String {
    let value = measure.expr.as_deref().unwrap_or("1");
    match &measure.condition {
        Some(condition) => {
            format!("CASE WHEN {} THEN {value} ELSE {otherwise} END", condition.trim())
        }
        None => value.to_owned(),
    }
}

/// Metrics of a KPI: parts of its formula first, itself last.
fn metrics(dictionary: &Dictionary, kpi: &Kpi) -> Vec<Value> {
    let base = |name: &str, kind: &str, params: Value| json!({ "name": name, "label": name, "description": kpi.description, "type": kind, "type_params": params });
    let mut parts = Vec::new();
    let mut part = |suffix: &str, plus: &[String], minus: &[String]| -> String {
        let name = format!("{}_{suffix}", kpi.name);
        parts.extend(sum(&name, plus, minus));
        name
    };
    let own = match kpi.kind {
        KpiType::Ratio | KpiType::Conversion => {
            let (above, below) =
                (part("numerator", &kpi.plus, &kpi.minus), part("denominator", &kpi.over, &[]));
            vec![base(
                &kpi.name,
                "ratio",
                json!({ "numerator": { "name": above }, "denominator": { "name": below } }),
            )]
        }
        KpiType::Percentile => {
            vec![base(
                &kpi.name,
                "simple",
                json!({ "measure": { "name": format!("{}_samples", kpi.name) } }),
            )]
        }
        KpiType::Cumulative => {
            if kpi.over.is_empty() {
                total(dictionary, kpi, &kpi.name, Summed::Change)
            } else {
                let (above, below) =
                    (format!("{}_numerator", kpi.name), format!("{}_denominator", kpi.name));
                let params =
                    json!({ "numerator": { "name": above }, "denominator": { "name": below } });
                let above = total(dictionary, kpi, &above, Summed::Change);
                let below = total(dictionary, kpi, &below, Summed::Base);
                [above, below, vec![base(&kpi.name, "ratio", params)]].concat()
            }
        }
        KpiType::Simple | KpiType::Derived => sum(&kpi.name, &kpi.plus, &kpi.minus),
    };
    parts.extend(own);
    for metric in &mut parts {
        metric["description"] = json!(match &*kpi.always_by {
            [] => kpi.description.clone(),
            by => format!(
                "{} Always group by {}: a sum over them has no meaning.",
                kpi.description,
                by.join(" and ")
            ),
        });
        let is_own = metric["name"] == kpi.name.as_str();
        metric["label"] = if is_own { json!(kpi.label) } else { metric["name"].clone() };
        metric["config"] = json!({ "meta": { "owner": kpi.owner, "unit": kpi.unit, "family": kpi.family,
            "cadence": kpi.cadence, "lateness_days": dictionary.lateness_days(kpi), "always_by": kpi.always_by,
            "decision": Decision::of(kpi) } });
    }
    parts
}

/// Days that a running total adds up. At a coarser grain it is that of the last day; without `period_agg` that of the first.
fn window(window: Option<Window>) -> Value {
    let mut params = match window {
        None => json!({}),
        Some(Window::Days(days)) => json!({ "window": format!("{days} days") }),
        Some(Window::Month) => json!({ "grain_to_date": "month" }),
        Some(Window::Quarter) => json!({ "grain_to_date": "quarter" }),
        Some(Window::Year) => json!({ "grain_to_date": "year" }),
    };
    params["period_agg"] = json!("last");
    params
}

/// Metrics of a sum of measures; the last one has the name.
fn sum(name: &str, plus: &[String], minus: &[String]) -> Vec<Value> {
    let simple = |name: &str, measure: &str| json!({ "name": name, "type": "simple", "type_params": { "measure": { "name": measure } } });
    if let ([only], []) = (plus, minus) {
        return vec![simple(name, only)];
    }
    let mut metrics = Vec::new();
    let (mut inputs, mut formula) = (Vec::new(), String::new());
    for (sign, measure) in
        plus.iter().map(|one| ("+", one)).chain(minus.iter().map(|one| ("-", one)))
    {
        let part = format!("{name}_{measure}");
        metrics.push(simple(&part, measure));
        inputs.push(json!({ "name": part }));
        let _ = write!(
            formula,
            "{}{part}",
            if formula.is_empty() { String::new() } else { format!(" {sign} ") }
        );
    }
    metrics.push(json!({ "name": name, "type": "derived",
        "type_params": { "expr": formula, "metrics": inputs } }));
    metrics
}

/// Writes a value as a block of YAML.
fn add_yaml(page: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_block = matches!(value, Value::Object(_) | Value::Array(_));
                let _ = write!(page, "{pad}{name}:");
                if is_block {
                    page.push('\n');
                    add_yaml(page, value, indent + 2);
                } else {
                    let _ = writeln!(page, " {value}");
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                let mut block = String::new();
                add_yaml(&mut block, item, indent + 2);
                let _ = writeln!(page, "{pad}- {}", block.trim_start().trim_end());
            }
        }
        scalar => {
            let _ = writeln!(page, "{pad}{scalar}");
        }
    }
}

/// Writes the decision rules as alerting rules for Prometheus, which reads them from `/metrics`.
#[must_use]
pub fn prometheus(dictionary: &Dictionary) -> String {
    let groups = FAMILIES.into_iter().filter_map(|family| {
        let kpis = dictionary.kpis.iter().filter(|kpi| kpi.family == family);
        let rules: Vec<Value> = kpis.filter_map(alert).collect();
        (!rules.is_empty())
            .then(|| json!({ "name": format!("dnscribe-kpi-{family}"), "rules": rules }))
    });
    let mut page = "# Decision rules of the KPIs, by `dnscribe-kpi export --format prometheus`: do not edit. Leave this file out where there are none.\n".to_owned();
    add_yaml(&mut page, &json!({ "groups": groups.collect::<Vec<_>>() }), 0);
    page
}

/// A text as Prometheus shows it: in labels and annotations of rules, double braces begin a template.
fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// The alerting rule of a KPI that has a rule.
fn alert(kpi: &Kpi) -> Option<Value> {
    let rule = kpi.decision.when.as_ref()?;
    let name: String = kpi.name.split('_').map(reference::capital).collect();
    let page = kpi.decision.runbook.split('#').next().unwrap_or_default();
    let address = match page.strip_prefix("docs/") {
        Some(page) => format!("{}{page}", dnscribe_record::RUNBOOKS.trim_end_matches("runbooks")),
        None => kpi.decision.runbook.clone(),
    };
    let name = format!("DnscribeKpi{name}");
    let summary = format!(
        "{}{{{{ with $labels.slice }}}} ({{{{ . }}}}){{{{ end }}}} is {}.",
        literal(&kpi.label),
        literal(&rule.in_words(&kpi.unit))
    );
    Some(json!({
        "alert": name,
        "expr": format!("dnscribe_kpi_rule_fires{{kpi=\"{}\"}} == 1", kpi.name),
        "labels": { "severity": "warning", "cause": "kpi", "owner": literal(&kpi.owner) },
        "annotations": {
            "summary": summary,
            "description": literal(&kpi.decision.action),
            "runbook_url": literal(&address),
            "dashboard": if kpi.family == "pipeline" { "dnscribe-pipeline".to_owned() } else { format!("dnscribe-kpi-{}", kpi.family) },
        },
    }))
}

/// Makes `ClickHouse` treat nulls and names as standard SQL does.
const SETTINGS: &str = "SET join_use_nulls = 1;\nSET transform_null_in = 0;\n\
    SET prefer_column_name_to_alias = 1;\n";

/// Writes SQL for `ClickHouse` that computes the values of all measures from the store's files, with the columns of
/// a file of values: what the embedded engine writes, to the unit. `correction_chain` is the length of the longest chain of
/// corrections of corrections, and `kinds` are the dimension tables that have rows.
///
/// # Errors
/// The store has no facts, or no files that the engine can name.
pub fn clickhouse(
    dictionary: &Dictionary,
    store: &Store,
    state: &State,
    (from, to): (Option<Date>, Option<Date>),
    correction_chain: usize,
    kinds: &[Kind],
) -> Result<String, KpiError> {
    let empty = || KpiError::Usage("the store has no facts".to_owned());
    let (first, last) = state.span().ok_or_else(empty)?;
    let days = (from.unwrap_or(first), to.unwrap_or(last));
    if days.0 > days.1 {
        return Err(KpiError::Usage(format!("from {} is after to {}", days.0, days.1)));
    }
    let mut sql = SETTINGS.to_owned();
    for table in Table::ALL {
        let name = format!("{}_raw", table.name());
        let columns: Vec<String> = facts::schema(table)
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), clickhouse_type(field.data_type())))
            .collect();
        let _ = writeln!(
            sql,
            "CREATE TEMPORARY TABLE {name} ({}) ENGINE = Memory;",
            columns.join(", ")
        );
        for file in state.files(table) {
            let path = store.url.join(store.location(&file.path).as_ref());
            let path = path.map_err(|error| KpiError::store(&file.path, &error))?;
            // Files that an older version has written lack what is newer: what the structure has is null there.
            let structure = columns.join(", ");
            let source = match path.to_file_path() {
                Ok(path) => format!("file('{}', Parquet, '{structure}')", path.display()),
                Err(()) => format!("s3('{path}', 'Parquet', '{structure}')"),
            };
            let names: Vec<String> =
                facts::schema(table).fields().iter().map(|field| field.name().clone()).collect();
            let names = names.join(", ");
            let _ = writeln!(sql, "INSERT INTO {name} ({names}) SELECT {names} FROM {source};");
        }
    }
    for kind in kinds {
        let (name, query) = (kind.name(), query::attributes(*kind));
        let _ =
            writeln!(sql, "CREATE TEMPORARY TABLE attributes_{name} ENGINE = Memory AS {query};");
    }
    let repeated = |hash| query::repeated(hash, "events_raw", Bucket::ALL);
    let business = repeated("business_hash");
    for (name, query) in [
        ("technical", query::technical_duplicates("events_raw", &repeated("technical_hash"))),
        ("business", query::business_duplicates("events_raw", "technical", &business)),
        (
            "duplicates",
            "SELECT row_id FROM technical UNION ALL SELECT row_id FROM business".to_owned(),
        ),
        ("corrections", query::corrections("events_raw", "duplicates")),
        ("events_unique", query::unique_events("events_raw", "duplicates")),
        (
            "correction_targets",
            query::correction_targets("events_raw", "technical", "events_unique", "corrections"),
        ),
        ("corrected", query::corrected("correction_targets", correction_chain)),
        ("events_net", query::net_events("events_unique", "corrected")),
        ("events", query::enriched("events_net", kinds, Dialect::ClickHouse)),
        ("dns", query::dns_windows("dns_raw")),
        ("probes", query::probe_results("probes_raw")),
        ("alerts", query::alerts("alerts_raw")),
    ] {
        let _ = writeln!(sql, "CREATE TEMPORARY TABLE {name} ENGINE = Memory AS {query};");
    }
    let queries = dictionary
        .measures
        .iter()
        .map(|measure| query::measure(dictionary, measure, days, Dialect::ClickHouse))
        .collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<String> = ["day", "measure", "slot"]
        .into_iter()
        .chain(DIMENSIONS)
        .map(str::to_owned)
        .chain(["toInt64(value) AS value".to_owned(), "sample".to_owned()])
        .collect();
    for query in queries {
        let _ = writeln!(sql, "SELECT {} FROM ({query}) AS rows_of_measure;", columns.join(", "));
    }
    Ok(sql)
}

fn clickhouse_type(kind: &DataType) -> &'static str {
    match kind {
        DataType::Int64 => "Nullable(Int64)",
        DataType::Float64 => "Nullable(Float64)",
        DataType::Boolean => "Nullable(Bool)",
        DataType::Date32 => "Nullable(Date32)",
        _ => "Nullable(String)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../grafana/prometheus/rules/kpi.yaml");

    #[test]
    fn totals_are_exported_with_what_they_add_up() {
        let page = dbt(&Dictionary::load(None).unwrap());
        let metric = |name: &str| {
            let named = |text: &&str| text.contains(&format!("  name: \"{name}\"\n"));
            page.split("---\n")
                .filter(|text| text.starts_with("metric:"))
                .find(named)
                .unwrap()
                .to_owned()
        };
        assert!(metric("registrations_28d").contains("window: \"28 days\""));
        for total in ["portfolio", "registrations_28d", "revenue_month_to_date"] {
            assert!(metric(total).contains("period_agg: \"last\""), "of the last day: {total}");
        }
        assert!(metric("revenue_month_to_date").contains("grain_to_date: \"month\""));
        assert!(metric("revenue").contains("Always group by currency"));
        let value = metric("cohort_lifetime_value");
        assert!(value.contains("type: \"ratio\"") && value.contains("_denominator"), "{value}");
        // Revenue of the cohort, without the number of domains that it is divided by.
        let change = page.split("cohort_lifetime_value_change").nth(1).unwrap();
        let change = change.split("expr: ").nth(1).unwrap().lines().next().unwrap();
        assert!(change.contains("payment_refunded") && !change.contains("place = 1"), "{change}");
    }

    #[test]
    fn totals_of_several_models_are_sums_of_totals() {
        let text = crate::dictionary::BUILT_IN;
        let other = text.replacen(
            "plus: [\"kpi:portfolio_growth\"]",
            "plus: [registration_completed, carts]",
            1,
        );
        assert_ne!(other, text);
        let page = dbt(&Dictionary::parse(&other, "test").unwrap());
        let names = ["portfolio_event_change", "portfolio_cart_change"];
        for name in names {
            // Where it is measured, and where it is added up.
            assert_eq!(page.matches(&format!("name: \"{name}\"")).count(), 2, "{name}");
        }
        assert!(page.contains("expr: \"portfolio_cart + portfolio_event\""), "{page}");
        assert!(!page.contains("\"portfolio_change\""), "{page}");
    }

    #[test]
    fn braces_of_texts_are_no_templates() {
        let text = crate::dictionary::BUILT_IN;
        let other =
            text.replacen("action: Call the payment provider.", "action: Call {{ $labels.x }}.", 1);
        assert_ne!(other, text);
        let rules = prometheus(&Dictionary::parse(&other, "test").unwrap());
        let escaped = json!("Call {{ \"{{\" }} $labels.x }}.").to_string();
        assert!(rules.contains(&escaped), "{escaped}");
    }

    #[test]
    fn golden_rules_are_current() {
        let dictionary = Dictionary::load(None).unwrap();
        let rules = prometheus(&dictionary);
        let with_rule = dictionary.kpis.iter().filter(|kpi| kpi.decision.when.is_some()).count();
        assert_eq!(rules.matches("alert: ").count(), with_rule);
        if std::env::var_os("DNSCRIBE_BLESS").is_some() {
            std::fs::write(RULES, &rules).unwrap();
        }
        let stored = std::fs::read_to_string(RULES).unwrap();
        assert!(
            stored == rules,
            "rules/kpi.yaml is stale: rewrite it with `cargo xtask bless --kpi`"
        );
    }
}
