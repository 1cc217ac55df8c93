//! Batches and records in flight, and the sender's cursor.

use crate::spool::{FrameId, Origin};
use crate::tally::{DropReason, Location, PerStream};
use crate::{Batch, Rendered, Stream, StreamSet};
use fixedbitset::FixedBitSet;
use std::sync::Arc;
use std::time::Instant;

/// A delivery report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The destination has acknowledged the record.
    Delivered,
    /// It counts as delivered, although the destination has got nothing of it: all of it waits for other records.
    Deferred,
    /// It was returned unsent and stays in flight.
    Returned,
    /// The destination has no use for it.
    Filtered,
    /// It is rejected permanently.
    Rejected(DropReason),
}

#[derive(Clone, Debug)]
pub(crate) struct RejectedRecord {
    pub(crate) stream: Stream,
    pub(crate) event_id: u128,
    pub(crate) reason: DropReason,
    /// Its first bytes, and its length.
    pub(crate) bytes: Vec<u8>,
    pub(crate) whole_bytes: usize,
}

#[derive(Clone)]
pub(crate) struct InFlightBatch {
    pub(crate) batch: Arc<Batch>,
    pub(crate) node: Arc<str>,
    pub(crate) origin: Origin,
    /// The streams of the batch to send; records of others are ignored.
    pub(crate) streams: StreamSet,
    /// By stream: the frame on disk with its records.
    pub(crate) spool_frames: [Option<FrameId>; Stream::ALL.len()],
    /// Records that are settled or need not be sent.
    pub(crate) settled: FixedBitSet,
}

impl InFlightBatch {
    /// Records to send that are not settled, with their indexes.
    pub(crate) fn unsettled(&self) -> impl Iterator<Item = (usize, Rendered<'_>)> {
        self.batch.iter().enumerate().filter(|(index, record)| {
            self.streams.contains(record.stream) && !self.settled.contains(*index)
        })
    }

    /// Unsettled records of a stream that a crash would lose.
    pub(crate) fn exposed(&self, stream: Stream) -> impl Iterator<Item = Rendered<'_>> {
        let wanted = self.spool_frames[stream as usize].is_none();
        let records = self.unsettled().map(|(_, record)| record);
        records.filter(move |record| wanted && record.stream == stream)
    }
}

/// Bits of a record's index in its batch. No batch has more records.
const INDEX_BITS: u32 = 16;

const _: () = assert!(usize::BITS == 64, "a record's number is a batch's number and a place");

/// Position of the sender: the next record to hand over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(super) batch: usize,
    pub(crate) index: usize,
}

impl Cursor {
    /// The record's number, which its delivery report carries.
    pub(crate) fn number(self) -> usize {
        self.batch << INDEX_BITS | self.index
    }

    /// The record with this number: its batch and index.
    pub(super) fn of(number: usize) -> Self {
        Self { batch: number >> INDEX_BITS, index: number & ((1 << INDEX_BITS) - 1) }
    }

    /// Another record of the same batch.
    pub(crate) fn at(self, index: usize) -> Self {
        Self { index, ..self }
    }

    pub(crate) fn next_batch(self) -> Self {
        Self { batch: self.batch + 1, index: 0 }
    }
}

/// A batch in flight and its progress.
pub(super) struct PendingBatch {
    pub(super) inner: InFlightBatch,
    /// Records already settled when the frames were written, which contain the others.
    pub(super) left_out: FixedBitSet,
    /// By stream: unsettled records.
    pub(super) left: PerStream,
    pub(super) since: Instant,
}

impl PendingBatch {
    pub(super) fn is_done(&self) -> bool {
        self.left == PerStream::default()
    }

    /// Returns whether a crash would lose records of it.
    pub(super) fn has_unspooled(&self) -> bool {
        Stream::ALL.into_iter().any(|stream| self.is_unspooled(stream))
    }

    /// Returns whether a crash would lose records of the stream.
    pub(super) fn is_unspooled(&self, stream: Stream) -> bool {
        self.left[stream as usize] > 0 && self.inner.spool_frames[stream as usize].is_none()
    }

    pub(super) fn location(&self, stream: Stream) -> Location {
        match self.inner.spool_frames[stream as usize] {
            Some(_) => Location::Disk,
            None => Location::Memory,
        }
    }

    /// Which records of the stream's frame are settled.
    pub(super) fn settled_in_frame(&self, stream: Stream) -> Vec<bool> {
        let records = self.inner.batch.iter().enumerate();
        records
            .filter(|(index, record)| record.stream == stream && !self.left_out.contains(*index))
            .map(|(index, _)| self.inner.settled.contains(index))
            .collect()
    }
}
