//! Writes the checkpoint and syncs files.

use super::checkpoint::{Checkpoint, SegmentMark, merge_bits};
use super::queue::{FrameState, Segment};
use super::{FrameId, Spool};
use crate::Stream;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

impl Spool {
    /// Writes which frames are finished and which records of unfinished frames are settled, so that
    /// the next process sends only the rest. `partial`: frames that were handed out and are not
    /// settled, with their settled records. Those of earlier processes are known already.
    ///
    /// # Errors
    /// The old checkpoint stays: the next process sends more records again, but loses none.
    pub fn checkpoint(&mut self, partial: &[(FrameId, &[bool])]) -> io::Result<()> {
        self.sweep();
        let mut checkpoint = Checkpoint::default();
        for stream in Stream::ALL {
            for (name, segment) in self.queues[stream as usize].segments() {
                if segment.is_marked() {
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

    /// Takes the files and directories changed since the last call, to be synced on another thread;
    /// `None` if there are none.
    pub fn take_unsynced(&mut self) -> Option<Unsynced> {
        if self.unsynced.is_empty() {
            return None;
        }
        let mut folders = BTreeSet::from([self.slot.path().to_owned()]);
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
