//! `dns.stream.ledger/1`.

use super::OwnedRecordHead;
use crate::ledger::Reasons;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `dns.stream.ledger/1`: counters of a stream job as of a completed checkpoint, cumulative since the
/// job's beginning.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "dns.stream.ledger/1")]
pub struct StreamLedgerRecord {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: OwnedRecordHead,
    /// Name of the job: `enrich`, `fleet`, or `store-` and the name of the store.
    pub job: String,
    /// Number of the checkpoint.
    pub checkpoint: u64,
    /// Records read, by topic.
    pub input: BTreeMap<String, StreamInput>,
    /// Records written, by sink: a topic, `clickhouse`, `timescaledb`, `influxdb` and so on.
    pub output: BTreeMap<String, StreamOutput>,
    /// Records that came too late for their windows.
    pub late: u64,
    /// True if `records = unique + duplicates + malformed` for every input and `records = written +
    /// dropped` for every output.
    pub balanced: bool,
    /// The state that the job went on from, in the first record since it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<StreamRestored>,
}

/// Records of one topic. Identity 6: `records = unique + duplicates + malformed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamInput {
    /// Records read.
    pub records: u64,
    /// Records whose `event_id` came for the first time.
    pub unique: u64,
    /// Further copies of records.
    pub duplicates: u64,
    /// Records that do not fit their schema, each a dead letter.
    pub malformed: u64,
    /// The offset after the last record read, by partition: `records` are those before it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<u32, i64>,
}

/// Records for one sink: `records = written + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamOutput {
    /// Records made for the sink.
    pub records: u64,
    /// Records that the sink has confirmed.
    pub written: u64,
    /// Records that the sink cannot take, by reason.
    #[serde(default, skip_serializing_if = "Reasons::is_empty")]
    pub dropped: Reasons,
}

/// State of a checkpoint or savepoint that a job went on from. It is part of the counters since then.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamRestored {
    /// Number of the checkpoint or savepoint.
    pub checkpoint: u64,
    /// Records written until then, by sink.
    pub output: BTreeMap<String, StreamOutput>,
}
