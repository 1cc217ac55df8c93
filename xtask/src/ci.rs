//! `ci`: runs exactly the checks of continuous integration.

use crate::{console, process, setup, test};
use anyhow::{Context as _, Result, bail};
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

/// Runs the command. The tests run even if a lint fails, so that one run reports every failure.
pub fn main() -> Result<()> {
    setup::install(&["build"])?;
    let tiers = test::Args::of_ci();
    thread::scope(|scope| {
        // Mostly downloads: they take no longer beside the builds.
        let prepared = scope.spawn(|| test::prepare(&tiers));
        // What fails to build is said again below.
        let _ = test::build(&tiers);
        prepared.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    test::run(&tiers, lint)
}

/// Runs `lint` in a process that leaves the processors to the tests, which wait much of their time.
fn lint() -> Result<()> {
    let mut lint = Command::new(std::env::current_exe().context("cannot find this program")?);
    lint.args(["lint", "--kpi"]);
    let output = process::idle(&lint).output().context("cannot start `chrt`, of util-linux")?;
    for text in [&output.stdout, &output.stderr] {
        console::progress(&String::from_utf8_lossy(text));
    }
    if !output.status.success() {
        bail!("lint");
    }
    Ok(())
}
