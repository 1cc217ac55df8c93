//! The field `masking`: how the values of a masked record differ from the original ones.

use schemars::JsonSchema;
use serde::Serialize;

/// How a record was masked. A class of values that is absent was kept as it is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct MaskingFields {
    /// Identifies the hash key: equal hashes with equal key ids stand for equal values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Query names and their zones: `truncate` (to the registrable domain), `hash` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname: Option<&'static str>,
    /// Client addresses: `truncate` (to /24 or /48), `hash` (to an address in `100::/64`) or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'static str>,
    /// Server addresses: `truncate` (to /24 or /48), `hash` (to an address in `100::/64`) or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'static str>,
    /// Data of answer records: `truncate`, `hash` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<&'static str>,
    /// Client subnets: `truncate`, `hash` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs: Option<&'static str>,
    /// Process names and executable paths: `hash` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<&'static str>,
    /// Container ids and pods: `hash` or `drop`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<&'static str>,
}
