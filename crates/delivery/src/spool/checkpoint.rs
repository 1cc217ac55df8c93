//! The checkpoint file: which frames and records of the segments on disk are settled.
//!
//! ```text
//! magic (8), then per segment: stream u8 · name u64 · frames u32 · one bit per frame: done
//!     · partial frames u32, each: frame u32 · records u32 · one bit per record: settled
//! at the end xxh3-64 of all before
//! ```
//!
//! Losing this file costs duplicates, never records: it only lists what need not be sent again.

use super::format::{take, take_u32, take_u64};
use crate::Stream;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"dnsmark1";
const HASH: usize = 8;

/// What is settled, by stream and segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub segments: BTreeMap<(u8, u64), SegmentMark>,
}

/// What is settled of one segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentMark {
    /// By frame: whether it is finished.
    pub done: Vec<bool>,
    /// The settled records of unfinished frames.
    pub partial: BTreeMap<u32, Vec<bool>>,
}

impl SegmentMark {
    pub(super) fn is_done(&self, frame: usize) -> bool {
        self.done.get(frame).copied().unwrap_or(false)
    }

    /// The settled records of a frame with `records` records, if there are any.
    pub(super) fn settled(&self, frame: usize, records: u32) -> Option<Box<[bool]>> {
        let mut settled = self.partial.get(&u32::try_from(frame).ok()?)?.clone();
        settled.resize(records as usize, false);
        settled.contains(&true).then(|| settled.into())
    }
}

impl Checkpoint {
    pub(super) fn mark(&self, stream: Stream, segment: u64) -> Option<&SegmentMark> {
        self.segments.get(&(stream as u8, segment))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = MAGIC.to_vec();
        for ((stream, name), mark) in &self.segments {
            to.push(*stream);
            to.extend_from_slice(&name.to_le_bytes());
            write_bits(&mark.done, &mut to);
            to.extend_from_slice(&count(mark.partial.len()).to_le_bytes());
            for (frame, settled) in &mark.partial {
                to.extend_from_slice(&frame.to_le_bytes());
                write_bits(settled, &mut to);
            }
        }
        let hash = xxh3_64(&to);
        to.extend_from_slice(&hash.to_le_bytes());
        to
    }

    /// Decodes a checkpoint; `None` if a single byte is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, mut hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        if take_u64(&mut hash)? != xxh3_64(body) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let mut checkpoint = Self::default();
        while !rest.is_empty() {
            let stream = take(&mut rest, 1)?[0];
            let name = take_u64(&mut rest)?;
            let mut mark = SegmentMark { done: read_bits(&mut rest)?, ..SegmentMark::default() };
            for _ in 0..take_u32(&mut rest)? {
                let frame = take_u32(&mut rest)?;
                mark.partial.insert(frame, read_bits(&mut rest)?);
            }
            checkpoint.segments.insert((stream, name), mark);
        }
        Some(checkpoint)
    }
}

/// Sets the bits that are set in `others`.
pub(super) fn merge_bits(bits: &mut Vec<bool>, others: &[bool]) {
    bits.resize(bits.len().max(others.len()), false);
    for (bit, other) in bits.iter_mut().zip(others) {
        *bit |= other;
    }
}

fn write_bits(bits: &[bool], to: &mut Vec<u8>) {
    to.extend_from_slice(&count(bits.len()).to_le_bytes());
    to.extend(bits.chunks(8).map(|eight| {
        eight.iter().enumerate().fold(0, |byte, (place, bit)| byte | u8::from(*bit) << place)
    }));
}

fn read_bits(rest: &mut &[u8]) -> Option<Vec<bool>> {
    let bits = take_u32(rest)? as usize;
    let bytes = take(rest, bits.div_ceil(8))?;
    Some((0..bits).map(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1).collect())
}

/// Converts a count; frames of a segment and records of a frame fit into 32 bits.
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
