//! Reading of an authoritative export.

use crate::error::KpiError;
use crate::event::Rejection;
use crate::facts::{self, Fact, Origin};
use crate::import;
use crate::input::{self, Row};
use crate::privacy::Policy;
use datafusion::arrow::array::RecordBatch;
use dnscribe_record::RegistrarEventRecord;
use jiff::civil::Date;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Rows of a batch in memory.
const BATCH_ROWS: usize = 1 << 17;

/// An authoritative export, read.
#[derive(Debug, Default)]
pub(super) struct Export {
    pub(super) batches: Vec<RecordBatch>,
    /// Rows of the form `day,kpi,by,value`.
    pub(super) values: Option<Vec<ValueRow>>,
    pub(super) unreadable: BTreeMap<String, u64>,
}

/// A row of the form `day,kpi,by,value`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ValueRow {
    pub(super) day: Date,
    pub(super) kpi: String,
    pub(super) by: BTreeMap<String, Option<String>>,
    /// A slice without the name of its dimension.
    pub(super) bare: Option<String>,
    pub(super) value: Option<f64>,
}

impl Export {
    pub(super) fn read(file: &Path, policy: &Policy) -> Result<Self, KpiError> {
        let mut export = Self::default();
        let mut events: Vec<(Origin, Box<RegistrarEventRecord>)> = Vec::new();
        let sha256: Arc<str> = input::digest(file)?.sha256.into();
        let source: Arc<str> = "authority".into();
        input::read_rows(file, input::detect(file)?, |line, row| {
            let row = input::with_event_id(row);
            match value_row(&row) {
                Some(Ok(values)) => export.values.get_or_insert_default().push(values),
                Some(Err(reason)) => export.refuse(&reason),
                None => match import::parse(&row).and_then(|fact| protected(fact, policy)) {
                    Ok(Fact::Event(event)) => {
                        let origin = Origin {
                            line,
                            source: Arc::clone(&source),
                            sha256: Arc::clone(&sha256),
                            imported_us: 0,
                        };
                        events.push((origin, event));
                    }
                    Ok(_) => export.refuse("not an event"),
                    Err(rejection) => {
                        export.refuse(&format!("{}: {}", rejection.reason, rejection.detail));
                    }
                },
            }
            if events.len() >= BATCH_ROWS {
                export.batches.push(facts::events(&std::mem::take(&mut events))?);
            }
            Ok(())
        })?;
        if !events.is_empty() {
            export.batches.push(facts::events(&events)?);
        }
        if export.values.is_none() && export.batches.is_empty() && export.unreadable.is_empty() {
            let problem =
                "the export has no rows, so it agrees with nothing: give the complete export";
            return Err(KpiError::Usage(problem.to_owned()));
        }
        if export.values.is_some() && !export.batches.is_empty() {
            return Err(KpiError::Usage("the export mixes events and values".to_owned()));
        }
        Ok(export)
    }

    fn refuse(&mut self, reason: &str) {
        *self.unreadable.entry(reason.to_owned()).or_default() += 1;
    }
}

/// Gives an event the keys that ours has by the policy.
fn protected(fact: Fact, policy: &Policy) -> Result<Fact, Rejection> {
    let Fact::Event(mut event) = fact else { return Ok(fact) };
    policy.apply_to_keys(&mut event)?;
    Ok(Fact::Event(event))
}

/// Reads a row of the form `day,kpi,by,value`; none if it has another form.
fn value_row(row: &Row) -> Option<Result<ValueRow, String>> {
    let fields: BTreeMap<String, Value> = match row {
        Row::Json(text) => serde_json::from_str(text).ok()?,
        Row::Csv(_, fields) => {
            fields.iter().map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect()
        }
        Row::Unreadable(..) => return None,
    };
    let (day, kpi) = (fields.get("day")?.as_str()?, fields.get("kpi")?.as_str()?);
    let read = || {
        let day = day.parse::<Date>().map_err(|_| format!("day {day}"))?;
        let (by, bare) = slice(fields.get("by").unwrap_or(&Value::Null))?;
        let value = match fields.get("value").unwrap_or(&Value::Null) {
            Value::Null => None,
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.is_empty() || text == "null" => None,
            Value::String(text) => {
                let value = text.parse().ok().filter(|value| f64::is_finite(*value));
                Some(value.ok_or_else(|| format!("value {text}"))?)
            }
            other => return Err(format!("value {other}")),
        };
        Ok(ValueRow { day, kpi: kpi.to_owned(), by, bare, value })
    };
    Some(read())
}

/// A slice, and one without the name of its dimension.
type Slice = (BTreeMap<String, Option<String>>, Option<String>);

fn slice(by: &Value) -> Result<Slice, String> {
    let mut slice = BTreeMap::new();
    let named = |object: &Map<String, Value>| {
        let texts = object.iter().map(|(name, value)| match value {
            Value::String(text) => (name.clone(), Some(text.clone())),
            Value::Null => (name.clone(), None),
            other => (name.clone(), Some(other.to_string())),
        });
        texts.collect::<BTreeMap<_, _>>()
    };
    match by {
        Value::Null => {}
        Value::Object(object) => slice = named(object),
        Value::String(text) if text.starts_with('{') => {
            let object = serde_json::from_str(text).map_err(|error| format!("by: {error}"))?;
            slice = named(&object);
        }
        Value::String(text) if !text.is_empty() && !text.contains(['=', ':']) => {
            return Ok((slice, Some(text.clone())));
        }
        Value::String(text) => {
            for pair in text.split([',', ';']).filter(|pair| !pair.trim().is_empty()) {
                let parts = pair.split_once(['=', ':']).ok_or_else(|| format!("by {text}"))?;
                let value = (!parts.1.trim().is_empty()).then(|| parts.1.trim().to_owned());
                slice.insert(parts.0.trim().to_owned(), value);
            }
        }
        other => return Err(format!("by {other}")),
    }
    Ok((slice, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_slices() {
        let by = |value: Value| slice(&value).unwrap();
        assert_eq!(by(json!("")).0.len(), 0);
        assert_eq!(by(json!("tld=com,country=DE")).0["country"].as_deref(), Some("DE"));
        assert_eq!(by(json!("{\"tld\":\"com\"}")).0["tld"].as_deref(), Some("com"));
        assert_eq!(by(json!({"tld": null})).0["tld"], None);
        assert_eq!(by(json!("EUR")).1.as_deref(), Some("EUR"));
    }
}
