//! The producer: converts a record into a Kafka message and hands it to librdkafka.

use super::super::{KafkaConfig, Rendered, Stream};
use super::reports::{self, ProducerCallbacks};
use super::settings;
use crate::tally::DropReason;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use std::time::Duration;

/// Time limit for a closing producer to return its records.
const END_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) struct KafkaProducer {
    producer: ThreadedProducer<ProducerCallbacks>,
    topics: [String; Stream::ALL.len()],
}

/// Result of handing over a record.
pub(super) enum SendResult {
    /// librdkafka has it and will report its delivery.
    Accepted,
    /// librdkafka's queue is full.
    QueueFull,
    /// The record is rejected permanently.
    Rejected(DropReason),
}

impl KafkaProducer {
    /// Creates a producer without waiting for a broker. `for_ever`: records wait for the broker
    /// without a limit, unless the user sets one.
    ///
    /// # Errors
    /// Returns a sentence if librdkafka rejects its settings.
    pub(super) fn new(
        config: &KafkaConfig,
        for_ever: bool,
        reports: ProducerCallbacks,
    ) -> Result<Self, String> {
        let mut client = settings::producer(config, for_ever);
        // librdkafka has read them when it has created the producer.
        let _copies = settings::open_files(&mut client, config);
        let producer = client
            .create_with_context(reports)
            .map_err(|error| settings::describe_error(config, &error))?;
        Ok(Self { producer, topics: Stream::ALL.map(|stream| config.topic(stream).to_owned()) })
    }

    /// Hands over one record. Its delivery report will carry `number`.
    pub(super) fn send(
        &self,
        record: &Rendered<'_>,
        payload: &[u8],
        node: &str,
        number: usize,
    ) -> SendResult {
        let mut id = [0; 32];
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "schema", value: Some(record.stream.schema()) })
            .insert(Header { key: "node", value: Some(node) })
            .insert(Header { key: "event_id", value: Some(hex(record.event_id, &mut id)) });
        let topic = &self.topics[record.stream as usize];
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(topic, number).payload(payload).headers(headers);
        if !record.key.is_empty() {
            message = message.key(record.key);
        }
        match self.producer.send(message) {
            Ok(()) => SendResult::Accepted,
            Err((error, _)) => match error.rdkafka_error_code() {
                // After a fatal error the sender replaces the producer.
                Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::Fatal) => {
                    SendResult::QueueFull
                }
                code => SendResult::Rejected(reports::drop_reason(code)),
            },
        }
    }

    /// The reason of a fatal error, after which this producer sends nothing. librdkafka does not
    /// report every such error to its error callback, for example missing rights.
    pub(super) fn fatal(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(match code {
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                format!("{reason}; grant the user the right to write to the topics")
            }
            _ => reason,
        })
    }

    /// Sends queued records without waiting for fuller batches.
    pub(super) fn flush(&self, limit: Duration) {
        // Records that are not acknowledged in time stay in flight.
        let _ = self.producer.flush(limit);
    }

    /// Ends the producer. Unless Kafka is `away`, first waits for the acknowledgements of records on
    /// their way, so that the next run does not send them again.
    pub(super) fn end(&self, away: bool) {
        if !away {
            self.producer.purge(PurgeConfig::default().queue());
            let _ = self.producer.flush(END_TIMEOUT);
        }
        self.purge();
    }

    /// Purges the producer: every unacknowledged record is reported as returned.
    pub(super) fn purge(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let _ = self.producer.flush(END_TIMEOUT);
    }
}

/// Formats an event id as 32 lower-case hex digits.
pub(super) fn hex(id: u128, digits: &mut [u8; 32]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.to_be_bytes()) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hex() {
        assert_eq!(hex(0x0123_4567_89AB_CDEF, &mut [0; 32]), b"00000000000000000123456789abcdef");
    }
}
