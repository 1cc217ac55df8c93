//! How right latencies are: the agent's against tshark's of the same packets and against dnsperf's of
//! the same queries, query by query. dnsperf's own are longer by what the client's sockets and its
//! turn on a CPU take.

use crate::say;
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::{self, Load};
use dnscribe_tests::lab::latency::{differences, of_records, quantile};
use dnscribe_tests::lab::{Host, Lab, dns_times};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Queries per second: far from what would make queries wait for each other.
const QPS: u32 = 2000;
/// What the names end in; the lab answers everything there.
const SUFFIX: &str = "latency.wild.example.com";

/// Runs the benchmark and prints its line.
pub fn main(binary: &Path, queries: u32) -> Result<()> {
    let lab = Lab::up()?;
    let mut command = Command::new(binary);
    let agent =
        Agent::start(command.args(["run", "--hook", "cgroup", "--stream", "transactions"]))?;
    let capture = lab.capture(Host::Client)?;
    let suffix = SUFFIX.to_owned();
    let load = Load { queries, qps: Some(QPS), suffix, verbose: true, ..Load::default() };
    let report = lab.start_dnsperf(Host::Client, lab.resolver_addr(), &load)?;
    let report = report.wait_with_output().context("dnsperf")?.stdout;
    let wire = dns_times(&capture.finish()?)?;
    let asked = dnsperf::latencies(&String::from_utf8_lossy(&report))?;
    let end = agent.terminate()?;
    let ours = of_records(&end.records, "client", lab.client_addr());
    let line = json!({
        "bench": "latency", "queries": queries, "qps": QPS,
        "median_seconds": quantile(&sorted(&ours), 0.5)?,
        "ours_minus_tshark_seconds": apart(&ours, &wire)?,
        "dnsperf_minus_ours_seconds": apart(&asked, &ours)?,
    });
    say::result(&line.to_string());
    Ok(())
}

fn sorted(account: &BTreeMap<String, f64>) -> Vec<f64> {
    let mut seconds: Vec<f64> = account.values().copied().collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

fn apart(one: &BTreeMap<String, f64>, other: &BTreeMap<String, f64>) -> Result<Value> {
    let apart = differences(one, other);
    let at = |share| quantile(&apart, share);
    Ok(json!({
        "compared": apart.len(), "p05": at(0.05)?, "median": at(0.5)?, "p95": at(0.95)?,
    }))
}
