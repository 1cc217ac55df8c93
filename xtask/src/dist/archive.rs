//! Reproducible tar archives: entries are sorted and have the same time. Files belong to root.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// A tar archive under construction.
pub struct Archive {
    builder: Builder<Vec<u8>>,
    time: u64,
}

impl Archive {
    /// Creates an empty archive. `time` is the time of every entry in seconds since 1970.
    pub fn new(time: u64) -> Self {
        Self { builder: Builder::new(Vec::new()), time }
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<()> {
        self.folder_of(path, mode, 0)
    }

    /// Adds a folder that belongs to a user and the group of the same id.
    pub fn folder_of(&mut self, path: &str, mode: u32, owner: u32) -> Result<()> {
        self.entry(EntryType::Directory, &format!("{path}/"), mode, owner, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.entry(EntryType::Regular, path, mode, 0, bytes)
    }

    fn entry(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        owner: u32,
        bytes: &[u8],
    ) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_uid(owner.into());
        header.set_gid(owner.into());
        let done = self.builder.append_data(&mut header, path, bytes);
        done.with_context(|| format!("cannot archive {path}"))
    }

    /// Adds a folder and everything below it as `name`.
    pub fn tree(&mut self, from: &Path, name: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        self.folder(name, 0o755)?;
        for path in super::files(from)? {
            let inside = path.file_name().unwrap_or_default().to_string_lossy();
            let name = format!("{name}/{inside}");
            if path.is_dir() {
                self.tree(&path, &name)?;
            } else {
                let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
                self.file(&name, mode, &fs::read(&path)?)?;
            }
        }
        Ok(())
    }

    /// Returns the bytes of the archive.
    pub fn finish(self) -> Result<Vec<u8>> {
        Ok(self.builder.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_files_give_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/one"), "1").unwrap();
        fs::write(folder.path().join("a"), "2").unwrap();
        let archive = || {
            let mut archive = Archive::new(1);
            archive.tree(folder.path(), "name").unwrap();
            archive.finish().unwrap()
        };
        let first = archive();
        fs::write(folder.path().join("a"), "2").unwrap();
        assert_eq!(first, archive());
        let mut archive = tar::Archive::new(first.as_slice());
        let paths = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1);
            entry.path().unwrap().to_string_lossy().into_owned()
        });
        assert_eq!(paths.collect::<Vec<_>>(), ["name/", "name/a", "name/b/", "name/b/one"]);
    }
}
