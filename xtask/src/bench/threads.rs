//! Throughput with more threads: packets in memory through one and two shards and their back, each thread on
//! a CPU of its own, and what their CPU times come to with more of both (`agent/examples/threads.rs`).

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::Result;
use std::process::Command;

/// Clients, each of which is a flow.
const CLIENTS: &str = "4000";

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let example = &bench.example("threads");
    let millions = &(bench.count(2_000_000) / 1_000_000).max(1).to_string();
    let mut plan = Plan::new("threads");
    for look in ["null", "json"] {
        for shards in ["1", "2"] {
            plan.case(&format!("{look}-{shards}"), move || {
                Figures::of(Command::new(example).args([shards, CLIENTS, millions, look]))
            });
        }
        let (one, two) = (&format!("{look}-1"), &format!("{look}-2"));
        plan.row(Row::of(two, "messages_per_second").beside(one));
        for part in ["fronts", "busiest_front", "back"] {
            let figure = format!("{part}_cpu_seconds_per_million_messages");
            plan.row(Row::of(two, &figure).beside(one));
        }
        for threads in [4, 16] {
            let figure = format!("modelled_{threads}_threads_messages_per_second");
            plan.row(Row::of(one, &figure));
        }
    }
    bench.run(plan)
}
