//! Kafka as the destination of a sink's thread.

use super::KafkaPlan;
use super::diagnose::diagnose;
use super::encode::{EncodeError, Encoder};
use super::producer::{KafkaProducer, SendResult};
use super::reports::{BrokerHealth, ProducerCallbacks};
use super::settings::redact;
use crate::SinkError;
use crate::spooled::{Cursor, Destination, InFlight, InFlightBatch, Outcome};
use crate::tally::DropReason;
use crate::threaded::lock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Shortest time between two logs of a producer's failure.
const LOG_FATAL_EVERY: Duration = Duration::from_mins(5);

/// Time limit for diagnosing why Kafka is unreachable.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest time between two producers.
const REPLACE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Brokers {
    plan: KafkaPlan,
    in_flight: Arc<InFlight>,
    health: Arc<BrokerHealth>,
    producer: KafkaProducer,
    encoder: Encoder,
    next_producer: Instant,
    next_fatal_log: Instant,
}

impl Brokers {
    /// Creates the first producer without waiting for a broker.
    pub(super) fn new(
        plan: &KafkaPlan,
        in_flight: &Arc<InFlight>,
        health: &Arc<BrokerHealth>,
    ) -> Result<Self, SinkError> {
        let now = Instant::now();
        let streams = in_flight.own().streams;
        Ok(Self {
            plan: plan.clone(),
            in_flight: Arc::clone(in_flight),
            health: Arc::clone(health),
            producer: producer(plan, in_flight, health).map_err(SinkError::Kafka)?,
            encoder: Encoder::new(&plan.config, streams).map_err(SinkError::Kafka)?,
            next_producer: now,
            next_fatal_log: now,
        })
    }
}

impl Destination for Brokers {
    const STALL: Duration = Duration::from_secs(1);
    const FIRST_STALL: Duration = Duration::from_secs(3);

    /// Replaces a failed producer.
    fn replace_failed(&mut self, now: Instant) -> bool {
        if now < self.next_producer {
            return false;
        }
        let reported = lock(&self.health.fatal).take();
        let Some(reason) = self.producer.fatal().or(reported) else { return false };
        self.next_producer = now + REPLACE_EVERY;
        // The next one may fail in the same way until the cause is fixed.
        if now >= self.next_fatal_log {
            self.next_fatal_log = now + LOG_FATAL_EVERY;
            let reason = redact(&self.plan.config, &reason);
            warn!(reason, "the Kafka producer has failed; another one takes over");
        }
        self.producer.purge();
        match producer(&self.plan, &self.in_flight, &self.health) {
            Ok(producer) => {
                self.producer = producer;
                true
            }
            Err(error) => {
                *lock(&self.health.fatal) = Some(error);
                false
            }
        }
    }

    fn is_down(&mut self, now: Instant) -> bool {
        !self.encoder.register(now) || self.health.is_down()
    }

    fn tried_since(&self) -> Option<Instant> {
        self.encoder.registered
    }

    fn note_away(&mut self) {
        // librdkafka may have reported nothing, so ask for a diagnosis.
        if self.encoder.missing.is_none() {
            self.health.warn_once(None);
        }
    }

    /// Hands the batch to librdkafka from the cursor on. Returns false if librdkafka is full, or a schema is
    /// not registered yet.
    fn hand_over(&mut self, batch: &InFlightBatch, cursor: &mut Cursor) -> bool {
        let start = cursor.index;
        for (index, record) in batch.unsettled().skip_while(|(index, _)| *index < start) {
            cursor.index = index;
            let number = cursor.number();
            let line = record.line.strip_suffix(b"\n").unwrap_or(record.line);
            let payload = match self.encoder.encode(record.stream, line) {
                Ok(payload) => payload,
                Err(EncodeError::SchemaPending) => return false,
                Err(EncodeError::Invalid(why)) => {
                    debug!("a record cannot be encoded: {why}");
                    self.in_flight.settle(number, Outcome::Rejected(DropReason::NotEncodable));
                    continue;
                }
            };
            match self.producer.send(&record, payload, &batch.node, number) {
                SendResult::Accepted => {}
                SendResult::QueueFull => return false,
                SendResult::Rejected(reason) => {
                    self.in_flight.settle(number, Outcome::Rejected(reason));
                }
            }
        }
        true
    }

    fn flush(&self, limit: Duration) {
        self.producer.flush(limit);
    }

    fn why_unreachable(&self) -> String {
        let missing = self.encoder.missing.clone();
        missing.unwrap_or_else(|| {
            let why = diagnose(&self.plan.config, None, DIAGNOSIS_TIMEOUT);
            let why =
                why.map_or_else(|| "no record was accepted".to_owned(), |why| why.to_string());
            format!("Kafka cannot be reached: {why}")
        })
    }

    fn end(&mut self, away: bool) {
        self.producer.end(away);
    }

    fn purge(&mut self) {
        self.producer.purge();
    }
}

fn producer(
    plan: &KafkaPlan,
    in_flight: &Arc<InFlight>,
    health: &Arc<BrokerHealth>,
) -> Result<KafkaProducer, String> {
    let (in_flight, health) = (Arc::clone(in_flight), Arc::clone(health));
    let callbacks = ProducerCallbacks { in_flight, health };
    KafkaProducer::new(&plan.config, plan.spooled.spool.is_some(), callbacks)
}
