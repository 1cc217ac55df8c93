//! Masking and filters of the binary: with everything hashed, no name or address of a capture is in
//! any output; filtered records are counted.

use aho_corasick::AhoCorasick;
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::{environment, ledger};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const STREAMS: &str = "messages,transactions,lookups,metrics,alerts,dlq,ledger,connections";

/// Environment variables that hash everything, with a key.
const HASHED: [(&str, &str); 6] = [
    ("DNSCRIBE_PRIVACY__QNAME", "hash"),
    ("DNSCRIBE_PRIVACY__CLIENT", "hash"),
    ("DNSCRIBE_PRIVACY__SERVER", "hash"),
    ("DNSCRIBE_PRIVACY__PROCESS", "hash"),
    ("DNSCRIBE_PRIVACY__CONTAINER", "hash"),
    ("DNSCRIBE_PRIVACY__KEY", "0123456789abcdef0123456789abcdef"),
];

/// Returns the project's capture, which has every status, and a realistic one.
fn captures(folder: &Path) -> Result<Vec<PathBuf>> {
    let realistic = folder.join("realistic.pcap");
    let capture =
        Realistic { messages: 1_500, queries_per_second: 150, names: 200, ..Realistic::default() };
    capture.write(&mut fs::File::create(&realistic)?)?;
    let lab = environment::lab_capture();
    Ok(vec![realistic, lab])
}

fn replay(capture: &Path, more: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(["--stream", STREAMS]).args(more);
    let output = command.envs(variables.iter().copied()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

fn records(lines: &[u8]) -> Result<Vec<Value>> {
    let lines = std::str::from_utf8(lines)?.lines();
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Calls `each` with every text in a record and the name of its field.
fn texts<'a>(name: &'a str, value: &'a Value, each: &mut dyn FnMut(&'a str, &'a str)) {
    match value {
        Value::String(text) => each(name, text),
        Value::Array(items) => items.iter().for_each(|item| texts(name, item, each)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| texts(name, value, each)),
        _ => {}
    }
}

/// Returns the names and addresses in records.
fn secrets(records: &[Value]) -> BTreeSet<String> {
    let mut secrets = BTreeSet::new();
    for record in records {
        texts("", record, &mut |name, text| {
            let is_address = text.parse::<std::net::IpAddr>().is_ok();
            let is_name = ["qname", "qname_case", "zone", "name", "answered_name", "sni"];
            // Shorter texts could be part of a pseudonym by chance.
            let is_value = text.len() >= 7 && text.contains(['.', ':']);
            if is_value && (is_address || is_name.contains(&name)) {
                secrets.insert(text.to_ascii_lowercase());
            }
        });
    }
    secrets
}

/// Encodes a name as in a message: each label after its length.
fn wire(name: &str) -> Option<Vec<u8>> {
    if name.contains('\\') || name.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    let label = |label: &str| Some([&[u8::try_from(label.len()).ok()?], label.as_bytes()].concat());
    name.split('.').map(label).collect::<Option<Vec<_>>>().map(|labels| labels.concat())
}

/// Checks that no secret occurs in bytes, neither as text nor in base64 or hexadecimal.
fn check_hidden(what: &str, octets: &[u8], secrets: &BTreeSet<String>) -> Result<()> {
    let lower = octets.to_ascii_lowercase();
    let text = String::from_utf8_lossy(&lower);
    // One pass over words; names and addresses contain no separator.
    let parted = |letter: char| letter.is_whitespace() || "\",<>[](){}=#|".contains(letter);
    let words: BTreeSet<&str> = text.split(parted).collect();
    let ends: BTreeSet<&str> =
        words.iter().filter_map(|word| Some(word.rsplit_once(':')?.0)).collect();
    for secret in secrets {
        ensure!(!words.contains(secret.as_str()), "{what} contains {secret}");
        ensure!(!ends.contains(secret.as_str()), "{what} contains {secret}");
    }
    Ok(())
}

/// Decodes the texts in records that encode bytes.
fn decoded(records: &[Value]) -> Vec<u8> {
    let mut octets = Vec::new();
    for record in records {
        texts("", record, &mut |_, text| {
            octets.extend(BASE64.decode(text).unwrap_or_default());
            octets.extend(
                text.as_bytes().chunks(2).filter_map(|pair| {
                    u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
                }),
            );
        });
    }
    octets
}

#[test]
fn hashed_output_has_no_name_or_address() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for capture in captures(folder.path())? {
        let clear = records(&replay(&capture, &["-o", "json"], &[])?.stdout)?;
        let secrets = secrets(&clear);
        ensure!(secrets.len() >= 10, "too few secrets: {secrets:?}");
        ensure!(
            check_hidden(
                "the clear output",
                &replay(&capture, &["-o", "json"], &[])?.stdout,
                &secrets
            )
            .is_err()
        );
        ensure!(
            check_hidden(
                "the clear text",
                &replay(&capture, &["-o", "text"], &[])?.stdout,
                &secrets
            )
            .is_err()
        );

        let file = folder.path().join("masked.ndjson");
        let sink = format!("file:{}", file.display());
        let twice = ["-o", "text", "--sink", "stdout", "--sink", &sink, "-vvv"];
        let output = replay(&capture, &twice, &HASHED)?;
        let written = fs::read(&file)?;
        fs::remove_file(&file)?;
        check_hidden("the file", &written, &secrets)?;
        check_hidden("the text", &output.stdout, &secrets)?;
        check_hidden("the log", &output.stderr, &secrets)?;
        let masked = records(&written)?;
        let texts = secrets.iter().map(|secret| secret.as_bytes().to_vec());
        // At least two labels, or a match could be chance.
        let wires = secrets.iter().filter_map(|secret| wire(secret)).filter(|wire| wire.len() > 8);
        let searched: Vec<Vec<u8>> = texts.chain(wires).collect();
        let found = AhoCorasick::new(&searched)?.find(&decoded(&masked).to_ascii_lowercase());
        let found =
            found.map(|found| String::from_utf8_lossy(&searched[found.pattern().as_usize()]));
        ensure!(found.is_none(), "bytes contain {found:?}");
        ensure!(masked.len() == clear.len(), "the number of records differs");
        let ids =
            |records: &[Value]| records.iter().map(|r| r["event_id"].clone()).collect::<Vec<_>>();
        ensure!(ids(&masked) == ids(&clear), "the event ids differ");
        ledger::verify(masked.last().context("no record")?)?;
        // An equal key gives equal pseudonyms.
        let again = replay(&capture, &twice, &HASHED)?.stdout;
        ensure!(
            again == output.stdout && fs::read(&file)? == written,
            "the output differs with an equal key"
        );
        fs::remove_file(&file)?;
    }
    Ok(())
}

#[test]
fn counts_filtered_records_and_keeps_windows() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let capture = captures(folder.path())?.swap_remove(0);
    let clear = records(&replay(&capture, &["-o", "json"], &[])?.stdout)?;
    let variables = [("DNSCRIBE_FILTERS__INCLUDE__QTYPE", "AAAA")];
    for sinks in [&["--sink", "stdout"][..], &["--sink", "stdout", "--sink", "null"]] {
        let exported =
            records(&replay(&capture, &[&["-o", "json"], sinks].concat(), &variables)?.stdout)?;
        let of = |records: &[Value], stream: &str| -> Vec<Value> {
            records.iter().filter(|record| record["schema"] == stream).cloned().collect()
        };
        let is_aaaa = |record: &Value| record["qtype"] == "AAAA";
        for schema in ["dns.transaction/1", "dns.message/1"] {
            let wanted: Vec<Value> = of(&clear, schema).into_iter().filter(is_aaaa).collect();
            ensure!(!wanted.is_empty() && of(&exported, schema) == wanted, "{schema}");
        }
        for schema in ["dns.window/1", "dns.alert/1"] {
            ensure!(of(&exported, schema) == of(&clear, schema), "{schema}");
        }
        let last = exported.last().context("no record")?;
        ledger::verify(last)?;
        for sink in last["delivery"].as_object().context("no sinks")?.values() {
            let transactions = &sink["transactions"];
            let all = of(&clear, "dns.transaction/1").len();
            let wanted = of(&exported, "dns.transaction/1").len();
            ensure!(
                transactions["records"] == all && transactions["filtered"] == all - wanted,
                "{last:#}"
            );
            ensure!(transactions["delivered"] == wanted, "{last:#}");
        }
    }
    Ok(())
}

/// A window's identity: its time, and what it is grouped by.
fn identity(window: &Value) -> String {
    let parts = [
        "ts",
        "window_seconds",
        "step_seconds",
        "grouping",
        "vantage",
        "transport",
        "resolver",
        "zone",
        "qtype",
        "process",
        "container",
        "k8s",
        "other",
    ];
    parts.map(|part| window[part].to_string()).join(" ")
}

#[test]
fn windows_of_groups_that_masking_makes_equal_are_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.yaml");
    fs::write(
        &config,
        "version: 1\nwindows: { groupings: [node, resolver, zone, qtype, process, pod, resolver+zone] }\n",
    )?;
    let config = config.display().to_string();
    let sums = |windows: &[Value]| {
        let mut sums = BTreeMap::new();
        for window in windows {
            let key = format!(
                "{} {} {} {}",
                window["ts"], window["window_seconds"], window["grouping"], window["vantage"]
            );
            *sums.entry(key).or_insert(0) += window["transactions"].as_u64().unwrap_or(0);
        }
        sums
    };
    for capture in captures(folder.path())? {
        let windows = |variables: &[(&str, &str)]| -> Result<Vec<Value>> {
            let options = ["-o", "json", "--config", &config];
            let mut records = records(&replay(&capture, &options, variables)?.stdout)?;
            records.retain(|record| record["schema"] == "dns.window/1");
            Ok(records)
        };
        let clear = windows(&[])?;
        for (class, method) in [
            ("QNAME", "drop"),
            ("QNAME", "truncate"),
            ("SERVER", "drop"),
            ("SERVER", "truncate"),
            ("SERVER", "hash"),
            ("PROCESS", "drop"),
            ("CONTAINER", "drop"),
        ] {
            let masked = windows(&[(&format!("DNSCRIBE_PRIVACY__{class}"), method)])?;
            let identities: BTreeSet<String> = masked.iter().map(identity).collect();
            assert_eq!(identities.len(), masked.len(), "{class} {method}");
            assert_eq!(sums(&masked), sums(&clear), "{class} {method}: all are counted");
            let is_nameless = |window: &&Value| {
                let grouping = window["grouping"].as_str().unwrap_or_default();
                let is_there = |field: &str| window.get(field).is_some();
                let has_value = match grouping {
                    "node" => true,
                    "pod" => is_there("k8s") || is_there("container"),
                    "resolver+zone" => is_there("resolver") && is_there("zone"),
                    one => is_there(one),
                };
                has_value == (window["other"] == true)
            };
            assert_eq!(
                masked.iter().find(is_nameless),
                None,
                "{class} {method}: a value, or other"
            );
        }
    }
    Ok(())
}

#[test]
fn rejects_configuration_that_leaks() -> Result<()> {
    let capture = environment::lab_capture();
    let output = Command::new(environment::binary()?)
        .args(["replay", "--sink", "null"])
        .arg(capture)
        .envs([("DNSCRIBE_MESSAGES__WIRE", "true"), ("DNSCRIBE_PRIVACY__QNAME", "hash")])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2) && said.contains("messages.wire"), "{said}");
    Ok(())
}
