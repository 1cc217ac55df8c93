//! Accuracy of latencies: the agent's compared, query by query, with tshark's of the same packets and with
//! dnsperf's of the same queries. dnsperf's include the client's sockets and its scheduling, and so are longer.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::{Context as _, Result};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::{self, Load};
use dnscribe_tests::lab::latency::{differences, latencies_by_name, quantile};
use dnscribe_tests::lab::{Host, Lab, dns_times};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Queries per second, low enough that queries do not wait for each other.
const QPS: u32 = 2000;
/// Domain of the names; the lab answers every name in it.
const SUFFIX: &str = "latency.wild.example.com";

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let queries = bench.count(20_000);
    let mut plan = Plan::new("latency");
    plan.slow_case("agent", || measure(bench.binary(), queries));
    plan.row(Row::new("agent", "ours_minus_tshark_seconds_median"));
    plan.row(Row::new("agent", "dnsperf_minus_ours_seconds_median"));
    bench.run(plan)
}

fn measure(binary: &Path, queries: u32) -> Result<Figures> {
    let lab = Lab::up()?;
    let mut command = Command::new(binary);
    // As users run it: tests switch sampling off.
    command.env("DNSCRIBE_SAMPLING__MODE", "auto");
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
    let ours = latencies_by_name(&end.records, "client", lab.client_addr());
    let figures = Figures::default()
        .with("queries", queries.into())
        .with("median_seconds", quantile(&sorted(&ours), 0.5)?);
    let figures = with_differences(figures, "ours_minus_tshark", &ours, &wire)?;
    with_differences(figures, "dnsperf_minus_ours", &asked, &ours)
}

fn sorted(latencies: &Latencies) -> Vec<f64> {
    let mut seconds: Vec<f64> = latencies.values().copied().collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

type Latencies = BTreeMap<String, f64>;

/// Adds quantiles of the difference `one - other` per query.
fn with_differences(
    mut figures: Figures,
    name: &str,
    one: &Latencies,
    other: &Latencies,
) -> Result<Figures> {
    let differences = differences(one, other);
    let compared = u32::try_from(differences.len())?;
    figures = figures.with(&format!("{name}_compared"), compared.into());
    for (quantile_name, share) in [("p05", 0.05), ("median", 0.5), ("p95", 0.95)] {
        let value = quantile(&differences, share)?;
        figures = figures.with(&format!("{name}_seconds_{quantile_name}"), value);
    }
    Ok(figures)
}
