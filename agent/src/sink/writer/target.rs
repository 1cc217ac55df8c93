//! What lines are written to. A regular file may be left for a new one, between two lines: when it
//! is large or old, when the operator asks, when somebody has moved it away.

use super::keeper::Keeper;
use super::series::Series;
use crate::sink::threaded::FOR_EVER;
use crate::sink::{Rotation, SinkError};
use crate::time::Timestamp;
use rustix::fs::OFlags;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How often to look whether the path still leads to the open file.
const LOOK: Duration = Duration::from_secs(1);

/// The shortest sleep in front of a file that is old.
const LEAST_REST: Duration = Duration::from_millis(100);

/// After a rotation that failed: when to try again.
const AGAIN: Duration = Duration::from_secs(10);

/// Opens a file as the file sink does, to be appended to; makes it (mode 0640) where there is none.
/// A named pipe without a reader is an error (`ENXIO`) rather than a wait.
pub(in crate::sink) fn open(path: &Path) -> io::Result<File> {
    appending().create(true).mode(0o640).open(path)
}

/// Whoever truncates the file meanwhile (`copytruncate`) finds the next line at its beginning.
fn appending() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0));
    options
}

/// What is open.
pub(super) struct Target {
    file: File,
    label: String,
    regular: bool,
    named: Option<Named>,
}

/// What only a regular file with a path has.
struct Named {
    path: PathBuf,
    /// As far as we know: others may append too, or truncate.
    size: u64,
    /// Since when it is written to.
    since: SystemTime,
    looked: Instant,
    look_every: Duration,
    /// Whether the operator knows that it cannot be reopened.
    told: bool,
    rotating: Option<Rotating>,
}

/// What only a file that is rotated has.
struct Rotating {
    rotation: Rotation,
    series: Series,
    keeper: Keeper,
    /// Set while rotation fails, which the operator then knows.
    not_before: Option<Instant>,
}

impl Rotating {
    /// Finds what was rotated before, and has it looked after.
    fn start(path: &Path, rotation: Rotation) -> Result<Self, SinkError> {
        let series = Series::of(path)
            .map_err(|error| SinkError::Directory { path: path.to_path_buf(), error })?;
        let keeper = Keeper::start(rotation)
            .map_err(|error| SinkError::Thread { name: path.display().to_string(), error })?;
        keeper.tidy(&series);
        Ok(Self { rotation, series, keeper, not_before: None })
    }

    /// Gives the file the next name of its series, and makes a new one in its place; both or
    /// neither.
    fn move_on(&mut self, path: &Path, file: &File) -> io::Result<(File, PathBuf)> {
        let real = path.canonicalize()?;
        if real != self.series.path() {
            self.series = Series::of(path)?;
        }
        let rotated = self.series.next(Timestamp::now());
        fs::rename(&real, &rotated)?;
        match make_like(&real, file) {
            Ok(next) => Ok((next, rotated)),
            Err(error) => {
                if let Err(error) = fs::rename(&rotated, &real) {
                    // The missing name will be noticed, and the file reopened.
                    tracing::warn!(file = %rotated.display(), %error, "still written to");
                }
                Err(error)
            }
        }
    }
}

impl Target {
    /// Something that is open already, for good.
    pub(super) fn unnamed(file: File, label: String) -> Self {
        let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { file, label, regular, named: None }
    }

    /// The file at `path`.
    pub(super) fn at(path: &Path, rotation: Rotation) -> Result<Self, SinkError> {
        let unusable = |error| SinkError::File { path: path.to_path_buf(), error };
        let mut target = Self::unnamed(open(path).map_err(unusable)?, path.display().to_string());
        if !target.regular {
            return Ok(target);
        }
        let rotating = rotation.is_on().then(|| Rotating::start(path, rotation)).transpose()?;
        let metadata = target.file.metadata().map_err(unusable)?;
        target.named = Some(Named {
            path: path.to_path_buf(),
            size: metadata.len(),
            since: since(&metadata),
            looked: Instant::now(),
            look_every: LOOK,
            told: false,
            rotating,
        });
        Ok(target)
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether it is a regular file, which takes octets without waiting.
    pub(super) fn regular(&self) -> bool {
        self.regular
    }

    /// Writes some of the octets: how many.
    pub(super) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.file.write(octets)?;
        if let Some(named) = &mut self.named {
            named.size += count as u64;
        }
        Ok(count)
    }

    /// Takes back the last `excess` octets, the beginning of a record, unless somebody else has
    /// written behind them.
    pub(super) fn cut(&mut self, excess: usize) {
        let cut = || -> io::Result<()> {
            let end = self.file.stream_position()?;
            if self.file.metadata()?.len() != end {
                return Ok(());
            }
            let whole = end.saturating_sub(excess as u64);
            self.file.set_len(whole)?;
            self.file.seek(SeekFrom::Start(whole)).map(drop)
        };
        if !self.regular {
            return;
        }
        if let Err(error) = { cut }() {
            tracing::warn!(file = self.label, %error, "the last line of the file is not whole");
        }
    }

    /// Leaves the open file for the one that its path names now, which is made where there is none.
    /// Keeps the open one where that cannot be.
    pub(super) fn reopen(&mut self) {
        if let Some(named) = &mut self.named {
            named.told = false;
            self.reopen_because("as asked");
        }
    }

    /// Notices that the file was moved away or removed, once in a while.
    pub(super) fn follow_its_name(&mut self) {
        let Some(named) = &mut self.named else { return };
        if named.looked.elapsed() < named.look_every {
            return;
        }
        named.looked = Instant::now();
        match leads_to(&named.path, &self.file) {
            Ok((true, size)) => {
                if size < named.size {
                    // Truncated: what it holds now is new.
                    named.since = SystemTime::now();
                }
                named.size = size;
            }
            Ok((false, _)) => {
                self.reopen_because("it was moved or removed");
            }
            Err(error) => tracing::debug!(file = self.label, %error, "cannot look at the file"),
        }
    }

    /// Rotates the file if it has come of age.
    pub(super) fn rotate_if_old(&mut self) {
        let Some(named) = &self.named else { return };
        let every = named.rotating.as_ref().and_then(|rotating| rotating.rotation.every);
        // A clock that was set back makes no file older.
        if every.is_some_and(|every| named.since.elapsed().is_ok_and(|age| age >= every))
            && named.size > 0
        {
            self.rotate();
        }
    }

    /// How long it takes until the file may come of age, should no records come.
    pub(super) fn rests(&self) -> Duration {
        let rests = || {
            let named = self.named.as_ref().filter(|named| named.size > 0)?;
            let every = named.rotating.as_ref()?.rotation.every?;
            Some(every.saturating_sub(named.since.elapsed().unwrap_or_default()))
        };
        // What was to be rotated and could not be is tried again.
        rests().map_or(FOR_EVER, |rests| rests.clamp(LEAST_REST, FOR_EVER))
    }

    /// How many octets the file may take, of which the first line has `first`. Rotates the file
    /// where it has no room for that line.
    pub(super) fn room_for(&mut self, first: usize) -> usize {
        let limit = |target: &Self| {
            let named = target.named.as_ref()?;
            Some((named.rotating.as_ref()?.rotation.bytes?, named.size))
        };
        let room = |(bytes, size): (u64, u64)| {
            usize::try_from(bytes.saturating_sub(size)).unwrap_or(usize::MAX)
        };
        let Some((bytes, size)) = limit(self) else { return usize::MAX };
        if size == 0 || room((bytes, size)) >= first {
            return room((bytes, size));
        }
        if self.rotate() { limit(self).map_or(usize::MAX, room) } else { usize::MAX }
    }

    /// Gives the file another name and begins a new one; whether a new one is open. A failure is
    /// told once, and writing goes on in the open file.
    fn rotate(&mut self) -> bool {
        let Some(named) = &mut self.named else { return false };
        let Some(rotating) = &mut named.rotating else { return false };
        if rotating.not_before.is_some_and(|time| Instant::now() < time) {
            return false;
        }
        let told = rotating.not_before.is_some();
        rotating.not_before = Some(Instant::now() + AGAIN);
        // What somebody has put in the file's place is not ours to rotate.
        if matches!(leads_to(&named.path, &self.file), Ok((false, _))) {
            return self.reopen_because("it was moved or removed");
        }
        match rotating.move_on(&named.path, &self.file) {
            Ok((file, rotated)) => {
                tracing::debug!(file = self.label, rotated = %rotated.display(), "file rotated");
                rotating.not_before = None;
                rotating.keeper.tidy(&rotating.series);
                self.adopt(file);
                true
            }
            Err(error) => {
                if !told {
                    tracing::warn!(
                        file = self.label,
                        %error,
                        "the file cannot be rotated and grows on: see that its directory can be \
                         written"
                    );
                }
                false
            }
        }
    }

    /// Whether another file is open now.
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
                    rotating.keeper.tidy(&rotating.series);
                }
                self.adopt(file);
                true
            }
            Err(error) => {
                if !named.told {
                    named.told = true;
                    tracing::warn!(
                        file = self.label,
                        %error,
                        "the file cannot be reopened ({why}), and what was open is still written \
                         to: see that the path can be written"
                    );
                }
                false
            }
        }
    }

    fn adopt(&mut self, file: File) {
        self.file = file;
        let Some(named) = &mut self.named else { return };
        named.looked = Instant::now();
        named.told = false;
        let metadata = self.file.metadata();
        named.size = metadata.as_ref().map_or(0, Metadata::len);
        named.since = metadata.as_ref().map_or_else(|_| SystemTime::now(), since);
    }

    /// For tests, which have no second to wait.
    #[cfg(test)]
    pub(super) fn looking_always(mut self) -> Self {
        if let Some(named) = &mut self.named {
            named.look_every = Duration::ZERO;
        }
        self
    }
}

/// From when on a file's age counts: an empty one has none, one from an earlier run has its own
/// where the file system knows it.
fn since(metadata: &Metadata) -> SystemTime {
    let now = SystemTime::now();
    if metadata.len() == 0 { now } else { metadata.created().unwrap_or(now) }
}

/// Whether the path leads to the file, and the file's size.
fn leads_to(path: &Path, file: &File) -> io::Result<(bool, u64)> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok(((found.dev(), found.ino()) == (open.dev(), open.ino()), open.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((false, open.len())),
        Err(error) => Err(error),
    }
}

/// Opens the file at the path again; a new one gets mode and owner of the one before.
fn open_next(path: &Path, before: &File) -> io::Result<File> {
    let file = match appending().open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => make_like(path, before)?,
        opened => opened?,
    };
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file any more"))
    }
}

fn make_like(path: &Path, before: &File) -> io::Result<File> {
    let file = open(path)?;
    if let Err(error) = before.metadata().and_then(|before| liken(&file, &before)) {
        let file = path.display();
        tracing::warn!(%file, %error, "the new file has not the owner and mode of the one before");
    }
    Ok(file)
}

/// Gives a file owner, group and mode of another.
pub(super) fn liken(file: &File, other: &Metadata) -> io::Result<()> {
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
