//! Throughput with more threads.

use super::Bench;
use super::case::Plan;
use super::report::Report;
use anyhow::Result;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let mut plan = Plan::new("threads");
    plan.absent("threads", "not measured yet");
    bench.run(plan)
}
