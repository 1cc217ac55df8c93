//! Settings of the spool.

use dnscribe_record::named_enum;
use rustix::fs::{Access, access, statvfs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Directory of all spools of this host; created if missing.
    pub directory: PathBuf,
    /// Most bytes of segments on disk, for each running agent.
    pub max_bytes: u64,
    /// Older records are dropped.
    pub max_age: Duration,
    /// Which records of a stream are dropped first.
    pub when_full: WhenFull,
}

impl SpoolConfig {
    /// Checks the directory, or where it would be created, without changing anything. Returns a
    /// description.
    ///
    /// # Errors
    /// Returns why the spool would not work.
    pub fn probe(&self) -> Result<String, String> {
        let shown = self.directory.display();
        let place = existing(&self.directory);
        let usable = Access::WRITE_OK | Access::EXEC_OK | Access::READ_OK;
        access(place, usable)
            .map_err(|error| format!("{shown} cannot be written: {}: {error}", place.display()))?;
        if !place.is_dir() {
            return Err(format!("{shown} cannot be made: {} is no directory", place.display()));
        }
        let disk = statvfs(place).map_err(|error| format!("{}: {error}", place.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let wanted = self.max_bytes;
        if free < wanted {
            return Err(format!("{shown} may grow to {}, {} are free", gib(wanted), gib(free)));
        }
        Ok(format!("{shown}, {} at most, {} free", gib(wanted), gib(free)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// The path, or its nearest existing ancestor.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."))
}

named_enum! {
    /// Which records of a stream are dropped first when the spool is full.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum WhenFull: "a policy for a full spool" {
        /// The oldest records.
        #[default]
        DropOldest = "drop_oldest",
        /// New records.
        DropNewest = "drop_newest",
    }
}
