//! Publishes keyed records of commands, and waits until the brokers have acknowledged them.

use super::super::KafkaConfig;
use super::super::threaded::lock;
use super::diagnose::Diagnosis;
use super::settings;
use dnscribe_record::EventId;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
};
use std::borrow::Borrow;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Wait before a record is offered again to a full queue.
const QUEUE_FULL_WAIT: Duration = Duration::from_millis(10);

/// Longest wait without any acknowledgement.
const PATIENCE: Duration = Duration::from_mins(1);

/// A record for a topic.
#[derive(Clone, Debug)]
pub struct KeyedRecord {
    /// Partitioning key; records without one go to any partition.
    pub key: String,
    /// Its schema, for the header `schema`.
    pub schema: &'static str,
    /// Its id, for the header `event_id`.
    pub event_id: EventId,
    /// JSON; none removes the key from a compacted topic.
    pub value: Option<Vec<u8>>,
}

/// What the brokers answered so far.
#[derive(Default)]
struct Acknowledgements {
    delivered: usize,
    refused: usize,
    first_error: Option<String>,
}

struct PublishContext {
    config: KafkaConfig,
    answers: Mutex<Acknowledgements>,
}

impl ClientContext for PublishContext {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, message: &str) {
        let message = settings::redact(&self.config, message);
        tracing::debug!(?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = settings::shorten(&self.config, reason);
        tracing::debug!("librdkafka: {error}: {reason}");
    }
}

impl ProducerContext for PublishContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut answers = lock(&self.answers);
        match result {
            Ok(_) => answers.delivered += 1,
            Err((error, _)) => {
                answers.refused += 1;
                let describe = || settings::describe_error(&self.config, error);
                answers.first_error.get_or_insert_with(describe);
            }
        }
    }
}

/// Sends records to a topic, in order for each key, and returns when all are acknowledged. Takes each from the
/// iterator once the queue has space for it. `node` is the header of that name.
///
/// # Errors
/// A record was not acknowledged; the others may have been.
pub fn publish(
    config: &KafkaConfig,
    topic: &str,
    node: &str,
    records: impl IntoIterator<Item = impl Borrow<KeyedRecord>>,
) -> Result<(), Diagnosis> {
    let context = PublishContext { config: config.clone(), answers: Mutex::default() };
    let producer: ThreadedProducer<PublishContext> = settings::producer(config, false)
        .create_with_context(context)
        .map_err(|error| settings::cannot_start(config, &error))?;
    let mut sent = 0;
    for record in records {
        send(&producer, topic, node, record.borrow()).map_err(|error| {
            let why = settings::describe_error(config, &error);
            Diagnosis::general(format!("cannot send to {topic}: {why}"))
        })?;
        sent += 1;
    }
    wait(&producer, sent);
    let answers = lock(&producer.context().answers);
    if answers.delivered == sent {
        return Ok(());
    }
    let why = answers.first_error.as_deref().unwrap_or("the brokers do not answer");
    Err(Diagnosis::general(format!(
        "{} of {sent} records were not acknowledged by {topic}: {why}",
        sent - answers.delivered
    )))
}

fn send(
    producer: &ThreadedProducer<PublishContext>,
    topic: &str,
    node: &str,
    record: &KeyedRecord,
) -> Result<(), KafkaError> {
    let id = record.event_id.to_string();
    let headers = OwnedHeaders::new_with_capacity(3)
        .insert(Header { key: "schema", value: Some(record.schema) })
        .insert(Header { key: "node", value: Some(node) })
        .insert(Header { key: "event_id", value: Some(&id) });
    let mut message: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).headers(headers);
    if !record.key.is_empty() {
        message = message.key(&record.key);
    }
    if let Some(value) = &record.value {
        message = message.payload(value);
    }
    let mut progress = Progress::start(producer);
    loop {
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((error, returned))
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
                    && progress.continues(producer) =>
            {
                thread::sleep(QUEUE_FULL_WAIT);
                message = returned;
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Waits until `records` are acknowledged or refused, as long as there are answers.
fn wait(producer: &ThreadedProducer<PublishContext>, records: usize) {
    let mut progress = Progress::start(producer);
    while answered(producer) < records && progress.continues(producer) {
        // What is not acknowledged yet is waited for in the next round.
        let _ = producer.flush(Duration::from_millis(100));
    }
    if answered(producer) < records {
        producer.purge(PurgeConfig::default().queue().inflight());
        let _ = producer.flush(Duration::from_secs(1));
    }
}

fn answered(producer: &ThreadedProducer<PublishContext>) -> usize {
    let answers = lock(&producer.context().answers);
    answers.delivered + answers.refused
}

/// Tells whether answers still come.
struct Progress {
    answered: usize,
    since: Instant,
}

impl Progress {
    fn start(producer: &ThreadedProducer<PublishContext>) -> Self {
        Self { answered: answered(producer), since: Instant::now() }
    }

    fn continues(&mut self, producer: &ThreadedProducer<PublishContext>) -> bool {
        let answered = answered(producer);
        if answered > self.answered {
            *self = Self { answered, since: Instant::now() };
        }
        self.since.elapsed() < PATIENCE
    }
}
