//! What windows cost: a minute of made-up transactions, ordinary ones and a flood of names, zones,
//! resolvers, clients, processes and pods that were never seen before, given to the windows by
//! themselves (`agent/examples/windows`).

use super::median;
use crate::say;
use anyhow::{Context as _, Result, ensure};
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// What all windows may hold, whatever the traffic.
const BOUND_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// Runs the benchmark and prints its lines.
pub fn main(program: &Path, repetitions: u32, transactions: u32) -> Result<()> {
    for traffic in ["ordinary", "attack"] {
        let mut command = Command::new(program);
        command.arg(traffic).args([transactions, repetitions].map(|number| number.to_string()));
        let output = String::from_utf8(shell::output(&mut command)?.stdout)?;
        let mut lines = Vec::new();
        for line in output.lines() {
            let mut line: Value = serde_json::from_str(line).context("the benchmark's output")?;
            line["bench"] = "windows".into();
            say::result(&line.to_string());
            lines.push(line);
        }
        say::result(&summary(traffic, &lines)?.to_string());
    }
    Ok(())
}

fn summary(traffic: &str, lines: &[Value]) -> Result<Value> {
    let all = |name: &str| lines.iter().filter_map(|line| line[name].as_f64()).collect::<Vec<_>>();
    let middle = |name: &str| median(all(name));
    let most = |name: &str| all(name).into_iter().fold(0.0, f64::max);
    let held = most("window_bytes");
    ensure!(held <= BOUND_BYTES, "windows hold {held} octets, more than {BOUND_BYTES}");
    let (without, with) = (middle("ns_without"), middle("ns_with"));
    Ok(json!({
        "bench": "windows", "summary": true, "traffic": traffic,
        "ns_per_transaction": with - without,
        "ns_per_transaction_with_records": middle("ns_with_records") - without,
        "window_bytes": held, "window_bytes_share_of_bound": held / BOUND_BYTES,
        "rss_growth_bytes": most("rss_growth_bytes"),
        "records_per_minute": middle("records"), "record_bytes_per_minute": middle("record_bytes"),
    }))
}
