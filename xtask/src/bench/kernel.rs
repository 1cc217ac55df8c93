//! CPU time per packet in the kernel, and per system call that makes or uses a socket
//! (`tests/benches/src/bin/kernel_cost`). Three methods: `BPF_PROG_TEST_RUN`, packets that are really sent, and
//! loops of system calls. Each compares the agent's programs with an empty program and with a floor: a program
//! that only reserves and submits a record. Every figure of a test run includes the overhead of the test run,
//! which is the figure of the empty program.

use super::Bench;
use super::case::{Figures, Plan};
use super::report::{Report, Row};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

/// Aim for packets that are not DNS: largest ratio to an empty program.
const OTHER_AIM: f64 = 1.2;
/// Aim for DNS packets: largest ratio to a program that only reserves and submits as many bytes.
const DNS_AIM: f64 = 1.5;

/// Runs this part of the benchmark and returns its report.
pub fn main(bench: &Bench) -> Result<Report> {
    let program = &bench.program("kernel_cost");
    let mut plan = Plan::new("kernel");
    for name in ["cgroup_ingress", "cgroup_egress", "tap"] {
        plan.case(name, move || measure(program, &["run", name]));
        for packet in ["other_tcp", "other_udp"] {
            plan.row(Row::new(name, &format!("{packet}_ns")));
            plan.row(Row::new(name, &format!("{packet}_to_empty")).at_most(OTHER_AIM));
        }
        plan.row(Row::new(name, "tcp_ack_ns"));
        plan.row(Row::new(name, "tcp_ack_to_empty"));
        for packet in ["query", "response", "tcp_message"] {
            plan.row(Row::new(name, &format!("{packet}_ns")));
            plan.row(Row::new(name, &format!("{packet}_to_floor")).at_most(DNS_AIM));
        }
        plan.row(Row::new(name, "other_udp_empty_ns"));
        plan.row(Row::new(name, "query_floor_ns"));
        plan.row(Row::new(name, "verified_instructions"));
    }
    // Bytes that the kernel charges to the socket, and the size of the program that the tap calls.
    plan.row(Row::new("tap", "attached_bytes"));
    plan.row(Row::new("tap", "look_verified_instructions"));
    for (hook, programs) in
        [("cgroup", &["cgroup_ingress", "cgroup_egress"][..]), ("socket", &["tap"])]
    {
        let case = format!("traffic, hook {hook}");
        plan.case(&case, move || measure(program, &["traffic", hook]));
        plan.row(Row::new(&case, "other_empty_ns"));
        plan.row(Row::new(&case, "query_floor_ns"));
        for name in programs {
            plan.row(Row::new(&case, &format!("other_{name}_ns")));
            plan.row(Row::new(&case, &format!("other_{name}_to_empty")).at_most(OTHER_AIM));
            for packet in ["query", "response"] {
                plan.row(Row::new(&case, &format!("{packet}_{name}_ns")));
                plan.row(Row::new(&case, &format!("{packet}_{name}_to_floor")).at_most(DNS_AIM));
            }
        }
    }
    plan.case("storm", move || measure(program, &["storm"]));
    for name in [
        "udp_connect",
        "udp_connect_send",
        "udp_connect_dns",
        "tcp_connect",
        "udp_send_unconnected",
        "udp_discard",
        "udp_discard_dns",
    ] {
        plan.row(Row::new("storm", &format!("{name}_ns")));
        plan.row(Row::new("storm", &format!("{name}_to_bare")));
        plan.row(Row::new("storm", &format!("{name}_connects_to_bare")));
        plan.row(Row::new("storm", &format!("{name}_path_to_bare")));
    }
    // What connections cost: the first program runs once for each, the second some five times.
    for name in [
        "connect4",
        "connect4_connects",
        "sendmsg4_connects",
        "tcp_state_connects",
        "packet_drop_path",
    ] {
        plan.row(Row::new("storm", &format!("program_{name}_ns")));
    }
    plan.case("prices", move || measure(program, &["prices"]));
    bench.run(plan)
}

/// Runs `kernel_cost` in a new network namespace.
fn measure(program: &Path, words: &[&str]) -> Result<Figures> {
    Figures::measure(Command::new("unshare").arg("--net").arg(program).args(words))
}
