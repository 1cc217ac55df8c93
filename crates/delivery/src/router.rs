//! Routes records to the sinks. A record is rendered once for all sinks of one output format, masked if the
//! configuration says so, and offered in batches.

mod format_buffer;
mod sink_set;
mod watch;

pub use sink_set::{SinkReplacement, SinkSet, open_changes};
pub use watch::{SinkStatus, SinkWatch};

use crate::{Sink, Stream, StreamSet, append_json};
use dnscribe_dns::hex_digits;
use dnscribe_record::privacy::{KeyError, Masker, MaskingRules};
use dnscribe_record::{EventId, JsonFields, TransactionContext, extend_json};
pub use format_buffer::Render;
use format_buffer::{FormatBuffer, format_buffers};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Replay checks whether it should stop after waiting this long for a sink.
const STOP_INTERVAL: Duration = Duration::from_millis(200);

/// The sinks, with a buffer for each output format.
pub struct SinkRouter {
    /// The sinks.
    pub sinks: SinkSet,
    buffers: Vec<FormatBuffer>,
    /// Whether the buffers hold records of summaries. These have batches of their own, so that a sink can accept
    /// them when its queue is full for other records.
    has_summaries: bool,
    /// Reused buffer for the input of the partition key's hash.
    key: Vec<u8>,
    /// Masks records before they are added to a batch.
    pub masker: Masker,
    wait_for_sinks: Option<Arc<AtomicBool>>,
}

impl SinkRouter {
    /// Creates a router to these sinks. If `wait_for_sinks` is set, full sinks are waited for until it is raised.
    #[must_use]
    pub fn new(
        sinks: Vec<Box<dyn Sink>>,
        masker: Masker,
        wait_for_sinks: Option<Arc<AtomicBool>>,
    ) -> Self {
        let mut router = Self {
            buffers: format_buffers(&sinks),
            has_summaries: false,
            sinks: SinkSet::new(sinks),
            key: Vec::new(),
            masker,
            wait_for_sinks,
        };
        router.hide_dead_letters();
        router
    }

    /// Applies other rules of masking.
    ///
    /// # Errors
    /// The key of the pseudonyms cannot be read. Then masking stays unchanged.
    pub fn set_privacy(&mut self, privacy: MaskingRules) -> Result<(), KeyError> {
        self.masker.reconfigure(privacy)?;
        self.hide_dead_letters();
        Ok(())
    }

    fn hide_dead_letters(&mut self) {
        let hidden = self.masker.masks(Stream::Dlq);
        self.sinks.active.iter_mut().for_each(|sink| sink.hide_dead_letters(hidden));
    }

    /// Replaces the sinks after sending what is buffered. Sinks that go have `flush_timeout` to deliver their
    /// records.
    pub fn replace(&mut self, sinks: Vec<SinkReplacement>, flush_timeout: Duration) {
        self.offer();
        self.sinks.replace(sinks, flush_timeout);
        self.buffers = format_buffers(&self.sinks.active);
        self.hide_dead_letters();
    }

    /// Closes retired sinks that are done, and opens those that wait for that. Never blocks.
    pub fn update_sinks(&mut self) {
        if self.sinks.update() {
            self.hide_dead_letters();
        }
    }

    /// Returns the streams that will be wanted once these sinks replace the present ones.
    #[must_use]
    pub fn streams_with(&self, sinks: &[SinkReplacement]) -> StreamSet {
        let wants = |stream: &Stream| sinks.iter().any(|sink| self.sinks.will_want(sink, *stream));
        Stream::ALL.into_iter().filter(wants).collect()
    }

    /// Returns whether any sink wants records of the stream.
    #[must_use]
    pub fn wants(&self, stream: Stream) -> bool {
        self.buffers.iter().any(|buffer| buffer.streams.contains(stream))
    }

    /// Returns whether any sink wants rendered records of the stream, and not only their number.
    #[must_use]
    pub fn renders(&self, stream: Stream) -> bool {
        self.buffers.iter().any(|buffer| buffer.renders(stream))
    }

    /// Returns whether a record of the stream is needed: to render it or, if the stream is `filtered`, to apply the
    /// filter. If not, counts the record for the sinks that want the stream.
    pub fn asks_for(&mut self, stream: Stream, filtered: bool) -> bool {
        let asks = self.renders(stream) || filtered && self.wants(stream);
        if !asks {
            self.count(stream);
        }
        asks
    }

    /// Adds a record.
    pub fn push(&mut self, stream: Stream, id: EventId, record: &impl Serialize, key: &[u8]) {
        self.route(stream, id, key, &|out| append_json(out, record), None);
    }

    /// Adds a record of which the first part is rendered.
    pub fn push_partial(
        &mut self,
        stream: Stream,
        id: EventId,
        (first, rest): (&[u8], &impl JsonFields),
        key: &[u8],
    ) {
        self.route(stream, id, key, &|out| extend_json(out, first, rest), None);
    }

    /// Adds the record of a transaction: its first part in JSON, and the fields to add.
    pub fn push_transaction(
        &mut self,
        id: EventId,
        (first, context): (&[u8], &TransactionContext<'_>),
        zone: Option<&str>,
    ) {
        let mut hash = [0; 16];
        let key = partition_key(&mut self.key, context.resolver, zone);
        let key = hex_digits(&mut hash, &key.to_be_bytes()).as_bytes();
        self.push_partial(Stream::Transactions, id, (first, context), key);
    }

    /// Adds a record to all buffers, masked if the configuration says so. `json` renders it without a newline; `text` renders
    /// a line that is not made of it.
    pub fn route(
        &mut self,
        stream: Stream,
        id: EventId,
        key: &[u8],
        json: Render<'_>,
        text: Option<Render<'_>>,
    ) {
        self.prepare_for(stream);
        let Self { buffers, masker, .. } = self;
        let is_rendered = buffers.iter().any(|buffer| buffer.renders(stream));
        if is_rendered && masker.masks(stream) {
            let masked = masker.mask(stream, json, key);
            for buffer in buffers {
                buffer.add(stream, id, masked.key, &|out| out.extend_from_slice(masked.json), None);
            }
        } else {
            for buffer in buffers {
                buffer.add(stream, id, key, json, text);
            }
        }
        self.offer_full();
    }

    /// Counts a record that a filter leaves out.
    pub fn filter(&mut self, stream: Stream) {
        self.prepare_for(stream);
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.streams.contains(stream)) {
            buffer.batch.add_filtered(stream);
        }
        self.offer_full();
    }

    /// Counts a record that no sink reads.
    pub fn count(&mut self, stream: Stream) {
        self.prepare_for(stream);
        self.buffers.iter_mut().for_each(|buffer| buffer.count(stream));
        self.offer_full();
    }

    /// Sends the buffered records to the sinks.
    pub fn offer(&mut self) {
        for buffer in &mut self.buffers {
            if buffer.batch.is_empty() {
                continue;
            }
            let next = buffer.next_batch();
            let batch = Arc::new(std::mem::replace(&mut buffer.batch, next));
            for sink in
                self.sinks.active.iter_mut().filter(|sink| sink.output_format() == buffer.format)
            {
                while let Some(stop) = &self.wait_for_sinks
                    && !stop.load(Ordering::Relaxed)
                    && !sink.wait_for_capacity(&batch, STOP_INTERVAL)
                {}
                sink.offer(&batch);
            }
        }
    }

    /// Sends the buffered records if they must not share a batch with this stream.
    fn prepare_for(&mut self, stream: Stream) {
        if stream.is_summary() != self.has_summaries {
            self.offer();
            self.has_summaries = stream.is_summary();
        }
    }

    fn offer_full(&mut self) {
        if self.buffers.iter().any(FormatBuffer::is_full) {
            self.offer();
        }
    }

    /// Says that no more records come, but for the last of the ledger: see [`Sink::finish`].
    pub fn finish(&mut self) {
        self.sinks.finish();
    }

    /// Waits up to `limit` until the sinks have delivered or dropped all records. If `wait_for_sinks` is set,
    /// raising the flag meanwhile ends the wait.
    pub fn flush(&mut self, limit: Duration) {
        let stop = self.wait_for_sinks.clone().filter(|stop| !stop.load(Ordering::Relaxed));
        let stopped = || stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        self.sinks.flush(limit, STOP_INTERVAL, &stopped);
    }

    /// Closes the sinks, and waits for that: see [`SinkSet::close`].
    pub fn close(&mut self) {
        self.sinks.close();
    }

    /// Closes the sinks that need not wait for the last record of `stream`: see [`SinkSet::close_before_last`].
    pub fn close_before_last(&mut self, stream: Stream, limit: Duration) {
        self.sinks.close_before_last(stream, limit);
    }

    /// Closes the sinks at the end of the program: see [`SinkSet::close_within`].
    pub fn close_within(&mut self, limit: Duration) {
        self.sinks.close_within(limit);
    }

    /// Makes the sinks reopen their files.
    pub fn reopen(&mut self) {
        self.sinks.active.iter_mut().for_each(|sink| sink.reopen());
    }
}

/// Hash of resolver and zone: records of one zone at one resolver stay in order in one partition.
/// `buffer` is for the input of the hash.
fn partition_key(buffer: &mut Vec<u8>, resolver: &str, zone: Option<&str>) -> u64 {
    buffer.clear();
    buffer.extend(resolver.as_bytes());
    buffer.push(0);
    buffer.extend(zone.unwrap_or("").as_bytes());
    xxh3_64(buffer)
}
