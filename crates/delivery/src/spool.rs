//! The disk queue for a sink whose destination is unavailable.
//!
//! Records of one stream that are appended together form a frame. Frames are stored in segments:
//! files that are only appended to, and removed as a whole. This is a pure library without threads,
//! clock or network; its owner calls it.
//!
//! - A frame is on disk when [`Spool::append`] returns: it survives the process, and after
//!   [`Spool::sync`] a crash of the host.
//! - [`Spool::settle`] forgets a frame. Settled frames in a segment with unsettled ones are
//!   recorded by the next [`Spool::checkpoint`]; without it, the next process sends them again.
//! - Every frame that leaves the disk for another reason is reported once by
//!   [`Spool::take_removed`]. Its records are counted in a file, too: if the process is killed, the next one counts
//!   them as dropped. A frame that is in the producer's memory leaves only when it is settled.
//! - A damaged byte costs its frame, at worst also the later frames of the segment, and is counted.

mod append;
mod checkpoint;
mod config;
mod folder;
mod format;
mod queue;
mod recover;

pub use checkpoint::Unsynced;
pub use config::{SpoolConfig, WhenFull};

use super::tally::{DiskLosses, DropReason, PerStream};
use super::{Batch, Stream};
use append::{Active, IMPORTANCE};
use folder::Slot;
use format::{FRAME_HEADER, Packer};
use queue::{FinishedFrame, Queue};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A bounded queue on disk.
pub struct Spool {
    max_bytes: u64,
    max_age: Duration,
    when_full: WhenFull,
    /// Whether lookups wait for the transactions that were appended before them.
    pub(super) causes_first: bool,
    segment_bytes: u64,
    node: Arc<str>,
    slot: Slot,
    /// By stream.
    queues: [Queue; Stream::ALL.len()],
    /// By stream: the segment being appended to.
    active: [Option<Active>; Stream::ALL.len()],
    /// The segment read last, unless it is being written.
    reader: Option<(Stream, u64, File)>,
    packer: Packer,
    out: Vec<u8>,
    bytes: u64,
    gone: Vec<RemovedFrame>,
    unsynced: BTreeSet<(Stream, u64)>,
    /// Whether a finished segment could not be removed.
    leftovers: bool,
    /// Records dropped that no ledger record on disk or at the destination contains.
    pub(super) lost: DiskLosses,
    /// Losses that are written to disk.
    saved_lost: DiskLosses,
    /// xxh3-64 of the checkpoint on disk; 0 if an earlier process wrote it.
    checkpointed: Option<u64>,
}

/// Identifies a frame: records of one stream that were appended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId {
    pub(super) stream: Stream,
    segment: u64,
    frame: usize,
}

/// A frame to send.
#[derive(Debug)]
pub struct UnsentFrame {
    /// Its id, for [`Spool::settle`].
    pub id: FrameId,
    /// Whose records they are.
    pub origin: Origin,
    /// The node that wrote it.
    pub node: Arc<str>,
    /// Its records.
    pub batch: Batch,
    /// By record: whether an earlier process saw it delivered, so that it must not be sent again.
    /// Empty: none.
    pub settled: Vec<bool>,
}

/// A frame that is no longer on disk, or no longer readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedFrame {
    /// Its id; it need not be settled.
    pub id: FrameId,
    /// Whose records they are.
    pub origin: Origin,
    /// Number of its records, without those that an earlier process saw delivered.
    pub records: u64,
    /// Why it was removed.
    pub(super) reason: DropReason,
}

/// The capture that counts a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This capture.
    Own,
    /// An earlier capture, which left it in the spool.
    Recovered,
}

/// What was recovered when the spool was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// By stream: unsettled records.
    pub records: PerStream,
    /// Bytes outside of intact frames.
    pub torn_bytes: u64,
    /// By stream: unsettled records of frames with an intact header and a damaged payload. Records
    /// whose header is damaged too are only in `torn_bytes`.
    pub torn_records: PerStream,
    /// Records that earlier processes dropped without a ledger record that says so.
    pub(super) lost: DiskLosses,
}

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or directory cannot be used.
    #[error(
        "the spool cannot use {}: {error}; make it readable and writable for dnscribe, or configure another directory",
        path.display()
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A segment has a newer format version.
    #[error(
        "{} was written by a newer dnscribe: run that one until the spool is empty, or move the file away",
        path.display()
    )]
    Newer {
        /// The segment.
        path: PathBuf,
    },
    /// No slot is free.
    #[error("all slots of the spool {} are in use: too many agents run on this host", path.display())]
    Busy {
        /// The destination's directory.
        path: PathBuf,
    },
    /// The node's name is too long for a segment's header.
    #[error("the node's name is too long for the spool: shorten it to less than 64 KiB")]
    Node,
    /// zstd cannot start.
    #[error("the spool cannot compress: {0}; free some memory")]
    Zstd(io::Error),
}

impl SpoolError {
    /// Converts an I/O error at `path`.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::Io { path, error }
    }
}

/// Why records were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The spool is full of records that are at least as important.
    #[error("the spool is full: raise spool.max_bytes, or restore the brokers")]
    Full,
    /// The records exceed 64 MiB.
    #[error("the records are too large for one frame of the spool: append fewer at a time")]
    TooLarge,
    /// There are no records.
    #[error("there are no records to spool")]
    Empty,
    /// The disk is full or read-only, or fails.
    #[error("cannot write to the spool: {0}; check the disk; dnscribe retries")]
    Io(#[source] io::Error),
}

enum ReadError {
    /// Permanently.
    Corrupt,
    /// At this moment, for example without free file descriptors.
    Temporary(io::Error),
}

impl Spool {
    /// Takes the next unsent frame, most important stream first, oldest first within a stream (or within transactions and
    /// lookups), and marks it as sent. `None` if there is none, or if reading fails temporarily, for example
    /// without free file descriptors; then [`Spool::has_unsent`] is true, and a later call tries
    /// again.
    ///
    /// Skips frames that are not readable, see [`Spool::take_removed`].
    #[expect(clippy::should_implement_trait, reason = "not an iterator: appending adds more items")]
    pub fn next(&mut self) -> Option<UnsentFrame> {
        for stream in IMPORTANCE {
            while let Some((stream, (segment, frame))) = self.next_waiting(stream) {
                let id = FrameId { stream, segment, frame };
                match self.read(id) {
                    Ok(unsent) => {
                        self.queues[stream as usize].send(segment, frame);
                        return Some(unsent);
                    }
                    Err(ReadError::Corrupt) => self.remove_frame(id, DropReason::SpoolCorrupt),
                    Err(ReadError::Temporary(error)) => {
                        let path = self.slot.segment_path(stream, segment);
                        tracing::warn!(path = %path.display(), %error, "cannot read from the spool at the moment");
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Returns a stream's next frame, or that of what must be sent before.
    fn next_waiting(&mut self, stream: Stream) -> Option<(Stream, (u64, usize))> {
        let mut next = |stream: Stream| {
            let queue = &mut self.queues[stream as usize];
            let place = queue.next_waiting()?;
            Some((queue.frame(place.0, place.1)?.header.time_ns, (stream, place)))
        };
        let (time, own) = next(stream)?;
        let is_later = self.causes_first && stream == Stream::Lookups;
        let before = if is_later { next(Stream::Transactions) } else { None };
        Some(before.filter(|(first, _)| *first <= time).map_or(own, |(_, first)| first))
    }

    /// Returns whether [`Spool::next`] has a frame to return.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.queues.iter().any(|queue| queue.waiting > 0)
    }

    /// Forgets a frame whose records are all delivered or dropped. Removes its segment if nothing
    /// else is left in it. Ignores a frame that is unknown or removed.
    pub fn settle(&mut self, id: FrameId) {
        let finished = self.queues[id.stream as usize].finish(id.segment, id.frame);
        if finished.is_some_and(|finished| finished.is_spent) {
            self.discard(id.stream, id.segment);
        }
    }

    /// Drops frames older than [`SpoolConfig::max_age`], except those in the producer's memory, which may be delivered at
    /// any moment.
    pub fn expire(&mut self, now: SystemTime) {
        self.sweep();
        let Some(limit) = now.checked_sub(self.max_age).map(nanos) else { return };
        for stream in Stream::ALL {
            while let Some((segment, frame)) = self.queues[stream as usize].next_waiting()
                && self.queues[stream as usize]
                    .frame(segment, frame)
                    .is_some_and(|frame| frame.header.time_ns < limit)
            {
                self.remove_frame(FrameId { stream, segment, frame }, DropReason::SpoolExpired);
            }
        }
    }

    /// Takes the frames removed since the last call.
    #[must_use]
    pub fn take_removed(&mut self) -> Vec<RemovedFrame> {
        std::mem::take(&mut self.gone)
    }

    /// Bytes of the segments on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// By stream: unsettled records on disk. A frame counts with all its records or none, except
    /// those that an earlier process recorded as settled.
    #[must_use]
    pub fn records(&self) -> PerStream {
        self.queues.each_ref().map(|queue| queue.records)
    }

    /// When the oldest of these records was appended.
    #[must_use]
    pub fn oldest(&self) -> Option<SystemTime> {
        let oldest = self.queues.iter().filter_map(Queue::oldest_ns).min()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(oldest))
    }

    fn read(&mut self, id: FrameId) -> Result<UnsentFrame, ReadError> {
        let queue = &self.queues[id.stream as usize];
        let segment = queue.segment(id.segment).ok_or(ReadError::Corrupt)?;
        let frame = segment.frames.get(id.frame).ok_or(ReadError::Corrupt)?;
        let active = self.active[id.stream as usize].as_ref();
        let file = match (active.filter(|active| active.name == id.segment), &mut self.reader) {
            (Some(active), _) => &active.file,
            (None, Some((stream, name, file))) if (*stream, *name) == (id.stream, id.segment) => {
                file
            }
            (None, reader) => {
                let path = self.slot.segment_path(id.stream, id.segment);
                let file = File::open(path).map_err(read_error)?;
                &reader.insert((id.stream, id.segment, file)).2
            }
        };
        let payload = self.packer.payload_buffer(&frame.header);
        file.read_exact_at(payload, frame.offset + FRAME_HEADER as u64).map_err(read_error)?;
        let batch = self.packer.unpack(&frame.header, id.stream).ok_or(ReadError::Corrupt)?;
        Ok(UnsentFrame {
            id,
            origin: segment.origin,
            node: Arc::clone(&segment.node),
            batch,
            settled: frame.settled.as_deref().unwrap_or_default().to_vec(),
        })
    }

    fn remove_frame(&mut self, id: FrameId, reason: DropReason) {
        let Some(FinishedFrame { origin, records, is_spent }) =
            self.queues[id.stream as usize].finish(id.segment, id.frame)
        else {
            return;
        };
        self.lost.add(id.stream, reason, records);
        self.gone.push(RemovedFrame { id, origin, records, reason });
        if is_spent {
            self.discard(id.stream, id.segment);
        }
    }

    /// Removes a finished segment. If that fails, tries again later.
    fn discard(&mut self, stream: Stream, name: u64) {
        if let Err(error) = self.remove(stream, name) {
            let path = self.slot.segment_path(stream, name);
            tracing::debug!(path = %path.display(), %error, "cannot remove a segment yet");
            self.leftovers = true;
            self.close(stream, name);
        }
    }

    /// Removes a segment. Unfinished frames in it are reported as removed to make space.
    fn remove(&mut self, stream: Stream, name: u64) -> io::Result<()> {
        let reason = DropReason::SpoolFull;
        let removed: Vec<RemovedFrame> = self.queues[stream as usize]
            .unfinished(name)
            .map(|(frame, origin, records)| RemovedFrame {
                id: FrameId { stream, segment: name, frame },
                origin,
                records,
                reason,
            })
            .collect();
        let lost_before = self.lost;
        self.lost.add(stream, reason, removed.iter().map(|frame| frame.records).sum());
        // On a full disk there is space only after the removal.
        let is_saved = self.save_lost().is_ok();
        if let Err(error) = self.slot.remove(stream, name) {
            self.lost = lost_before;
            return Err(error);
        }
        if !is_saved && let Err(error) = self.save_lost() {
            let path = self.slot.path.display();
            tracing::debug!(%path, %error, "cannot write the numbers of dropped records yet");
        }
        self.close(stream, name);
        self.unsynced.remove(&(stream, name));
        self.bytes -= self.queues[stream as usize].remove(name);
        self.gone.extend(removed);
        Ok(())
    }

    /// Closes the files of a segment.
    fn close(&mut self, stream: Stream, name: u64) {
        self.active[stream as usize].take_if(|active| active.name == name);
        self.reader.take_if(|(of, read, _)| (*of, *read) == (stream, name));
    }
}

/// A missing or truncated file and a media error are permanent; other errors are temporary.
fn read_error(error: io::Error) -> ReadError {
    let medium = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => ReadError::Corrupt,
        _ if medium => ReadError::Corrupt,
        _ => ReadError::Temporary(error),
    }
}

/// Nanoseconds since the Unix epoch, saturating.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
