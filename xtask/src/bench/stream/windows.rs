//! Windows of a fleet of nodes: the windows of one node, made by the agent from a minute of traffic, with the names and
//! event ids of all other nodes.

use crate::bench::Bench;
use anyhow::{Context as _, Result};
use dnscribe_tests::realistic::Realistic;
use dnscribe_tests::shell;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Queries per second of a node, and distinct names that it asks for.
const NODE: (u32, u32) = (50, 60);
/// Messages of a minute and a half of such a node.
const MESSAGES: u32 = 9_000;

/// Stand for a node's name and the id of one of its windows.
const NODE_NAME: &str = "@node";
const EVENT_ID: &str = "@event_id";

/// Writes the windows of one minute of `nodes` nodes to a topic. Returns the number of windows of a node.
pub fn produce(
    bench: &Bench,
    folder: &Path,
    brokers: &str,
    topic: &str,
    nodes: u32,
) -> Result<u64> {
    let windows = node(bench, folder)?;
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", brokers, "-t", topic, "-z", "zstd", "-K", "\t"]);
    let mut child = kcat.stdin(Stdio::piped()).spawn().context("cannot start kcat")?;
    let mut out = BufWriter::new(child.stdin.take().context("no input")?);
    let lines: Vec<String> = windows.into_iter().map(line).collect();
    for node in 0..nodes {
        for (number, line) in lines.iter().enumerate() {
            let id = format!("{:08x}{:024x}", node, number + 1);
            let line = line.replacen(NODE_NAME, &format!("node-{node:05}"), 1);
            writeln!(out, "{}", line.replacen(EVENT_ID, &id, 1))?;
        }
    }
    drop(out);
    anyhow::ensure!(child.wait()?.success(), "kcat failed");
    Ok(u64::try_from(lines.len())?)
}

/// Returns the key and the record of a window of any node.
fn line(mut window: Value) -> String {
    window["node"] = NODE_NAME.into();
    window["event_id"] = EVENT_ID.into();
    let key = window["resolver"].as_str().unwrap_or("all");
    format!("{key}\t{window}")
}

/// Returns the windows of a minute of one node.
fn node(bench: &Bench, folder: &Path) -> Result<Vec<Value>> {
    let (capture, records) = (folder.join("node.pcap"), folder.join("node.ndjson"));
    let (queries_per_second, names) = NODE;
    Realistic { messages: MESSAGES, queries_per_second, names, ..Realistic::default() }
        .write(BufWriter::new(File::create(&capture)?))?;
    let mut replay = Command::new(bench.binary());
    replay.arg("replay").arg(&capture).args(["--stream", "metrics", "--sink"]);
    shell::output(replay.arg(format!("file:{}", records.display())))?;
    let mut windows = Vec::new();
    for line in fs::read_to_string(&records)?.lines() {
        let window: Value = serde_json::from_str(line)?;
        if window["window_seconds"] == 60 && window["step_seconds"] == 60 {
            windows.push(window);
        }
    }
    // The first minute is whole or begins with the traffic; the second is cut.
    let first = windows.first().context("no window of a minute")?["ts"].clone();
    windows.retain(|window| window["ts"] == first);
    Ok(windows)
}
