//! JSON: how records are written, and parts of them to read.

mod writer;

pub use writer::{JsonBuffer, JsonFields, JsonValue, extend_json, write_json};

use serde::Deserialize;
use std::borrow::Cow;
use std::ops::Deref;

/// A JSON string that is copied only if it contains escapes. Serde borrows inside an `Option` or a
/// list only through such a wrapper.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct JsonText<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for JsonText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Reads a record, which is a JSON object. Serde alone would take the fields of a struct from an array, too.
///
/// # Errors
/// The text is no JSON object, or lacks a field.
pub fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    if text.trim_ascii_start().first() == Some(&b'{') {
        serde_json::from_slice(text)
    } else {
        Err(serde::de::Error::custom("not a JSON object"))
    }
}

/// A process, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ProcessView<'a> {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    #[serde(borrow)]
    pub comm: JsonText<'a>,
}

/// A container, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ContainerView<'a> {
    /// Container id.
    #[serde(borrow)]
    pub id: JsonText<'a>,
}

/// A Kubernetes pod, as programs read it from a record.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PodView<'a> {
    /// Namespace of the pod.
    #[serde(borrow)]
    pub namespace: JsonText<'a>,
    /// Name of the pod.
    pub pod: JsonText<'a>,
}
