//! Versions that must agree, and the oldest Rust and C library that a release works with.

use super::artifacts;
use crate::console;
use crate::process::{first_line, run_bounded};
use anyhow::{Context as _, Result, bail, ensure};
use dnscribe_tests::{environment, shell};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Newest version of glibc whose symbols packages may need: that of Debian 12.
const LIBC: [u32; 2] = [2, 36];
/// Longest time for downloading a toolchain.
const DOWNLOAD: Duration = Duration::from_mins(10);

/// Checks that the workspace, the chart and the changelog have one version and that the worktree is that of a commit.
pub fn check(dry_run: bool) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let read = |path: &str| {
        fs::read_to_string(environment::workspace().join(path)).with_context(|| path.to_owned())
    };
    let chart = read("deploy/helm/dnscribe/Chart.yaml")?;
    for line in [format!("version: {version}"), format!("appVersion: \"{version}\"")] {
        ensure!(chart.lines().any(|own| own == line), "Chart.yaml has no line `{line}`");
    }
    let changelog = read("CHANGELOG.md")?;
    let heading = changelog
        .lines()
        .find_map(|line| line.strip_prefix("## "))
        .context("no heading in CHANGELOG.md")?;
    let is_dated = heading.strip_prefix(version).is_some_and(|rest| !rest.contains("unreleased"));
    let changes = shell::output(git().args(["status", "--porcelain"]))?.stdout;
    let changes = String::from_utf8_lossy(&changes).into_owned();
    let problems = [
        (!is_dated).then(|| {
            format!("CHANGELOG.md begins with `## {heading}`, not with `## {version} (DATE)`")
        }),
        (!changes.is_empty()).then(|| format!("the worktree has changes:\n{}", changes.trim_end())),
    ];
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    match (problems.is_empty(), dry_run) {
        (true, _) => Ok(()),
        (false, true) => {
            console::result(&format!("release: not yet: {}", problems.join("; ")));
            Ok(())
        }
        (false, false) => bail!("{}", problems.join("; ")),
    }
}

/// Returns git in the workspace.
pub fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(environment::workspace());
    git
}

/// Checks the programs with the oldest Rust that `Cargo.toml` names, which rustup installs.
pub fn oldest_rust() -> Result<()> {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let rustup = |words: &[&str]| {
        let mut rustup = Command::new("rustup");
        rustup.args(words).current_dir(environment::workspace());
        rustup
    };
    if first_line("rustup", &["run", version, "rustc", "--version"]).is_none() {
        run_bounded(
            &mut rustup(&["toolchain", "install", version, "--profile", "minimal"]),
            DOWNLOAD,
        )?;
    }
    let mut check = rustup(&[
        "run",
        version,
        "cargo",
        "check",
        "--locked",
        "--package",
        "dnscribe",
        "--package",
        "dnscribe-probe",
    ]);
    check.env_remove("CARGO").env("CARGO_TARGET_DIR", environment::target().join("oldest-rust"));
    shell::pass_through(&mut check)
}

/// Checks that the programs in the tarballs need no newer version of glibc than packages may.
pub fn check_libc(folder: &Path) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    for (name, _) in artifacts(folder, |name| name.ends_with(".tar.gz"))? {
        let (program, _) =
            name.split_once("-linux-").context("a tarball without an architecture")?;
        let (program, _) = program.rsplit_once('-').context("a tarball without a version")?;
        let top = name.trim_end_matches(".tar.gz");
        let member = format!("{top}/usr/bin/{program}");
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(folder.join(&name)).arg("-C").arg(scratch.path()).arg(&member);
        shell::output(&mut unpack)?;
        let symbols = shell::output(
            Command::new("readelf").arg("--version-info").arg(scratch.path().join(&member)),
        )?;
        let needed = newest_libc(&String::from_utf8_lossy(&symbols.stdout))
            .context("no version of glibc")?;
        ensure!(
            needed <= LIBC,
            "{name} needs glibc {}.{}: build on Debian 12",
            needed[0],
            needed[1]
        );
        console::result(&format!("release: {name} needs glibc {}.{}", needed[0], needed[1]));
    }
    Ok(())
}

/// Returns the newest version of glibc that the output of `readelf --version-info` names.
fn newest_libc(symbols: &str) -> Option<[u32; 2]> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let mut numbers = rest.get(..end)?.split('.').map(|number| number.parse().ok());
        Some([numbers.next()??, numbers.next()??])
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_newest_version_of_libc() {
        let symbols = "  0x0010: Name: GLIBC_2.9  Flags: none  Version: 3\n  0x0020: Name: GLIBC_2.34  Flags: none\n  Name: GLIBC_PRIVATE\n";
        assert_eq!(newest_libc(symbols), Some([2, 34]));
        assert_eq!(newest_libc("Name: GCC_3.0"), None);
    }

    /// No dependency needs a newer Rust than `Cargo.toml` promises to those who build from source.
    #[test]
    fn dependencies_build_with_the_oldest_rust() {
        let mut command = crate::process::cargo();
        // Whatever was not built here is fetched: of other platforms nothing is, and nothing needs to be.
        command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform"]);
        command.arg("x86_64-unknown-linux-gnu");
        let metadata: serde_json::Value =
            serde_json::from_slice(&shell::output(&mut command).unwrap().stdout).unwrap();
        let number = |text: &str| {
            let mut numbers = text.split('.').map(|number| number.parse().unwrap());
            [numbers.next().unwrap_or(0_u32), numbers.next().unwrap_or(0)]
        };
        let promised = number(env!("CARGO_PKG_RUST_VERSION"));
        let packages = metadata["packages"].as_array().unwrap();
        assert!(packages.len() > 300, "{}", packages.len());
        for package in packages {
            let needed = package["rust_version"].as_str().map_or([0, 0], number);
            assert!(
                needed <= promised,
                "{} needs Rust {needed:?}: raise rust-version",
                package["name"]
            );
        }
    }
}
