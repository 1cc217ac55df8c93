//! `replay kafka://…`: messages of a topic through the pipeline again. Needs no root.

use crate::admin::shared_broker;
use dnscribe_tests::environment;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn dnscribe(words: &[&str]) -> Output {
    let mut command = Command::new(environment::binary().unwrap());
    command.args(words).env("DNSCRIBE_MESSAGES__WIRE", "true").env("DNSCRIBE_NODE", "edge-1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Returns the records of a file by stream and event id.
fn records(file: &Path) -> BTreeMap<(String, String), Value> {
    let text = fs::read_to_string(file).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    records.map(|record| ((text(&record["schema"]), text(&record["event_id"])), record)).collect()
}

#[test]
fn messages_make_the_same_records_again() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let bootstrap = broker.bootstrap();
    let capture = environment::lab_capture();
    let first = folder.path().join("first.ndjson");
    let sinks = [format!("file:{}", first.display()), "kafka".to_owned()];
    let words = ["replay", capture.to_str().unwrap(), "--sink", &sinks[0], "--sink", &sinks[1]];
    let streams = ["--stream", "messages,transactions,dlq,ledger"];
    dnscribe(&[&words[..], &["--brokers", &bootstrap], &streams].concat());

    let again = folder.path().join("again.ndjson");
    let (sink, url) = (format!("file:{}", again.display()), format!("kafka://{bootstrap}/dns.raw"));
    dnscribe(&[&["replay", &url, "--sink", &sink][..], &streams].concat());
    let (first, again) = (records(&first), records(&again));
    let messages = |records: &BTreeMap<(String, String), Value>| {
        let messages = records.iter().filter(|((schema, _), _)| schema == "dns.message/1");
        // Clipped bytes are what there is to read again.
        let whole = messages.filter(|(_, record)| record["clipped"] == false);
        whole.map(|((_, id), record)| (id.clone(), record.clone())).collect::<BTreeMap<_, _>>()
    };
    let (first_messages, again_messages) = (messages(&first), messages(&again));
    assert!(first_messages.len() > 10);
    assert_eq!(again_messages, first_messages);
    let mut compared = 0;
    for (key, transaction) in first.iter().filter(|((schema, _), _)| schema == "dns.transaction/1")
    {
        // ICMP errors are no messages.
        if transaction["status"] == "answered" {
            assert_eq!(again.get(key), Some(transaction));
            compared += 1;
        }
    }
    assert!(compared > 5, "{compared}");
    let ledgers: Vec<&Value> =
        again.values().filter(|record| record["schema"] == "dns.ledger/1").collect();
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
    assert!(ledgers.iter().any(|ledger| ledger["final"] == true && ledger["node"] == "edge-1"));
}
