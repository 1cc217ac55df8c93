//! `dns.enriched/1`.

use super::{TransactionBody, TransactionContext};
use crate::record_struct;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `dns.enriched/1`: a `dns.transaction/1`, its fields and its `event_id` unchanged, with what the
/// stream job `enrich` knows about it. Absent means unknown.
#[derive(JsonSchema)]
#[serde(rename = "dns.enriched/1")]
pub struct EnrichedRecord<'a> {
    /// Fields that the messages themselves determine.
    #[serde(flatten)]
    pub body: TransactionBody<'a>,
    /// Fields that depend on other flows, the host or the configuration.
    #[serde(flatten)]
    pub context: TransactionContext<'a>,
    /// Fields that the job adds.
    #[serde(flatten)]
    pub enrichment: EnrichmentFields,
}

/// What the job `enrich` adds to a transaction.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EnrichmentFields {
    /// Place and network of `client_ip`.
    pub client_geo: Option<GeoFields>,
    /// Place and network of `server_ip`.
    pub server_geo: Option<GeoFields>,
    /// Place and network of each address in `answers`, in their order; empty objects where unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers_geo: Vec<GeoFields>,
    /// What the operator knows about the zone.
    pub zone_meta: Option<ZoneMetaFields>,
    /// Indicators that match: of the query name and its parents, of names in the answers, and of
    /// addresses by longest prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intel: Vec<IntelMatchFields>,
    /// Statistics of the query name.
    pub name: Option<NameFields>,
}

/// Place and network of an address.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GeoFields {
    /// Country: ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// City, in English.
    pub city: Option<String>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Organisation of the autonomous system.
    pub as_org: Option<String>,
}

/// What the operator knows about a zone, as in `dns.zone/1`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ZoneMetaFields {
    /// Team or person who answers for the zone.
    pub owner: Option<String>,
    /// Importance, in the operator's own words.
    pub tier: Option<String>,
    /// Environment: `prod`, `staging` and so on.
    pub environment: Option<String>,
    /// Business unit.
    pub unit: Option<String>,
}

record_struct! {
    /// An indicator that matches, as in `dns.intel/1`.
    #[skip_serializing_none]
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
    pub struct IntelMatchFields {
        /// Domain or prefix of addresses.
        pub indicator: String,
        /// `domain` or `prefix`.
        #[schemars(extend("enum" = ["domain", "prefix"]))]
        pub kind: String,
        /// What it indicates, in the words of its source.
        pub category: Option<String>,
        /// Name of the list that the indicator comes from.
        pub source: Option<String>,
        /// Confidence of the source, 0 to 100.
        #[schemars(range(max = 100))]
        pub confidence: Option<u8>,
    }
}

/// Statistics of a query name.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NameFields {
    /// Number of labels, the root not counted.
    pub label_count: u8,
    /// Length of the longest label in bytes.
    pub longest_label: u8,
    /// Shannon entropy of the labels before the zone in bits per character; absent without such
    /// labels.
    pub entropy_bits: Option<f64>,
    /// What the labels before the zone look like.
    #[schemars(extend("enum" = [
        "words", "random", "hex", "base32", "base64", "digits", "reverse", "idn"
    ]))]
    pub class: Option<String>,
}
