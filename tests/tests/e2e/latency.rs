//! How long queries took: the agent's word against tshark's, query by query, on the same packets.

use crate::apart::Apart;
use crate::support::{agent, lab};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::dnsperf::Load;
use dnscribe_tests::lab::latency::{differences, of_records, quantile};
use dnscribe_tests::lab::{Host, dns_times};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::process::Command;

/// Queries compared.
const QUERIES: u32 = 4000;
/// How much the median may be off. One stamps a packet at the socket, the other at the interface.
const LIVE_SECONDS: f64 = 10e-6;
/// How much each may be off where both read the same stamps: what tshark rounds to.
const REPLAY_SECONDS: f64 = 1e-6;

#[test]
fn latencies_are_those_of_the_packets() {
    let Some((lab, _alone)) = lab() else { return };
    let suffix = "latency.wild.example.com";
    let apart = Apart::enter(&lab);
    let cgroup = agent(&apart.options());
    let options = ["--stream", "transactions", "--hook", "socket", "--interface", "eth0"];
    let socket = Agent::run_on(&lab, Host::Client, &options).unwrap();
    let capture = lab.capture(Host::Client).unwrap();
    let load = Load { queries: QUERIES, qps: Some(2000), suffix: suffix.into(), ..Load::default() };
    let perf = lab.dnsperf(&load).unwrap();
    let file = capture.finish().unwrap();
    let times = dns_times(&file).unwrap();
    assert_eq!(times.len() as u64, perf.completed, "the reference has missed something");

    for (hook, agent) in [("cgroup", cgroup), ("socket", socket)] {
        let end = agent.terminate().unwrap();
        let ours = of_records(&end.records, "client", lab.client_addr());
        let apart = differences(&ours, &times);
        assert_eq!(apart.len(), times.len(), "hook {hook}");
        let median = quantile(&apart, 0.5).unwrap();
        assert!(median.abs() < LIVE_SECONDS, "hook {hook}: {median} s");
    }

    let mut replay = Command::new(environment::binary().unwrap());
    replay.arg("replay").arg(&file).args(["--output", "json", "--stream", "transactions"]);
    let output = shell::output(&mut replay).unwrap().stdout;
    let records: Vec<Value> = String::from_utf8(output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ours = of_records(&records, "passive", lab.client_addr());
    let apart = differences(&ours, &times);
    assert_eq!(apart.len(), times.len(), "replay");
    let (least, most) = (quantile(&apart, 0.0).unwrap(), quantile(&apart, 1.0).unwrap());
    assert!(least > -REPLAY_SECONDS && most < REPLAY_SECONDS, "replay: {least} s to {most} s");
}
