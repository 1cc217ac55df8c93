//! Checks whether Kafka is reachable, for `dnscribe check`.

use super::super::threaded::lock;
use super::super::{KafkaConfig, StreamSet};
use super::diagnose::{Diagnosis, diagnose, diagnose_permanent};
use super::settings::{self, closed, redact, shorten};
use super::topics;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;
use std::collections::BTreeSet;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for diagnosing why there is no answer.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(5);

/// Events while waiting for metadata.
pub(super) enum ProbeEvent {
    Metadata(Box<Result<Metadata, KafkaError>>),
    /// All brokers are down; with the last error of a broker, if there was one.
    AllBrokersDown(Option<String>),
}

/// The context of short-lived clients: keeps the last error and reports that all brokers are down.
/// Only logs at debug level, because relevant errors are returned by calls.
pub(super) struct ProbeContext {
    pub(super) config: KafkaConfig,
    last: Arc<Mutex<Option<String>>>,
    events: Sender<ProbeEvent>,
}

impl ProbeContext {
    pub(super) fn new(config: &KafkaConfig) -> (Self, Receiver<ProbeEvent>) {
        let (events, receiver) = mpsc::channel();
        (Self { config: config.clone(), last: Arc::default(), events }, receiver)
    }
}

impl ClientContext for ProbeContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(why) = closed(&self.config, facility, message) {
            *lock(&self.last) = Some(why);
        }
        let message = redact(&self.config, message);
        tracing::debug!(?level, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = shorten(&self.config, reason);
        tracing::debug!("librdkafka: {error}: {reason}");
        let mut last = lock(&self.last);
        match error.rdkafka_error_code() {
            // Fails if nobody waits for events.
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let _ = self.events.send(ProbeEvent::AllBrokersDown(last.clone()));
            }
            _ => *last = Some(reason),
        }
    }
}

impl ConsumerContext for ProbeContext {}

impl ProducerContext for ProbeContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {}
}

/// Requests the cluster's metadata, at most for `timeout`. Returns a description that includes
/// missing topics of `streams`.
///
/// # Errors
/// Returns why there is no metadata, which topics are not authorised, or which are missing and not created by the brokers
/// themselves, as far as they say.
pub fn probe_brokers(
    config: &KafkaConfig,
    streams: StreamSet,
    timeout: Duration,
) -> Result<String, Diagnosis> {
    let metadata = metadata(config, timeout)?;
    let known: BTreeSet<&str> = metadata.topics().iter().map(MetadataTopic::name).collect();
    let missing: Vec<&str> = streams
        .iter()
        .map(|stream| config.topic(stream))
        .filter(|topic| !known.contains(topic))
        .collect();
    let forbidden = forbidden(config, &missing, timeout)?;
    if !forbidden.is_empty() {
        let remedy = "grant this client's user the right to describe and write it";
        let topics = forbidden.join(", ");
        return Err(Diagnosis::new(format!("not authorised for topic {topics}"), remedy));
    }
    let brokers = metadata.brokers().len();
    let noun = if brokers == 1 { "broker" } else { "brokers" };
    let found = format!("{brokers} {noun}, {} topics", known.len());
    if missing.is_empty() {
        return Ok(found);
    }
    let found = format!("{found}; not there yet: {}", missing.join(", "));
    let remedy = "create them with `dnscribe kafka init` and the same --config or --brokers, or correct kafka.topics and \
                  kafka.topic_prefix";
    match topics::creates_missing(config, &metadata, timeout) {
        Ok(true) => Ok(format!(
            "{found} (the brokers create them in their way; `dnscribe kafka init` creates them as documented)"
        )),
        Ok(false) => {
            let problem =
                format!("{found}, and the brokers create none ({} is off)", topics::AUTO_CREATE);
            Err(Diagnosis::new(problem, remedy))
        }
        Err(why) => {
            let problem =
                format!("{found}, and the brokers do not say whether they create them ({why})");
            Err(Diagnosis::new(problem, remedy).doubtful())
        }
    }
}

/// Topics that the broker does not list because this client is not authorised. Requested as a
/// consumer: a producer's request would create missing topics.
fn forbidden<'a>(
    config: &KafkaConfig,
    topics: &[&'a str],
    timeout: Duration,
) -> Result<Vec<&'a str>, Diagnosis> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let consumer: BaseConsumer<ProbeContext> = settings::consumer(config)
        .create_with_context(ProbeContext::new(config).0)
        .map_err(|error| settings::cannot_start(config, &error))?;
    let refused = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    let forbidden = topics.iter().copied().filter(|topic| {
        // Other errors of one topic do not matter: the brokers have answered.
        let found = consumer.fetch_metadata(Some(topic), timeout).ok();
        found.is_some_and(|found| found.topics().iter().any(|topic| topic.error() == refused))
    });
    Ok(forbidden.collect())
}

/// Requests the cluster's metadata, or returns why there is none.
pub(super) fn metadata(config: &KafkaConfig, timeout: Duration) -> Result<Metadata, Diagnosis> {
    if config.brokers.is_empty() {
        let remedy = "give --brokers HOST:PORT or kafka.brokers";
        return Err(Diagnosis::new("no broker is configured", remedy));
    }
    let (context, receiver) = ProbeContext::new(config);
    let (last, sender) = (Arc::clone(&context.last), context.events.clone());
    let producer: ThreadedProducer<ProbeContext> = settings::producer(config, false)
        .create_with_context(context)
        .map_err(|error| settings::cannot_start(config, &error))?;
    // On its own thread, because the request cannot be cancelled.
    let ask = move || {
        let metadata = producer.client().fetch_metadata(None, timeout);
        let _ = sender.send(ProbeEvent::Metadata(Box::new(metadata)));
    };
    let started = thread::Builder::new().name("kafka-probe".into()).spawn(ask);
    started.map_err(|error| Diagnosis::general(format!("cannot start a thread: {error}")))?;
    let end = Instant::now() + timeout + Duration::from_secs(1);
    loop {
        let why = match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(ProbeEvent::Metadata(answer)) => match *answer {
                Ok(metadata) => return Ok(metadata),
                Err(_) => lock(&last).take(),
            },
            // librdkafka retries until the time limit, which is useless if the cause is permanent.
            Ok(ProbeEvent::AllBrokersDown(why)) => {
                match diagnose_permanent(config, why.as_deref()) {
                    Some(permanent) => return Err(permanent),
                    None => continue,
                }
            }
            Err(_) => None,
        };
        return Err(diagnose(config, why.as_deref(), DIAGNOSIS_TIMEOUT).unwrap_or_else(|| {
            Diagnosis::general(format!("the brokers gave no metadata within {timeout:?}"))
        }));
    }
}
