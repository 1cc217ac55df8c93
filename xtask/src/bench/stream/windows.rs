//! Windows of a fleet of nodes: the windows of one node, made by the agent from some minutes of traffic, with the names
//! and event ids of all other nodes.

use crate::bench::Bench;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::shell;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// A node as docs/scale.md assumes it, with about 30 groups.
const NODE: Realistic = Realistic {
    messages: MINUTES * 6_000 + 3_000,
    seed: 1,
    queries_per_second: 50,
    names: 20,
    resolvers: 1,
};
/// Number of minutes whose windows are written.
const MINUTES: u32 = 5;

/// Stand for a node's name and the id of one of its windows.
const NODE_NAME: &str = "@node";
const EVENT_ID: &str = "@event_id";

/// Writes the windows of some minutes of `nodes` nodes to a topic. Returns the number of windows, and of those before the
/// last minute.
pub fn produce(
    bench: &Bench,
    folder: &Path,
    brokers: &str,
    topic: &str,
    nodes: u32,
) -> Result<(u64, u64)> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", brokers, "-t", topic, "-z", "zstd", "-K", "\t"]);
    let mut child = kcat.stdin(Stdio::piped()).spawn().context("cannot start kcat")?;
    let mut out = BufWriter::new(child.stdin.take().context("no input")?);
    let (mut written, mut before_last) = (0, 0);
    for windows in node(bench, folder)? {
        before_last = written;
        let lines: Vec<String> = windows.into_iter().map(line).collect();
        for node in 0..nodes {
            for line in &lines {
                written += 1;
                let id = format!("{node:08x}{written:024x}");
                let line = line.replacen(NODE_NAME, &format!("node-{node:05}"), 1);
                writeln!(out, "{}", line.replacen(EVENT_ID, &id, 1))?;
            }
        }
    }
    drop(out);
    ensure!(child.wait()?.success(), "kcat failed");
    Ok((written, before_last))
}

/// Returns the key and the record of a window of any node.
fn line(mut window: Value) -> String {
    window["node"] = NODE_NAME.into();
    window["event_id"] = EVENT_ID.into();
    let key = window["resolver"].as_str().unwrap_or("all");
    format!("{key}\t{window}")
}

/// Returns the windows of one node, minute by minute.
fn node(bench: &Bench, folder: &Path) -> Result<Vec<Vec<Value>>> {
    let (capture, records) = (folder.join("node.pcap"), folder.join("node.ndjson"));
    NODE.write(BufWriter::new(File::create(&capture)?))?;
    let mut replay = Command::new(bench.binary());
    replay.arg("replay").arg(&capture).args(["--stream", "metrics", "--sink"]);
    shell::output(replay.arg(format!("file:{}", records.display())))?;
    let mut minutes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in fs::read_to_string(&records)?.lines() {
        let window: Value = serde_json::from_str(line)?;
        if window["window_seconds"] == 60 && window["step_seconds"] == 60 {
            minutes.entry(window["ts"].to_string()).or_default().push(window);
        }
    }
    // The first begins with the traffic; the one after the last of these is cut.
    let minutes: Vec<_> = minutes.into_values().take(MINUTES as usize).collect();
    ensure!(minutes.len() == MINUTES as usize, "only {} minutes", minutes.len());
    Ok(minutes)
}
