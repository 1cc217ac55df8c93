//! `ledger verify` continues when the broker restarts while it reads. Needs no root.

use crate::TRANSACTIONS;
use crate::replay::{column, replay, verify_command};
use dnscribe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// Number of records, about 100 MB, so that reading takes a while.
const MANY: u64 = 100_000;

#[test]
fn verify_continues_after_broker_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::up(folder.path()).unwrap();
    replay(&broker);
    produce(&broker);

    let mut command = verify_command(&broker);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("reading")), "it never started to read");
    broker.kill().unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(child.try_wait().unwrap().is_none(), "it had read everything before the broker died");
    broker.restart().unwrap();
    let log: Vec<String> = log.map(Result::unwrap).collect();
    let mut report = String::new();
    child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert!(child.wait().unwrap().success(), "{log:#?}\n{report}");

    let report: Value = serde_json::from_str(&report).unwrap();
    let unknown = report["streams"].as_array().unwrap().iter().find(|line| line["epoch"].is_null());
    assert_eq!(unknown.unwrap()["found"], MANY, "{report:#}");
    assert!(column(&report, "duplicates").iter().all(|(_, copies)| *copies == 0), "{report:#}");
}

/// Writes transactions of a capture that no ledger record names.
fn produce(broker: &Broker) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("queue.buffering.max.messages", "0")
        .create()
        .unwrap();
    let filling = "x".repeat(1000);
    for number in 0..MANY {
        let id = format!("{number:032x}");
        let record = json!({"schema": "dns.transaction/1", "event_id": id, "node": "another",
            "status": "answered", "qname": filling});
        let (record, key) = (record.to_string(), number.to_string());
        producer.send(BaseRecord::to(TRANSACTIONS).payload(&record).key(&key)).unwrap();
    }
    producer.flush(Duration::from_mins(1)).unwrap();
}
