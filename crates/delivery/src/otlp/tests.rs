//! Targets, requests, and what a server's answers do to records.

use super::encode::{Encoded, Encoder, Inclusion};
use super::proto::{Data, LogRecord, Metric, Request, Span};
use super::*;
use crate::testing::acceptor;
use crate::threaded::wait_until;
use crate::{Batch, Failure, Sink};
use openssl::ssl::SslAcceptor;
use prost::Message as _;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

fn signals(all: &[Signal]) -> SignalSet {
    all.iter().copied().fold(SignalSet::default(), SignalSet::with)
}

#[test]
fn targets_are_read_and_written() {
    for (text, shown) in [
        ("http://c:4318", "http://c:4318#logs,metrics"),
        ("https://c/otlp/#traces", "https://c/otlp#traces"),
        ("grpc://[::1]:4317#metrics,logs", "grpc://[::1]:4317#logs,metrics"),
        ("grpcs://c:4317", "grpcs://c:4317#logs,metrics"),
        ("http://p:9090/api/v1/otlp#metrics", "http://p:9090/api/v1/otlp#metrics"),
    ] {
        let target: Target = text.parse().unwrap();
        assert_eq!(target.to_string(), shown);
        assert_eq!(shown.parse(), Ok(target), "{text}");
    }
    for wrong in [
        "",
        "c:4318",
        "http://",
        "grpc://c",
        "grpc://c:4317/path",
        "ftp://c:1",
        "http://c#",
        "http://c#spans",
        "http://me:hunter2@c",
        "http://:4318",
        "grpc://[::1]",
        "http://c/a b",
    ] {
        assert_eq!(wrong.parse::<Target>(), Err(()), "{wrong}");
    }
    let metrics: Target = "http://p#metrics".parse().unwrap();
    assert!(!metrics.default_streams().contains(Stream::Transactions));
    assert!(metrics.default_streams().contains(Stream::Metrics));
}

fn window(ts: &str, seconds: u64, step: u64, more: &Value) -> Value {
    let mut record = json!({
        "schema": "dns.window/1", "event_id": "00", "ts": ts, "node": "n", "window_seconds": seconds,
        "step_seconds": step, "grouping": "resolver+zone", "vantage": "client", "resolver": "r", "zone": "z.example",
        "queries": 3, "statuses": { "answered": 2, "timeout": 1 }, "rcodes": [{ "rcode": "NOERROR", "count": 2 }],
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

fn encode(
    encoder: &mut Encoder,
    records: &[(Stream, Value)],
) -> (Vec<(Signal, Vec<u8>)>, Vec<Inclusion>) {
    let lines: Vec<(Stream, Vec<u8>)> =
        records.iter().map(|(stream, record)| (*stream, record.to_string().into_bytes())).collect();
    let encoded = encoder.encode(lines.iter().map(|(stream, line)| (*stream, 7, line.as_slice())));
    (encoded.requests, encoded.inclusions)
}

fn metrics(requests: &[(Signal, Vec<u8>)]) -> Vec<Metric> {
    let (_, bytes) = requests.iter().find(|(signal, _)| *signal == Signal::Metrics).unwrap();
    let request = Request::<Metric>::decode(&**bytes).unwrap();
    request.resources.into_iter().flat_map(|one| one.scopes).flat_map(|one| one.items).collect()
}

/// The values of a sum, by point, in order.
fn sums(metrics: &[Metric], name: &str) -> Vec<i64> {
    let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(Data::Sum(sum)) = &metric.data else { unreachable!("a sum") };
    sum.points.iter().map(|point| point.as_int.unwrap()).collect()
}

#[test]
fn windows_sum_up_as_asked() {
    let at = |second: u32| format!("2026-11-26T10:00:{second:02}Z");
    for (temporality, second) in [(Temporality::Cumulative, [6, 4]), (Temporality::Delta, [3, 2])] {
        let config = OtlpConfig { temporality, ..OtlpConfig::default() };
        let mut encoder = Encoder::new(&config, signals(&[Signal::Metrics]));
        let window =
            |ts: &str, length, step| (Stream::Metrics, window(ts, length, step, &json!({})));
        let (first, inclusions) = encode(
            &mut encoder,
            &[window(&at(0), 10, 10), window(&at(0), 60, 60), window(&at(0), 60, 10)],
        );
        let sent = Inclusion::Sent(signals(&[Signal::Metrics]));
        assert_eq!(inclusions, [sent, Inclusion::Filtered, Inclusion::Filtered]);
        assert_eq!(sums(&metrics(&first), "dnscribe.resolver_zone.queries"), [3]);
        let (next, _) = encode(&mut encoder, &[window(&at(10), 10, 10)]);
        let next = metrics(&next);
        assert_eq!(sums(&next, "dnscribe.resolver_zone.queries"), [second[0]]);
        // By status, in order of their names.
        assert_eq!(sums(&next, "dnscribe.resolver_zone.transactions"), [second[1], second[0] / 3]);
        assert_eq!(sums(&next, "dnscribe.resolver_zone.responses"), [second[1]]);
    }
}

#[test]
fn too_many_series_are_one() {
    let config = OtlpConfig { max_series: 2, ..OtlpConfig::default() };
    let mut encoder = Encoder::new(&config, signals(&[Signal::Metrics]));
    let lookup = |name: &str| {
        let record = json!({
            "schema": "dns.lookup/1", "event_id": "00", "ts": "2026-11-26T10:00:00Z", "vantage": "client",
            "qname": name, "outcome": "answered", "duration_ms": 7.0,
        });
        (Stream::Lookups, record)
    };
    let all: Vec<_> = ["a", "b", "c", "d", "a"].map(lookup).into();
    let found = metrics(&encode(&mut encoder, &all).0);
    let Some(Data::Histogram(histogram)) = &found[0].data else { unreachable!("a histogram") };
    let counts: Vec<u64> = histogram.points.iter().map(|point| point.count).collect();
    assert_eq!(counts, [2, 2, 1], "the overflow, a, b");
    assert_eq!(histogram.points[0].attributes[0].key, "otel.metric.overflow");
    assert_eq!(histogram.points[1].bucket_counts[..3], [0, 2, 0]);
}

#[test]
fn a_resolvers_upstream_queries_are_below_its_clients() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Traces]));
    let id = |number: u128| format!("{number:032x}");
    let transaction = |number: u128, vantage: &str, parent: Option<u128>| {
        let mut record = json!({
            "schema": "dns.transaction/1", "event_id": id(number), "ts": "2026-11-26T10:00:00Z", "vantage": vantage,
            "qtype": "A", "status": "answered", "rcode": "NOERROR", "latency_ms": 2.0,
        });
        if let Some(parent) = parent {
            record["parent_event_id"] = id(parent).into();
        }
        (number, record.to_string().into_bytes())
    };
    // What is upstream ends first. Its lookup at the resolver is none of an application.
    let lookup =
        json!({ "event_id": id(9), "ts": "2026-11-26T10:00:00Z", "transaction_ids": [id(2)] });
    let lines = [
        transaction(2, "client", Some(1)),
        (9, lookup.to_string().into()),
        transaction(1, "server", None),
    ];
    let streams = [Stream::Transactions, Stream::Lookups, Stream::Transactions];
    let records =
        streams.into_iter().zip(&lines).map(|(stream, (id, line))| (stream, *id, line.as_slice()));
    let encoded = encoder.encode(records);
    let request = Request::<Span>::decode(&*encoded.requests[0].1).unwrap();
    let spans = &request.resources[0].scopes[0].items;
    let ids: Vec<_> = spans
        .iter()
        .map(|span| (span.span_id[7], span.parent_span_id.last().copied(), span.kind))
        .collect();
    assert_eq!(ids, [(1, None, 2), (2, Some(1), 3)]);
    assert!(spans.iter().all(|span| span.trace_id == 1_u128.to_be_bytes()));

    // A lookup of an application that sends its trace context along.
    let (number, line) = transaction(3, "client", None);
    let mut query: Value = serde_json::from_slice(&line).unwrap();
    query["traceparent"] = format!("00-{:032x}-{:016x}-01", 77, 78).into();
    let lookup =
        json!({ "event_id": id(4), "ts": "2026-11-26T10:00:00Z", "transaction_ids": [id(3)] });
    let [query, lookup] = [query, lookup].map(|record| record.to_string().into_bytes());
    let records =
        [(Stream::Transactions, number, query.as_slice()), (Stream::Lookups, 4, lookup.as_slice())];
    let encoded = encoder.encode(records.into_iter());
    let request = Request::<Span>::decode(&*encoded.requests[0].1).unwrap();
    let spans = &request.resources[0].scopes[0].items;
    let above: Vec<_> = spans.iter().map(|span| span.parent_span_id.last().copied()).collect();
    assert_eq!(above, [Some(78), Some(4)]);
    assert!(spans.iter().all(|span| span.trace_id == 77_u128.to_be_bytes()));
}

fn id(number: u128) -> String {
    format!("{number:032x}")
}

fn transaction(number: u128, more: &Value) -> (Stream, Value) {
    let mut record = json!({
        "event_id": id(number), "ts": "2026-11-26T10:00:00Z", "vantage": "client", "qtype": "A",
        "status": "answered", "latency_ms": 2.0,
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (Stream::Transactions, record)
}

fn lookup(number: u128, ids: &[u128]) -> (Stream, Value) {
    let ids: Vec<String> = ids.iter().copied().map(id).collect();
    let record =
        json!({ "event_id": id(number), "ts": "2026-11-26T10:00:00Z", "transaction_ids": ids });
    (Stream::Lookups, record)
}

/// Encodes records with the ids that they say.
fn encode_numbered(encoder: &mut Encoder, records: &[(Stream, Value)]) -> Encoded {
    let number =
        |record: &Value| record["event_id"].as_str().map(|id| u128::from_str_radix(id, 16));
    let line = |(stream, record): &(Stream, Value)| {
        (*stream, number(record).unwrap().unwrap(), record.to_string().into_bytes())
    };
    let lines: Vec<(Stream, u128, Vec<u8>)> = records.iter().map(line).collect();
    encoder.encode(lines.iter().map(|(stream, id, line)| (*stream, *id, line.as_slice())))
}

/// Encodes records one after the other. Returns the spans by id, and what became of each record.
fn traces(
    encoder: &mut Encoder,
    records: &[(Stream, Value)],
) -> (BTreeMap<u8, Span>, Vec<Inclusion>) {
    let (mut spans, mut inclusions) = (BTreeMap::new(), Vec::new());
    let mut add = |requests: Vec<(Signal, Vec<u8>)>| {
        for (_, request) in requests {
            let request = Request::<Span>::decode(&*request).unwrap();
            let scopes = request.resources.into_iter().flat_map(|one| one.scopes);
            for span in scopes.flat_map(|scope| scope.items) {
                assert_eq!(spans.insert(span.span_id[7], span), None);
            }
        }
    };
    for record in records {
        let encoded = encode_numbered(encoder, std::slice::from_ref(record));
        inclusions.extend(encoded.inclusions);
        add(encoded.requests);
    }
    add(encoder.end().into_iter().collect());
    (spans, inclusions)
}

/// Trace and parent of spans by id, by their last bytes.
fn places(spans: &BTreeMap<u8, Span>) -> Vec<(u8, u8, Option<u8>)> {
    let place =
        |(id, span): (&u8, &Span)| (*id, span.trace_id[15], span.parent_span_id.last().copied());
    spans.iter().map(place).collect()
}

#[test]
fn what_ends_after_its_cause_is_below_it() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Traces]));
    let late = json!({ "parent_event_id": id(1), "status": "timeout", "latency_ms": null });
    let records = [
        transaction(2, &json!({ "parent_event_id": id(1) })),
        transaction(1, &json!({ "vantage": "server" })),
        transaction(3, &late),
        transaction(4, &json!({ "parent_event_id": id(3) })),
        // At the resolver it is none of an application.
        lookup(9, &[2, 3]),
        transaction(5, &json!({ "status": "late" })),
    ];
    let (spans, inclusions) = traces(&mut encoder, &records);
    assert_eq!(places(&spans), [(1, 1, None), (2, 1, Some(1)), (3, 1, Some(1)), (4, 1, Some(3))]);
    assert_eq!(spans[&3].end_time_unix_nano, spans[&1].end_time_unix_nano);
    let sent = Inclusion::Sent(signals(&[Signal::Traces]));
    assert_eq!(inclusions, [sent, sent, sent, sent, Inclusion::Filtered, Inclusion::Filtered]);
}

#[test]
fn spans_do_not_depend_on_all_records_being_there() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Traces]));
    let records = [
        lookup(1, &[2, 3]),
        transaction(3, &json!({})),
        // Nothing claims these, whose parent is missing.
        transaction(5, &json!({ "parent_event_id": id(4) })),
        transaction(6, &json!({ "parent_event_id": id(5) })),
    ];
    let (spans, _) = traces(&mut encoder, &records);
    assert_eq!(places(&spans), [(1, 1, None), (3, 1, Some(1)), (5, 5, None), (6, 5, Some(5))]);
}

#[test]
fn log_records_name_their_spans() {
    let mut encoder =
        Encoder::new(&OtlpConfig::default(), signals(&[Signal::Logs, Signal::Traces]));
    let context = |trace: u128| json!({ "traceparent": format!("00-{trace:032x}-{:016x}-01", 78) });
    let records = [
        transaction(1, &context(77)),
        transaction(2, &context(76)),
        transaction(3, &json!({})),
        lookup(4, &[1, 2, 3]),
        transaction(5, &json!({ "vantage": "server" })),
        transaction(6, &json!({ "parent_event_id": id(5) })),
        lookup(7, &[6]),
    ];
    let requests = encode_numbered(&mut encoder, &records).requests;
    let logs = Request::<LogRecord>::decode(&*requests[0].1).unwrap();
    let logs = &logs.resources[0].scopes[0].items;
    let traces: Vec<_> = logs.iter().map(|log| log.trace_id.last().copied()).collect();
    // What a lookup decides comes too late for the log record of its transaction, and one has no span.
    assert_eq!(traces, [Some(77), Some(76), None, Some(77), Some(5), Some(5), None]);
    let spans = Request::<Span>::decode(&*requests[1].1).unwrap();
    let spans = &spans.resources[0].scopes[0].items;
    assert_eq!(spans.len(), 6);
    for log in logs.iter().filter(|log| !log.trace_id.is_empty()) {
        let is_own =
            |span: &&Span| (&span.trace_id, &span.span_id) == (&log.trace_id, &log.span_id);
        assert!(spans.iter().any(|span| is_own(&span)), "{log:?}");
    }
}

#[test]
fn lookups_without_a_name_keep_their_errors() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Metrics]));
    let lookup = |outcome: &str| {
        let record = json!({
            "event_id": "00", "ts": "2026-11-26T10:00:00Z", "vantage": "client", "outcome": outcome, "duration_ms": 7.0,
        });
        (Stream::Lookups, record)
    };
    let found = metrics(&encode(&mut encoder, &["answered", "nxdomain"].map(lookup)).0);
    let Some(Data::Histogram(histogram)) = &found[0].data else { unreachable!("a histogram") };
    let attributes = histogram.points.iter().map(|point| &point.attributes);
    let names: Vec<Vec<&str>> =
        attributes.map(|all| all.iter().map(|one| one.key.as_str()).collect()).collect();
    assert_eq!(names, [vec![], vec!["error.type"]]);
}

/// A request with windows beyond the limit has one point for all of them.
#[test]
fn overflowing_windows_are_one_point() {
    let config = OtlpConfig { max_series: 1, ..OtlpConfig::default() };
    let mut encoder = Encoder::new(&config, signals(&[Signal::Metrics]));
    let zones = ["a", "b", "c"].map(|zone| {
        (Stream::Metrics, window("2026-11-26T10:00:00Z", 10, 10, &json!({ "zone": zone })))
    });
    let requests = encode(&mut encoder, &zones).0;
    let (signal, bytes) = &requests[0];
    let found = metrics(&requests);
    // A server can reject no more points: two of each metric, and two more of the one by status.
    assert_eq!(proto::item_count(*signal, bytes), 2 * found.len() + 2);
    assert_eq!(sums(&found, "dnscribe.resolver_zone.queries"), [3, 6]);
    // A window says nothing of these; Prometheus accepts no metric without points.
    assert!(found.iter().all(|metric| metric.name != "dnscribe.resolver_zone.retries"));
}

/// Names and overflow are bounded over all requests, and nothing is counted twice or left out.
#[test]
fn series_of_deltas_are_bounded() {
    let config =
        OtlpConfig { max_series: 2, temporality: Temporality::Delta, ..OtlpConfig::default() };
    let mut encoder = Encoder::new(&config, signals(&[Signal::Metrics]));
    let series = |attributes: &[proto::KeyValue]| format!("{attributes:?}");
    let (mut windows, mut lookups) = (BTreeMap::new(), BTreeMap::new());
    for second in 0..6 {
        let ts = format!("2026-11-26T10:00:{second}0Z");
        let window =
            |zone: String| (Stream::Metrics, window(&ts, 10, 10, &json!({ "zone": zone })));
        let lookup = |name: String| {
            let record = json!({
                "event_id": "00", "ts": ts, "vantage": "client", "qname": name, "outcome": "answered", "duration_ms": 7.0,
            });
            (Stream::Lookups, record)
        };
        // Two that are always there, and two that are there once.
        let names = ["a".to_owned(), "b".to_owned(), format!("c{second}"), format!("d{second}")];
        let records: Vec<_> =
            names.clone().map(window).into_iter().chain(names.map(lookup)).collect();
        for metric in metrics(&encode(&mut encoder, &records).0) {
            match &metric.data {
                Some(Data::Sum(sum)) if metric.name == "dnscribe.resolver_zone.queries" => {
                    for point in &sum.points {
                        assert_eq!(
                            point.time_unix_nano - point.start_time_unix_nano,
                            10_000_000_000
                        );
                        *windows.entry(series(&point.attributes)).or_insert(0) +=
                            point.as_int.unwrap();
                    }
                }
                Some(Data::Histogram(histogram)) => {
                    for point in &histogram.points {
                        *lookups.entry(series(&point.attributes)).or_insert(0) += point.count;
                    }
                }
                _ => {}
            }
        }
    }
    let sorted = |mut counts: Vec<u64>| {
        counts.sort_unstable();
        counts
    };
    let windows: Vec<u64> = windows.into_values().map(i64::cast_unsigned).collect();
    assert_eq!(sorted(windows), [18, 18, 36], "a, b, and all others");
    assert_eq!(sorted(lookups.into_values().collect()), [6, 6, 12], "a, b, and all others");
}

/// Others cannot be acknowledged.
#[test]
fn requests_have_items() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Metrics]));
    let lookup = |more: Value| {
        let mut record = json!({
            "event_id": "00", "ts": "2026-11-26T10:00:00Z", "vantage": "client", "outcome": "answered", "duration_ms": 7.0,
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (Stream::Lookups, record)
    };
    let no_calls = [
        json!({ "vantage": "server" }),
        json!({ "outcome": "open" }),
        json!({ "evicted": true }),
        json!({ "duration_ms": null }),
    ];
    for more in no_calls {
        let (requests, inclusions) = encode(&mut encoder, &[lookup(more.clone())]);
        assert_eq!((requests, inclusions), (vec![], vec![Inclusion::Filtered]), "{more}");
    }
    assert_eq!(encode(&mut encoder, &[lookup(json!({}))]).0.len(), 1);
}

/// A server that gives these answers, each on a connection of its own, and sends what it received.
fn server(answers: Vec<Vec<u8>>) -> (String, thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("otlp:http://{}#logs", listener.local_addr().unwrap());
    let serve = move || {
        let answer = |answer: Vec<u8>| {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                let count = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..count]);
                let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
                    continue;
                };
                let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
                let length = text.split("content-length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                if request.len() == head + 4 + length {
                    stream.write_all(&answer).unwrap();
                    return request.split_off(head + 4);
                }
            }
        };
        answers.into_iter().map(answer).collect()
    };
    (url, thread::spawn(serve))
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Offers ten transactions; returns delivered and the drops by reason.
fn deliver(url: &str) -> (u64, BTreeMap<String, u64>) {
    let kafka = crate::KafkaConfig::default();
    let with = crate::OpenWith::new("n", &kafka);
    let mut sink = crate::open(&[url.parse().unwrap()], &with).unwrap().remove(0);
    let mut batch = Batch::default();
    for number in 0..10 {
        batch.push_json(Stream::Transactions, number, &json!({ "event_id": id(number) }), b"");
    }
    sink.offer(&Arc::new(batch));
    assert!(sink.flush(Duration::from_secs(30)));
    let counters = sink.counters();
    sink.close();
    let own = &counters["transactions"];
    let dropped = own.dropped.iter().filter(|(_, count)| **count > 0);
    (own.delivered, dropped.map(|(reason, count)| (reason.clone(), *count)).collect())
}

#[test]
fn answers_decide_what_is_delivered() {
    let partial = proto::Response {
        partial_success: Some(proto::PartialSuccess { rejected: 3, error_message: "no".into() }),
    };
    let partial = partial.encode_to_vec();
    let busy = || answer("503 Service Unavailable", "retry-after: 0\r\n", b"");
    let fine = || answer("200 OK", "", b"");
    let partly = || answer("200 OK", "", &partial);
    let page = || answer("200 OK", "content-type: text/html\r\n", b"<html>please sign in</html>");
    let large = || answer("413 Payload Too Large", "", b"");
    // Ten are too many, then the first five, of which two are taken; of the other three, one alone is too large.
    let halves = vec![large(), large(), fine(), large(), large(), fine(), fine()];
    for (answers, delivered, dropped) in [
        (vec![fine()], 10, None),
        (vec![busy(), busy(), fine()], 10, None),
        (vec![partly()], 7, Some(("partial_success", 3))),
        // A proxy has accepted nothing.
        (vec![page(), fine()], 10, None),
        // Of each half another part.
        (vec![large(), partly(), partly()], 4, Some(("partial_success", 6))),
        (vec![answer("400 Bad Request", "", b"no")], 0, Some(("rejected", 10))),
        (std::iter::repeat_with(large).take(19).collect(), 0, Some(("message_too_large", 10))),
        (halves, 9, Some(("message_too_large", 1))),
    ] {
        let (url, served) = server(answers);
        let dropped = dropped.map(|(reason, count)| (reason.to_owned(), count));
        assert_eq!(deliver(&url), (delivered, dropped.into_iter().collect()));
        let request = &served.join().unwrap()[0];
        let request = Request::<LogRecord>::decode(&**request).unwrap();
        assert_eq!(request.resources[0].scopes[0].items.len(), 10);
    }
}

const LIMIT: Duration = Duration::from_secs(30);

/// A sink of traces alone that has delivered ten transactions, whose spans wait for their lookup.
fn sink_with_waiting_spans(url: &str, patience: Option<Duration>) -> Box<dyn Sink> {
    let kafka = crate::KafkaConfig::default();
    let with = crate::OpenWith { server_patience: patience, ..crate::OpenWith::new("n", &kafka) };
    let url = url.replace("#logs", "#traces");
    let mut sink = crate::open(&[url.parse().unwrap()], &with).unwrap().remove(0);
    let mut batch = Batch::default();
    for number in 0..10 {
        let (stream, record) = transaction(number, &json!({}));
        batch.push_json(stream, number, &record, b"");
    }
    sink.offer(&Arc::new(batch));
    assert!(sink.flush(LIMIT));
    assert_eq!(sink.counters()["transactions"].delivered, 10);
    sink
}

#[expect(clippy::cast_possible_truncation, reason = "a count of a few items")]
fn gauge(sink: &dyn Sink, name: &str) -> i64 {
    let gauges = sink.gauges();
    gauges.iter().find(|gauge| gauge.name == name).unwrap().value.round() as i64
}

/// Ends a sink. Returns the spans that were lost.
fn end(mut sink: Box<dyn Sink>) -> i64 {
    sink.close();
    gauge(&*sink, "dnscribe_otlp_rejected_total")
}

/// The URL of a server that is not there.
fn no_server() -> String {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("otlp:http://{closed}#traces")
}

#[test]
fn spans_that_are_lost_at_the_end_are_counted() {
    let (url, served) = server(vec![answer("200 OK", "", b"")]);
    assert_eq!(end(sink_with_waiting_spans(&url, None)), 0);
    let request = &served.join().unwrap()[0];
    let request = Request::<Span>::decode(&**request).unwrap();
    assert_eq!(request.resources[0].scopes[0].items.len(), 10);
    assert_eq!(end(sink_with_waiting_spans(&no_server(), None)), 10);
}

#[test]
fn a_flush_at_the_end_waits_for_spans() {
    // It is asked again after a second.
    let busy = answer("503 Service Unavailable", "", b"");
    let (url, served) = server(vec![busy, answer("200 OK", "", b"")]);
    let mut sink = sink_with_waiting_spans(&url, None);
    assert!(sink.flush(LIMIT), "without waiting for more records");
    sink.finish();
    assert!(!sink.flush(Duration::ZERO));
    assert!(sink.flush(LIMIT));
    served.join().unwrap();
    assert_eq!(end(sink), 0);
}

#[test]
fn spans_of_accepted_requests_are_not_lost() {
    let (url, served) =
        server(vec![answer("413 Payload Too Large", "", b""), answer("200 OK", "", b"")]);
    let mut sink = sink_with_waiting_spans(&url, None);
    sink.finish();
    assert!(wait_until(LIMIT, || served.is_finished()));
    // Nobody takes the second half.
    let has_failed = || gauge(&*sink, "dnscribe_otlp_failed_requests_total") > 1;
    assert!(wait_until(LIMIT, has_failed));
    assert_eq!(end(sink), 5);
}

#[test]
fn a_server_of_traces_alone_that_never_answers_is_given_up() {
    // It is needed for the spans that wait, or for a lookup after transactions that count as delivered.
    for has_lookup in [false, true] {
        let mut sink = sink_with_waiting_spans(&no_server(), Some(Duration::from_secs(2)));
        if has_lookup {
            let mut batch = Batch::default();
            let (stream, record) = lookup(99, &[0]);
            batch.push_json(stream, 99, &record, b"");
            sink.offer(&Arc::new(batch));
        } else {
            sink.finish();
        }
        assert!(sink.flush(LIMIT));
        let Some(Failure::Broken(why)) = sink.failure() else { unreachable!("it is given up") };
        assert!(why.contains("/v1/traces"), "{why}");
        assert_eq!(end(sink), 10);
    }
}

#[test]
fn one_metric_is_halved_by_its_points() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Metrics]));
    let ts = "2026-11-26T10:00:00Z";
    let zones =
        ["a", "b", "c"].map(|zone| (Stream::Metrics, window(ts, 10, 10, &json!({ "zone": zone }))));
    let lookups = ["a", "b"].map(|name| {
        let record = json!({
            "event_id": "00", "ts": ts, "vantage": "client", "qname": name, "outcome": "answered", "duration_ms": 7.0,
        });
        (Stream::Lookups, record)
    });
    let records: Vec<_> = zones.into_iter().chain(lookups).collect();
    let (signal, request) = encode(&mut encoder, &records).0.remove(0);
    let points = proto::item_count(signal, &request);
    let (mut left, mut smallest) = (vec![request], Vec::new());
    while let Some(request) = left.pop() {
        match proto::halve(signal, &request) {
            Some(halves) => left.extend(halves),
            None => smallest.push(proto::item_count(signal, &request)),
        }
    }
    assert_eq!(smallest, vec![1; points]);
}

/// A host whose clock was wrong.
#[test]
fn captures_from_the_future_begin_before_they_end() {
    let mut encoder = Encoder::new(&OtlpConfig::default(), signals(&[Signal::Metrics]));
    let records = |second: u32| {
        let ts = format!("2190-11-26T10:00:{second}0Z");
        let lookup = json!({
            "event_id": "00", "ts": ts, "vantage": "client", "qname": "a", "outcome": "answered", "duration_ms": 7.0,
        });
        [(Stream::Metrics, window(&ts, 10, 10, &json!({}))), (Stream::Lookups, lookup)]
    };
    let mut starts = Vec::new();
    for second in 0..2 {
        let found = metrics(&encode(&mut encoder, &records(second)).0);
        let times = found.iter().flat_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => sum
                .points
                .iter()
                .map(|one| (one.start_time_unix_nano, one.time_unix_nano))
                .collect(),
            Some(Data::Histogram(all)) => all
                .points
                .iter()
                .map(|one| (one.start_time_unix_nano, one.time_unix_nano))
                .collect(),
            _ => Vec::new(),
        });
        let times: Vec<(u64, u64)> = times.collect();
        assert!(times.iter().all(|(start, end)| start <= end), "{times:?}");
        starts.push(times.into_iter().map(|(start, _)| start).collect::<Vec<_>>());
    }
    assert_eq!(starts[0], starts[1], "what begins anew has another start");
}

/// Probes a server that speaks TLS, or without an acceptor answers one connection with `answer`. Returns the problem and the remedy.
fn probe_failing(
    scheme: &str,
    tls: Option<&SslAcceptor>,
    answer: &'static [u8],
    ca_file: Option<&Path>,
) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}", listener.local_addr().unwrap());
    let tls = tls.cloned();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        if let Some(tls) = tls {
            // Fails, as the client does not trust the certificate.
            return drop(tls.accept(stream));
        }
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(answer).unwrap();
        // Until the client has closed the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let config = OtlpConfig { ca_file: ca_file.map(Path::to_path_buf), ..OtlpConfig::default() };
    let (why, remedy) = probe(&format!("{url}#logs").parse().unwrap(), &config).unwrap_err();
    server.join().unwrap();
    assert!(why.starts_with(&format!("no answer from {url}")), "{why}");
    (why, remedy.unwrap_or_default())
}

#[test]
fn failed_connections_have_a_cause_and_a_remedy() {
    let ((own, _), (other, pem)) = (acceptor("127.0.0.1"), acceptor("127.0.0.2"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, pem).unwrap();
    let trusted = Some(file.path());
    let page = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let alert = &[21_u8, 3, 3, 0, 2, 2, 70];
    let (authority, no_tls) = ("otlp.ca_file", "its port for TLS");
    for (scheme, tls, answer, ca_file, problem, remedy) in [
        ("grpcs", Some(&own), &b""[..], None, "self-signed certificate", authority),
        ("https", Some(&own), b"", None, "self-signed certificate", authority),
        ("grpcs", Some(&other), b"", trusted, "IP address mismatch", authority),
        ("https", Some(&other), b"", trusted, "IP address mismatch", authority),
        ("grpcs", None, page, None, "does not speak TLS", no_tls),
        ("https", None, page, None, "does not speak TLS", no_tls),
        ("grpc", None, page, None, "does not speak gRPC", "use grpcs://"),
        ("http", None, alert, None, "does not answer in HTTP/1", "use https://"),
    ] {
        let found = probe_failing(scheme, tls, answer, ca_file);
        assert!(found.0.contains(problem) && found.1.contains(remedy), "{scheme}: {found:?}");
    }
    let ca_file = Some("/nowhere/ca.pem".into());
    for url in ["grpcs://127.0.0.1:1", "https://127.0.0.1:1"] {
        let config = OtlpConfig { ca_file: ca_file.clone(), ..OtlpConfig::default() };
        let (why, _) = probe(&url.parse().unwrap(), &config).unwrap_err();
        assert!(why.starts_with("cannot read otlp.ca_file /nowhere/ca.pem: No such file"), "{why}");
    }
}
