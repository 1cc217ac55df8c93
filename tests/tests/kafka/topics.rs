//! `dnscribe kafka init` and `check --create-topics`, looked at with Kafka's own command.

use crate::security::{Client, Guarded, dnscribe, stranger};
use dnscribe_tests::kafka::security::Door;
use dnscribe_tests::kafka::{Broker, Tool};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A topic as Kafka describes it: partitions, and what is configured for it alone.
type Described = BTreeMap<String, (u64, String)>;

fn describe(broker: &Broker) -> Described {
    let text = broker.tool(Tool::Topics, &["--describe"]).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Topic: "));
    lines
        .map(|line| {
            let field = |name| {
                let parts = line.split('\t').map(str::trim);
                parts.clone().find_map(|part| part.strip_prefix(name)).unwrap_or_default()
            };
            let partitions = field("PartitionCount: ").parse().unwrap();
            (field("Topic: ").to_owned(), (partitions, field("Configs: ").to_owned()))
        })
        .collect()
}

/// What became of each topic, by `kafka init -o json`.
fn init(config: &Path, more: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let output = dnscribe(&[&["kafka", "init", "-o", "json"], more].concat(), config);
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], output.status.success());
    let topics = report["topics"].as_array().unwrap().iter().cloned();
    let by_name = topics.map(|topic| (topic["topic"].as_str().unwrap().to_owned(), topic));
    (output.status.code(), by_name.collect())
}

fn outcomes(topics: &BTreeMap<String, Value>, outcome: &str) -> usize {
    topics.values().filter(|topic| topic["outcome"] == outcome).count()
}

#[test]
fn makes_what_is_missing_and_leaves_the_rest_alone() {
    let guarded = Guarded::up();
    let broker = &guarded.broker;
    let config = guarded.config("open", &guarded.address(None), &Client::default());

    // Who may not is told so, and nothing is made, by a dry run neither.
    let door = guarded.address(Some(Door::Sasl));
    let (code, topics) = init(&guarded.config("stranger", &door, &stranger()), &[]);
    assert_eq!((code, outcomes(&topics, "failed")), (Some(1), 8));
    let problem = topics["dns.raw"]["problem"].as_str().unwrap();
    assert!(problem.contains("not authorised to make topic dns.raw"), "{problem}");
    let (code, topics) = init(&config, &["--dry-run"]);
    assert_eq!((code, outcomes(&topics, "created")), (Some(0), 8));
    assert_eq!(describe(broker).len(), 0);

    let theirs = ["--config", "retention.ms=1000000", "--config", "max.message.bytes=2000000"];
    let words = ["--create", "--topic", "dns.metrics", "--partitions", "2"];
    broker.tool(Tool::Topics, &[&words[..], &theirs].concat()).unwrap();
    let (code, topics) = init(&config, &[]);
    assert_eq!((code, outcomes(&topics, "created"), outcomes(&topics, "differs")), (Some(0), 7, 1));
    let first = describe(broker);
    check_made(&first);
    let (partitions, configured) = &first["dns.metrics"];
    assert!(*partitions == 2 && configured.contains("retention.ms=1000000"), "{configured}");
    let differences = &topics["dns.metrics"]["differences"];
    assert_eq!(differences.as_array().unwrap().len(), 2);
    let retention = json!({
        "setting": "retention.ms", "found": "1000000", "wanted": "2592000000", "alterable": true,
    });
    assert_eq!(differences[1], retention);

    let (code, topics) = init(&config, &[]);
    assert_eq!((code, outcomes(&topics, "exists"), outcomes(&topics, "differs")), (Some(0), 7, 1));
    let (_, topics) = init(&config, &["--alter", "--dry-run"]);
    assert_eq!(outcomes(&topics, "altered"), 1);
    assert_eq!(describe(broker), first, "nothing changes unless asked for");

    let (code, topics) = init(&config, &["--alter"]);
    assert_eq!((code, outcomes(&topics, "altered"), outcomes(&topics, "exists")), (Some(0), 1, 7));
    let altered = describe(broker);
    let (partitions, configured) = &altered["dns.metrics"];
    assert_eq!(*partitions, 6);
    for part in ["retention.ms=2592000000", "cleanup.policy=delete", "max.message.bytes=2000000"] {
        assert!(configured.contains(part), "{configured}");
    }
    for (name, topic) in first.iter().filter(|(name, _)| *name != "dns.metrics") {
        assert_eq!(&altered[name], topic);
    }
    refuses_what_cannot_be(&config);
    check_makes_topics(&guarded);
}

/// Partitions, retention and cleanup policy of the table in docs/kafka.md.
fn check_made(described: &Described) {
    let day = 24 * 60 * 60 * 1000_u64;
    let table = [
        ("dns.raw", 12, 1, "delete"),
        ("dns.normalized", 12, 7, "delete"),
        ("dns.lookups", 6, 7, "delete"),
        ("dns.alerts", 3, 90, "compact,delete"),
        ("dns.dlq", 3, 7, "delete"),
        ("dns.ledger", 1, 90, "delete"),
        ("dns.connections", 6, 7, "delete"),
    ];
    for (name, partitions, days, policy) in table {
        let (found, configured) = &described[name];
        assert_eq!(*found, partitions, "{name}");
        assert!(configured.contains(&format!("retention.ms={},", days * day)), "{configured}");
        assert!(configured.contains(&format!("cleanup.policy={policy},")), "{configured}");
        assert!(configured.contains("compression.type=producer"), "{configured}");
    }
}

/// More copies than brokers.
fn refuses_what_cannot_be(config: &Path) {
    let (code, topics) = init(config, &["--replication-factor", "2"]);
    assert_eq!((code, outcomes(&topics, "differs")), (Some(0), 8));
    let elsewhere = [("DNSCRIBE_KAFKA__TOPICS__DLQ", "elsewhere")];
    let mut command = std::process::Command::new(dnscribe_tests::environment::binary().unwrap());
    let words = ["kafka", "init", "--replication-factor", "2", "--config"];
    let output = command.args(words).arg(config).envs(elsewhere).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let told = "failed        elsewhere        cannot make topic elsewhere: replication factor 2 with 1 brokers";
    assert!(text.contains(told), "{text}");
}

/// `check` names the topics that are missing of what would be written, and makes them if asked to.
fn check_makes_topics(guarded: &Guarded) {
    let client = Client::default();
    let config = guarded.config("check", &guarded.address(None), &client);
    let found = |words: &[&str], name: &str| {
        let mut command =
            std::process::Command::new(dnscribe_tests::environment::binary().unwrap());
        command.env("DNSCRIBE_KAFKA__TOPICS__TRANSACTIONS", "fresh");
        command.args(["check", "-o", "json", "--stream", "transactions"]).args(words);
        let output = command.arg("--config").arg(&config).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let probes = report["probes"].as_array().unwrap();
        let probe = probes.iter().find(|probe| probe["name"] == name).unwrap();
        assert_eq!(probe["ok"], true, "{probe}");
        probe["detail"].as_str().unwrap().to_owned()
    };
    let before = found(&[], "kafka");
    assert!(before.contains("not there yet: fresh"), "{before}");
    let made = found(&["--create-topics"], "topics");
    assert_eq!(made, "8 topics, 1 created");
    let after = found(&[], "kafka");
    assert!(!after.contains("not there yet"), "{after}");
    assert_eq!(describe(&guarded.broker)["fresh"].0, 12);
}
