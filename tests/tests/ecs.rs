//! Documents of the Elastic Common Schema: each field is one of Elastic's own definition, with its type and its values, and
//! each record of JSON is a document that says the same.

use anyhow::{Result, ensure};
use dnscribe_tests::ecs::Definition;
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

const STREAMS: &str = "messages,transactions,lookups,metrics,alerts,dlq,ledger,connections";

/// Returns the records of captures on stdout, in this format.
fn replay(captures: &[PathBuf], format: &str) -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").args(captures).args(["--stream", STREAMS, "-o", format]);
    let output = shell::output(command.env("DNSCRIBE_NODE", "n").stderr(Stdio::null()))?;
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// Adds all texts and numbers of a value, as texts in lower case. Those that have another unit in documents are left out.
fn words(value: &Value, all: &mut HashSet<String>) {
    match value {
        Value::Object(fields) => {
            let same = |name: &str| name != "latency_ms" && name != "duration_ms";
            fields.iter().filter(|(name, _)| same(name)).for_each(|(_, value)| words(value, all));
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, all)),
        Value::String(text) => drop(all.insert(text.to_lowercase())),
        other => drop(all.insert(other.to_string())),
    }
}

#[test]
fn documents_are_as_elastic_defines_them_and_say_what_records_say() -> Result<()> {
    let definition = Definition::load()?;
    let mut captures = environment::stream_captures()?;
    // The last one has an alert: a fork may have no captures of others.
    let own = ["encrypted.pcap", "outage.pcap"];
    captures.extend(own.map(|name| environment::workspace().join("tests/goldens").join(name)));
    let (records, documents) = (replay(&captures, "json")?, replay(&captures, "ecs")?);
    ensure!(records.len() == documents.len(), "{}, not {}", documents.len(), records.len());
    let (mut problems, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for (record, document) in records.iter().zip(&documents) {
        kinds.insert(document["event"]["dataset"].as_str().unwrap_or_default());
        problems.extend(definition.problems(document));
        let (mut said, mut kept) = (HashSet::new(), HashSet::new());
        words(record, &mut said);
        words(document, &mut kept);
        // The ledger has the time of each run.
        if record["schema"] != "dns.ledger/1" {
            let lost: Vec<&String> = said.difference(&kept).collect();
            ensure!(lost.is_empty(), "{lost:?} of {record} is not in {document}");
        }
        if let Some(milliseconds) = record["latency_ms"].as_f64() {
            let duration = document["event"]["duration"].as_f64().unwrap_or_default();
            ensure!((duration - milliseconds * 1e6).abs() < 1.0, "{record} {document}");
        }
    }
    ensure!(problems.is_empty(), "{problems:#?}");
    for stream in STREAMS.split(',') {
        ensure!(kinds.contains(format!("dnscribe.{stream}").as_str()), "no record of {stream}");
    }
    Ok(())
}

/// Also of fields that no capture has.
#[test]
fn names_of_all_fields_are_elastics() -> Result<()> {
    let definition = Definition::load()?;
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(environment::workspace().join("schemas"))? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "json") {
            add_names(&serde_json::from_slice(&std::fs::read(file)?)?, &mut names);
        }
    }
    ensure!(names.len() > 40, "{names:?}");
    let unknown: Vec<&String> = names.iter().filter(|name| !definition.has(name)).collect();
    ensure!(unknown.is_empty(), "{unknown:?}");
    Ok(())
}

fn add_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                let list = value.as_array().filter(|_| key == "x-ecs").into_iter().flatten();
                names.extend(list.filter_map(Value::as_str).map(str::to_owned));
                add_names(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add_names(item, names)),
        _ => {}
    }
}
