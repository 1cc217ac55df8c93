//! What has to be on disk beside the records.

use super::checkpoint::{Checkpoint, Mark, either};
use super::queue::{Segment, State};
use super::{FrameId, Spool};
use crate::sink::Stream;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

impl Spool {
    /// Writes down which frames are done and which records of frames on disk are settled, so that
    /// the next process sends the rest only. `partial`: frames that were handed out and are not
    /// settled, with their settled records; those of earlier processes are remembered here.
    ///
    /// # Errors
    /// The old checkpoint stays: the next process sends more again, never less.
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
            let Some(frame) = frame.filter(|frame| frame.state != State::Done) else { continue };
            let settled = &settled[..settled.len().min(frame.header.records as usize)];
            if let Ok(place) = u32::try_from(id.frame)
                && settled.contains(&true)
            {
                let mark = checkpoint.segments.entry((id.stream as u8, id.segment)).or_default();
                either(mark.partial.entry(place).or_default(), settled);
            }
        }
        if checkpoint.segments.is_empty() && self.checkpointed.is_none() {
            return Ok(());
        }
        let octets = checkpoint.encode();
        let hash = xxh3_64(&octets);
        if self.checkpointed != Some(hash) {
            self.slot.write_checkpoint(&octets)?;
            self.checkpointed = Some(hash);
        }
        Ok(())
    }

    /// What was appended since the last call, to be synced where waiting does no harm; nothing
    /// where there is nothing.
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

    /// Waits until what was appended since the last call would survive the host.
    ///
    /// # Errors
    /// Some of it might not.
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

/// Files and folders that a power cut could still undo.
#[derive(Debug)]
pub struct Unsynced {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Unsynced {
    /// Waits until all of it would survive the host.
    ///
    /// # Errors
    /// The first of them. Trying again would not help: after a failure the kernel takes what it
    /// could not write for written.
    pub fn sync(&self) -> io::Result<()> {
        let files = self.files.iter().map(|file| sync_data(file));
        let folders =
            self.folders.iter().map(|folder| File::open(folder).and_then(|open| open.sync_all()));
        files.chain(folders).fold(Ok(()), io::Result::and)
    }
}

/// fdatasync is about the file, whichever descriptor has written to it.
fn sync_data(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_data(),
    }
}

fn mark(segment: &Segment) -> Mark {
    let mut mark = Mark::default();
    for (place, frame) in (0..).zip(&segment.frames) {
        let done = frame.state == State::Done;
        mark.done.push(done);
        if let (false, Some(settled)) = (done, &frame.settled) {
            mark.partial.insert(place, settled.to_vec());
        }
    }
    mark
}
