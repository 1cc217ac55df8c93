//! Records, packed into a frame's payload and taken out again.
//!
//! Raw, a record is its event id (u128), the octets of its key and its line (u32 each), the key, the
//! line. The whole is compressed at once.

use super::format::{FrameHeader, MAX_PAYLOAD, take, take_u32};
use crate::sink::{Batch, Rendered, Stream};
use std::io;
use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// The broker's link is slower than any level; the pipeline's thread is not.
const LEVEL: i32 = 1;

/// Buffers above this are given back after use.
const KEPT: usize = 4 << 20;

/// Packs and unpacks; keeps its buffers.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

/// Why records cannot be packed.
pub(super) enum Unpackable {
    Empty,
    TooLarge,
    Io(io::Error),
}

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            compressor: Compressor::new(LEVEL)?,
            decompressor: Decompressor::new()?,
            raw: Vec::new(),
            packed: Vec::new(),
        })
    }

    /// Packs records; the payload then stands in [`Packer::payload`].
    pub(super) fn pack(
        &mut self,
        records: &mut dyn Iterator<Item = Rendered<'_>>,
        time_ns: u64,
    ) -> Result<FrameHeader, Unpackable> {
        self.shrink();
        let mut count = 0;
        for record in records {
            let bytes = 24 + record.key.len() + record.line.len();
            if self.raw.len() + bytes > MAX_PAYLOAD {
                return Err(Unpackable::TooLarge);
            }
            self.raw.extend_from_slice(&record.event_id.to_le_bytes());
            self.raw.extend_from_slice(&length(record.key).to_le_bytes());
            self.raw.extend_from_slice(&length(record.line).to_le_bytes());
            self.raw.extend_from_slice(record.key);
            self.raw.extend_from_slice(record.line);
            count += 1;
        }
        if count == 0 {
            return Err(Unpackable::Empty);
        }
        self.packed.reserve(compress_bound(self.raw.len()));
        self.compressor.compress_to_buffer(&self.raw, &mut self.packed).map_err(Unpackable::Io)?;
        if self.packed.len() > MAX_PAYLOAD {
            return Err(Unpackable::TooLarge);
        }
        Ok(FrameHeader {
            payload_bytes: length(&self.packed),
            records: count,
            raw_bytes: length(&self.raw),
            time_ns,
            payload_hash: xxh3_64(&self.packed),
        })
    }

    /// What the last [`Packer::pack`] made.
    pub(super) fn payload(&self) -> &[u8] {
        &self.packed
    }

    /// A buffer for a payload, to be filled before [`Packer::unpack`].
    pub(super) fn room_for(&mut self, header: &FrameHeader) -> &mut [u8] {
        self.shrink();
        self.packed.resize(header.payload_bytes as usize, 0);
        &mut self.packed
    }

    /// Takes the records out of the payload in the buffer; nothing where it is not what the header
    /// says.
    pub(super) fn unpack(&mut self, header: &FrameHeader, stream: Stream) -> Option<Batch> {
        if xxh3_64(&self.packed) != header.payload_hash {
            return None;
        }
        self.raw.reserve(header.raw_bytes as usize);
        self.decompressor.decompress_to_buffer(&self.packed, &mut self.raw).ok()?;
        if self.raw.len() != header.raw_bytes as usize {
            return None;
        }
        let mut rest = self.raw.as_slice();
        let mut batch = Batch::default();
        while !rest.is_empty() {
            let (id, tail) = rest.split_first_chunk()?;
            rest = tail;
            let key_bytes = take_u32(&mut rest)? as usize;
            let line_bytes = take_u32(&mut rest)? as usize;
            let key = take(&mut rest, key_bytes)?;
            let line = take(&mut rest, line_bytes)?;
            batch.push(
                stream,
                u128::from_le_bytes(*id),
                |to| to.extend_from_slice(line),
                |to| to.extend_from_slice(key),
            );
        }
        (batch.len() == header.records as usize).then_some(batch)
    }

    fn shrink(&mut self) {
        empty(&mut self.raw);
        empty(&mut self.packed);
    }
}

/// Empties a buffer that is used again, and gives back what is seldom needed.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(KEPT);
}

/// The octets of something that has been bounded.
fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}
