//! What the agent holds.

use super::Bench;
use super::case::Plan;
use super::report::Report;
use anyhow::Result;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let mut plan = Plan::new("memory");
    plan.absent("memory", "not measured yet");
    bench.run(plan)
}
