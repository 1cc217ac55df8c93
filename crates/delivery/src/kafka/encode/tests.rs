//! Encoded records compared with what `apache-avro` reads, and decoded again.

use super::super::tests::plan;
use super::super::{RecordDecoder, open};
use super::registry::tests::{Listener, config};
use super::write::write;
use super::*;
use crate::{Batch, Sink as _};
use proptest::prelude::*;
use rdkafka::mocking::MockCluster;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const GOLDEN: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/lab.ndjson"));
const ENCRYPTED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/encrypted.ndjson"));
const LOOKUPS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/lookups.ndjson"));
const WINDOWS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/windows.ndjson"));
const ALERTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/alerts.ndjson"));
const USES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/uses.ndjson"));
const PROBES: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/probes.ndjson"));

fn shape(name: &str) -> Shape {
    Shape::of(&dnscribe_record::avro_schema(name).unwrap()).unwrap()
}

fn encoded(shape: &Shape, line: &str) -> Result<Vec<u8>, String> {
    let mut avro = Vec::new();
    write(shape, line.as_bytes(), &mut avro).map(|()| avro)
}

fn decoded(name: &str, avro: &[u8]) -> Result<String, String> {
    let schema = apache_avro::Schema::parse(&dnscribe_record::avro_schema(name).unwrap()).unwrap();
    let mut line = Vec::new();
    decode::to_json(&schema, avro, &mut line).map(|()| String::from_utf8(line).unwrap())
}

#[test]
fn round_trips_golden_records() {
    let mut seen = BTreeSet::new();
    let goldens = [GOLDEN, ALERTS, ENCRYPTED, LOOKUPS, WINDOWS, USES, PROBES];
    for line in goldens.iter().flat_map(|golden| golden.lines()) {
        let record: Value = serde_json::from_str(line).unwrap();
        let name = record["schema"].as_str().unwrap();
        seen.insert(name.to_owned());
        let avro = encoded(&shape(name), line).unwrap();
        let decoded: Value = serde_json::from_str(&decoded(name, &avro).unwrap()).unwrap();
        assert_eq!(decoded, record);
    }
    let all: BTreeSet<_> =
        Stream::ALL.into_iter().map(|stream| stream.schema().to_owned()).collect();
    assert_eq!(seen, all, "each stream has a record in one of these goldens");
}

/// Any record of a shape, fields left out at will.
fn records(shape: &Shape) -> BoxedStrategy<Value> {
    match shape {
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Long => prop_oneof![any::<i64>(), -130..130_i64].prop_map(Value::from).boxed(),
        Shape::Double => any::<f64>()
            .prop_filter("JSON has no other", |number| number.is_finite())
            .prop_map(Value::from)
            .boxed(),
        Shape::Text => any::<String>().prop_map(Value::from).boxed(),
        Shape::Optional(shape) => prop_oneof![Just(Value::Null), records(shape)].boxed(),
        Shape::Array(shape) => {
            prop::collection::vec(records(shape), 0..4).prop_map(Value::from).boxed()
        }
        Shape::Map(shape) => prop::collection::btree_map(any::<String>(), records(shape), 0..4)
            .prop_map(|entries| entries.into_iter().collect::<Map<_, _>>().into())
            .boxed(),
        Shape::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| records(&field.shape)).collect();
            values
                .prop_map(move |values| {
                    names.iter().cloned().zip(values).collect::<Map<_, _>>().into()
                })
                .boxed()
        }
    }
}

fn any_record() -> impl Strategy<Value = (&'static str, Value)> {
    let names: Vec<&'static str> = dnscribe_record::avro_schema_names().collect();
    prop::sample::select(names).prop_flat_map(|name| {
        records(&shape(name)).prop_map(move |value| (name, decode::without_nulls(value)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trips_any_record((name, value) in any_record()) {
        let line = value.to_string();
        let avro = encoded(&shape(name), &line).unwrap();
        let decoded: Value = serde_json::from_str(&decoded(name, &avro).unwrap()).unwrap();
        prop_assert_eq!(decoded, value);
    }
}

/// A schema in small.
fn small() -> Shape {
    Shape::of(&json!({ "type": "record", "name": "R", "fields": [
        { "name": "a", "type": "string" },
        { "name": "b", "type": ["null", "long"], "default": null },
        { "name": "c", "type": ["null", { "type": "array", "items": "double" }], "default": null },
    ]}))
    .unwrap()
}

#[test]
fn encodes_as_specified() {
    let avro = encoded(&small(), r#"{"a":"é","b":-65,"c":[1.0]}"#).unwrap();
    assert_eq!(avro, b"\x04\xC3\xA9\x02\x81\x01\x02\x02\x00\x00\x00\x00\x00\x00\xF0\x3F\x00");
    assert_eq!(encoded(&small(), r#"{"a":""}"#).unwrap(), [0, 0, 0]);
}

#[test]
fn rejects_records_that_do_not_match() {
    let cases = [
        (r#"{"b":1}"#, "field \"a\" is missing"),
        (r#"{"a":"","x":1}"#, "field \"x\" is not in the schema"),
        (r#"{"a":"","c":[],"b":1}"#, "field \"b\" is not in the schema, or out of its order"),
        (r#"{"a":"","a":""}"#, "field \"a\" is not in the schema, or out of its order"),
        (r#"{"a":1}"#, "an integer where the schema has string"),
        (r#"{"a":null}"#, "null where the schema has string"),
        (r#"{"a":"","b":18446744073709551615}"#, "more than Avro's long holds"),
        (r#"{"a":"","b":1.5}"#, "a number with a fraction where the schema has long"),
        (r#"{"a":"","b":[]}"#, "an array where the schema has long"),
        (r#"{"a":""}x"#, "trailing characters"),
        (r#"{"a":"#, "EOF"),
        ("7", "an integer where the schema has record"),
    ];
    for (line, why) in cases {
        let message = encoded(&small(), line).unwrap_err();
        assert!(message.contains(why), "{line}: {message}");
    }
}

#[test]
fn rejects_unsupported_schemas() {
    for schema in [
        json!("bytes"),
        json!(["string", "null"]),
        json!({ "type": "enum", "name": "E", "symbols": [] }),
        json!({ "type": "array" }),
        json!({ "type": "record", "name": "R", "fields": [{ "name": "r", "type": "R" }] }),
        json!(1),
    ] {
        assert!(Shape::of(&schema).is_err(), "{schema}");
    }
}

fn avro(url: &str) -> KafkaConfig {
    KafkaConfig {
        formats: [(Stream::Ledger, Format::Avro)].into(),
        topics: [(Stream::Ledger, "accounts".to_owned())].into(),
        registry: Some(config(url)),
        ..KafkaConfig::default()
    }
}

#[test]
fn makes_documents_of_ecs() {
    let formats = [(Stream::Ledger, Format::Ecs)].into();
    let config = KafkaConfig { formats, ..KafkaConfig::default() };
    let mut encoder = Encoder::new(&config, StreamSet::STORED).unwrap();
    assert!(encoder.ready());
    assert_eq!(encoder.encode(Stream::Transactions, b"{}"), Ok(b"{}".as_slice()));
    let document = encoder.encode(Stream::Ledger, b"{\"node\":\"n\"}").unwrap();
    let document: Value = serde_json::from_slice(document).unwrap();
    assert_eq!(document["host"]["name"], "n");
    assert!(encoder.encode(Stream::Ledger, b"junk").is_err());
}

#[test]
fn waits_for_the_schema_id_and_decodes_again() {
    let ledger = GOLDEN.lines().find(|line| line.contains("\"dns.ledger/1\"")).unwrap();
    let schema = dnscribe_record::avro_schema("dns.ledger/1").unwrap().to_string();
    let listener = Listener::start(vec![
        (503, json!({ "error_code": 50_003, "message": "later" }).to_string()),
        (200, json!({ "id": 258 }).to_string()),
        (200, json!({ "schema": schema }).to_string()),
    ]);
    let config = avro(&listener.url);
    let mut encoder = Encoder::new(&config, StreamSet::STORED).unwrap();
    assert_eq!(encoder.encode(Stream::Transactions, b"{}"), Ok(b"{}".as_slice()));
    assert!(!encoder.ready());
    assert_eq!(encoder.encode(Stream::Ledger, ledger.as_bytes()), Err(EncodeError::SchemaPending));
    let why = encoder.prepare().unwrap_err();
    assert!(why.contains("answers 503: later") && !encoder.ready(), "{why}");
    encoder.prepare().unwrap();
    assert!(encoder.ready());
    let framed = encoder.encode(Stream::Ledger, ledger.as_bytes()).unwrap().to_vec();
    assert_eq!(framed[..5], [0, 0, 0, 1, 2]);
    let why = encoder.encode(Stream::Ledger, b"{}").unwrap_err().to_string();
    assert!(why.contains("field \"schema\" is missing"), "{why}");

    let mut decoder = Decoder::new(&config);
    assert_eq!(decoder.decode(b"{}"), Ok(b"{}".as_slice()));
    for _ in 0..2 {
        let decoded: Value = serde_json::from_slice(decoder.decode(&framed).unwrap()).unwrap();
        assert_eq!(decoded, serde_json::from_str::<Value>(ledger).unwrap());
    }
    let cut = decoder.decode(&framed[..50]).unwrap_err();
    assert!(cut.to_string().starts_with("not a record of schema 258: "), "{cut}");
    let asked = listener.asked();
    assert!(asked[1].starts_with("POST /subjects/accounts-value/versions "), "{asked:?}");
    assert!(asked[2].starts_with("GET /schemas/ids/258 ") && asked.len() == 3, "{asked:?}");
}

#[test]
fn makes_a_dead_letter_of_an_invalid_record() {
    let cluster = MockCluster::new(1).unwrap();
    let listener = Listener::start(vec![(200, json!({ "id": 1 }).to_string())]);
    let brokers = vec![cluster.bootstrap_servers()];
    let config = KafkaConfig { brokers, ..avro(&listener.url) };
    let plan = plan("n", &config, None);
    let streams = [Stream::Ledger, Stream::Dlq].into_iter().collect();
    let mut sink = open("kafka".into(), streams, &plan).unwrap();
    let mut batch = Batch::default();
    batch.push(Stream::Ledger, 1, |out| out.extend_from_slice(b"{\"n\":1}\n"), |_| ());
    sink.offer(&Arc::new(batch));
    let start = Instant::now();
    while sink.counters()["dlq"].delivered == 0 && start.elapsed() < Duration::from_secs(20) {
        sink.flush(Duration::from_millis(100));
    }
    let counters = sink.counters();
    assert_eq!(counters["ledger"].dropped["not_encodable"], 1, "{counters:?}");
    assert_eq!(counters["dlq"].delivered, 1, "{counters:?}");
}

#[test]
fn needs_no_registry_without_avro() {
    let mut encoder = Encoder::new(&KafkaConfig::default(), StreamSet::STORED).unwrap();
    assert!(encoder.ready());
    assert_eq!(encoder.prepare(), Ok(()));
    assert_eq!(probe_registry(&KafkaConfig::default(), StreamSet::STORED), None);
    let mut decoder = Decoder::new(&KafkaConfig::default());
    let why = decoder.decode(&[0, 0, 0, 0, 1, 0]).unwrap_err();
    assert_eq!(why, DecodeError::Record(NO_REGISTRY.into()));
    // It stops no other record.
    let mut decoder = RecordDecoder::new(&KafkaConfig::default());
    for value in [&[0, 0, 0, 0, 1, 0][..], b"{}"] {
        assert_eq!(decoder.decode(value), Ok(value));
    }
}

#[test]
fn registers_only_streams_with_records() {
    let ids = [7, 8].map(|id| (200, json!({ "id": id }).to_string()));
    let listener = Listener::start(ids.into());
    let config = KafkaConfig { format: Format::Avro, ..avro(&listener.url) };
    let ledger = [Stream::Ledger].into_iter().collect();
    let mut encoder = Encoder::new(&config, ledger).unwrap();
    encoder.prepare().unwrap();
    assert!(encoder.ready());
    // As where a spool holds what is not wanted any more.
    assert_eq!(encoder.encode(Stream::Dlq, b"{}"), Err(EncodeError::SchemaPending));
    assert!(!encoder.ready());
    encoder.prepare().unwrap();
    assert!(encoder.ready());
    assert_ne!(encoder.encode(Stream::Dlq, b"{}"), Err(EncodeError::SchemaPending));
    let asked = listener.asked();
    assert!(asked[0].contains("/accounts-value/") && asked[1].contains("/dns.dlq-value/"));
}
