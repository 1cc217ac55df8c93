//! The checkpoint file: which frames and records of the segments on disk are settled.
//!
//! ```text
//! magic (8), then per segment: stream u8 · name u64 · frames u32 · one bit per frame: done
//!     · partial frames u32, each: frame u32 · records u32 · one bit per record: settled
//! at the end xxh3-64 of all before
//! ```
//!
//! Losing this file costs duplicates, never records: it only lists what need not be sent again.
//! Syncing files to disk is here too.

use super::format::{take, take_u32, take_u64};
use super::queue::{FrameState, Segment};
use super::{FrameId, Spool};
use crate::Stream;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
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
fn merge_bits(bits: &mut Vec<bool>, others: &[bool]) {
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

fn mark(segment: &Segment) -> SegmentMark {
    let mut mark = SegmentMark::default();
    for (place, frame) in (0..).zip(&segment.frames) {
        let done = frame.state == FrameState::Done;
        mark.done.push(done);
        if let (false, Some(settled)) = (done, &frame.settled) {
            mark.partial.insert(place, settled.to_vec());
        }
    }
    mark
}

impl Spool {
    /// Writes which frames are finished and which records of unfinished frames are settled, so that
    /// the next process sends only the rest. `partial`: frames that were handed out and are not
    /// settled, with their settled records. Those of earlier processes are known already.
    ///
    /// # Errors
    /// The old checkpoint stays: the next process sends more records again, but loses none.
    pub fn checkpoint(&mut self, partial: &[(FrameId, &[bool])]) -> io::Result<()> {
        self.sweep();
        self.save_lost()?;
        let mut checkpoint = Checkpoint::default();
        for stream in Stream::ALL {
            for (name, segment) in self.queues[stream as usize].segments() {
                if segment.marked {
                    checkpoint.segments.insert((stream as u8, name), mark(segment));
                }
            }
        }
        for (id, settled) in partial {
            let frame = self.queues[id.stream as usize].frame(id.segment, id.frame);
            let Some(frame) = frame.filter(|frame| frame.state != FrameState::Done) else {
                continue;
            };
            let settled = &settled[..settled.len().min(frame.header.records as usize)];
            if let Ok(place) = u32::try_from(id.frame)
                && settled.contains(&true)
            {
                let mark = checkpoint.segments.entry((id.stream as u8, id.segment)).or_default();
                merge_bits(mark.partial.entry(place).or_default(), settled);
            }
        }
        if checkpoint.segments.is_empty() && self.checkpointed.is_none() {
            return Ok(());
        }
        let bytes = checkpoint.encode();
        let hash = xxh3_64(&bytes);
        if self.checkpointed != Some(hash) {
            self.slot.write_checkpoint(&bytes)?;
            self.checkpointed = Some(hash);
        }
        Ok(())
    }

    /// Writes the losses, if there are others than on disk. To be called before a dropped frame disappears from the disk: if
    /// the process ends in between, the next one counts it twice, but not never.
    ///
    /// # Errors
    /// The old numbers stay.
    pub(crate) fn save_lost(&mut self) -> io::Result<()> {
        if self.lost != self.saved_lost {
            self.slot.write_lost(&self.lost)?;
            self.saved_lost = self.lost;
        }
        Ok(())
    }

    /// Takes the files and directories changed since the last call, to be synced on another thread;
    /// `None` if there are none.
    pub fn take_unsynced(&mut self) -> Option<Unsynced> {
        if self.unsynced.is_empty() {
            return None;
        }
        let mut folders = BTreeSet::from([self.slot.path.clone()]);
        let files = std::mem::take(&mut self.unsynced).into_iter().map(|(stream, name)| {
            folders.insert(self.slot.stream_path(stream));
            self.slot.segment_path(stream, name)
        });
        let files = files.collect();
        Some(Unsynced { files, folders })
    }

    /// Syncs everything appended since the last call, so that it survives a crash of the host.
    ///
    /// # Errors
    /// Some of it might not survive.
    pub fn sync(&mut self) -> io::Result<()> {
        self.take_unsynced().map_or(Ok(()), |unsynced| unsynced.sync())
    }

    /// Tries again to remove segments that could not be removed.
    pub(super) fn sweep(&mut self) {
        if !std::mem::take(&mut self.leftovers) {
            return;
        }
        for stream in Stream::ALL {
            let segments = self.queues[stream as usize].segments();
            let spent: Vec<u64> =
                segments.filter(|(_, segment)| segment.is_spent()).map(|(name, _)| name).collect();
            for name in spent {
                self.discard(stream, name);
            }
        }
    }
}

/// Files and directories that a power failure could still undo.
#[derive(Debug)]
pub struct Unsynced {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Syncs all of them.
    ///
    /// # Errors
    /// Returns the first error. Trying again is useless: after a failure the kernel considers the
    /// data written.
    pub fn sync(&self) -> io::Result<()> {
        let files = self.files.iter().map(|file| sync_data(file));
        let folders =
            self.folders.iter().map(|folder| File::open(folder).and_then(|open| open.sync_all()));
        files.chain(folders).fold(Ok(()), io::Result::and)
    }
}

/// `fdatasync` works on any descriptor of the file.
fn sync_data(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_data(),
    }
}
