//! Our octets against those who read Avro for a living, and back.

use super::super::{With, open};
use super::read::{BadAvro, read};
use super::registry::tests::{Listener, config};
use super::write::write;
use super::*;
use crate::sink::{Batch, Sink as _};
use apache_avro::reader::datum::GenericDatumReader;
use proptest::prelude::*;
use rdkafka::mocking::MockCluster;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const GOLDEN: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/lab.ndjson"));
const ENCRYPTED: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/encrypted.ndjson"));
const LOOKUPS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/lookups.ndjson"));
const WINDOWS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/windows.ndjson"));
const ALERTS: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/goldens/alerts.ndjson"));

fn shape(name: &str) -> Shape {
    Shape::of(&record::avro_schema(name).unwrap()).unwrap()
}

fn encoded(shape: &Shape, line: &str) -> Result<Vec<u8>, String> {
    let mut avro = Vec::new();
    write(shape, line.as_bytes(), &mut avro).map(|()| avro)
}

fn decoded(shape: &Shape, avro: &[u8]) -> Result<String, BadAvro> {
    let mut line = Vec::new();
    read(shape, avro, &mut line).map(|()| String::from_utf8(line).unwrap())
}

/// What Apache's library finds in a record.
fn by_apache(name: &str, avro: &[u8]) -> Value {
    let schema = record::avro_schema(name).unwrap().to_string();
    let schema = apache_avro::Schema::parse_str(&schema).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let mut rest = avro;
    let value = reader.read_value(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} octets are left over", rest.len());
    present(value.try_into().unwrap())
}

/// Without what is null: in JSON it is left out.
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

#[test]
fn real_records_are_the_same_afterwards() {
    let mut seen = BTreeSet::new();
    for line in
        [GOLDEN, ALERTS, ENCRYPTED, LOOKUPS, WINDOWS].iter().flat_map(|golden| golden.lines())
    {
        let record: Value = serde_json::from_str(line).unwrap();
        let name = record["schema"].as_str().unwrap();
        seen.insert(name.to_owned());
        let avro = encoded(&shape(name), line).unwrap();
        assert_eq!(by_apache(name, &avro), record);
        assert_eq!(decoded(&shape(name), &avro).as_deref(), Ok(line));
    }
    assert_eq!(seen, record::schema_names().map(str::to_owned).collect());
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
    let names: Vec<&'static str> = record::schema_names().collect();
    prop::sample::select(names)
        .prop_flat_map(|name| records(&shape(name)).prop_map(move |value| (name, present(value))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_record_is_the_same_afterwards((name, value) in any_record()) {
        let line = value.to_string();
        let avro = encoded(&shape(name), &line).unwrap();
        prop_assert_eq!(by_apache(name, &avro), value);
        prop_assert_eq!(decoded(&shape(name), &avro), Ok(line));
    }

    #[test]
    fn damage_is_found_or_harmless(
        (name, value) in any_record(),
        cut in any::<prop::sample::Index>(),
        flip in any::<u8>(),
    ) {
        let mut avro = encoded(&shape(name), &value.to_string()).unwrap();
        let place = cut.index(avro.len());
        prop_assert!(decoded(&shape(name), &avro[..place]).is_err());
        avro[place] ^= flip;
        if let Ok(line) = decoded(&shape(name), &avro) {
            prop_assert!(serde_json::from_str::<Value>(&line).is_ok(), "{}", line);
        }
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
fn octets_are_those_of_the_specification() {
    let avro = encoded(&small(), r#"{"a":"é","b":-65,"c":[1.0]}"#).unwrap();
    assert_eq!(avro, b"\x04\xC3\xA9\x02\x81\x01\x02\x02\x00\x00\x00\x00\x00\x00\xF0\x3F\x00");
    assert_eq!(encoded(&small(), r#"{"a":""}"#).unwrap(), [0, 0, 0]);
}

#[test]
fn what_does_not_fit_is_refused() {
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
        let told = encoded(&small(), line).unwrap_err();
        assert!(told.contains(why), "{line}: {told}");
    }
}

#[test]
fn blocks_with_their_size_are_read_too() {
    // The array as two blocks of one item each, the second with its size in octets.
    let item = 1.5_f64.to_le_bytes();
    let avro = [&[0, 0, 2][..], &[2], &item, &[1, 16], &item, &[0]].concat();
    assert_eq!(decoded(&small(), &avro).as_deref(), Ok(r#"{"a":"","c":[1.5,1.5]}"#));
    let endless = [&[0, 0, 2][..], &[0xFE, 0xFF, 0xFF, 0x0F]].concat();
    assert_eq!(decoded(&small(), &endless), Err(BadAvro::BadLength));
}

#[test]
fn only_schemas_like_ours_have_a_shape() {
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
fn a_record_waits_for_its_id_and_comes_back() {
    let ledger = GOLDEN.lines().find(|line| line.contains("\"dns.ledger/1\"")).unwrap();
    let schema = record::avro_schema("dns.ledger/1").unwrap().to_string();
    let listener = Listener::start(vec![
        (503, json!({ "error_code": 50_003, "message": "later" }).to_string()),
        (200, json!({ "id": 258 }).to_string()),
        (200, json!({ "schema": schema }).to_string()),
    ]);
    let config = avro(&listener.url);
    let mut encoder = Encoder::new(&config, StreamSet::STORED).unwrap();
    assert_eq!(encoder.encode(Stream::Transactions, b"{}"), Ok(b"{}".as_slice()));
    assert!(!encoder.ready());
    assert_eq!(encoder.encode(Stream::Ledger, ledger.as_bytes()), Err(NotEncoded::NotYet));
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
        assert_eq!(decoder.decode(&framed).unwrap(), ledger.as_bytes());
    }
    let cut = decoder.decode(&framed[..50]).unwrap_err();
    assert_eq!(cut.to_string(), "not a record of schema 258: it ends too early");
    let asked = listener.asked();
    assert!(asked[1].starts_with("POST /subjects/accounts-value/versions "), "{asked:?}");
    assert!(asked[2].starts_with("GET /schemas/ids/258 ") && asked.len() == 3, "{asked:?}");
}

#[test]
fn what_cannot_be_encoded_is_a_dead_letter() {
    let cluster = MockCluster::new(1).unwrap();
    let listener = Listener::start(vec![(200, json!({ "id": 1 }).to_string())]);
    let brokers = vec![cluster.bootstrap_servers()];
    let config = KafkaConfig { brokers, ..avro(&listener.url) };
    let with = With { node: "n", region: None, config: &config, patience: None, spool: None };
    let streams = [Stream::Ledger, Stream::Dlq].into_iter().collect();
    let mut sink = open("kafka".into(), streams, with).unwrap();
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
fn without_avro_there_is_nothing_to_wait_for() {
    let mut encoder = Encoder::new(&KafkaConfig::default(), StreamSet::STORED).unwrap();
    assert!(encoder.ready());
    assert_eq!(encoder.prepare(), Ok(()));
    assert_eq!(probe_registry(&KafkaConfig::default(), StreamSet::STORED), None);
    let mut decoder = Decoder::new(&KafkaConfig::default());
    let why = decoder.decode(&[0, 0, 0, 0, 1, 0]).unwrap_err();
    assert_eq!(why, Undecodable::Registry(NO_REGISTRY.into()));
}

#[test]
fn only_streams_with_records_are_registered() {
    let ids = [7, 8].map(|id| (200, json!({ "id": id }).to_string()));
    let listener = Listener::start(ids.into());
    let config = KafkaConfig { format: Format::Avro, ..avro(&listener.url) };
    let ledger = [Stream::Ledger].into_iter().collect();
    let mut encoder = Encoder::new(&config, ledger).unwrap();
    encoder.prepare().unwrap();
    assert!(encoder.ready());
    // As where a spool holds what is not wanted any more.
    assert_eq!(encoder.encode(Stream::Dlq, b"{}"), Err(NotEncoded::NotYet));
    assert!(!encoder.ready());
    encoder.prepare().unwrap();
    assert!(encoder.ready());
    assert_ne!(encoder.encode(Stream::Dlq, b"{}"), Err(NotEncoded::NotYet));
    let asked = listener.asked();
    assert!(asked[0].contains("/accounts-value/") && asked[1].contains("/dns.dlq-value/"));
}
