//! The dictionary as a semantic model of Apache Ossie (core metadata specification 0.2.0.dev0).

use super::expression;
use crate::answer::Decision;
use crate::definition::Window;
use crate::dictionary::{Aggregation, DIMENSIONS, Dictionary, Kpi, KpiType, Model};
use serde_json::{Value, json};

/// Version of the specification, which is a draft.
const VERSION: &str = "0.2.0.dev0";

/// Writes the dictionary: a dataset for each model, whose source is its query, with a field for each dimension and measure, and
/// a metric for each KPI. A total that runs is exported as its change, since the specification has no such metrics.
#[must_use]
pub fn ossie(dictionary: &Dictionary) -> String {
    let document = json!({
        "version": VERSION,
        "name": "dnscribe_kpi",
        "description": "KPIs of a registrar. Datasets are queries over its net events and the records of the DNS fleet.",
        "datasets": dictionary.models.iter().map(|model| dataset(dictionary, model)).collect::<Vec<_>>(),
        "metrics": dictionary.kpis.iter().map(|kpi| metric(dictionary, kpi)).collect::<Vec<_>>(),
    });
    let mut page = String::new();
    super::add_yaml(&mut page, &document, 0);
    page
}

fn dataset(dictionary: &Dictionary, model: &Model) -> Value {
    let day = json!({ "name": "day", "expression": ansi("day"), "datatype": "Date", "dimension": { "is_time": true } });
    let names = model.dimensions.iter().filter(|name| DIMENSIONS.contains(&name.as_str()));
    let dimensions = names.map(|name| {
        json!({ "name": name, "expression": ansi(name), "datatype": "String", "dimension": { "is_time": false } })
    });
    let measures = dictionary.measures.iter().filter(|measure| measure.model == model.name);
    let measures = measures.map(|measure| {
        let otherwise = if measure.agg == Aggregation::Samples { "NULL" } else { "0" };
        json!({ "name": measure.name, "expression": ansi(&expression(measure, otherwise)) })
    });
    let fields: Vec<Value> = std::iter::once(day).chain(dimensions).chain(measures).collect();
    json!({
        "name": model.name,
        "source": format!("({})", model.sql.trim()),
        "description": model.description,
        "fields": fields,
    })
}

fn metric(dictionary: &Dictionary, kpi: &Kpi) -> Value {
    let field = |measure: &str| {
        let model = dictionary.measure(measure).map_or("", |measure| &measure.model);
        format!("{model}.{measure}")
    };
    let sums = |names: &[String], sign: &str| {
        names
            .iter()
            .map(|name| [" ", sign, " SUM(", &field(name), ")"].concat())
            .collect::<String>()
    };
    let sum = |plus: &[String], minus: &[String]| {
        let sum = sums(plus, "+") + &sums(minus, "-");
        sum.strip_prefix(" + ").map_or_else(|| format!("0{sum}"), str::to_owned)
    };
    let (name, expression) = match (kpi.kind, &kpi.samples, kpi.percentile) {
        (KpiType::Percentile, Some(samples), Some(percentile)) => {
            let samples = field(samples);
            let text = format!("PERCENTILE_CONT({percentile}) WITHIN GROUP (ORDER BY {samples})");
            (kpi.name.clone(), text)
        }
        (KpiType::Cumulative, ..) => (format!("{}_change", kpi.name), sum(&kpi.plus, &kpi.minus)),
        _ if kpi.over.is_empty() => (kpi.name.clone(), sum(&kpi.plus, &kpi.minus)),
        _ => {
            let (above, below) = (sum(&kpi.plus, &kpi.minus), sum(&kpi.over, &[]));
            (kpi.name.clone(), format!("CAST({above} AS DOUBLE PRECISION) / NULLIF({below}, 0)"))
        }
    };
    let mut instructions = Vec::new();
    if kpi.kind == KpiType::Cumulative {
        let span = match kpi.window {
            None => "since the first day".to_owned(),
            Some(Window::Days(days)) => format!("of the last {days} days"),
            Some(Window::Month) => "since the beginning of the month".to_owned(),
            Some(Window::Quarter) => "since the beginning of the quarter".to_owned(),
            Some(Window::Year) => "since the beginning of the year".to_owned(),
        };
        let below = match &*kpi.over {
            [] => String::new(),
            over => format!(", divided by the same total of {}", sum(over, &[])),
        };
        instructions.push(format!("{} is the sum of this {span}{below}.", kpi.name));
    }
    if !kpi.always_by.is_empty() {
        let by = kpi.always_by.join(" and ");
        instructions.push(format!("Always group by {by}: a sum over them has no meaning."));
    }
    let more = json!({ "owner": kpi.owner, "unit": kpi.unit, "family": kpi.family, "cadence": kpi.cadence,
        "lateness_days": dictionary.lateness_days(kpi), "always_by": kpi.always_by,
        "decision": Decision::of(kpi) });
    let mut context = json!({ "synonyms": [kpi.label] });
    if !instructions.is_empty() {
        context["instructions"] = json!(instructions.join(" "));
    }
    json!({
        "name": name,
        "description": kpi.description,
        "expression": ansi(&expression),
        "ai_context": context,
        "custom_extensions": [{ "vendor_name": "DNSCRIBE", "data": more.to_string() }],
    })
}

fn ansi(expression: &str) -> Value {
    json!({ "dialects": [{ "dialect": "ANSI_SQL", "expression": expression }] })
}
