//! CPU time and memory of windows. `tests/benches/src/bin/windows` feeds the windows alone with a minute of
//! generated transactions: ordinary ones, and a flood of new names, zones, resolvers, clients, processes and
//! pods. `tests/benches/src/bin/pipeline` measures what each aggregated stream adds to transactions without
//! sink, with one capture in memory.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::{Context as _, Result};
use dnscribe_tests::environment;
use dnscribe_tests::realistic::Realistic;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

/// Aim: largest memory of all windows, whatever the traffic.
const BOUND_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// Cases with further streams: name, streams.
const FURTHER: [(&str, &str); 5] = [
    ("with-metrics", "transactions,metrics"),
    ("with-alerts", "transactions,alerts"),
    ("with-lookups", "transactions,lookups"),
    ("with-metrics-alerts", "transactions,metrics,alerts"),
    ("with-all", "transactions,metrics,alerts,lookups"),
];

/// Figure that is compared within one thread.
const US: &str = "us_per_message";

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.program("windows");
    let transactions = bench.count(1_000_000);
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = &folder.path().join("capture.pcap");
    let realistic = Realistic { messages: transactions, ..Realistic::default() };
    realistic.write(BufWriter::new(File::create(capture)?))?;
    let pipeline = &bench.program("pipeline");
    let mut plan = Plan::new("windows");
    for traffic in ["ordinary", "attack"] {
        plan.case(traffic, move || measure(program, traffic, transactions));
        plan.row(Row::new(traffic, "ns_per_transaction"));
        plan.row(Row::new(traffic, "ns_per_transaction_with_records"));
        plan.row(Row::new(traffic, "window_bytes").at_most(BOUND_BYTES));
    }
    let streams = |streams: &'static str| move || run(pipeline, capture, streams);
    plan.case("transactions", streams("transactions"));
    plan.row(Row::new("transactions", US));
    for (name, further) in FURTHER {
        plan.case(name, streams(further));
        plan.row(Row::new(name, US).relative_to("transactions"));
    }
    bench.run(plan)
}

/// Runs the pipeline on a capture in one thread, with records for no sink.
fn run(program: &Path, capture: &Path, streams: &str) -> Result<Figures> {
    let flags = ["--sink", "null", "--output", "json", "--stream", streams];
    Figures::measure(Command::new(program).arg("agent").arg(capture).args(flags))
}

fn measure(program: &Path, traffic: &str, transactions: u32) -> Result<Figures> {
    let mut command = Command::new(program);
    let figures = Figures::measure(command.args([traffic, &transactions.to_string(), "1"]))?;
    let without = figures.get("ns_without").context("no ns_without")?;
    let added = |name: &str| figures.get(name).map(|ns| ns - without).context("no figure");
    let (with, with_records) = (added("ns_with")?, added("ns_with_records")?);
    Ok(figures
        .with("ns_per_transaction", with)
        .with("ns_per_transaction_with_records", with_records))
}
