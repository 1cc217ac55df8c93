//! Settings of the spool.

use rustix::fs::{Access, access, statvfs};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
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
            return Err(format!("{shown} may grow to {wanted} bytes, {free} are free"));
        }
        Ok(format!("{shown}, {wanted} bytes at most, {free} free"))
    }
}

/// The path, or its nearest existing ancestor.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."))
}

/// Which records of a stream are dropped first when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest records.
    #[default]
    DropOldest,
    /// New records.
    DropNewest,
}

impl WhenFull {
    /// As the configuration spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
        }
    }
}

impl fmt::Display for WhenFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is not a valid policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a policy for a full spool: choose drop_oldest or drop_newest")]
pub struct ParsePolicyError(String);

impl FromStr for WhenFull {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        [Self::DropOldest, Self::DropNewest]
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or_else(|| ParsePolicyError(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, max_bytes: u64) -> SpoolConfig {
        let max_age = Duration::from_secs(1);
        let when_full = WhenFull::DropOldest;
        SpoolConfig { directory: directory.to_owned(), max_bytes, max_age, when_full }
    }

    #[test]
    fn probes_without_creating_files() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("a/b");
        assert!(config(&new, 1).probe().unwrap().contains("a/b"));
        assert!(!new.exists());
        assert!(config(&new, u64::MAX).probe().unwrap_err().contains("free"));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(config(&file.join("x"), 1).probe().is_err());
    }
}
