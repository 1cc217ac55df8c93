//! `ledger verify` with the ledger of a stream job: identity 6 against the topics. Needs no root.

use crate::admin::shared_broker;
use dnscribe_tests::environment;
use dnscribe_tests::kafka::Broker;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn dnscribe(broker: &Broker, words: &[&str]) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(words).args(["--brokers", &broker.bootstrap()]).stdin(Stdio::null());
    command.output().unwrap()
}

fn produce(broker: &Broker, topic: &str, value: &str) {
    let config = [("bootstrap.servers", broker.bootstrap())];
    let producer: BaseProducer = config
        .into_iter()
        .fold(ClientConfig::new(), |mut config, (key, value)| config.set(key, value).clone())
        .create()
        .unwrap();
    producer.send(BaseRecord::to(topic).key("enrich").payload(value)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// Returns a ledger record of the job `enrich`.
fn ledger(checkpoint: u64, unique: u64, malformed: u64) -> String {
    let records = unique + malformed;
    json!({
        "schema": "dns.stream.ledger/1", "event_id": format!("{checkpoint:032x}"),
        "ts": "2026-11-20T07:30:00Z", "node": "enrich", "job": "enrich", "checkpoint": checkpoint,
        "input": {"dns.normalized": {"records": records, "unique": unique, "duplicates": 0,
            "malformed": malformed}},
        "output": {"dns.enriched": {"records": unique, "written": unique}},
        "late": 0, "balanced": true,
    })
    .to_string()
}

/// Runs `ledger verify`; returns its exit code and report.
fn verify(broker: &Broker) -> (Option<i32>, Value) {
    let output = dnscribe(broker, &["ledger", "verify", "-o", "json"]);
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn job_accounts_for_every_record_of_the_topic() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let capture = environment::lab_capture();
    let words = ["replay", capture.to_str().unwrap(), "--sink", "kafka"];
    assert!(dnscribe(&broker, &words).status.success());
    let (code, report) = verify(&broker);
    assert_eq!((code, report["inputs"].as_array().unwrap().len()), (Some(0), 0));
    let streams = report["streams"].as_array().unwrap();
    let transactions = streams.iter().find(|line| line["stream"] == "transactions").unwrap();
    let found = transactions["found"].as_u64().unwrap();

    produce(&broker, "dns.stream.ledger", &ledger(1, found - 1, 0));
    let (code, report) = verify(&broker);
    let problem = report["problems"]["shown"][0].as_str().unwrap();
    assert!(code == Some(1) && problem.contains("has not read to the end"), "{problem}");
    produce(&broker, "dns.stream.ledger", &ledger(2, found, 0));
    assert_eq!(verify(&broker).0, Some(0));

    // A malformed record is explained by the job's counter.
    produce(&broker, "dns.normalized", "{");
    assert_eq!(verify(&broker).0, Some(1));
    produce(&broker, "dns.stream.ledger", &ledger(3, found, 1));
    let (code, report) = verify(&broker);
    assert_eq!((code, &report["inputs"][0]["found"]), (Some(0), &json!(found + 1)), "{report}");
}
