//! Kafka: an idempotent producer whose delivery reports drive the ledger.
//!
//! The sink's own thread hands records to librdkafka and waits where librdkafka's queue is full;
//! then the sink's bounded queue fills, and what does not fit there is dropped and counted. No
//! rdkafka type leaves this module.

mod diagnose;
mod probe;
mod read_back;
mod reports;
mod settings;
pub mod topics;

pub use diagnose::Diagnosis;
pub use probe::probe_brokers;
pub use read_back::read_back;
pub use settings::validate;

use super::tally::{Reason, Tally};
use super::threaded::{Back, Bounds, Next, Taken, Threaded};
use super::{KafkaConfig, Look, Rendered, SinkError, Stream, StreamSet};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use reports::Reports;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const REASONS: &[Reason] = &[
    Reason::QueueFull,
    Reason::MessageTimedOut,
    Reason::MessageTooLarge,
    Reason::UnknownTopic,
    Reason::NotAuthorised,
    Reason::Rejected,
    Reason::BrokerError,
    Reason::Shutdown,
];

/// How long to wait for room in librdkafka's queue before asking again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// Starts a producer. Does not wait for a broker: records wait for it.
pub(super) fn open(
    name: String,
    streams: StreamSet,
    node: &str,
    config: &KafkaConfig,
) -> Result<Threaded, SinkError> {
    open_bounded(name, streams, node, config, Bounds::default())
}

fn open_bounded(
    name: String,
    streams: StreamSet,
    node: &str,
    config: &KafkaConfig,
    bounds: Bounds,
) -> Result<Threaded, SinkError> {
    let shared = Threaded::shared(Tally::new(streams, REASONS));
    let reports = Reports::new(Arc::clone(&shared), config);
    let stats = reports.stats();
    let producer: ThreadedProducer<Reports> = settings::producer(config)
        .create_with_context(reports)
        .map_err(|error| SinkError::Kafka(settings::explain(config, &error)))?;
    let topics = Stream::ALL.map(|stream| config.topic(stream).to_owned());
    let sender = Sender { producer, topics, node: node.to_owned() };
    let thread = name.clone();
    Threaded::start(name, Look::Json, bounds, shared, move |back| sender.run(back))
        .map(|sink| sink.with_gauges(move || stats.gauges()))
        .map_err(|error| SinkError::Thread { name: thread, error })
}

/// The thread's state.
struct Sender {
    producer: ThreadedProducer<Reports>,
    topics: [String; Stream::ALL.len()],
    node: String,
}

impl Sender {
    fn run(&self, back: &Back) {
        loop {
            if let Some(reason) = back.shared.failed() {
                back.drop_all(reason);
                break;
            }
            match back.next(Duration::from_millis(100)) {
                Next::Batch(taken) => self.send_batch(&taken, back),
                // Does not wait for the linger time.
                Next::Idle if back.shared.flushing() => {
                    let _ = self.producer.flush(Duration::from_millis(100));
                }
                Next::Idle => {}
                Next::Stop => break,
            }
        }
        // What has not arrived reports itself as purged now, and counts as dropped in shutdown.
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let _ = self.producer.flush(Duration::from_millis(500));
    }

    fn send_batch(&self, taken: &Taken, back: &Back) {
        let tally = &back.shared.tally;
        for rendered in taken.batch.iter().filter(|record| tally.streams().contains(record.stream))
        {
            match self.send(&rendered, back) {
                Sent::Taken => {}
                Sent::Refused(reason) => {
                    tally.settle_one(rendered.stream as usize, Err(reason));
                }
                // Closing the sink counts the rest.
                Sent::Stopped => return,
            }
        }
    }

    /// Hands one record to librdkafka; waits while its queue is full.
    fn send(&self, rendered: &Rendered<'_>, back: &Back) -> Sent {
        let mut id = [0; 32];
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "schema", value: Some(rendered.stream.schema()) })
            .insert(Header { key: "node", value: Some(self.node.as_str()) })
            .insert(Header { key: "event_id", value: Some(hex(rendered.event_id, &mut id)) });
        let stream = rendered.stream as usize;
        let line = rendered.line.strip_suffix(b"\n").unwrap_or(rendered.line);
        let mut record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.topics[stream], stream).payload(line).headers(headers);
        if !rendered.key.is_empty() {
            record = record.key(rendered.key);
        }
        loop {
            match self.producer.send(record) {
                Ok(()) => return Sent::Taken,
                Err((error, _)) if code(&error) != Some(RDKafkaErrorCode::QueueFull) => {
                    return Sent::Refused(reports::reason(code(&error)));
                }
                Err(_) if back.shared.stopping() => return Sent::Stopped,
                Err((_, refused)) => {
                    record = refused;
                    thread::sleep(FULL_PAUSE);
                }
            }
        }
    }
}

/// What became of a record.
enum Sent {
    Taken,
    Refused(Reason),
    Stopped,
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// 32 lower-case hex digits.
fn hex(id: u128, digits: &mut [u8; 32]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, octet) in digits.as_chunks_mut::<2>().0.iter_mut().zip(id.to_be_bytes()) {
        *pair = [DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]];
    }
    digits
}

#[cfg(test)]
mod tests;
