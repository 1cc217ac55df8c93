//! The harness itself: the broker keeps what it acknowledged, whatever happens to it, and the
//! reader of topics gives all of it back.

use crate::consume::consume;
use dnscribe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn records_outlive_the_broker_that_took_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    broker.create_topic("kept", 2).unwrap();
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

/// The numbers on the topic, each seen to be there once and the same in key, header and value.
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
