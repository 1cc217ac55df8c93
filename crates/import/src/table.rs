//! Rows of named fields: CSV with a header, JSON objects by line, or a YAML list of mappings.

use super::Refusal;
use serde_json::{Map, Value};

/// A row of a file.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Line in the file, from 1.
    pub line: usize,
    /// Values by field. A value is a text or a list of texts.
    fields: Map<String, Value>,
}

impl Row {
    /// Takes the text of the first of these fields that has one.
    pub fn take(&mut self, names: &[&str]) -> Option<String> {
        let mut found = None;
        for name in names {
            let value = self.fields.shift_remove(*name).as_ref().and_then(text);
            found = found.or(value);
        }
        found
    }

    /// Takes a list: of JSON or YAML, or separated by spaces, commas or semicolons.
    pub fn take_list(&mut self, name: &str) -> Vec<String> {
        match self.fields.shift_remove(name) {
            Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
            Some(value) => {
                let value = text(&value).unwrap_or_default();
                let separators = [' ', ',', ';', '|'];
                let items = value.split(separators).filter(|item| !item.is_empty());
                items.map(str::to_owned).collect()
            }
            None => Vec::new(),
        }
    }

    /// Refuses fields that were not taken.
    pub fn finish(self) -> Result<(), String> {
        match self.fields.keys().next() {
            Some(name) => Err(format!("unknown field \"{name}\"")),
            None => Ok(()),
        }
    }

    /// Removes a field.
    pub fn ignore(&mut self, name: &str) {
        self.fields.shift_remove(name);
    }
}

/// Returns the text of a scalar; none if it is empty.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// Reads CSV (RFC 4180) with a header line; lines that begin with `#` are comments.
pub(super) fn csv(data: &str) -> Vec<Result<Row, Refusal>> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(data.as_bytes());
    let mut header: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for record in reader.into_records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                rows.push(Err(Refusal::new(line_of(error.position()), error.to_string())));
                continue;
            }
        };
        // The reader's own comments would shift the lines of records.
        if record.get(0).is_some_and(|first| first.starts_with('#')) {
            continue;
        }
        if header.is_empty() {
            header = record.iter().map(str::to_lowercase).collect();
            continue;
        }
        let line = line_of(record.position());
        rows.push(if record.len() == header.len() {
            let values = record.iter().map(Value::from);
            Ok(Row { line, fields: header.iter().cloned().zip(values).collect() })
        } else {
            let (found, expected) = (record.len(), header.len());
            Err(Refusal::new(line, format!("{found} fields, but the header has {expected}")))
        });
    }
    rows
}

fn line_of(place: Option<&csv::Position>) -> usize {
    place.map_or(1, |place| usize::try_from(place.line()).unwrap_or(usize::MAX))
}

/// Reads JSON objects, one on each line.
pub(super) fn ndjson(data: &str) -> Vec<Result<Row, Refusal>> {
    let lines = (1..).zip(data.lines()).filter(|(_, text)| !text.trim().is_empty());
    let rows = lines.map(|(line, text)| match serde_json::from_str(text) {
        Ok(fields) => Ok(Row { line, fields }),
        Err(error) => Err(Refusal::new(line, format!("not a JSON object: {error}"))),
    });
    rows.collect()
}

/// Reads a YAML list of mappings.
pub(super) fn yaml(data: &str) -> Vec<Result<Row, Refusal>> {
    let refusal = |error: dnscribe_config::yaml::YamlError| {
        Refusal::new(error.place.line, format!("column {}: {error}", error.place.column))
    };
    match dnscribe_config::yaml::rows(data) {
        Ok(rows) => rows
            .into_iter()
            .map(|row| {
                let row = row.map_err(refusal)?;
                let value = |mut values: Vec<String>, is_list: bool| match values.pop() {
                    Some(one) if !is_list => Value::from(one),
                    last => values.into_iter().chain(last).collect(),
                };
                let fields = row.fields.into_iter();
                let fields = fields.map(|field| (field.key, value(field.values, field.is_list)));
                Ok(Row { line: row.place.line, fields: fields.collect() })
            })
            .collect(),
        Err(error) => vec![Err(refusal(error))],
    }
}
