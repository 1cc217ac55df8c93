//! Changes of a broker's topics by librdkafka: Kafka's own tools start a Java process for each.

use dnscribe_tests::kafka::Broker;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(1);

/// Returns the broker that `cargo xtask test` lends this process, without the topics of earlier tests, or else a new one
/// below `folder`. For tests that neither stop it nor need settings of their own.
pub fn shared_broker(folder: &Path) -> Broker {
    let Some(broker) = Broker::lent() else { return Broker::up(folder).unwrap() };
    let broker = broker.unwrap();
    delete_topics(&broker);
    broker
}

/// Creates a topic.
pub fn create_topic(broker: &Broker, name: &str, partitions: u32) {
    let partitions = i32::try_from(partitions).unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let created = wait_for(admin(broker).create_topics([&topic], &AdminOptions::new())).unwrap();
    for topic in created {
        topic.unwrap();
    }
}

/// Deletes all but the newest record of each partition, as retention does.
pub fn delete_old_records(broker: &Broker, topic: &str) {
    let admin = admin(broker);
    let metadata = admin.inner().fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let mut offsets = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
        let (low, high) = admin.inner().fetch_watermarks(topic, partition.id(), TIMEOUT).unwrap();
        let keep = Offset::Offset((high - 1).max(low));
        offsets.add_partition_offset(topic, partition.id(), keep).unwrap();
    }
    let deleted = wait_for(admin.delete_records(&offsets, &AdminOptions::new())).unwrap();
    for partition in deleted.elements() {
        partition.error().unwrap();
    }
}

/// Deletes all topics but those of Kafka itself.
fn delete_topics(broker: &Broker) {
    let admin = admin(broker);
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT).unwrap();
    let names = metadata.topics().iter().map(MetadataTopic::name);
    let names: Vec<&str> = names.filter(|name| !name.starts_with("__")).collect();
    if names.is_empty() {
        return;
    }
    let deleted = wait_for(admin.delete_topics(&names, &AdminOptions::new())).unwrap();
    for topic in deleted {
        topic.unwrap();
    }
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap()
}

/// Runs a future to completion without an executor.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => return result,
            Poll::Pending => thread::sleep(Duration::from_millis(10)),
        }
    }
}
