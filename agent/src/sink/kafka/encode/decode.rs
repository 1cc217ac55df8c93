//! The way back: what stands on a topic as the JSON line that it was.

use super::read::read;
use super::registry::Registry;
use super::shape::Shape;
use super::{FRAME, MAGIC, NO_REGISTRY};
use crate::sink::KafkaConfig;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Why a record cannot be had as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sink::kafka) enum Undecodable {
    /// Nothing in Avro can be decoded now.
    #[error("{0}")]
    Registry(String),
    /// This record cannot be decoded.
    #[error("{0}")]
    Record(String),
}

/// Decodes records of any stream: those in Avro by the schema whose id they carry.
pub(in crate::sink::kafka) struct Decoder {
    registry: Result<Registry, String>,
    shapes: HashMap<u32, Result<Shape, String>>,
    line: Vec<u8>,
}

impl Decoder {
    /// Asks the registry nothing yet, and needs none until something in Avro comes.
    pub(in crate::sink::kafka) fn new(config: &KafkaConfig) -> Self {
        let registry = match &config.registry {
            Some(registry) => Registry::new(registry),
            None => Err(NO_REGISTRY.into()),
        };
        Self { registry, shapes: HashMap::new(), line: Vec::new() }
    }

    /// The record's JSON, without a newline. What is not framed as Avro is handed back as it is.
    pub(in crate::sink::kafka) fn decode<'a>(
        &'a mut self,
        payload: &'a [u8],
    ) -> Result<&'a [u8], Undecodable> {
        // No JSON begins with octet 0.
        let Some((&[MAGIC, a, b, c, d], avro)) = payload.split_first_chunk::<FRAME>() else {
            return Ok(payload);
        };
        let id = u32::from_be_bytes([a, b, c, d]);
        let shape = match self.shapes.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(fetch(&self.registry, id)?),
        };
        let shape = shape.as_ref().map_err(|why| Undecodable::Record(why.clone()))?;
        self.line.clear();
        read(shape, avro, &mut self.line)
            .map_err(|why| Undecodable::Record(format!("not a record of schema {id}: {why}")))?;
        Ok(&self.line)
    }
}

fn fetch(
    registry: &Result<Registry, String>,
    id: u32,
) -> Result<Result<Shape, String>, Undecodable> {
    let registry = registry.as_ref().map_err(|why| Undecodable::Registry(why.clone()))?;
    Ok(match registry.schema(id).map_err(Undecodable::Registry)? {
        Some(schema) => Shape::of(&schema).map_err(|why| format!("schema {id} is not ours: {why}")),
        None => Err(format!("the schema registry {} has no schema {id}", registry.url())),
    })
}
