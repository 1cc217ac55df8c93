//! The file that lines are written to. A regular file is replaced by a new one between two lines
//! when it is large or old, on request, or when it was moved away.

use super::rotation::{RotationWorker, Series};
use crate::threaded::LONG_WAIT;
use crate::{Rotation, SinkError, files};
use dnscribe_record::time::Timestamp;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often to check whether the path still leads to the open file.
pub(crate) const CHECK_PATH_EVERY: Duration = Duration::from_secs(1);

/// Shortest sleep before rotating an old file.
const MIN_SLEEP: Duration = Duration::from_millis(100);

const ROTATION_RETRY: Duration = Duration::from_secs(10);

/// Most bytes at the end of a file in which an incomplete last line is found.
const LAST_LINE_BYTES: u64 = 1 << 20;

/// How the lines begin that the sink writes as JSON: records, and documents of ECS.
const RECORDS: [&[u8]; 2] = [b"{\"schema\":", b"{\"ecs\":"];

/// Opens a file for appending as the file sink does; creates it with mode 0640 if it is missing. A
/// named pipe without a reader is an error (`ENXIO`), not a wait.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    files::append(path, true, None)
}

pub(super) struct Target {
    pub(super) file: File,
    pub(super) label: String,
    /// Whether it is a regular file, whose writes do not wait for a reader.
    pub(super) regular: bool,
    named: Option<NamedFile>,
}

struct NamedFile {
    path: PathBuf,
    /// Size as far as known: other processes may append or truncate.
    size: u64,
    since: SystemTime,
    checked_at: Instant,
    check_every: Duration,
    /// Whether a failure to reopen has been logged.
    failure_logged: bool,
    rotating: Option<RotationState>,
}

struct RotationState {
    rotation: Rotation,
    series: Series,
    worker: RotationWorker,
    /// Set while rotation fails, after the failure was logged.
    not_before: Option<Instant>,
}

impl RotationState {
    /// Lists the rotated files and starts their removal and compression.
    fn start(path: &Path, rotation: Rotation) -> Result<Self, SinkError> {
        let series = Series::of(path)
            .map_err(|error| SinkError::Directory { path: path.to_path_buf(), error })?;
        let worker = RotationWorker::start(rotation)
            .map_err(|error| SinkError::Thread { name: path.display().to_string(), error })?;
        worker.clean_up(&series);
        Ok(Self { rotation, series, worker, not_before: None })
    }

    /// Renames the file to the next name of its series and creates a new one in its place; both or
    /// neither.
    fn rotate_file(&mut self, path: &Path, file: &File) -> io::Result<(File, PathBuf)> {
        let real = files::canonicalize(path)?;
        if real != self.series.path {
            self.series = Series::of(path)?;
        }
        let rotated = self.series.next(Timestamp::now());
        files::rename(&real, &rotated)?;
        match create_like(&real, file) {
            Ok(next) => Ok((next, rotated)),
            Err(error) => {
                if let Err(error) = files::rename(&rotated, &real) {
                    // The missing file is noticed later and then reopened.
                    tracing::warn!(file = %rotated.display(), %error, "cannot undo the rotation; the rotated file is still written");
                }
                Err(error)
            }
        }
    }
}

/// Ends the last line of a file, which a crash may have cut short: the next record would become a part of it, and be lost. What
/// is left of a record is removed, as no ledger counts it; what is none gets an end of line.
fn end_last_line(path: &Path, mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(());
    }
    let start = length.saturating_sub(LAST_LINE_BYTES);
    let mut tail = Vec::new();
    let mut reader = File::open(path)?;
    reader.seek(SeekFrom::Start(start))?;
    reader.take(length - start).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    match tail.get(whole..) {
        None | Some([]) => Ok(()),
        Some(part) if is_begun_record(part) => {
            let bytes = part.len();
            tracing::warn!(file = %path.display(), bytes, "removed what a crash has left of a record at the end of the file");
            file.set_len(length - bytes as u64)
        }
        Some(_) => file.write_all(b"\n"),
    }
}

/// Returns whether a line without its end is the beginning of a record.
fn is_begun_record(part: &[u8]) -> bool {
    RECORDS.iter().any(|begin| part.starts_with(begin) || begin.starts_with(part))
}

/// Cuts the last `excess` bytes off a file that this process has written to its end, unless another one has appended.
/// Pipes keep them.
pub(crate) fn cut(file: &mut File, excess: usize) -> io::Result<()> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    let end = file.stream_position()?;
    if metadata.len() != end {
        return Ok(());
    }
    let whole = end.saturating_sub(excess as u64);
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole)).map(drop)
}

impl Target {
    /// Wraps an open file that is never reopened or rotated.
    pub(super) fn unnamed(file: File, label: String) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file, label, regular, named: None }
    }

    pub(super) fn at(path: &Path, rotation: Rotation) -> Result<Self, SinkError> {
        let unusable = |error| SinkError::File { path: path.to_path_buf(), error };
        let mut target = Self::unnamed(open(path).map_err(unusable)?, path.display().to_string());
        if !target.regular {
            return Ok(target);
        }
        if let Err(error) = end_last_line(path, &target.file) {
            tracing::warn!(file = target.label, %error, "cannot tell whether the last line of the file is complete");
        }
        let rotating =
            rotation.is_on().then(|| RotationState::start(path, rotation)).transpose()?;
        let metadata = target.file.metadata().map_err(unusable)?;
        target.named = Some(NamedFile {
            path: path.to_path_buf(),
            size: metadata.len(),
            since: since(&metadata),
            checked_at: Instant::now(),
            check_every: CHECK_PATH_EVERY,
            failure_logged: false,
            rotating,
        });
        Ok(target)
    }

    /// Writes some of the bytes. Returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        if let Some(named) = &mut self.named {
            named.size += count as u64;
        }
        Ok(count)
    }

    /// Cuts off the last `excess` bytes, a partial record, unless another process has appended.
    pub(super) fn cut(&mut self, excess: usize) {
        if let Err(error) = cut(&mut self.file, excess) {
            tracing::warn!(file = self.label, %error, "the last line of the file is incomplete");
        }
    }

    /// Reopens the path, creating the file if it is missing. Keeps the open file if that fails.
    pub(super) fn reopen(&mut self) {
        if let Some(named) = &mut self.named {
            named.failure_logged = false;
            self.reopen_because("as asked");
        }
    }

    /// Reopens the path if the file was moved or removed. Checks at most every [`CHECK_PATH_EVERY`].
    pub(super) fn follow_its_name(&mut self) {
        let Some(named) = &mut self.named else { return };
        if named.checked_at.elapsed() < named.check_every {
            return;
        }
        named.checked_at = Instant::now();
        match is_same_file(&named.path, &self.file) {
            Ok((true, size)) => {
                if size < named.size {
                    // Truncated: the content is new.
                    named.since = SystemTime::now();
                }
                named.size = size;
            }
            Ok((false, _)) => {
                self.reopen_because("it was moved or removed");
            }
            Err(error) => {
                tracing::debug!(file = self.label, %error, "cannot check the path of the file");
            }
        }
    }

    pub(super) fn rotate_if_old(&mut self) {
        let Some(named) = &self.named else { return };
        let every = named.rotating.as_ref().and_then(|rotating| rotating.rotation.every);
        // `elapsed` fails if the clock was set back.
        if every.is_some_and(|every| named.since.elapsed().is_ok_and(|age| age >= every))
            && named.size > 0
        {
            self.rotate();
        }
    }

    /// Time until the file must be rotated if no record comes.
    pub(super) fn time_to_rotation(&self) -> Duration {
        let time_to_rotation = || {
            let named = self.named.as_ref().filter(|named| named.size > 0)?;
            let every = named.rotating.as_ref()?.rotation.every?;
            Some(every.saturating_sub(named.since.elapsed().unwrap_or_default()))
        };
        // The minimum applies to a failed rotation, which is tried again.
        time_to_rotation()
            .map_or(LONG_WAIT, |time_to_rotation| time_to_rotation.clamp(MIN_SLEEP, LONG_WAIT))
    }

    /// Bytes that fit into the file. Rotates it first if `first`, the size of the next line, does
    /// not fit.
    pub(super) fn capacity_for(&mut self, first: usize) -> usize {
        let limit = |target: &Self| {
            let named = target.named.as_ref()?;
            Some((named.rotating.as_ref()?.rotation.bytes?, named.size))
        };
        let capacity = |(bytes, size): (u64, u64)| {
            usize::try_from(bytes.saturating_sub(size)).unwrap_or(usize::MAX)
        };
        let Some((bytes, size)) = limit(self) else { return usize::MAX };
        if size == 0 || capacity((bytes, size)) >= first {
            return capacity((bytes, size));
        }
        if self.rotate() { limit(self).map_or(usize::MAX, capacity) } else { usize::MAX }
    }

    /// Rotates the file. Returns whether a new file is open. A failure is logged once, and the open
    /// file is written further.
    fn rotate(&mut self) -> bool {
        let Some(named) = &mut self.named else { return false };
        let Some(rotating) = &mut named.rotating else { return false };
        if rotating.not_before.is_some_and(|time| Instant::now() < time) {
            return false;
        }
        let logged = rotating.not_before.is_some();
        rotating.not_before = Some(Instant::now() + ROTATION_RETRY);
        // A file that another process put in its place is not rotated.
        if matches!(is_same_file(&named.path, &self.file), Ok((false, _))) {
            return self.reopen_because("it was moved or removed");
        }
        match rotating.rotate_file(&named.path, &self.file) {
            Ok((file, rotated)) => {
                tracing::debug!(file = self.label, rotated = %rotated.display(), "file rotated");
                rotating.not_before = None;
                rotating.worker.clean_up(&rotating.series);
                self.switch_to(file);
                true
            }
            // Another process moved it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.reopen_because("it was moved or removed")
            }
            Err(error) => {
                if !logged {
                    tracing::warn!(
                        file = self.label,
                        %error,
                        "cannot rotate the file, which keeps growing: check that its directory can \
                         be written"
                    );
                }
                false
            }
        }
    }

    /// Reopens the path. Returns whether another file is open now.
    fn reopen_because(&mut self, why: &str) -> bool {
        let Some(named) = &mut self.named else { return false };
        let opened = open_next(&named.path, &self.file).and_then(|file| {
            let series = named.rotating.is_some().then(|| Series::of(&named.path));
            Ok((file, series.transpose()?))
        });
        match opened {
            Ok((file, series)) => {
                tracing::info!(file = self.label, "file reopened: {why}");
                if let (Some(rotating), Some(series)) = (&mut named.rotating, series) {
                    rotating.series = series;
                    rotating.not_before = None;
                    rotating.worker.clean_up(&rotating.series);
                }
                self.switch_to(file);
                true
            }
            Err(error) => {
                if !named.failure_logged {
                    named.failure_logged = true;
                    tracing::warn!(
                        file = self.label,
                        %error,
                        "cannot reopen the file ({why}); the open one is still written: check that \
                         the path can be written"
                    );
                }
                false
            }
        }
    }

    fn switch_to(&mut self, file: File) {
        self.file = file;
        let Some(named) = &mut self.named else { return };
        named.checked_at = Instant::now();
        named.failure_logged = false;
        let metadata = self.file.metadata();
        named.size = metadata.as_ref().map_or(0, Metadata::len);
        named.since = metadata.as_ref().map_or_else(|_| SystemTime::now(), since);
    }
}

/// Start of a file's age: now for an empty file, else its creation if the file system knows it.
fn since(metadata: &Metadata) -> SystemTime {
    let now = SystemTime::now();
    if metadata.len() == 0 { now } else { metadata.created().unwrap_or(now) }
}

/// Returns whether the path leads to the file, and the file's size.
pub(crate) fn is_same_file(path: &Path, file: &File) -> io::Result<(bool, u64)> {
    let open = file.metadata()?;
    match files::metadata(path) {
        Ok(found) => Ok(((found.dev(), found.ino()) == (open.dev(), open.ino()), open.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((false, open.len())),
        Err(error) => Err(error),
    }
}

/// Reopens the path. A new file gets mode and owner of the one before.
fn open_next(path: &Path, before: &File) -> io::Result<File> {
    let file = match files::append(path, false, None) {
        Err(error) if error.kind() == ErrorKind::NotFound => create_like(path, before)?,
        opened => opened?,
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file any more"))
    }
}

/// Opens a file for appending, and creates it with mode and owner of the one before.
pub(super) fn create_like(path: &Path, before: &File) -> io::Result<File> {
    let file = files::append(path, true, Some(before))?;
    if let Err(error) = before.metadata().and_then(|before| copy_owner_and_mode(&file, &before)) {
        let file = path.display();
        tracing::warn!(%file, %error, "cannot copy owner and mode to the new file");
    }
    Ok(file)
}

/// Copies owner, group and mode to `file`.
pub(super) fn copy_owner_and_mode(file: &File, other: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
        fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    if own.permissions() == other.permissions() {
        return Ok(());
    }
    file.set_permissions(other.permissions())
}

#[cfg(test)]
mod tests;
