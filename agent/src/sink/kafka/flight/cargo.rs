//! What is on its way: batches, their records, and where the sender stands among them.

use crate::sink::kafka::bits::Bits;
use crate::sink::spool::FrameId;
use crate::sink::tally::{PerStream, Place, Reason};
use crate::sink::{Batch, Rendered, Stream, StreamSet};
use std::sync::Arc;
use std::time::Instant;

/// Whose balance a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink::kafka) enum Origin {
    /// This capture's.
    Own,
    /// An earlier capture's, which left it in the spool.
    Recovered,
}

/// What librdkafka says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink::kafka) enum Outcome {
    /// The broker has it.
    Delivered,
    /// It was given back unsent: it stays on its way.
    Returned,
    /// Nobody will take it.
    Refused(Reason),
}

/// A record that nobody takes.
#[derive(Clone, Debug)]
pub(in crate::sink::kafka) struct Dead {
    pub(in crate::sink::kafka) stream: Stream,
    pub(in crate::sink::kafka) event_id: u128,
    pub(in crate::sink::kafka) reason: Reason,
    /// Its beginning, and how long it was.
    pub(in crate::sink::kafka) bytes: Vec<u8>,
    pub(in crate::sink::kafka) whole_bytes: usize,
}

/// One batch on its way.
pub(in crate::sink::kafka) struct Cargo {
    pub(in crate::sink::kafka) batch: Arc<Batch>,
    pub(in crate::sink::kafka) node: Arc<str>,
    pub(in crate::sink::kafka) origin: Origin,
    /// The streams of the batch that are meant; records of others are none of ours.
    pub(in crate::sink::kafka) streams: StreamSet,
    /// The frame on disk that holds the records of a stream.
    pub(in crate::sink::kafka) homes: [Option<FrameId>; Stream::ALL.len()],
    /// Records that need not be sent.
    pub(in crate::sink::kafka) settled: Bits,
}

/// No batch has more records: a record's place in its batch fits into so many bits.
const INDEX_BITS: u32 = 16;

const _: () = assert!(usize::BITS == 64, "a record's number is a batch's number and a place");

/// Where the sender stands: the next record to hand over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sink::kafka) struct Cursor {
    pub(super) batch: usize,
    pub(in crate::sink::kafka) index: usize,
}

impl Cursor {
    /// The record's number, for librdkafka to give back.
    pub(in crate::sink::kafka) fn number(self) -> usize {
        self.batch << INDEX_BITS | self.index
    }

    /// Which record has this number: its batch and its place in it.
    pub(super) fn of(number: usize) -> Self {
        Self { batch: number >> INDEX_BITS, index: number & ((1 << INDEX_BITS) - 1) }
    }

    /// The beginning of the batch behind this one.
    pub(in crate::sink::kafka) fn next_batch(self) -> Self {
        Self { batch: self.batch + 1, index: 0 }
    }
}

/// A batch to be handed over.
pub(in crate::sink::kafka) struct ToSend {
    pub(in crate::sink::kafka) batch: Arc<Batch>,
    pub(in crate::sink::kafka) node: Arc<str>,
    pub(in crate::sink::kafka) streams: StreamSet,
    pub(in crate::sink::kafka) settled: Bits,
}

/// A batch of which a crash would lose something.
pub(in crate::sink::kafka) struct Exposed {
    pub(in crate::sink::kafka) batch: Arc<Batch>,
    pub(super) number: usize,
    pub(super) streams: StreamSet,
    pub(super) settled: Bits,
    pub(super) homes: [Option<FrameId>; Stream::ALL.len()],
}

impl Exposed {
    /// The records of a stream that are neither settled nor on disk, by place.
    pub(in crate::sink::kafka) fn of(&self, stream: Stream) -> impl Iterator<Item = Rendered<'_>> {
        let wanted = self.streams.contains(stream) && self.homes[stream as usize].is_none();
        let all = self.batch.iter().enumerate();
        all.filter(move |(index, record)| {
            wanted && record.stream == stream && !self.settled.has(*index)
        })
        .map(|(_, record)| record)
    }
}

/// A batch on its way, and how far it has come.
pub(super) struct Pending {
    pub(super) cargo: Cargo,
    /// What was settled when the frames were written, which hold the rest.
    pub(super) left_out: Bits,
    /// By stream: records that are not settled.
    pub(super) left: PerStream,
    pub(super) since: Instant,
}

impl Pending {
    pub(super) fn is_done(&self) -> bool {
        self.left == PerStream::default()
    }

    /// Whether anything of it would be lost in a crash.
    pub(super) fn is_exposed(&self) -> bool {
        self.left.iter().zip(&self.cargo.homes).any(|(left, home)| *left > 0 && home.is_none())
    }

    pub(super) fn place(&self, stream: Stream) -> Place {
        match self.cargo.homes[stream as usize] {
            Some(_) => Place::Disk,
            None => Place::Memory,
        }
    }

    /// Which records of the stream's frame are settled.
    pub(super) fn settled_in_frame(&self, stream: Stream) -> Vec<bool> {
        let records = self.cargo.batch.iter().enumerate();
        records
            .filter(|(index, record)| record.stream == stream && !self.left_out.has(*index))
            .map(|(index, _)| self.cargo.settled.has(index))
            .collect()
    }
}
