//! A real broker: import of a topic, and alerts of comparisons.

use crate::world::{World, event};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_delivery::kafka::TopicReader;
use dnscribe_tests::kafka::Broker;
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::ops::{ControlFlow, Range};
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
        let world = World::with_kpis(&["registrations"]);
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
    let world = World::with_kpis(&["registrations"]);
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
fn messages_that_were_removed_before_they_were_imported_are_named() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    let brokers = broker.bootstrap();
    let lines = |numbers: Range<u32>| -> Vec<String> {
        let at = "2026-03-01T10:00:00Z";
        numbers.map(|n| event(n, "registration_completed", at, json!({})).to_string()).collect()
    };
    let words = ["import", "--topic", EVENTS, "--brokers", &brokers];
    let run = |words: &[&str]| {
        let output = world.run(words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    write(&broker, EVENTS, &lines(0..10));
    let (code, text) = run(&words);
    assert!(code == Some(0) && text.contains("reading 10 offsets"), "{text}");
    // All that was removed had been imported; of the rest, one message is read that says whether the topic is the same.
    broker.delete_records(EVENTS, 0, 5).unwrap();
    write(&broker, EVENTS, &lines(10..12));
    let (code, text) = run(&words);
    assert!(code == Some(0) && text.contains("2 rows, 2 accepted"), "{text}");
    assert!(text.contains("reading 3 offsets") && !text.contains("WARN"), "{text}");
    broker.delete_records(EVENTS, 0, 12).unwrap();
    let (code, text) = run(&words);
    assert!(code == Some(0) && text.contains("no new messages"), "{text}");

    // They are removed while they are read.
    write(&broker, EVENTS, &lines(12..20));
    let config = dnscribe_kpi::kafka::config(&[brokers.parse().unwrap()]).unwrap();
    let mut reader = TopicReader::open(&config, EVENTS).unwrap();
    assert_eq!(reader.offsets(), BTreeMap::from([(0, 12..20)]));
    broker.delete_records(EVENTS, 0, 15).unwrap();
    let error = reader.read(&mut |_| Ok(ControlFlow::Continue(()))).unwrap_err();
    assert!(error.contains("were deleted before they were read"), "{error}");

    let (code, text) = run(&words);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("offsets 12 to 14 of partition 0 were removed"), "{text}");
    let (code, text) = run(&[&words[..], &["--from-beginning"]].concat());
    assert!(code == Some(0) && text.contains("5 rows, 5 accepted"), "{text}");
    assert!(text.contains("begins at offset 15"), "{text}");
    write(&broker, EVENTS, &lines(20..21));
    let (code, text) = run(&words);
    assert!(code == Some(0) && text.contains("1 rows, 1 accepted"), "{text}");
}

/// The store knows how far a topic was read, also where nothing of it was new.
#[test]
fn what_adds_nothing_was_read_all_the_same() {
    let world = World::new();
    let run = |broker: &Broker, more: &[&str]| {
        let brokers = broker.bootstrap();
        let words = ["import", "--topic", EVENTS, "--brokers", &brokers];
        let output = world.run(&[&words[..], more].concat());
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let line =
        |n: u32| event(n, "registration_completed", "2026-03-01T10:00:00Z", json!({})).to_string();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    write(&broker, EVENTS, &[line(1)]);
    assert!(run(&broker, &[]).1.contains("1 rows, 1 accepted"));
    // Messages without a value are no rows.
    let mut kcat = Command::new("kcat");
    kcat.args(["-b", &broker.bootstrap(), "-P", "-t", EVENTS, "-K:", "-Z"]).stdin(Stdio::piped());
    let mut child = kcat.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a:\nb:\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(run(&broker, &[]).1.contains("no new messages"));
    broker.delete_records(EVENTS, 0, 3).unwrap();
    let (code, text) = run(&broker, &[]);
    assert!(code == Some(0) && text.contains("no new messages"), "{text}");

    // A topic of the same name: first without messages, then with one that was imported before.
    drop(broker);
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    let (code, text) = run(&broker, &[]);
    assert!(code == Some(2) && text.contains("the topic was made anew"), "{text}");
    assert!(run(&broker, &["--from-beginning"]).1.contains("no new messages"));
    write(&broker, EVENTS, &[line(1)]);
    let (code, text) = run(&broker, &[]);
    assert!(code == Some(0) && text.contains("imported before"), "{text}");
    write(&broker, EVENTS, &[line(2)]);
    let (code, text) = run(&broker, &[]);
    assert!(code == Some(0) && text.contains("1 rows, 1 accepted"), "{text}");
}

/// Others write meanwhile, so that no two imports have read the same messages.
#[test]
fn imports_of_a_topic_at_the_same_time_import_each_message_once() {
    let world = World::with_kpis(&["raw_events"]);
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::up(folder.path()).unwrap();
    broker.create_topic(EVENTS, 1).unwrap();
    let brokers = broker.bootstrap();
    let words = ["import", "--topic", EVENTS, "--brokers", &brokers, "-o", "json"];
    let lines = |numbers: Range<u32>| -> Vec<String> {
        let at = "2026-03-01T10:00:00Z";
        numbers.map(|n| event(n, "registration_completed", at, json!({})).to_string()).collect()
    };
    let mut accepted = 0;
    let mut count = |text: &str| {
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let imported: Value = serde_json::from_str(line).unwrap();
            let is_new = imported["new"] == true;
            accepted += if is_new { imported["accepted"].as_u64().unwrap() } else { 0 };
        }
    };
    for round in 0..5 {
        let running: Vec<_> = (0..3)
            .map(|part| {
                let first = (round * 3 + part) * 100;
                write(&broker, EVENTS, &lines(first..first + 100));
                let mut command = world.command(&words);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for child in running {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || text.contains("was imported meanwhile"), "{text}");
            count(&String::from_utf8(output.stdout).unwrap());
        }
    }
    count(&world.ok(&words));
    assert_eq!(accepted, 1_500);
    world.compute();
    assert_eq!(world.value("raw_events", "2026-03-01").0, 1_500);
}

#[test]
fn topic_is_imported_and_comparisons_make_alerts() {
    let world = World::with_kpis(&["registrations"]);
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
