//! Rows as facts, by their schema.

use crate::event::{self, Rejection};
use crate::facts::{self, Alert, DnsWindow, Fact, ProbeResult};
use crate::input::{self, FieldValue, Row};
use dnscribe_record::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Parses a row: `dns.fleet/1`, `dns.probe/1` and `dns.alert/1` by their `schema`, everything else as `registrar.event/1`.
///
/// # Errors
/// The row fits none of the schemas.
pub fn parse(row: &Row) -> Result<Fact, Rejection> {
    match row {
        Row::Json(text) => {
            let wrong = |error| Rejection::new("bad_json", error);
            let fields = input::parse_fields(text).map_err(wrong)?;
            let schema = fields.iter().find(|(name, _)| name == "schema").map(|(_, value)| value);
            let record = || input::parse_json(text).map_err(wrong);
            match schema {
                Some(FieldValue::Text(name)) if name == "dns.fleet/1" => dns_window(record()?),
                Some(FieldValue::Text(name)) if name == "dns.probe/1" => probe(record()?),
                Some(FieldValue::Text(name)) if name == "dns.alert/1" => alert(record()?),
                _ => event::from_json(&fields).map(|event| Fact::Event(Box::new(event))),
            }
        }
        Row::Csv(_, fields) => {
            let fields = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            event::from_fields(fields).map(|event| Fact::Event(Box::new(event)))
        }
        Row::Unreadable(_, why) => Err(Rejection::new("unreadable", why)),
    }
}

/// Fields of `dns.fleet/1` that KPIs are made of.
#[derive(Debug, Deserialize)]
struct FleetRow {
    ts: Timestamp,
    window_seconds: i64,
    step_seconds: Option<i64>,
    grouping: String,
    #[serde(default)]
    vantage: String,
    region: Option<String>,
    #[serde(default)]
    revision: i64,
    #[serde(default, rename = "final")]
    is_final: bool,
    #[serde(default)]
    nodes: i64,
    queries: i64,
    #[serde(default)]
    successes: i64,
    #[serde(default)]
    retries: i64,
    rcodes: Vec<RcodeRow>,
    statuses: StatusRow,
    latency_ms: Option<LatencyRow>,
}

#[derive(Debug, Deserialize)]
struct RcodeRow {
    rcode: String,
    count: i64,
}

#[derive(Debug, Deserialize)]
struct StatusRow {
    #[serde(default)]
    answered: i64,
    #[serde(default)]
    timeout: i64,
}

#[derive(Debug, Deserialize)]
struct LatencyRow {
    sketch: Option<String>,
}

/// Length of a window at most, of which there is a number in microseconds.
const MAX_WINDOW_SECONDS: i64 = 366 * 86_400;

fn dns_window(value: Value) -> Result<Fact, Rejection> {
    let row: FleetRow =
        serde_json::from_value(value).map_err(|error| Rejection::new("bad_dns_fleet", error))?;
    if row.grouping != "all" {
        return Ok(Fact::Skipped);
    }
    let servfail = row.rcodes.iter().filter(|one| one.rcode == "SERVFAIL").map(|one| one.count);
    let servfail = servfail.fold(0, i64::saturating_add);
    let counts = [row.queries, row.successes, row.retries, servfail, row.statuses.timeout];
    if !(1..=MAX_WINDOW_SECONDS).contains(&row.window_seconds)
        || counts.iter().any(|count| *count < 0)
    {
        return Err(Rejection::new(
            "bad_dns_fleet",
            "a number below 0, or a window without length or of more than a year",
        ));
    }
    if row.successes > row.queries {
        let detail = format!("{} successes of {} queries", row.successes, row.queries);
        return Err(Rejection::new("bad_dns_fleet", detail));
    }
    Ok(Fact::Dns(DnsWindow {
        ts_us: facts::micros(row.ts),
        window_seconds: row.window_seconds,
        step_seconds: row.step_seconds.unwrap_or(row.window_seconds),
        vantage: row.vantage,
        region: row.region,
        revision: row.revision,
        is_final: row.is_final,
        nodes: row.nodes,
        queries: row.queries,
        successes: row.successes,
        servfail,
        timeout: row.statuses.timeout,
        answered: row.statuses.answered,
        retries: row.retries,
        latency_sketch: row.latency_ms.and_then(|latency| latency.sketch),
    }))
}

/// Fields of `dns.probe/1` that KPIs are made of.
#[derive(Debug, Deserialize)]
struct ProbeRow {
    ts: Timestamp,
    event_id: String,
    kind: String,
    service: String,
    #[serde(default)]
    site: String,
    ok: bool,
    duration_ms: f64,
}

fn probe(value: Value) -> Result<Fact, Rejection> {
    let row: ProbeRow =
        serde_json::from_value(value).map_err(|error| Rejection::new("bad_dns_probe", error))?;
    if row.duration_ms < 0.0 {
        return Err(Rejection::new("bad_dns_probe", format!("duration_ms {}", row.duration_ms)));
    }
    Ok(Fact::Probe(ProbeResult {
        ts_us: facts::micros(row.ts),
        event_id: row.event_id,
        kind: row.kind,
        service: row.service,
        site: row.site,
        ok: row.ok,
        duration_ms: row.duration_ms,
    }))
}

/// Fields of `dns.alert/1` that KPIs are made of.
#[derive(Debug, Deserialize)]
struct AlertRow {
    alert_id: String,
    scope: Option<String>,
    rule: String,
    severity: String,
    started: Timestamp,
    service: Option<String>,
    site: Option<String>,
}

fn alert(value: Value) -> Result<Fact, Rejection> {
    let row: AlertRow =
        serde_json::from_value(value).map_err(|error| Rejection::new("bad_dns_alert", error))?;
    // A reconciliation says nothing about DNS.
    if row.scope.as_deref() == Some("kpi") {
        return Ok(Fact::Skipped);
    }
    Ok(Fact::Alert(Alert {
        started_us: facts::micros(row.started),
        alert_id: row.alert_id,
        rule: row.rule,
        severity: row.severity,
        service: row.service,
        site: row.site,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_window_do_not_overflow() {
        let rcode = serde_json::json!({"rcode": "SERVFAIL", "count": i64::MAX});
        let row = serde_json::json!({"ts": "2026-03-01T10:00:00Z", "window_seconds": 60, "grouping": "all",
            "queries": i64::MAX, "rcodes": [rcode, rcode], "statuses": {}});
        let Ok(Fact::Dns(window)) = dns_window(row) else { panic!("another fact, or refused") };
        assert_eq!(window.servfail, i64::MAX);
    }
}
