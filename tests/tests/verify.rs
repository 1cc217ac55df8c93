//! `dnscribe ledger verify` with files: rotated, compressed, incomplete, missing.

use anyhow::Result;
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn golden() -> PathBuf {
    environment::workspace().join("tests/goldens/lab.ndjson")
}

/// Checks the exit code; returns standard output or error.
fn verify(code: i32, files: &[&Path], more: &[&str]) -> Result<String> {
    let mut command = Command::new(environment::binary()?);
    let Output { status, stdout, stderr } =
        command.args(["ledger", "verify"]).args(files).args(more).output()?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    anyhow::ensure!(status.code() == Some(code), "{status}\n{stdout}{stderr}");
    Ok(stdout + &stderr)
}

#[test]
fn verifies_compressed_parts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = fs::read_to_string(golden())?;
    let lines: Vec<&str> = text.lines().collect();
    let (first, second) = lines.split_at(lines.len() / 2);
    let [old, new] = ["dns.ndjson.1", "dns.ndjson"].map(|name| folder.path().join(name));
    fs::write(&old, first.join("\n") + "\n")?;
    fs::write(&new, second.join("\n") + "\n")?;
    shell::run(&["gzip", &old.display().to_string()])?;
    let old = folder.path().join("dns.ndjson.1.gz");

    let said = verify(0, &[&old, &new], &[])?;
    assert!(said.contains("the balance closes"), "{said}");
    let said = verify(0, &[&old, &new, &old], &["-o", "json", "--sink", "stdout"])?;
    let report: Value = serde_json::from_str(&said)?;
    let streams = report["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let copies: u64 = streams.iter().filter_map(|line| line["duplicates"].as_u64()).sum();
    assert_eq!(copies, first.len() as u64, "{report:#}");
    let said = verify(1, &[&new], &[])?;
    assert!(said.contains(" missing"), "{said}");
    Ok(())
}

#[test]
fn unreadable_input_is_a_usage_error() -> Result<()> {
    let said = verify(2, &[Path::new("/nonexistent.ndjson")], &[])?;
    assert!(said.contains("cannot open /nonexistent.ndjson"), "{said}");
    let said = verify(2, &[&golden()], &["--temp", "/nonexistent"])?;
    assert!(said.contains("no folder for temporary files") && said.contains("--temp"), "{said}");
    let said = verify(1, &[&golden()], &["--sink", "kafka"])?;
    assert!(said.contains("no ledger record has a sink kafka, only: stdout"), "{said}");
    Ok(())
}
