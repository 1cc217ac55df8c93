use super::*;
use crate::testing::message_line;
use crate::{Sink as _, Stream};
use dnscribe_record::ledger::Delivery;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;

const STREAMS: StreamSet = StreamSet::MESSAGES.with(Stream::Alerts);
const WAIT: Duration = Duration::from_secs(30);

/// A recorder, and the directory of its files.
fn recorder(limits: EvidenceLimits) -> (ThreadedSink, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let sink = open("evidence".into(), STREAMS, directory.path(), "n", limits).unwrap();
    (sink, directory)
}

/// Offers records and waits until the thread has taken them.
fn offer(sink: &mut ThreadedSink, stream: Stream, records: &[Value]) {
    let mut batch = Batch::default();
    for record in records {
        batch.push_json(stream, 1, record, b"192.0.2.53");
    }
    sink.offer(&Arc::new(batch));
    assert!(sink.flush(WAIT));
}

fn alert(id: u8, entity: &Value) -> Value {
    let mut alert = json!({ "alert_id": format!("{id:032x}"), "state": "firing", "rule": "r" });
    alert.as_object_mut().unwrap().extend(entity.as_object().cloned().unwrap());
    alert
}

/// Messages of a stream: records, delivered, in flight, filtered. The others were dropped.
fn counts(sink: &ThreadedSink, stream: &str) -> [u64; 4] {
    let Delivery { records, delivered, in_flight, filtered, .. } = sink.counters()[stream].clone();
    [records, delivered, in_flight, filtered]
}

fn files(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_alert_writes_the_messages_of_its_entity() {
    let (mut sink, directory) = recorder(EvidenceLimits::default());
    let process = |comm: &str| json!({ "process": { "pid": 1, "uid": 0, "comm": comm } });
    let messages = [
        message_line(&process("curl")),
        message_line(&json!({ "qname": "notexample.com", "src_ip": "192.0.2.2" })),
        message_line(&json!({ "vantage": "server", "container": { "id": "c" } })),
        message_line(&json!({ "k8s": { "namespace": "shop", "pod": "web" } })),
    ];
    offer(&mut sink, Stream::Messages, &messages);
    assert_eq!(counts(&sink, "messages"), [4, 0, 4, 0]);
    let entities = [
        (json!({ "zone": "example.com" }), 3),
        (json!({ "client_ip": "192.0.2.2" }), 1),
        (json!({ "client_ip": "192.0.2.2/31" }), 1),
        (json!({ "client_ip": "192.0.2.0/24" }), 4),
        (json!({ "client_ip": "198.51.100.0/24" }), 0),
        (json!({ "vantage": "client", "resolver": "192.0.2.53" }), 3),
        (json!({ "process": { "comm": "curl" }, "zone": "example.com" }), 1),
        (json!({ "container": { "id": "c" } }), 1),
        (json!({ "k8s": { "namespace": "shop", "pod": "web" } }), 1),
        (json!({ "qname": "www.example.com" }), 3),
        (json!({ "resolver": "other" }), 0),
    ];
    for ((entity, expected), number) in entities.into_iter().zip(1..) {
        let alert = alert(number, &entity);
        offer(&mut sink, Stream::Alerts, std::slice::from_ref(&alert));
        let path = directory.path().join(format!("{number:032x}.pcapng"));
        let found = fs::read(&path)
            .map_or(0, |file| file.windows(11).filter(|bytes| bytes == b"event_id=0b").count());
        assert_eq!(found, expected, "{alert}");
    }
    assert_eq!(counts(&sink, "messages"), [4, 4, 0, 0], "each counts once");
    assert_eq!(counts(&sink, "alerts"), [11, 9, 0, 2]);
}

#[test]
fn memory_and_age_are_bounded() {
    let limits = EvidenceLimits { memory: 10_000, ..EvidenceLimits::default() };
    let (mut sink, _directory) = recorder(limits);
    offer(&mut sink, Stream::Messages, &vec![message_line(&json!({})); 100]);
    let [records, _, kept, gone] = counts(&sink, "messages");
    assert_eq!((records, kept + gone), (100, 100));
    assert!((10..50).contains(&kept), "{kept}");
    let later = message_line(&json!({ "ts": "2026-11-27T10:02:01Z" }));
    offer(&mut sink, Stream::Messages, &[later]);
    assert_eq!(counts(&sink, "messages"), [101, 0, 1, 100]);
    sink.close();
    assert_eq!(counts(&sink, "messages"), [101, 0, 0, 101]);
    // One that is larger than all of the memory.
    let (mut sink, _directory) = recorder(EvidenceLimits { memory: 1, ..limits });
    offer(&mut sink, Stream::Messages, &[message_line(&json!({}))]);
    assert_eq!(counts(&sink, "messages"), [1, 0, 0, 1]);
}

#[test]
fn files_are_bounded_and_never_overwritten() {
    let limits = EvidenceLimits { max_files: 2, ..EvidenceLimits::default() };
    let (mut sink, directory) = recorder(limits);
    fs::write(directory.path().join("notes.pcapng"), "of somebody else").unwrap();
    fs::write(directory.path().join(format!("{:032x}.part", 9)), "left by a crash").unwrap();
    offer(&mut sink, Stream::Messages, &[message_line(&json!({}))]);
    let content = |id: u8| fs::read(directory.path().join(format!("{id:032x}.pcapng"))).ok();
    for id in 1..=3 {
        offer(&mut sink, Stream::Alerts, &[alert(id, &json!({}))]);
    }
    let names: Vec<_> = [2, 3].map(|id| format!("{id:032x}.pcapng")).into();
    assert_eq!(files(&directory), [names, vec!["notes.pcapng".into()]].concat());
    let before = content(3);
    offer(&mut sink, Stream::Messages, &[message_line(&json!({}))]);
    offer(
        &mut sink,
        Stream::Alerts,
        &[alert(3, &json!({})), alert(4, &json!({ "state": "resolved" }))],
    );
    assert_eq!((content(3), content(4)), (before, None));
    assert_eq!(counts(&sink, "alerts"), [5, 3, 0, 2]);
}

#[test]
fn a_directory_that_is_gone_costs_alerts_and_no_messages() {
    let (mut sink, directory) = recorder(EvidenceLimits::default());
    offer(&mut sink, Stream::Messages, &[message_line(&json!({})), json!({ "qname": "." })]);
    assert_eq!(sink.counters()["messages"].dropped["not_encodable"], 1);
    fs::remove_dir(directory.path()).unwrap();
    offer(&mut sink, Stream::Alerts, &[alert(1, &json!({}))]);
    assert_eq!(sink.counters()["alerts"].dropped["write_error"], 1);
    fs::create_dir(directory.path()).unwrap();
    offer(&mut sink, Stream::Alerts, &[alert(2, &json!({}))]);
    assert_eq!((counts(&sink, "alerts"), sink.failure()), ([2, 1, 0, 0], None));
    assert_eq!(files(&directory), [format!("{:032x}.pcapng", 2)]);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let place = file.path().join("evidence");
    let opened = open("evidence".into(), STREAMS, &place, "n", EvidenceLimits::default());
    let why = opened.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(why.contains("cannot create files in") && why.contains("evidence"), "{why}");
}
