//! Records that the broker rejects permanently become dead letters, or are counted if these are
//! rejected too. Needs no root.

use crate::admin::{create_topic, shared_broker};
use crate::consume::{Record, consume};
use crate::live_agent;
use crate::replay::{STREAMS, verify_command};
use crate::security::{SecuredBroker, unauthorised_user};
use crate::{LEDGER, TRANSACTIONS};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::kafka::security::{SecureListener, UNAUTHORISED_USER};
use dnscribe_tests::kafka::{Broker, Tool};
use dnscribe_tests::{environment, ledger, shell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Topic of dead letters.
const DEAD_LETTERS: &str = "dns.dlq";

/// Output of a replay.
struct Replayed {
    /// Records of standard output by schema.
    records: BTreeMap<String, Vec<Value>>,
    log: String,
}

impl Replayed {
    fn of(&self, schema: &str) -> &[Value] {
        &self.records[schema]
    }

    /// Returns the dropped records of a stream by reason, and the number of all its records.
    fn dropped(&self, stream: &str) -> (BTreeMap<String, u64>, u64) {
        let last = self.of("dns.ledger/1").last().unwrap();
        ledger::verify(last).unwrap();
        let counters = &last["delivery"]["kafka"][stream];
        let dropped: BTreeMap<String, u64> =
            serde_json::from_value(counters["dropped"].clone()).unwrap();
        let dropped: BTreeMap<_, _> = dropped.into_iter().filter(|(_, count)| *count > 0).collect();
        let arrived = counters["delivered"].as_u64().unwrap();
        let records = counters["records"].as_u64().unwrap();
        assert_eq!(arrived + dropped.values().sum::<u64>(), records, "{last:#}");
        (dropped, records)
    }

    /// Number of warnings with these words.
    fn warnings(&self, words: &str) -> usize {
        self.log.lines().filter(|line| line.contains(" WARN ") && line.contains(words)).count()
    }
}

/// Replays the golden capture to Kafka and standard output, all streams.
fn replay(command: &mut Command) -> Replayed {
    let spool = tempfile::tempdir().unwrap();
    command.arg("replay").arg(environment::lab_capture());
    command.args(["--sink", "kafka", "--sink", "stdout", "--output", "json"]);
    command.args(["--stream", STREAMS]);
    command.env("DNSCRIBE_SPOOL__DIRECTORY", spool.path());
    let output = shell::output(command).unwrap();
    let mut records: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        records.entry(record["schema"].as_str().unwrap().to_owned()).or_default().push(record);
    }
    Replayed { records, log: String::from_utf8(output.stderr).unwrap() }
}

fn to(broker: &Broker) -> Command {
    let mut command = Command::new(environment::binary().unwrap());
    command.env("DNSCRIBE_KAFKA__BROKERS", broker.bootstrap());
    command
}

/// Checks that the dead letters hold the rejected records and the reason.
fn check_dead_letters(letters: &[Record], stream: &str, reason: &str, refused: &[Value]) {
    let mut found: Vec<&Value> = letters.iter().map(|letter| &letter.value).collect();
    found.retain(|letter| letter["stage"] == "deliver" && letter["stream"] == stream);
    assert_eq!(found.len(), refused.len());
    for letter in found {
        assert_eq!(letter["reason"], reason, "{letter:#}");
        let octets = BASE64.decode(letter["bytes"].as_str().unwrap()).unwrap();
        assert_eq!(letter["record_bytes"], octets.len(), "{letter:#}");
        let record: Value = serde_json::from_slice(&octets).unwrap();
        assert_eq!(record["event_id"], letter["record_event_id"], "{letter:#}");
        assert!(refused.contains(&record), "{letter:#}");
    }
}

fn verify(broker: &Broker) {
    shell::output(&mut verify_command(broker)).unwrap();
}

#[test]
fn too_large_record_becomes_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let broker = shared_broker(folder.path());
    let words = ["--create", "--topic", TRANSACTIONS, "--config", "max.message.bytes=100"];
    broker.tool(Tool::Topics, &words).unwrap();
    let replayed = replay(&mut to(&broker));
    let (dropped, records) = replayed.dropped("transactions");
    assert_eq!(dropped, BTreeMap::from([("message_too_large".to_owned(), records)]));
    assert_eq!(replayed.dropped("messages").0, BTreeMap::new());
    let letters = consume(&broker.bootstrap(), DEAD_LETTERS);
    let refused = replayed.of("dns.transaction/1");
    check_dead_letters(&letters, "transactions", "message_too_large", refused);
    // Packets that are not DNS have dead letters too.
    assert!(letters.iter().any(|letter| letter.value["stage"] == "decode"));
    assert_eq!(replayed.warnings("Kafka refuses records"), 1, "{}", replayed.log);
    verify(&broker);
}

#[test]
fn record_without_topic_becomes_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let broker =
        Broker::configured(folder.path(), &[("auto.create.topics.enable", "false")]).unwrap();
    for topic in [TRANSACTIONS, DEAD_LETTERS, LEDGER] {
        create_topic(&broker, topic, 1);
    }
    let check = |streams: &str| {
        let output = to(&broker).args(["check", "--stream", streams]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let report = check("transactions,ledger");
    assert!(report.contains("ok    kafka "), "{report}");
    let report = check("transactions,messages");
    let line = report.lines().find(|line| line[6..].starts_with("kafka ")).unwrap();
    assert!(line.starts_with("fail  kafka ") && line.contains("not there yet: dns.raw"), "{line}");
    assert!(line.contains("auto.create.topics.enable is off"), "{line}");
    assert!(line.contains("create them with `dnscribe kafka init`"), "{line}");
    // librdkafka's wait for a topic that may be created at this moment.
    let wait = ("DNSCRIBE_KAFKA__OPTIONS__TOPIC_METADATA_PROPAGATION_MAX_MS", "1000");
    let replayed = replay(to(&broker).envs([wait]));
    let (dropped, records) = replayed.dropped("messages");
    assert_eq!(dropped, BTreeMap::from([("unknown_topic".to_owned(), records)]));
    assert_eq!(replayed.dropped("transactions").0, BTreeMap::new());
    let letters = consume(&broker.bootstrap(), DEAD_LETTERS);
    check_dead_letters(&letters, "messages", "unknown_topic", replayed.of("dns.message/1"));
    assert_eq!(replayed.warnings("Kafka refuses records"), 1, "{}", replayed.log);
    assert_eq!(replayed.warnings("`dnscribe kafka init` creates missing topics"), 1);
    verify(&broker);
}

#[test]
fn unauthorised_record_becomes_dead_letter_or_is_counted() {
    let secured_broker = SecuredBroker::up();
    let broker = &secured_broker.broker;
    for topic in ["dns.raw", TRANSACTIONS, DEAD_LETTERS, LEDGER] {
        create_topic(broker, topic, 1);
    }
    let config = secured_broker.config(
        "stranger",
        &secured_broker.address(Some(SecureListener::Sasl)),
        &unauthorised_user(),
    );
    let to_stranger = || {
        let mut command = Command::new(environment::binary().unwrap());
        command.env("DNSCRIBE_CONFIG", &config);
        command
    };
    let check = to_stranger().args(["check", "--sink", "kafka"]).output().unwrap();
    let report = String::from_utf8(check.stdout).unwrap();
    assert!(report.contains("not authorised for topic dns.normalized"), "{report}");
    // Dead letters are rejected as well.
    for topic in [TRANSACTIONS, LEDGER] {
        broker.let_write(UNAUTHORISED_USER, topic).unwrap();
    }
    let replayed = replay(&mut to_stranger());
    for stream in ["messages", "dlq"] {
        let (dropped, records) = replayed.dropped(stream);
        assert_eq!(dropped, BTreeMap::from([("not_authorised".to_owned(), records)]), "{stream}");
    }
    assert_eq!(consume(&broker.bootstrap(), DEAD_LETTERS).len(), 0);
    assert_eq!(replayed.warnings("Kafka refuses records"), 2, "{}", replayed.log);

    broker.let_write(UNAUTHORISED_USER, DEAD_LETTERS).unwrap();
    let replayed = replay(&mut to_stranger());
    let (dropped, records) = replayed.dropped("messages");
    assert_eq!(dropped, BTreeMap::from([("not_authorised".to_owned(), records)]));
    let letters = consume(&broker.bootstrap(), DEAD_LETTERS);
    check_dead_letters(&letters, "messages", "not_authorised", replayed.of("dns.message/1"));
    verify(broker);
}

/// A permanent rejection of the producer's first request: another producer must replace it.
#[test]
fn delivers_after_right_is_granted() {
    if !environment::privileged() {
        return;
    }
    let secured_broker = SecuredBroker::up();
    let broker = &secured_broker.broker;
    create_topic(broker, LEDGER, 1);
    let config = secured_broker.config(
        "stranger",
        &secured_broker.address(Some(SecureListener::Sasl)),
        &unauthorised_user(),
    );
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--sink", "kafka", "--sink", "stdout", "--stream", "ledger"]);
    let agent = Agent::start(command.env("DNSCRIBE_CONFIG", &config)).unwrap();
    let failed = "the Kafka producer has failed; another one takes over";
    shell::wait_for("the refusal", Duration::from_mins(1), || {
        Ok(agent.log().contains(failed).then_some(()))
    })
    .unwrap();
    broker.let_write(UNAUTHORISED_USER, LEDGER).unwrap();
    live_agent::wait_for(&agent, "a delivery", |scrape| {
        scrape.records("ledger", "in_flight") + scrape.records("ledger", "spooled") == 0
            && scrape.records("ledger", "delivered") >= 2
    });
    let end = agent.terminate().unwrap();
    assert!(!consume(&broker.bootstrap(), LEDGER).is_empty());
    assert_eq!(end.stderr.matches(failed).count(), 1, "{}", end.stderr);
    assert!(end.stderr.contains("grant the user the right"), "{}", end.stderr);
}
