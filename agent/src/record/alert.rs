//! `dns.alert/1`.

use super::EventId;
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// `dns.alert/1`: something began to be wrong, became worse or better, goes on, or is over.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.alert/1")]
pub struct AlertRecord<'a> {
    /// `dns.alert/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When this was decided, by the capture's clock.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// The same in all records from the first `firing` to `resolved`: of node, rule, entity and start.
    pub alert_id: EventId,
    /// What is wrong: `resolver_down`, `success_ratio`, ...
    #[schemars(extend("enum" = crate::detect::Rule::ALL.map(crate::detect::Rule::name)))]
    pub rule: &'static str,
    /// Whom it concerns, in one string: `resolver=192.0.2.53,vantage=client`. The parts follow as
    /// fields of their own; what is absent is not told apart.
    pub entity: String,
    /// A resolver's configured name, else its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<&'a str>,
    /// A registrable domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<&'a str>,
    /// A name asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname: Option<&'a str>,
    /// A process's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_name: Option<&'a str>,
    /// `namespace/pod`, else the container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<&'a str>,
    /// A client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<&'a str>,
    /// The side that it was seen from: `client`, `server` or `passive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: Option<&'static str>,
    /// `firing` while it is wrong, `resolved` once when it is over.
    #[schemars(extend("enum" = ["firing", "resolved"]))]
    pub state: &'static str,
    /// `info`, `warning` or `critical`; of what is over, what it was last.
    #[schemars(extend("enum" = ["info", "warning", "critical"]))]
    pub severity: &'static str,
    /// What the severity was, where it has just changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["info", "warning", "critical"]))]
    pub previous_severity: Option<&'static str>,
    /// When it was first found.
    pub started: Timestamp,
    /// When it was last found; of what is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// From `started` to `ended`, else to `ts`.
    pub duration_seconds: f64,
    /// One sentence for a reader.
    pub summary: &'a str,
    /// The numbers that it rests on, the decisive first.
    pub figures: Vec<FigureFields>,
    /// Some transactions that show it: the `event_id` of their `dns.transaction/1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub samples: Vec<EventId>,
    /// Some names asked for.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub qnames: &'a [Box<str>],
    /// Some processes, `comm[pid]` where the pid is known.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub processes: &'a [Box<str>],
    /// Some clients' addresses.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub clients: &'a [Box<str>],
    /// Some resolvers.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub resolvers: &'a [Box<str>],
    /// Other alerts that this one explains, and that were therefore not told.
    pub suppressed: u64,
    /// The page that says what to do.
    pub runbook: String,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}

/// A number that an alert rests on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FigureFields {
    /// What it measures, with its unit: `timeout_ratio`, `latency_p95_ms`.
    pub name: &'static str,
    /// The value found.
    pub value: f64,
    /// What it was compared with, where that is a fixed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// What is usual, where that was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_mean: Option<f64>,
    /// A standard deviation from it, estimated robustly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_deviation: Option<f64>,
    /// How many deviations the value is from the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z_score: Option<f64>,
    /// How many spans of time the baseline is known from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_samples: Option<u64>,
    /// Whether the baseline is that of this hour of the week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonal: Option<bool>,
}
