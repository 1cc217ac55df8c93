//! Encodes records for Kafka, just before librdkafka gets them.
//!
//! Everywhere else, also in the spool, a record is its JSON line. Avro and ECS are made from that line, so
//! that the registry is needed only here, and a record that waited on disk gets the schema of the
//! day on which it is sent.

mod decode;
mod registry;
mod shape;
mod write;

pub(super) use decode::{DecodeError, Decoder};

use crate::format::Format;
use crate::{KafkaConfig, Stream, StreamSet};
use dnscribe_record::EcsEncoder;
use registry::Registry;
use shape::Shape;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// First byte of a framed record.
const MAGIC: u8 = 0;
/// Bytes before the record: the magic byte and the schema id.
const FRAME: usize = 5;

pub(super) struct Encoder {
    formats: [Format; Stream::ALL.len()],
    ecs: Option<EcsEncoder>,
    registry: Option<Registry>,
    /// The streams in Avro that have a record type.
    subjects: Vec<Subject>,
    /// The streams whose records will be encoded.
    wanted: StreamSet,
    next_request: Instant,
    /// Why schemas are missing, after a failed registration.
    pub(super) missing: Option<String>,
    /// When the last missing schemas were registered.
    pub(super) registered: Option<Instant>,
    buffer: Vec<u8>,
}

/// Pause between two requests to an unavailable schema registry.
const REGISTER_EVERY: Duration = Duration::from_secs(1);

/// A stream's schema, and its subject in the registry.
struct Subject {
    stream: Stream,
    /// `TOPIC-value`: the registry's `TopicNameStrategy`.
    name: String,
    schema: String,
    shape: Shape,
    /// The registry's id of the schema, once known.
    id: Option<u32>,
}

impl Subject {
    /// Creates the subject of a stream; `None` if the stream has no schema.
    fn of(stream: Stream, config: &KafkaConfig) -> Option<Result<Self, String>> {
        let schema = dnscribe_record::avro_schema(stream.schema())?;
        let name = format!("{}-value", config.topic(stream));
        let shape = Shape::of(&schema);
        let schema = schema.to_string();
        Some(shape.map(|shape| Self { stream, name, schema, shape, id: None }))
    }

    /// The subjects of the streams that are in Avro.
    fn all(config: &KafkaConfig, streams: StreamSet) -> Result<Vec<Self>, String> {
        let avro = streams.iter().filter(|stream| config.format(*stream) == Format::Avro);
        avro.filter_map(|stream| Self::of(stream, config)).collect()
    }

    fn is_missing(&self, wanted: StreamSet) -> bool {
        wanted.contains(self.stream) && self.id.is_none()
    }
}

impl Encoder {
    /// Creates an encoder for `streams`. Reads the trusted certificates of `kafka.registry`; sends
    /// no request.
    ///
    /// # Errors
    /// Returns a sentence if a schema or a certificate is not usable.
    pub(super) fn new(config: &KafkaConfig, streams: StreamSet) -> Result<Self, String> {
        let subjects = Subject::all(config, Stream::ALL.into_iter().collect())?;
        let registry = match &config.registry {
            Some(registry) if !subjects.is_empty() => Some(Registry::new(registry)?),
            _ => None,
        };
        let formats = Stream::ALL.map(|stream| config.format(stream));
        Ok(Self {
            ecs: formats.contains(&Format::Ecs).then(EcsEncoder::default),
            formats,
            registry,
            subjects,
            wanted: streams,
            next_request: Instant::now(),
            missing: None,
            registered: None,
            buffer: Vec::new(),
        })
    }

    /// Returns whether all needed schemas are registered.
    fn ready(&self) -> bool {
        self.subjects.iter().all(|subject| !subject.is_missing(self.wanted))
    }

    /// Registers missing schemas when it is time to. Returns whether none is missing. Logs each
    /// change.
    pub(super) fn register(&mut self, now: Instant) -> bool {
        if !self.ready() && now >= self.next_request {
            let prepared = self.prepare();
            match &prepared {
                Ok(()) if self.missing.is_some() => info!("schemas registered"),
                Err(why) if self.missing.is_none() => {
                    warn!("records wait until their schemas are registered: {why}");
                }
                _ => {}
            }
            if prepared.is_ok() {
                self.registered = Some(Instant::now());
            }
            self.missing = prepared.err();
            self.next_request = Instant::now() + REGISTER_EVERY;
        }
        self.ready()
    }

    /// Registers missing schemas, within `kafka.registry.timeout` for all of them.
    ///
    /// # Errors
    /// Returns why that failed, as a sentence. Trying again later may help.
    fn prepare(&mut self) -> Result<(), String> {
        let wanted = self.wanted;
        let missing = self.subjects.iter_mut().filter(|subject| subject.is_missing(wanted));
        let mut deadline: Option<Instant> = None;
        for subject in missing {
            let registry = self.registry.as_ref().ok_or(NO_REGISTRY)?;
            let deadline = *deadline.get_or_insert_with(|| registry.deadline());
            subject.id = Some(registry.register(&subject.name, &subject.schema, deadline)?);
        }
        Ok(())
    }

    /// Encodes a record in its topic's format, from its JSON line without the newline.
    pub(super) fn encode<'a>(
        &'a mut self,
        stream: Stream,
        line: &'a [u8],
    ) -> Result<&'a [u8], EncodeError> {
        match (self.formats[stream as usize], &self.ecs) {
            (Format::Json, _) => return Ok(line),
            (Format::Ecs, Some(ecs)) => {
                self.buffer.clear();
                let written = ecs.write(stream, line, &mut self.buffer);
                written.map_err(|error| EncodeError::Invalid(error.to_string()))?;
                return Ok(&self.buffer);
            }
            _ => {}
        }
        let subject = self.subjects.iter().find(|subject| subject.stream == stream);
        let subject = subject.ok_or_else(|| {
            EncodeError::Invalid(format!("{} has no Avro schema", stream.schema()))
        })?;
        let Some(id) = subject.id else {
            // A spool may hold records of streams that the sink no longer receives.
            self.wanted = self.wanted.with(stream);
            return Err(EncodeError::SchemaPending);
        };
        self.buffer.clear();
        self.buffer.push(MAGIC);
        self.buffer.extend_from_slice(&id.to_be_bytes());
        write::write(&subject.shape, line, &mut self.buffer).map_err(EncodeError::Invalid)?;
        Ok(&self.buffer)
    }
}

/// Why a record is not encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EncodeError {
    /// Its schema is not registered yet: call [`Encoder::prepare`].
    #[error("its schema is not registered yet")]
    SchemaPending,
    /// It does not match its schema, as a sentence.
    #[error("{0}")]
    Invalid(String),
}

const NO_REGISTRY: &str = "no schema registry is configured: give kafka.registry.url";

/// Checks whether the registry would accept the schemas of `streams`. Registers nothing. `None` if
/// no registry is needed; else a description, or why not.
#[must_use]
pub fn probe_registry(config: &KafkaConfig, streams: StreamSet) -> Option<Result<String, String>> {
    match Subject::all(config, streams) {
        Ok(subjects) if subjects.is_empty() => None,
        subjects => Some(subjects.and_then(|subjects| probe(config, &subjects))),
    }
}

fn probe(config: &KafkaConfig, subjects: &[Subject]) -> Result<String, String> {
    let registry = Registry::new(config.registry.as_ref().ok_or(NO_REGISTRY)?)?;
    let deadline = registry.deadline();
    for subject in subjects {
        if !registry.compatible(&subject.name, &subject.schema, deadline)? {
            return Err(format!(
                "{} holds another schema under subject {}, with which ours is not compatible",
                registry.url, subject.name
            ));
        }
    }
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name.as_str()).collect();
    Ok(format!("{} takes the schemas of {}", registry.url, names.join(", ")))
}

#[cfg(test)]
mod tests;
