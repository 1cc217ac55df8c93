//! Reading of an authoritative export.

use crate::error::KpiError;
use crate::event::Rejection;
use crate::facts::{self, Fact, Origin};
use crate::import;
use crate::input::{self, FieldValue, Row, parse_fields};
use crate::privacy::Policy;
use crate::tombstones::Tombstones;
use datafusion::arrow::array::RecordBatch;
use dnscribe_record::RegistrarEventRecord;
use jiff::civil::Date;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
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
    pub(super) value: Option<Amount>,
}

/// A number of an export.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    /// A count or sum, exactly.
    Whole(i128),
    /// A ratio or another number with a fraction.
    Other(f64),
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        match whole.parse() {
            Ok(whole) if fraction.bytes().all(|digit| digit == b'0') => Some(Self::Whole(whole)),
            _ => text.parse().ok().filter(|value| f64::is_finite(*value)).map(Self::Other),
        }
    }

    /// Returns a number of ours.
    pub(super) fn of(value: &Value) -> Option<Self> {
        let whole = value.as_i64().map(|whole| Self::Whole(whole.into()));
        whole.or_else(|| value.as_f64().map(Self::Other))
    }

    /// Returns the number of JSON; beyond 64 bits, its digits as text.
    pub(super) fn to_json(self) -> Value {
        match self {
            Self::Whole(whole) => {
                i64::try_from(whole).map_or_else(|_| json!(whole.to_string()), Value::from)
            }
            Self::Other(value) => json!(value),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "exact numbers are subtracted before")]
    pub(super) const fn to_float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Other(value) => value,
        }
    }

    /// Subtracts another number: exactly, if both are whole.
    pub(super) fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Self::Whole(one.saturating_sub(other)),
            _ => Self::Other(self.to_float() - other.to_float()),
        }
    }
}

impl Default for Amount {
    fn default() -> Self {
        Self::Whole(0)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(out),
            Self::Other(value) => value.fmt(out),
        }
    }
}

impl Export {
    pub(super) fn read(
        file: &Path,
        policy: &Policy,
        tombstones: Option<&Tombstones>,
    ) -> Result<Self, KpiError> {
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
                    Ok(Fact::Event(mut event)) => {
                        // Ours has pseudonyms as keys since it was erased.
                        if let Some(tombstones) = tombstones {
                            tombstones.replace(&mut event, &source);
                        }
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
    let fields = match row {
        Row::Json(text) => parse_fields(text).ok()?,
        Row::Csv(_, fields) => {
            let fields = fields.iter().cloned();
            fields.map(|(name, text)| (name, FieldValue::Text(text))).collect()
        }
        Row::Unreadable(..) => return None,
    };
    let get = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
    let (FieldValue::Text(day), FieldValue::Text(kpi)) = (get("day")?, get("kpi")?) else {
        return None;
    };
    let read = || {
        let is_twice = |name: &&str| fields.iter().filter(|(field, _)| field == *name).count() > 1;
        if let Some(name) = ["day", "kpi", "by", "value"].iter().find(|name| is_twice(name)) {
            return Err(format!("column {name} is there twice"));
        }
        let day = day.parse::<Date>().map_err(|_| format!("day {day}"))?;
        let (by, bare) = match get("by") {
            None => Slice::default(),
            Some(FieldValue::Text(text) | FieldValue::Nested(text)) => slice(text)?,
            Some(other) => return Err(format!("by {}", other.clone().into_text())),
        };
        let value = match get("value") {
            Some(FieldValue::Text(text)) if text.is_empty() || text == "null" => None,
            Some(FieldValue::Text(text) | FieldValue::Number(text)) => {
                Some(Amount::parse(text).ok_or_else(|| format!("value {text}"))?)
            }
            Some(other) => return Err(format!("value {}", other.clone().into_text())),
            None => None,
        };
        Ok(ValueRow { day, kpi: kpi.clone(), by, bare, value })
    };
    Some(read())
}

/// A slice, and one without the name of its dimension.
type Slice = (BTreeMap<String, Option<String>>, Option<String>);

fn slice(text: &str) -> Result<Slice, String> {
    let mut slice = BTreeMap::new();
    if text.starts_with('{') {
        let fields = parse_fields(text).map_err(|error| format!("by: {error}"))?;
        let value = |value: FieldValue| Some(value.into_text()).filter(|text| !text.is_empty());
        slice.extend(fields.into_iter().map(|(name, text)| (name, value(text))));
    } else if !text.is_empty() && !text.contains(['=', ':']) {
        return Ok((slice, Some(text.to_owned())));
    } else {
        for pair in text.split([',', ';']).filter(|pair| !pair.trim().is_empty()) {
            let parts = pair.split_once(['=', ':']).ok_or_else(|| format!("by {text}"))?;
            let value = (!parts.1.trim().is_empty()).then(|| parts.1.trim().to_owned());
            if slice.insert(parts.0.trim().to_owned(), value).is_some() {
                return Err(format!("by {text}: {} is there twice", parts.0.trim()));
            }
        }
    }
    Ok((slice, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_slices() {
        let by = |text: &str| slice(text).unwrap();
        assert_eq!(by("").0.len(), 0);
        assert_eq!(by("tld=com,country=DE").0["country"].as_deref(), Some("DE"));
        assert_eq!(by("{\"tld\":\"com\"}").0["tld"].as_deref(), Some("com"));
        assert_eq!(by("{\"tld\":null}").0["tld"], None);
        assert_eq!(by("EUR").1.as_deref(), Some("EUR"));
        assert!(slice("tld=com,tld=de").is_err());
    }

    #[test]
    fn reads_numbers_as_they_are_written() {
        let text = |value: &str| {
            let row =
                format!(r#"{{"day":"2026-03-01","kpi":"k","by":{{"tld":"com"}},"value":{value}}}"#);
            let row = value_row(&Row::Json(row)).unwrap()?;
            assert_eq!(row.by["tld"].as_deref(), Some("com"));
            Ok(row.value.map(|value| value.to_string()))
        };
        let read = |value: &str| text(value).map(Option::unwrap_or_default);
        for (value, expected) in [
            ("99999999999999994", "99999999999999994"),
            ("\"99999999999999995.00\"", "99999999999999995"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("0.5", "0.5"),
            ("-0.5", "-0.5"),
            ("null", ""),
            ("\"\"", ""),
        ] {
            assert_eq!(read(value).as_deref(), Ok(expected), "{value}");
        }
        for wrong in ["\"x\"", "true", "[1]", "1e999"] {
            assert_eq!(read(wrong), Err(format!("value {}", wrong.trim_matches('"'))), "{wrong}");
        }
        let fields = [("day", "2026-03-01"), ("kpi", "k"), ("value", "1"), ("value", "2")];
        let fields = fields.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let twice = value_row(&Row::Csv(String::new(), fields.to_vec())).unwrap();
        assert_eq!(twice, Err("column value is there twice".to_owned()));
    }

    #[test]
    fn erased_events_have_the_keys_of_ours() {
        use crate::rows::{Columns, text};
        use crate::tombstones::Trace;
        let file = tempfile::NamedTempFile::new().unwrap();
        let rows =
            "event_type,business_key,event_ts\nexpired,order-bruno.de-1,2026-03-01T10:00:00Z\n";
        std::fs::write(file.path(), rows).unwrap();
        let mut tombstones = Tombstones::new().unwrap();
        tombstones.add(Trace::Key, ["order-bruno.de-1", ""]);
        let key = |tombstones: Option<&Tombstones>| {
            let export = Export::read(file.path(), &Policy::default(), tombstones).unwrap();
            let columns = Columns(&export.batches[0]);
            text(&columns.texts("business_key").unwrap(), 0).unwrap().to_owned()
        };
        assert_eq!(key(None), "order-bruno.de-1");
        assert_eq!(key(Some(&tombstones)), tombstones.pseudonym("order-bruno.de-1"));
    }
}
