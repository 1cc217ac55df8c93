//! A cgroup of our own, so that no packets but ours count.

use crate::Failure;
use dnscribe::capture::live::cgroup2_mount;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The cgroup that this process is in while the value lives.
pub struct Cgroup {
    path: PathBuf,
    before: PathBuf,
}

impl Cgroup {
    /// Makes one and moves this process there.
    pub fn enter() -> Result<Self, Failure> {
        let mount = cgroup2_mount().ok_or("no cgroup2 file system is mounted")?;
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let path = mount.join(format!("dnscribe-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let cgroup = Self { path, before: mount.join(own) };
        move_to(&cgroup.path)?;
        Ok(cgroup)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To attach to.
    pub fn open(&self) -> Result<File, Failure> {
        Ok(File::open(&self.path)?)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // An empty directory that is left behind does no harm.
        let _ = move_to(&self.before);
        let _ = fs::remove_dir(&self.path);
    }
}

fn move_to(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}
