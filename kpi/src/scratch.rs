//! Temporary files. They have what facts have, names of persons among it: nobody else reads them, and what a killed process has left goes
//! with the next one.

use crate::error::KpiError;
use std::fs::{self, File, Permissions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Once;
use tempfile::{NamedTempFile, TempDir};

/// Beginning of the names of the folders. Former versions had others, without locks.
const PREFIX: &str = "dnscribe-kpi-scratch-";

/// A folder of one process, removed with this value.
#[derive(Debug)]
pub struct Scratch {
    folder: TempDir,
    /// Says that the process lives.
    _lock: File,
}

impl Scratch {
    /// Creates a folder in that for temporary files. The first one of a process removes those of dead processes.
    ///
    /// # Errors
    /// The folder for temporary files cannot be written.
    pub fn new() -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        let parent = std::env::temp_dir();
        SWEPT.call_once(|| sweep(&parent));
        Self::new_in(&parent)
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        loop {
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700));
            let folder = builder.tempdir_in(parent)?;
            // Until it is locked, another process may take it for one of a dead process, and remove it.
            if let Ok(lock) = File::open(folder.path()) {
                // Where a file system has no locks, nobody else gets one either, and the folder stays.
                let _ = lock.lock();
                if folder.path().exists() {
                    return Ok(Self { folder, _lock: lock });
                }
            }
        }
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of dead processes.
fn sweep(parent: &Path) {
    let Ok(found) = fs::read_dir(parent) else { return };
    for one in found.flatten() {
        let is_folder = one.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !one.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = one.path();
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_ok()
            && let Err(error) = fs::remove_dir_all(&path)
        {
            tracing::info!("cannot remove {}, which is no longer needed: {error}", path.display());
        }
    }
}

/// A file in a folder of its own, removed with this value.
#[derive(Debug)]
pub struct ScratchFile {
    file: NamedTempFile,
    _folder: Scratch,
}

impl ScratchFile {
    /// Creates an empty file.
    ///
    /// # Errors
    /// The folder for temporary files cannot be written.
    pub fn new() -> Result<Self, KpiError> {
        let folder = Scratch::new().map_err(KpiError::temporary)?;
        let file = NamedTempFile::new_in(folder.path()).map_err(KpiError::temporary)?;
        Ok(Self { file, _folder: folder })
    }
}

impl Deref for ScratchFile {
    type Target = NamedTempFile;

    fn deref(&self) -> &NamedTempFile {
        &self.file
    }
}

impl DerefMut for ScratchFile {
    fn deref_mut(&mut self) -> &mut NamedTempFile {
        &mut self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_processes_have_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("events.parquet"), "acct-anna").unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        let living = Scratch::new_in(parent.path()).unwrap();
        fs::write(living.path().join("events.parquet"), "acct-anna").unwrap();
        sweep(parent.path());
        assert!(!dead.exists() && other.exists());
        assert!(living.path().join("events.parquet").exists(), "its process lives");
        let mode = fs::metadata(living.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}
