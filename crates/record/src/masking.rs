//! The field `masking`: how the values of a masked record differ from the original ones.

use crate::record_struct;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;

record_struct! {
    /// How a record was masked. A class of values that is absent was kept as it is.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct MaskingFields {
        /// Identifies the hash key: equal hashes with equal key ids stand for equal values.
        pub key_id: Option<String>,
        /// Query names and their zones: `truncate` (to the registrable domain), `hash` or `drop`.
        pub qname: Option<&'static str>,
        /// Client addresses: `truncate` (to /24 or /48), `hash` (to an address in `100::/64`) or `drop`.
        pub client: Option<&'static str>,
        /// Server addresses: `truncate` (to /24 or /48), `hash` (to an address in `100::/64`) or `drop`.
        pub server: Option<&'static str>,
        /// Data of answer records: `truncate`, `hash` or `drop`.
        pub answers: Option<&'static str>,
        /// Client subnets: `truncate`, `hash` or `drop`.
        pub ecs: Option<&'static str>,
        /// Process names and executable paths: `hash` or `drop`.
        pub process: Option<&'static str>,
        /// Container ids and pods: `hash` or `drop`.
        pub container: Option<&'static str>,
    }
}
