//! The format of a segment on disk.
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

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of a frame's header.
pub(super) const FRAME_HEADER: usize = 40;

/// Largest payload in bytes, compressed or raw. Limits what a reader allocates.
pub(super) const MAX_PAYLOAD: usize = 64 << 20;

const SEGMENT_MAGIC: &[u8; 8] = b"dnsspool";
const VERSION: u16 = 1;
/// Bytes of a segment's header before the node.
const SEGMENT_FIXED: usize = 12;
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"frm1");
const HASH: usize = 8;

/// A frame's header.
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

/// The start of a segment.
pub(super) enum SegmentHeader {
    Intact {
        node: Arc<str>,
        bytes: u64,
    },
    /// The version is unknown.
    Foreign,
    Torn,
}

pub(super) fn read_segment_header(file: &File) -> io::Result<SegmentHeader> {
    let mut fixed = [0; SEGMENT_FIXED];
    if !read_fully(file, &mut fixed, 0)? || fixed[..8] != *SEGMENT_MAGIC {
        return Ok(SegmentHeader::Torn);
    }
    let version = u16::from_le_bytes([fixed[8], fixed[9]]);
    let node_bytes = usize::from(u16::from_le_bytes([fixed[10], fixed[11]]));
    let mut bytes = vec![0; SEGMENT_FIXED + node_bytes + HASH];
    if !read_fully(file, &mut bytes, 0)? {
        return Ok(SegmentHeader::Torn);
    }
    let (body, mut hash) = bytes.split_at(SEGMENT_FIXED + node_bytes);
    if take_u64(&mut hash) != Some(xxh3_64(body)) {
        return Ok(SegmentHeader::Torn);
    }
    if version != VERSION {
        return Ok(SegmentHeader::Foreign);
    }
    Ok(match std::str::from_utf8(&body[SEGMENT_FIXED..]) {
        Ok(node) => SegmentHeader::Intact { node: node.into(), bytes: bytes.len() as u64 },
        Err(_) => SegmentHeader::Torn,
    })
}

/// Fills `to` from `offset`. Returns false if the file is too short.
pub(super) fn read_fully(file: &File, to: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(to, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a number from the front.
pub(super) fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u32::from_le_bytes(*bytes))
}

/// Takes a number from the front.
pub(super) fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(u64::from_le_bytes(*bytes))
}

/// Takes `count` bytes from the front.
pub(super) fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (bytes, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(bytes)
}
