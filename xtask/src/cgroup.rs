//! A temporary cgroup for this process and its children.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A cgroup that this process has entered. Processes that it starts meanwhile stay there. Dropping the value
/// moves this process back and removes the cgroup if it is empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    previous: PathBuf,
}

impl Cgroup {
    /// Creates the cgroup `dnscribe-PURPOSE-PID` and enters it.
    pub fn enter(purpose: &str) -> Result<Self> {
        let mount = mount()?;
        let current = fs::read_to_string("/proc/self/cgroup")?;
        let current = current.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
        let path = mount.join(format!("dnscribe-{purpose}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        let cgroup = Self { path, previous: mount.join(current) };
        move_into(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Moves this process back; processes that it started stay in the cgroup.
    pub fn leave(&self) -> Result<()> {
        move_into(&self.previous)
    }

    /// Directory of the cgroup.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // An empty cgroup that stays behind is harmless.
        let _ = move_into(&self.previous);
        let _ = fs::remove_dir(&self.path);
    }
}

/// Where the cgroup2 file system is mounted.
pub fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(at))
    });
    mount.context("no cgroup2 file system is mounted")
}

/// Moves this process into a cgroup.
fn move_into(folder: &Path) -> Result<()> {
    let path = folder.join("cgroup.procs");
    fs::write(&path, std::process::id().to_string())
        .with_context(|| format!("cannot enter {}", path.display()))
}
