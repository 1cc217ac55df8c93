//! Records that operators write: `dns.zone/1`, `dns.intel/1` and `dns.change/1`.

use super::RecordHead;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `dns.zone/1`: what the operator knows about a zone. The newest record of a zone counts; a record
/// without a value removes it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.zone/1")]
pub struct ZoneRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// Properties of the zone.
    #[serde(flatten)]
    pub zone: ZoneFields,
}

/// Properties of a zone.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneFields {
    /// Name of the zone: lower case, no trailing dot, A-labels.
    pub zone: String,
    /// Team or person who answers for the zone.
    pub owner: Option<String>,
    /// Importance, in the operator's own words: `1`, `gold`, `critical`.
    pub tier: Option<String>,
    /// Environment: `prod`, `staging` and so on.
    pub environment: Option<String>,
    /// Business unit.
    pub unit: Option<String>,
    /// Names of the zone's authoritative servers, in the form of `zone`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
}

/// `dns.intel/1`: an indicator of a threat. The newest record of an indicator counts; a record
/// without a value removes it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.intel/1")]
pub struct IntelRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// The indicator.
    #[serde(flatten)]
    pub intel: IntelFields,
}

/// An indicator of a threat.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IntelFields {
    /// A domain, which stands for itself and all names below it (lower case, no trailing dot,
    /// A-labels), or a prefix of addresses such as `198.51.100.0/24`.
    pub indicator: String,
    /// `domain` or `prefix`.
    #[schemars(extend("enum" = ["domain", "prefix"]))]
    pub kind: String,
    /// What it indicates, in the words of its source: `malware`, `phishing`, `c2` and so on.
    pub category: Option<String>,
    /// Name of the list that the indicator comes from.
    pub source: String,
    /// Confidence of the source, 0 to 100 as in STIX 2.1.
    #[schemars(range(max = 100))]
    pub confidence: Option<u8>,
    /// Time from which the indicator no longer holds.
    pub valid_until: Option<Timestamp>,
}

/// `dns.change/1`: something was changed on purpose.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.change/1")]
pub struct ChangeRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// The change.
    #[serde(flatten)]
    pub change: ChangeFields,
}

/// A change. It concerns a zone, a service, both, or everything.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeFields {
    /// `deploy`, `zone_change`, `certificate`, `maintenance` (alerts about it are muted until
    /// `ends`) or `note`.
    #[schemars(extend("enum" = ["deploy", "zone_change", "certificate", "maintenance", "note"]))]
    pub kind: String,
    /// Zone that is concerned: lower case, no trailing dot, A-labels.
    pub zone: Option<String>,
    /// Service that is concerned.
    pub service: Option<String>,
    /// What was changed, in one sentence.
    pub summary: String,
    /// Person or program that made the change.
    pub actor: Option<String>,
    /// Address of a page with details.
    pub url: Option<String>,
    /// End of the change, if it lasts.
    pub ends: Option<Timestamp>,
    /// What the incident at this time was, in the judgement of a person: `confirmed` or
    /// `false_alarm`.
    #[schemars(extend("enum" = ["confirmed", "false_alarm"]))]
    pub incident: Option<String>,
}
