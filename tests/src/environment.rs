//! Where things are, and what this host allows.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::path::{Path, PathBuf};

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, else `target` in the workspace.
#[must_use]
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// The agent's binary: `DNSCRIBE_BIN`, else the build that was made last.
pub fn binary() -> Result<PathBuf> {
    program("DNSCRIBE_BIN", "dnscribe")
}

/// The probe's binary: `DNSCRIBE_PROBE_BIN`, else the build that was made last.
pub fn probe_binary() -> Result<PathBuf> {
    program("DNSCRIBE_PROBE_BIN", "dnscribe-probe")
}

/// A program of ours: the one that an environment variable names, else the build that was made last.
fn program(variable: &str, name: &str) -> Result<PathBuf> {
    if let Some(named) = env::var_os(variable) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
        } else {
            bail!("{variable} names no file: {}", named.display())
        };
    }
    let built = ["quick", "release", "debug"].map(|profile| target().join(profile).join(name));
    let last =
        built.into_iter().max_by_key(|file| file.metadata().and_then(|it| it.modified()).ok());
    last.filter(|file| file.is_file())
        .with_context(|| format!("{name} is not built: run `cargo xtask build`"))
}

/// Whether this run is continuous integration, where nothing may be skipped.
#[must_use]
pub fn ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Whether this process is root, as capture and network namespaces need.
///
/// # Panics
/// In continuous integration where it is not: a test that needs privilege fails there instead of
/// skipping. Elsewhere it says on standard error why the test is skipped.
#[must_use]
pub fn privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it needs root; `cargo xtask test` runs it so");
    }
    root
}

/// The real captures that tests compare with: `DNSCRIBE_CORPUS`, else `../shared/corpus` beside
/// the workspace. `None`, said on standard error, where they are missing.
///
/// # Panics
/// In continuous integration where they are missing.
#[must_use]
pub fn corpus() -> Option<PathBuf> {
    let folder = env::var_os("DNSCRIBE_CORPUS")
        .map_or_else(|| workspace().join("../shared/corpus"), PathBuf::from);
    if folder.join("pcap").is_dir() {
        return Some(folder);
    }
    skip(&format!(
        "no captures in {}; DNSCRIBE_CORPUS names a folder that has them",
        folder.display()
    ));
    None
}

/// Says why a test is skipped.
///
/// # Panics
/// In continuous integration.
pub fn skip(reason: &str) {
    assert!(!ci(), "a test cannot run, and CI skips none: {reason}");
    eprintln!("skipped, because {reason}");
}
