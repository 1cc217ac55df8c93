//! Refused rows as dead letters in Kafka: `dns.dlq/1` with the stage `import`.

use crate::error::KpiError;
use crate::facts::Rejected;
use crate::kafka;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_delivery::KafkaConfig;
use dnscribe_delivery::kafka::KeyedRecord;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{DlqRecord, EventId, Namespace, RecordHead};

/// Topic, after `kafka.topic_prefix`.
const TOPIC: &str = "registrar.dlq";
/// Schema of its records.
const SCHEMA: &str = "dns.dlq/1";
/// Most bytes of a row in its dead letter; with the rest less than brokers take by default (1 MB).
const MAX_BYTES: usize = 512 << 10;

/// Sends the dead letters of refused rows, with the source as key. The same row of the same content has the
/// same `event_id` in every attempt.
///
/// # Errors
/// Kafka has not acknowledged all of them.
pub fn send(config: &KafkaConfig, rows: &[Rejected]) -> Result<(), KpiError> {
    let node = dnscribe_config::host::name();
    let topic = format!("{}{TOPIC}", config.topic_prefix);
    kafka::publish(config, &topic, &node, rows.iter().map(|row| message(&node, row)))
}

fn message(node: &str, row: &Rejected) -> KeyedRecord {
    let event_id = event_id(row);
    let kept = &row.raw.as_bytes()[..row.raw.len().min(MAX_BYTES)];
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let record = DlqRecord {
        head: RecordHead {
            schema: SCHEMA,
            event_id,
            ts: Timestamp::now(),
            node,
            ..RecordHead::default()
        },
        stage: "import",
        reason: row.rejection.reason,
        bytes: BASE64.encode(kept),
        captured_bytes: count(kept.len()),
        record_bytes: Some(count(row.raw.len())),
        detail: Some(&row.rejection.detail),
        source: Some(&row.origin.source),
        line: Some(row.origin.line),
        ..DlqRecord::default()
    };
    let mut value = Vec::new();
    dnscribe_delivery::append_json(&mut value, &record);
    KeyedRecord { key: row.origin.source.to_string(), schema: SCHEMA, event_id, value: Some(value) }
}

/// Derived from the content that the row is part of, and its line.
fn event_id(row: &Rejected) -> EventId {
    let ids = Namespace::new(&row.origin.sha256, Timestamp::default());
    ids.for_name(&row.origin.line.to_be_bytes())
}
