//! Callbacks of librdkafka: delivery reports, errors, logs, statistics.

use super::super::spooled::{InFlight, Outcome};
use super::super::tally::DropReason;
use super::super::threaded::{Flag, lock};
use super::super::{Gauge, KafkaConfig};
use super::diagnose::{Diagnosis, diagnose};
use super::settings::{CONNECTION_FAILED, closed, redact, shorten};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::{Broker, Statistics};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tracing::{Dispatch, debug, dispatcher, error, info, warn};

/// Time limit for diagnosing why Kafka is unreachable.
const PATIENCE: Duration = Duration::from_secs(10);

/// The state of the connection as reported by librdkafka; outlives each producer.
pub(super) struct BrokerHealth {
    config: KafkaConfig,
    unreachable: Arc<Flag>,
    /// Whether a record was ever delivered.
    has_delivered: Flag,
    /// The last error of one broker; more specific than that all brokers are down.
    trouble: Mutex<Option<String>>,
    /// The fatal error of the producer, until it is replaced.
    pub(super) fatal: Mutex<Option<String>>,
    /// Metrics from the last statistics.
    gauges: Mutex<Option<Vec<Gauge>>>,
}

impl BrokerHealth {
    pub(super) fn new(config: &KafkaConfig) -> Self {
        Self {
            config: config.clone(),
            unreachable: Arc::default(),
            has_delivered: Flag::default(),
            trouble: Mutex::default(),
            fatal: Mutex::default(),
            gauges: Mutex::default(),
        }
    }

    /// Returns whether no broker is reachable, as far as known.
    pub(super) fn is_down(&self) -> bool {
        self.unreachable.get()
    }

    /// Logs once, until records are delivered again, why Kafka is unreachable and what helps.
    /// `said` is librdkafka's error, if it is specific.
    pub(super) fn warn_once(&self, said: Option<&str>) {
        let trouble = lock(&self.trouble).take();
        if self.unreachable.replace(true) {
            return;
        }
        let said = said.map(|words| shorten(&self.config, words)).or(trouble);
        let (config, unreachable) = (self.config.clone(), Arc::clone(&self.unreachable));
        let has_delivered = self.has_delivered.get();
        // The caller's subscriber, which may be local to its thread.
        let dispatch = dispatcher::get_default(Dispatch::clone);
        // On its own thread, because librdkafka waits for its callbacks.
        let tell = move || match diagnose(&config, said.as_deref(), PATIENCE) {
            Some(found) => {
                let found = if has_delivered { found.after_delivery() } else { found };
                let Diagnosis { problem: reason, remedy, .. } = found;
                dispatcher::with_default(&dispatch, || {
                    warn!(reason, remedy, "Kafka is unreachable; records wait");
                });
            }
            // The last broker closed a connection and accepts new ones: no problem.
            None => unreachable.set(false),
        };
        if let Err(error) = thread::Builder::new().name("kafka-trouble".into()).spawn(tell) {
            warn!(reason = %error, "Kafka is unreachable; records wait");
        }
    }

    fn arrived(&self) {
        if !self.has_delivered.get() {
            self.has_delivered.set(true);
        }
        // Read first: a record arrives more often than Kafka becomes reachable.
        if self.unreachable.get() && self.unreachable.replace(false) {
            info!("Kafka is reachable again");
        }
    }

    pub(super) fn gauges(&self) -> Vec<Gauge> {
        lock(&self.gauges).clone().unwrap_or_else(|| gauges(&Statistics::default()))
    }
}

/// The context of a producer. A record's opaque value is its number in [`InFlight`].
pub(super) struct ProducerCallbacks {
    pub(super) in_flight: Arc<InFlight>,
    pub(super) health: Arc<BrokerHealth>,
}

impl ProducerContext for ProducerCallbacks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(_) => {
                self.health.arrived();
                Outcome::Delivered
            }
            Err((error, _)) => outcome_of(error.rdkafka_error_code()),
        };
        self.in_flight.settle(number, outcome);
    }
}

/// Converts an error into a record's outcome. A closing producer returns its records.
fn outcome_of(code: Option<RDKafkaErrorCode>) -> Outcome {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::PurgeQueue | Code::PurgeInflight | Code::Fatal | Code::State) => {
            Outcome::Returned
        }
        code => Outcome::Rejected(drop_reason(code)),
    }
}

impl ClientContext for ProducerCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(why) = closed(&self.health.config, facility, message) {
            *lock(&self.health.trouble) = Some(why);
        }
        let message = redact(&self.health.config, message);
        match level {
            // Connection errors are logged once, by `error`; librdkafka repeats them at each
            // attempt. A fatal error is logged when the producer is replaced. What metadata of a partition is not known
            // yet concerns librdkafka alone, which asks again.
            _ if matches!(
                facility,
                CONNECTION_FAILED | "ERROR" | "GETPID" | "REQTMOUT" | "FATAL" | "METADATAUPDATE"
            ) =>
            {
                debug!(facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                warn!(facility, "librdkafka: {message}");
            }
            _ => debug!(facility, "librdkafka: {message}"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        *lock(&self.health.gauges) = Some(gauges(&statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::Fatal) => {
                *lock(&self.health.fatal) = Some(shorten(&self.health.config, reason));
            }
            Some(Code::Authentication | Code::SSL) => self.health.warn_once(Some(reason)),
            // The error before it is more specific.
            Some(Code::AllBrokersDown) => self.health.warn_once(None),
            Some(Code::BrokerTransportFailure | Code::Resolve) => {
                *lock(&self.health.trouble) = Some(shorten(&self.health.config, reason));
            }
            _ => {
                let reason = shorten(&self.health.config, reason);
                debug!(reason, "librdkafka reports an error");
            }
        }
    }
}

/// The drop reason of an error.
pub(super) fn drop_reason(code: Option<RDKafkaErrorCode>) -> DropReason {
    use RDKafkaErrorCode as Code;
    match code {
        Some(Code::MessageTimedOut | Code::RequestTimedOut) => DropReason::MessageTimedOut,
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => {
            DropReason::MessageTooLarge
        }
        Some(
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic,
        ) => DropReason::UnknownTopic,
        Some(
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::Authentication
            | Code::SaslAuthenticationFailed,
        ) => DropReason::NotAuthorised,
        Some(Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTimestamp) => {
            DropReason::Rejected
        }
        _ => DropReason::BrokerError,
    }
}

/// Metrics from librdkafka's statistics, which it gives every 5 s.
#[expect(clippy::cast_precision_loss, reason = "Prometheus numbers are floats")]
pub(super) fn gauges(statistics: &Statistics) -> Vec<Gauge> {
    let brokers = || statistics.brokers.values();
    let up = brokers().filter(|broker| broker.nodeid >= 0 && broker.state == "UP").count();
    let rtt_us = brokers().filter_map(|broker| broker.rtt.as_ref()).map(|rtt| rtt.p99).max();
    let sum = |count: fn(&Broker) -> u64| brokers().map(count).sum::<u64>() as f64;
    vec![
        Gauge::new("dnscribe_kafka_queue_records", statistics.msg_cnt as f64),
        Gauge::new("dnscribe_kafka_queue_bytes", statistics.msg_size as f64),
        Gauge::new("dnscribe_kafka_brokers_up", up as f64),
        Gauge::new("dnscribe_kafka_rtt_p99_seconds", rtt_us.unwrap_or(0).max(0) as f64 / 1e6),
        Gauge::new("dnscribe_kafka_sent_bytes_total", statistics.tx_bytes.max(0) as f64),
        Gauge::new("dnscribe_kafka_requests_total", statistics.tx.max(0) as f64),
        Gauge::new("dnscribe_kafka_request_errors_total", sum(|broker| broker.txerrs)),
        Gauge::new("dnscribe_kafka_request_retries_total", sum(|broker| broker.txretries)),
        Gauge::new("dnscribe_kafka_request_timeouts_total", sum(|broker| broker.req_timeouts)),
    ]
}
