//! Test of the harness: the broker keeps acknowledged records across restarts, and the topic reader
//! returns all of them.

use crate::admin::create_topic;
use crate::consume::consume;
use dnscribe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn records_survive_broker_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    create_topic(&broker, "kept", 2);
    produce(&broker, 0..100);
    assert_eq!(numbers(&broker), (0..100).collect());
    broker.kill().unwrap();
    broker.restart().unwrap();
    produce(&broker, 100..150);
    broker.stop().unwrap();
    broker.restart().unwrap();
    assert_eq!(numbers(&broker), (0..150).collect());
}

fn produce(broker: &Broker, numbers: std::ops::Range<u64>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .unwrap();
    for number in numbers {
        let text = number.to_string();
        let header = Header { key: "number", value: Some(&text) };
        let headers = OwnedHeaders::new().insert(header);
        producer.send(BaseRecord::to("kept").payload(&text).key(&text).headers(headers)).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Returns the numbers on the topic; each must occur once, with equal key, header and value.
fn numbers(broker: &Broker) -> BTreeSet<u64> {
    let records = consume(&broker.bootstrap(), "kept");
    let numbers: BTreeSet<u64> = records
        .iter()
        .map(|record| {
            let number = record.value.as_u64().unwrap();
            assert_eq!(record.key, number.to_string().into_bytes());
            assert_eq!(record.headers["number"], number.to_string());
            number
        })
        .collect();
    assert_eq!(numbers.len(), records.len());
    numbers
}
