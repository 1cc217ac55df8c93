//! The sink with a spool: records that Kafka does not accept are delivered later, once and in
//! order.

use super::*;
use crate::spool::WhenFull;
use crate::{OpenWith, SinkPlan, SinkSet, SinkSpec, open_changes};
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::path::Path;

fn spool(directory: &Path) -> SpoolConfig {
    SpoolConfig {
        directory: directory.to_owned(),
        max_bytes: 16 << 20,
        max_age: Duration::from_hours(1),
        when_full: WhenFull::DropOldest,
    }
}

/// A sink with a spool, and its view of Kafka's state.
fn open(config: &KafkaConfig, spool: &SpoolConfig) -> (ThreadedSink, Arc<BrokerHealth>) {
    let plan = plan("n", config, Some(spool));
    assemble("kafka".into(), streams(), &plan, QueueLimits::default()).unwrap()
}

/// Settings with which a client notices changes of the mock cluster quickly.
fn quick(brokers: &str) -> KafkaConfig {
    config(brokers, &[("reconnect.backoff.max.ms", "100"), ("retry.backoff.ms", "20")])
}

/// Transactions numbered from `first`, all with one key.
fn numbered(first: u64, count: u64) -> Arc<Batch> {
    let mut batch = Batch::default();
    for number in first..first + count {
        let line = |out: &mut Vec<u8>| out.extend_from_slice(format!("{number}\n").as_bytes());
        batch.push(Stream::Transactions, number.into(), line, |out| out.extend_from_slice(b"key"));
    }
    Arc::new(batch)
}

fn sum(counters: &BTreeMap<String, Delivery>, field: fn(&Delivery) -> u64) -> u64 {
    for delivery in counters.values() {
        let dropped: u64 = delivery.dropped.values().sum();
        let known = delivery.delivered + delivery.spooled + delivery.in_flight + dropped;
        assert_eq!(delivery.records, known, "identity 5");
    }
    counters.values().map(field).sum()
}

fn own(sink: &ThreadedSink, field: fn(&Delivery) -> u64) -> u64 {
    sum(&sink.counters(), field)
}

fn recovered(sink: &ThreadedSink, field: fn(&Delivery) -> u64) -> u64 {
    sum(&sink.recovered().unwrap(), field)
}

fn wait(what: &str, yes: impl Fn() -> bool) {
    let start = Instant::now();
    while !yes() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The numbers on the topic, in the order of the only partition with records.
fn arrived(brokers: &str, count: u64) -> Vec<u64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..4 {
        let topic = Stream::Transactions.default_topic();
        all.add_partition_offset(topic, partition, rdkafka::Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut numbers = Vec::new();
    let start = Instant::now();
    while (numbers.len() as u64) < count && start.elapsed() < Duration::from_secs(30) {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            numbers.push(std::str::from_utf8(message.payload().unwrap()).unwrap().parse().unwrap());
        }
    }
    numbers
}

#[test]
fn loses_nothing_in_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let (mut sink, _) = open(&quick(&brokers), &spool(folder.path()));
    sink.offer(&numbered(0, 500));
    wait("the first arrive", || own(&sink, |d| d.delivered) == 500);
    cluster.broker_down(1).unwrap();
    for first in (500..5000).step_by(500) {
        sink.offer(&numbered(first, 500));
        std::thread::sleep(Duration::from_millis(20));
    }
    wait("the rest is on disk", || own(&sink, |d| d.spooled) == 4500);
    wait("metrics say so", || sink.spool_bytes() > 0);
    cluster.broker_up(1).unwrap();
    sink.offer(&numbered(5000, 500));
    assert!(sink.flush(Duration::from_secs(30)));
    assert_eq!(own(&sink, |d| d.delivered), 5500);
    assert_eq!(arrived(&brokers, 5500), (0..5500).collect::<Vec<_>>());
}

#[test]
fn delivers_records_of_the_previous_run() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    cluster.broker_down(1).unwrap();
    let (mut sink, _) = open(&quick(&brokers), &spool(folder.path()));
    for first in (0..3000).step_by(300) {
        sink.offer(&numbered(first, 300));
    }
    sink.flush(Duration::from_millis(100));
    sink.close();
    assert_eq!((own(&sink, |d| d.spooled), own(&sink, |d| d.records)), (3000, 3000));
    cluster.broker_up(1).unwrap();
    let (mut sink, _) = open(&quick(&brokers), &spool(folder.path()));
    assert_eq!(recovered(&sink, |d| d.records), 3000);
    sink.offer(&numbered(3000, 10));
    assert!(sink.flush(Duration::from_secs(30)));
    assert_eq!((own(&sink, |d| d.delivered), recovered(&sink, |d| d.delivered)), (10, 3000));
    assert_eq!(arrived(&brokers, 3010), (0..3010).collect::<Vec<_>>());
    sink.close();
    let (sink, _) = open(&quick(&brokers), &spool(folder.path()));
    assert_eq!(recovered(&sink, |d| d.records), 0, "a clean end leaves nothing to be sent twice");
}

#[test]
fn replaces_a_failed_producer() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let (mut sink, health) = open(&quick(&brokers), &spool(folder.path()));
    sink.offer(&numbered(0, 300));
    wait("the first arrive", || own(&sink, |d| d.delivered) == 300);
    cluster.broker_down(1).unwrap();
    sink.offer(&numbered(300, 300));
    wait("the second wait", || own(&sink, |d| d.spooled) == 300);
    *lock(&health.fatal) = Some("out of order sequence number".into());
    wait("somebody cares", || lock(&health.fatal).is_none());
    cluster.broker_up(1).unwrap();
    sink.offer(&numbered(600, 300));
    assert!(sink.flush(Duration::from_secs(30)));
    assert_eq!((own(&sink, |d| d.delivered), own(&sink, |d| d.records)), (900, 900));
    assert_eq!(arrived(&brokers, 900), (0..900).collect::<Vec<_>>());
}

#[test]
fn continues_without_a_usable_disk() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let (mut sink, _) = open(&quick(&brokers), &spool(&blocked.join("spool")));
    sink.offer(&numbered(0, 100));
    assert!(sink.flush(Duration::from_secs(20)));
    cluster.broker_down(1).unwrap();
    sink.offer(&numbered(100, 100));
    assert!(!sink.flush(Duration::from_millis(1500)), "the records wait in memory");
    cluster.broker_up(1).unwrap();
    assert!(sink.flush(Duration::from_secs(20)));
    assert_eq!(own(&sink, |d| d.delivered), 200);
}

/// Whenever the sink is closed, nothing that it has taken or that is queued is dropped: the next run delivers it, in
/// order and once.
#[test]
fn keeps_everything_whenever_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = MockCluster::new(1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let (config, spool) = (quick(&brokers), spool(folder.path()));
    let mut total = 0;
    // From a closing with all in the queue, over one with a batch in hand, to one with all in flight.
    for (case, delay_ms) in [0, 0, 1, 3, 10, 30, 100, 300, 1500].into_iter().enumerate() {
        for is_up in [false, true] {
            if !is_up {
                cluster.broker_down(1).unwrap();
            }
            let (mut sink, _) = open(&config, &spool);
            let first = total;
            for size in [1, 300, 1, 1, 500, 40, 4_000, 1] {
                sink.offer(&numbered(total, size));
                total += size;
            }
            std::thread::sleep(Duration::from_millis(delay_ms));
            sink.close();
            let (delivered, spooled) = (own(&sink, |d| d.delivered), own(&sink, |d| d.spooled));
            assert_eq!(delivered + spooled, total - first, "case {case}, up: {is_up}");
            assert_eq!(dropped(&sink, "shutdown"), 0);
            cluster.broker_up(1).unwrap();
            let (mut sink, _) = open(&config, &spool);
            assert_eq!(recovered(&sink, |d| d.records), spooled, "case {case}, up: {is_up}");
            assert!(sink.flush(Duration::from_secs(30)));
            sink.close();
            assert_eq!(recovered(&sink, |d| d.delivered), spooled, "case {case}, up: {is_up}");
        }
    }
    assert_eq!(arrived(&brokers, total), (0..total).collect::<Vec<_>>());
}

/// A sink that is still to be opened when the program ends writes its records to its spool.
#[test]
fn keeps_records_of_a_sink_that_is_not_open_yet() {
    let folder = tempfile::tempdir().unwrap();
    let (config, spool) = (quick("127.0.0.1:1"), spool(folder.path()));
    let plan = |kafka: &KafkaConfig| {
        let with = OpenWith { spool: Some(&spool), ..OpenWith::new("n", kafka) };
        SinkPlan::new(&SinkSpec::Kafka, &with)
    };
    let mut changed = config.clone();
    changed.options.insert("linger.ms".into(), "7".into());
    let (before, after) = ([plan(&config)], [plan(&changed)]);
    let sink = before[0].open("kafka".into()).unwrap();
    let mut sinks = SinkSet::new(vec![sink]);
    sinks.active[0].offer(&numbered(0, 100));
    let replacements = open_changes(&sinks.names(), &before, &after).unwrap();
    sinks.replace(replacements, Duration::from_mins(1));
    sinks.active[0].offer(&numbered(100, 100));
    assert!(sinks.active[0].is_pending() && sinks.is_changing());
    sinks.close();
    let delivery = &sinks.delivery()["kafka"];
    assert_eq!(sum(delivery, |d| d.spooled), 200, "{delivery:?}");
}
