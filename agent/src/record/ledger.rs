//! `dns.ledger/1`.

use crate::ledger::Counters;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `dns.ledger/1`: the balance sheet, cumulative since the capture epoch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "dns.ledger/1")]
pub struct LedgerRecord {
    /// `dns.ledger/1`.
    pub schema: String,
    /// Unique for ever.
    pub event_id: String,
    /// When the counters were read, RFC 3339.
    pub ts: String,
    /// The node that counted.
    pub node: String,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When the capture began, RFC 3339.
    pub epoch: String,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// Whether this is the last record of its epoch, or of an agent that another took over from.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether every identity holds.
    pub balanced: bool,
    /// How many agents had this capture before the one that writes this, each taken over by the next;
    /// absent for the first. Counters go on from one to the next, but `delivery` is each one's own.
    #[serde(default, skip_serializing_if = "is_none")]
    pub takeovers: u64,
    /// What every stage counted.
    #[serde(flatten)]
    pub counters: Counters,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_none(takeovers: &u64) -> bool {
    *takeovers == 0
}
