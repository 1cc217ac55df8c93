//! Avro with a schema registry: Confluent's client and `ledger verify` can read what the agent
//! writes. Needs no root.

use crate::admin::shared_broker;
use crate::consume::consume;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::registry::Registry;
use dnscribe_tests::{confluent, environment, shell};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Streams that have records, and their topics.
const TOPICS: [(&str, &str); 4] = [
    ("dns.message/1", "dns.raw"),
    ("dns.transaction/1", "dns.normalized"),
    ("dns.dlq/1", "dns.dlq"),
    ("dns.ledger/1", "dns.ledger"),
];
const STREAMS: &str = "messages,transactions,dlq,ledger";

struct Setup {
    broker: Broker,
    registry: Registry,
    folder: tempfile::TempDir,
}

fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let registry = Registry::new(folder.path()).unwrap();
    Setup { broker, registry, folder }
}

impl Setup {
    /// Returns the agent's command, with every stream of the Kafka sink in Avro.
    fn agent(&self, words: &[&str]) -> Command {
        let mut command = Command::new(environment::binary().unwrap());
        command.args(words).args(["--brokers", &self.broker.bootstrap()]);
        command.env("DNSCRIBE_KAFKA__FORMAT", "avro");
        command.env("DNSCRIBE_KAFKA__REGISTRY__URL", self.registry.url());
        // The registry's first answers take long on a busy machine.
        command.env("DNSCRIBE_KAFKA__REGISTRY__TIMEOUT", "20s");
        command.stdin(Stdio::null());
        command
    }

    fn replay(&self) -> Command {
        self.agent(&["replay", &capture(), "--sink", "kafka", "--stream", STREAMS])
    }

    fn consume(&self, topic: &str, schema: Option<&Value>) -> Vec<Value> {
        let schema = schema.map(Value::to_string);
        let mut words = vec!["consume", topic];
        let (bootstrap, registry) = (self.broker.bootstrap(), self.registry.url());
        words.splice(1..1, [bootstrap.as_str(), &registry]);
        words.extend(schema.as_deref());
        confluent::avro(&words, &[]).unwrap()
    }

    /// Runs a registry command of the client for a subject.
    fn ask(&self, what: &str, subject: &str, word: &str) -> Vec<Value> {
        confluent::avro(&[what, &self.registry.url(), subject, word], &[]).unwrap()
    }

    fn verify(&self) -> Command {
        self.agent(&["ledger", "verify"])
    }
}

fn capture() -> String {
    let file = environment::lab_capture();
    file.to_str().unwrap().to_owned()
}

/// Returns the JSON records of a schema from a second replay, by event id.
fn expected(schema: &str) -> BTreeMap<String, Value> {
    let mut replay = Command::new(environment::binary().unwrap());
    replay.args(["replay", &capture(), "--stream", STREAMS, "--output", "json"]);
    let output = shell::output(&mut replay).unwrap().stdout;
    let lines = String::from_utf8(output).unwrap();
    let records = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    by_id(records.filter(|record: &Value| record["schema"] == schema))
}

fn by_id(records: impl Iterator<Item = Value>) -> BTreeMap<String, Value> {
    let id = |record: &Value| record["event_id"].as_str().unwrap().to_owned();
    records.map(|record| (id(&record), record)).collect()
}

/// Removes null values, which JSON records leave out.
fn present(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, present(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(present).collect(),
        other => other,
    }
}

fn values(records: Vec<Value>) -> BTreeMap<String, Value> {
    by_id(records.into_iter().map(|mut record| present(record["value"].take())))
}

#[test]
fn confluent_client_reads_every_stream() {
    let mut setup = setup();
    setup.registry.start().unwrap();
    shell::output(&mut setup.replay()).unwrap();
    let subjects = confluent::avro(&["subjects", &setup.registry.url()], &[]).unwrap();
    let topics = TOPICS.map(|(_, topic)| json!(format!("{topic}-value")));
    assert_eq!(subjects.len(), topics.len(), "{subjects:?}");
    assert!(topics.iter().all(|topic| subjects.contains(topic)), "{subjects:?}");

    for (schema, topic) in TOPICS {
        let records = setup.consume(topic, None);
        let latest =
            confluent::avro(&["latest", &setup.registry.url(), &format!("{topic}-value")], &[]);
        let latest = latest.unwrap().remove(0);
        assert_eq!(latest["schema"]["version"], 1, "{latest}");
        let mut expected = expected(schema);
        assert!(!records.is_empty() && records.len() == expected.len(), "{topic}");
        for record in &records {
            assert_eq!((&record["magic"], &record["id"]), (&json!(0), &latest["id"]), "{record}");
            assert_eq!(record["headers"]["schema"], schema);
            assert_eq!(record["headers"]["event_id"], record["value"]["event_id"]);
        }
        let mut found = values(records);
        if schema == "dns.ledger/1" {
            // One replay wrote to Kafka, the other to standard output.
            for ledger in found.values_mut().chain(expected.values_mut()) {
                let delivery = ledger.as_object_mut().unwrap().remove("delivery").unwrap();
                let streams = delivery.as_object().unwrap().values().next().unwrap();
                assert!(streams["transactions"]["records"].as_u64() > Some(0), "{delivery}");
            }
        }
        assert_eq!(found, expected, "{topic}");
    }

    let verified = shell::output(&mut setup.verify()).unwrap();
    let balance = String::from_utf8(verified.stdout).unwrap();
    assert!(balance.ends_with("the balance closes\n"), "{balance}");
    let mut blind = setup.verify();
    for name in ["FORMAT", "REGISTRY__URL", "REGISTRY__TIMEOUT"] {
        blind.env_remove(format!("DNSCRIBE_KAFKA__{name}"));
    }
    let blind = blind.output().unwrap();
    let said = String::from_utf8_lossy(&blind.stdout);
    assert!(!blind.status.success() && said.contains("give kafka.registry.url"), "{blind:?}");
}

/// Adds a field in the middle of the schema.
fn with_field(schema: &Value, field: Value) -> Value {
    let mut schema = schema.clone();
    schema["fields"].as_array_mut().unwrap().insert(5, field);
    schema
}

#[test]
fn readers_and_writers_of_two_versions_are_compatible() {
    const SUBJECT: &str = "dns.normalized-value";
    let mut setup = setup();
    setup.registry.start().unwrap();
    shell::output(&mut setup.replay()).unwrap();
    let file = environment::workspace().join("schemas/dns.transaction-1.avsc");
    let one: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let optional = json!({ "name": "one_more", "type": ["null", "string"], "default": null });
    let two = with_field(&one, optional);
    let required = with_field(&one, json!({ "name": "one_more", "type": "string" }));

    setup.ask("demand", SUBJECT, "FULL");
    let refused = setup.ask("register", SUBJECT, &required.to_string()).remove(0);
    assert_eq!(refused["status"], 409, "{refused}");
    let first = setup.ask("register", SUBJECT, &one.to_string()).remove(0);
    let second = setup.ask("register", SUBJECT, &two.to_string()).remove(0);
    assert!(first["id"].is_u64() && second["id"].is_u64() && first != second, "{second}");

    let mut expected = expected("dns.transaction/1");
    let mut newer = expected.values().next().unwrap().clone();
    newer["event_id"] = json!("f".repeat(32));
    let older = newer.clone();
    newer["one_more"] = json!("new");
    let (bootstrap, url) = (setup.broker.bootstrap(), setup.registry.url());
    let produce = ["produce", &bootstrap, &url, "dns.normalized", &two.to_string()];
    confluent::avro(&produce, std::slice::from_ref(&newer)).unwrap();

    let read = setup.consume("dns.normalized", Some(&one));
    let ids: Vec<_> = [&first, &second].map(|found| found["id"].clone()).into();
    for id in &ids {
        assert!(read.iter().any(|record| record["id"] == *id), "{id}");
    }
    expected.insert("f".repeat(32), older);
    assert_eq!(values(read), expected, "a reader of version 1 misses a field that it knows");
    expected.insert("f".repeat(32), newer);
    let read = setup.consume("dns.normalized", Some(&two));
    assert_eq!(values(read), expected, "a reader of version 2 does not read both");

    // This agent is now older than the newest schema version, and must still work.
    shell::output(&mut setup.replay()).unwrap();
    let again = setup.consume("dns.normalized", None);
    assert_eq!(again.len(), 2 * expected.len() - 1);
    assert_eq!(again.iter().filter(|record| record["id"] == second["id"]).count(), 1);
    let latest = confluent::avro(&["latest", &setup.registry.url(), SUBJECT], &[]).unwrap();
    assert_eq!(latest[0]["schema"], two);
}

#[test]
fn check_reports_problem_with_registry() {
    let mut setup = setup();
    let probe = |setup: &Setup| {
        let output = setup.agent(&["check", "-o", "json", "--sink", "kafka"]).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let probes = report["probes"].as_array().unwrap();
        probes.iter().find(|probe| probe["name"] == "registry").unwrap().clone()
    };
    let away = probe(&setup);
    assert!(away["ok"] == false && away["remedy"].is_string(), "{away}");
    assert!(away["detail"].as_str().unwrap().contains("refused"), "{away}");
    setup.registry.start().unwrap();
    let fresh = probe(&setup);
    assert_eq!(fresh["ok"], true, "{fresh}");
    let other = json!({ "type": "record", "name": "Other", "fields": [
        { "name": "x", "type": "long" }
    ]});
    setup.ask("register", "dns.normalized-value", &other.to_string());
    setup.ask("demand", "dns.normalized-value", "FULL");
    let taken = probe(&setup);
    let detail = taken["detail"].as_str().unwrap();
    assert!(
        taken["ok"] == false && detail.contains("under subject dns.normalized-value"),
        "{taken}"
    );
    let subjects = confluent::avro(&["subjects", &setup.registry.url()], &[]).unwrap();
    assert_eq!(subjects, ["dns.normalized-value"], "check has created a subject");
}

/// Passes connections to `gate` on to `address`, as long as the test program runs.
fn open_gate(gate: &str, address: String) {
    let listener = TcpListener::bind(gate).unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&address).unwrap());
            let ends = (client.try_clone().unwrap(), server.try_clone().unwrap());
            // Either side may end a connection at any time.
            thread::spawn(move || io::copy(&mut &ends.0, &mut &ends.1));
            thread::spawn(move || io::copy(&mut &server, &mut &client));
        }
    });
}

#[test]
fn records_wait_for_unreachable_registry() {
    let mut setup = setup();
    // Java takes longer to start than `replay` waits for what it never reached. So the port that it knows opens later.
    setup.registry.start().unwrap();
    let url = setup.registry.url();
    let registry = url["http://".len()..].split('/').next().unwrap().to_owned();
    let gate = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut replay = setup.replay();
    replay.env("DNSCRIBE_KAFKA__REGISTRY__URL", url.replace(&registry, &gate));
    replay.stderr(std::fs::File::create(setup.folder.path().join("stderr")).unwrap());
    let mut replay = replay.env("DNSCRIBE_DRAIN_TIMEOUT", "5m").spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(replay.try_wait().unwrap(), None, "ended before it could encode anything");
    assert!(consume(&setup.broker.bootstrap(), "dns.normalized").is_empty());
    open_gate(&gate, registry);
    let status = shell::wait(&mut replay, Duration::from_mins(5)).unwrap();
    let log = std::fs::read_to_string(setup.folder.path().join("stderr")).unwrap();
    assert!(status.success(), "{log}");
    assert_eq!(values(setup.consume("dns.normalized", None)), expected("dns.transaction/1"));
}
