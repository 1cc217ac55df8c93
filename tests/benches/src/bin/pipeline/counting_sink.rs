//! A sink that counts records and their bytes in the thread that makes them.

use dnscribe_delivery::{Batch, Failure, OutputFormat, Sink, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of records of a [`CountingSink`], and bytes of their lines.
#[derive(Default)]
pub struct Counts {
    pub records: AtomicU64,
    pub bytes: AtomicU64,
}

/// Sink that counts records and drops them.
pub struct CountingSink {
    streams: StreamSet,
    counts: Arc<Counts>,
}

impl CountingSink {
    /// Creates a sink for these streams.
    pub fn new(streams: StreamSet, counts: Arc<Counts>) -> Self {
        Self { streams, counts }
    }
}

impl Sink for CountingSink {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn wants(&self, stream: Stream) -> bool {
        self.streams.contains(stream)
    }

    fn output_format(&self) -> OutputFormat {
        OutputFormat::Json
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        let own = || batch.iter().filter(|record| self.streams.contains(record.stream));
        let count = |number: usize| u64::try_from(number).unwrap_or(0);
        self.counts.records.fetch_add(count(own().count()), Ordering::Relaxed);
        let bytes = own().map(|record| black_box(record.line).len()).sum();
        self.counts.bytes.fetch_add(count(bytes), Ordering::Relaxed);
    }

    fn wait_for_capacity(&self, _batch: &Batch, _limit: Duration) -> bool {
        true
    }

    fn flush(&mut self, _limit: Duration) -> bool {
        true
    }

    fn begin_close(&mut self) {}

    fn poll_closed(&mut self) -> bool {
        true
    }

    fn counters(&self) -> BTreeMap<String, Delivery> {
        BTreeMap::new()
    }

    fn failure(&self) -> Option<Failure> {
        None
    }
}
