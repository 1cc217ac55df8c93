//! `dns.fleet/1`.

use super::{OwnedRecordHead, WindowStatistics};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_with::skip_serializing_none;

/// `dns.fleet/1`: the `dns.window/1` of all nodes for one time window and group, merged. Sums are
/// sums over the nodes, ratios are made of sums, quantiles and numbers of different values come from
/// merged sketches. For the same `ts`, `window_seconds`, `step_seconds`, grouping, value and vantage
/// the highest `revision` counts.
#[expect(clippy::struct_excessive_bools, reason = "fields of the record")]
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "dns.fleet/1")]
#[schemars(transform = unique_is_optional)]
pub struct FleetRecord {
    /// Fields that begin every record. With grouping `region`, `region` is that of the group.
    #[serde(flatten)]
    pub head: OwnedRecordHead,
    /// Length of the window in seconds.
    pub window_seconds: u64,
    /// Time to the start of the next window in seconds: less than `window_seconds` if windows
    /// slide.
    pub step_seconds: u64,
    /// Number of nodes whose windows are merged.
    pub nodes: u64,
    /// 0 in the first record of a window, one more each time that late windows changed it.
    pub revision: u64,
    /// True if no later revision can follow.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// True if the capture of a node began or ended within the window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Version of the encodings of all sketches in the record: see `docs/sketches.md`.
    pub sketch_encoding: u32,
    /// What the transactions of the group have in common besides the vantage: `all` (nothing),
    /// `region`, `resolver`, `zone`, `qtype` or `resolver+zone`.
    #[schemars(extend("enum" = ["all", "region", "resolver", "zone", "qtype", "resolver+zone"]))]
    pub grouping: String,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: String,
    /// Groupings `resolver` and `resolver+zone`: configured name of the server, else its address.
    pub resolver: Option<String>,
    /// Groupings `zone` and `resolver+zone`: registrable domain.
    pub zone: Option<String>,
    /// Grouping `qtype`: mnemonic.
    pub qtype: Option<String>,
    /// True for the group that collects all transactions without a group of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub other: bool,
    /// True if some transactions of the group may be counted in `other` at a node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undercounted: bool,
    /// Statistics of the group's transactions.
    #[serde(flatten)]
    pub statistics: WindowStatistics,
}

/// Lets the numbers of different values be absent, which windows of one node always have.
fn unique_is_optional(schema: &mut Schema) {
    let is_unique = |name: &str| name.starts_with("unique_");
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !name.as_str().is_some_and(is_unique));
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (_, field) in properties.iter_mut().filter(|(name, _)| is_unique(name)) {
            if let Some(Value::String(text)) = field.get_mut("description") {
                text.push_str(" Absent if it is unknown because nodes mask their sketches.");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json_schema;
    use serde_json::json;

    const WINDOWS: &str =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/windows.ndjson"));

    #[test]
    fn has_the_statistics_of_windows() {
        let schema = json_schema("dns.fleet/1").unwrap();
        for line in WINDOWS.lines() {
            let mut fleet: Value = serde_json::from_str(line).unwrap();
            let fields = fleet.as_object_mut().unwrap();
            for field in ["process", "container", "k8s", "transport", "late_total"] {
                fields.remove(field);
            }
            let added = [("schema", json!("dns.fleet/1")), ("grouping", json!("all"))];
            let merged = [("nodes", json!(2)), ("revision", json!(1)), ("final", json!(true))];
            for (name, value) in added.into_iter().chain(merged) {
                fields.insert(name.to_owned(), value);
            }
            assert!(jsonschema::is_valid(&schema, &fleet), "{fleet}");
            let record: FleetRecord = serde_json::from_value(fleet.clone()).unwrap();
            assert_eq!(serde_json::to_value(record).unwrap(), fleet);
            fleet.as_object_mut().unwrap().remove("unique_clients");
            assert!(jsonschema::is_valid(&schema, &fleet), "unknown: {fleet}");
        }
    }
}
