//! The Parquet sink of the binary, read back by engines that are not ours.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::{archive, environment, ledger, shell};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Streams with records in the captures.
const STREAMS: [&str; 6] = ["messages", "transactions", "lookups", "metrics", "dlq", "connections"];

const START: Duration = Duration::from_mins(1);

/// Replays captures into Parquet files and NDJSON.
fn replay(captures: &[PathBuf], streams: &str, folder: &Path) -> Result<()> {
    let mut command = Command::new(environment::binary()?);
    let [records, columns] = ["records.ndjson", "columns"].map(|name| folder.join(name));
    command.arg("replay").args(captures).args(["--stream", streams]);
    command.arg("--sink").arg(format!("file:{}", records.display()));
    command.arg("--sink").arg(format!("parquet:{}", columns.display()));
    shell::output(command.env("DNSCRIBE_NODE", "n/1").stderr(Stdio::null())).map(drop)
}

/// Returns the records of `folder/records.ndjson` by stream's schema.
fn records(folder: &Path) -> Result<BTreeMap<String, Vec<Value>>> {
    let text = fs::read_to_string(folder.join("records.ndjson"))?;
    let mut records: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line)?;
        let schema = record["schema"].as_str().context("no schema")?.to_owned();
        records.entry(schema).or_default().push(record);
    }
    Ok(records)
}

/// Returns all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Writes all numbers as doubles, and leaves out empty lists: some readers do not distinguish them from absent ones.
fn plain(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64() {
                *value = json!(float);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(fields) => {
            fields.values_mut().for_each(plain);
            let is_empty = |value: &Value| {
                value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(serde_json::Map::is_empty)
            };
            fields.retain(|_, value| !is_empty(value));
        }
        _ => {}
    }
}

/// Every field of every record is in a column, once, in the folder of its hour.
#[test]
fn columns_say_what_records_say() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut captures = environment::stream_captures()?;
    captures.push(environment::workspace().join("tests/goldens/encrypted.pcap"));
    replay(&captures, &STREAMS.join(","), folder.path())?;
    let records = records(folder.path())?;
    ensure!(records.len() == STREAMS.len(), "{:?}", records.keys());
    for mut expected in records.into_values() {
        let schema = expected[0]["schema"].as_str().context("no schema")?.to_owned();
        let stream = STREAMS.into_iter().find(|stream| schema == schema_of(stream));
        let stream = stream.with_context(|| format!("{schema} is no stream of the test"))?;
        let mut found = archive::read(&folder.path().join("columns").join(stream))?;
        let id = |record: &Value| record["event_id"].as_str().unwrap_or_default().to_owned();
        for list in [&mut expected, &mut found] {
            list.iter_mut().for_each(plain);
            list.sort_by_key(id);
        }
        ensure!(expected.len() == found.len(), "{stream}: {}, not {}", found.len(), expected.len());
        for (expected, found) in expected.iter_mut().zip(&mut found) {
            // Text in records, nanoseconds in the column.
            let ts = |record: &mut Value| {
                let text = record["ts"].take();
                let time: jiff::Timestamp = text.as_str().unwrap_or_default().parse()?;
                anyhow::Ok(time)
            };
            ensure!(ts(expected)? == ts(found)?, "{expected}");
            ensure!(expected == found, "{stream}: {expected}\n{found}");
        }
    }
    Ok(())
}

fn schema_of(stream: &str) -> &'static str {
    match stream {
        "messages" => "dns.message/1",
        "transactions" => "dns.transaction/1",
        "lookups" => "dns.lookup/1",
        "metrics" => "dns.window/1",
        "dlq" => "dns.dlq/1",
        _ => "dns.connection/1",
    }
}

#[test]
fn engines_agree_with_records() -> Result<()> {
    let folder = tempfile::tempdir()?;
    replay(&environment::stream_captures()?, "transactions", folder.path())?;
    let records = records(folder.path())?.remove("dns.transaction/1").context("no transactions")?;
    let mut rcodes: BTreeMap<&str, u64> = BTreeMap::new();
    for record in &records {
        if let Some(rcode) = record["rcode"].as_str() {
            *rcodes.entry(rcode).or_default() += 1;
        }
    }
    let latency: f64 = records.iter().filter_map(|record| record["latency_ms"].as_f64()).sum();
    let with_answer = records
        .iter()
        .filter(|record| record["answers"].as_array().is_some_and(|list| !list.is_empty()));
    let with_answer = with_answer.count();
    let figures = archive::figures(&folder.path().join("columns/transactions"))?;
    for engine in ["pandas", "polars", "duckdb"] {
        let found = &figures[engine];
        let [rows, ids] = ["rows", "ids"].map(|name| found[name].as_u64());
        ensure!([rows, ids] == [Some(records.len() as u64); 2], "{engine}: {found}");
        ensure!(found["rcodes"] == json!(rcodes), "{engine}: {found}, not {rcodes:?}");
        ensure!(found["with_answer"] == json!(with_answer), "{engine}: {found}, not {with_answer}");
        let sum = found["latency_ms"].as_f64().unwrap_or_default();
        ensure!((sum - latency).abs() < 1e-6 * latency, "{engine}: {sum}, not {latency}");
    }
    Ok(())
}

/// Counts records as delivered when their file is complete, and shows no file before.
#[test]
fn delivered_records_are_in_complete_files() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let streams = "transactions,ledger";
    replay(&[environment::lab_capture()], streams, folder.path())?;
    let records = records(folder.path())?;
    let last = records["dns.ledger/1"].last().context("no ledger")?;
    let of_sink = &last["delivery"]["parquet"]["transactions"];
    let written = records["dns.transaction/1"].len() as u64;
    ensure!(of_sink["delivered"] == json!(written), "{of_sink}, not {written}");
    ledger::verify(last)?;
    let names = files(&folder.path().join("columns"));
    ensure!(!names.is_empty());
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(name.starts_with("part-n_2f1-") && name.ends_with(".parquet"), "{name}");
    }
    Ok(())
}

/// A killed run leaves hidden files only, and the next one removes them.
#[test]
fn a_killed_run_shows_no_half_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let columns = folder.path().join("columns");
    let mut command = Command::new(environment::binary()?);
    command.args(["replay", "-"]).env("DNSCRIBE_NODE", "n").stderr(Stdio::null());
    command.arg("--sink").arg(format!("parquet:{}", columns.display()));
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no stdin")?;
    let capture = fs::read(environment::lab_capture())?;
    let (header, packets) = capture.split_at(24);
    // More than a batch of records, which go to the sink together.
    input.write_all(header)?;
    for _ in 0..40 {
        input.write_all(packets)?;
    }
    let hidden = || {
        let all = files(&columns);
        Ok((!all.is_empty()).then_some(all))
    };
    let left = shell::wait_for("a file that is not complete", START, hidden)?;
    shell::signal(&child, Signal::KILL)?;
    shell::wait(&mut child, START)?;
    let is_hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    ensure!(left.iter().all(is_hidden), "{left:?}");
    let mut again = Command::new(environment::binary()?);
    again.arg("replay").arg(environment::lab_capture()).env("DNSCRIBE_NODE", "n");
    again.arg("--sink").arg(format!("parquet:{}", columns.display()));
    shell::output(&mut again)?;
    let now = files(&columns);
    ensure!(!now.is_empty() && !now.iter().any(is_hidden), "{now:?}");
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_filled_is_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    fs::write(&file, "")?;
    for (sink, why) in [
        (format!("parquet:{}", file.display()), "cannot create files in"),
        ("parquet:".to_owned(), "names no place"),
    ] {
        let mut command = Command::new(environment::binary()?);
        command.arg("replay").arg(environment::lab_capture()).args(["--sink", &sink]);
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && stderr.contains(why), "{sink}: {stderr}");
    }
    Ok(())
}
