//! Decodes records read from topics into JSON, for `dnscribe ledger verify`.

use super::registry::Registry;
use super::{FRAME, MAGIC, NO_REGISTRY};
use crate::KafkaConfig;
use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use serde_json::Value;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Why a record cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::kafka) enum DecodeError {
    /// No Avro record can be decoded now.
    #[error("{0}")]
    Registry(String),
    /// This record cannot be decoded.
    #[error("{0}")]
    Record(String),
}

/// Decodes records of any stream: those in Avro by the schema whose id they carry.
pub(in crate::kafka) struct Decoder {
    registry: Option<Result<Registry, String>>,
    schemas: HashMap<u32, Result<Schema, String>>,
    line: Vec<u8>,
}

impl Decoder {
    /// Creates a decoder. Sends no request; the registry is needed only for Avro records.
    pub(in crate::kafka) fn new(config: &KafkaConfig) -> Self {
        let registry = config.registry.as_ref().map(Registry::new);
        Self { registry, schemas: HashMap::new(), line: Vec::new() }
    }

    /// The record's JSON without a newline. A payload that is not framed as Avro is returned as
    /// it is.
    pub(in crate::kafka) fn decode<'a>(
        &'a mut self,
        payload: &'a [u8],
    ) -> Result<&'a [u8], DecodeError> {
        // No JSON begins with byte 0.
        let Some((&[MAGIC, a, b, c, d], avro)) = payload.split_first_chunk::<FRAME>() else {
            return Ok(payload);
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        let schema = match self.schemas.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(fetch(self.registry.as_ref(), id)?),
        };
        let schema = schema.as_ref().map_err(|why| DecodeError::Record(why.clone()))?;
        self.line.clear();
        to_json(schema, avro, &mut self.line)
            .map_err(|why| DecodeError::Record(format!("not a record of schema {id}: {why}")))?;
        Ok(&self.line)
    }
}

fn fetch(
    registry: Option<&Result<Registry, String>>,
    id: u32,
) -> Result<Result<Schema, String>, DecodeError> {
    // Any record may begin with this byte; one that is not Avro must not stop the others.
    let registry = registry.ok_or_else(|| DecodeError::Record(NO_REGISTRY.into()))?;
    let registry = registry.as_ref().map_err(|why| DecodeError::Registry(why.clone()))?;
    Ok(match registry.schema(id).map_err(DecodeError::Registry)? {
        Some(schema) => {
            Schema::parse(&schema).map_err(|why| format!("schema {id} is not valid: {why}"))
        }
        None => Err(format!("the schema registry {} has no schema {id}", registry.url)),
    })
}

/// Appends the record as JSON without null fields. The entries of maps are in no particular order.
pub(super) fn to_json(schema: &Schema, mut avro: &[u8], line: &mut Vec<u8>) -> Result<(), String> {
    let reader = GenericDatumReader::builder(schema).build().map_err(|error| error.to_string())?;
    let value = reader.read_value(&mut avro).map_err(|error| error.to_string())?;
    if !avro.is_empty() {
        return Err(format!("{} bytes are left over", avro.len()));
    }
    let value: Value = value.try_into().map_err(|error: apache_avro::Error| error.to_string())?;
    serde_json::to_writer(line, &without_nulls(value)).map_err(|error| error.to_string())
}

/// Removes null fields of objects: in records they are omitted.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
