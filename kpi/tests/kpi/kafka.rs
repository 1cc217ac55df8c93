//! A real broker: import of a topic, and alerts of comparisons.

use crate::world::{World, event};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

const EVENTS: &str = "registrar.events";
const DEAD_LETTERS: &str = "registrar.dlq";
const ALERTS: &str = "dns.alerts";

/// Writes lines to a topic.
fn write(broker: &Broker, topic: &str, lines: &[String]) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &broker.bootstrap(), "-P", "-t", topic]).stdin(Stdio::piped());
    let mut child = kcat.spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Returns the keys and records of a topic.
fn read(broker: &Broker, topic: &str) -> Vec<(String, Value)> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &broker.bootstrap(), "-C", "-t", topic, "-e", "-q", "-f", "%k\t%s\n"]);
    let text = String::from_utf8(shell::output(&mut kcat).unwrap().stdout).unwrap();
    let pair = |line: &str| {
        let (key, record) = line.split_once('\t').unwrap();
        (key.to_owned(), serde_json::from_str(record).unwrap())
    };
    text.lines().map(pair).collect()
}

#[test]
fn a_message_repairs_an_earlier_one_of_the_same_import() {
    for (order, expected) in [(["Germany", "DE"], "final"), (["DE", "Germany"], "incomplete")] {
        let world = World::new();
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::up(folder.path()).unwrap();
        broker.create_topic(EVENTS, 1).unwrap();
        broker.create_topic(DEAD_LETTERS, 1).unwrap();
        let lines = order.map(|country| {
            let more = json!({ "country": country });
            event(1, "registration_completed", "2026-03-01T10:00:00Z", more).to_string()
        });
        write(&broker, EVENTS, &lines);
        world.ok(&["import", "--topic", EVENTS, "--brokers", &broker.bootstrap()]);
        world.ok(&["compute", "--final"]);
        assert_eq!(crate::hostile::state(&world, "registrations", "2026-03-01").1, expected);
    }
}

#[test]
fn a_poison_message_and_a_topic_made_anew_are_noticed() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    broker.create_topic(DEAD_LETTERS, 1).unwrap();
    let brokers = broker.bootstrap();
    let line =
        |n: u32| event(n, "registration_completed", "2026-03-01T10:00:00Z", json!({})).to_string();
    let words = ["import", "--topic", EVENTS, "--brokers", &brokers];
    write(&broker, EVENTS, &["hello".to_owned(), line(1), line(2), line(3)]);
    let text = world.ok(&words);
    assert!(text.contains("4 rows, 3 accepted, 1 rejected (bad_json 1)"), "{text}");
    assert_eq!(read(&broker, DEAD_LETTERS).len(), 1);

    // A topic with the same name, in another broker, whose offsets begin anew.
    drop(broker);
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    broker.create_topic(DEAD_LETTERS, 1).unwrap();
    let brokers = broker.bootstrap();
    let words = ["import", "--topic", EVENTS, "--brokers", &brokers];
    write(&broker, EVENTS, &[line(4), line(5)]);
    let output = world.run(&words);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("partition 0 ends at offset 2, but 4 were imported"), "{text}");
    // It has more messages than the one before had.
    write(&broker, EVENTS, &[line(7), line(8), line(9)]);
    let output = world.run(&words);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("has another message at offset 3"), "{text}");
    let text = world.ok(&[&words[..], &["--from-beginning"]].concat());
    assert!(text.contains("5 accepted"), "{text}");
    write(&broker, EVENTS, &[line(6)]);
    let imported = world.ok(&[&words[..], &["-o", "json"]].concat());
    let imported: Value = serde_json::from_str(&imported).unwrap();
    assert_eq!(imported["accepted"], 1);

    // What was taken back stays away, unless the topic is read from its beginning.
    let output = world.run(&["import", "--undo", EVENTS, "--reason", "test"]);
    let text = String::from_utf8_lossy(&output.stderr);
    let sha256 = imported["sha256"].as_str().unwrap();
    assert!(output.status.code() == Some(2) && text.contains(sha256), "{text}");
    let text = world.ok(&["import", "--undo", sha256, "--reason", "test"]);
    assert!(text.contains("only with --from-beginning"), "{text}");
    assert!(world.ok(&words).contains("no new messages"));
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 8);
    world.ok(&[&words[..], &["--from-beginning"]].concat());
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 9);
}

#[test]
fn topic_is_imported_and_comparisons_make_alerts() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 3).unwrap();
    broker.create_topic(ALERTS, 1).unwrap();
    broker.create_topic(DEAD_LETTERS, 1).unwrap();
    let brokers = broker.bootstrap();
    let day = "2026-03-01T10:00:00Z";
    let rows: Vec<Value> =
        (0..100).map(|n| event(n, "registration_completed", day, json!({}))).collect();
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();

    // All but one, and one that is malformed; then nothing new; then what came since.
    let import = || world.ok(&["import", "--topic", EVENTS, "--brokers", &brokers]);
    write(&broker, EVENTS, &[&lines[..99], &["{\"event_id\": 7".to_owned()]].concat());
    assert!(import().contains("100 rows, 99 accepted, 1 rejected (bad_json 1)"));
    assert!(import().contains("no new messages"));
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 99);
    let letters = read(&broker, DEAD_LETTERS);
    let [(key, letter)] = letters.as_slice() else { panic!("{letters:#?}") };
    let of_dlq = dnscribe_record::json_schema("dns.dlq/1").unwrap();
    assert!(jsonschema::is_valid(&of_dlq, letter), "{letter:#}");
    assert_eq!((key.as_str(), &letter["stage"]), (EVENTS, &json!("import")));
    assert_eq!((&letter["reason"], &letter["source"]), (&json!("bad_json"), &json!(EVENTS)));
    assert_eq!(letter["bytes"], BASE64.encode("{\"event_id\": 7"));

    let export = world.path("billing.ndjson");
    fs::write(&export, lines.join("\n")).unwrap();
    let reconcile = || {
        let words = ["reconcile", "--against", export.to_str().unwrap(), "--brokers", &brokers];
        world.run(&words).status.code()
    };
    assert_eq!((reconcile(), reconcile()), (Some(1), Some(1)));
    write(&broker, EVENTS, &lines[99..]);
    assert!(import().contains("1 rows, 1 accepted, 0 rejected"));
    world.compute();
    assert_eq!(world.value("registrations", "2026-03-01").0, 100);
    assert_eq!((reconcile(), reconcile()), (Some(0), Some(0)));

    let alerts = read(&broker, ALERTS);
    let states: Vec<&Value> = alerts.iter().map(|(_, alert)| &alert["state"]).collect();
    assert_eq!(states, ["firing", "firing", "resolved"], "{alerts:#?}");
    let schema = dnscribe_record::json_schema("dns.alert/1").unwrap();
    for (key, alert) in &alerts {
        assert!(jsonschema::is_valid(&schema, alert), "{alert:#}");
        assert_eq!((key.as_str(), &alert["scope"]), ("source=billing.ndjson", &json!("kpi")));
        assert_eq!(alert["alert_id"], alerts[0].1["alert_id"]);
    }
    let evidence = alerts[0].1["evidence"].to_string();
    assert!(evidence.contains("registration_completed b99: lost: never imported"), "{evidence}");
}
