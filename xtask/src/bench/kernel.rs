//! What a packet costs in the kernel, and what making sockets does (`agent/examples/kernel_cost`, which
//! measures ours, an empty program and a floor in turn): by test runs, under packets that are really
//! sent, and by loops of system calls. Aims are about the ratios as they are; the test run's own share
//! of each figure is what the empty program has.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Packets that are not DNS, at most so many times an empty program.
const OTHER_AIM: f64 = 1.2;
/// DNS, at most so many times a program that only reserves and submits as many octets.
const DNS_AIM: f64 = 1.5;

/// Measures it.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.example("kernel_cost");
    let mut plan = Plan::new("kernel");
    for name in ["cgroup_ingress", "cgroup_egress", "tap"] {
        plan.case(name, move || measure(program, &["run", name]));
        for packet in ["other_tcp", "other_udp"] {
            plan.row(Row::of(name, &format!("{packet}_ns")));
            plan.row(Row::of(name, &format!("{packet}_to_empty")).at_most(OTHER_AIM));
        }
        plan.row(Row::of(name, "tcp_ack_ns"));
        plan.row(Row::of(name, "tcp_ack_to_empty"));
        for packet in ["query", "response", "tcp_message"] {
            plan.row(Row::of(name, &format!("{packet}_ns")));
            plan.row(Row::of(name, &format!("{packet}_to_floor")).at_most(DNS_AIM));
        }
        plan.row(Row::of(name, "other_udp_empty_ns"));
        plan.row(Row::of(name, "query_floor_ns"));
        plan.row(Row::of(name, "verified_instructions"));
    }
    // What the kernel charges to the socket, and the program behind.
    plan.row(Row::of("tap", "attached_bytes"));
    plan.row(Row::of("tap", "look_verified_instructions"));
    for (hook, programs) in
        [("cgroup", &["cgroup_ingress", "cgroup_egress"][..]), ("socket", &["tap"])]
    {
        let case = format!("traffic, hook {hook}");
        plan.case(&case, move || measure(program, &["traffic", hook]));
        plan.row(Row::of(&case, "other_empty_ns"));
        plan.row(Row::of(&case, "query_floor_ns"));
        for name in programs {
            plan.row(Row::of(&case, &format!("other_{name}_ns")));
            plan.row(Row::of(&case, &format!("other_{name}_to_empty")).at_most(OTHER_AIM));
            for packet in ["query", "response"] {
                plan.row(Row::of(&case, &format!("{packet}_{name}_ns")));
                plan.row(Row::of(&case, &format!("{packet}_{name}_to_floor")).at_most(DNS_AIM));
            }
        }
    }
    plan.case("storm", move || measure(program, &["storm"]));
    for name in ["udp_connect", "udp_connect_dns", "tcp_connect", "udp_send_unconnected"] {
        plan.row(Row::of("storm", &format!("{name}_ns")));
        plan.row(Row::of("storm", &format!("{name}_to_bare")));
    }
    plan.case("prices", move || measure(program, &["prices"]));
    bench.run(plan)
}

/// Runs the example in a network namespace that goes with it.
fn measure(program: &Path, words: &[&str]) -> Result<Figures> {
    Figures::of(Command::new("unshare").arg("--net").arg(program).args(words))
}
