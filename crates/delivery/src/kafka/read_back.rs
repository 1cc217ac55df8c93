//! Reads topics back, for `dnscribe ledger verify` and other commands.

use super::super::{KafkaConfig, Stream};
use super::encode::{DecodeError, Decoder};
use super::probe::{self, ProbeContext};
use super::settings;
use dnscribe_record::time::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

/// Time limit for metadata and offsets.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the next record; long enough for a broker to restart.
const PATIENCE: Duration = Duration::from_secs(90);

/// Wait for a record per poll.
const POLL: Duration = Duration::from_secs(1);

/// Called with each record: its value, its event id header, and its position. `Break` stops reading.
pub type Each<'a> = dyn FnMut(&[u8], Option<&[u8]>, &RecordPosition<'_>) -> ControlFlow<()> + 'a;

/// Position of a record. `Display` shows it for messages.
#[derive(Clone, Debug)]
pub struct RecordPosition<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Number of the partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// When the record was written, if known.
    pub written: Option<Timestamp>,
    /// Why the record is not readable, if so.
    pub problem: Option<String>,
}

impl fmt::Display for RecordPosition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.topic, self.partition, self.offset)?;
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, " ({problem})"))
    }
}

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
    let failed = |error| cannot_read(config, &error);
    let (consumer, metadata) = connect(config, Deleted::Skip)?;
    let mut decoder = Decoder::new(config);
    let mut gaps = Vec::new();
    let mut topics = Vec::new();
    // The end of the ledger is determined first, so that the records it counts as delivered are
    // before the ends of the other topics, although new records arrive.
    let data = Stream::ALL.into_iter().filter(|stream| *stream != Stream::Ledger);
    for stream in std::iter::once(Stream::Ledger).chain(data) {
        let name = config.topic(stream);
        // Streams may share a topic.
        if topics.iter().any(|(_, topic): &(Stream, Topic)| topic.name == name) {
            continue;
        }
        match Topic::find(&consumer, &metadata, name, TimeSpan::default()).map_err(failed)? {
            Some(topic) => topics.push((stream, topic)),
            None => gaps.push(Gap { stream, what: format!("there is no topic {name}") }),
        }
    }
    let offsets: i64 = topics.iter().map(|(_, topic)| topic.offsets()).sum();
    tracing::info!("reading {offsets} offsets of {} topics from {brokers}", topics.len());
    for (stream, mut topic) in topics {
        let flow = topic.read(&consumer, &mut |message| {
            let TopicMessage { topic, partition, offset, written, .. } = message;
            // Tombstones of a compacted topic have no value.
            let Some(value) = message.value else { return Ok(ControlFlow::Continue(())) };
            let mut at = RecordPosition { topic, partition, offset, written, problem: None };
            match decoder.decode(value) {
                Ok(line) => Ok(each(line, message.event_id, &at)),
                Err(DecodeError::Registry(why)) => Err(why),
                // Passed on as it is; its position tells why it is not readable.
                Err(DecodeError::Record(why)) => {
                    at.problem = Some(why);
                    Ok(each(value, message.event_id, &at))
                }
            }
        });
        let flow =
            flow.map_err(|why| format!("cannot read {} from {brokers}: {why}", topic.name))?;
        gaps.extend(topic.gaps().map(|what| Gap { stream, what }));
        if flow.is_break() {
            break;
        }
    }
    Ok(gaps)
}

/// Part of a topic, by the time at which the brokers received the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpan {
    /// Begin; none: the oldest record kept.
    pub from: Option<Timestamp>,
    /// End, itself not included; none: the newest record at the time of the call.
    pub to: Option<Timestamp>,
}

/// A record of a topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicMessage<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// Number of the partition.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// When it was written, if known.
    pub written: Option<Timestamp>,
    /// Whether it is the first record of the partition that was read.
    pub is_first: bool,
    /// Partitioning key, if any.
    pub key: Option<&'a [u8]>,
    /// Header `event_id`, if any.
    pub event_id: Option<&'a [u8]>,
    /// Value; none for a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Passes the records of a topic to `each`, one partition's in order, those of several partitions
/// mixed. `Break` stops reading. Returns what is missing, as sentences.
///
/// # Errors
/// Returns a sentence if Kafka is unreachable or stops answering, if there is no such topic, or if
/// `each` fails.
pub fn read_topic(
    config: &KafkaConfig,
    name: &str,
    span: TimeSpan,
    each: &mut dyn FnMut(TopicMessage<'_>) -> Result<ControlFlow<()>, String>,
) -> Result<Vec<String>, String> {
    let mut reader = TopicReader::find(config, name, span, Deleted::Skip)?;
    reader.read(each)?;
    Ok(if span.from.is_none() { reader.topic.gaps().collect() } else { Vec::new() })
}

/// A topic of which the caller knows what it has read before. Reading fails where records are deleted meanwhile.
pub struct TopicReader {
    consumer: Reader,
    topic: Topic,
}

impl TopicReader {
    /// Finds a topic with the offsets of its partitions.
    ///
    /// # Errors
    /// Returns a sentence if Kafka is unreachable, or if there is no such topic.
    pub fn open(config: &KafkaConfig, name: &str) -> Result<Self, String> {
        Self::find(config, name, TimeSpan::default(), Deleted::Fail)
    }

    fn find(
        config: &KafkaConfig,
        name: &str,
        span: TimeSpan,
        deleted: Deleted,
    ) -> Result<Self, String> {
        let (consumer, metadata) = connect(config, deleted)?;
        let found = Topic::find(&consumer, &metadata, name, span);
        let found = found.map_err(|error| cannot_read(config, &error))?;
        let topic = found.ok_or_else(|| format!("there is no topic {name}"))?;
        Ok(Self { consumer, topic })
    }

    /// Returns the offsets of each partition that are read: from the oldest kept to the newest at the time of
    /// [`Self::open`], until [`Self::begin_at`] moves their beginning.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<i32, Range<i64>> {
        let partitions = self.topic.partitions.iter();
        partitions.map(|(id, partition)| (*id, partition.begin..partition.end)).collect()
    }

    /// Begins a partition at this offset, if it is still kept.
    pub fn begin_at(&mut self, partition: i32, offset: i64) {
        if let Some(partition) = self.topic.partitions.get_mut(&partition) {
            partition.begin = partition.begin.max(offset);
            partition.done = partition.end <= partition.begin;
        }
    }

    /// Passes records to `each`, as [`read_topic`] does.
    ///
    /// # Errors
    /// Returns a sentence if Kafka is unreachable or stops answering, if records were deleted before they were
    /// read, or if `each` fails.
    pub fn read(
        &mut self,
        each: &mut dyn FnMut(TopicMessage<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), String> {
        tracing::info!("reading {} offsets of {}", self.topic.offsets(), self.topic.name);
        // The caller stops reading by itself.
        let _ = self.topic.read(&self.consumer, each)?;
        Ok(())
    }

    /// Describes the offsets that were read and hold no record.
    pub fn holes(&self) -> impl Iterator<Item = String> {
        self.topic.holes()
    }
}

/// Returns the names of all topics that this client may see.
///
/// # Errors
/// Returns a sentence if Kafka is unreachable.
pub fn topic_names(config: &KafkaConfig) -> Result<BTreeSet<String>, String> {
    let (_, metadata) = connect(config, Deleted::Skip)?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Converts the value of a record of a stream to JSON, as [`read_back`] does.
pub struct RecordDecoder {
    decoder: Decoder,
    /// Whether the log has a reason why a record is not readable.
    has_warned: bool,
}

impl RecordDecoder {
    /// Creates a decoder that asks the configured schema registry.
    #[must_use]
    pub fn new(config: &KafkaConfig) -> Self {
        Self { decoder: Decoder::new(config), has_warned: false }
    }

    /// Returns the record as JSON. A value that is no record is returned as it is, for the caller to count; the reason
    /// of the first is logged.
    ///
    /// # Errors
    /// Returns a sentence if the registry does not answer.
    pub fn decode<'a>(&'a mut self, value: &'a [u8]) -> Result<&'a [u8], String> {
        match self.decoder.decode(value) {
            Ok(line) => Ok(line),
            Err(DecodeError::Registry(why)) => Err(why),
            Err(DecodeError::Record(why)) => {
                if !self.has_warned {
                    tracing::warn!("a record cannot be read: {why}");
                }
                self.has_warned = true;
                Ok(value)
            }
        }
    }
}

fn cannot_read(config: &KafkaConfig, error: &KafkaError) -> String {
    let brokers = config.brokers.join(", ");
    format!("cannot read from {brokers}: {}", settings::describe_error(config, error))
}

/// What a reader does where records were deleted before it has read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    /// Goes on with the oldest record kept; the gap is reported.
    Skip,
    /// Fails.
    Fail,
}

fn connect(config: &KafkaConfig, deleted: Deleted) -> Result<(Reader, Metadata), String> {
    let metadata = probe::metadata(config, REQUEST_TIMEOUT)
        .map_err(|why| format!("cannot read from {}: {why}", config.brokers.join(", ")))?;
    let context = ProbeContext::new(config).0;
    let mut client = settings::consumer(config);
    // The broker says at once that a partition has no more records; by default it waits half a second for some.
    client.set("fetch.wait.max.ms", "10");
    if deleted == Deleted::Fail {
        client.set("auto.offset.reset", "error");
    }
    let consumer =
        client.create_with_context(context).map_err(|error| cannot_read(config, &error))?;
    Ok((consumer, metadata))
}

/// A topic and how far it was read.
struct Topic {
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
        name: &str,
        span: TimeSpan,
    ) -> Result<Option<Self>, KafkaError> {
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        let mut partitions = BTreeMap::new();
        for partition in found.partitions() {
            let id = partition.id();
            let (low, high) = consumer.fetch_watermarks(name, id, REQUEST_TIMEOUT)?;
            let at = |time| offset_at(consumer, name, id, time);
            let begin = span.from.map(at).transpose()?.map_or(low, |from| from.unwrap_or(high));
            let end = span.to.map(at).transpose()?.flatten().unwrap_or(high);
            let state = Partition { begin, end, records: 0, done: end <= begin };
            partitions.insert(partition.id(), state);
        }
        Ok(Some(Self { name: name.to_owned(), partitions }))
    }

    fn offsets(&self) -> i64 {
        self.partitions.values().map(|partition| partition.end - partition.begin).sum()
    }

    /// Reads all partitions to their ends. Topics are read one after another, because the end of a
    /// partition is reported without its topic.
    fn read(
        &mut self,
        consumer: &Reader,
        each: &mut dyn FnMut(TopicMessage<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<ControlFlow<()>, String> {
        let failed = |error| settings::describe_error(&consumer.context().config, &error);
        consumer.assign(&self.unread().map_err(failed)?).map_err(failed)?;
        let mut last = Instant::now();
        let mut trouble = None;
        while self.partitions.values().any(|partition| !partition.done) {
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    if self.take(&message, each)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(id))) => {
                    self.partitions.entry(id).and_modify(|partition| partition.done = true);
                }
                Some(Err(error)) if is_code(&error, RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(format!(
                        "records of {} were deleted before they were read",
                        self.name
                    ));
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
        each: &mut dyn FnMut(TopicMessage<'_>) -> Result<ControlFlow<()>, String>,
    ) -> Result<ControlFlow<()>, String> {
        let (id, offset) = (message.partition(), message.offset());
        let Some(partition) = self.partitions.get_mut(&id) else {
            return Ok(ControlFlow::Continue(()));
        };
        partition.done |= offset + 1 >= partition.end;
        // Skip records that arrived after the call.
        if offset >= partition.end {
            return Ok(ControlFlow::Continue(()));
        }
        let value = message.payload();
        let is_first = partition.records == 0;
        partition.records += i64::from(value.is_some());
        let (key, event_id) = (message.key(), event_id(message));
        let written = message.timestamp().to_millis().and_then(|millis| u64::try_from(millis).ok());
        each(TopicMessage {
            topic: &self.name,
            partition: id,
            offset,
            written: written.map(|millis| Timestamp::from_nanos(millis.saturating_mul(1_000_000))),
            is_first,
            key,
            event_id,
            value,
        })
    }

    /// Describes the offsets that hold no record.
    fn gaps(&self) -> impl Iterator<Item = String> {
        let begins = self.partitions.iter().filter(|(_, partition)| partition.begin > 0);
        let retention = begins.map(|(id, partition)| {
            format!(
                "{}/{id} begins at offset {}: what was before is gone (retention), and captures of that time \
                 cannot close",
                self.name, partition.begin
            )
        });
        retention.chain(self.holes())
    }

    /// Describes the offsets between others that hold no record.
    fn holes(&self) -> impl Iterator<Item = String> {
        self.partitions.iter().filter_map(|(id, Partition { begin, end, records, done })| {
            let none = end - begin - records;
            (*done && none > 0).then(|| {
                format!(
                    "{}/{id}: {none} of the offsets {begin} to {} hold no record (compacted, \
                     deleted meanwhile, or marks of transactions)",
                    self.name,
                    end - 1
                )
            })
        })
    }
}

/// Returns the offset of a partition's first record that the broker received at `time` or later, if
/// there is one.
pub(super) fn offset_at(
    consumer: &Reader,
    name: &str,
    partition: i32,
    time: Timestamp,
) -> Result<Option<i64>, KafkaError> {
    let millis = i64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(name, partition, Offset::Offset(millis))?;
    let found = consumer.offsets_for_times(list, REQUEST_TIMEOUT)?;
    let offset = found.elements().first().map(TopicPartitionListElem::offset);
    Ok(offset.and_then(Offset::to_raw).filter(|offset| *offset >= 0))
}

fn is_code(error: &KafkaError, code: RDKafkaErrorCode) -> bool {
    error.rdkafka_error_code() == Some(code)
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
