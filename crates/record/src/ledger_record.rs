//! `dns.ledger/1`.

use super::Labels;
use crate::ledger::Counters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `dns.ledger/1`: counters of all stages, cumulative since the capture epoch.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "dns.ledger/1")]
pub struct LedgerRecord {
    /// `dns.ledger/1`.
    pub schema: String,
    /// Identifies the record within its stream, for all time.
    pub event_id: String,
    /// Time at which the counters were read, RFC 3339.
    pub ts: String,
    /// Name of the node that made the record.
    pub node: String,
    /// Region of the node, if configured.
    pub region: Option<String>,
    /// Labels that the operator gave the node, if any.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Start of the capture, RFC 3339.
    pub epoch: String,
    /// Seconds since `epoch`.
    pub uptime_seconds: f64,
    /// True in the last record of this epoch, and in the last record of an agent that handed its
    /// capture over.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// True if every identity holds.
    pub balanced: bool,
    /// Number of agents that ran this capture before the one that writes this record, each handing
    /// over to the next; absent for the first. Counters continue from one agent to the next, but
    /// `delivery` belongs to each agent alone.
    #[serde(default, skip_serializing_if = "is_none")]
    pub takeovers: u64,
    /// Counters of every stage.
    #[serde(flatten)]
    pub counters: Counters,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_none(takeovers: &u64) -> bool {
    *takeovers == 0
}
