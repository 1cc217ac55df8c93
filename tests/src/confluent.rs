//! Confluent's Python client for Kafka and the schema registry: an independent reader of our Avro.
//! Stored with its dependencies under `target/confluent`.

use crate::{cache, environment, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Must change whenever `tests/consumers/requirements.txt` does.
const VERSION: &str = "2.16.0-1";

/// Runs `tests/consumers/avro.py` with these arguments and input lines; returns the JSON lines that
/// it prints.
pub fn avro(words: &[&str], lines: &[Value]) -> Result<Vec<Value>> {
    let mut command = Command::new(python()?);
    command.arg(consumers().join("avro.py")).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::command_line(&command)))?;
    let mut input = child.stdin.take().context("no standard input")?;
    for line in lines {
        writeln!(input, "{line}")?;
    }
    drop(input);
    let output = child.wait_with_output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`{}`: {errors}", shell::command_line(&command));
    let text = String::from_utf8(output.stdout).context("the client's output")?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Installs the client if it is missing, so that tests need not.
pub fn prepare() -> Result<()> {
    python().map(drop)
}

fn consumers() -> PathBuf {
    environment::workspace().join("tests/consumers")
}

fn python() -> Result<PathBuf> {
    let install = |scratch: &Path| cache::python(scratch, &consumers().join("requirements.txt"));
    Ok(cache::folder("confluent", VERSION, install)?.join("bin/python"))
}
