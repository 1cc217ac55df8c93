//! A temporary cgroup, so that only the benchmark's packets are counted.

use crate::Failure;
use dnscribe_agent::capture::live::cgroup2_mount;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The cgroup that this process is in until the value is dropped.
pub struct Cgroup {
    path: PathBuf,
    previous: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup and moves this process into it.
    pub fn enter() -> Result<Self, Failure> {
        let mount = cgroup2_mount().ok_or("no cgroup2 file system is mounted")?;
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = mount.join(format!("dnscribe-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let cgroup = Self { path, previous: mount.join(own) };
        move_to(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Directory of the cgroup.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory, to attach programs to it.
    pub fn open(&self) -> Result<File, Failure> {
        Ok(File::open(&self.path)?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // An empty cgroup that stays behind is harmless.
        let _ = move_to(&self.previous);
        let _ = fs::remove_dir(&self.path);
    }
}

fn move_to(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}
