//! Third-party programs that tests use, stored below the target folder.

use crate::{environment, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the folder `NAME/VERSION` below the target folder. If it is missing, calls `fill` with
/// an empty folder, and moves the subfolder `ready` that `fill` creates to this place.
pub fn folder(
    name: &str,
    version: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = environment::target().join(name);
    let folder = cache.join(version);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache)?;
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock().with_context(|| format!("cannot lock {}", cache.display()))?;
    // Another process may have filled it meanwhile.
    if !folder.is_dir() {
        eprintln!("downloading {name} {version} (once)");
        let scratch = tempfile::tempdir_in(&cache)?;
        fill(scratch.path())?;
        // Moved in one step, so that a half-filled folder is never used.
        fs::rename(scratch.path().join("ready"), &folder)
            .with_context(|| format!("cannot store {}", folder.display()))?;
    }
    Ok(folder)
}

/// Creates a Python environment with the packages of a requirements file.
pub fn python(scratch: &Path, requirements: &Path) -> Result<()> {
    let ready = scratch.join("ready");
    shell::output(Command::new("python3").args(["-m", "venv"]).arg(&ready))
        .context("cannot make a Python environment; on Debian and Ubuntu: python3-venv")?;
    // Binary packages only: compiling would be slow and needs more tools.
    let words = ["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"];
    let mut install = Command::new(ready.join("bin/python"));
    install.args(words).arg(requirements);
    let what = || format!("cannot get the packages of {} from PyPI", requirements.display());
    shell::output(&mut install).with_context(what).map(drop)
}
