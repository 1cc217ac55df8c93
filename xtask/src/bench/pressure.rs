//! What is kept when more events come than can be handled.

use super::Bench;
use super::case::Plan;
use super::report::Report;
use anyhow::Result;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let mut plan = Plan::new("pressure");
    plan.absent("pressure", "not measured yet");
    bench.run(plan)
}
