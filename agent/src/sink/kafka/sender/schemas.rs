//! The encoder, and the schemas that it still waits for.

use crate::sink::kafka::encode::{Encoder, NotEncoded};
use crate::sink::{KafkaConfig, Stream, StreamSet};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Between two questions to the schema registry, while it is away.
const REGISTER_EVERY: Duration = Duration::from_secs(1);

/// Encodes records once the registry knows their schemas.
pub(super) struct Schemas {
    encoder: Encoder,
    next_question: Instant,
    /// Why schemas are missing, once they were asked for in vain.
    missing: Option<String>,
}

impl Schemas {
    /// Asks nobody yet.
    pub(super) fn new(config: &KafkaConfig, streams: StreamSet) -> Result<Self, String> {
        let encoder = Encoder::new(config, streams)?;
        Ok(Self { encoder, next_question: Instant::now(), missing: None })
    }

    /// Asks the registry for what is missing, where it is time to; whether nothing is.
    pub(super) fn register(&mut self, now: Instant) -> bool {
        if self.encoder.ready() {
            return true;
        }
        if now >= self.next_question {
            let prepared = self.encoder.prepare();
            // Each is said once.
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

    /// The record as its topic wants it.
    pub(super) fn encode<'a>(
        &'a mut self,
        stream: Stream,
        line: &'a [u8],
    ) -> Result<&'a [u8], NotEncoded> {
        self.encoder.encode(stream, line)
    }
}
