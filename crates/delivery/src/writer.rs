//! Writes records as lines to stdout and files.
//!
//! A regular file contains whole records at every moment that a reader can see: the partial record
//! of a failed write is cut off, and a new file begins between two records. Pipes and terminals are
//! written in portions that cannot block, so that the sink can be closed while the reader is stuck.

mod rotation;
mod target;

use super::tally::{DropReason, PerStream};
use super::threaded::{NextStep, QueueLimits, SharedState, SinkReceiver, ThreadedSink};
use super::{Batch, Failure, OutputFormat, Rotation, SinkError, Stream, StreamSet, files};
use dnscribe_record::EcsEncoder;
use dnscribe_record::time::Timestamp;
pub use rotation::is_rotated_from;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use target::Target;
pub(super) use target::{CHECK_PATH_EVERY, cut, is_same_file, open};
use tracing::error;

const REASONS: &[DropReason] =
    &[DropReason::QueueFull, DropReason::WriteError, DropReason::PipeClosed, DropReason::Shutdown];

/// After `poll` reports a pipe writable, it takes this many bytes without blocking (`PIPE_BUF`).
pub(super) const PORTION: usize = 4096;

/// How long to wait for a slow reader before checking whether the sink is being closed.
const POLL_TIMEOUT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Creates a file with mode and owner of the one that was written `before`, if any. Renames a file that is there already and
/// not empty, as rotation does.
pub(super) fn create_anew(path: &Path, before: Option<&File>) -> io::Result<File> {
    if files::metadata(path).is_ok_and(|file| file.is_file() && file.len() > 0) {
        let mut series = rotation::Series::of(path)?;
        files::rename(path, &series.next(Timestamp::now()))?;
    }
    match before {
        Some(before) => target::create_like(path, before),
        None => files::append(path, true, None),
    }
}

pub(super) fn stdout(
    name: String,
    streams: StreamSet,
    format: OutputFormat,
) -> Result<ThreadedSink, SinkError> {
    let file = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let file = file.map_err(|error| SinkError::Stdout { error })?;
    start(name, streams, format, Writer::new(Target::unnamed(file, "stdout".into()), true))
}

/// Opens a file as a sink that appends. Creates it with mode 0640 if it is missing.
pub(super) fn file(
    name: String,
    streams: StreamSet,
    format: OutputFormat,
    path: &Path,
    rotation: Rotation,
) -> Result<ThreadedSink, SinkError> {
    start(name, streams, format, Writer::new(Target::at(path, rotation)?, false))
}

fn start(
    name: String,
    streams: StreamSet,
    format: OutputFormat,
    mut writer: Writer,
) -> Result<ThreadedSink, SinkError> {
    writer.lines.ecs = (format == OutputFormat::Ecs).then(EcsEncoder::default);
    let shared = SharedState::new(streams, REASONS);
    let work = move |receiver: &SinkReceiver| writer.run(receiver);
    ThreadedSink::start(name, format.rendered(), QueueLimits::default(), shared, work)
}

/// The lines of one batch that belong to the sink, contiguous.
#[derive(Default)]
struct Lines {
    bytes: Vec<u8>,
    /// The end of each line, and its stream.
    ends: Vec<(usize, usize)>,
    /// Makes documents of them, if they are to be.
    ecs: Option<EcsEncoder>,
}

impl Lines {
    fn gather(&mut self, batch: &Batch, streams: StreamSet) {
        self.bytes.clear();
        self.ends.clear();
        for record in batch.iter().filter(|record| streams.contains(record.stream)) {
            self.add(record.stream, record.line);
            self.ends.push((self.bytes.len(), record.stream as usize));
        }
    }

    fn add(&mut self, stream: Stream, line: &[u8]) {
        let Some(ecs) = &self.ecs else { return self.bytes.extend_from_slice(line) };
        match ecs.write(stream, line, &mut self.bytes) {
            Ok(()) => self.bytes.push(b'\n'),
            Err(error) => {
                error!(
                    "a record is no JSON ({error}) and is written as it is; this is a bug, please report it"
                );
                self.bytes.extend_from_slice(line);
            }
        }
    }

    /// The end of the longest run of whole lines from `start` with at most `capacity` bytes, but at
    /// least the end of the first line. A line must begin at `start`.
    fn run_end(&self, start: usize, capacity: usize) -> usize {
        let limit = start.saturating_add(capacity);
        let beyond = self.ends.partition_point(|(end, _)| *end <= limit);
        let first = self.ends.partition_point(|(end, _)| *end <= start);
        self.ends[first..].get(beyond.saturating_sub(first + 1)).map_or(start, |(end, _)| *end)
    }

    /// Counts by stream the lines within the first `written` bytes and the other lines. Returns
    /// both and the end of the last whole line written.
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

struct Writer {
    target: Target,
    pipe_may_close: bool,
    lines: Lines,
}

impl Writer {
    fn new(target: Target, pipe_may_close: bool) -> Self {
        Self { target, pipe_may_close, lines: Lines::default() }
    }

    fn run(&mut self, receiver: &SinkReceiver) {
        loop {
            let next = receiver.next(self.target.time_to_rotation());
            if receiver.shared.reopen.replace(false) {
                self.target.reopen();
            }
            match next {
                NextStep::Batch(taken) => {
                    if let Err(reason) = self.deliver(&taken.batch, &receiver.shared) {
                        drop(taken);
                        return receiver.drop_all(reason);
                    }
                }
                NextStep::Idle => self.target.rotate_if_old(),
                NextStep::Stop => return,
            }
        }
    }

    /// Writes and counts the batch's lines. After an error the sink has failed.
    fn deliver(&mut self, batch: &Arc<Batch>, shared: &SharedState) -> Result<(), DropReason> {
        let tally = &shared.tally;
        self.lines.gather(batch, tally.streams);
        self.target.follow_its_name();
        self.target.rotate_if_old();
        let (written, outcome) = self.write(shared);
        let (whole, rest, last_end) = self.lines.split(written);
        tally.delivered(&whole);
        // Without an error, the rest was left because the sink is being closed, which counts it.
        let Err(error) = outcome else { return Ok(()) };
        if written > last_end {
            self.target.cut(written - last_end);
        }
        let (failure, reason) = self.classify(&error);
        // In this order, so that a reader who sees nothing in flight also sees the failure.
        shared.fail(failure, reason);
        tally.dropped(&rest, reason);
        Err(reason)
    }

    /// Writes the gathered lines, each into one file. Returns the bytes written and the error that
    /// stopped it.
    fn write(&mut self, shared: &SharedState) -> (usize, io::Result<()>) {
        let mut start = 0;
        while start < self.lines.bytes.len() {
            let first = self.lines.run_end(start, 0) - start;
            let capacity = self.target.capacity_for(first);
            let end = self.lines.run_end(start, capacity);
            let (written, outcome) = self.write_run(start..end, shared);
            if outcome.is_err() || written < end {
                return (written, outcome);
            }
            start = end;
        }
        (start, Ok(()))
    }

    fn write_run(&mut self, run: Range<usize>, shared: &SharedState) -> (usize, io::Result<()>) {
        let mut written = run.start;
        while written < run.end {
            let mut portion = &self.lines.bytes[written..run.end];
            if !self.target.regular {
                if !wait_writable(&self.target.file) {
                    if shared.stop.get() {
                        break;
                    }
                    continue;
                }
                portion = &portion[..portion.len().min(PORTION)];
            }
            match self.target.write(portion) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if is_transient(&error) => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    fn classify(&self, error: &io::Error) -> (Failure, DropReason) {
        if error.kind() == ErrorKind::BrokenPipe && self.pipe_may_close {
            return (Failure::PipeClosed, DropReason::PipeClosed);
        }
        (
            Failure::Broken(format!("cannot write to {}: {error}", self.target.label)),
            DropReason::WriteError,
        )
    }
}

/// Waits up to `POLL_TIMEOUT` until the file is writable. Errors show in the write.
pub(super) fn wait_writable(file: &File) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    !matches!(poll(&mut fds, Some(&POLL_TIMEOUT)), Ok(0))
}

pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

#[cfg(test)]
#[path = "writer/tests.rs"]
mod tests;
