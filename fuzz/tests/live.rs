//! Sends hostile packets through the kernel: a raw socket in the lab, the agent on this host. Needs
//! root.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_tests::agent::{Agent, EndedAgent};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{environment, ledger, shell};
use serde_json::Value;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Two floods at once would influence each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Limit of the agent's memory under any of these floods, in MiB: its tables' limits
/// (ARCHITECTURE.md) and its memory without traffic.
const MEMORY_MIB: u64 = 512;

/// Time for the agent to process the ring's contents, on a slow machine without optimization.
const DRAINED: Duration = Duration::from_mins(2);

/// `FLOOD_PACKETS` makes the floods larger than in a normal test run.
fn packets(default: u64) -> u64 {
    std::env::var("FLOOD_PACKETS").map_or(default, |count| count.parse().unwrap())
}

fn lab() -> Option<(Lab, MutexGuard<'static, ()>)> {
    if !environment::privileged() {
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    Some((Lab::up().unwrap(), alone))
}

/// Starts the agent with every stream to a file and the ledger to stdout.
fn agent(folder: &std::path::Path) -> Agent {
    let config = folder.join("config.yaml");
    let file = folder.join("records");
    let text = format!(
        "version: 1\nstreams: [ledger]\nsinks: [stdout, 'file:{}']\n\
         file:\n  streams: [messages, transactions, dlq]\n  rotate_bytes: 16MiB\n  keep: 1\n\
         pairing:\n  query_timeout: 500ms\n",
        file.display()
    );
    fs::write(&config, text).unwrap();
    Agent::run(&["--config", config.to_str().unwrap()]).unwrap()
}

/// Sends a flood from the client's host to the resolver; returns the number of packets that the
/// kernel accepted.
fn storm(lab: &Lab, kind: &str, count: u64) -> u64 {
    let to = format!("{}:53", lab.resolver_addr());
    let words = [env!("CARGO_BIN_EXE_storm"), kind, &to, &count.to_string(), "1"];
    let output = lab.run(Host::Client, &words).unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Returns the agent's memory in MiB: current and peak.
fn memory(agent: &Agent) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    })
}

/// Stops the agent. All its ledger records must balance, and it must have seen `packets` packets.
fn balanced(agent: Agent, packets: u64) -> (EndedAgent, Value) {
    shell::wait_for("the ring to be empty", DRAINED, || {
        let (_, page) = agent.get("/metrics")?;
        Ok(page.lines().any(|line| line == "dnscribe_ring_used_bytes 0").then_some(()))
    })
    .unwrap();
    let [now, most] = memory(&agent);
    eprintln!("memory: {now} MiB, {most} MiB at most");
    assert!(most < MEMORY_MIB, "{most} MiB");
    let end = agent.terminate().unwrap();
    assert!(end.status.success(), "{}", end.stderr);
    for record in end.records_of("dns.ledger/1") {
        ledger::verify(record).unwrap();
    }
    let record = end.final_ledger().unwrap().clone();
    let seen = ledger::counter(&record, &["kernel", "cgroup", "seen"]).unwrap();
    eprintln!("{} {} {}", record["kernel"], record["decode"], record["pairing"]);
    assert!(seen >= packets, "{seen} of {packets}: {record:#}");
    (end, record)
}

/// Checks that the lab's resolver answers and the agent reports it.
fn still_works(lab: &Lab) {
    assert!(lab.dig(&["www.example.com"]).unwrap().contains("NOERROR"));
}

#[test]
fn mutated_packets_on_the_wire() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path());
    let taken = storm(&lab, "mutated", packets(60_000));
    still_works(&lab);
    // Some have lost their ports.
    let (_, record) = balanced(agent, taken / 2);
    assert!(ledger::counter(&record, &["decode", "messages"]).unwrap() > 0);
    let malformed = record["decode"]["malformed"].as_object().unwrap();
    assert!(malformed.values().any(|count| count.as_u64() > Some(0)));
}

#[test]
fn spoofed_queries() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path());
    let taken = storm(&lab, "spoofed", packets(40_000));
    still_works(&lab);
    balanced(agent, taken);
}

#[test]
fn half_open_connections() {
    let Some((lab, _alone)) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(folder.path());
    let taken = storm(&lab, "half-open", packets(40_000));
    still_works(&lab);
    balanced(agent, taken);
}
