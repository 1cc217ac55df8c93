//! Windows recomputed from the transactions of the same replay, and merged across nodes by other
//! implementations of the sketches. Needs no root.

use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::traffic::{QUERY_TIMEOUT, Traffic};
use dnscribe_tests::windows::{Options, verify};
use dnscribe_tests::{environment, shell, sketches};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

/// About five minutes, in 150 zones.
const TRAFFIC: Traffic =
    Traffic { exchanges: 0..4_000, every: 1, step_ns: 82_000_000, names: 1_500 };

fn replay(capture: &Path, words: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(environment::binary()?);
    command.arg("replay").arg(capture).args(words).args(["-o", "json"]);
    let output = String::from_utf8(shell::output(&mut command)?.stdout)?;
    output.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn write(folder: &Path, name: &str, traffic: &Traffic) -> Result<PathBuf> {
    let capture = folder.join(name);
    traffic.write(BufWriter::new(File::create(&capture)?))?;
    Ok(capture)
}

const STREAMS: [&str; 4] = ["--stream", "transactions,metrics", "--query-timeout", QUERY_TIMEOUT];

#[test]
fn windows_match_their_transactions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let records = replay(&write(folder.path(), "all.pcap", &TRAFFIC)?, &STREAMS)?;
    let verified = verify(&records, Options { edns: true, all_named: false })?;
    ensure!(verified.windows > 70 && verified.transactions > 3_500, "{verified:?}");
    // The capture must contain every counted property.
    let node = records.iter().find(|record| {
        record["schema"] == "dns.window/1"
            && record["grouping"] == "node"
            && record["window_seconds"] == 300
    });
    let node = node.context("no window of five minutes")?;
    for name in ["timeout", "late", "duplicate", "orphan", "answered"] {
        ensure!(node["statuses"][name].as_u64() > Some(0), "no {name}: {}", node["statuses"]);
    }
    for name in ["conflicts", "retries", "truncated", "dnssec_queries", "ecs_queries"] {
        ensure!(node[name].as_u64() > Some(0), "no {name}");
    }
    let zones = records.iter().filter(|record| record["grouping"] == "zone");
    ensure!(
        zones.clone().any(|record| record["other"] == true),
        "no zone was combined into `other`"
    );
    Ok(())
}

#[test]
fn golden_windows_match_their_transactions() -> Result<()> {
    let goldens = environment::workspace().join("tests/goldens");
    let records = replay(&goldens.join("lab.pcap"), &STREAMS[..2])?;
    let verified = verify(&records, Options { edns: false, all_named: true })?;
    ensure!(verified.windows >= 4, "{verified:?}");
    Ok(())
}

/// Sketches of two nodes merged by other implementations equal those of an agent that captured both
/// nodes' traffic.
#[test]
fn windows_of_two_nodes_merge() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut nodes = Vec::new();
    for (name, traffic) in [
        ("all.pcap", TRAFFIC),
        ("even.pcap", Traffic { every: 2, ..TRAFFIC }),
        ("odd.pcap", Traffic { every: 2, exchanges: 1..TRAFFIC.exchanges.end, ..TRAFFIC }),
    ] {
        let mut words = STREAMS.to_vec();
        words[1] = "metrics";
        nodes.push(replay(&write(folder.path(), name, &traffic)?, &words)?);
    }
    let [all, even, odd] = <[Vec<Value>; 3]>::try_from(nodes).ok().context("three nodes")?;
    let (mut lists, mut whole) = (Vec::new(), Vec::new());
    let [even, odd] = [even, odd].map(|node| -> BTreeMap<String, Value> {
        node.into_iter().map(|record| (group_of(&record), record)).collect()
    });
    for record in &all {
        let parts = [&even, &odd].map(|node| node.get(&group_of(record)).cloned());
        // A group of one node may be in `other` of the next: compares the groups that every node
        // has.
        if let [Some(even), Some(odd)] = parts
            && record["other"].is_null()
            && [record, &even, &odd].iter().all(|record| record["undercounted"].is_null())
        {
            lists.push(vec![record.clone()]);
            lists.push(vec![even, odd]);
            whole.push(record);
        }
    }
    ensure!(whole.len() > 500, "only {} groups are comparable", whole.len());
    let merged = sketches::merge(&lists)?;
    for (record, mergers) in whole.iter().zip(merged.chunks(2)) {
        let [own, both] = mergers else { continue };
        compare(record, own, both).with_context(|| format!("{record}\n{own}\n{both}"))?;
    }
    Ok(())
}

/// Returns the identity of a window's group.
fn group_of(record: &Value) -> String {
    let keys = ["ts", "window_seconds", "step_seconds", "grouping", "transport", "other"];
    let named = [record["grouping"].as_str().unwrap_or_default()];
    let values = keys.iter().chain(&named).map(|key| record[*key].to_string());
    values.collect::<Vec<_>>().join(" ")
}

/// `own`: the values that they read from our record. `both`: their merge of the two nodes.
fn compare(record: &Value, own: &Value, both: &Value) -> Result<()> {
    let near = |one: &Value, other: &Value, error: f64| match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() <= error * one.abs().max(other.abs()),
        _ => one.is_null() && other.is_null(),
    };
    for name in ["count", "p50", "p90", "p95", "p99"] {
        let quantile = &record["latency_ms"][name];
        // No quantile is above the maximum, which the sketches do not contain.
        let theirs = [&own["latency_ms"][name], &both["latency_ms"][name]];
        for their in theirs {
            let greatest = quantile == &record["latency_ms"]["max"];
            ensure!(near(quantile, their, if greatest { 0.02 } else { 1e-9 }), "{name}: {their}");
        }
    }
    for name in ["unique_qnames", "unique_clients", "unique_resolvers"] {
        let (ours, own, both) = (&record[name], &own[name], &both[name]);
        // Small counts are exact. For large ones, the merged sketch has an error of 2.3 %.
        let error = if ours["estimate"].as_f64() < Some(100.0) { 1e-6 } else { 0.1 };
        ensure!(near(&ours["estimate"], &own["estimate"], error), "{name}: {own}");
        ensure!(near(&ours["estimate"], &both["estimate"], error), "{name}: {both}");
    }
    for name in ["top_qnames", "top_zones", "top_clients"] {
        let Some(items) = both[name]["items"].as_array() else { continue };
        let find = |value: &Value| items.iter().find(|item| item["value"] == *value);
        for ranked in record[name].as_array().into_iter().flatten() {
            // Both bound the same true count.
            let Some(item) = find(&ranked["value"]) else { continue };
            let meet = item["lower"].as_u64() <= ranked["upper"].as_u64()
                && ranked["lower"].as_u64() <= item["upper"].as_u64();
            ensure!(meet, "{name}: {ranked} {item}");
        }
        let first = record[name].get(0).context("no list")?;
        ensure!(find(&first["value"]).is_some(), "{name}: {first} is missing");
    }
    Ok(())
}
