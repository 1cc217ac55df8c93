//! Delivery of records: sinks, their bounded queues, and the spool.
//!
//! A sink receives rendered records in [`Batch`]es over a bounded queue and delivers them on its own
//! thread: to Kafka, OpenTelemetry, files, Parquet, stdout, Alertmanager, or nowhere. A sink never blocks its caller: when
//! its queue is full, it drops the batch and counts its records.
//!
//! Each sink guarantees identity 5 of the ledger, for every stream and at every moment:
//!
//! ```text
//! records = delivered + spooled + in_flight + filtered + dropped
//! ```
//!
//! `dropped` is counted by reason. Kafka acknowledges each record it counts as delivered. While
//! Kafka is unavailable, records wait in the [`spool`], a bounded queue on disk, and are sent in
//! order later, also by the next process.
//!
//! # Example
//!
//! Any program can deliver records: it opens sinks, offers batches, flushes and closes.
//!
//! ```
//! use dnscribe_delivery::{self as delivery, Batch, KafkaConfig, OpenWith, SinkSpec, Stream};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let file = SinkSpec::File(directory.path().join("records.ndjson"));
//! let kafka = KafkaConfig::default();
//! let mut sinks = delivery::open(&[file], &OpenWith::new("probe-1", &kafka))?;
//!
//! let mut batch = Batch::default();
//! let record = serde_json::json!({ "qname": "example.com." });
//! batch.push_json(Stream::Transactions, 1, &record, b"example.com.");
//! sinks[0].offer(&Arc::new(batch));
//!
//! assert!(sinks[0].flush(Duration::from_secs(5)));
//! let delivery = &sinks[0].counters()["transactions"];
//! assert_eq!((delivery.records, delivery.delivered), (1, 1));
//! sinks[0].close();
//! # Ok(())
//! # }
//! ```

mod alertmanager;
mod dnstap;
mod evidence;
pub mod files;
mod format;
mod frames;
pub mod http;
pub mod kafka;
pub mod null;
mod observer;
mod open;
mod otlp;
mod parquet;
mod pcapng;
mod router;
pub mod spec;
pub mod spool;
mod spooled;
mod state_file;
mod successor;
mod tally;
#[cfg(test)]
mod testing;
mod threaded;
mod writer;

pub use tally::drop_reasons;

pub use alertmanager::{AlertmanagerConfig, Authorization, probe as probe_alertmanager};
pub use dnstap::DnstapTarget;
pub use evidence::{EvidenceLimits, evidence_file};
pub use format::{Format, Login, Password, RegistryConfig};
pub use observer::observer;
pub use open::{
    OpenWith, SinkError, SinkNames, SinkPlan, is_same_file, open, probe_directory, probe_file,
};
pub use otlp::{OtlpConfig, Target as OtlpTarget, Temporality, probe as probe_otlp};
pub use router::{
    Render, SinkReplacement, SinkRouter, SinkSet, SinkStatus, SinkWatch, open_changes,
};
pub use spec::{KafkaConfig, OutputFormat, Rotation, SinkSpec, StreamSelection, TopicCreation};
pub use state_file::StateFile;
pub use threaded::END_TIMEOUT;
pub use writer::is_rotated_from;

pub use dnscribe_record::{Stream, StreamSet};

use dnscribe_record::ledger::Delivery;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rendered records in one buffer.
///
/// For each record the buffer holds its rendering (JSON or text with the newline), then its
/// partitioning key. Records that no sink renders are only counted.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    entries: Vec<RecordPosition>,
    counted: [u64; Stream::ALL.len()],
    filtered: [u64; Stream::ALL.len()],
    /// Records of all kinds: rendered, counted and filtered.
    records: usize,
}

/// Position of a record in its batch.
#[derive(Clone, Copy, Debug)]
struct RecordPosition {
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
    /// Globally unique; printed as 32 hex digits.
    pub event_id: u128,
    /// The rendering with its newline.
    pub line: &'a [u8],
    /// The partitioning key.
    pub key: &'a [u8],
}

impl Batch {
    /// Creates an empty batch with the capacity of `other` and one eighth more, to avoid copying a
    /// nearly full batch.
    #[must_use]
    pub fn with_capacity_of(other: &Self) -> Self {
        let bytes = other.bytes.len();
        Self {
            bytes: Vec::with_capacity(bytes + bytes / 8),
            entries: Vec::with_capacity(other.entries.len()),
            ..Self::default()
        }
    }

    /// Counts a record without rendering it. [`Self::iter`] and [`Self::len`] do not include it.
    pub fn add_counted(&mut self, stream: Stream) {
        self.counted[stream as usize] += 1;
        self.records += 1;
    }

    /// Counts a record that a filter removes. [`Self::iter`] and [`Self::len`] do not include it.
    pub fn add_filtered(&mut self, stream: Stream) {
        self.filtered[stream as usize] += 1;
        self.records += 1;
    }

    /// Number of filtered records by stream.
    #[must_use]
    pub fn filtered(&self) -> &[u64; Stream::ALL.len()] {
        &self.filtered
    }

    /// Number of records counted but not rendered, by stream.
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
        self.entries.push(RecordPosition { stream, event_id, line_end, key_end: self.bytes.len() });
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
            append_json(out, record);
            out.push(b'\n');
        };
        self.push(stream, event_id, render, |out| out.extend(key));
    }

    /// Appends the records of another batch.
    pub fn extend(&mut self, other: &Self) {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| RecordPosition {
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

    /// The rendered records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Rendered<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let rendered = self.rendered(start, entry);
            start = entry.key_end;
            rendered
        })
    }

    /// The rendered record with this index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Rendered<'_>> {
        let entry = self.entries.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].key_end);
        Some(self.rendered(start, entry))
    }

    fn rendered(&self, start: usize, entry: &RecordPosition) -> Rendered<'_> {
        let line = &self.bytes[start..entry.line_end];
        let key = &self.bytes[entry.line_end..entry.key_end];
        Rendered { stream: entry.stream, event_id: entry.event_id, line, key }
    }

    /// Number of rendered records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of records, including counted and filtered ones.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Returns whether there is no record at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Returns whether the batch contains summaries.
    #[must_use]
    pub fn is_summary(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.stream.is_summary())
    }

    /// Bytes of all rendered records and keys.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Appends a record as JSON without a newline; an empty object if it cannot be rendered.
pub fn append_json(out: &mut Vec<u8>, record: &impl Serialize) {
    let start = out.len();
    // Records have string keys and serialize without errors, and writing to memory does not fail.
    if let Err(error) = serde_json::to_writer(&mut *out, record) {
        tracing::error!(%error, "cannot render a record");
        out.truncate(start);
        out.extend(b"{}");
    }
}

/// A destination of records. Implementations with slow destinations own a thread and a bounded
/// queue.
pub trait Sink: Send {
    /// The sink's name in the ledger.
    fn name(&self) -> &str;

    /// Returns whether the sink receives the stream. Records of other streams in a batch are
    /// ignored and not counted.
    fn wants(&self, stream: Stream) -> bool;

    /// The format of the batches that the sink accepts.
    fn output_format(&self) -> OutputFormat;

    /// Queues a batch. Never blocks and never fails: records that do not fit are counted as
    /// dropped.
    fn offer(&mut self, batch: &Arc<Batch>);

    /// Waits, at most for `limit`, until `batch` would fit into the queue, and returns whether it
    /// would. For replay; live capture never waits for a sink. A failed sink always has space: it
    /// drops at once.
    fn wait_for_capacity(&self, _batch: &Batch, _limit: Duration) -> bool {
        true
    }

    /// Reopens files by name, between two records, for example after logrotate. Ignored by other
    /// sinks.
    fn reopen(&mut self) {}

    /// Sets whether dead letters made by the sink omit the bytes of the record. Ignored by sinks
    /// without dead letters.
    fn hide_dead_letters(&mut self, _hidden: bool) {}

    /// Says that no more records come, but for the last of the ledger: what waits for others is sent without them, and
    /// [`Self::flush`] waits for that, too. Ignored by sinks in which nothing waits.
    fn finish(&mut self) {}

    /// Waits until all offered records are delivered or dropped, at most for `limit`, and returns
    /// whether they are. The others stay in flight.
    fn flush(&mut self, _limit: Duration) -> bool {
        true
    }

    /// Waits, at most for `limit`, until the sink that replaces this one is open, and returns it. It
    /// has received the waiting batches, which this sink no longer counts. `None` if there is no
    /// such sink, or not yet.
    fn take_replacement(&mut self, _limit: Duration) -> Option<Box<dyn Sink>> {
        None
    }

    /// Returns whether this is a placeholder that [`Self::take_replacement`] will replace.
    fn is_pending(&self) -> bool {
        false
    }

    /// Returns whether the destination is unavailable and records go to disk, where another sink will find them.
    fn is_diverting(&self) -> bool {
        false
    }

    /// Limits how long the sink may make no progress after [`Self::begin_close`], before it is given up: the program ends.
    /// Ignored by sinks that end at once.
    fn limit_close(&mut self, _limit: Duration) {}

    /// Makes the sink end, without waiting for it. A sink with a spool writes all records in flight
    /// to it; others drop them (`shutdown`). Call [`Self::poll_closed`] until it returns true.
    fn begin_close(&mut self);

    /// Returns whether the sink has ended after [`Self::begin_close`]. Never blocks. Records that
    /// are still in flight then are dropped (`shutdown`).
    fn poll_closed(&mut self) -> bool;

    /// Ends the sink, and waits until it has ended.
    fn close(&mut self) {
        self.begin_close();
        let mut pause = Duration::from_micros(50);
        while !self.poll_closed() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    /// The current counters by stream name, for every stream of the sink. Identity 5 holds at every
    /// call.
    fn counters(&self) -> BTreeMap<String, Delivery>;

    /// The counters of records that earlier captures left in the spool. They are not part of this
    /// capture's balance. `None` without a spool.
    fn recovered(&self) -> Option<BTreeMap<String, Delivery>> {
        None
    }

    /// Why the sink has failed permanently, if it has.
    fn failure(&self) -> Option<Failure> {
        None
    }

    /// Bytes of records waiting on disk.
    fn spool_bytes(&self) -> u64 {
        0
    }

    /// Further metrics of the sink, for `/metrics`.
    fn gauges(&self) -> Vec<Gauge> {
        Vec::new()
    }
}

/// A metric of a sink, beside the ledger's counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gauge {
    /// The metric's name, such as `dnscribe_kafka_queue_bytes`. The metrics dictionary describes
    /// it.
    pub name: &'static str,
    /// The current value.
    pub value: f64,
}

impl Gauge {
    /// Creates the value of a metric.
    #[must_use]
    pub const fn new(name: &'static str, value: f64) -> Self {
        Self { name, value }
    }
}

/// All metrics of all sinks.
#[must_use]
pub fn all_gauges() -> Vec<Gauge> {
    [kafka::every_gauge(), alertmanager::every_gauge(), otlp::every_gauge()].concat()
}

/// Why a sink has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The reader of the pipe has closed it. Not an error.
    PipeClosed,
    /// What went wrong, as a sentence for the operator.
    Broken(String),
}
