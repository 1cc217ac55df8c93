//! A cgroup for what this process starts.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A cgroup that this process was in, and those that it started meanwhile still are. Dropping it leads
/// back and removes it, as soon as it is empty.
#[derive(Debug)]
pub struct Cgroup {
    own: PathBuf,
    before: PathBuf,
}

impl Cgroup {
    /// Makes one, named after `what` and this process, and enters it.
    pub fn enter(what: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (at, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(at))
        });
        let mount = mount.context("no cgroup2 is mounted")?;
        let before = fs::read_to_string("/proc/self/cgroup")?;
        let before = before.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
        let own = mount.join(format!("dnscribe-{what}-{}", std::process::id()));
        fs::create_dir(&own).with_context(|| own.display().to_string())?;
        let cgroup = Self { own, before: mount.join(before) };
        join(&cgroup.own)?;
        Ok(cgroup)
    }

    /// Leaves it; what was started meanwhile stays.
    pub fn leave(&self) -> Result<()> {
        join(&self.before)
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.own
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What is left behind is empty and harmless.
        let _ = join(&self.before);
        let _ = fs::remove_dir(&self.own);
    }
}

fn join(folder: &Path) -> Result<()> {
    let path = folder.join("cgroup.procs");
    fs::write(&path, std::process::id().to_string())
        .with_context(|| format!("cannot enter {}", path.display()))
}
