use super::super::spool::SpoolConfig;
use super::super::spooled::{InFlight, Tallies};
use super::super::tally::Tally;
use super::super::threaded::{SharedState, lock};
use super::super::{Batch, Sink, Stream};
use super::reports::ProducerCallbacks;
use super::*;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

mod follow;
mod spooling;

fn streams() -> StreamSet {
    [Stream::Transactions, Stream::Ledger].into_iter().collect()
}

fn config(brokers: &str, options: &[(&str, &str)]) -> KafkaConfig {
    let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let topics = [(Stream::Ledger, "accounts".to_owned())].into();
    KafkaConfig { brokers: vec![brokers.into()], topics, options, ..KafkaConfig::default() }
}

/// A sink without a spool.
fn open(config: &KafkaConfig) -> Result<ThreadedSink, SinkError> {
    open_bounded(config, QueueLimits::default())
}

fn open_bounded(config: &KafkaConfig, limits: QueueLimits) -> Result<ThreadedSink, SinkError> {
    assemble("kafka".into(), streams(), &plan("node-1", config, None), limits).map(|(sink, _)| sink)
}

pub(super) fn plan(node: &str, config: &KafkaConfig, spool: Option<&SpoolConfig>) -> KafkaPlan {
    let (config, spool) = (config.clone(), spool.cloned());
    let spooled = SpooledPlan {
        name: "Kafka",
        destination: destination(&config),
        node: node.into(),
        region: None,
        labels: None,
        patience: None,
        spool,
    };
    KafkaPlan { config, spooled }
}

fn batch(count: u32) -> Arc<Batch> {
    let mut batch = Batch::default();
    for number in 0..count {
        let stream = [Stream::Transactions, Stream::Ledger, Stream::Metrics][number as usize % 3];
        batch.push(
            stream,
            u128::from(number) + (0xAB << 120),
            |out| out.extend_from_slice(format!("{{\"n\":{number}}}\n").as_bytes()),
            |out| out.extend_from_slice(b"key"),
        );
    }
    Arc::new(batch)
}

/// Checks identity 5 and returns (records, delivered, in flight) of all streams.
fn totals(sink: &dyn Sink) -> (u64, u64, u64) {
    let mut totals = (0, 0, 0);
    let counters = sink.counters();
    assert_eq!(counters.keys().collect::<Vec<_>>(), ["ledger", "transactions"]);
    for delivery in counters.values() {
        assert_eq!(delivery.dropped.len(), REASONS.len());
        let dropped: u64 = delivery.dropped.values().sum();
        assert_eq!(delivery.records, delivery.delivered + delivery.in_flight + dropped);
        totals.0 += delivery.records;
        totals.1 += delivery.delivered;
        totals.2 += delivery.in_flight;
    }
    totals
}

fn dropped(sink: &dyn Sink, reason: &str) -> u64 {
    sink.counters().values().map(|delivery| delivery.dropped[reason]).sum()
}

/// The first record of the topic.
fn first_of(brokers: &str, topic: &str) -> rdkafka::message::OwnedMessage {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..4 {
        all.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
            return message.detach();
        }
    }
    panic!("nothing in {topic}");
}

#[test]
fn sends_key_headers_and_topic() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let config = config(&brokers, &[]);
    let mut sink = open(&config).unwrap();
    for _ in 0..10 {
        sink.offer(&batch(300));
    }
    assert_eq!(totals(&sink).0, 2000);
    sink.flush(Duration::from_secs(20));
    assert_eq!(totals(&sink), (2000, 2000, 0));
    let message = first_of(&brokers, "accounts");
    assert_eq!(message.payload(), Some(b"{\"n\":1}".as_slice()));
    assert_eq!(message.key(), Some(b"key".as_slice()));
    let headers: Vec<_> = message.headers().unwrap().iter().collect();
    let headers: Vec<_> = headers
        .iter()
        .map(|header| (header.key, std::str::from_utf8(header.value.unwrap()).unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("schema", "dns.ledger/1"),
            ("node", "node-1"),
            ("event_id", "ab000000000000000000000000000001"),
        ]
    );
    sink.close();
    assert_eq!((totals(&sink), sink.failure()), ((2000, 2000, 0), None));
    let found = probe_brokers(&config, streams(), Duration::from_secs(10)).unwrap();
    assert!(found.starts_with("1 broker, "), "{found}");
    assert!(!sink.gauges().is_empty());
}

#[test]
fn does_not_block_if_the_broker_is_unreachable() {
    let config = config("127.0.0.1:1", &[("queue.buffering.max.messages", "50")]);
    let limits = QueueLimits { batches: 3, bytes: 1 << 20 };
    let mut sink = open_bounded(&config, limits).unwrap();
    let start = Instant::now();
    for _ in 0..100 {
        sink.offer(&batch(30));
        totals(&sink);
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    sink.flush(Duration::from_millis(300));
    assert!(totals(&sink).2 > 50 && dropped(&sink, "queue_full") > 1500);
    let start = Instant::now();
    sink.close();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(totals(&sink), (2000, 0, 0));
    assert_eq!(dropped(&sink, "shutdown") + dropped(&sink, "queue_full"), 2000);
    assert_eq!(sink.failure(), None);
}

#[test]
fn drops_records_after_the_message_timeout() {
    let config = config("127.0.0.1:1", &[("message.timeout.ms", "100"), ("linger.ms", "5")]);
    let mut sink = open(&config).unwrap();
    sink.offer(&batch(3));
    sink.flush(Duration::from_secs(10));
    assert_eq!((totals(&sink), dropped(&sink, "message_timed_out")), ((2, 0, 0), 2));
}

#[test]
fn counts_rejections_by_reason() {
    let cluster = MockCluster::new(1).unwrap();
    cluster
        .topic_error("accounts", RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        .unwrap();
    let brokers = cluster.bootstrap_servers();
    let config = config(&brokers, &[("message.max.bytes", "1000")]);
    let mut sink = open(&config).unwrap();
    sink.offer(&batch(3));
    let mut large = Batch::default();
    large.push(Stream::Transactions, 1, |out| out.resize(5000, b'x'), |_| ());
    sink.offer(&Arc::new(large));
    sink.flush(Duration::from_secs(20));
    assert_eq!(dropped(&sink, "message_too_large"), 1);
    assert_eq!(dropped(&sink, "not_authorised"), 1);
    assert_eq!(totals(&sink), (3, 1, 0));
}

#[test]
fn delivers_after_a_broker_is_back() {
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let fast = [("reconnect.backoff.max.ms", "200"), ("retry.backoff.ms", "50")];
    let mut sink = open(&config(&brokers, &fast)).unwrap();
    sink.offer(&batch(3));
    sink.flush(Duration::from_secs(20));
    cluster.broker_down(1).unwrap();
    sink.offer(&batch(3));
    sink.flush(Duration::from_millis(500));
    assert_eq!(totals(&sink), (4, 2, 2));
    cluster.broker_up(1).unwrap();
    sink.flush(Duration::from_secs(20));
    assert_eq!(totals(&sink), (4, 4, 0));
}

#[test]
fn omits_secrets_from_errors() {
    let options = [("sasl.oauthbearer.client.secret", "hunter2"), ("acks", "hunter2")];
    for option in options {
        let config = config("127.0.0.1:1", &[option]);
        let error = open(&config).err().map(|e| e.to_string());
        assert!(option.0 == "sasl.oauthbearer.client.secret" || error.is_some());
        let message = format!("{error:?}");
        assert!(option.0 == "acks" || !message.contains("hunter2"), "{message}");
    }
    let config = config("127.0.0.1:1", &[("ssl.key.pem", "hunter2"), ("nonsense", "x")]);
    let error = open(&config).err().unwrap().to_string();
    assert!(error.contains("kafka.options") && !error.contains("hunter2"), "{error}");
}

#[test]
fn omits_secrets_from_librdkafka_messages() {
    let options = [
        ("sasl.password", "hunter2"),
        ("sasl.oauthbearer.config", "principal=x hunter3"),
        ("client.rack", "rack-9"),
    ];
    let mut config = config("k:1", &options);
    config.hidden = BTreeSet::from(["client.rack".to_owned()]);
    let message = |words| settings::shorten(&config, words);
    assert_eq!(
        message("k:1/1: no user hunter2 in rack-9 (after 3ms)"),
        "k:1/1: no user *** in ***"
    );
    let words = "Unrecognized sasl.oauthbearer.config beginning at: hunter3";
    assert_eq!(message(words), "Unrecognized sasl.oauthbearer.config");
    let words = "sasl.username and sasl.password must be set";
    assert_eq!(message(words), words);
}

#[test]
fn explains_an_unreachable_broker() {
    let probe = |config| probe_brokers(&config, streams(), Duration::from_secs(1)).unwrap_err();
    let why = probe(config("127.0.0.1:1", &[])).problem;
    assert!(why.contains("127.0.0.1:1") && why.contains("refused"), "{why}");
    assert_eq!(probe(KafkaConfig::default()).problem, "no broker is configured");
}

/// The log of this thread while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn reports() -> ProducerCallbacks {
    let own = SharedState::new(streams(), REASONS);
    let recovered = Arc::new(Tally::new(streams(), REASONS));
    let in_flight = Arc::new(InFlight::new(Tallies { own, recovered }));
    ProducerCallbacks {
        in_flight,
        health: Arc::new(BrokerHealth::new(&config("127.0.0.1:1", &[]))),
    }
}

#[test]
fn logs_an_outage_once() {
    use rdkafka::client::ClientContext;
    let reports = reports();
    let error = |code, reason| reports.error(KafkaError::Global(code), reason);
    let message = logged(|| {
        for _ in 0..100 {
            error(RDKafkaErrorCode::BrokerTransportFailure, "127.0.0.1:1/1: Connection refused");
            error(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        }
        // A thread of its own makes the diagnosis.
        std::thread::sleep(Duration::from_secs(1));
    });
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("WARN") && message.contains("Connection refused"), "{message}");
    assert!(reports.health.is_down());
    assert!(message.contains("remedy="), "{message}");
    error(RDKafkaErrorCode::Fatal, "out of order sequence number");
    let fatal = lock(&reports.health.fatal).take();
    assert_eq!(fatal.as_deref(), Some("out of order sequence number"));
    assert_eq!(lock(&reports.health.fatal).take(), None);
}

/// One line for each partition came in a storm of restarts.
#[test]
fn does_not_log_what_librdkafka_lacks_for_a_moment() {
    use rdkafka::client::ClientContext;
    use rdkafka::config::RDKafkaLogLevel;
    let message = logged(|| {
        let log = |facility, words| reports().log(RDKafkaLogLevel::Warning, facility, words);
        log("METADATAUPDATE", "[thrd:main]: Partition t(AAA)[0]: new leader 1 not found in cache");
        log("OTHER", "[thrd:main]: something else");
    });
    assert!(message.lines().count() == 1 && message.contains("something else"), "{message}");
}

#[test]
fn doubts_that_missing_topics_are_created_unless_a_broker_says_so() {
    let cluster = MockCluster::new(1).unwrap();
    let config = config(&cluster.bootstrap_servers(), &[]);
    let found = probe_brokers(&config, streams(), Duration::from_secs(10)).unwrap_err();
    assert!(found.is_doubtful && found.remedy.contains("dnscribe kafka init"), "{found}");
    assert!(found.problem.contains("not there yet: "), "{found}");
    assert!(found.problem.contains("do not say whether they create them"), "{found}");
}
