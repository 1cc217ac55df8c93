//! The format of a segment on disk, and the frames of one that an earlier process wrote.
//!
//! A segment is a header that names its writer, followed by frames. All numbers are little-endian.
//!
//! ```text
//! segment: magic (8) · version u16 · node length u16 · node · xxh3-64 of all before
//! frame:   magic u32 · payload bytes u32 · records u32 · raw bytes u32 · time u64 (Unix ns)
//!          · xxh3-64 of the payload · xxh3-64 of all before, seeded with the frame's offset
//!          · payload
//! ```
//!
//! The two checksums of a frame distinguish a damaged payload, whose records are counted, from a
//! damaged header, after which no frame can be found. The seed rejects an intact header at a wrong
//! offset.
//!
//! A payload is the frame's records, compressed together. A raw record is its event id (u128), the
//! lengths of its key and its line (u32 each), the key and the line.

use super::AppendError;
use super::checkpoint::SegmentMark;
use super::queue::{Frame, FrameState};
use crate::{Batch, Rendered, Stream};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 40;

/// Largest payload in bytes, compressed or raw. Limits what a reader allocates.
const MAX_PAYLOAD: usize = 64 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"dnsspool";
const VERSION: u16 = 1;
/// Bytes of a segment's header before the node.
const SEGMENT_FIXED: usize = 12;
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"frm1");
const HASH: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub payload_bytes: u32,
    pub records: u32,
    pub raw_bytes: u32,
    pub time_ns: u64,
    pub payload_hash: u64,
}

impl FrameHeader {
    /// Bytes of the frame with its header.
    pub(super) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.payload_bytes)
    }

    pub(super) fn write(&self, offset: u64, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
        to.extend_from_slice(&self.payload_bytes.to_le_bytes());
        to.extend_from_slice(&self.records.to_le_bytes());
        to.extend_from_slice(&self.raw_bytes.to_le_bytes());
        to.extend_from_slice(&self.time_ns.to_le_bytes());
        to.extend_from_slice(&self.payload_hash.to_le_bytes());
        let hash = xxh3_64_with_seed(&to[start..], offset);
        to.extend_from_slice(&hash.to_le_bytes());
    }

    /// Decodes the header at `offset`; `None` if it is damaged.
    pub(super) fn read(bytes: &[u8; FRAME_HEADER], offset: u64) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let magic = take_u32(&mut rest)?;
        let header = Self {
            payload_bytes: take_u32(&mut rest)?,
            records: take_u32(&mut rest)?,
            raw_bytes: take_u32(&mut rest)?,
            time_ns: take_u64(&mut rest)?,
            payload_hash: take_u64(&mut rest)?,
        };
        let hash = xxh3_64_with_seed(&bytes[..FRAME_HEADER - HASH], offset);
        let fits = header.payload_bytes.max(header.raw_bytes) as usize <= MAX_PAYLOAD;
        (magic == FRAME_MAGIC && take_u64(&mut rest)? == hash && fits).then_some(header)
    }
}

/// Bytes of the header of a segment written by `node`.
pub(super) fn segment_header_bytes(node: &str) -> usize {
    SEGMENT_FIXED + node.len() + HASH
}

/// Writes a segment's header. The length of `node` was checked when the spool was opened.
pub(super) fn write_segment_header(node: &str, to: &mut Vec<u8>) {
    let start = to.len();
    let length = u16::try_from(node.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(SEGMENT_MAGIC);
    to.extend_from_slice(&VERSION.to_le_bytes());
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(node.as_bytes());
    let hash = xxh3_64(&to[start..]);
    to.extend_from_slice(&hash.to_le_bytes());
}

fn read_segment_header(file: &File) -> io::Result<Result<(Arc<str>, u64), Unreadable>> {
    let mut fixed = [0; SEGMENT_FIXED];
    if !read_fully(file, &mut fixed, 0)? || fixed[..8] != *SEGMENT_MAGIC {
        return Ok(Err(Unreadable::Torn));
    }
    let version = u16::from_le_bytes([fixed[8], fixed[9]]);
    let node_bytes = usize::from(u16::from_le_bytes([fixed[10], fixed[11]]));
    let mut bytes = vec![0; SEGMENT_FIXED + node_bytes + HASH];
    if !read_fully(file, &mut bytes, 0)? {
        return Ok(Err(Unreadable::Torn));
    }
    let (body, mut hash) = bytes.split_at(SEGMENT_FIXED + node_bytes);
    if take_u64(&mut hash) != Some(xxh3_64(body)) {
        return Ok(Err(Unreadable::Torn));
    }
    if version != VERSION {
        return Ok(Err(Unreadable::Foreign));
    }
    let node = std::str::from_utf8(&body[SEGMENT_FIXED..]).map_err(|_| Unreadable::Torn);
    Ok(node.map(|node| (node.into(), bytes.len() as u64)))
}

pub(super) enum Unreadable {
    /// It is damaged.
    Torn,
    /// A newer version wrote it.
    Foreign,
}

/// Fills `to` from `offset`. Returns false if the file is too short.
fn read_fully(file: &File, to: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(to, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes an array from the front.
fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*bytes)
}

pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take_array(rest).map(u32::from_le_bytes)
}

pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take_array(rest).map(u64::from_le_bytes)
}

/// Takes `count` bytes from the front.
pub(super) fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (bytes, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(bytes)
}

pub(super) struct ScannedSegment {
    pub node: Arc<str>,
    pub frames: Vec<Frame>,
    /// Bytes of the segment to keep.
    pub end: u64,
    pub torn_bytes: u64,
    /// Unsettled records of frames with an intact header and a damaged payload.
    pub torn_records: u64,
}

/// Reads the frames' headers and, if `whole`, verifies the payloads.
pub(super) fn scan(
    file: &File,
    length: u64,
    whole: bool,
    mark: Option<&SegmentMark>,
) -> io::Result<Result<ScannedSegment, Unreadable>> {
    let (node, mut offset) = match read_segment_header(file)? {
        Ok(header) => header,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let mut found =
        ScannedSegment { node, frames: Vec::new(), end: 0, torn_bytes: 0, torn_records: 0 };
    let mut corrupt = Vec::new();
    let mut bytes = [0; FRAME_HEADER];
    let mut payload = Vec::new();
    while read_fully(file, &mut bytes, offset)? {
        let Some(header) = FrameHeader::read(&bytes, offset) else { break };
        let mut frame = apply_mark(offset, header, found.frames.len(), mark);
        let left = if frame.state == FrameState::Done { 0 } else { frame.unsettled() };
        if offset + header.frame_bytes() > length {
            found.torn_records += left;
            break;
        }
        if whole && !is_intact(file, &frame, &mut payload)? {
            found.torn_records += left;
            found.torn_bytes += header.frame_bytes();
            frame.state = FrameState::Done;
            corrupt.push(found.frames.len());
        }
        offset += header.frame_bytes();
        found.frames.push(frame);
    }
    found.torn_bytes += length - offset;
    // Damaged frames at the end are cut off, so that they are not counted again even if the
    // checkpoint is lost.
    while corrupt.pop_if(|last| *last + 1 == found.frames.len()).is_some() {
        offset = found.frames.pop().map_or(offset, |frame| frame.offset);
    }
    found.end = offset;
    Ok(Ok(found))
}

/// A frame, with what the checkpoint knows about it.
fn apply_mark(offset: u64, header: FrameHeader, place: usize, mark: Option<&SegmentMark>) -> Frame {
    let settled = mark.and_then(|mark| mark.settled(place, header.records));
    let mut frame = Frame { offset, header, state: FrameState::Waiting, settled };
    if mark.is_some_and(|mark| mark.is_done(place)) || frame.unsettled() == 0 {
        frame.state = FrameState::Done;
    }
    frame
}

fn is_intact(file: &File, frame: &Frame, payload: &mut Vec<u8>) -> io::Result<bool> {
    payload.resize(frame.header.payload_bytes as usize, 0);
    let there = read_fully(file, payload, frame.offset + FRAME_HEADER as u64)?;
    Ok(there && xxh3_64(payload) == frame.header.payload_hash)
}

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
