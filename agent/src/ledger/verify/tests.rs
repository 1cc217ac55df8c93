use super::*;
use serde_json::json;

fn record(schema: &str, id: u32, status: &str) -> String {
    let id = format!("{id:032x}");
    json!({"schema": schema, "event_id": id, "node": "n", "status": status}).to_string()
}

fn ledger(delivered: u64, balanced: bool) -> String {
    let counters = json!({
        "kernel": {}, "ring": {"submitted": 0, "received": 4, "in_ring": 0, "sequence_gaps": 0},
        "decode": {"received": 4, "decoded_packets": 4, "malformed": {}, "held": 0,
                   "messages": 4, "queries": 2, "responses": 2},
        "pairing": {"queries": 2, "responses": 2, "answered": 2, "timeout": 0, "icmp_error": 0,
                    "evicted": 0, "open": 0, "retransmitted": 0, "late": 0, "duplicate": 0,
                    "orphan": 0},
        "delivery": {"file": {
            "transactions": {"records": delivered, "delivered": delivered, "spooled": 0,
                             "in_flight": 0, "filtered": 0, "dropped": {}}}},
    });
    let mut record = json!({
        "schema": "dns.ledger/1", "event_id": format!("{:032x}", 999), "ts": "t", "node": "n",
        "epoch": "e", "uptime_seconds": 1.0, "final": true, "balanced": balanced,
    });
    record.as_object_mut().unwrap().extend(counters.as_object().unwrap().clone());
    if balanced {
        record["ring"]["submitted"] = json!(4);
        record["kernel"] = json!({"cgroup": {"seen": 4, "submitted": 4, "lost_ring_full": 0,
            "sampled_out": 0, "skipped": {}, "clipped": 0}});
    }
    record.to_string()
}

fn verify(lines: &[String]) -> Report {
    let mut verifier = Verifier::default();
    read_ndjson(&mut verifier, "test", &mut lines.join("\n").as_bytes()).unwrap();
    verifier.report(None)
}

#[test]
fn closes_where_all_is_there() {
    let transaction = |id| record("dns.transaction/1", id, "answered");
    let report = verify(&[transaction(1), transaction(2), ledger(2, true)]);
    assert!(report.closes(), "{report}");
    // A crash may send a record again: its id tells, and the balance closes all the same.
    let report = verify(&[transaction(1), transaction(2), transaction(2), ledger(2, true)]);
    assert!(report.lines.iter().any(|line| line.records - line.distinct == 1));
}

#[test]
fn finds_what_is_missing() {
    let transaction = record("dns.transaction/1", 1, "answered");
    assert!(!verify(&[transaction.clone(), ledger(2, true)]).closes());
    assert!(!verify(std::slice::from_ref(&transaction)).closes());
    assert!(!verify(&["{".into(), transaction.clone(), ledger(1, true)]).closes());
    let other = record("dns.transaction/1", 2, "timeout");
    assert!(!verify(&[transaction, other, ledger(2, true)]).closes());
}

#[test]
fn finds_an_identity_that_does_not_hold() {
    let report = verify(&[ledger(0, false)]);
    assert!(report.problems.iter().any(|problem| problem.contains("ring")), "{report}");
}
