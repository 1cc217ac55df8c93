//! A sink that has records made, counts their octets and forgets them, in the thread that makes them.

use dnscribe_delivery::{Batch, Failure, Look, Sink, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a [`Tally`] has counted: records, and octets of their lines.
#[derive(Default)]
pub struct Counts {
    pub records: AtomicU64,
    pub bytes: AtomicU64,
}

/// The sink.
pub struct Tally {
    streams: StreamSet,
    counts: Arc<Counts>,
}

impl Tally {
    /// For these streams.
    pub fn new(streams: StreamSet, counts: Arc<Counts>) -> Self {
        Self { streams, counts }
    }
}

impl Sink for Tally {
    fn name(&self) -> &'static str {
        "tally"
    }

    fn wants(&self, stream: Stream) -> bool {
        self.streams.contains(stream)
    }

    fn look(&self) -> Look {
        Look::Json
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        let mine = || batch.iter().filter(|record| self.streams.contains(record.stream));
        let count = |number: usize| u64::try_from(number).unwrap_or(0);
        self.counts.records.fetch_add(count(mine().count()), Ordering::Relaxed);
        let bytes = mine().map(|record| black_box(record.line).len()).sum();
        self.counts.bytes.fetch_add(count(bytes), Ordering::Relaxed);
    }

    fn wait_for_room(&self, _batch: &Batch, _limit: Duration) -> bool {
        true
    }

    fn flush(&mut self, _limit: Duration) -> bool {
        true
    }

    fn close(&mut self) {}

    fn counters(&self) -> BTreeMap<String, Delivery> {
        BTreeMap::new()
    }

    fn failure(&self) -> Option<Failure> {
        None
    }
}
