//! Reads topics back, for `dnscribe ledger verify`.

use super::super::{KafkaConfig, Stream};
use super::encode::{DecodeError, Decoder};
use super::probe::{self, ProbeContext};
use super::settings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Time limit for metadata and offsets.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the next record; long enough for a broker to restart.
const PATIENCE: Duration = Duration::from_secs(90);

/// Wait for a record per poll.
const POLL: Duration = Duration::from_secs(1);

/// Called with each record: its value, its event id header, and its position (topic, partition and
/// offset). `Break` stops reading.
pub type Each<'a> = dyn FnMut(&[u8], Option<&[u8]>, &dyn Display) -> ControlFlow<()> + 'a;

type Reader = BaseConsumer<ProbeContext>;

/// Records of a stream that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The stream.
    pub stream: Stream,
    /// What is missing and why, as a sentence.
    pub what: String,
}

/// Passes the records of all configured topics as JSON to `each`, from the oldest kept to the
/// newest at the time of the call. Returns what is missing.
///
/// # Errors
/// Returns a sentence if Kafka is unreachable or stops answering.
pub fn read_back(config: &KafkaConfig, each: &mut Each<'_>) -> Result<Vec<Gap>, String> {
    let brokers = config.brokers.join(", ");
    let failed =
        |error| format!("cannot read from {brokers}: {}", settings::describe_error(config, &error));
    let metadata = probe::metadata(config, REQUEST_TIMEOUT)
        .map_err(|why| format!("cannot read from {brokers}: {why}"))?;
    let context = ProbeContext::new(config).0;
    let consumer: Reader =
        settings::consumer(config).create_with_context(context).map_err(failed)?;
    let mut decoder = Decoder::new(config);
    let mut gaps = Vec::new();
    let mut topics = Vec::new();
    // The end of the ledger is determined first, so that the records it counts as delivered are
    // before the ends of the other topics, although new records arrive.
    let data = Stream::ALL.into_iter().filter(|stream| *stream != Stream::Ledger);
    for stream in std::iter::once(Stream::Ledger).chain(data) {
        let name = config.topic(stream);
        // Streams may share a topic.
        if topics.iter().any(|topic: &Topic| topic.name == name) {
            continue;
        }
        match Topic::find(&consumer, &metadata, stream, name).map_err(failed)? {
            Some(topic) => topics.push(topic),
            None => gaps.push(Gap { stream, what: format!("there is no topic {name}") }),
        }
    }
    let offsets: i64 = topics.iter().map(Topic::offsets).sum();
    tracing::info!("reading {offsets} offsets of {} topics from {brokers}", topics.len());
    for mut topic in topics {
        let flow = topic.read(&consumer, &mut decoder, each);
        let flow =
            flow.map_err(|why| format!("cannot read {} from {brokers}: {why}", topic.name))?;
        topic.gaps(&mut gaps);
        if flow.is_break() {
            break;
        }
    }
    Ok(gaps)
}

/// A topic and how far it was read.
struct Topic {
    stream: Stream,
    name: String,
    partitions: BTreeMap<i32, Partition>,
}

/// A partition and how far it was read.
struct Partition {
    /// The oldest offset kept.
    begin: i64,
    /// The offset after the newest at the time of the call.
    end: i64,
    /// Records passed on.
    records: i64,
    done: bool,
}

impl Topic {
    /// Finds the topic; `None` if it does not exist.
    fn find(
        consumer: &Reader,
        metadata: &Metadata,
        stream: Stream,
        name: &str,
    ) -> Result<Option<Self>, KafkaError> {
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        let mut partitions = BTreeMap::new();
        for partition in found.partitions() {
            let (begin, end) = consumer.fetch_watermarks(name, partition.id(), REQUEST_TIMEOUT)?;
            let state = Partition { begin, end, records: 0, done: end <= begin };
            partitions.insert(partition.id(), state);
        }
        Ok(Some(Self { stream, name: name.to_owned(), partitions }))
    }

    fn offsets(&self) -> i64 {
        self.partitions.values().map(|partition| partition.end - partition.begin).sum()
    }

    /// Reads all partitions to their ends. Topics are read one after another, because the end of a
    /// partition is reported without its topic.
    fn read(
        &mut self,
        consumer: &Reader,
        decoder: &mut Decoder,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, String> {
        let failed = |error| settings::describe_error(&consumer.context().config, &error);
        consumer.assign(&self.unread().map_err(failed)?).map_err(failed)?;
        let mut last = Instant::now();
        let mut trouble = None;
        while self.partitions.values().any(|partition| !partition.done) {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if self.take(&message, decoder, each)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(id))) => {
                    self.partitions.entry(id).and_modify(|partition| partition.done = true);
                }
                Some(Err(error)) if is_final(&error) => return Err(failed(error)),
                // librdkafka retries.
                other => {
                    if let Some(Err(error)) = other {
                        tracing::debug!("reading {}: {error}", self.name);
                        trouble = Some(failed(error));
                    }
                    if last.elapsed() > PATIENCE {
                        let why = trouble.map(|why| format!(" ({why})")).unwrap_or_default();
                        return Err(format!("no record arrived within {PATIENCE:?}{why}"));
                    }
                    continue;
                }
            }
            last = Instant::now();
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The partitions with records, from their beginnings.
    fn unread(&self) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for (id, partition) in self.partitions.iter().filter(|(_, partition)| !partition.done) {
            list.add_partition_offset(&self.name, *id, Offset::Offset(partition.begin))?;
        }
        Ok(list)
    }

    fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        decoder: &mut Decoder,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, String> {
        let (id, offset) = (message.partition(), message.offset());
        let Some(partition) = self.partitions.get_mut(&id) else {
            return Ok(ControlFlow::Continue(()));
        };
        partition.done |= offset + 1 >= partition.end;
        // Skip records that arrived after the call, and tombstones of a compacted topic.
        let (true, Some(value)) = (offset < partition.end, message.payload()) else {
            return Ok(ControlFlow::Continue(()));
        };
        partition.records += 1;
        let (id_header, at) = (event_id(message), format_args!("{}/{id} at {offset}", self.name));
        match decoder.decode(value) {
            Ok(line) => Ok(each(line, id_header, &at)),
            Err(DecodeError::Registry(why)) => Err(why),
            // Passed on as it is; its position tells why it is not readable.
            Err(DecodeError::Record(why)) => {
                Ok(each(value, id_header, &format_args!("{at} ({why})")))
            }
        }
    }

    /// Adds the offsets that hold no record.
    fn gaps(&self, gaps: &mut Vec<Gap>) {
        for (id, Partition { begin, end, records, done }) in &self.partitions {
            let mut add = |what| gaps.push(Gap { stream: self.stream, what });
            if *begin > 0 {
                add(format!(
                    "{}/{id} begins at offset {begin}: what was before is gone (retention), and \
                     captures of that time cannot close",
                    self.name
                ));
            }
            let none = end - begin - records;
            if *done && none > 0 {
                add(format!(
                    "{}/{id}: {none} of the offsets {begin} to {} hold no record (compacted, \
                     deleted meanwhile, or marks of transactions)",
                    self.name,
                    end - 1
                ));
            }
        }
    }
}

/// Returns whether retrying is useless.
fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::ClusterAuthorizationFailed
                | Code::Fatal
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::UnknownPartition
                | Code::UnknownTopic
                | Code::UnknownTopicOrPartition
        )
    )
}

fn event_id<'a>(message: &'a BorrowedMessage<'_>) -> Option<&'a [u8]> {
    message.headers()?.iter().find(|header| header.key == "event_id")?.value
}
