//! Records as a report reads them: the fields that it shows.

use dnscribe_record::JsonText;
use dnscribe_record::time::Timestamp;
use dnscribe_report::Tone;
use serde::Deserialize;

/// The fields of `dns.lookup/1` that are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LookupFields<'a> {
    pub(super) ts: Timestamp,
    #[serde(borrow)]
    pub(super) client_ip: JsonText<'a>,
    #[serde(borrow)]
    pub(super) outcome: JsonText<'a>,
    pub(super) duration_ms: f64,
    pub(super) packets: u64,
    pub(super) packets_wasted: u64,
    pub(super) search_expansions: u64,
    pub(super) retries: u64,
    #[serde(borrow)]
    pub(super) process: Option<dnscribe_record::ProcessView<'a>>,
    #[serde(borrow)]
    pub(super) container: Option<dnscribe_record::ContainerView<'a>>,
    #[serde(borrow)]
    pub(super) k8s: Option<dnscribe_record::PodView<'a>>,
}

/// The fields of `dns.use/1` that are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct UseFields<'a> {
    pub(super) ts: Timestamp,
    #[serde(borrow)]
    pub(super) name: Option<JsonText<'a>>,
    #[serde(borrow, rename = "match")]
    pub(super) found: JsonText<'a>,
    #[serde(borrow)]
    pub(super) outcome: JsonText<'a>,
    pub(super) count: u64,
    pub(super) answer_age_ms: Option<f64>,
    pub(super) ttl_left_ms: Option<f64>,
    pub(super) lookup_ms: Option<f64>,
    pub(super) connect_ms: Option<f64>,
}

/// The fields of `lost_at` that are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct LostFields<'a> {
    #[serde(borrow)]
    pub(super) message: JsonText<'a>,
    #[serde(borrow)]
    pub(super) stage: JsonText<'a>,
    #[serde(borrow)]
    pub(super) reason: JsonText<'a>,
    #[serde(borrow)]
    pub(super) hook: Option<JsonText<'a>>,
}

/// A transaction of which the kernel discarded a message.
#[derive(Deserialize)]
pub(super) struct LostTransaction<'a> {
    #[serde(borrow)]
    pub(super) lost_at: Option<LostFields<'a>>,
}

/// The fields of `dns.alert/1` that are shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AlertFields {
    pub(super) ts: Timestamp,
    pub(super) node: String,
    pub(super) alert_id: String,
    pub(super) scope: Option<String>,
    pub(super) rule: String,
    pub(super) entity: String,
    pub(super) state: String,
    pub(super) severity: String,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) summary: String,
    pub(super) runbook: Option<String>,
}

impl AlertFields {
    pub(super) fn is_critical(&self) -> bool {
        self.severity == "critical"
    }

    /// Returns how bad it is.
    pub(super) fn tone(&self) -> Tone {
        match self.severity.as_str() {
            "critical" => Tone::Bad,
            "warning" => Tone::Warning,
            _ => Tone::Plain,
        }
    }

    /// Returns the last time at which it is known to have fired.
    pub(super) fn last_fired(&self) -> Timestamp {
        self.ended.unwrap_or(self.started)
    }
}

/// The fields of `dns.change/1` that are shown.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default)]
pub(super) struct ChangeFields {
    pub(super) ts: Timestamp,
    pub(super) event_id: String,
    pub(super) kind: String,
    pub(super) zone: Option<String>,
    pub(super) service: Option<String>,
    pub(super) summary: String,
    pub(super) actor: Option<String>,
    pub(super) ends: Option<Timestamp>,
}
