//! Appends frames and makes space for them.
//!
//! When the spool is full, segments are removed, of the least important stream first. A record never replaces a
//! more important one, and a backup copy replaces nothing. Segments with records that are in the producer's memory stay:
//! these are sent before all others of their stream, also by the next process, and are on disk if the ledger said so.

use super::format::{
    FRAME_HEADER, FrameHeader, reset_buffer, segment_header_bytes, write_segment_header,
};
use super::queue::{Frame, FrameState, Queue, Segment};
use super::{AppendError, FrameId, Origin, Spool, WhenFull, nanos};
use crate::{Rendered, Stream};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

pub(super) struct Active {
    pub name: u64,
    pub file: File,
}

impl Spool {
    /// Appends records of one stream as one frame, after making space by policy. Frames removed for
    /// that are reported by [`Spool::take_removed`]. `sent`: the producer already has the records,
    /// and this is a backup copy against a crash, which [`Spool::next`] does not return.
    ///
    /// The frame survives the process at once, and a crash of the host after the next
    /// [`Spool::sync`].
    ///
    /// # Errors
    /// The records are not on disk. Earlier records still are, except those in
    /// [`Spool::take_removed`]. The next call tries again.
    pub fn append(
        &mut self,
        stream: Stream,
        records: &mut dyn Iterator<Item = Rendered<'_>>,
        sent: bool,
        now: SystemTime,
    ) -> Result<FrameId, AppendError> {
        let incoming = (!sent).then_some(stream);
        // Avoids compressing records that cannot be stored anyway.
        self.free(incoming, self.excess(FRAME_HEADER as u64), false)?;
        let header = self.packer.pack(records, nanos(now))?;
        let bytes = header.frame_bytes() + segment_header_bytes(&self.node) as u64;
        self.free(incoming, self.excess(bytes), true)?;
        let state = if sent { FrameState::Sent } else { FrameState::Waiting };
        match self.write(stream, header, state) {
            // The disk is full before the limit is reached.
            Err(error) if is_full(&error) => match self.free(incoming, bytes, true) {
                Ok(()) => self.write(stream, header, state),
                Err(AppendError::Full) => Err(error),
                Err(failed) => return Err(failed),
            },
            written => written,
        }
        .map_err(AppendError::Io)
    }

    /// Bytes that `bytes` more would be above the limit.
    fn excess(&self, bytes: u64) -> u64 {
        (self.bytes + bytes).saturating_sub(self.max_bytes)
    }

    /// Frees `goal` bytes by policy for a frame of the stream `incoming`, or for a backup copy. Only checks whether that is
    /// possible unless `evict`.
    fn free(
        &mut self,
        incoming: Option<Stream>,
        goal: u64,
        evict: bool,
    ) -> Result<(), AppendError> {
        if goal == 0 {
            return Ok(());
        }
        let victims =
            incoming.and_then(|incoming| victims(&self.queues, incoming, self.when_full, goal));
        let victims = victims.ok_or(AppendError::Full)?;
        for (stream, name) in victims.into_iter().filter(|_| evict) {
            self.remove(stream, name).map_err(AppendError::Io)?;
        }
        Ok(())
    }

    /// Writes the packer's payload as a frame of the stream's active segment. A new segment and its
    /// first frame are one write.
    fn write(
        &mut self,
        stream: Stream,
        header: FrameHeader,
        state: FrameState,
    ) -> io::Result<FrameId> {
        let index = stream as usize;
        let end = self.active_bytes(stream);
        let end = end.filter(|end| end + header.frame_bytes() <= self.segment_bytes);
        reset_buffer(&mut self.out);
        if end.is_none() {
            self.active[index] = None;
            let name = self.queues[index].new_name(header.time_ns);
            write_segment_header(&self.node, &mut self.out);
            self.active[index] = Some(Active { name, file: self.slot.create(stream, name)? });
        }
        let start = end.unwrap_or(0);
        let offset = start + self.out.len() as u64;
        header.write(offset, &mut self.out);
        self.out.extend_from_slice(self.packer.payload());
        let active = self.active[index].as_ref().ok_or(ErrorKind::NotFound)?;
        let name = active.name;
        if let Err(error) = active.file.write_all_at(&self.out, start) {
            self.undo_write(stream, name, end);
            return Err(error);
        }
        let queue = &mut self.queues[index];
        if end.is_none() {
            queue.insert(
                name,
                Segment::new(Arc::clone(&self.node), Origin::Own, offset, Vec::new()),
            );
            self.bytes += offset;
        }
        let frame = Frame { offset, header, state, settled: None };
        let place = queue.push(name, frame).ok_or(ErrorKind::NotFound)?;
        self.bytes += header.frame_bytes();
        self.unsynced.insert((stream, name));
        Ok(FrameId { stream, segment: name, frame: place })
    }

    /// Bytes of the segment being written, if there is one.
    fn active_bytes(&self, stream: Stream) -> Option<u64> {
        let active = self.active[stream as usize].as_ref()?;
        Some(self.queues[stream as usize].segment(active.name)?.bytes)
    }

    /// Removes what a failed write left: a new segment, or what is behind the `end` of the active
    /// one. If that fails too, the segment is not written any more.
    fn undo_write(&mut self, stream: Stream, name: u64, end: Option<u64>) {
        let path = self.slot.segment_path(stream, name);
        let active = &mut self.active[stream as usize];
        if let (Some(end), Some(Active { file, .. })) = (end, &active) {
            let clean = file.metadata().is_ok_and(|file| file.len() == end);
            if clean {
                return;
            }
            let Err(error) = file.set_len(end) else { return };
            tracing::warn!(path = %path.display(), %error, "cannot truncate a segment; a new one begins");
        } else if let Err(error) = self.slot.remove(stream, name) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a segment that could not be written");
        }
        *active = None;
    }
}

/// Returns whether the disk or a quota is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// The streams, most important first.
pub(super) const IMPORTANCE: [Stream; Stream::ALL.len()] = [
    Stream::Ledger,
    Stream::Alerts,
    Stream::Metrics,
    Stream::Probes,
    Stream::Lookups,
    Stream::Transactions,
    Stream::Connections,
    Stream::Uses,
    Stream::Dlq,
    Stream::Messages,
];

/// The segments to remove, in order, to free at least `goal` bytes; `None` if that is not possible.
fn victims(
    queues: &[Queue; Stream::ALL.len()],
    incoming: Stream,
    policy: WhenFull,
    goal: u64,
) -> Option<Vec<(Stream, u64)>> {
    let mut freed = 0;
    let mut victims = Vec::new();
    for (stream, name, segment) in candidates(queues, incoming, policy) {
        if freed >= goal {
            break;
        }
        freed += segment.bytes;
        victims.push((stream, name));
    }
    (freed >= goal).then_some(victims)
}

/// All segments that may be removed for a record of `incoming`, in order.
fn candidates(
    queues: &[Queue; Stream::ALL.len()],
    incoming: Stream,
    policy: WhenFull,
) -> impl Iterator<Item = (Stream, u64, &Segment)> {
    let oldest_first = policy == WhenFull::DropOldest;
    let less = IMPORTANCE.into_iter().rev().take_while(move |stream| *stream != incoming);
    less.chain(oldest_first.then_some(incoming))
        .flat_map(move |stream| segments(queues, stream, oldest_first))
        .filter(|(_, _, segment)| !segment.is_in_use())
}

fn segments(
    queues: &[Queue; Stream::ALL.len()],
    stream: Stream,
    oldest_first: bool,
) -> impl Iterator<Item = (Stream, u64, &Segment)> {
    let mut left = queues[stream as usize].segments();
    std::iter::from_fn(move || if oldest_first { left.next() } else { left.next_back() })
        .map(move |(name, segment)| (stream, name, segment))
}
