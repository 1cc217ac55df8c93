//! What a message costs as tables grow.

use super::Bench;
use super::case::Plan;
use super::report::Report;
use anyhow::Result;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let mut plan = Plan::new("scale");
    plan.absent("scale", "not measured yet");
    bench.run(plan)
}
