//! Collects records for the sinks of one output format, until they fill a batch.

use crate::{Batch, OutputFormat, Sink, Stream, StreamSet};
use dnscribe_record::{EventId, text_line};

/// A batch of this size is sent to the sinks; smaller ones are sent when the program pauses.
const BATCH_BYTES: usize = 64 << 10;

/// A batch of this many records is sent: records that are only counted have no bytes.
const BATCH_RECORDS: usize = 4096;

/// Renders a record.
pub type Render<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Records for the sinks of one output format.
#[derive(Debug)]
pub(super) struct FormatBuffer {
    pub(super) format: OutputFormat,
    /// The streams that any of the sinks wants.
    pub(super) streams: StreamSet,
    pub(super) batch: Batch,
}

impl FormatBuffer {
    /// Returns whether records of the stream are to be rendered.
    pub(super) fn renders(&self, stream: Stream) -> bool {
        self.format != OutputFormat::None && self.streams.contains(stream)
    }

    /// Adds a record, if its stream is wanted. `json` renders it without a newline; `text` renders its line as text, if that is
    /// not made of the JSON. Streams without a text form stay JSON.
    pub(super) fn add(
        &mut self,
        stream: Stream,
        id: EventId,
        key: &[u8],
        json: Render<'_>,
        text: Option<Render<'_>>,
    ) {
        if !self.renders(stream) {
            return self.count(stream);
        }
        let is_text = self.format == OutputFormat::Text;
        let render = |out: &mut Vec<u8>| {
            if let Some(text) = text.filter(|_| is_text) {
                return text(out);
            }
            let start = out.len();
            json(out);
            if is_text {
                let record = out.split_off(start);
                if text_line(out, stream, &record) {
                    return;
                }
                out.extend(record);
            }
            out.push(b'\n');
        };
        self.batch.push(stream, id.0, render, |out| out.extend(key));
    }

    /// Counts a record without rendering it, if its stream is wanted.
    pub(super) fn count(&mut self, stream: Stream) {
        if self.streams.contains(stream) {
            self.batch.add_counted(stream);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.batch.size_bytes() >= BATCH_BYTES || self.batch.records() >= BATCH_RECORDS
    }

    /// Returns an empty batch to follow this one. After a full batch it has the same capacity, since another full
    /// one is likely to follow.
    pub(super) fn next_batch(&self) -> Batch {
        if self.is_full() { Batch::with_capacity_of(&self.batch) } else { Batch::default() }
    }
}

/// Creates a buffer for each output format that a sink uses.
pub(super) fn format_buffers(sinks: &[Box<dyn Sink>]) -> Vec<FormatBuffer> {
    let formats = [OutputFormat::Json, OutputFormat::Text, OutputFormat::None];
    let all = formats.map(|format| {
        let sinks = || sinks.iter().filter(move |sink| sink.output_format() == format);
        let wanted = |stream: &Stream| sinks().any(|sink| sink.wants(*stream));
        let streams = Stream::ALL.into_iter().filter(wanted).collect();
        sinks().next().map(|_| FormatBuffer { format, streams, batch: Batch::default() })
    });
    all.into_iter().flatten().collect()
}
