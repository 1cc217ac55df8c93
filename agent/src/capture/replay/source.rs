//! Reads and decompresses the bytes of a capture file, for the parsers in [`super::format`].

use super::link::SUPPORTED;
use dnscribe_cli::input::{Compression, MAX_LAYERS};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::rc::Rc;

/// A capture file that cannot be replayed. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct InputError {
    pub(super) name: String,
    pub(super) problem: Problem,
}

/// Reasons why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(in crate::capture) enum Problem {
    #[error("cannot be opened ({0}); give a capture file, or - for stdin")]
    Open(io::Error),
    #[error("is a directory; name the capture files in it")]
    Directory,
    #[error("cannot be read ({0}); capture or copy it again")]
    Read(io::Error),
    #[error("is empty; give a pcap, pcapng or dnstap file")]
    Empty,
    #[error(
        "is not a capture file (it begins with {}); pcap, pcapng and dnstap are supported, plain or \
         compressed with gzip or zstd; records of dnscribe are read by `report` and `top --records`",
        hex(.0)
    )]
    NotACapture(Vec<u8>),
    #[error("has version {0}.{1} of its format, which is not supported; convert it with editcap")]
    Version(u16, u16),
    #[error(
        "has no message of dnstap in its first frames; let the server write it again with dnstap as its \
         content"
    )]
    NoReport,
    #[error("holds packets of link type {0}; supported are {SUPPORTED}")]
    UnknownLink(u32),
    #[error(
        "is damaged at byte {offset} ({what}); packets before that were replayed, capture or copy \
         the file again for the rest"
    )]
    Damaged { offset: u64, what: &'static str },
}

impl Problem {
    /// What is wrong, without what is said of files.
    pub(in crate::capture) fn cause(&self) -> String {
        match self {
            Self::Read(error) => error.to_string(),
            Self::Damaged { what, .. } => (*what).to_owned(),
            other => other.to_string(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Returns the name of an input for messages.
pub(super) fn name(input: &Path) -> String {
    if input == Path::new("-") { "standard input".into() } else { input.display().to_string() }
}

/// Waits until an input that is no file can be read; breaks to end it.
pub type WaitForInput = Rc<dyn Fn(BorrowedFd<'_>) -> ControlFlow<()>>;

/// An input that comes while it is read: a pipe, a terminal.
struct Live {
    input: File,
    wait: WaitForInput,
}

impl Read for Live {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if (self.wait)(self.input.as_fd()).is_break() {
                return Ok(0);
            }
            match self.input.read(out) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// Decompressed input with a window over the bytes that are not yet consumed.
pub(in crate::capture) struct Source {
    input: Box<dyn Read>,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Number of bytes consumed.
    pub(super) position: u64,
    /// Reason why the input ended early, if it did.
    pub(super) cut_off: Option<&'static str>,
}

/// Initial size of the window in bytes.
const FIRST_WINDOW: usize = 256 * 1024;

impl Source {
    /// Opens a file, or `-` for standard input. What is no file is read when `wait` says so.
    pub(super) fn open(input: &Path, wait: Option<&WaitForInput>) -> Result<Self, Problem> {
        let open = || {
            if input == Path::new("-") {
                return io::stdin().as_fd().try_clone_to_owned().map(File::from);
            }
            // A pipe that nobody writes to yet must not block.
            let flags = wait.map_or(OFlags::empty(), |_| OFlags::NONBLOCK);
            File::options().read(true).custom_flags(flags.bits().cast_signed()).open(input)
        };
        let input = open().map_err(Problem::Open)?;
        let kind = input.metadata().map_err(Problem::Open)?.file_type();
        match wait {
            _ if kind.is_dir() => Err(Problem::Directory),
            Some(wait) if !kind.is_file() => {
                Self::new(Box::new(Live { input, wait: Rc::clone(wait) }))
            }
            _ => Self::new(Box::new(input)),
        }
    }

    pub(super) fn new(input: Box<dyn Read>) -> Result<Self, Problem> {
        let mut source = Self::plain(input);
        for _ in 0..MAX_LAYERS {
            source.fill(Compression::MAGIC_BYTES)?;
            let Some(packing) = Compression::detect(source.available()) else { break };
            let unpacked = packing.decompress(source.into_reader()).map_err(Problem::Read)?;
            source = Self::plain(unpacked);
        }
        Ok(source)
    }

    pub(in crate::capture) fn plain(input: Box<dyn Read>) -> Self {
        Self { input, window: vec![0; FIRST_WINDOW], start: 0, end: 0, position: 0, cut_off: None }
    }

    /// Returns a reader of the bytes that are not consumed, followed by the rest of the input.
    fn into_reader(self) -> impl Read {
        let read = self.window.get(self.start..self.end).unwrap_or_default().to_vec();
        io::Cursor::new(read).chain(self.input)
    }

    /// Reads until at least `want` bytes are available. Returns `false` at the end of the input.
    pub(super) fn fill(&mut self, want: usize) -> Result<bool, Problem> {
        while self.end - self.start < want && self.cut_off.is_none() {
            if self.start > 0 {
                self.window.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.window.len() < want {
                self.window.resize(want.next_power_of_two(), 0);
            }
            match self.input.read(&mut self.window[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A truncated compressed file: the bytes before are valid.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.cut_off = Some("its compressed data end early");
                }
                Err(error) => return Err(Problem::Read(error)),
            }
        }
        Ok(self.end - self.start >= want)
    }

    /// Returns the bytes that are read and not consumed.
    pub(super) fn available(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }

    /// Consumes `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.position += u64::try_from(count).unwrap_or(0);
    }

    /// Consumes `count` bytes and returns them. They remain valid until the next [`Self::fill`].
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let start = self.start;
        self.consume(count);
        self.window.get(start..self.start).unwrap_or_default()
    }
}
