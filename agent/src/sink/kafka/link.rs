//! A producer, and how a record becomes a Kafka message.

use super::super::{KafkaConfig, Rendered, Stream};
use super::reports::{self, Reports};
use super::settings;
use crate::sink::tally::Reason;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use std::time::Duration;

/// How long a producer that ends may take to give its records back.
const FAREWELL: Duration = Duration::from_millis(500);

/// One producer, from its making to its end.
pub(super) struct Link {
    producer: ThreadedProducer<Reports>,
    topics: [String; Stream::ALL.len()],
}

/// What became of a record that was handed over.
pub(super) enum Sent {
    /// librdkafka has it, and will report.
    Taken,
    /// There is no room now.
    Full,
    /// It will never be taken.
    Refused(Reason),
}

impl Link {
    /// Makes a producer. Does not wait for a broker. `for_ever`: records wait for the broker
    /// without a limit, unless the operator sets one.
    pub(super) fn new(
        config: &KafkaConfig,
        for_ever: bool,
        reports: Reports,
    ) -> Result<Self, String> {
        let producer = settings::producer(config, for_ever)
            .create_with_context(reports)
            .map_err(|error| settings::explain(config, &error))?;
        Ok(Self { producer, topics: Stream::ALL.map(|stream| config.topic(stream).to_owned()) })
    }

    /// Hands one record over; its report will carry `number`.
    pub(super) fn send(
        &self,
        record: &Rendered<'_>,
        payload: &[u8],
        node: &str,
        number: usize,
    ) -> Sent {
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
            Ok(()) => Sent::Taken,
            Err((error, _)) => match code(&error) {
                // After a fatal error the sender replaces the producer.
                Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::Fatal) => Sent::Full,
                code => Sent::Refused(reports::reason(code)),
            },
        }
    }

    /// Why this producer will never send anything again, if that is so. librdkafka does not tell
    /// its error callback of every such reason, of missing rights for one.
    pub(super) fn fatal(&self) -> Option<String> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(match code {
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                format!("{reason}; grant the user the right to write to the topics")
            }
            _ => reason,
        })
    }

    /// Has what waits sent without waiting for more to go with it.
    pub(super) fn hurry(&self, limit: Duration) {
        // What does not arrive in time stays on its way.
        let _ = self.producer.flush(limit);
    }

    /// Has every record that is not acknowledged reported as given back.
    pub(super) fn give_up(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let _ = self.producer.flush(FAREWELL);
    }
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// 32 lower-case hex digits.
pub(super) fn hex(id: u128, digits: &mut [u8; 32]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, octet) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.to_be_bytes()) {
        *pair = [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_hex() {
        assert_eq!(hex(0x0123_4567_89AB_CDEF, &mut [0; 32]), b"00000000000000000123456789abcdef");
    }
}
