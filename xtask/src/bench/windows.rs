//! What windows cost: a minute of made-up transactions, ordinary ones and a flood of names, zones,
//! resolvers, clients, processes and pods that were never seen before, given to the windows by
//! themselves (`agent/examples/windows`). Beside, what each stream that is made of many transactions adds to
//! transactions that nobody reads, on one capture in memory (`agent/examples/pipeline`).

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

/// What all windows may hold, whatever the traffic.
const BOUND_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// Streams beside transactions, and their cases.
const FURTHER: [(&str, &str); 5] = [
    ("with-metrics", "transactions,metrics"),
    ("with-alerts", "transactions,alerts"),
    ("with-lookups", "transactions,lookups"),
    ("with-metrics-alerts", "transactions,metrics,alerts"),
    ("with-all", "transactions,metrics,alerts,lookups"),
];

/// What is compared within one thread.
const US: &str = "us_per_message";

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.example("windows");
    let transactions = bench.count(1_000_000);
    let folder = tempfile::tempdir_in(environment::target())?;
    let capture = &folder.path().join("capture.pcap");
    let realistic = Realistic { messages: transactions, ..Realistic::default() };
    realistic.write(BufWriter::new(File::create(capture)?))?;
    let rooms = &bench.example("pipeline");
    let mut plan = Plan::new("windows");
    for traffic in ["ordinary", "attack"] {
        plan.case(traffic, move || measure(program, traffic, transactions));
        plan.row(Row::of(traffic, "ns_per_transaction"));
        plan.row(Row::of(traffic, "ns_per_transaction_with_records"));
        plan.row(Row::of(traffic, "window_bytes").at_most(BOUND_BYTES));
    }
    let streams = |streams: &'static str| move || run(rooms, capture, streams);
    plan.case("transactions", streams("transactions"));
    plan.row(Row::of("transactions", US));
    for (name, further) in FURTHER {
        plan.case(name, streams(further));
        plan.row(Row::of(name, US).beside("transactions"));
    }
    bench.run(plan)
}

/// A capture to records that nobody reads, in one thread.
fn run(program: &Path, capture: &Path, streams: &str) -> Result<Figures> {
    let flags = ["--sink", "null", "--output", "json", "--stream", streams];
    Figures::of(Command::new(program).arg("agent").arg(capture).args(flags))
}

fn measure(program: &Path, traffic: &str, transactions: u32) -> Result<Figures> {
    let mut command = Command::new(program);
    let figures = Figures::of(command.args([traffic, &transactions.to_string(), "1"]))?;
    let without = figures.get("ns_without").context("no ns_without")?;
    let more = |name: &str| figures.get(name).map(|ns| ns - without).context("no figure");
    let (with, with_records) = (more("ns_with")?, more("ns_with_records")?);
    Ok(figures
        .with("ns_per_transaction", with)
        .with("ns_per_transaction_with_records", with_records))
}
