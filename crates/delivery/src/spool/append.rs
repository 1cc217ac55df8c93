//! Appends frames and makes space for them.

use super::evict::{Incoming, victims};
use super::format::{FRAME_HEADER, FrameHeader, segment_header_bytes, write_segment_header};
use super::payload::{PackError, reset_buffer};
use super::queue::{Frame, FrameState, Segment};
use super::{AppendError, FrameId, Spool, nanos};
use crate::{Rendered, Stream};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

/// The segment being written.
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
        let incoming = Incoming { stream, sent };
        // Avoids compressing records that cannot be stored anyway.
        self.make_room(incoming, FRAME_HEADER as u64, false)?;
        let time_ns = nanos(now);
        let header = self.packer.pack(records, time_ns).map_err(|error| match error {
            PackError::Empty => AppendError::Empty,
            PackError::TooLarge => AppendError::TooLarge,
            PackError::Io(error) => AppendError::Io(error),
        })?;
        let bytes = header.frame_bytes() + segment_header_bytes(&self.node) as u64;
        self.make_room(incoming, bytes, true)?;
        let state = if sent { FrameState::Sent } else { FrameState::Waiting };
        match self.write(stream, header, state) {
            // The disk is full before the limit is reached.
            Err(error) if is_full(&error) && self.free(incoming, bytes)? => {
                self.write(stream, header, state)
            }
            written => written,
        }
        .map_err(AppendError::Io)
    }

    /// Makes space for `bytes` within the limit. Only checks whether that is possible unless
    /// `evict`.
    fn make_room(
        &mut self,
        incoming: Incoming,
        bytes: u64,
        evict: bool,
    ) -> Result<(), AppendError> {
        let excess = (self.bytes + bytes).saturating_sub(self.max_bytes);
        if excess == 0 {
            return Ok(());
        }
        let victims = victims(&self.queues, incoming, self.when_full, excess);
        let victims = victims.ok_or(AppendError::Full)?;
        if evict { self.evict_all(victims).map_err(AppendError::Io) } else { Ok(()) }
    }

    /// Frees `bytes` on a full disk by policy. Returns whether it did.
    fn free(&mut self, incoming: Incoming, bytes: u64) -> Result<bool, AppendError> {
        let Some(victims) = victims(&self.queues, incoming, self.when_full, bytes) else {
            return Ok(false);
        };
        self.evict_all(victims).map_err(AppendError::Io)?;
        Ok(true)
    }

    fn evict_all(&mut self, victims: Vec<(Stream, u64)>) -> io::Result<()> {
        victims.into_iter().try_for_each(|(stream, name)| self.remove(stream, name))
    }

    /// Writes the packer's payload as a frame of the stream's active segment.
    fn write(
        &mut self,
        stream: Stream,
        header: FrameHeader,
        state: FrameState,
    ) -> io::Result<FrameId> {
        let bytes = self.active_bytes(stream);
        if bytes.is_some_and(|bytes| bytes + header.frame_bytes() > self.segment_bytes) {
            self.active[stream as usize] = None;
        }
        let (name, offset) = match (&self.active[stream as usize], bytes) {
            (Some(active), Some(bytes)) => {
                reset_buffer(&mut self.out);
                header.write(bytes, &mut self.out);
                self.out.extend_from_slice(self.packer.payload());
                let written = active.file.write_all_at(&self.out, bytes);
                let name = active.name;
                if let Err(error) = written {
                    self.cut_back(stream, bytes);
                    return Err(error);
                }
                (name, bytes)
            }
            _ => self.begin(stream, header)?,
        };
        let frame = Frame { offset, header, state, settled: None };
        let queue = &mut self.queues[stream as usize];
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

    /// Begins a segment and its first frame in one write. Returns the segment's name and the
    /// frame's offset.
    fn begin(&mut self, stream: Stream, header: FrameHeader) -> io::Result<(u64, u64)> {
        let queue = &mut self.queues[stream as usize];
        let name = queue.new_name(header.time_ns);
        reset_buffer(&mut self.out);
        write_segment_header(&self.node, &mut self.out);
        let offset = self.out.len() as u64;
        header.write(offset, &mut self.out);
        self.out.extend_from_slice(self.packer.payload());
        let file = self.slot.create(stream, name)?;
        if let Err(error) = file.write_all_at(&self.out, 0) {
            if let Err(error) = self.slot.remove(stream, name) {
                let path = self.slot.segment_path(stream, name);
                tracing::warn!(path = %path.display(), %error, "cannot remove a segment that could not be written");
            }
            return Err(error);
        }
        queue.insert(name, Segment::new(Arc::clone(&self.node), true, offset, Vec::new()));
        self.bytes += offset;
        self.active[stream as usize] = Some(Active { name, file });
        Ok((name, offset))
    }

    /// Cuts off what a failed write left behind `bytes`. If that fails too, the segment is not
    /// written any more.
    fn cut_back(&mut self, stream: Stream, bytes: u64) {
        let Some(active) = &self.active[stream as usize] else { return };
        let clean = active.file.metadata().is_ok_and(|file| file.len() == bytes);
        if !clean && let Err(error) = active.file.set_len(bytes) {
            let path = self.slot.segment_path(stream, active.name);
            tracing::warn!(path = %path.display(), %error, "cannot truncate a segment; a new one begins");
            self.active[stream as usize] = None;
        }
    }
}

/// Returns whether the disk or a quota is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
