//! `dnscribe ledger verify` with files: rotated, compressed, incomplete, missing, replayed in any order.

use anyhow::{Context as _, Result};
use dnscribe_tests::{environment, ledger, pcap, shell};
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

/// A capture of an hour before is replayed last: the final ledger record accounts for all.
#[test]
fn finds_a_loss_after_a_replay_that_goes_back_in_time() -> Result<()> {
    const SECOND: u64 = 1_000_000_000;
    let folder = tempfile::tempdir()?;
    let capture = |name: &str, begin: u64| -> Result<PathBuf> {
        let path = folder.path().join(name);
        // Longer than the interval of the ledger.
        let exchanges =
            (0..25).map(|number| ((begin + u64::from(number)) * SECOND, number, Some(0)));
        pcap::write_exchanges(fs::File::create(&path)?, exchanges)?;
        Ok(path)
    };
    let captures = [capture("newer.pcap", 3600)?, capture("older.pcap", 0)?];
    let out = folder.path().join("out.ndjson");
    let mut replay = Command::new(environment::binary()?);
    replay.arg("replay").args(&captures).args(["--stream", "transactions,ledger", "--sink"]);
    shell::output(replay.arg(format!("file:{}", out.display())))?;

    let said = verify(0, &[&out], &[])?;
    assert!(said.contains("the balance closes") && !said.contains("not ended"), "{said}");
    let text = fs::read_to_string(&out)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let mut ledgers = records.iter().filter(|record| record["schema"] == "dns.ledger/1");
    let times: Vec<_> = ledgers.clone().map(|record| record["uptime_seconds"].as_f64()).collect();
    assert!(times.len() > 2 && times.is_sorted(), "{times:?}");
    ledger::verify(ledgers.next_back().context("no ledger record")?)?;

    // A transaction of the newer capture, and one of the older.
    for lost in ["2023-11-14T23", "2023-11-14T22"] {
        let is_lost = |line: &&str| line.contains("dns.transaction/1") && line.contains(lost);
        let lost = text.lines().find(is_lost).context("no such transaction")?;
        let less = folder.path().join("less.ndjson");
        fs::write(&less, text.replacen(&format!("{lost}\n"), "", 1))?;
        let said = verify(1, &[&less], &[])?;
        assert!(said.contains("1 missing"), "{said}");
    }
    Ok(())
}
