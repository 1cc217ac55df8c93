//! Reads a topic from its beginning to its end.

use dnscribe_tests::shell;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time limit for the next record.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A record on a topic.
pub struct Record {
    pub partition: i32,
    pub key: Vec<u8>,
    pub headers: BTreeMap<String, String>,
    pub value: Value,
}

/// Returns every record of a topic, in the order of each partition; none if the topic does not
/// exist.
pub fn consume(bootstrap: &str, topic: &str) -> Vec<Record> {
    consume_as(bootstrap, topic, read)
}

/// Like [`consume`], but keeps only what `read` returns for each record, for large topics.
pub fn consume_as<T>(
    bootstrap: &str,
    topic: &str,
    read: impl Fn(&BorrowedMessage<'_>) -> T,
) -> Vec<T> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "dnscribe-tests")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let (partitions, mut left) = extent(&consumer, topic);
    consumer.assign(&partitions).unwrap();
    let mut records = Vec::new();
    let mut last = Instant::now();
    while left > 0 {
        assert!(last.elapsed() < TIMEOUT, "{left} records of {topic} do not come");
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            records.push(read(&message.unwrap()));
            last = Instant::now();
            left -= 1;
        }
    }
    records
}

/// Returns the topic's partitions from their beginnings, and the number of their records.
fn extent(consumer: &BaseConsumer, topic: &str) -> (TopicPartitionList, i64) {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let mut partitions = TopicPartitionList::new();
    let mut count = 0;
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (low, high) = watermarks(consumer, topic, partition.id());
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        count += high - low;
    }
    (partitions, count)
}

/// Returns the first and the next offset of a partition. A broker that has just started may not lead it yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let found = shell::wait_for("the leader of a partition", TIMEOUT, || {
        match consumer.fetch_watermarks(topic, partition, TIMEOUT) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.rdkafka_error_code().is_some_and(is_starting) => Ok(None),
            Err(error) => Err(error.into()),
        }
    });
    found.unwrap()
}

fn is_starting(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition};
    matches!(code, LeaderNotAvailable | NotLeaderForPartition)
}

fn read(message: &BorrowedMessage<'_>) -> Record {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let headers = message
        .headers()
        .map(|headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), text(header.value.unwrap_or_default())))
                .collect()
        })
        .unwrap_or_default();
    Record {
        partition: message.partition(),
        key: message.key().unwrap_or_default().to_vec(),
        headers,
        value: serde_json::from_slice(message.payload().unwrap()).unwrap(),
    }
}
