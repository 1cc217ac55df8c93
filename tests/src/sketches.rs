//! Independent readers of our sketches: Datadog's sketches-py and Apache DataSketches for Python,
//! stored with their dependencies under `target/sketches`.

use crate::{cache, environment, shell};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Must change whenever `tests/readers/requirements.txt` does.
const VERSION: &str = "3.0.1-5.2.0-1";

/// Merges each of these lists of `dns.window/1` records with those libraries; returns their
/// results.
pub fn merge(lists: &[Vec<Value>]) -> Result<Vec<Value>> {
    let mut command = Command::new(python()?);
    command.arg(readers().join("merge.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    let mut input = child.stdin.take().context("no standard input")?;
    let mut lines = String::new();
    for list in lists {
        lines.push_str(&serde_json::to_string(list)?);
        lines.push('\n');
    }
    // A thread writes, because the script answers while it reads.
    let writer = thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{}`: {errors}", shell::command_line(&command));
    writer.join().ok().context("the writer failed")??;
    let text = String::from_utf8(output.stdout).context("the readers' output")?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Installs the readers if they are missing, so that tests need not.
pub fn prepare() -> Result<()> {
    python().map(drop)
}

fn readers() -> PathBuf {
    environment::workspace().join("tests/readers")
}

fn python() -> Result<PathBuf> {
    let install = |scratch: &Path| cache::python(scratch, &readers().join("requirements.txt"));
    Ok(cache::folder("sketches", VERSION, install)?.join("bin/python"))
}
