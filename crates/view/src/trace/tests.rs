use super::*;
use dnscribe_delivery::Stream;
use dnscribe_record::ledger::{Counters, Kernel};
use dnscribe_record::time::Timestamp;
use dnscribe_record::trace::WaitCause;
use serde_json::{Value, json};
use std::time::Duration;

const START: u64 = 1_795_332_600_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_nanos(START + millis * 1_000_000)
}

fn subject(millis: u64) -> TraceSubject {
    TraceSubject {
        name: "curl".into(),
        command: vec!["curl".into(), "http://www.example.com".into()],
        started: at(0),
        ended: at(millis),
        exit_code: Some(0),
        query_timeout: Duration::from_secs(5),
    }
}

fn transaction(id: u128, millis: u64, qtype: &str, latency_ms: Option<f64>) -> Value {
    let mut record = json!({
        "event_id": format!("{id:032x}"), "ts": at(millis), "vantage": "client", "transport": "udp",
        "resolver": "192.0.2.53", "qname": "www.example.com", "qtype": qtype, "status": "timeout",
        "retries": 0, "process": {"pid": 7, "uid": 0, "comm": "curl"},
    });
    if let Some(latency) = latency_ms {
        record["status"] = json!("answered");
        record["rcode"] = json!("NOERROR");
        record["latency_ms"] = json!(latency);
        record["answers"] =
            json!([{"name": "www.example.com", "type": "A", "ttl": 60, "data": "192.0.2.80"}]);
    }
    record
}

const LOOKUP: &str = "00000000000000000000000000000abc";

fn lookup(ids: &[u128]) -> Value {
    let ids: Vec<String> = ids.iter().map(|id| format!("{id:032x}")).collect();
    json!({"event_id": LOOKUP, "ts": at(10), "qname": "www.example.com", "qtypes": ["A", "AAAA"], "outcome": "answered", "partial": true,
        "addresses": ["192.0.2.80"], "packets": ids.len(), "packets_wasted": 1, "retries": 1, "transaction_ids": ids,
        "process": {"pid": 7, "uid": 0, "comm": "curl"}})
}

/// Collects records of which process 7 is in the scope.
fn collect(transactions: &[Value], lookups: &[Value]) -> Collector {
    let mut collector = Collector::new(Box::new(|pid| pid == 7));
    for record in transactions {
        collector.line(Stream::Transactions, record.to_string().as_bytes());
    }
    for record in lookups {
        collector.line(Stream::Lookups, record.to_string().as_bytes());
    }
    assert_eq!(collector.unreadable, 0);
    collector
}

/// A lookup whose AAAA is never answered: sent at 10 ms and again at 5,014 ms, when the stub gives up at 8,000 ms.
fn without_aaaa() -> Collector {
    let transactions = [
        transaction(1, 10, "A", Some(2.0)),
        transaction(2, 10, "AAAA", None),
        transaction(3, 5_014, "AAAA", None),
    ];
    collect(&transactions, &[lookup(&[1, 2, 3])])
}

#[test]
fn waits_end_with_the_next_attempt_and_with_the_command() {
    let trace = without_aaaa().finish(&subject(8_000));
    assert!((trace.wait_ms - 7_990.0).abs() < 0.01, "{trace:?}");
    let queries = &trace.processes[0].lookups[0].queries;
    let waits: Vec<String> = queries.iter().map(|query| format!("{:.0}", query.wait_ms)).collect();
    assert_eq!(waits, ["2", "5004", "2986"]);
    let [never, answer] = trace.waits.as_slice() else { panic!("{trace:?}") };
    assert_eq!((never.cause, never.never_answered, never.queries), (WaitCause::NoAnswer, true, 2));
    assert_eq!(
        (answer.cause, answer.qtypes.as_slice()),
        (WaitCause::Answer, &["A".to_owned()][..])
    );
}

#[test]
fn a_query_that_was_sent_again_waits_until_the_attempt_after() {
    let mut again = transaction(2, 10, "AAAA", None);
    again["retries"] = json!(1);
    let transactions = [
        transaction(1, 10, "A", Some(2.0)),
        again,
        transaction(3, 2_010, "A", Some(2.0)),
        transaction(4, 4_010, "A", Some(2.0)),
    ];
    let trace = collect(&transactions, &[lookup(&[1, 2, 3, 4])]).finish(&subject(4_500));
    assert!((trace.wait_ms - 4_002.0).abs() < 0.01, "{trace:?}");
}

/// The kernel of this host discarded the answer, so the stub asked again after two seconds.
#[test]
fn a_lost_answer_is_waited_for_until_the_next_attempt() {
    let lost_at =
        |reason: &str| json!({"message": "response", "stage": "socket", "reason": reason});
    let mut lost = transaction(1, 10, "A", Some(0.3));
    lost["lost_at"] = lost_at("SOCKET_FILTER");
    let answered = transaction(2, 2_012, "A", Some(0.3));
    let trace = collect(&[lost.clone(), answered], &[lookup(&[1, 2])]).finish(&subject(2_200));
    assert!((trace.wait_ms - 2_002.3).abs() < 0.01, "{trace:?}");
    let [wait, _] = trace.waits.as_slice() else { panic!("{trace:?}") };
    assert_eq!((wait.cause, wait.never_answered), (WaitCause::NoAnswer, false));
    let text = render(&trace, None, true);
    assert!(
        text.starts_with(
            "curl spent 2.002 of 2.2 s waiting for 192.0.2.53, 1 query (A); response lost at socket: SOCKET_FILTER\n"
        ),
        "{text}"
    );
    // It never came, and the command gave up.
    let trace = collect(&[lost], &[lookup(&[1])]).finish(&subject(2_010));
    assert!((trace.wait_ms - 2_000.0).abs() < 0.01, "{trace:?}");
    // Nobody waits at a closed socket, nor for the second server after an answer.
    let mut closed = transaction(1, 10, "A", Some(3.0));
    closed["lost_at"] = lost_at("NO_SOCKET");
    let mut silent = transaction(3, 10, "A", None);
    silent["resolver"] = json!("192.0.2.54");
    let transactions = [closed, transaction(2, 10, "A", Some(2.0)), silent];
    let trace = collect(&transactions, &[lookup(&[1, 2, 3])]).finish(&subject(8_000));
    assert!((trace.wait_ms - 3.0).abs() < 0.01, "{trace:?}");
}

#[test]
fn says_where_the_time_went() {
    let text = render(&without_aaaa().finish(&subject(8_100)), None, true);
    let first = text.lines().next().unwrap();
    assert_eq!(
        first,
        "curl spent 8.090 of 8.1 s waiting for 192.0.2.53, which never answered AAAA"
    );
    assert!(text.contains("1 lookup, 3 queries, 1 wasted; 8.090 s of waiting\n"), "{text}");
    assert!(text.contains("└─ www.example.com A+AAAA: answered after"), "{text}");
    let ascii = render(&without_aaaa().finish(&subject(8_100)), None, false);
    assert!(ascii.is_ascii() && ascii.contains("`- www.example.com"), "{ascii}");
}

#[test]
fn says_what_was_not_found() {
    for (outcome, sentence) in [
        ("nxdomain", "www.example.com does not exist, says 192.0.2.53"),
        ("nodata", "www.example.com has no A or AAAA, says 192.0.2.53"),
        ("servfail", "192.0.2.53 could not look up www.example.com (SERVFAIL)"),
        ("refused", "192.0.2.53 refuses to look up www.example.com"),
    ] {
        let mut failed = lookup(&[1]);
        failed["outcome"] = json!(outcome);
        let trace = collect(&[transaction(1, 10, "A", Some(0.7))], &[failed]);
        let text = render(&trace.finish(&subject(28)), None, true);
        let first = text.lines().next().unwrap();
        assert_eq!(first, format!("curl: {sentence}; 0.0007 of 0.028 s were for DNS"));
    }
    // What took long, and what became of it.
    let mut failed = lookup(&[1]);
    failed["outcome"] = json!("nxdomain");
    let trace = collect(&[transaction(1, 10, "A", Some(40.0))], &[failed]);
    let text = render(&trace.finish(&subject(100)), None, true);
    assert!(
        text.starts_with(
            "curl: www.example.com does not exist, says 192.0.2.53; spent 0.040 of 0.100 s waiting for 192.0.2.53, one \
             answer\n"
        ),
        "{text}"
    );
    let mut refused = transaction(1, 10, "A", Some(40.0));
    refused["rcode"] = json!("REFUSED");
    let text = render(&collect(&[refused], &[lookup(&[1])]).finish(&subject(100)), None, true);
    assert!(text.contains("which failed 1 time (REFUSED)"), "{text}");
    // The wait is no longer than the whole.
    let text = render(&without_aaaa().finish(&subject(8_040)), None, true);
    assert!(text.starts_with("curl spent 8.030 of 8.040 s waiting"), "{text}");
}

#[test]
fn hangs_resolvers_queries_below_the_query() {
    let parented = |id: u128, parent: u128, reason: &str, resolver: &str| {
        let mut record = transaction(id, 11, "A", Some(0.5));
        record["parent_event_id"] = json!(format!("{parent:032x}"));
        record["parent_match"] = json!(reason);
        record["resolver"] = json!(resolver);
        record["process"] = json!({"pid": 99, "uid": 0, "comm": "unbound"});
        record
    };
    let mut view = parented(2, 1, "exchange", "192.0.2.53");
    view["vantage"] = json!("server");
    view["cache"] = json!("miss");
    // The resolver's records come first, and another client's are not shown.
    let transactions = [
        parented(3, 2, "question", "198.51.100.1"),
        parented(9, 8, "question", "198.51.100.9"),
        view,
        transaction(1, 10, "A", Some(2.0)),
    ];
    let trace = collect(&transactions, &[lookup(&[1])]).finish(&subject(100));
    assert_eq!(trace.processes.len(), 1, "{trace:?}");
    let query = &trace.processes[0].lookups[0].queries[0];
    assert_eq!(query.cache.as_deref(), Some("miss"));
    let upstream: Vec<&str> = query.upstream.iter().map(|below| &*below.resolver).collect();
    assert_eq!(upstream, ["198.51.100.1"]);
}

#[test]
fn is_what_its_schema_says() {
    let trace = serde_json::to_value(without_aaaa().finish(&subject(8_000))).unwrap();
    let schema = dnscribe_record::json_schema("dns.trace/1").unwrap();
    assert!(jsonschema::is_valid(&schema, &trace), "{trace:#}");
    let fields: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
    assert!(trace.as_object().unwrap().keys().all(|field| fields.contains(&field)), "{fields:?}");
}

#[test]
fn shows_what_connected_and_what_the_time_is_made_of() {
    let mut collector = without_aaaa();
    let connects = |millis: u64, more: Value| {
        let mut record = json!({"ts": at(millis), "protocol": "tcp", "address": "192.0.2.80", "port": 443,
            "match": "sole", "name": "www.example.com", "lookup_event_id": LOOKUP, "outcome": "established",
            "connect_ms": 40.0, "count": 1, "process": {"pid": 7, "uid": 0, "comm": "curl"}});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    };
    let uses = [
        connects(8_010, json!({"outcome": "refused", "connect_ms": 10.0, "ttl_left_ms": -2_500.0})),
        connects(8_015, json!({"first_byte_ms": 30.0})),
        connects(
            8_060,
            json!({"address": "2001:db8::1", "match": "none", "name": null, "lookup_event_id": null,
            "protocol": "udp", "outcome": "unknown", "connect_ms": null}),
        ),
    ];
    collector.has_uses = true;
    for record in &uses {
        collector.line(Stream::Uses, record.to_string().as_bytes());
    }
    assert_eq!(collector.unreadable, 0);
    // The wait for AAAA ends with the first connection.
    let trace = collector.finish(&subject(8_100));
    assert_eq!(trace.processes[0].lookups[0].uses.len(), 2, "{trace:#?}");
    assert!((trace.connect_ms.unwrap() - 45.0).abs() < 0.01, "{trace:#?}");
    let text = render(&trace, None, true);
    for line in [
        "8.100 s = 8.000 s DNS + 0.045 s connecting + 0.030 s to the first byte + 0.025 s the rest",
        "connects to 192.0.2.80:443: refused after 0.010 s, the answer stale for 2.500 s",
        "connects to 192.0.2.80:443: established after 0.040 s, first byte 0.030 s later",
        "connects to [2001:db8::1]:443 (udp); no name was looked up for it",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let schema = dnscribe_record::json_schema("dns.trace/1").unwrap();
    assert!(jsonschema::is_valid(&schema, &serde_json::to_value(trace).unwrap()));
}

/// What was waited for longest is what the first line names.
#[test]
fn names_the_connection_that_took_longer_than_dns() {
    let traced = |latency: f64, connect_ms: f64, outcome: &str| {
        let mut collector = collect(&[transaction(1, 10, "A", Some(latency))], &[lookup(&[1])]);
        collector.has_uses = true;
        let record = json!({"ts": at(640), "protocol": "tcp", "address": "192.0.2.80", "port": 443, "match": "sole",
            "name": "www.example.com", "lookup_event_id": LOOKUP, "outcome": outcome, "connect_ms": connect_ms, "count": 1,
            "process": {"pid": 7, "uid": 0, "comm": "curl"}});
        collector.line(Stream::Uses, record.to_string().as_bytes());
        let text = render(&collector.finish(&subject(8_000)), None, true);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let peer = "connecting to 192.0.2.80:443 (www.example.com)";
    assert_eq!(
        traced(630.0, 7_356.0, "timeout"),
        format!("curl spent 7.356 of 8.0 s {peer}, which did not answer")
    );
    assert_eq!(traced(1.0, 7_000.0, "established"), format!("curl spent 7.000 of 8.0 s {peer}"));
    assert_eq!(
        traced(630.0, 600.0, "established"),
        "curl spent 0.630 of 8.0 s waiting for 192.0.2.53, one answer"
    );
    assert_eq!(traced(1.0, 40.0, "refused"), "curl waited 0.0010 of 8.0 s for DNS");
}

/// What each connection took counts: in the sum, and in the first line by peer and outcome.
#[test]
fn adds_up_the_connections_to_one_peer() {
    let mut collector = collect(&[transaction(1, 10, "A", Some(1.0))], &[lookup(&[1])]);
    collector.has_uses = true;
    let mut add = |millis: u64, port: u16, outcome: &str, connect_ms: f64| {
        let record = json!({"ts": at(millis), "protocol": "tcp", "address": "192.0.2.80", "port": port, "match": "sole",
            "name": "www.example.com", "lookup_event_id": LOOKUP, "outcome": outcome, "connect_ms": connect_ms, "count": 1,
            "process": {"pid": 7, "uid": 0, "comm": "curl"}});
        collector.line(Stream::Uses, record.to_string().as_bytes());
    };
    add(20, 80, "established", 1_200.0);
    for number in 0..40 {
        add(2_000 + number * 100, 443, "timeout", 100.0);
    }
    // At the same time as another one.
    add(2_050, 443, "timeout", 50.0);
    let text = render(&collector.finish(&subject(8_000)), None, true);
    let first = "curl spent 4.000 of 8.0 s connecting to 192.0.2.80:443 (www.example.com), which did not answer\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains(" + 5.200 s connecting + "), "{text}");
    assert_eq!(text.matches(" connects to ").count(), 32, "{text}");
    assert!(text.contains("└─ and 10 more connections (-o json has all)\n"), "{text}");
}

#[test]
fn leaves_out_other_processes_and_counts_what_it_asked_alone() {
    let mut other = transaction(1, 10, "A", Some(2.0));
    other["process"]["pid"] = json!(8);
    let update = transaction(2, 20, "SOA", Some(3.0));
    let trace = collect(&[other, update], &[]).finish(&subject(100));
    assert_eq!((trace.queries, trace.lookups, trace.processes.len()), (1, 0, 1));
    assert_eq!(trace.processes[0].others.len(), 1);
}

/// Sampling leaves queries out as a full ring does.
#[test]
fn says_that_packets_are_missing() {
    for (lost_ring_full, sampled_out) in [(2, 0), (0, 2), (1, 1)] {
        let kernel = Kernel { lost_ring_full, sampled_out, ..Kernel::default() };
        let mut collector = without_aaaa();
        collector
            .count(&Counters { kernel: [("cgroup".into(), kernel)].into(), ..Counters::default() });
        let trace = collector.finish(&subject(8_100));
        assert_eq!(trace.lost_packets, 2);
        let text = render(&trace, None, true);
        assert!(text.contains("2 packets of this host were lost or left out"), "{text}");
    }
}

#[test]
fn without_queries_names_reasons() {
    let text = render(&collect(&[], &[]).finish(&subject(2_000)), None, true);
    assert!(
        text.starts_with("curl sent no DNS query in 2.0 s; names may come from /etc/hosts"),
        "{text}"
    );
    let connected = |connect_ms: f64| {
        let mut collector = collect(&[], &[]);
        collector.has_uses = true;
        for port in [80, 443] {
            let record = json!({"ts": at(10), "protocol": "tcp", "address": "192.0.2.80", "port": port, "match": "none",
                "outcome": "timeout", "connect_ms": connect_ms, "count": 1, "process": {"pid": 7, "uid": 0, "comm": "curl"}});
            collector.line(Stream::Uses, record.to_string().as_bytes());
        }
        render(&collector.finish(&subject(2_000)), None, true)
    };
    let text = connected(1.0);
    assert!(
        text.starts_with("curl opened 2 connections, and sent no DNS query in 2.0 s; names may"),
        "{text}"
    );
    let text = connected(1_500.0);
    let first = "curl spent 1.500 of 2.0 s connecting to 192.0.2.80:443, which did not answer, and sent no DNS query; names may";
    assert!(text.starts_with(first), "{text}");
    let killed = TraceSubject { exit_code: Some(137), ..subject(10) };
    let trace = collect(&[], &[]).finish(&killed);
    assert!(render(&trace, Some(9), true).contains("ended by signal 9"));
    assert!(render(&trace, None, true).contains("exit code 137"), "it may end so by itself");
}

#[test]
fn says_who_is_asked_before_dns() {
    let of = |line: &str| name_service(&format!("passwd: files sss\n{line}\n"));
    assert!(
        of("hosts: mymachines resolve [!UNAVAIL=return] files dns")
            .unwrap()
            .contains("systemd-resolved")
    );
    assert!(of("hosts: files mdns4_minimal [NOTFOUND=return] dns").unwrap().contains("avahi"));
    for line in [
        "hosts: files dns",
        "hosts: files dns resolve",
        "hosts: files # resolve",
        "#hosts: resolve",
        "",
    ] {
        assert_eq!(of(line), None, "{line}");
    }
}

#[test]
fn escapes_control_characters() {
    let mut record = transaction(1, 10, "TXT", Some(1.0));
    record["process"]["comm"] = json!("a\u{1b}[2Jb");
    record["answers"] = json!([{"type": "TXT", "data": "\u{9b}0m\n"}]);
    let text = render(&collect(&[record], &[]).finish(&subject(100)), None, true);
    assert!(!text.chars().any(|one| one.is_control() && one != '\n'), "{text:?}");
}
