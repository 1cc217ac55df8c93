//! The generator of Grafana's dashboards, and the program that proves their queries: both in TypeScript, in `grafana/`.

use crate::{environment, shell};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Whether the packages are there. Tests of one program run at the same time.
static PREPARED: Mutex<bool> = Mutex::new(false);
/// Whether the programs are compiled.
static COMPILED: Mutex<bool> = Mutex::new(false);

/// Folder of dashboards, rules and their generator.
#[must_use]
pub fn folder() -> PathBuf {
    environment::workspace().join("grafana")
}

/// Downloads the generator's packages from npm, unless those of its lock file are installed.
pub fn prepare() -> Result<()> {
    once(&PREPARED, install)
}

fn install() -> Result<()> {
    let lock = folder().join("package-lock.json");
    let installed = folder().join("node_modules/.dnscribe-lock");
    if fs::read(&installed).ok() == Some(fs::read(&lock)?) {
        return Ok(());
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder());
    shell::output(&mut install).context("cannot get the packages of grafana/ from npm")?;
    fs::copy(&lock, &installed).context("cannot write to grafana/node_modules").map(drop)
}

/// Compiles the programs with all checks of TypeScript.
pub fn compile() -> Result<()> {
    prepare()?;
    once(&COMPILED, || {
        let tsc = folder().join("node_modules/.bin/tsc");
        shell::output(Command::new(tsc).args(["--project", "."]).current_dir(folder())).map(drop)
    })
}

/// Calls `make` unless it has succeeded before in this process.
fn once(done: &Mutex<bool>, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
    if !*done {
        make()?;
        *done = true;
    }
    Ok(())
}

/// Returns the command that runs a program of `grafana/src`, which must be compiled, in that folder.
#[must_use]
pub fn program(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(format!("build/{name}.js")).current_dir(folder());
    node
}
