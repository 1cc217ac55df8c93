//! Reads records from a file or a pipe into the model, and follows a growing file.

use super::model::Model;
use super::shared::Shared;
use crate::Unreadable;
use dnscribe_cli::input::{BYTE_ORDER_MARK, Compression, decompressed};
use dnscribe_record::time::Timestamp;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes of one read.
const CHUNK_BYTES: usize = 64 << 10;

/// Length limit of a line in bytes.
const MAX_LINE: usize = 16 << 20;

/// Interval at which a file is checked for growth.
const PAUSE: Duration = Duration::from_millis(100);

/// Age of records up to which they count as live, so that time follows the clock.
const LIVE_AGE: Duration = Duration::from_mins(2);

/// Number of lines without any record after which reading fails before the end of the input.
const MAX_LINES_WITHOUT_RECORD: u64 = 20;

/// Reason why records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The file or pipe cannot be read.
    #[error("cannot read {name}: {error}")]
    Read {
        /// Name of the file.
        name: String,
        /// The system's error.
        error: io::Error,
    },
    /// The content is something else.
    #[error("{name} holds no records to show, only {unreadable}")]
    NoRecords {
        /// Name of the file.
        name: String,
        /// What it holds.
        unreadable: Unreadable,
    },
}

/// Reads `path`, or stdin where it is `-`, into the model. With `follow`, a plain file is followed while it
/// grows or is replaced, until `stop`.
///
/// # Errors
/// The file cannot be read, or contains no records.
pub fn follow(
    path: &Path,
    shared: &Shared,
    follow: bool,
    stop: &AtomicBool,
) -> Result<(), FollowError> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let broken = |error| FollowError::Read { name: name.clone(), error };
    let mut lines = Lines::default();
    if is_stdin {
        shared.use_wall_clock_if_live();
        let mut input = decompressed(Box::new(io::stdin())).map_err(broken)?;
        lines.read(&mut input, shared, stop, true).map_err(broken)?;
    } else {
        let mut file = File::open(path).map_err(broken)?;
        let mut start = [0; Compression::MAGIC_BYTES];
        let length = file.read(&mut start).map_err(broken)?;
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        if Compression::detect(&start[..length]).is_some() {
            let mut input = decompressed(Box::new(file)).map_err(broken)?;
            lines.read(&mut input, shared, stop, false).map_err(broken)?;
        } else {
            let mut tail = Tail { path: path.to_path_buf(), file };
            while !stop.load(Ordering::Relaxed) {
                lines.read(&mut tail.file, shared, stop, false).map_err(broken)?;
                if !follow || lines.has_no_records() {
                    break;
                }
                shared.use_wall_clock_if_live();
                thread::sleep(PAUSE);
                tail.turn(&mut lines, shared, stop).map_err(broken)?;
            }
        }
    }
    lines.finish(shared);
    let is_read = !stop.load(Ordering::Relaxed);
    if lines.has_no_records() || is_read && lines.records == 0 && lines.others > 0 {
        let unreadable = shared.read(|model| model.unreadable.clone());
        return Err(FollowError::NoRecords { name, unreadable });
    }
    Ok(())
}

/// A followed file, which may be replaced by another of its name.
struct Tail {
    path: PathBuf,
    file: File,
}

impl Tail {
    /// Opens the file that has the name now, or goes to the start of a truncated one.
    fn turn(&mut self, lines: &mut Lines, shared: &Shared, stop: &AtomicBool) -> io::Result<()> {
        let own = self.file.metadata()?;
        // During rotation the name may be missing for a moment.
        let Ok(named) = std::fs::metadata(&self.path) else { return Ok(()) };
        if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
            // The writer may still use the old file.
            if named.len() == 0 {
                return Ok(());
            }
            let next = File::open(&self.path)?;
            lines.read(&mut self.file, shared, stop, false)?;
            self.file = next;
        } else if own.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
        } else {
            return Ok(());
        }
        // A line does not go on in another file.
        lines.finish(shared);
        Ok(())
    }
}

/// Splits the input into lines.
#[derive(Debug, Default)]
struct Lines {
    /// Bytes of an incomplete line.
    rest: Vec<u8>,
    /// Whether the rest of a line that is too long is skipped.
    passing: bool,
    records: u64,
    others: u64,
}

impl Lines {
    /// Reads to the current end of the input.
    fn read(
        &mut self,
        input: &mut dyn Read,
        shared: &Shared,
        stop: &AtomicBool,
        is_live: bool,
    ) -> io::Result<()> {
        let mut portion = vec![0; CHUNK_BYTES];
        while !stop.load(Ordering::Relaxed) {
            let length = match input.read(&mut portion) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A compressed file that is still being written.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            };
            shared.feed(|model| self.take(&portion[..length], model));
            if self.has_no_records() {
                return Ok(());
            }
            if is_live {
                shared.use_wall_clock_if_live();
            }
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8], model: &mut Model) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&bytes[..end], &bytes[end + 1..]);
            bytes = after;
            if self.passing {
                self.passing = false;
            } else if self.rest.is_empty() {
                self.line(line, model);
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole, model);
            }
        }
        if self.rest.len() + bytes.len() > MAX_LINE {
            self.rest = Vec::new();
            self.passing = true;
            self.others += 1;
            model.unreadable.add();
        } else if !self.passing {
            self.rest.extend_from_slice(bytes);
        }
    }

    fn line(&mut self, line: &[u8], model: &mut Model) {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return;
        }
        if model.json_line(line) {
            self.records += 1;
        } else {
            self.others += 1;
        }
    }

    /// Reads the last line of a file, which may have no line end.
    fn finish(&mut self, shared: &Shared) {
        let rest = std::mem::take(&mut self.rest);
        self.passing = false;
        shared.feed(|model| self.line(&rest, model));
    }

    fn has_no_records(&self) -> bool {
        self.records == 0 && self.others >= MAX_LINES_WITHOUT_RECORD
    }
}

impl Shared {
    fn use_wall_clock_if_live(&self) {
        let now = Timestamp::now();
        let newest = Duration::from_secs(self.read(|model| model.moment().now));
        let age = now.since(Timestamp::default()).saturating_sub(newest);
        if age < LIVE_AGE {
            self.use_wall_clock();
        }
    }
}

#[cfg(test)]
mod tests;
