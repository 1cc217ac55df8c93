//! The disk queue between the pipeline and a sink that is away.
//!
//! Records of one stream that are appended together are a frame; frames stand in segments, files
//! that are only ever appended to and removed whole. A pure library: no thread, no clock, no
//! network; who owns it calls it.
//!
//! - A frame is on disk when [`Spool::append`] returns: it survives the process, and the host after
//!   [`Spool::sync`].
//! - [`Spool::settle`] forgets a frame. What is forgotten and shares a segment with what is not is
//!   remembered by the next [`Spool::checkpoint`]; without one, the next process sends it again.
//! - Whatever leaves the disk otherwise is in [`Spool::take_gone`], once.
//! - Damage of any octet costs the frames it stands in, at worst those behind it in the same
//!   segment, and is counted.

mod append;
mod checkpoint;
mod config;
mod durable;
mod folder;
mod format;
mod payload;
mod probe;
mod queue;
mod recover;
mod room;
mod scan;

pub use config::{BadWhenFull, SpoolConfig, WhenFull};
pub use durable::Unsynced;

use super::tally::PerStream;
use super::{Batch, Stream};
use append::Active;
use folder::Slot;
use format::FRAME_HEADER;
use payload::Packer;
use queue::{Queue, State};
use room::IMPORTANCE;
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
    segment_bytes: u64,
    node: Arc<str>,
    slot: Slot,
    /// By stream.
    queues: [Queue; Stream::ALL.len()],
    /// By stream: the segment that is appended to.
    active: [Option<Active>; Stream::ALL.len()],
    /// The segment that was read last, unless it is being written.
    reader: Option<(Stream, u64, File)>,
    packer: Packer,
    out: Vec<u8>,
    bytes: u64,
    gone: Vec<Gone>,
    unsynced: BTreeSet<(Stream, u64)>,
    /// Whether a spent segment could not be removed.
    leftovers: bool,
    /// xxh3-64 of the checkpoint on disk; 0 where an earlier process wrote it.
    checkpointed: Option<u64>,
}

/// Names a frame: the records of one stream that were appended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId {
    stream: Stream,
    segment: u64,
    frame: usize,
}

/// A frame to be sent.
#[derive(Debug)]
pub struct Unsent {
    /// For [`Spool::settle`].
    pub id: FrameId,
    /// Of all its records.
    pub stream: Stream,
    /// Appended by this process, not found at the start.
    pub own: bool,
    /// The node that wrote it.
    pub node: Arc<str>,
    /// Its records.
    pub batch: Batch,
    /// By record: an earlier process saw it delivered, it must not be sent again. Empty: none.
    pub settled: Vec<bool>,
}

/// A frame that is no longer on disk, or no longer to be read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its name; settling it is needless.
    pub id: FrameId,
    /// Of all its records.
    pub stream: Stream,
    /// Appended by this process, not found at the start.
    pub own: bool,
    /// Its records, without those that an earlier process saw delivered.
    pub records: u64,
    /// Handed out or appended as sent, and not settled: its records are still in the producer's
    /// memory, so not lost.
    pub sent: bool,
    /// Why it went.
    pub reason: GoneReason,
}

/// Why a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoneReason {
    /// It made room for others.
    Full,
    /// It was older than [`SpoolConfig::max_age`].
    Expired,
    /// It cannot be read any more.
    Corrupt,
}

/// What was found at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// By stream: unsettled records.
    pub records: PerStream,
    /// Octets that are no intact frame.
    pub torn_bytes: u64,
    /// By stream: unsettled records of frames whose header is intact and whose payload is not.
    /// Records whose header is torn too are in `torn_bytes` alone.
    pub torn_records: PerStream,
}

/// Why the spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder cannot be used.
    #[error(
        "the spool cannot use {}: {error}; make it readable and writable for dnscribe, or name another folder",
        path.display()
    )]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A segment of a later version.
    #[error(
        "{} was written by a newer dnscribe: run that one until the spool is empty, or move the file away",
        path.display()
    )]
    Newer {
        /// Which.
        path: PathBuf,
    },
    /// No slot is free.
    #[error("all slots of the spool {} are in use: too many agents run on this host", path.display())]
    Busy {
        /// The destination's folder.
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
    /// What failed at `path`.
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::Io { path, error }
    }
}

/// Why records are not on disk.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no room, and what is stored matters as much or more.
    #[error("the spool is full: raise its size limit, or bring the brokers back")]
    Full,
    /// More than 64 MiB at once.
    #[error("the records are too large for one frame of the spool: append fewer at a time")]
    TooLarge,
    /// There are no records.
    #[error("there are no records to be spooled")]
    Empty,
    /// The disk is full or read-only, or fails.
    #[error("cannot write to the spool: {0}; look after the disk, dnscribe keeps trying")]
    Io(#[source] io::Error),
}

/// Why a frame cannot be read.
enum Unreadable {
    /// And never will be.
    Corrupt,
    /// At this moment.
    Now(io::Error),
}

impl Spool {
    /// The next unsent frame, most important stream first, oldest first within a stream; marks it
    /// as sent. Nothing: nothing is unsent, or the system lets nothing be read at this moment (out
    /// of file descriptors; then [`Spool::has_unsent`] holds, and a later call tries again).
    ///
    /// Frames that cannot be read are passed over, see [`Spool::take_gone`].
    #[expect(clippy::should_implement_trait, reason = "appending between two calls brings more")]
    pub fn next(&mut self) -> Option<Unsent> {
        for stream in IMPORTANCE {
            while let Some((segment, frame)) = self.queues[stream as usize].next_waiting() {
                let id = FrameId { stream, segment, frame };
                match self.read(id) {
                    Ok(unsent) => {
                        self.queues[stream as usize].send(segment, frame);
                        return Some(unsent);
                    }
                    Err(Unreadable::Corrupt) => self.lose(id, GoneReason::Corrupt),
                    Err(Unreadable::Now(error)) => {
                        let path = self.slot.segment_path(stream, segment);
                        tracing::warn!(path = %path.display(), %error, "cannot read from the spool now");
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Whether [`Spool::next`] has something to hand out.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.queues.iter().any(Queue::has_waiting)
    }

    /// All records of the frame are delivered or given up: forgets it. A segment that holds nothing
    /// more is removed. A frame that is unknown or gone is passed over.
    pub fn settle(&mut self, id: FrameId) {
        let finished = self.queues[id.stream as usize].finish(id.segment, id.frame);
        if finished.is_some_and(|finished| finished.spent) {
            self.discard(id.stream, id.segment);
        }
    }

    /// Drops what is older than [`SpoolConfig::max_age`].
    pub fn expire(&mut self, now: SystemTime) {
        self.sweep();
        let Some(limit) = now.checked_sub(self.max_age).map(nanos) else { return };
        for stream in Stream::ALL {
            while let Some((segment, frame)) = self.queues[stream as usize].oldest()
                && self.queues[stream as usize]
                    .frame(segment, frame)
                    .is_some_and(|frame| frame.header.time_ns < limit)
            {
                self.lose(FrameId { stream, segment, frame }, GoneReason::Expired);
            }
        }
    }

    /// Frames that went since the last call.
    #[must_use]
    pub fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.gone)
    }

    /// Octets of the segments on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// By stream: records on disk that are not settled as far as the spool knows: of a frame all or
    /// none, but for those that an earlier process wrote down as settled.
    #[must_use]
    pub fn records(&self) -> PerStream {
        self.queues.each_ref().map(Queue::records)
    }

    /// When the oldest of these records was appended.
    #[must_use]
    pub fn oldest(&self) -> Option<SystemTime> {
        let oldest = self.queues.iter().filter_map(Queue::oldest_ns).min()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(oldest))
    }

    fn read(&mut self, id: FrameId) -> Result<Unsent, Unreadable> {
        let queue = &self.queues[id.stream as usize];
        let segment = queue.segment(id.segment).ok_or(Unreadable::Corrupt)?;
        let frame = segment.frames.get(id.frame).ok_or(Unreadable::Corrupt)?;
        let active = self.active[id.stream as usize].as_ref();
        let file = match (active.filter(|active| active.name == id.segment), &mut self.reader) {
            (Some(active), _) => &active.file,
            (None, Some((stream, name, file))) if (*stream, *name) == (id.stream, id.segment) => {
                file
            }
            (None, reader) => {
                let path = self.slot.segment_path(id.stream, id.segment);
                let file = File::open(path).map_err(unreadable)?;
                &reader.insert((id.stream, id.segment, file)).2
            }
        };
        let payload = self.packer.room_for(&frame.header);
        file.read_exact_at(payload, frame.offset + FRAME_HEADER as u64).map_err(unreadable)?;
        let batch = self.packer.unpack(&frame.header, id.stream).ok_or(Unreadable::Corrupt)?;
        Ok(Unsent {
            id,
            stream: id.stream,
            own: segment.own,
            node: Arc::clone(&segment.node),
            batch,
            settled: frame.settled.as_deref().unwrap_or_default().to_vec(),
        })
    }

    /// Gives a frame up.
    fn lose(&mut self, id: FrameId, reason: GoneReason) {
        let finished = self.queues[id.stream as usize].finish(id.segment, id.frame);
        let Some(finished) = finished else { return };
        self.gone.push(Gone {
            id,
            stream: id.stream,
            own: finished.own,
            records: finished.records,
            sent: finished.sent,
            reason,
        });
        if finished.spent {
            self.discard(id.stream, id.segment);
        }
    }

    /// Removes a spent segment; where that fails now, tries again later.
    fn discard(&mut self, stream: Stream, name: u64) {
        if let Err(error) = self.remove(stream, name) {
            let path = self.slot.segment_path(stream, name);
            tracing::debug!(path = %path.display(), %error, "cannot remove a segment yet");
            self.leftovers = true;
            self.close(stream, name);
        }
    }

    /// Removes a segment, to make room for others where something is left in it.
    fn remove(&mut self, stream: Stream, name: u64) -> io::Result<()> {
        self.slot.remove(stream, name)?;
        self.close(stream, name);
        self.unsynced.remove(&(stream, name));
        let Some(segment) = self.queues[stream as usize].remove(name) else { return Ok(()) };
        self.bytes -= segment.bytes;
        let left = segment.frames.iter().enumerate();
        let left = left.filter(|(_, frame)| frame.state != State::Done);
        self.gone.extend(left.map(|(place, frame)| Gone {
            id: FrameId { stream, segment: name, frame: place },
            stream,
            own: segment.own,
            records: frame.unsettled(),
            sent: frame.state == State::Sent,
            reason: GoneReason::Full,
        }));
        Ok(())
    }

    /// Closes the files of a segment.
    fn close(&mut self, stream: Stream, name: u64) {
        self.active[stream as usize].take_if(|active| active.name == name);
        self.reader.take_if(|(of, read, _)| (*of, *read) == (stream, name));
    }
}

/// A file that is gone or too short stays so; a disk that cannot read says so for good.
fn unreadable(error: io::Error) -> Unreadable {
    let medium = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::UnexpectedEof => Unreadable::Corrupt,
        _ if medium => Unreadable::Corrupt,
        _ => Unreadable::Now(error),
    }
}

/// Nanoseconds since the Unix epoch; the nearest that there is.
fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
