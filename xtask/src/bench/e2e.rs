//! What the agent costs the host: knot and dnsperf flat out on loopback, without it and with it,
//! in the order bare, agent, agent, bare, so that a drift of the machine weighs on both alike.

use super::Bench;
use super::statistics::{median, per_million};
use super::usage;
use crate::say;
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::{Agent, Finished};
use dnscribe_tests::dnsperf::{Load, Perf};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// With the agent or without it.
const ORDER: [bool; 4] = [false, true, true, false];
/// How long the agent may take to write what it has seen, before its CPU time is read.
const SETTLE: Duration = Duration::from_secs(1);
/// Of the records file, what is read to find the last ledger record.
const TAIL_BYTES: u64 = 256 * 1024;

/// What one repetition with the agent cost.
struct Cost {
    cpu_seconds_per_million: f64,
    rss_peak_bytes: u64,
    losses: BTreeMap<String, u64>,
}

/// Runs the benchmark and prints its lines.
pub fn main(bench: &Bench) -> Result<()> {
    let (binary, repetitions, queries) =
        (bench.binary(), bench.repetitions(), bench.count(200_000));
    let lab = Lab::up()?;
    let load = Load { queries, clients: 8, ..Load::default() };
    // The first run warms caches and clocks and is not counted.
    let flat_out = || lab.dnsperf_from(Host::Server, lab.server_addr(), &load);
    flat_out()?;
    let (mut bare, mut with, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..repetitions {
        for agent in ORDER {
            let (perf, cost) = if agent {
                let (perf, cost) = with_agent(binary, &lab, flat_out)?;
                (perf, Some(cost))
            } else {
                (flat_out()?, None)
            };
            say::result(&line(repetition, &perf, cost.as_ref()).to_string());
            if agent { &mut with } else { &mut bare }.push(perf.qps);
            costs.extend(cost);
        }
    }
    let (bare, with) = (median(bare), median(with));
    let summary = json!({
        "bench": "e2e", "summary": true, "queries": queries, "repetitions": repetitions,
        "qps_bare": bare, "qps_with_agent": with, "ratio": with / bare,
        "cpu_seconds_per_million_messages":
            median(costs.iter().map(|cost| cost.cpu_seconds_per_million)),
        "rss_peak_bytes": costs.iter().map(|cost| cost.rss_peak_bytes).max(),
        "losses": costs.iter().flat_map(|cost| cost.losses.values()).sum::<u64>(),
    });
    say::result(&summary.to_string());
    Ok(())
}

fn line(repetition: u32, perf: &Perf, cost: Option<&Cost>) -> Value {
    let mut line = json!({
        "bench": "e2e", "repetition": repetition, "agent": cost.is_some(), "qps": perf.qps,
        "mean_latency_seconds": perf.mean_latency_seconds, "lost_queries": perf.lost,
    });
    if let Some(cost) = cost {
        line["cpu_seconds_per_million_messages"] = cost.cpu_seconds_per_million.into();
        line["rss_peak_bytes"] = cost.rss_peak_bytes.into();
        line["losses"] = json!(cost.losses);
    }
    line
}

fn with_agent(binary: &Path, lab: &Lab, load: impl Fn() -> Result<Perf>) -> Result<(Perf, Cost)> {
    let records = lab.folder().join("records.ndjson");
    let sink = format!("file:{}", records.display());
    let mut command = Command::new(binary);
    let agent =
        Agent::start(command.args(["run", "--stream", "transactions,ledger", "--sink", &sink]))?;
    let before = usage::cpu_seconds(agent.pid())?;
    let perf = load()?;
    thread::sleep(SETTLE);
    let cpu = usage::cpu_seconds(agent.pid())? - before;
    let rss_peak_bytes = usage::peak_bytes(agent.pid()).context("the agent is gone")?;
    let end = agent.terminate()?;
    let last = final_ledger(&records, &end)?;
    fs::remove_file(&records)?;
    let messages = ledger::counter(&last, &["decode", "messages"])?;
    let cost = Cost {
        cpu_seconds_per_million: per_million(cpu, messages)?,
        rss_peak_bytes,
        losses: ledger::loss_places(&last)?,
    };
    Ok((perf, cost))
}

/// The last ledger record of a file that may be large; it must be final and balance.
fn final_ledger(records: &Path, end: &Finished) -> Result<Value> {
    let mut file = fs::File::open(records)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let last = String::from_utf8_lossy(&tail)
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|record| record["schema"] == "dns.ledger/1" && record["final"] == true)
        .with_context(|| format!("no final ledger record; {}", end.stderr))?;
    ledger::verify(&last)?;
    Ok(last)
}
