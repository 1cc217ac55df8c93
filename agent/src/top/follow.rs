//! Records from a file or a pipe into the model: to the end, and on as it grows.

use super::model::Model;
use super::record::stream_of;
use super::shared::Shared;
use crate::time::Timestamp;
use crate::unpack::{Packing, unpacked};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Read at once.
const PORTION: usize = 64 << 10;

/// A line beyond this is not a record.
const MAX_LINE: usize = 16 << 20;

/// Before looking whether the file has grown.
const PAUSE: Duration = Duration::from_millis(100);

/// Records so young are being written now, and time goes on by the clock.
const YOUNG: Duration = Duration::from_secs(120);

/// Lines after which something that holds no record is taken for something else.
const BENEFIT: u64 = 20;

/// Why records cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file or pipe cannot be read.
    #[error("cannot read {name}: {error}")]
    Read {
        /// Which.
        name: String,
        /// The system's error.
        error: io::Error,
    },
    /// What is in it is something else.
    #[error("{0} holds no records of dnscribe: its lines are not JSON objects with a \"schema\"")]
    NoRecords(String),
}

/// Reads `path`, or stdin where it is `-`, into the model. With `follow`, a plain file is read on as
/// it grows, or is replaced, until `stop`.
pub fn follow(
    path: &Path,
    shared: &Shared,
    follow: bool,
    stop: &AtomicBool,
) -> Result<(), Problem> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin { "stdin".to_owned() } else { path.display().to_string() };
    let broken = |error| Problem::Read { name: name.clone(), error };
    let mut lines = Lines::default();
    if is_stdin {
        shared.go_by_the_clock_if_young();
        let mut input = unpacked(Box::new(io::stdin())).map_err(broken)?;
        lines.read(&mut input, shared, stop, true).map_err(broken)?;
    } else {
        let mut file = File::open(path).map_err(broken)?;
        let mut start = [0; Packing::MARK_BYTES];
        let length = file.read(&mut start).map_err(broken)?;
        file.seek(SeekFrom::Start(0)).map_err(broken)?;
        if Packing::of(&start[..length]).is_some() {
            let mut input = unpacked(Box::new(file)).map_err(broken)?;
            lines.read(&mut input, shared, stop, false).map_err(broken)?;
        } else {
            let mut tail = Tail { path: path.to_path_buf(), file };
            while !stop.load(Ordering::Relaxed) {
                lines.read(&mut tail.file, shared, stop, false).map_err(broken)?;
                if !follow || lines.holds_nothing() {
                    break;
                }
                shared.go_by_the_clock_if_young();
                thread::sleep(PAUSE);
                tail.turn().map_err(broken)?;
            }
        }
    }
    lines.finish(shared);
    if lines.holds_nothing() { Err(Problem::NoRecords(name)) } else { Ok(()) }
}

/// A file, and its name: others may put another file there.
struct Tail {
    path: PathBuf,
    file: File,
}

impl Tail {
    /// Goes to the file that now has the name, or to the start of one that was cut.
    fn turn(&mut self) -> io::Result<()> {
        let own = self.file.metadata()?;
        // A name that is gone for a moment, while somebody rotates, is looked for again later.
        let Ok(named) = std::fs::metadata(&self.path) else { return Ok(()) };
        if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
            self.file = File::open(&self.path)?;
        } else if own.len() < self.file.stream_position()? {
            self.file.seek(SeekFrom::Start(0))?;
        }
        Ok(())
    }
}

/// Lines out of portions.
#[derive(Debug, Default)]
struct Lines {
    /// What waits for its line end.
    rest: Vec<u8>,
    /// The line is too long, and what is left of it is passed over.
    passing: bool,
    records: u64,
    others: u64,
}

impl Lines {
    /// Reads to the end of what there is now.
    fn read(
        &mut self,
        input: &mut dyn Read,
        shared: &Shared,
        stop: &AtomicBool,
        is_live: bool,
    ) -> io::Result<()> {
        let mut portion = vec![0; PORTION];
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
            if self.holds_nothing() {
                return Ok(());
            }
            if is_live {
                shared.go_by_the_clock_if_young();
            }
        }
        Ok(())
    }

    fn take(&mut self, mut octets: &[u8], model: &mut Model) {
        while let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            let (line, after) = (&octets[..end], &octets[end + 1..]);
            octets = after;
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
        if self.rest.len() + octets.len() > MAX_LINE {
            self.rest = Vec::new();
            self.passing = true;
            self.others += 1;
            model.line_unreadable();
        } else if !self.passing {
            self.rest.extend_from_slice(octets);
        }
    }

    fn line(&mut self, line: &[u8], model: &mut Model) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Ok(stream) = stream_of(line) {
            self.records += 1;
            if let Some(stream) = stream {
                model.line(stream, line);
            }
        } else {
            self.others += 1;
            model.line_unreadable();
        }
    }

    /// The last line may have no end.
    fn finish(&mut self, shared: &Shared) {
        let rest = std::mem::take(&mut self.rest);
        shared.feed(|model| self.line(&rest, model));
    }

    fn holds_nothing(&self) -> bool {
        self.records == 0 && self.others >= BENEFIT
    }
}

impl Shared {
    fn go_by_the_clock_if_young(&self) {
        let now = Timestamp::now();
        let newest = Duration::from_secs(self.look(|model| model.moment().now));
        let age = now.since(Timestamp::default()).saturating_sub(newest);
        if age < YOUNG {
            self.go_by_the_clock();
        }
    }
}

#[cfg(test)]
mod tests;
