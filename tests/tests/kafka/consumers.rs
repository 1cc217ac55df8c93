//! Independent consumers read every stream: kcat and Kafka's console consumer. They must print what
//! the agent writes to standard output. Needs no root.

use crate::admin::shared_broker;
use crate::replay::STREAMS;
use crate::{LEDGER, TRANSACTIONS};
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::{environment, shell};
use serde_json::Value;
use std::process::Command;

/// A record as printed by a consumer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Printed {
    headers: String,
    key: String,
    value: String,
}

#[test]
fn independent_consumers_read_every_stream() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let written = replay(&broker);
    let topics = [
        ("dns.message/1", "dns.raw"),
        ("dns.transaction/1", TRANSACTIONS),
        ("dns.dlq/1", "dns.dlq"),
        ("dns.ledger/1", LEDGER),
    ];
    for (schema, topic) in topics {
        let schema = format!("{{\"schema\":\"{schema}\"");
        let mut written: Vec<&str> =
            written.lines().filter(|line| line.starts_with(&schema)).collect();
        written.sort_unstable();
        assert!(!written.is_empty(), "{topic}");
        let by_kcat = kcat(&broker, topic);
        let by_kafka = console_consumer(&broker, topic, written.len());
        for printed in [&by_kcat, &by_kafka] {
            let mut values: Vec<&str> = printed.iter().map(|one| one.value.as_str()).collect();
            values.sort_unstable();
            assert_eq!(values, written, "{topic}");
        }
        check_envelopes(&by_kcat, '=');
        check_envelopes(&by_kafka, ':');
        let keys = |printed: &[Printed]| {
            let mut keys: Vec<String> = printed.iter().map(|one| one.key.clone()).collect();
            keys.sort_unstable();
            keys
        };
        assert_eq!(keys(&by_kcat), keys(&by_kafka), "{topic}");
    }
}

/// Replays the golden capture to Kafka; returns its standard output.
fn replay(broker: &Broker) -> String {
    let mut command = Command::new(environment::binary().unwrap());
    command.arg("replay").arg(environment::lab_capture());
    command.args(["--sink", "kafka", "--sink", "stdout", "--output", "json"]);
    command.args(["--brokers", &broker.bootstrap(), "--stream", STREAMS]);
    String::from_utf8(shell::output(&mut command).unwrap().stdout).unwrap()
}

fn kcat(broker: &Broker, topic: &str) -> Vec<Printed> {
    let bootstrap = broker.bootstrap();
    let format = "%h\t%k\t%s\n";
    let words = ["kcat", "-C", "-b", &bootstrap, "-t", topic, "-e", "-q", "-f", format];
    let output = shell::run(&words).unwrap();
    read(&String::from_utf8(output.stdout).unwrap())
}

fn console_consumer(broker: &Broker, topic: &str, count: usize) -> Vec<Printed> {
    let count = count.to_string();
    let words = ["--topic", topic, "--from-beginning", "--max-messages", &count];
    let limit = ["--timeout-ms", "20000"];
    let print = ["--property", "print.key=true", "--property", "print.headers=true"];
    read(&broker.tool(Tool::Consumer, &[&words[..], &limit, &print].concat()).unwrap())
}

/// Parses lines of headers, key and value; JSON has no raw tabs.
fn read(text: &str) -> Vec<Printed> {
    let line = |line: &str| {
        let parts: Vec<&str> = line.split('\t').collect();
        let [headers, key, value] = <[&str; 3]>::try_from(parts).unwrap();
        Printed { headers: headers.into(), key: key.into(), value: value.into() }
    };
    text.lines().map(line).collect()
}

/// Checks that headers and key agree with the record.
fn check_envelopes(printed: &[Printed], equals: char) {
    for Printed { headers, key, value } in printed {
        let record: Value = serde_json::from_str(value).unwrap();
        let expected = ["schema", "node", "event_id"]
            .map(|name| format!("{name}{equals}{}", record[name].as_str().unwrap()));
        assert_eq!(*headers, expected.join(","));
        let by_schema = match record["schema"].as_str().unwrap() {
            "dns.message/1" => {
                [&record["src_ip"], &record["dst_ip"]].contains(&&key.as_str().into())
            }
            "dns.transaction/1" => key.len() == 16,
            _ => record["node"] == key.as_str(),
        };
        assert!(by_schema, "{key}: {value}");
    }
}
