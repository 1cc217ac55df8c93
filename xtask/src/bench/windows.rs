//! What windows cost: a minute of made-up transactions, ordinary ones and a flood of names, zones,
//! resolvers, clients, processes and pods that were never seen before, given to the windows by
//! themselves (`agent/examples/windows`).

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;

/// What all windows may hold, whatever the traffic.
const BOUND_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.example("windows");
    let transactions = bench.count(1_000_000);
    let mut plan = Plan::new("windows");
    for traffic in ["ordinary", "attack"] {
        plan.case(traffic, move || measure(program, traffic, transactions));
        plan.row(Row::of(traffic, "ns_per_transaction"));
        plan.row(Row::of(traffic, "ns_per_transaction_with_records"));
        plan.row(Row::of(traffic, "window_bytes").at_most(BOUND_BYTES));
    }
    bench.run(plan)
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
