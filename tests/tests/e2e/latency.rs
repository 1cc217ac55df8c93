//! Latencies: the agent's compared with tshark's, query by query, for the same packets.

use crate::isolated_cgroup::IsolatedCgroup;
use crate::support::{agent, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::latency::{differences, latencies_by_name, quantile};
use dnscribe_tests::lab::{Host, Lab, dns_times};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Maximum median difference: the agent stamps a packet at the socket, tshark at the interface.
const LIVE_SECONDS: f64 = 10e-6;
/// Maximum difference of each latency when both read the same time stamps: tshark's rounding.
const REPLAY_SECONDS: f64 = 1e-6;

#[test]
fn latencies_match_tshark() {
    let Some((lab, _alone)) = lab() else { return };
    let deltas = IsolatedCgroup::enter(&lab);
    // Not at the same time: each hook wakes a process between the time stamps of the other and of
    // tshark.
    compare(&lab, "cgroup", || agent(&deltas.options()));
    let (file, times) = compare(&lab, "socket", || {
        let options = ["--stream", "transactions", "--hook", "socket", "--interface", "eth0"];
        Agent::run_on(&lab, Host::Client, &options).unwrap()
    });

    let ours = latencies_by_name(&replay(&file), "passive", lab.client_addr());
    let deltas = differences(&ours, &times);
    assert_eq!(deltas.len(), times.len(), "replay");
    let (least, most) = (quantile(&deltas, 0.0).unwrap(), quantile(&deltas, 1.0).unwrap());
    assert!(least > -REPLAY_SECONDS && most < REPLAY_SECONDS, "replay: {least} s to {most} s");
}

/// Compares live latencies; returns the capture and tshark's latencies.
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
    assert_eq!(times.len() as u64, perf.completed, "the reference capture is incomplete");

    let end = agent.terminate().unwrap();
    let ours = latencies_by_name(&end.records, "client", lab.client_addr());
    let deltas = differences(&ours, &times);
    assert_eq!(deltas.len(), times.len(), "hook {hook}");
    let median = quantile(&deltas, 0.5).unwrap();
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
