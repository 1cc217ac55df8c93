//! The encoder and the registration of its schemas.

use crate::sink::kafka::encode::{Encoder, NotEncoded};
use crate::sink::{KafkaConfig, Stream, StreamSet};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Pause between two requests to an unavailable schema registry.
const REGISTER_EVERY: Duration = Duration::from_secs(1);

/// Encodes records once their schemas are registered.
pub(super) struct Schemas {
    encoder: Encoder,
    next_question: Instant,
    /// Why schemas are missing, after a failed registration.
    missing: Option<String>,
}

impl Schemas {
    /// Creates the encoder; sends no request.
    pub(super) fn new(config: &KafkaConfig, streams: StreamSet) -> Result<Self, String> {
        let encoder = Encoder::new(config, streams)?;
        Ok(Self { encoder, next_question: Instant::now(), missing: None })
    }

    /// Registers missing schemas when it is time to. Returns whether none is missing.
    pub(super) fn register(&mut self, now: Instant) -> bool {
        if self.encoder.ready() {
            return true;
        }
        if now >= self.next_question {
            let prepared = self.encoder.prepare();
            // Each change is logged once.
            if prepared.is_err() != self.missing.is_some() {
                match &prepared {
                    Ok(()) => info!("the schema registry has our schemas"),
                    Err(why) => warn!("records wait for their schemas: {why}"),
                }
            }
            self.missing = prepared.err();
            self.next_question = Instant::now() + REGISTER_EVERY;
        }
        self.encoder.ready()
    }

    /// Why schemas are missing, if they are.
    pub(super) fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }

    /// Encodes a record in its topic's format.
    pub(super) fn encode<'a>(
        &'a mut self,
        stream: Stream,
        line: &'a [u8],
    ) -> Result<&'a [u8], NotEncoded> {
        self.encoder.encode(stream, line)
    }
}
