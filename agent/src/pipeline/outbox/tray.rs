//! What collects for the sinks of one look, until it is a batch.

use crate::privacy::Masked;
use crate::record::{EventId, alert_line_of, line_of};
use crate::sink::{Batch, Look, Sink, Stream, StreamSet};
use serde::Serialize;

/// A batch goes to the sinks when it has grown to this, or when the pipeline pauses.
const BATCH_BYTES: usize = 64 << 10;

/// The same in records, of which some sinks want none of the octets.
const BATCH_RECORDS: usize = 4096;

/// Makes a line for readers of a record in JSON.
type TextOf = fn(&mut Vec<u8>, &[u8]) -> Result<(), serde_json::Error>;

/// What collects for the sinks of one look.
#[derive(Debug)]
pub(super) struct Tray {
    pub(super) look: Look,
    /// The streams that any of those sinks wants.
    pub(super) streams: StreamSet,
    pub(super) batch: Batch,
}

impl Tray {
    /// Whether records of the stream are to be rendered for it.
    pub(super) fn renders(&self, stream: Stream) -> bool {
        self.look != Look::Blank && self.streams.contains(stream)
    }

    /// Adds a record as JSON, if it is wanted.
    pub(super) fn add(&mut self, stream: Stream, id: EventId, record: &impl Serialize, key: &[u8]) {
        if self.renders(stream) {
            self.batch.push_json(stream, id.0, record, key);
        } else {
            self.count(stream);
        }
    }

    /// Adds a record that is begun already as JSON, if it is wanted.
    pub(super) fn add_begun(
        &mut self,
        stream: Stream,
        id: EventId,
        (begun, rest): (&[u8], &impl Serialize),
        key: &[u8],
    ) {
        if self.renders(stream) {
            self.batch.push_begun(stream, id.0, begun, rest, key);
        } else {
            self.count(stream);
        }
    }

    /// Adds a masked record, if it is wanted.
    pub(super) fn add_masked(&mut self, stream: Stream, id: EventId, masked: Masked<'_>) {
        if !self.renders(stream) {
            return self.count(stream);
        }
        let as_text = match stream {
            Stream::Transactions if self.look == Look::Text => Some(line_of as TextOf),
            Stream::Alerts if self.look == Look::Text => Some(alert_line_of as TextOf),
            _ => None,
        };
        let render = |out: &mut Vec<u8>| {
            let shown = as_text.is_some_and(|shows| shows(out, masked.line).is_ok());
            if !shown {
                out.extend_from_slice(masked.line);
                out.push(b'\n');
            }
        };
        self.batch.push(stream, id.0, render, |out| out.extend_from_slice(masked.key));
    }

    /// Counts a record of which nothing is rendered, if it is wanted.
    pub(super) fn count(&mut self, stream: Stream) {
        if self.streams.contains(stream) {
            self.batch.count(stream);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.size_bytes() >= BATCH_BYTES || self.batch.records() >= BATCH_RECORDS
    }

    /// The batch after this one. One that has become full is likely to be followed by another, which
    /// shall not grow step by step.
    pub(super) fn next_batch(&self) -> Batch {
        if self.is_full() { Batch::like(&self.batch) } else { Batch::default() }
    }
}

/// A tray for each look that a sink has.
pub(super) fn trays(sinks: &[Box<dyn Sink>]) -> Vec<Tray> {
    let looks = [Look::Json, Look::Text, Look::Blank];
    let all = looks.map(|look| {
        let sinks = || sinks.iter().filter(move |sink| sink.look() == look);
        let wanted = |stream: &Stream| sinks().any(|sink| sink.wants(*stream));
        let streams = Stream::ALL.into_iter().filter(wanted).collect();
        sinks().next().map(|_| Tray { look, streams, batch: Batch::default() })
    });
    all.into_iter().flatten().collect()
}
