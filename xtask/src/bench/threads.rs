//! Throughput by number of threads: one and two flow stages and the merge stage, each thread on its own CPU,
//! with packets in memory (`tests/benches/src/bin/threads.rs`). Throughput with more threads is modelled from
//! the measured CPU times.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::Result;
use std::process::Command;

/// Number of clients; each is a flow.
const CLIENTS: &str = "4000";

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.program("threads");
    let millions = &(bench.count(2_000_000) / 1_000_000).max(1).to_string();
    let mut plan = Plan::new("threads");
    for format in ["null", "json"] {
        for shards in ["1", "2"] {
            plan.case(&format!("{format}-{shards}"), move || {
                Figures::measure(Command::new(program).args([shards, CLIENTS, millions, format]))
            });
        }
        let (one, two) = (&format!("{format}-1"), &format!("{format}-2"));
        plan.row(Row::new(two, "messages_per_second").relative_to(one));
        for part in ["flow_threads", "busiest_flow_thread", "merge_stage"] {
            let figure = format!("{part}_cpu_seconds_per_million_messages");
            plan.row(Row::new(two, &figure).relative_to(one));
        }
        for threads in [4, 16] {
            let figure = format!("modelled_{threads}_threads_messages_per_second");
            plan.row(Row::new(one, &figure));
        }
    }
    bench.run(plan)
}
