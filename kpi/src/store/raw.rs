//! What a commit says of rows as they came.

use crate::attributes::Kind;
use crate::input::Columns;
use serde::{Deserialize, Serialize};

/// What is kept of an import so that its rows can be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawImport {
    /// Time of the import in microseconds since the Unix epoch.
    pub imported_us: i64,
    /// SHA-256 of the content, without the map.
    pub content_sha256: String,
    /// Whether the source was given by name.
    pub is_named: bool,
    /// What the rows describe, of a dimension table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<Kind>,
    /// Text of the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<String>,
    /// Columns of CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Files that were written.
    pub files: Vec<RawFile>,
}

/// A file with rows, and the one with their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// Path of the rows in the store.
    pub rows: String,
    /// Path of their keys in the store.
    pub keys: String,
}
