//! Reading topics back, for `dnscribe ledger verify`.

use super::super::{KafkaConfig, Stream};
use super::settings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

/// How long a broker may take to answer, and to give the next record.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hands the records of all configured topics, from the oldest kept to the newest at the time of
/// the call, to `each`, with the place of each: topic, partition and offset.
///
/// # Errors
/// A sentence, where Kafka cannot be reached or stops answering.
pub fn read_back(
    config: &KafkaConfig,
    each: &mut dyn FnMut(&[u8], &dyn Display),
) -> Result<(), String> {
    let brokers = config.brokers.join(", ");
    let failed =
        |error| format!("cannot read from {brokers}: {}", settings::explain(config, &error));
    let consumer: BaseConsumer = settings::consumer(config).create().map_err(failed)?;
    let mut ends = ends(&consumer, config).map_err(failed)?;
    let mut assignment = TopicPartitionList::new();
    for (topic, partition) in ends.keys() {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    while !ends.is_empty() {
        let message = match consumer.poll(PATIENCE) {
            None => return Err(format!("{brokers} gave no record within {PATIENCE:?}")),
            Some(Err(KafkaError::PartitionEOF(_))) => {
                // The last offsets of a partition may hold no record: compacted, or of no use here.
                let positions = consumer.position().map_err(failed)?;
                ends.retain(|(topic, partition), end| {
                    let place = positions.find_partition(topic, *partition);
                    place.and_then(|place| place.offset().to_raw()).is_none_or(|at| at < *end)
                });
                continue;
            }
            Some(message) => message.map_err(failed)?,
        };
        let place = (message.topic().to_owned(), message.partition());
        let Some(&end) = ends.get(&place) else { continue };
        if message.offset() < end {
            let at = format!("{}/{} at {}", place.0, place.1, message.offset());
            each(message.payload().unwrap_or_default(), &at);
        }
        if message.offset() + 1 >= end {
            ends.remove(&place);
        }
    }
    Ok(())
}

/// Where the partitions end that are not empty.
fn ends(
    consumer: &BaseConsumer,
    config: &KafkaConfig,
) -> Result<HashMap<(String, i32), i64>, KafkaError> {
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let mut ends = HashMap::new();
    for stream in Stream::ALL {
        let name = config.topic(stream);
        let topics = metadata.topics().iter().filter(|topic| topic.name() == name);
        for partition in topics.flat_map(MetadataTopic::partitions) {
            let (low, high) = consumer.fetch_watermarks(name, partition.id(), PATIENCE)?;
            if high > low {
                ends.insert((name.to_owned(), partition.id()), high);
            }
        }
    }
    Ok(ends)
}
