//! `dns.ledger/1`.

use super::Labels;
use crate::ledger::Counters;
use crate::time::Timestamp;
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
    #[schemars(extend("x-ecs" = ["event.id"]))]
    pub event_id: String,
    /// Time at which the counters were read, RFC 3339.
    #[schemars(with = "Timestamp", extend("x-ecs" = ["@timestamp"]))]
    pub ts: String,
    /// Name of the node that made the record.
    #[schemars(extend("x-ecs" = ["host.name"]))]
    pub node: String,
    /// Region of the node, if configured.
    #[schemars(extend("x-ecs" = ["host.geo.name"]))]
    pub region: Option<String>,
    /// Labels that the operator gave the node, if any.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    #[schemars(extend("x-ecs" = ["labels"]))]
    pub labels: Labels,
    /// Start of the capture, RFC 3339.
    #[schemars(with = "Timestamp")]
    pub epoch: String,
    /// Seconds since `epoch`.
    pub uptime_seconds: f64,
    /// True in the last record of this epoch.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// True if every identity holds.
    pub balanced: bool,
    /// Counters of every stage.
    #[serde(flatten)]
    pub counters: Counters,
}

impl LedgerRecord {
    /// Returns what orders the records of one capture, the newest last. The final one is the newest whatever its time:
    /// files may be replayed in any order of time.
    #[must_use]
    pub const fn order(&self) -> (bool, f64) {
        (self.is_final, self.uptime_seconds)
    }
}
