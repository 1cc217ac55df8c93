use super::*;
use dnscribe_record::ledger::{Counters, Delivery};
use dnscribe_record::time::Timestamp;
use serde_json::{Value, json};

fn transaction(
    second: u64,
    resolver: &str,
    qname: &str,
    status: &str,
    rcode: Option<&str>,
) -> Value {
    let ts = Timestamp::from_nanos((1_795_332_600 + second) * 1_000_000_000);
    let mut record = json!({
        "schema": "dns.transaction/1", "event_id": format!("{second:032x}"), "ts": ts, "node": "worker-1",
        "vantage": "client", "client_ip": "198.51.100.7", "resolver": resolver, "qname": qname, "qtype": "A",
        "zone": "example.com", "status": status, "retries": 0,
        "process": {"pid": 7, "uid": 0, "comm": "shop"},
    });
    if let Some(rcode) = rcode {
        record["rcode"] = json!(rcode);
        record["latency_ms"] = json!(2.5);
    }
    record
}

fn report(records: &[Value], span: TimeSpan) -> String {
    let mut model = ReportModel::new(span);
    for record in records {
        model.line(record.to_string().as_bytes());
    }
    render(&model, &ReportSource { title: String::new(), source: "records.ndjson".into() })
}

/// An hour in which a resolver does not answer for five minutes.
fn outage() -> Vec<Value> {
    let mut records = Vec::new();
    for second in (0..3_600).step_by(5) {
        let is_down = (1_200..1_500).contains(&second);
        let (status, rcode) =
            if is_down { ("timeout", None) } else { ("answered", Some("NOERROR")) };
        records.push(transaction(second, "corp-a", "www.example.com", status, rcode));
        records.push(transaction(second, "corp-b", "api.example.com", "answered", Some("NOERROR")));
    }
    records
}

#[test]
fn says_who_failed_and_when() {
    let text = report(&outage(), TimeSpan::default());
    assert!(
        text.contains(
            "corp-a: 60 of 720 queries (8.3 %) failed, 60 without an answer, mostly 2026-11-22 07:49:52 to 07:5"
        ),
        "{text}"
    );
    assert!(!text.contains("corp-b: "), "a healthy resolver has no sentence");
    assert!(text.contains("1,440 queries of 1 client to 2 resolvers; 60 (4.2 %) failed"), "{text}");
}

#[test]
fn counts_those_who_asked_and_were_asked() {
    let query = transaction(0, "corp-a", "www.example.com", "answered", Some("NOERROR"));
    let mut records = vec![query];
    // Forged answers, some of them to addresses that asked nothing.
    for number in 0..20_000 {
        let resolver = format!("forger-{number:05}");
        let mut forged = transaction(1, &resolver, "www.example.com", "orphan", Some("NOERROR"));
        forged["client_ip"] = json!(format!("203.0.113.{}", number % 20));
        records.push(forged);
    }
    let text = report(&records[..21], TimeSpan::default());
    assert!(text.contains("1 query of 1 client to 1 resolver; all"), "{text}");
    let text = report(&records, TimeSpan::default());
    assert!(text.contains("1 query of 1 client to at least 1 resolver; all"), "{text}");
    let text = report(&records[1..], TimeSpan::default());
    assert!(text.contains("There is no query in this time, only responses"), "{text}");
}

#[test]
fn counts_no_more_clients_than_it_can_tell_apart() {
    let mut model = ReportModel::new(TimeSpan::default());
    for number in 0..=100_000 {
        model.note_client(&number.to_string());
        model.note_client("0");
    }
    assert!(model.has_more_clients && model.clients.len() == 100_000);
}

#[test]
fn says_first_what_a_dead_resolver_costs() {
    let mut records: Vec<Value> = Vec::new();
    for second in [0, 5, 10] {
        let lookup = json!({"schema": "dns.lookup/1", "ts": transaction(second, "", "", "", None)["ts"],
            "client_ip": "198.51.100.7", "outcome": "answered", "duration_ms": 5_022.0, "packets": 2, "packets_wasted": 1});
        records.push(transaction(second, "dead", "a.example.com", "timeout", None));
        records.push(transaction(second, "alive", "a.example.com", "answered", Some("NOERROR")));
        records.push(lookup);
    }
    let text = report(&records, TimeSpan::default());
    let place =
        |sentence: &str| text.find(sentence).unwrap_or_else(|| panic!("{sentence}: {text}"));
    let dead = place("None of the 3 queries to dead was answered.");
    let slow = place(
        "3 of 3 lookups took applications a second or longer: 5.02 s on average, with retries and second resolvers.",
    );
    let all = place("6 queries of 1 client to 2 resolvers; 3 (50.0 %) failed");
    assert!(dead < slow && slow < all);
    // Two queries may be lost anywhere.
    let text = report(&records[..4], TimeSpan::default());
    assert!(!text.contains("None of the"), "{text}");
}

/// A ledger without packets, with these counters of transactions at each sink.
fn ledger(node: &str, sinks: &[(&str, Delivery)]) -> Value {
    let ts = &transaction(1, "", "", "", None)["ts"];
    let mut counters = Counters::default();
    for (sink, transactions) in sinks {
        let streams = [("transactions".to_owned(), transactions.clone())].into();
        counters.delivery.insert((*sink).to_owned(), streams);
    }
    let mut record = json!(counters);
    let fields = json!({"schema": "dns.ledger/1", "event_id": "1", "ts": ts, "node": node, "epoch": ts,
        "uptime_seconds": 9.0, "final": true, "balanced": true});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    record
}

#[test]
fn says_what_filters_and_sinks_left_out() {
    const COMPLETE: &str = "No packet was lost: the ledger accounts for every one.";
    let delivery = |delivered: u64, filtered: u64, full: u64| Delivery {
        records: delivered + filtered + full,
        delivered,
        filtered,
        dropped: [("queue_full".into(), full)].into(),
        ..Delivery::default()
    };
    let page = |ledgers: &[Value]| {
        let mut records = vec![transaction(1, "corp-a", "a.example.com", "timeout", None)];
        records.extend_from_slice(ledgers);
        report(&records, TimeSpan::default())
    };
    let text = page(&[ledger("a", &[("file", delivery(212, 0, 0))])]);
    assert!(text.contains(COMPLETE) && !text.contains("The figures are without"), "{text}");

    // Two sinks lack the same transactions; another capture lacks one of its own.
    let both = [("file", delivery(23, 189, 0)), ("stdout", delivery(23, 189, 0))];
    let text = page(&[ledger("a", &both), ledger("b", &[("file", delivery(211, 1, 0))])]);
    let sentence = "The figures are without 190 transactions that filters left out.";
    assert!(text.contains(sentence) && !text.contains(COMPLETE), "{text}");

    let text = page(&[ledger("a", &[("file", delivery(211, 0, 1))])]);
    let sentence = "The figures are without 1 transaction that a sink dropped.";
    assert!(text.contains(sentence) && !text.contains(COMPLETE), "{text}");

    let text = report(&[ledger("a", &[("file", delivery(0, 212, 0))])], TimeSpan::default());
    assert!(text.contains("There is no DNS transaction in this time."), "{text}");
    assert!(text.contains("The figures are without 212 transactions that filters"), "{text}");
}

#[test]
fn depends_on_the_records_only() {
    let mut records = outage();
    let first = report(&records, TimeSpan::default());
    assert_eq!(first, report(&records, TimeSpan::default()));
    // Records of several nodes come in any order; examples are the first ones of their kind.
    records.sort_by_key(|record| record["resolver"].as_str().map(str::to_owned));
    let other = report(&records, TimeSpan::default());
    let head = |text: &str| text.split_once("id=\"evidence\"").unwrap().0.to_owned();
    assert_eq!(head(&first), head(&other));
}

#[test]
fn limits_time() {
    let at = |second: u64| Some(Timestamp::from_nanos((1_795_332_600 + second) * 1_000_000_000));
    let text = report(&outage(), TimeSpan { from: at(1_200), to: at(1_500) });
    assert!(
        text.contains("120 queries of 1 client") && text.contains("60 (50.0 %) failed"),
        "{text}"
    );
    assert!(text.contains("None of the 60 queries to corp-a was answered."), "{text}");
    let text = report(&outage(), TimeSpan { from: at(9_000), to: None });
    assert!(text.contains("There is no DNS transaction in this time."), "{text}");
}

/// A use `second` seconds after the others.
fn use_record(second: u64, name: &str, more: &Value) -> Value {
    let ts = Timestamp::from_nanos((1_795_332_600 + second) * 1_000_000_000);
    let mut record = json!({
        "schema": "dns.use/1", "ts": ts, "node": "worker-1", "match": "sole", "name": name, "outcome": "established",
        "count": 10, "answer_age_ms": 2.0, "ttl_left_ms": 58_000.0, "lookup_ms": 40.0, "connect_ms": 10.0,
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

/// Returns the rows of a table as texts.
fn rows(page: &str, table: &str) -> Vec<String> {
    let Some((_, rest)) = page.split_once(&format!("id=\"{table}-caption\"")) else {
        return Vec::new();
    };
    let (_, body) = rest.split_once("<tbody>").unwrap();
    let (body, _) = body.split_once("</tbody>").unwrap();
    let text = |row: &str| {
        let parts = row.split('<').filter_map(|part| part.split_once('>'));
        parts
            .map(|(_, text)| text.trim())
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join(" | ")
    };
    body.split("</tr>").map(text).filter(|text| !text.is_empty()).collect()
}

#[test]
fn shows_destinations() {
    let mut records = outage();
    assert!(!report(&records, TimeSpan::default()).contains("Destinations"));
    let kept = json!({ "answer_age_ms": 600_000.0, "ttl_left_ms": -540_000.0, "lookup_ms": 9_000.0, "outcome": "refused", "count": 5 });
    let none = json!({ "match": "none", "name": null, "count": 3, "outcome": "unknown" });
    let several = json!({ "match": "ambiguous", "name": null, "count": 2 });
    // Expired just now: nothing is wrong yet.
    let expired = json!({ "ttl_left_ms": -10.0 });
    records.extend([
        use_record(1, "api.example.com", &json!({})),
        use_record(2, "www.example.com", &expired),
        use_record(3, "api.example.com", &kept),
        use_record(4, "", &none),
        use_record(5, "", &several),
        use_record(9_000, "later.example.com", &json!({})),
    ]);
    let to = Some(Timestamp::from_nanos((1_795_332_600 + 8_000) * 1_000_000_000));
    let page = report(&records, TimeSpan { from: None, to });
    for words in [
        "30 connections: 5 (16.7 %) failed; 5 (16.7 %) used",
        "3 (10.0 %) led",
        "2 (6.7 %) to addresses of several",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let most = rows(&page, "destinations-most");
    assert_eq!(most.len(), 2, "{most:?}");
    // The lookup of nine seconds was long before the connection.
    assert!(
        most[0].starts_with("api.example.com | 15 | 50.0 % | 33.3 % | 33.3 % | 40"),
        "{most:?}"
    );
    assert!(most[1].starts_with("www.example.com | 10 | 33.3 % | 0 | 0 | 40"), "{most:?}");
    assert_eq!(rows(&page, "destinations-failed").len(), 1);
    assert_eq!(rows(&page, "destinations-stale").len(), 1);
}

#[test]
fn shows_lost_messages() {
    let mut records = outage();
    assert!(!report(&records, TimeSpan::default()).contains("Lost messages"));
    for (number, record) in records.iter_mut().enumerate().take(7) {
        let lost = json!({ "message": "query", "stage": "netfilter", "hook": "output", "reason": "NETFILTER_DROP" });
        let full = json!({ "message": "response", "stage": "socket", "reason": "SOCKET_RCVBUFF" });
        record["lost_at"] = if number < 5 { lost } else { full };
    }
    let page = report(&records, TimeSpan::default());
    let sentence = "7 transactions lost messages on the host of their process or server. Most of them, 5, are of shop host at worker-1: the query at netfilter/output (NETFILTER_DROP).";
    assert!(page.contains(sentence), "{page}");
    assert_eq!(
        rows(&page, "lost-messages"),
        [
            "worker-1 | query | netfilter/output | NETFILTER_DROP | shop host | 5",
            "worker-1 | response | socket | SOCKET_RCVBUFF | shop host | 2",
        ]
    );
}

#[test]
fn hostile_texts_stay_texts() {
    const HOSTILE: &str = "\"'><script>alert(1)</script><svg/onload=x>";
    let mut one = transaction(1, HOSTILE, HOSTILE, "timeout", None);
    for field in ["node", "client_ip", "zone", "qtype"] {
        one[field] = json!(HOSTILE);
    }
    one["process"]["comm"] = json!(HOSTILE);
    let ts = one["ts"].clone();
    let alert = json!({"schema": "dns.alert/1", "alert_id": "a", "ts": ts, "started": ts, "ended": ts, "rule": HOSTILE,
        "entity": HOSTILE, "state": "resolved", "severity": "critical", "summary": HOSTILE, "runbook": "javascript:alert(2)"});
    let change = json!({"schema": "dns.change/1", "ts": ts, "kind": HOSTILE, "zone": HOSTILE, "summary": HOSTILE, "actor": HOSTILE});
    let lookup = json!({"schema": "dns.lookup/1", "ts": ts, "client_ip": HOSTILE, "outcome": HOSTILE, "packets": 9, "packets_wasted": 9});
    one["lost_at"] =
        json!({ "message": HOSTILE, "stage": HOSTILE, "hook": HOSTILE, "reason": HOSTILE });
    let used = use_record(1, HOSTILE, &json!({ "outcome": "refused", "ttl_left_ms": -1e9 }));
    let text = report(&[one, alert, change, lookup, used], TimeSpan::default());
    let (page, _) = text.split_once("<script>").unwrap();
    for table in ["destinations-most", "destinations-failed", "destinations-stale", "lost-messages"]
    {
        assert_eq!(rows(page, table).len(), 1, "{table}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<svg/onload"), "{page}");
    assert!(!page.contains("javascript:"), "{page}");
    assert_eq!(text.matches("<script").count(), 1, "the page's own");
}

#[test]
fn counts_what_is_no_record() {
    let mut model = ReportModel::new(TimeSpan::default());
    for line in [
        "no json",
        "{}",
        r#"{"schema":"dns.transaction/1","ts":"never"}"#,
        r#"["dns.transaction/1"]"#,
        r#"{"schema":"dns.transaction/2"}"#,
        r#"{"schema":"dns.window/1"}"#,
    ] {
        model.line(line.as_bytes());
    }
    assert_eq!((model.records(), model.unreadable().lines()), (0, 5));
    let page = |model: &ReportModel| {
        render(model, &ReportSource { title: String::new(), source: "records.ndjson".into() })
    };
    let left_out = "The figures are without 5 lines that this version cannot read: 1 of schema dns.transaction/2, 4 of other kinds.";
    assert!(page(&model).contains(left_out), "{}", page(&model));
    let good = transaction(1, "corp-a", "www.example.com", "timeout", None);
    model.line(good.to_string().as_bytes());
    assert!(page(&model).contains(left_out), "{}", page(&model));
}

#[test]
fn stays_below_a_megabyte() {
    let mut model = ReportModel::new(TimeSpan::default());
    for number in 0..20_000u64 {
        let resolver = format!("2001:db8::{:x}", number % 1_000);
        let mut one = transaction(
            number,
            &resolver,
            &format!("{}.{number}.example.com", "x".repeat(180)),
            "timeout",
            None,
        );
        one["zone"] = json!(format!("{}-{number}.example", "z".repeat(60)));
        one["client_ip"] = json!(format!("10.0.{}.{}", number / 250 % 250, number % 250));
        one["process"]["comm"] = json!(format!("worker-{number}"));
        model.line(one.to_string().as_bytes());
    }
    let text = render(&model, &ReportSource { title: "large".into(), source: "test".into() });
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
}
