//! Reads records back from stores, for `report --store`.

use super::{Client, HttpQueries, Postgres, Store, TRANSACTIONS, USES};
use dnscribe_record::Stream;
use dnscribe_record::time::Timestamp;
use dnscribe_view::report::TimeSpan;
use serde_json::{Map, Value};

/// Rows of a query.
const PAGE: usize = 10_000;

/// Takes one record as JSON. Returns whether it wants more.
pub type Take<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

impl Store {
    /// Reads the records of a span of time, by time: transactions and uses of `ClickHouse`, alerts and changes of
    /// `TimescaleDB`. Rows of `InfluxDB` are no records.
    ///
    /// # Errors
    /// Returns a sentence if the store does not answer, or has other tables.
    pub fn records(&self, span: TimeSpan, take: Take<'_>) -> Result<(), String> {
        let read = match &self.client {
            Client::ClickHouse(queries) => {
                let mut streams = [Stream::Transactions, Stream::Uses].into_iter();
                streams.try_for_each(|stream| queries.records(stream, span, take))
            }
            Client::TimescaleDb(postgres) => ["dns_alerts", "dns_changes"]
                .into_iter()
                .try_for_each(|table| postgres.records(table, span, take)),
            Client::InfluxDb(_) => {
                Err("InfluxDB has windows only: give ClickHouse and TimescaleDB".to_owned())
            }
        };
        read.map_err(|why| format!("{}: {why}", self.name))
    }
}

impl HttpQueries {
    fn records(&self, stream: Stream, span: TimeSpan, take: Take<'_>) -> Result<(), String> {
        let table = if stream == Stream::Uses { USES } else { TRANSACTIONS };
        let within = within(span, |at| datetime(&at.to_string()));
        let mut after = String::new();
        loop {
            let query = format!(
                "SELECT * FROM {table} FINAL WHERE true{within}{after} ORDER BY ts, event_id LIMIT {PAGE} \
                 SETTINGS date_time_output_format = 'iso', output_format_json_quote_64bit_integers = 0 \
                 FORMAT JSONEachRow"
            );
            let page = self.clickhouse(&query)?;
            let mut rows = 0;
            for line in page.lines() {
                rows += 1;
                let (record, position) = record(line, stream)?;
                after = position;
                if !take(&record) {
                    return Ok(());
                }
            }
            if rows < PAGE {
                return Ok(());
            }
        }
    }
}

/// Returns the conditions that rows of a span meet; `literal` writes a time in the store's language.
fn within(span: TimeSpan, literal: impl Fn(Timestamp) -> String) -> String {
    let limit = |operator: &str, at: Option<Timestamp>| {
        at.map_or_else(String::new, |at| format!(" AND ts {operator} {}", literal(at)))
    };
    limit(">=", span.from) + &limit("<", span.to)
}

/// Returns a time as an expression of `ClickHouse`.
fn datetime(text: &str) -> String {
    format!("parseDateTime64BestEffort('{text}', 9, 'UTC')")
}

/// Returns the record of a row, and the condition that rows after it meet.
fn record(line: &str, stream: Stream) -> Result<(Vec<u8>, String), String> {
    let unreadable = || format!("cannot read its answer: {}", line.get(..200).unwrap_or(line));
    let mut fields: Map<String, Value> = serde_json::from_str(line).map_err(|_| unreadable())?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).ok_or_else(unreadable);
    let (ts, id) = (datetime(text("ts")?), text("event_id")?);
    if !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unreadable());
    }
    let after = format!(" AND (ts, event_id) > ({ts}, toFixedString('{id}', 32))");
    // A column without a value has the default of its type; a record leaves the field out.
    fields.retain(|_, value| has_value(value));
    // ClickHouse reads decimal numbers with an error in their last bits; records have whole nanoseconds.
    if let Some(latency) = fields.get_mut("latency_ms")
        && let Some(ms) = latency.as_f64()
    {
        *latency = ((ms * 1e6).round() / 1e6).into();
    }
    fields.insert("schema".to_owned(), stream.schema().into());
    let record = serde_json::to_vec(&fields).map_err(|error| error.to_string())?;
    Ok((record, after))
}

/// Returns whether a value is not empty, after removing what is empty in it.
fn has_value(value: &mut Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => {
            fields.retain(|_, value| has_value(value));
            !fields.is_empty()
        }
        Value::Bool(_) | Value::Number(_) => true,
    }
}

impl Postgres {
    fn records(&self, table: &str, span: TimeSpan, take: Take<'_>) -> Result<(), String> {
        let within = within(span, |at| format!("'{at}'"));
        let query =
            format!("SELECT body::text FROM {table} WHERE true{within} ORDER BY ts, event_id");
        for row in self.query(&query)? {
            let body: String = row.try_get(0).map_err(|error| super::describe(&error))?;
            if !take(body.as_bytes()) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_records_without_empty_fields() {
        let row = r#"{"event_id":"5abb3de7f8c978bf3a301893952c27a0","ts":"2026-11-22T07:00:00.123456789Z","rcode":"",
            "latency_ms":1.2568329999999999,"min_ttl_seconds":null,"retries":0,"flags":["ra"],"process":{"pid":null,"comm":""},
            "k8s":{"namespace":"shop","labels":{}}}"#;
        let (record, after) = record(row, Stream::Transactions).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let expected = serde_json::json!({
            "schema": "dns.transaction/1", "event_id": "5abb3de7f8c978bf3a301893952c27a0",
            "ts": "2026-11-22T07:00:00.123456789Z", "latency_ms": 1.256_833, "retries": 0, "flags": ["ra"], "k8s": {"namespace": "shop"},
        });
        assert_eq!(record, expected);
        assert!(after.contains("'2026-11-22T07:00:00.123456789Z'") && after.contains("'5abb3de7"));
        let refused = |row| super::record(row, Stream::Uses).is_err();
        assert!(refused("{}") && refused(r#"{"event_id":"' OR 1","ts":"x"}"#));
    }
}
