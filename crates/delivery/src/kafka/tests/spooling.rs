//! The sink with a spool: records that Kafka does not accept are delivered later, once and in
//! order.

use super::*;
use crate::spool::WhenFull;
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::path::Path;

fn spool(directory: &Path) -> SpoolConfig {
    SpoolConfig {
        directory: directory.to_owned(),
        max_bytes: 16 << 20,
        max_age: Duration::from_secs(3600),
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
