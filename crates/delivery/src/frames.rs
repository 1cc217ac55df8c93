//! Base of sinks that write each message in a format of its own: dnstap and pcapng.
//!
//! Input: `dns.message/1` with the bytes of the message (`messages.wire`). A format makes the frame of a message; all
//! else is here.

use super::pcapng::STDOUT;
use super::tally::{DropReason, PerStream};
use super::threaded::{LONG_WAIT, NextStep, QueueLimits, SharedState, SinkReceiver, ThreadedSink};
use super::writer::{CHECK_PATH_EVERY, cut, is_same_file};
use super::{Batch, Failure, OutputFormat, SinkError, Stream, StreamSet};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before a program that does not listen is tried again.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);

/// Time after a new connection for which messages must be written until its program counts as reading them: one that does
/// not read has buffers, too.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

const REASONS: &[DropReason] = &[
    DropReason::QueueFull,
    DropReason::NotEncodable,
    DropReason::WriteError,
    DropReason::PipeClosed,
    DropReason::Shutdown,
];

/// The fields of `dns.message/1` that frames are made of. A record whose addresses are masked has none.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct MessageFields<'a> {
    pub(super) ts: Timestamp,
    #[serde(borrow, default)]
    pub(super) event_id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing)]
    pub(super) node: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) vantage: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) transport: Cow<'a, str>,
    src_ip: IpAddr,
    src_port: u16,
    dst_ip: IpAddr,
    dst_port: u16,
    #[serde(borrow)]
    qr: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) qname: Option<Cow<'a, str>>,
    /// The configured name of the resolver, else its address: a record has it as its key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) resolver: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) wire_bytes: u32,
    #[serde(borrow)]
    wire: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) process: Option<ProcessFields<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) container: Option<ContainerFields<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) k8s: Option<PodFields<'a>>,
}

/// A process; in an alert, its name alone.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ProcessFields<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<u32>,
    #[serde(borrow)]
    pub(super) comm: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) exe: Option<Cow<'a, str>>,
}

/// A container.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct ContainerFields<'a> {
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
}

/// A pod.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct PodFields<'a> {
    #[serde(borrow)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) pod: Cow<'a, str>,
}

impl<'a> MessageFields<'a> {
    /// Reads a record; `None` if it has no bytes of a message, or no addresses.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The captured bytes of the message.
    pub(super) fn wire(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&*self.wire).ok()
    }

    pub(super) fn is_query(&self) -> bool {
        self.qr == "query"
    }

    /// Sender and receiver.
    pub(super) const fn ends(&self) -> (SocketAddr, SocketAddr) {
        let src = SocketAddr::new(self.src_ip, self.src_port);
        (src, SocketAddr::new(self.dst_ip, self.dst_port))
    }

    pub(super) fn client_and_server(&self) -> (SocketAddr, SocketAddr) {
        let (src, dst) = self.ends();
        if self.is_query() { (src, dst) } else { (dst, src) }
    }
}

/// A format, and where its frames go, which `Display` shows.
pub(super) trait FrameFormat: fmt::Display + Send + 'static {
    /// An open output.
    type Output: Write + Send;

    /// The file that is written. Without one, a program is waited for while it does not listen.
    fn file(&self) -> Option<&Path>;

    /// Opens the output and writes what comes before all frames. `before`: the file that was written at this path and is
    /// not there any more.
    fn open(
        &mut self,
        shared: &Arc<SharedState>,
        before: Option<&File>,
    ) -> io::Result<Self::Output>;

    /// The file behind an open output, from which a partial frame is cut off; none if it is no file.
    fn file_of(output: &mut Self::Output) -> Option<&mut File>;

    /// Appends the frame of a record to `out`. Returns false, and appends nothing, if it has none.
    fn append_frame(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool;

    /// Writes what comes after all frames.
    fn close(output: Self::Output) -> io::Result<()>;
}

/// Starts a sink. A file is created at once; a program is connected to when it listens, and given up if it does not for
/// `patience`.
pub(super) fn open<F: FrameFormat>(
    name: String,
    streams: StreamSet,
    mut format: F,
    patience: Option<Duration>,
) -> Result<ThreadedSink, SinkError> {
    let shared = SharedState::new(streams, REASONS);
    let output = match format.file().map(Path::to_path_buf) {
        Some(path) => {
            let failed = |error| SinkError::File { path, error };
            Some(format.open(&shared, None).map_err(failed)?)
        }
        None => None,
    };
    let writer = FrameWriter::new(format, output, patience);
    let work = move |receiver: &SinkReceiver| writer.run(receiver);
    ThreadedSink::start(name, OutputFormat::Json, QueueLimits::default(), shared, work)
}

/// The frames of one batch, contiguous, and where each ends.
#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Frames {
    /// The number of whole frames within the first `written` bytes, and the bytes behind them.
    fn split(&self, written: usize) -> (usize, usize) {
        let whole = self.ends.partition_point(|end| *end <= written);
        let end = whole.checked_sub(1).map_or(0, |last| self.ends[last]);
        (whole, written - end)
    }
}

/// Counts of messages.
fn messages(count: usize) -> PerStream {
    let mut share = PerStream::default();
    share[Stream::Messages as usize] = count as u64;
    share
}

struct FrameWriter<F: FrameFormat> {
    format: F,
    output: Option<F::Output>,
    patience: Option<Duration>,
    next_try: Instant,
    /// Whether the open output has accepted bytes.
    has_accepted: bool,
    /// When the program was first found not to listen or read, unless it has accepted messages since.
    failing_since: Option<Instant>,
    /// When it was last checked whether the path still leads to the open file.
    checked_at: Instant,
    /// Whether a failure to reopen has been logged.
    failure_logged: bool,
}

impl<F: FrameFormat> FrameWriter<F> {
    fn new(format: F, output: Option<F::Output>, patience: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            format,
            output,
            patience,
            next_try: now,
            has_accepted: false,
            failing_since: None,
            checked_at: now,
            failure_logged: false,
        }
    }

    fn run(mut self, receiver: &SinkReceiver) {
        loop {
            let next = receiver.next(LONG_WAIT);
            if receiver.shared.reopen.replace(false) {
                self.follow_its_name(&receiver.shared);
            }
            match next {
                NextStep::Batch(taken) => {
                    if self.checked_at.elapsed() >= CHECK_PATH_EVERY {
                        self.follow_its_name(&receiver.shared);
                    }
                    self.begin_anew_if_truncated(&receiver.shared);
                    let written = self.deliver(&taken.batch, &receiver.shared);
                    drop(taken);
                    if let Err(reason) = written {
                        return receiver.drop_all(reason);
                    }
                }
                NextStep::Idle => {}
                NextStep::Stop => break,
            }
        }
        if let Some(Err(error)) = self.output.map(F::close) {
            tracing::debug!(%error, "the end of {} was not confirmed", self.format);
        }
    }

    /// Ends the file and opens its path again if it was moved or removed. Keeps the open file if that fails.
    fn follow_its_name(&mut self, shared: &Arc<SharedState>) {
        self.checked_at = Instant::now();
        let Self { format, output: Some(output), failure_logged, .. } = self else { return };
        let path = format.file().filter(|path| *path != Path::new(STDOUT));
        let Some((path, file)) = path.zip(F::file_of(output)) else { return };
        if !file.metadata().is_ok_and(|file| file.is_file())
            || is_same_file(path, file).is_ok_and(|(is_same, _)| is_same)
        {
            return;
        }
        match format.open(shared, Some(file)) {
            Ok(next) => {
                tracing::info!("{format} reopened: it was moved or removed");
                *failure_logged = false;
                if let Err(error) = F::close(std::mem::replace(output, next)) {
                    tracing::warn!(%error, "the end of the file that was at {format} is missing");
                }
            }
            Err(error) if !*failure_logged => {
                *failure_logged = true;
                tracing::warn!(
                    %error,
                    "cannot reopen {format}, which was moved or removed; the open file is still written: check that the \
                     path can be written"
                );
            }
            Err(_) => {}
        }
    }

    /// Begins the file anew if another process has truncated it, as `copytruncate` of logrotate does: frames alone could not be
    /// read. What is left of it gets the name of a rotated file.
    fn begin_anew_if_truncated(&mut self, shared: &Arc<SharedState>) {
        let Self { format, output: Some(output), failure_logged, .. } = self else { return };
        if format.file().is_none() {
            return;
        }
        let Some(file) = F::file_of(output) else { return };
        if !is_truncated(file).unwrap_or(false) {
            return;
        }
        // Standard output may not be in append mode: without this, zeros would fill the place of what is gone.
        let opened = file.seek(SeekFrom::End(0)).and_then(|_| format.open(shared, Some(file)));
        match opened {
            Ok(next) => {
                tracing::info!("{format} begun anew: it was truncated");
                *failure_logged = false;
                // Without its end, which would come before the new beginning.
                *output = next;
            }
            Err(error) if !*failure_logged => {
                *failure_logged = true;
                tracing::warn!(%error, "cannot begin {format} anew, which was truncated: it cannot be read");
            }
            Err(_) => {}
        }
    }

    /// Writes the messages of a batch. Fails if the file cannot be written; a program is waited for.
    fn deliver(&mut self, batch: &Batch, shared: &Arc<SharedState>) -> Result<(), DropReason> {
        let mut left_out = shared.tally.count_batch(batch);
        let mut frames = Frames::default();
        for record in batch.iter().filter(|record| record.stream == Stream::Messages) {
            if self.format.append_frame(record.line, &mut frames.bytes) {
                frames.ends.push(frames.bytes.len());
            }
        }
        let count = frames.ends.len();
        left_out[Stream::Messages as usize] -= count as u64;
        shared.tally.dropped(&left_out, DropReason::NotEncodable);
        while !shared.stop.get() {
            match self.write(&frames, shared) {
                Ok(true) => {
                    shared.tally.delivered(&messages(count));
                    return Ok(());
                }
                Ok(false) => std::thread::sleep(Duration::from_millis(20)),
                Err((whole, error)) => {
                    shared.tally.delivered(&messages(whole));
                    if error.kind() == ErrorKind::TimedOut && shared.stop.get() {
                        // Closing has ended the wait for a reader.
                        break;
                    }
                    let (failure, reason) = if error.kind() == ErrorKind::BrokenPipe {
                        (Failure::PipeClosed, DropReason::PipeClosed)
                    } else {
                        let why = format!("cannot write to {}: {error}", self.format);
                        (Failure::Broken(why), DropReason::WriteError)
                    };
                    shared.fail(failure, reason);
                    shared.tally.dropped(&messages(count - whole), reason);
                    return Err(reason);
                }
            }
        }
        // Closing counts what is left.
        Ok(())
    }

    /// Writes frames. Returns false if the program does not listen at the moment. An error comes with the number of frames
    /// that were written; a file ends with the last of these.
    fn write(
        &mut self,
        frames: &Frames,
        shared: &Arc<SharedState>,
    ) -> Result<bool, (usize, io::Error)> {
        if self.output.is_none() {
            if Instant::now() < self.next_try {
                return Ok(false);
            }
            match self.format.open(shared, None) {
                Ok(output) => {
                    self.output = Some(output);
                    self.has_accepted = false;
                }
                Err(error) => return self.failed(error).map_err(|error| (0, error)),
            }
        }
        let Some(output) = &mut self.output else { return Ok(false) };
        // A program that was connected for so long before has recovered even if no message came meanwhile.
        let is_episode_over = self.has_accepted && self.next_try.elapsed() >= RECOVERED_AFTER;
        let (written, outcome) = write_all(output, &frames.bytes);
        self.has_accepted |= written > 0;
        let Err(error) = outcome else {
            let is_recovered = written > 0 && self.next_try.elapsed() >= RECOVERED_AFTER;
            if is_recovered && self.failing_since.take().is_some() {
                tracing::info!("{} accepts messages again", self.format);
            }
            return Ok(true);
        };
        if is_episode_over {
            self.failing_since = None;
        }
        let (whole, excess) = frames.split(written);
        if excess > 0
            && let Some(file) = F::file_of(output)
            && let Err(error) = cut(file, excess)
        {
            tracing::warn!(%error, "the last message in {} is incomplete", self.format);
        }
        self.failed(error).map_err(|error| (whole, error))
    }

    fn failed(&mut self, error: io::Error) -> io::Result<bool> {
        self.output = None;
        if self.format.file().is_some() {
            return Err(error);
        }
        let now = Instant::now();
        self.next_try = now + RECONNECT_EVERY;
        let Some(since) = self.failing_since else {
            self.failing_since = Some(now);
            tracing::warn!(%error, "messages wait for {}", self.format);
            return Ok(false);
        };
        if self.patience.is_some_and(|patience| now - since >= patience) {
            return Err(error);
        }
        Ok(false)
    }
}

/// Returns whether a file is shorter than what was written.
fn is_truncated(file: &mut File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.len() < file.stream_position()?)
}

/// Writes all bytes. Returns the number of those written, and the error that stopped it.
fn write_all(output: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest @ [_, ..]) = bytes.get(written..) {
        match output.write(rest) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests;
