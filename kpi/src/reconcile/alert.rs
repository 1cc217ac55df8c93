//! Alerts of comparisons: `dns.alert/1` with the scope `kpi`.
//!
//! The store remembers which comparison fails, so that the first one within the tolerance ends the alert.

use super::{Report, Tolerance};
use crate::error::KpiError;
use crate::kafka;
use crate::store::Store;
use dnscribe_delivery::kafka::KeyedRecord;
use dnscribe_delivery::{KafkaConfig, Stream};
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{
    AlertRecord, EventId, FigureFields, Namespace, RUNBOOKS, RecordHead, runbook_address,
};
use serde::{Deserialize, Serialize};

/// Name of the rule.
const RULE: &str = "reconciliation";
/// Most differences that an alert lists.
const MAX_EVIDENCE: usize = 20;

/// An alert that fires, as the store has it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Firing {
    alert_id: EventId,
    started: Timestamp,
}

/// Sends the alert of a comparison: `firing` each time that it is beyond the tolerance, `resolved` the first
/// time that it is not. `source` is the name of the export.
///
/// # Errors
/// The store cannot be read or written, or Kafka has not acknowledged the alert. It is sent again with the next
/// comparison.
pub async fn send(
    store: &Store,
    kafka: &KafkaConfig,
    source: &str,
    report: &Report,
    tolerance: Tolerance,
) -> Result<(), KpiError> {
    let node = dnscribe_config::host::name();
    let entity = format!("source={source}");
    let path = format!("alerts/{:016x}.json", xxhash_rust::xxh3::xxh3_64(entity.as_bytes()));
    let known: Option<Firing> = match store.read_if_there(&path).await? {
        Some(text) => {
            serde_json::from_slice(&text).map_err(|error| KpiError::store(&path, &error))?
        }
        None => None,
    };
    if report.within_tolerance && known.is_none() {
        return Ok(());
    }
    let now = Timestamp::now();
    let ids = Namespace::new(&node, now);
    let firing = known.unwrap_or_else(|| Firing {
        alert_id: ids.for_name(format!("{RULE} {entity}").as_bytes()),
        started: now,
    });
    let name = format!("{entity} {}", now.as_nanos());
    let record = record(&node, ids.for_name(name.as_bytes()), firing, now, report, tolerance);
    let (summary, evidence) = describe(source, report);
    let record = AlertRecord { entity, summary: &summary, evidence: &evidence, ..record };
    let mut value = Vec::new();
    dnscribe_delivery::append_json(&mut value, &record);
    let message = KeyedRecord {
        key: record.entity.clone(),
        schema: record.head.schema,
        event_id: record.head.event_id,
        value: Some(value),
    };
    kafka::publish(kafka, kafka.topic(Stream::Alerts), &node, [message])?;
    let state = (!report.within_tolerance).then_some(firing);
    let state = serde_json::to_vec(&state).map_err(|error| KpiError::store(&path, &error))?;
    store.write(&path, state).await
}

/// Returns the record without its texts.
fn record<'a>(
    node: &'a str,
    event_id: EventId,
    firing: Firing,
    now: Timestamp,
    report: &Report,
    tolerance: Tolerance,
) -> AlertRecord<'a> {
    let is_over = report.within_tolerance;
    let figure = |name, count: u64, threshold| FigureFields {
        name,
        value: to_f64(count),
        threshold,
        ..FigureFields::default()
    };
    let allowed = tolerance.absolute.max(tolerance.ratio * to_f64(report.compared));
    AlertRecord {
        head: RecordHead {
            schema: Stream::Alerts.schema(),
            event_id,
            ts: now,
            node,
            ..RecordHead::default()
        },
        alert_id: firing.alert_id,
        scope: Some("kpi"),
        rule: RULE,
        state: if is_over { "resolved" } else { "firing" },
        severity: "warning",
        started: firing.started,
        ended: is_over.then_some(now),
        duration_seconds: now.since(firing.started).as_secs_f64(),
        figures: vec![
            figure("differences", report.differences.len() as u64, Some(allowed)),
            figure("compared", report.compared, None),
            figure("unreadable", report.unreadable.values().sum(), Some(0.0)),
        ],
        runbook: runbook_address(RUNBOOKS, RULE),
        ..AlertRecord::default()
    }
}

/// Returns the summary of a comparison, and its first differences.
fn describe(source: &str, report: &Report) -> (String, Vec<String>) {
    let Report { compared, differences, not_compared, unreadable, .. } = report;
    let summary = if *not_compared > 0 && differences.is_empty() && unreadable.is_empty() {
        format!("{source} lacks {not_compared} of our facts or values: nothing is known of them.")
    } else if report.within_tolerance {
        format!("{source} agrees again: {} differences of {compared} compared.", differences.len())
    } else {
        format!("{source} and the facts differ: {} of {compared} compared.", differences.len())
    };
    let lines = differences.iter().map(ToString::to_string);
    (summary, report.unreadable_lines().chain(lines).take(MAX_EVIDENCE).collect())
}
