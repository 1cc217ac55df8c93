//! `dns.alert/1`.

use super::{ContainerId, EventId, MaskingFields, PodName, ProcessName, RecordHead};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

crate::named_enum! {
    /// Severity of an alert.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Severity {
        /// Informational.
        Info = "info",
        /// Needs attention.
        Warning = "warning",
        /// Needs attention now.
        Critical = "critical",
    }
}

impl Severity {
    /// Returns the severity of a problem that is at least a warning.
    #[must_use]
    pub const fn at_least_warning(is_critical: bool) -> Self {
        if is_critical { Self::Critical } else { Self::Warning }
    }
}

/// `dns.alert/1`: a problem began, became worse or better, continues, or ended.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename = "dns.alert/1")]
pub struct AlertRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// Identifies the alert in all records from the first `firing` to `resolved`: a hash of node,
    /// rule, entity and start.
    pub alert_id: EventId,
    /// Who found the problem: `node` (an agent, from what it captures), `fleet` (a stream job, from
    /// the records of all nodes), `probe` (an active probe) or `kpi` (a comparison with an authoritative
    /// export). Absent means `node`.
    #[schemars(extend("enum" = ["node", "fleet", "probe", "kpi"]))]
    pub scope: Option<&'static str>,
    /// Name of the detection rule: `resolver_down`, `success_ratio`, ... Each scope has its own rules.
    #[schemars(extend("examples" = [
        "query_rate", "latency", "nxdomain", "servfail", "timeout", "success_ratio",
        "resolver_down", "resolver_flapping", "tunnel", "dga", "spoofing", "cache_poisoning",
        "amplification", "resolver_bypass", "encrypted_bypass",
        "stale_address", "no_lookup", "unused_answers", "receive_buffer", "local_loss",
        "conntrack_race", "indicator"
    ]))]
    #[schemars(extend("x-ecs" = ["rule.name"]))]
    pub rule: &'static str,
    /// Affected entity as one string: `resolver=192.0.2.53,vantage=client`. The parts follow as
    /// separate fields; a part that is absent is not distinguished.
    pub entity: String,
    /// Scope `probe`: name of the service.
    pub service: Option<&'a str>,
    /// Scope `probe`: target of the service, as in `dns.probe/1`.
    pub target: Option<&'a str>,
    /// Configured name of the resolver, else its address.
    #[schemars(extend("x-ecs" = ["server.address", "destination.address"]))]
    pub resolver: Option<&'a str>,
    /// Registrable domain.
    #[schemars(extend("x-ecs" = ["dns.question.registered_domain"]))]
    pub zone: Option<&'a str>,
    /// Query name.
    #[schemars(extend("x-ecs" = ["dns.question.name"]))]
    pub qname: Option<&'a str>,
    /// Process, by its name.
    pub process: Option<ProcessName<'a>>,
    /// Container, if its pod is not known.
    pub container: Option<ContainerId<'a>>,
    /// Pod.
    pub k8s: Option<PodName<'a>>,
    /// Address of the client.
    #[schemars(extend("x-ecs" = ["client.ip", "source.ip"]))]
    pub client_ip: Option<&'a str>,
    /// Side from which it was seen: `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: Option<&'static str>,
    /// Scope `fleet`: site of the nodes on which the problem was found: their region, else the node.
    pub site: Option<&'a str>,
    /// `firing` while the problem lasts, `resolved` once when it is over.
    #[schemars(extend("enum" = ["firing", "resolved"]))]
    pub state: &'static str,
    /// `info`, `warning` or `critical`; for `resolved`, the last severity.
    #[schemars(extend("enum" = ["info", "warning", "critical"]))]
    pub severity: &'static str,
    /// Previous severity, if it has just changed.
    #[schemars(extend("enum" = ["info", "warning", "critical"]))]
    pub previous_severity: Option<&'static str>,
    /// Time at which the problem was first found.
    pub started: Timestamp,
    /// Time at which the problem was last found; `resolved` only.
    pub ended: Option<Timestamp>,
    /// Seconds from `started` to `ended`, else to `ts`.
    pub duration_seconds: f64,
    /// Summary in one sentence.
    #[schemars(extend("x-ecs" = ["message"]))]
    pub summary: &'a str,
    /// Scope `probe`: what was measured, one line each, the decisive ones last; scope `kpi`: the first differences.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schemars(default)]
    pub evidence: &'a [String],
    /// Figures behind the decision, the decisive one first.
    pub figures: Vec<FigureFields>,
    /// Example transactions: the `event_id`s of their `dns.transaction/1`; scope `probe`: measurements,
    /// the `event_id`s of their `dns.probe/1`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub samples: Vec<EventId>,
    /// Example query names.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub qnames: &'a [Box<str>],
    /// Example processes, `comm[pid]` if the pid is known.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub processes: &'a [Box<str>],
    /// Example client addresses.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub clients: &'a [Box<str>],
    /// Example resolvers.
    #[serde(skip_serializing_if = "<[Box<str>]>::is_empty")]
    #[schemars(default)]
    pub resolvers: &'a [Box<str>],
    /// Scope `fleet`: nodes on which the problem was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub nodes: Vec<&'a str>,
    /// Scope `fleet`: sites at which the problem was found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub sites: Vec<&'a str>,
    /// Scope `fleet`: zones that the problem affects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub zones: Vec<&'a str>,
    /// Scope `fleet`: countries (`DE`) and networks (`AS64499`) from which queries came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub sources: Vec<&'a str>,
    /// Scope `fleet`: networks of the addresses in answers, `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub answers: Vec<&'a str>,
    /// Scopes `fleet` and `probe`: changes of the last hour that concern the zone or the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub changes: Vec<ChangeReference<'a>>,
    /// Scope `probe`: the `event_id` of the alert that asked for the measurements.
    pub triggered_by: Option<EventId>,
    /// Number of other alerts that this one explains and that were therefore not reported.
    pub suppressed: u64,
    /// Scope `fleet`: `alert_id`s of nodes' alerts that this one explains. They were reported before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub suppressed_alerts: Vec<EventId>,
    /// Scope `fleet`: alerts of probes about the zone or the resolver, 32 at most. They stand beside this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub probes: Vec<ProbeReference<'a>>,
    /// Address of the runbook for this rule.
    #[schemars(extend("x-ecs" = ["rule.reference"]))]
    pub runbook: String,
    /// Path of the pcapng file with the messages behind the alert, on its node, with the sink `evidence`.
    #[schemars(extend("x-ecs" = ["file.path"]))]
    pub evidence_file: Option<String>,
    /// How the record was masked, if the configuration asks for masking.
    pub masking: Option<MaskingFields>,
}

/// Base of the runbooks' addresses unless the configuration has another one.
pub const RUNBOOKS: &str = "https://github.com/dnscribe/dnscribe/blob/main/docs/runbooks";

/// Returns the address of a rule's runbook below `base`, which has no slash at its end: the rule's name with hyphens.
#[must_use]
pub fn runbook_address(base: &str, rule: &str) -> String {
    format!("{base}/{}.md", rule.replace('_', "-"))
}

/// An alert of a probe about the zone or the resolver of another alert.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProbeReference<'a> {
    /// The `alert_id` of its `dns.alert/1`.
    pub alert_id: EventId,
    /// Name of its rule.
    pub rule: &'a str,
    /// Name of the service.
    pub service: Option<&'a str>,
    /// Summary of the probe's alert.
    pub summary: &'a str,
    /// Time at which the probe first found the problem.
    pub started: Timestamp,
}

/// A change event that may have caused a problem.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeReference<'a> {
    /// The `event_id` of its `dns.change/1`.
    pub event_id: EventId,
    /// Time of the change.
    pub ts: Timestamp,
    /// Kind of the change, as in `dns.change/1`.
    pub kind: &'a str,
    /// Zone that was changed.
    pub zone: Option<&'a str>,
    /// Service that was changed.
    pub service: Option<&'a str>,
    /// Summary of the change.
    pub summary: &'a str,
    /// Who made the change.
    pub actor: Option<&'a str>,
    /// Address of a page about the change.
    pub url: Option<&'a str>,
}

/// A figure behind an alert.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct FigureFields {
    /// Name with its unit: `timeout_ratio`, `latency_p95_ms`.
    pub name: &'static str,
    /// Measured value.
    pub value: f64,
    /// Fixed threshold, if the value was compared with one.
    pub threshold: Option<f64>,
    /// Usual value, if the value was compared with a baseline.
    pub baseline_mean: Option<f64>,
    /// Robust estimate of the standard deviation of the baseline.
    pub baseline_deviation: Option<f64>,
    /// Distance of the value from the mean, in standard deviations.
    pub z_score: Option<f64>,
    /// Number of time spans that the baseline is made of.
    pub baseline_samples: Option<u64>,
    /// True if the baseline is the one for this hour of the week.
    pub seasonal: Option<bool>,
}
