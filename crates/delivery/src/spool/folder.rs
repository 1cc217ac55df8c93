//! The spool's directories: one per destination, in it a slot per running agent, in that a directory
//! per stream.
//!
//! ```text
//! <directory>/<destination>/destination            the brokers, for people
//! <directory>/<destination>/<slot>/lock            locked while an agent uses the slot
//! <directory>/<destination>/<slot>/checkpoint
//! <directory>/<destination>/<slot>/lost            records dropped from the slot that no ledger record contains yet
//! <directory>/<destination>/<slot>/<stream>/<unix nanoseconds, 20 digits>.seg
//! ```

use super::SpoolError;
use crate::Stream;
use crate::files::remove_if_exists;
use crate::tally::DiskLosses;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Most agents for one destination on one host.
const MAX_SLOTS: u32 = 256;

/// Bytes of a destination that a directory's name shows.
const SHOWN: usize = 40;

/// A lock briefly outlives its agent, while a child process that is being started has a copy of it,
/// so locking is tried this often.
const LOCK_TRIES: u32 = 20;
/// Pause between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// A slot, locked until dropped.
pub(super) struct Slot {
    pub path: PathBuf,
    _lock: File,
}

impl Slot {
    /// Locks the first free slot of the destination.
    pub(super) fn take(directory: &Path, destination: &str) -> Result<Self, SpoolError> {
        let destination_directory = directory.join(directory_name(destination));
        create_directory(&destination_directory).map_err(SpoolError::at(&destination_directory))?;
        let note = destination_directory.join("destination");
        if !note.exists()
            && let Err(error) = write_file(&note, format!("{destination}\n").as_bytes())
        {
            tracing::debug!(path = %note.display(), %error, "cannot write the name of the spool's destination");
        }
        for number in 0..MAX_SLOTS {
            let path = destination_directory.join(number.to_string());
            if let Some(slot) = Self::lock(&path).map_err(SpoolError::at(&path))? {
                return Ok(slot);
            }
        }
        Err(SpoolError::Busy { path: destination_directory })
    }

    /// Locks the slots of terminated agents with the same destination.
    pub(super) fn abandoned(&self) -> io::Result<Vec<Self>> {
        let Some(destination_directory) = self.path.parent() else { return Ok(Vec::new()) };
        let mut abandoned = Vec::new();
        for entry in fs::read_dir(destination_directory)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
            if path == self.path || number.is_none() || !path.is_dir() {
                continue;
            }
            match Self::lock(&path) {
                Ok(slot) => abandoned.extend(slot),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "cannot lock a slot of the spool");
                }
            }
        }
        Ok(abandoned)
    }

    /// Locks a slot; `None` if another agent uses it.
    fn lock(path: &Path) -> io::Result<Option<Self>> {
        create_directory(path)?;
        let file = path.join("lock");
        let lock = match create_options().create(true).truncate(false).open(&file) {
            // Stored records can be sent even from a read-only disk.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => File::open(&file)?,
            opened => opened?,
        };
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(Self { path: path.to_owned(), _lock: lock })),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(super) fn stream_path(&self, stream: Stream) -> PathBuf {
        self.path.join(stream.name())
    }

    pub(super) fn segment_path(&self, stream: Stream, name: u64) -> PathBuf {
        self.stream_path(stream).join(format!("{name:020}.seg"))
    }

    /// The names of a stream's segments, oldest first.
    pub(super) fn segments(&self, stream: Stream) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(self.stream_path(stream)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().to_str().and_then(segment_name));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Creates a segment for writing and reading.
    pub(super) fn create(&self, stream: Stream, name: u64) -> io::Result<File> {
        let path = self.segment_path(stream, name);
        let open = || create_options().create_new(true).open(&path);
        match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_directory(&self.stream_path(stream))?;
                open()
            }
            opened => opened,
        }
    }

    /// Removes a segment. A missing segment counts as removed.
    pub(super) fn remove(&self, stream: Stream, name: u64) -> io::Result<()> {
        remove_if_exists(&self.segment_path(stream, name))
    }

    /// Moves a segment of another slot here, under a free name.
    pub(super) fn receive(
        &self,
        from: &Self,
        stream: Stream,
        name: u64,
        to: u64,
    ) -> io::Result<()> {
        create_directory(&self.stream_path(stream))?;
        fs::rename(from.segment_path(stream, name), self.segment_path(stream, to))
    }

    /// Replaces the checkpoint atomically.
    pub(super) fn write_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace("checkpoint", bytes)
    }

    /// Removes the files that concern the segments, which another slot has received.
    pub(super) fn remove_notes(&self) -> io::Result<()> {
        remove_if_exists(&self.lost_path())?;
        remove_if_exists(&self.checkpoint_path())
    }

    /// Reads the losses: a line each of stream, reason and number. A damaged line is ignored.
    pub(super) fn read_lost(&self) -> DiskLosses {
        let mut lost = DiskLosses::default();
        for line in fs::read_to_string(self.lost_path()).unwrap_or_default().lines() {
            let mut fields = line.split(' ');
            let mut next = || fields.next().unwrap_or_default();
            if let (Ok(stream), Ok(reason), Ok(count)) =
                (next().parse(), next().parse(), next().parse())
            {
                lost.add(stream, reason, count);
            }
        }
        lost
    }

    /// Replaces the losses atomically.
    pub(super) fn write_lost(&self, lost: &DiskLosses) -> io::Result<()> {
        let lines = lost.iter().map(|(stream, reason, count)| {
            format!("{} {} {count}\n", stream.name(), reason.name())
        });
        self.replace("lost", lines.collect::<String>().as_bytes())
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!("{name}.new"));
        write_file(&temporary, bytes)?;
        fs::rename(temporary, self.path.join(name))
    }

    fn lost_path(&self) -> PathBuf {
        self.path.join("lost")
    }

    pub(super) fn checkpoint_path(&self) -> PathBuf {
        self.path.join("checkpoint")
    }
}

/// A directory name that is readable and unique for each destination.
fn directory_name(destination: &str) -> String {
    let shown = destination.chars().take(SHOWN);
    let shown = shown.map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    format!("{}-{:016x}", shown.collect::<String>(), xxh3_64(destination.as_bytes()))
}

fn segment_name(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(".seg").filter(|digits| digits.len() == 20)?;
    // Leaves room for later names.
    digits.parse().ok().filter(|name| *name < u64::MAX / 2)
}

fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn create_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_options().create(true).truncate(true).open(path)?.write_all(bytes)
}
