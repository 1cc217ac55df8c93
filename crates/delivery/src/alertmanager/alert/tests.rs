use super::*;
use crate::alertmanager::tests::config;

/// An alert record with the fields in `more` replaced.
pub(in crate::alertmanager) fn alert(more: &Value) -> AlertRecord {
    let mut record = json!({
        "schema": "dns.alert/1", "event_id": "00", "ts": "2026-11-20T07:30:30.000000000Z",
        "node": "n", "alert_id": "a1", "rule": "resolver_down",
        "entity": "resolver=192.0.2.53,vantage=client", "resolver": "192.0.2.53",
        "vantage": "client", "state": "firing", "severity": "critical",
        "started": "2026-11-20T07:30:10.000000000Z", "duration_seconds": 20.0,
        "summary": "192.0.2.53 answers nothing any more",
        "figures": [
            { "name": "timeout_ratio", "value": 1.0, "threshold": 0.5, "baseline_mean": 0.01,
              "baseline_deviation": 0.005, "z_score": 198.000_04 },
            { "name": "queries", "value": 5000.0 },
        ],
        "samples": ["e1"], "qnames": ["a", "b", "c", "d", "e", "f", "g"], "suppressed": 3,
        "runbook": "https://runbooks.example/resolver-down.md", "evidence_file": "/e/a1.pcapng",
    });
    for (field, value) in more.as_object().unwrap() {
        record[field] = value.clone();
    }
    serde_json::from_value(record).unwrap()
}

#[test]
fn converts_all_fields() {
    let config = AlertmanagerConfig {
        labels: [("team".to_owned(), "dns".to_owned())].into(),
        generator_url: Some("https://dashboards.example/dns".into()),
        ..config("http://a")
    };
    let to_json = alert(&json!({})).to_json("2026-11-20T07:35:00Z", &config);
    assert_eq!(
        to_json["labels"],
        json!({
            "team": "dns", "alertname": "DnsResolverDown", "rule": "resolver_down",
            "severity": "critical", "node": "n", "resolver": "192.0.2.53", "vantage": "client",
        })
    );
    let annotations = &to_json["annotations"];
    assert_eq!(annotations["runbook_url"], "https://runbooks.example/resolver-down.md");
    assert_eq!(annotations["evidence_file"], "/e/a1.pcapng");
    assert_eq!(
        annotations["description"],
        "timeout_ratio 1 (threshold 0.5, usually 0.01 ± 0.005, z-score 198)\nqueries 5000\n\
         names: a, b, c, d, e, and 2 more\nother alerts that this explains: 3"
    );
    assert_eq!(to_json["startsAt"], "2026-11-20T07:30:10.000000000Z");
    assert_eq!(to_json["endsAt"], "2026-11-20T07:35:00Z");
    assert_eq!(to_json["generatorURL"], "https://dashboards.example/dns");
}

#[test]
fn never_ends_before_it_begins() {
    let to_json = alert(&json!({})).to_json("2026-11-20T07:30:09Z", &config("http://a"));
    assert_eq!(to_json["endsAt"], to_json["startsAt"]);
}
