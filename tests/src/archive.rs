//! What Parquet files are tested with: Apache Arrow, pandas, Polars and DuckDB as independent readers, stored under
//! `target/arrow`, and the Versity gateway, an S3-compatible server from the Go module proxy.

use crate::{cache, environment, go, shell};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Must change whenever `tests/readers/arrow/requirements.txt` does.
const VERSION: &str = "26.0.1-1";

/// Version of the server.
const SERVER_VERSION: &str = "v1.8.0";

/// Reads all records of an archive, as `dns.enriched/1`.
///
/// # Errors
/// A file that is not Parquet, or a record that is not in the folder of its hour.
pub fn read(folder: &Path) -> Result<Vec<Value>> {
    let mut command = Command::new(prepare()?.join("bin/python"));
    command.arg(readers().join("archive.py")).arg(folder);
    let text = String::from_utf8(shell::output(&mut command)?.stdout).context("its output")?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Returns the same figures of a stream's files by engine: pandas, Polars and DuckDB.
///
/// # Errors
/// An engine cannot read them.
pub fn figures(folder: &Path) -> Result<Value> {
    let mut command = Command::new(prepare()?.join("bin/python"));
    command.arg(readers().join("engines.py")).arg(folder);
    Ok(serde_json::from_slice(&shell::output(&mut command)?.stdout)?)
}

/// Installs the reader if it is missing, so that tests need not.
pub fn prepare() -> Result<PathBuf> {
    let install =
        |scratch: &Path| cache::python(scratch, &readers().join("arrow/requirements.txt"));
    cache::folder("arrow", VERSION, install)
}

/// Returns the program of the S3-compatible server; builds it if it is missing, which takes minutes.
pub fn server() -> Result<PathBuf> {
    let folder = cache::folder("versitygw", SERVER_VERSION, |scratch| {
        let sources = go::sources(scratch, "github.com/versity/versitygw", SERVER_VERSION)?;
        go::build(scratch, &sources, &go::FAST, "./cmd/versitygw", "versitygw")
    })?;
    Ok(folder.join("versitygw"))
}

fn readers() -> PathBuf {
    environment::workspace().join("tests/readers")
}
