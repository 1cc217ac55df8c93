//! `--sink null`: counts records and discards them, for measurements and for metrics alone.

use super::tally::{DropReason, Tally};
use super::{Batch, OutputFormat, Sink, Stream, StreamSet};
use dnscribe_record::ledger::Delivery;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A sink that only counts.
pub struct NullSink {
    name: String,
    tally: Tally,
}

impl NullSink {
    /// Creates a null sink for `streams`.
    #[must_use]
    pub fn new(name: String, streams: StreamSet) -> Self {
        const REASONS: &[DropReason] = &[DropReason::Shutdown];
        Self { name, tally: Tally::new(streams, REASONS) }
    }
}

impl Sink for NullSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn wants(&self, stream: Stream) -> bool {
        self.tally.streams.contains(stream)
    }

    fn output_format(&self) -> OutputFormat {
        OutputFormat::None
    }

    fn offer(&mut self, batch: &Arc<Batch>) {
        self.tally.add_filtered(batch);
        let share = self.tally.count_batch(batch);
        self.tally.add_in_flight(&share);
        self.tally.delivered(&share);
    }

    fn begin_close(&mut self) {
        self.tally.close();
    }

    fn poll_closed(&mut self) -> bool {
        true
    }

    fn counters(&self) -> BTreeMap<String, Delivery> {
        self.tally.counters()
    }
}
