//! Programs that are built from modules of the Go module proxy.

use crate::{environment, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Flags for programs that bear load: only what debuggers read is left out, a fifth of the time of a build.
pub const FAST: [&str; 3] = ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags=-s -w"];
/// Flags for programs that do little: they are not optimised either, which takes another eighth away.
pub const PLAIN: [&str; 3] = ["-trimpath", "-gcflags=all=-N -l -dwarf=false", "-ldflags=-s -w"];

/// Runs Go in a folder; returns what it prints.
///
/// # Errors
/// There is no Go, it is older than 1.21 and so cannot download the version that a module requires, or it fails.
pub fn run(folder: &Path, words: &[&str]) -> Result<Vec<u8>> {
    let remedy = "programs of the tests are built from source: install Go 1.21 or later (https://go.dev/dl); \
                  distributions' packages may be older";
    let Some(go) = shell::which("go") else { bail!("no Go; {remedy}") };
    let version =
        String::from_utf8(shell::output(Command::new(&go).args(["env", "GOVERSION"]))?.stdout)?;
    let minor = version.trim().strip_prefix("go1.").and_then(|rest| rest.split('.').next());
    if minor.and_then(|minor| minor.parse::<u32>().ok()).is_none_or(|minor| minor < 21) {
        bail!("Go is {}; {remedy}", version.trim());
    }
    let output = shell::output(Command::new(go).args(words).current_dir(folder));
    output.map(|output| output.stdout).with_context(|| format!("go {}", words.join(" ")))
}

/// Downloads a module; returns the folder of its sources, which nobody can write. Go runs in `scratch`.
///
/// # Errors
/// As [`run`], or the proxy does not have the module.
pub fn sources(scratch: &Path, module: &str, version: &str) -> Result<PathBuf> {
    let found = run(scratch, &["mod", "download", "-json", &format!("{module}@{version}")])?;
    let found: Value = serde_json::from_slice(&found)?;
    Ok(found["Dir"].as_str().context("go mod download names no folder")?.into())
}

/// Downloads a module and copies its sources to the folder `sources` of `scratch`, where they can be changed.
///
/// # Errors
/// As [`sources`].
pub fn copy(scratch: &Path, module: &str, version: &str) -> Result<PathBuf> {
    let (original, copy) = (sources(scratch, module, version)?, scratch.join("sources"));
    let mut command = Command::new("cp");
    command.args(["-r", "--no-preserve=mode"]).arg(original).arg(&copy);
    shell::output(&mut command)?;
    Ok(copy)
}

/// Builds a package of these sources with some flags, as a program in the folder `ready` of `scratch`.
///
/// # Errors
/// As [`run`].
pub fn build(
    scratch: &Path,
    sources: &Path,
    flags: &[&str],
    package: &str,
    name: &str,
) -> Result<()> {
    let program = scratch.join("ready").join(name).display().to_string();
    run(sources, &[&["build"], flags, &["-o", &program, package]].concat()).map(drop)
}

/// Compiles a program of one file that needs nothing but Go's own packages, and is linked with no C library.
///
/// # Errors
/// As [`run`], or the program is wrong.
pub fn compile(source: &str, program: &Path) -> Result<()> {
    let file = program.with_extension("go");
    fs::write(&file, source)?;
    let mut build = Command::new("go");
    build.arg("build").args(PLAIN).arg("-o").arg(program).arg(&file);
    build.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
    // To compile Go's own packages takes longer than most tests: once for all, also for those without a home.
    build.env("GOCACHE", environment::target().join("go"));
    shell::output(&mut build).map(drop)
}
