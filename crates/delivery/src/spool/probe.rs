//! Checks whether a spool would work, for `dnscribe check`.

use super::SpoolConfig;
use rustix::fs::{Access, access, statvfs};
use std::path::Path;

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

#[cfg(test)]
mod tests {
    use super::super::WhenFull;
    use super::*;
    use std::time::Duration;

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
