//! The harness itself: the lab answers, and the broker keeps what it acknowledged.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::lab::{Host, Lab};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

#[test]
fn the_lab_answers_and_leaves_nothing_behind() {
    if !environment::privileged() {
        return;
    }
    let lab = Lab::up().unwrap();
    let other = Lab::up().unwrap();
    assert_ne!(lab.resolver_addr(), other.resolver_addr());
    assert!(lab.dig(&["www.example.com", "+short"]).unwrap().contains("192.0.2.80"));
    assert!(other.dig(&["alias.example.com", "AAAA", "+short"]).unwrap().contains("2001:db8::80"));
    for tcp in [false, true] {
        let load = Load { queries: 500, qps: Some(1000), tcp, ..Load::default() };
        let perf = lab.dnsperf(&load).unwrap();
        assert_eq!((perf.sent, perf.completed, perf.lost), (500, 500, 0));
    }
    let closed = format!("@{}", lab.closed_addr());
    let refused = lab.exec(Host::Client, &["dig", "+tries=1", &closed, "example.com"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stdout).contains("connection refused"));
    let namespace = Path::new("/run/netns").join(lab.namespace(Host::Client));
    assert!(namespace.exists());
    drop(lab);
    assert!(!namespace.exists());
}

#[test]
fn the_broker_keeps_its_records_when_it_is_killed_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    broker.create_topic("kept", 2).unwrap();
    produce(&broker, 100);
    assert_eq!(stored(&broker), 100);
    broker.kill().unwrap();
    broker.restart().unwrap();
    produce(&broker, 50);
    assert_eq!(stored(&broker), 150);
    broker.stop().unwrap();
    broker.restart().unwrap();
    assert_eq!(stored(&broker), 150);
}

fn produce(broker: &Broker, count: u32) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for number in 0..count {
        let payload = number.to_string();
        producer.send(BaseRecord::to("kept").payload(&payload).key(&payload)).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
}

fn stored(broker: &Broker) -> i64 {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    (0..2)
        .map(|partition| consumer.fetch_watermarks("kept", partition, TIMEOUT).unwrap())
        .map(|(low, high)| high - low)
        .sum()
}
