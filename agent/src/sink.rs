//! The last room: records leave.
//!
//! A record is rendered once and put into a [`Batch`]; whole batches travel to the sinks' own
//! threads over bounded queues. No sink can make the pipeline wait: where a queue is full the
//! batch's records are dropped and counted.

#![forbid(unsafe_code)]

mod alertmanager;
mod format;
mod http;
pub mod kafka;
pub mod null;
mod observer;
mod open;
mod plan;
pub mod spec;
pub mod spool;
mod successor;
mod tally;
mod threaded;
mod writer;

#[cfg(test)]
pub(crate) use tally::drop_reasons;

pub use alertmanager::{AlertmanagerConfig, Authorization, probe as probe_alertmanager};
pub use format::{Format, Login, Password, RegistryConfig};
pub use observer::observer;
pub use open::{OpenWith, SinkError, open, probe_file, same_place};
pub use plan::{Names, Plan};
pub use spec::{KafkaConfig, Look, Rotation, SinkSpec, StreamChoice, StreamSet, TopicCreation};
pub use successor::Successor;

use crate::ledger::Delivery;
use crate::record::add_json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What kind of record: each stream has its own topic and schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// `dns.message/1`.
    Messages,
    /// `dns.transaction/1`.
    Transactions,
    /// `dns.lookup/1`.
    Lookups,
    /// `dns.window/1`.
    Metrics,
    /// `dns.alert/1`.
    Alerts,
    /// `dns.dlq/1`.
    Dlq,
    /// `dns.ledger/1`.
    Ledger,
    /// `dns.connection/1`.
    Connections,
}

impl Stream {
    /// Every stream, in the order of the contract.
    pub const ALL: [Self; 8] = [
        Self::Messages,
        Self::Transactions,
        Self::Lookups,
        Self::Metrics,
        Self::Alerts,
        Self::Dlq,
        Self::Ledger,
        Self::Connections,
    ];

    /// The stream's name, as `--stream` and the ledger spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Transactions => "transactions",
            Self::Lookups => "lookups",
            Self::Metrics => "metrics",
            Self::Alerts => "alerts",
            Self::Dlq => "dlq",
            Self::Ledger => "ledger",
            Self::Connections => "connections",
        }
    }

    /// The Kafka topic of the stream unless the configuration names another.
    #[must_use]
    pub const fn default_topic(self) -> &'static str {
        match self {
            Self::Messages => "dns.raw",
            Self::Transactions => "dns.normalized",
            Self::Lookups => "dns.lookups",
            Self::Metrics => "dns.metrics",
            Self::Alerts => "dns.alerts",
            Self::Dlq => "dns.dlq",
            Self::Ledger => "dns.ledger",
            Self::Connections => "dns.connections",
        }
    }

    /// Whether one of its records stands for many messages, so that losing it loses more than a record.
    #[must_use]
    pub const fn is_summary(self) -> bool {
        matches!(self, Self::Metrics | Self::Alerts | Self::Ledger)
    }

    /// The schema of the stream's records.
    #[must_use]
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Messages => "dns.message/1",
            Self::Transactions => "dns.transaction/1",
            Self::Lookups => "dns.lookup/1",
            Self::Metrics => "dns.window/1",
            Self::Alerts => "dns.alert/1",
            Self::Dlq => "dns.dlq/1",
            Self::Ledger => "dns.ledger/1",
            Self::Connections => "dns.connection/1",
        }
    }
}

/// Rendered records, one after the other in one buffer.
///
/// Of each record the buffer holds its rendering (JSON or text, the newline included), then its
/// partitioning key. Of records that nobody reads there is the number alone.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    counted: [u64; Stream::ALL.len()],
    filtered: [u64; Stream::ALL.len()],
    /// Records of all kinds.
    records: usize,
}

/// Where in its batch a record stands.
#[derive(Clone, Copy, Debug)]
struct Entry {
    stream: Stream,
    event_id: u128,
    line_end: usize,
    key_end: usize,
}

/// One record in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rendered<'a> {
    /// The record's stream.
    pub stream: Stream,
    /// Unique for ever; prints as 32 hex digits.
    pub event_id: u128,
    /// The rendering, with its newline.
    pub line: &'a [u8],
    /// The partitioning key.
    pub key: &'a [u8],
}

impl Batch {
    /// An empty one with room for as much as this one has, and for a record more: else every other
    /// one is copied when it is nearly full.
    #[must_use]
    pub fn like(other: &Self) -> Self {
        let bytes = other.bytes.len();
        Self {
            bytes: Vec::with_capacity(bytes + bytes / 8),
            entries: Vec::with_capacity(other.entries.len()),
            ..Self::default()
        }
    }

    /// Counts a record of which nothing is rendered. It is none of those that [`Self::iter`] gives
    /// and [`Self::len`] counts.
    pub fn count(&mut self, stream: Stream) {
        self.counted[stream as usize] += 1;
        self.records += 1;
    }

    /// Counts a record that a filter leaves out. It is none of those that [`Self::iter`] gives either.
    pub fn filter(&mut self, stream: Stream) {
        self.filtered[stream as usize] += 1;
        self.records += 1;
    }

    /// How many records a filter has left out, by stream.
    #[must_use]
    pub fn filtered(&self) -> &[u64; Stream::ALL.len()] {
        &self.filtered
    }

    /// How many records were counted and not rendered, by stream.
    #[must_use]
    pub fn counted(&self) -> &[u64; Stream::ALL.len()] {
        &self.counted
    }

    /// Appends a record: `render` writes the line with its newline, `key` the partitioning key.
    pub fn push(
        &mut self,
        stream: Stream,
        event_id: u128,
        render: impl FnOnce(&mut Vec<u8>),
        key: impl FnOnce(&mut Vec<u8>),
    ) {
        render(&mut self.bytes);
        let line_end = self.bytes.len();
        key(&mut self.bytes);
        self.entries.push(Entry { stream, event_id, line_end, key_end: self.bytes.len() });
        self.records += 1;
    }

    /// Appends a record as a line of JSON.
    pub fn push_json(
        &mut self,
        stream: Stream,
        event_id: u128,
        record: &impl Serialize,
        key: &[u8],
    ) {
        let render = |out: &mut Vec<u8>| {
            push_json_or_log(out, record);
            out.push(b'\n');
        };
        self.push(stream, event_id, render, |out| out.extend(key));
    }

    /// Appends a record of which a part is there as JSON: the other fields are added to it.
    pub fn push_begun(
        &mut self,
        stream: Stream,
        event_id: u128,
        begun: &[u8],
        rest: &impl Serialize,
        key: &[u8],
    ) {
        let render = |out: &mut Vec<u8>| {
            push_begun_or_log(out, begun, rest);
            out.push(b'\n');
        };
        self.push(stream, event_id, render, |out| out.extend(key));
    }

    /// Appends the records of another batch.
    pub fn extend(&mut self, other: &Self) {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| Entry {
            line_end: entry.line_end + shift,
            key_end: entry.key_end + shift,
            ..*entry
        }));
        for (all, more) in self.counted.iter_mut().zip(&other.counted) {
            *all += more;
        }
        for (all, more) in self.filtered.iter_mut().zip(&other.filtered) {
            *all += more;
        }
        self.records += other.records;
    }

    /// The records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Rendered<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let rendered = self.rendered(start, entry);
            start = entry.key_end;
            rendered
        })
    }

    /// The record at a place, counted from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Rendered<'_>> {
        let entry = self.entries.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].key_end);
        Some(self.rendered(start, entry))
    }

    fn rendered(&self, start: usize, entry: &Entry) -> Rendered<'_> {
        let line = &self.bytes[start..entry.line_end];
        let key = &self.bytes[entry.line_end..entry.key_end];
        Rendered { stream: entry.stream, event_id: entry.event_id, line, key }
    }

    /// Number of records rendered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of records, those counted too.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Whether there is no record, none counted either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether it holds summaries, and not what they sum up.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.stream.is_summary())
    }

    /// Octets held.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Adds a record of which a part is there as JSON, without a newline.
pub(crate) fn push_begun_or_log(out: &mut Vec<u8>, begun: &[u8], rest: &impl Serialize) {
    let start = out.len();
    out.extend_from_slice(begun);
    if let Err(error) = add_json(out, rest) {
        tracing::error!(%error, "a record could not be rendered");
        out.truncate(start);
        out.extend(b"{}");
    }
}

/// Adds a record as JSON, without a newline.
pub(crate) fn push_json_or_log(out: &mut Vec<u8>, record: &impl Serialize) {
    let start = out.len();
    // Records have string keys and no failing parts, and memory does not refuse a write.
    if let Err(error) = serde_json::to_writer(&mut *out, record) {
        tracing::error!(%error, "a record could not be rendered");
        out.truncate(start);
        out.extend(b"{}");
    }
}

/// A place that records go to, fed in batches. Implementations own a thread and a bounded queue.
pub trait Sink: Send {
    /// The sink's name in the ledger.
    fn name(&self) -> &str;

    /// Whether records of the stream are this sink's. Others in a batch are passed over, uncounted.
    fn wants(&self, stream: Stream) -> bool;

    /// How the records of the batches offered must be rendered.
    fn look(&self) -> Look;

    /// Takes a batch. Never waits, never fails: what cannot be taken is counted as dropped.
    fn offer(&mut self, batch: &Arc<Batch>);

    /// Waits until `batch`, offered next, would find room, for `limit` at most, and says whether it
    /// would. For replay, which can wait for its sinks; live capture never does. A sink that has
    /// failed has room: it drops at once.
    fn wait_for_room(&self, batch: &Batch, limit: Duration) -> bool;

    /// Between two records, leaves what is open for what now has its name. For files, which others
    /// move away and then signal it; nothing to others.
    fn reopen(&mut self) {}

    /// Leaves the records out of the dead letters that the sink makes of them, or does not. Nothing to
    /// sinks that make none.
    fn hide_dead_letters(&mut self, _hidden: bool) {}

    /// Waits until everything offered is delivered or dropped, for `limit` at most, and says whether
    /// it is. What is still on its way then stays in flight.
    fn flush(&mut self, limit: Duration) -> bool;

    /// The sink that takes this one's place from now on, if that can be: it has been given what waited
    /// here, which is not counted here any more.
    fn relieve(&mut self) -> Option<Box<dyn Sink>> {
        None
    }

    /// Gives up what is still in flight, counts it as dropped (`shutdown`), ends the thread.
    fn close(&mut self);

    /// This moment's counters by stream name, every stream of the sink, zeros included. Holds
    /// identity 5 at every call.
    fn counters(&self) -> BTreeMap<String, Delivery>;

    /// The same of records that an earlier capture left behind, which are not of this capture's
    /// balance; nothing for a sink without a spool.
    fn recovered(&self) -> Option<BTreeMap<String, Delivery>> {
        None
    }

    /// Why the sink can take nothing any more, once it has failed for good.
    fn failure(&self) -> Option<Failure>;

    /// Octets of records that wait on disk.
    fn spool_bytes(&self) -> u64 {
        0
    }

    /// What else the sink measures, for `/metrics`.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }
}

/// A number of the sink's own, beside the ledger's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// Metric name, such as `dnscribe_kafka_queue_bytes`; what it means is in the metrics' dictionary.
    pub name: &'static str,
    /// The number now.
    pub value: f64,
}

impl Gauge {
    /// A number of a metric.
    #[must_use]
    pub const fn new(name: &'static str, value: f64) -> Self {
        Self { name, value }
    }
}

/// Every number of a sink's own.
#[cfg(test)]
pub(crate) fn every_gauge() -> Vec<Gauge> {
    [kafka::every_gauge(), alertmanager::every_gauge()].concat()
}

/// A sink's end before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The reader of the pipe went away: a quiet end, not an error.
    PipeClosed,
    /// What went wrong, as a sentence for the operator.
    Broken(String),
}
