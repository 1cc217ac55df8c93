//! stdout and files: lines, whole ones.
//!
//! A regular file holds whole records at every moment that a reader can meet: what a failed write
//! left of a record is cut away again. To pipes and terminals octets go in portions that cannot
//! block, so that a reader that stands still can be left.

use super::tally::{PerStream, Reason, Tally};
use super::threaded::{Back, Bounds, Next, Shared, Threaded};
use super::{Batch, Failure, Look, SinkError, StreamSet};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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
    start(name, streams, look, file, "stdout".into(), true)
}

/// Opens a file as a sink, to be appended to; makes it (mode 0640) where there is none.
pub(super) fn file(name: String, streams: StreamSet, path: &Path) -> Result<Threaded, SinkError> {
    let file = open(path).map_err(|error| SinkError::File { path: path.to_path_buf(), error })?;
    start(name, streams, Look::Json, file, path.display().to_string(), false)
}

/// Opens a file as the file sink does. A named pipe without a reader is an error (`ENXIO`) rather
/// than a wait.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)
}

fn start(
    name: String,
    streams: StreamSet,
    look: Look,
    file: File,
    label: String,
    pipe_may_close: bool,
) -> Result<Threaded, SinkError> {
    let thread = name.clone();
    let shared = Threaded::shared(Tally::new(streams, REASONS));
    let work = move |back: &Back| Writer::new(file, label, pipe_may_close).run(back);
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
    file: File,
    label: String,
    pipe_may_close: bool,
    regular: bool,
    lines: Lines,
}

impl Writer {
    fn new(file: File, label: String, pipe_may_close: bool) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file, label, pipe_may_close, regular, lines: Lines::default() }
    }

    fn run(&mut self, back: &Back) {
        loop {
            match back.next(Duration::from_secs(1)) {
                Next::Batch(taken) => {
                    if let Err(reason) = self.deliver(&taken.batch, &back.shared) {
                        drop(taken);
                        return back.drop_all(reason);
                    }
                }
                Next::Idle => {}
                Next::Stop => return,
            }
        }
    }

    /// Writes the batch's lines and counts them; an error is the end of the sink.
    fn deliver(&mut self, batch: &Arc<Batch>, shared: &Shared) -> Result<(), Reason> {
        let tally = &shared.tally;
        self.lines.gather(batch, tally.streams());
        let (written, outcome) = self.write(shared);
        let (whole, rest, last_end) = self.lines.split(written);
        tally.delivered(&whole);
        // Without an error the rest is what closing the sink leaves: that counts it.
        let Err(error) = outcome else { return Ok(()) };
        if self.regular && written > last_end {
            self.cut(written - last_end);
        }
        let (failure, reason) = self.judge(&error);
        tally.dropped(&rest, reason);
        shared.fail(failure, reason);
        Err(reason)
    }

    /// Writes the lines gathered: how many octets went out, and what ended it before the last.
    fn write(&mut self, shared: &Shared) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < self.lines.bytes.len() {
            let mut portion = &self.lines.bytes[written..];
            if !self.regular {
                if !writable(&self.file) {
                    if shared.stopping() {
                        break;
                    }
                    continue;
                }
                portion = &portion[..portion.len().min(PORTION)];
            }
            match self.file.write(portion) {
                Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if is_passing(&error) => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Takes back the last `excess` octets, the beginning of a record, unless somebody else has
    /// written behind them.
    fn cut(&mut self, excess: usize) {
        let cut = || -> io::Result<()> {
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() != end {
                return Ok(());
            }
            let whole = end.saturating_sub(excess as u64);
            self.file.set_len(whole)?;
            self.file.seek(SeekFrom::Start(whole)).map(drop)
        };
        if let Err(error) = { cut }() {
            tracing::warn!(file = self.label, %error, "the last line of the file is not whole");
        }
    }

    fn judge(&self, error: &io::Error) -> (Failure, Reason) {
        if error.kind() == ErrorKind::BrokenPipe && self.pipe_may_close {
            return (Failure::PipeClosed, Reason::PipeClosed);
        }
        (Failure::Broken(format!("cannot write to {}: {error}", self.label)), Reason::WriteError)
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
