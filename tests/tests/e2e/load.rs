//! Exact counts under load: no transaction is missing or counted twice, and latencies are right.

use crate::support::{agent, lab};
use dnscribe_tests::agent::EndedAgent;
use dnscribe_tests::dnsperf::{DnsperfReport, Load};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::ledger;
use serde_json::Value;
use std::collections::BTreeSet;

/// Allowed relative difference between the mean latency and that on the wire;
/// [`LATENCY_SLACK_SECONDS`] is allowed too.
const LATENCY_SHARE: f64 = 0.05;
/// Difference between time stamps at the socket and at the interface.
const LATENCY_SLACK_SECONDS: f64 = 20e-6;

#[test]
fn counts_ten_thousand_udp_queries() {
    count(false, "udp.wild.example.com", &[]);
}

#[test]
fn counts_ten_thousand_tcp_queries() {
    count(true, "tcp.wild.example.com", &[]);
}

#[test]
fn counts_queries_with_two_threads() {
    count(false, "threads.wild.example.com", &["--threads", "2"]);
}

fn count(tcp: bool, suffix: &str, flags: &[&str]) {
    let Some((lab, _alone)) = lab() else { return };
    let load = Load {
        queries: 10_000,
        qps: Some(2000),
        tcp,
        // Over TCP, one query at a time on each connection: Nagle's algorithm delays a second one
        // after dnsperf has sent it and before the agent sees it.
        clients: match (tcp, flags) {
            (true, _) => 100,
            (false, []) => 4,
            // More flows than threads.
            _ => 40,
        },
        suffix: suffix.to_owned(),
        ..Load::default()
    };
    let agent = agent(flags);
    let wire = lab.capture(Host::Client).unwrap();
    let perf = lab.dnsperf(&load).unwrap();
    let wire = wire.latencies().unwrap();
    let end = agent.terminate().unwrap();

    assert!(end.status.success(), "{}", end.stderr);
    let record = end.final_ledger().unwrap();
    assert_eq!(ledger::losses(record).unwrap(), 0, "{record:#}");
    for vantage in ["client", "server"] {
        let seen = between(&end, &lab, vantage, suffix);
        let answered = seen.iter().filter(|record| record["status"] == "answered").count();
        assert_eq!(answered as u64, perf.completed, "{vantage}: {perf:?}");
        let ids: BTreeSet<&str> =
            seen.iter().map(|record| record["event_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), seen.len(), "event ids are not unique");
        let transport = if tcp { "tcp" } else { "udp" };
        assert!(seen.iter().all(|record| record["transport"] == transport));
    }
    assert_eq!(wire.len() as u64, perf.completed, "the reference capture is incomplete");
    compare_latency(&between(&end, &lab, "client", suffix), mean(wire), &perf);
}

/// Returns the transactions between client and resolver, from one vantage.
fn between<'a>(end: &'a EndedAgent, lab: &Lab, vantage: &str, suffix: &str) -> Vec<&'a Value> {
    let client = lab.client_addr().to_string();
    end.records_of("dns.transaction/1")
        .filter(|record| record["vantage"] == vantage && record["client_ip"] == client)
        .filter(|record| record["qname"].as_str().is_some_and(|name| name.ends_with(suffix)))
        .collect()
}

/// Checks that the agent's mean latency is that on the wire, and not above dnsperf's, which
/// includes time behind the socket and in the CPU's run queue.
fn compare_latency(seen: &[&Value], wire: f64, perf: &DnsperfReport) {
    let ours = mean(seen.iter().filter_map(|record| Some(record["latency_ms"].as_f64()? / 1e3)));
    assert!(
        (ours - wire).abs() <= LATENCY_SLACK_SECONDS.max(wire * LATENCY_SHARE),
        "mean latency: the agent's {ours} s, on the wire {wire} s",
    );
    assert!(
        ours <= perf.mean_latency_seconds + LATENCY_SLACK_SECONDS,
        "mean latency: the agent's {ours} s, dnsperf's {} s",
        perf.mean_latency_seconds,
    );
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.into_iter().fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}
