use super::*;
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
    assert!(text.contains("all the time"), "{text}");
    let text = report(&outage(), TimeSpan { from: at(9_000), to: None });
    assert!(text.contains("There is no DNS transaction in this time."), "{text}");
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
    let text = report(&[one, alert, change, lookup], TimeSpan::default());
    let (page, _) = text.split_once("<script>").unwrap();
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
        r#"{"schema":"other/1"}"#,
    ] {
        model.line(line.as_bytes());
    }
    assert_eq!(model.records().1, 3);
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
