//! Follows topics: passes on what arrives, without a consumer group, for as long as the program runs.

use super::super::KafkaConfig;
use super::probe::ProbeContext;
use super::read_back::offset_at;
use super::settings;
use dnscribe_record::time::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Wait for a record per poll, after which the stop flag is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Time between two looks for new topics and partitions, and after a failure.
const REFRESH: Duration = Duration::from_secs(15);
/// Time limit for metadata and offsets.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Passes each record that the topics got since the time given with their names to `each`: topic and value.
/// Returns when `stop` is set, or `each` breaks, and says whether any of the topics was found. Kafka that is away, and
/// topics that do not exist yet, are waited for: a warning when it begins and a line when it is over.
///
/// # Errors
/// Returns a sentence if librdkafka refuses the configuration.
pub fn follow(
    config: &KafkaConfig,
    topics: &[(String, Timestamp)],
    stop: &AtomicBool,
    each: &mut dyn FnMut(&str, &[u8]) -> ControlFlow<()>,
) -> Result<bool, String> {
    let mut client = settings::consumer(config);
    client.set("enable.partition.eof", "false");
    let consumer: BaseConsumer<ProbeContext> = client
        .create_with_context(ProbeContext::new(config).0)
        .map_err(|error| settings::describe_error(config, &error))?;
    let mut follower = Follower { consumer, assigned: BTreeSet::new(), is_away: false };
    let mut refreshed: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        if refreshed.is_none_or(|then| then.elapsed() >= REFRESH) {
            let result = follower.assign(topics);
            follower.report(config, result);
            refreshed = Some(Instant::now());
        }
        match follower.consumer.poll(POLL) {
            Some(Ok(message)) => {
                let flow = message.payload().map(|value| each(message.topic(), value));
                if flow.is_some_and(|flow| flow.is_break()) {
                    break;
                }
            }
            // librdkafka connects again; the next look for partitions tells whether it could.
            Some(Err(error)) => tracing::debug!("following topics: {error}"),
            None => {}
        }
    }
    Ok(!follower.assigned.is_empty())
}

struct Follower {
    consumer: BaseConsumer<ProbeContext>,
    assigned: BTreeSet<(String, i32)>,
    is_away: bool,
}

impl Follower {
    /// Assigns the partitions that are not yet followed.
    fn assign(&mut self, topics: &[(String, Timestamp)]) -> Result<(), KafkaError> {
        for (name, from) in topics {
            // All topics: a request for one could create it.
            let metadata = self.consumer.fetch_metadata(None, REQUEST_TIMEOUT)?;
            let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
                continue;
            };
            for partition in topic.partitions() {
                let place = (name.clone(), partition.id());
                if self.assigned.contains(&place) {
                    continue;
                }
                let begin = offset_at(&self.consumer, name, partition.id(), *from)?;
                let (_, end) =
                    self.consumer.fetch_watermarks(name, partition.id(), REQUEST_TIMEOUT)?;
                let mut list = TopicPartitionList::new();
                let offset = Offset::Offset(begin.unwrap_or(end));
                list.add_partition_offset(name, partition.id(), offset)?;
                self.consumer.incremental_assign(&list)?;
                self.assigned.insert(place);
            }
        }
        Ok(())
    }

    /// Logs when Kafka goes away and when it is back.
    fn report(&mut self, config: &KafkaConfig, result: Result<(), KafkaError>) {
        let brokers = config.brokers.join(", ");
        match result {
            Err(error) if !self.is_away => {
                let why = settings::describe_error(config, &error);
                tracing::warn!("cannot follow topics at {brokers}: {why}; trying again");
                self.is_away = true;
            }
            Ok(()) if self.is_away => {
                tracing::info!("following topics at {brokers} again");
                self.is_away = false;
            }
            _ => {}
        }
    }
}
