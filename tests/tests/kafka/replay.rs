//! Replays to Kafka twice: the event ids are equal, so that a consumer that removes duplicates gets
//! one copy, and `ledger verify` closes and counts the duplicates. Needs no root.

use crate::admin::{delete_old_records, shared_broker};
use crate::consume::consume;
use crate::{LEDGER, TRANSACTIONS};
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Command, Output};

/// All streams of a replay.
pub const STREAMS: &str = "messages,transactions,dlq,ledger";

#[test]
fn second_replay_adds_only_duplicates() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    replay(&broker);
    let once = verify(&broker, 0);
    replay(&broker);
    let twice = verify(&broker, 0);

    assert_eq!(column(&once, "found"), column(&twice, "found"));
    assert!(column(&once, "duplicates").iter().all(|(_, copies)| *copies == 0), "{once:#}");
    assert_eq!(column(&twice, "duplicates"), column(&twice, "found"), "{twice:#}");
    let streams: Vec<&str> = column(&twice, "found").iter().map(|(stream, _)| *stream).collect();
    assert_eq!(streams, ["messages", "transactions", "dlq", "ledger"]);
    for topic in ["dns.raw", TRANSACTIONS, "dns.dlq", LEDGER] {
        let records = consume(&broker.bootstrap(), topic);
        let ids: BTreeSet<&str> =
            records.iter().map(|record| record.value["event_id"].as_str().unwrap()).collect();
        assert_eq!(records.len(), 2 * ids.len(), "{topic}");
    }

    delete_old_records(&broker, TRANSACTIONS);
    let report = verify(&broker, 1);
    let problems = report["problems"]["shown"].to_string();
    assert!(problems.contains("dns.normalized/0 begins at offset"), "{report:#}");
}

/// Replays the lab's capture to the broker.
pub fn replay(broker: &Broker) {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("replay").arg(environment::lab_capture());
    command.args(["--sink", "kafka", "--brokers", &broker.bootstrap()]);
    shell::output(command.args(["--stream", STREAMS])).unwrap();
}

/// Returns the command `ledger verify` for the broker's topics, with JSON output.
pub fn verify_command(broker: &Broker) -> Command {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["ledger", "verify", "-o", "json", "--brokers", &broker.bootstrap()]);
    command
}

/// Runs it and checks the exit code; returns its report.
fn verify(broker: &Broker, code: i32) -> Value {
    let Output { status, stdout, stderr } = verify_command(broker).output().unwrap();
    assert_eq!(status.code(), Some(code), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

/// Returns a column of the report by stream.
pub fn column<'a>(report: &'a Value, name: &str) -> Vec<(&'a str, u64)> {
    let lines = report["streams"].as_array().unwrap();
    lines
        .iter()
        .map(|line| (line["stream"].as_str().unwrap(), line[name].as_u64().unwrap()))
        .collect()
}
