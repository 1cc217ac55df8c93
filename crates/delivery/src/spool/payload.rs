//! Packs records into a frame's payload and unpacks them.
//!
//! A raw record is its event id (u128), the lengths of its key and its line (u32 each), the key and
//! the line. All records of a frame are compressed together.

use super::AppendError;
use super::format::{FrameHeader, MAX_PAYLOAD, take, take_array, take_u32};
use crate::{Batch, Rendered, Stream};
use std::io;
use xxhash_rust::xxh3::xxh3_64;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// Level 1: the link to the broker is slower than any level, but the pipeline's thread must not
/// wait.
const LEVEL: i32 = 1;

/// Buffers larger than this are shrunk after use.
const MAX_IDLE_BUFFER: usize = 4 << 20;

/// Packs and unpacks payloads; reuses its buffers.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    raw: Vec<u8>,
    packed: Vec<u8>,
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

    /// Packs records. The payload is then in [`Packer::payload`].
    pub(super) fn pack(
        &mut self,
        records: &mut dyn Iterator<Item = Rendered<'_>>,
        time_ns: u64,
    ) -> Result<FrameHeader, AppendError> {
        self.shrink();
        let mut count = 0;
        for record in records {
            let bytes = 24 + record.key.len() + record.line.len();
            if self.raw.len() + bytes > MAX_PAYLOAD {
                return Err(AppendError::TooLarge);
            }
            self.raw.extend_from_slice(&record.event_id.to_le_bytes());
            self.raw.extend_from_slice(&length(record.key).to_le_bytes());
            self.raw.extend_from_slice(&length(record.line).to_le_bytes());
            self.raw.extend_from_slice(record.key);
            self.raw.extend_from_slice(record.line);
            count += 1;
        }
        if count == 0 {
            return Err(AppendError::Empty);
        }
        self.packed.reserve(compress_bound(self.raw.len()));
        self.compressor.compress_to_buffer(&self.raw, &mut self.packed).map_err(AppendError::Io)?;
        if self.packed.len() > MAX_PAYLOAD {
            return Err(AppendError::TooLarge);
        }
        Ok(FrameHeader {
            payload_bytes: length(&self.packed),
            records: count,
            raw_bytes: length(&self.raw),
            time_ns,
            payload_hash: xxh3_64(&self.packed),
        })
    }

    /// The payload of the last [`Packer::pack`].
    pub(super) fn payload(&self) -> &[u8] {
        &self.packed
    }

    /// A buffer for a payload, to be filled before [`Packer::unpack`].
    pub(super) fn payload_buffer(&mut self, header: &FrameHeader) -> &mut [u8] {
        self.shrink();
        self.packed.resize(header.payload_bytes as usize, 0);
        &mut self.packed
    }

    /// Unpacks the records in the payload buffer; `None` if they do not match the header.
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
            let id = take_array(&mut rest)?;
            let key_bytes = take_u32(&mut rest)? as usize;
            let line_bytes = take_u32(&mut rest)? as usize;
            let key = take(&mut rest, key_bytes)?;
            let line = take(&mut rest, line_bytes)?;
            batch.push(
                stream,
                u128::from_le_bytes(id),
                |to| to.extend_from_slice(line),
                |to| to.extend_from_slice(key),
            );
        }
        (batch.len() == header.records as usize).then_some(batch)
    }

    fn shrink(&mut self) {
        reset_buffer(&mut self.raw);
        reset_buffer(&mut self.packed);
    }
}

/// Clears a buffer and frees its excess capacity.
pub(super) fn reset_buffer(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(MAX_IDLE_BUFFER);
}

/// The length of a slice that was checked to fit.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
