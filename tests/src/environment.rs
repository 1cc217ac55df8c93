//! Where things are, and what this host allows.

use anyhow::{Context as _, Result, bail};
use std::env;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The workspace's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, else `target` in the workspace, else, because the builds of librdkafka and
/// jemalloc fail in a folder whose path has a space, a folder of this workspace in the user's cache.
#[must_use]
pub fn target() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|folder| Path::new(folder).is_absolute());
    let cache = cache.map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
    target_of(&workspace(), env::var_os("CARGO_TARGET_DIR").as_deref(), cache.as_deref())
}

fn target_of(workspace: &Path, named: Option<&OsStr>, cache: Option<&Path>) -> PathBuf {
    if let Some(folder) = named {
        return workspace.join(folder);
    }
    let usual = workspace.join("target");
    if can_be_built_in(&usual) {
        return usual;
    }
    // Below the cache, the workspace's path with other bytes as two hexadecimal digits.
    let mut name = String::from("dnscribe/target");
    for &byte in workspace.as_os_str().as_bytes() {
        if is_plain(byte) {
            name.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "-{byte:02x}");
        }
    }
    let elsewhere = cache.map(|cache| cache.join(name)).filter(|folder| can_be_built_in(folder));
    elsewhere.unwrap_or(usual)
}

/// Whether everything can be built in a folder: the programs that build librdkafka and jemalloc (configure, make) pass its path on
/// without quotes.
#[must_use]
pub fn can_be_built_in(folder: &Path) -> bool {
    folder.as_os_str().as_bytes().iter().copied().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte)
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

/// Folder with captures of other projects: `DNSCRIBE_CORPUS`, else `../shared/corpus` beside the workspace. They are not part of
/// the repository; `None` where they are missing.
#[must_use]
pub fn find_corpus() -> Option<PathBuf> {
    let folder = corpus_folder();
    folder.join("pcap").is_dir().then_some(folder)
}

/// The project's own capture of a DNS lab.
#[must_use]
pub fn lab_capture() -> PathBuf {
    workspace().join("tests/goldens/lab.pcap")
}

/// Real captures of some programs, or the project's own instead where they are missing, and the project's own.
pub fn stream_captures() -> io::Result<Vec<PathBuf>> {
    let Some(corpus) = find_corpus() else { return Ok(vec![lab_capture(); 12]) };
    let mut files = Vec::new();
    for program in ["dns-collector", "packetbeat", "suricata-verify", "wireshark", "zeek"] {
        for entry in fs::read_dir(corpus.join("pcap").join(program))? {
            let file = entry?.path();
            if file.extension().is_some_and(|ending| ending == "pcap") {
                files.push(file);
            }
        }
    }
    files.sort();
    files.push(lab_capture());
    Ok(files)
}

fn corpus_folder() -> PathBuf {
    env::var_os("DNSCRIBE_CORPUS")
        .map_or_else(|| workspace().join("../shared/corpus"), PathBuf::from)
}

/// Returns the folder of [`find_corpus`] for a test that compares with it. Without captures, the test is left out, which is said on
/// standard error, in continuous integration too: a fork has none.
///
/// # Panics
/// If `DNSCRIBE_CORPUS` names a folder without captures.
#[must_use]
pub fn corpus() -> Option<PathBuf> {
    let found = find_corpus();
    if found.is_none() {
        let folder = corpus_folder();
        let named = env::var_os("DNSCRIBE_CORPUS").is_some();
        assert!(!named, "DNSCRIBE_CORPUS names a folder without captures: {}", folder.display());
        leave_out(&format!(
            "no captures in {}; DNSCRIBE_CORPUS names a folder that has them",
            folder.display()
        ));
    }
    found
}

/// Says why a test is skipped.
///
/// # Panics
/// In continuous integration.
pub fn skip(reason: &str) {
    assert!(!ci(), "a test cannot run, and CI skips none: {reason}");
    leave_out(reason);
}

/// Begin of the line that says that a test is left out. `cargo xtask test` counts and lists these.
pub const LEFT_OUT: &str = "skipped, because ";

fn leave_out(reason: &str) {
    eprintln!("{LEFT_OUT}{reason}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_elsewhere_if_the_path_has_a_space_or_another_letter() {
        let cache = Some(Path::new("/home/user/.cache"));
        let target = |workspace: &str| target_of(Path::new(workspace), None, cache);
        assert_eq!(target("/src/dnscribe-0.1_x"), Path::new("/src/dnscribe-0.1_x/target"));
        let other = target("/My Projects/dnscribe");
        assert_eq!(other, Path::new("/home/user/.cache/dnscribe/target/My-20Projects/dnscribe"));
        assert!(can_be_built_in(&target("/Ünï cödé/dnscribe")));
        let named = target_of(Path::new("/My Projects/a"), Some(OsStr::new("/b c")), cache);
        assert_eq!(named, Path::new("/b c"));
        let nowhere = target_of(Path::new("/a b"), None, Some(Path::new("/c d")));
        assert_eq!(nowhere, Path::new("/a b/target"));
    }
}
