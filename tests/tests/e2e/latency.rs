//! How long queries took: the agent's word against tshark's, query by query, on the same packets.

use crate::apart::Apart;
use crate::support::{agent, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::latency::{differences, of_records, quantile};
use dnscribe_tests::lab::{Host, Lab, dns_times};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much the median may be off. One stamps a packet at the socket, the other at the interface.
const LIVE_SECONDS: f64 = 10e-6;
/// How much each may be off where both read the same stamps: what tshark rounds to.
const REPLAY_SECONDS: f64 = 1e-6;

#[test]
fn latencies_are_those_of_the_packets() {
    let Some((lab, _alone)) = lab() else { return };
    let apart = Apart::enter(&lab);
    // One after the other: each wakes somebody up between the stamps of the other and of tshark.
    compare(&lab, "cgroup", || agent(&apart.options()));
    let (file, times) = compare(&lab, "socket", || {
        let options = ["--stream", "transactions", "--hook", "socket", "--interface", "eth0"];
        Agent::run_on(&lab, Host::Client, &options).unwrap()
    });

    let ours = of_records(&replay(&file), "passive", lab.client_addr());
    let apart = differences(&ours, &times);
    assert_eq!(apart.len(), times.len(), "replay");
    let (least, most) = (quantile(&apart, 0.0).unwrap(), quantile(&apart, 1.0).unwrap());
    assert!(least > -REPLAY_SECONDS && most < REPLAY_SECONDS, "replay: {least} s to {most} s");
}

/// Compares live; gives the capture, and what tshark says of it.
fn compare(
    lab: &Lab,
    hook: &str,
    start: impl FnOnce() -> Agent,
) -> (PathBuf, BTreeMap<String, f64>) {
    let agent = start();
    let capture = lab.capture(Host::Client).unwrap();
    let suffix = format!("{hook}.wild.example.com");
    let load = Load { queries: 3000, qps: Some(2000), suffix, ..Load::default() };
    let perf = lab.dnsperf(&load).unwrap();
    let file = capture.finish().unwrap();
    let times = dns_times(&file).unwrap();
    assert_eq!(times.len() as u64, perf.completed, "the reference has missed something");

    let end = agent.terminate().unwrap();
    let ours = of_records(&end.records, "client", lab.client_addr());
    let apart = differences(&ours, &times);
    assert_eq!(apart.len(), times.len(), "hook {hook}");
    let median = quantile(&apart, 0.5).unwrap();
    assert!(median.abs() < LIVE_SECONDS, "hook {hook}: {median} s");
    (file, times)
}

fn replay(file: &Path) -> Vec<Value> {
    let mut replay = Command::new(environment::binary().unwrap());
    replay.arg("replay").arg(file).args(["--output", "json", "--stream", "transactions"]);
    let output = shell::output(&mut replay).unwrap().stdout;
    let text = String::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
