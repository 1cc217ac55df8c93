//! The page of `serve`, and the report: the same page with its data in it.

use crate::dictionary::Dictionary;
use crate::error::KpiError;
use crate::lineage::describe;
use crate::metrics::newest_verdicts;
use crate::values::{Grain, Question, UTC, Values};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The page, which reads its data from the metrics API.
pub const PAGE: &str = include_str!("page.html");

/// What the page may do: nothing but its own script and style, and requests to its own server.
pub const CONTENT_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Days that the report shows.
const DAYS: i32 = 91;

/// Writes the report as one HTML file without references to others.
///
/// # Errors
/// The data cannot be written as JSON.
pub fn html(dictionary: &Dictionary, values: &Values) -> Result<String, KpiError> {
    let (first, last) = values.span().unwrap_or_default();
    let from = crate::rows::date(crate::facts::epoch_day(last) - DAYS + 1).max(first);
    let mut kpis = Vec::new();
    for kpi in &dictionary.kpis {
        let question = Question {
            from: Some(from),
            to: Some(last),
            grain: Grain::Day,
            time_zone: UTC.to_owned(),
            by: Vec::new(),
            filter: BTreeMap::new(),
        };
        let verdicts = newest_verdicts(dictionary, values, kpi);
        let mut described = json!(describe(dictionary, kpi, &verdicts));
        described["values"] = json!(values.answer(dictionary, kpi, &question));
        kpis.push(described);
    }
    let data: Value = json!({ "as_of": values.as_of, "newest": values.newest.iter()
        .map(|(table, at)| (table.name(), at.to_string())).collect::<BTreeMap<_, _>>(), "kpis": kpis });
    let text = serde_json::to_string(&data).map_err(|error| KpiError::Failed(error.to_string()))?;
    // So that no text of the data ends the element.
    let text = text.replace('<', "\\u003c");
    Ok(PAGE.replacen(
        "<!--data-->",
        &format!("<script type=\"application/json\" id=\"data\">{text}</script>"),
        1,
    ))
}
