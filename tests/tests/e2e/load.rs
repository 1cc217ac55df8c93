//! Counting: nothing is missed and nothing counted twice, and times are right.

use crate::support::{agent, lab};
use dnscribe_tests::agent::Finished;
use dnscribe_tests::dnsperf::{Load, Perf};
use dnscribe_tests::lab::Lab;
use dnscribe_tests::ledger;
use serde_json::Value;
use std::collections::BTreeSet;

/// Latency may differ from dnsperf's by this share, or by [`LATENCY_SLACK_SECONDS`].
const LATENCY_SHARE: f64 = 0.05;
/// dnsperf's clock stands outside of the socket calls, the agent's inside.
const LATENCY_SLACK_SECONDS: f64 = 20e-6;

#[test]
fn ten_thousand_queries_over_udp_are_ten_thousand_transactions() {
    count(false);
}

#[test]
fn ten_thousand_queries_over_tcp_are_ten_thousand_transactions() {
    count(true);
}

fn count(tcp: bool) {
    let Some((lab, _alone)) = lab() else { return };
    let suffix = if tcp { "tcp.wild.example.com" } else { "udp.wild.example.com" };
    let load = Load { queries: 10_000, qps: Some(2000), tcp, ..Load::default() };
    let load = Load { suffix: suffix.to_owned(), ..load };
    let agent = agent(&[]);
    let perf = lab.dnsperf(&load).unwrap();
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
        assert_eq!(ids.len(), seen.len(), "event ids are unique");
        let transport = if tcp { "tcp" } else { "udp" };
        assert!(seen.iter().all(|record| record["transport"] == transport));
    }
    compare_latency(&between(&end, &lab, "client", suffix), &perf);
}

/// The transactions between client and resolver, as one of them sees them.
fn between<'a>(end: &'a Finished, lab: &Lab, vantage: &str, suffix: &str) -> Vec<&'a Value> {
    let client = lab.client_addr().to_string();
    end.of("dns.transaction/1")
        .filter(|record| record["vantage"] == vantage && record["client_ip"] == client)
        .filter(|record| record["qname"].as_str().is_some_and(|name| name.ends_with(suffix)))
        .collect()
}

fn compare_latency(seen: &[&Value], perf: &Perf) {
    let sum: f64 = seen.iter().filter_map(|record| record["latency_ms"].as_f64()).sum();
    let mean = sum / 1e3 / f64::from(u32::try_from(seen.len()).unwrap());
    let difference = (mean - perf.mean_latency_seconds).abs();
    assert!(
        difference <= LATENCY_SLACK_SECONDS.max(perf.mean_latency_seconds * LATENCY_SHARE),
        "mean latency: the agent's {mean} s, dnsperf's {} s",
        perf.mean_latency_seconds,
    );
}
