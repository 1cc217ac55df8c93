//! stdout and files: lines, whole ones.
//!
//! A regular file holds whole records at every moment that a reader can meet: what a failed write
//! left of a record is cut away again, and a new file begins between two records. To pipes and
//! terminals octets go in portions that cannot block, so that a reader that stands still can be
//! left.

mod keeper;
mod series;
mod target;

use super::tally::{PerStream, Reason, Tally};
use super::threaded::{Back, Bounds, Next, Shared, Threaded};
use super::{Batch, Failure, Look, Rotation, SinkError, StreamSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use target::Target;
pub(super) use target::open;

const REASONS: &[Reason] =
    &[Reason::QueueFull, Reason::WriteError, Reason::PipeClosed, Reason::Shutdown];

/// After `poll` says that there is room, a pipe takes this much without blocking (`PIPE_BUF`).
const PORTION: usize = 4096;

/// How long to wait for a slow reader before looking whether the sink is being closed.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Opens stdout as a sink.
pub(super) fn stdout(name: String, streams: StreamSet, look: Look) -> Result<Threaded, SinkError> {
    let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| SinkError::Stdout { error })?;
    start(name, streams, look, Writer::new(Target::unnamed(file, "stdout".into()), true))
}

/// Opens a file as a sink, to be appended to; makes it (mode 0640) where there is none.
pub(super) fn file(
    name: String,
    streams: StreamSet,
    path: &Path,
    rotation: Rotation,
) -> Result<Threaded, SinkError> {
    start(name, streams, Look::Json, Writer::new(Target::at(path, rotation)?, false))
}

fn start(
    name: String,
    streams: StreamSet,
    look: Look,
    mut writer: Writer,
) -> Result<Threaded, SinkError> {
    let thread = name.clone();
    let shared = Threaded::shared(Tally::new(streams, REASONS));
    let work = move |back: &Back| writer.run(back);
    Threaded::start(name, look, Bounds::default(), shared, work)
        .map_err(|error| SinkError::Thread { name: thread, error })
}

/// The lines of one batch that are the sink's, in one piece.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends, and its stream.
    ends: Vec<(usize, usize)>,
}

impl Lines {
    fn gather(&mut self, batch: &Batch, streams: StreamSet) {
        self.bytes.clear();
        self.ends.clear();
        for record in batch.iter().filter(|record| streams.contains(record.stream)) {
            self.bytes.extend_from_slice(record.line);
            self.ends.push((self.bytes.len(), record.stream as usize));
        }
    }

    /// Where the longest run of whole lines ends that begins at `start` and has `room` octets at
    /// most; at least the first line's end. A line must begin at `start`.
    fn run_end(&self, start: usize, room: usize) -> usize {
        let limit = start.saturating_add(room);
        let beyond = self.ends.partition_point(|(end, _)| *end <= limit);
        let first = self.ends.partition_point(|(end, _)| *end <= start);
        self.ends[first..].get(beyond.saturating_sub(first + 1)).map_or(start, |(end, _)| *end)
    }

    /// The lines that lie within the first `written` octets, those that do not, and where the
    /// last whole one ends.
    fn split(&self, written: usize) -> (PerStream, PerStream, usize) {
        let (mut whole, mut rest, mut last_end) = (PerStream::default(), PerStream::default(), 0);
        for (end, stream) in &self.ends {
            if *end <= written {
                whole[*stream] += 1;
                last_end = *end;
            } else {
                rest[*stream] += 1;
            }
        }
        (whole, rest, last_end)
    }
}

/// The thread's state.
struct Writer {
    target: Target,
    pipe_may_close: bool,
    lines: Lines,
}

impl Writer {
    fn new(target: Target, pipe_may_close: bool) -> Self {
        Self { target, pipe_may_close, lines: Lines::default() }
    }

    fn run(&mut self, back: &Back) {
        loop {
            let next = back.next(self.target.rests());
            if back.shared.reopen_asked() {
                self.target.reopen();
            }
            match next {
                Next::Batch(taken) => {
                    if let Err(reason) = self.deliver(&taken.batch, &back.shared) {
                        drop(taken);
                        return back.drop_all(reason);
                    }
                }
                Next::Idle => self.target.rotate_if_old(),
                Next::Stop => return,
            }
        }
    }

    /// Writes the batch's lines and counts them; an error is the end of the sink.
    fn deliver(&mut self, batch: &Arc<Batch>, shared: &Shared) -> Result<(), Reason> {
        let tally = &shared.tally;
        self.lines.gather(batch, tally.streams());
        self.target.follow_its_name();
        self.target.rotate_if_old();
        let (written, outcome) = self.write(shared);
        let (whole, rest, last_end) = self.lines.split(written);
        tally.delivered(&whole);
        // Without an error the rest is what closing the sink leaves: that counts it.
        let Err(error) = outcome else { return Ok(()) };
        if written > last_end {
            self.target.cut(written - last_end);
        }
        let (failure, reason) = self.judge(&error);
        // In this order: who finds nothing in flight any more finds the reason too.
        shared.fail(failure, reason);
        tally.dropped(&rest, reason);
        Err(reason)
    }

    /// Writes the lines gathered, each into one file: how many octets went out, and what ended it
    /// before the last.
    fn write(&mut self, shared: &Shared) -> (usize, io::Result<()>) {
        let mut start = 0;
        while start < self.lines.bytes.len() {
            let first = self.lines.run_end(start, 0) - start;
            let room = self.target.room_for(first);
            let end = self.lines.run_end(start, room);
            let (written, outcome) = self.write_run(start..end, shared);
            if outcome.is_err() || written < end {
                return (written, outcome);
            }
            start = end;
        }
        (start, Ok(()))
    }

    /// Writes lines into the file that is open.
    fn write_run(&mut self, run: Range<usize>, shared: &Shared) -> (usize, io::Result<()>) {
        let mut written = run.start;
        while written < run.end {
            let mut portion = &self.lines.bytes[written..run.end];
            if !self.target.regular() {
                if !writable(self.target.file()) {
                    if shared.stopping() {
                        break;
                    }
                    continue;
                }
                portion = &portion[..portion.len().min(PORTION)];
            }
            match self.target.write(portion) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if is_passing(&error) => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn judge(&self, error: &io::Error) -> (Failure, Reason) {
        if error.kind() == ErrorKind::BrokenPipe && self.pipe_may_close {
            return (Failure::PipeClosed, Reason::PipeClosed);
        }
        (
            Failure::Broken(format!("cannot write to {}: {error}", self.target.label())),
            Reason::WriteError,
        )
    }
}

/// Whether the file takes a portion now; waits for it a little. Errors show in the write.
fn writable(file: &File) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    !matches!(poll(&mut fds, Some(&PATIENCE)), Ok(0))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
