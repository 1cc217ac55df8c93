//! What a packet costs in the kernel.

use super::Bench;
use super::case::Plan;
use super::report::Report;
use anyhow::Result;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let mut plan = Plan::new("kernel");
    plan.absent("kernel", "not measured yet");
    bench.run(plan)
}
