//! The outcomes of a query.

use crate::support::{Client, RECORD_LIMIT, agent, is_transaction, lab, transaction};
use dnscribe_tests::ledger::counter;
use std::time::Duration;

#[test]
fn reports_timeout_without_answer() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&["--query-timeout", "1s"]);
    let mut client = Client::start(&lab, "connected", lab.blackhole_addr());
    assert_eq!(client.ask("silence.wild.example.com").1, "timeout");
    let seen = transaction(&agent, &lab, "silence.wild.example.com");
    assert_eq!(seen["status"], "timeout", "{seen}");
    assert!(seen.get("rcode").is_none());
    assert!(seen.get("latency_ms").is_none());
    assert_eq!(seen["process"]["pid"], client.pid());
    let end = agent.terminate().unwrap();
    assert_eq!(counter(end.final_ledger().unwrap(), &["pairing", "open"]).unwrap(), 0);
}

/// The trace of an application goes on in the record, as the query carries it, and the resolver's answer does not.
#[test]
fn keeps_the_trace_context_of_a_query() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let option = format!("+ednsopt=65500:0000{trace}{span}01");
    lab.dig(&["traced.wild.example.com", &option]).unwrap();
    let seen = transaction(&agent, &lab, "traced.wild.example.com");
    assert_eq!(seen["traceparent"], format!("00-{trace}-{span}-01"), "{seen}");
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn reports_icmp_error_for_closed_port() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let mut client = Client::start(&lab, "connected", lab.closed_addr());
    assert_eq!(client.ask("refused.wild.example.com").1, "refused");
    let seen = transaction(&agent, &lab, "refused.wild.example.com");
    assert_eq!(seen["status"], "icmp_error", "{seen}");
    assert!(seen.get("rcode").is_none());
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn reports_waiting_query_as_open_at_end() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&["--query-timeout", "30s"]);
    let mut client = Client::start(&lab, "connected", lab.blackhole_addr());
    assert_eq!(client.ask("waiting.wild.example.com").1, "timeout");
    let end = agent.terminate().unwrap();
    let name = "waiting.wild.example.com";
    let seen =
        end.records.iter().find(|record| is_transaction(record, "client", lab.client_addr(), name));
    assert_eq!(seen.unwrap()["status"], "open");
    assert!(counter(end.final_ledger().unwrap(), &["pairing", "open"]).unwrap() >= 1);
}

#[test]
fn records_truncated_answer_and_tcp_retry() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let answer = lab.dig(&["big.example.com", "TXT"]).unwrap();
    assert!(answer.contains("0123456789abcdef"), "{answer}");
    let wanted = |record: &serde_json::Value| {
        is_transaction(record, "client", lab.client_addr(), "big.example.com")
    };
    let records = agent
        .wait_for("both transactions", RECORD_LIMIT, |records| {
            records.iter().filter(|record| wanted(record)).count() >= 2
        })
        .unwrap();
    let of = |transport: &str| {
        let found = records.iter().find(|r| wanted(r) && r["transport"] == transport);
        found.unwrap_or_else(|| panic!("no {transport}")).clone()
    };
    let truncated = |record: &serde_json::Value| {
        record["flags"].as_array().unwrap().iter().any(|flag| flag == "tc")
    };
    let (udp, tcp) = (of("udp"), of("tcp"));
    assert!(truncated(&udp), "{udp}");
    assert_eq!(udp["status"], "answered");
    assert!(!truncated(&tcp), "{tcp}");
    assert_eq!(tcp["answer_count"], 12);
    assert!(tcp["response_bytes"].as_u64().unwrap() > 2000);
    assert_eq!(tcp["process"]["pid"], udp["process"]["pid"]);
}

#[test]
fn reports_nxdomain() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    lab.dig(&["no-such-name.example.com"]).unwrap();
    let seen = transaction(&agent, &lab, "no-such-name.example.com");
    assert_eq!((&seen["status"], &seen["rcode"]), (&"answered".into(), &"NXDOMAIN".into()));
    assert_eq!(seen["answer_count"], 0);
    assert!(seen["latency_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn captures_ipv6() {
    let Some((lab, _alone)) = lab() else { return };
    let agent = agent(&[]);
    let resolver = lab.address_v6(dnscribe_tests::lab::Host::Resolver);
    let client = lab.address_v6(dnscribe_tests::lab::Host::Client);
    let at = format!("@{resolver}");
    let words = ["dig", "+tries=2", &at, "six.wild.example.com", "AAAA"];
    lab.run(dnscribe_tests::lab::Host::Client, &words).unwrap();
    let wanted = |record: &serde_json::Value| {
        is_transaction(record, "client", client.into(), "six.wild.example.com")
            && record["status"] == "answered"
    };
    let records = agent
        .wait_for("the transaction", RECORD_LIMIT, |records| records.iter().any(wanted))
        .unwrap();
    let seen = records.iter().find(|record| wanted(record)).unwrap();
    assert_eq!(seen["answers"][0]["data"], "2001:db8::200");
    assert_eq!(seen["server_ip"], resolver.to_string());
    std::thread::sleep(Duration::from_millis(100));
    agent.terminate().unwrap().final_ledger().unwrap();
}
