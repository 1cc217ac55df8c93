//! The Alertmanager sink against a real Alertmanager: alerts start, end, and return after its
//! restart.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use anyhow::Context as _;
use dnscribe_delivery::{
    AlertmanagerConfig, Batch, KafkaConfig, OpenWith, Sink, SinkSpec, Stream, open,
};
use dnscribe_record::time::Timestamp;
use dnscribe_tests::alertmanager::Alertmanager;
use dnscribe_tests::certificates::{Authority, Validity};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const RECORD_LIMIT: Duration = Duration::from_mins(1);
/// Resend interval; the default is a minute.
const RESEND: Duration = Duration::from_secs(1);

fn sink(alertmanager: &Alertmanager) -> Box<dyn Sink> {
    let config = AlertmanagerConfig {
        urls: vec![format!("http://{}", alertmanager.address())],
        authorization: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
        resend: RESEND,
        labels: BTreeMap::from([("team".to_owned(), "dns".to_owned())]),
        generator_url: Some("https://dashboards.example/dns".to_owned()),
    };
    let kafka = KafkaConfig::default();
    let with = OpenWith { alertmanager: Some(&config), ..OpenWith::new("n", &kafka) };
    open(&[SinkSpec::Alertmanager], &with).unwrap().remove(0)
}

/// A batch with one alert for this resolver.
fn alert(resolver: &str, severity: &str, state: &str) -> Arc<Batch> {
    let now = Timestamp::now();
    let ended = (state == "resolved").then(|| now.to_string());
    let record = json!({
        "schema": "dns.alert/1", "event_id": "00", "ts": now.to_string(), "node": "n",
        "alert_id": resolver, "rule": "resolver_down", "resolver": resolver, "vantage": "client",
        "entity": format!("resolver={resolver},vantage=client"), "state": state,
        "severity": severity, "started": "2026-01-01T00:00:00.000000000Z", "ended": ended,
        "duration_seconds": 1.0, "summary": format!("{resolver} answers nothing any more"),
        "figures": [{ "name": "timeout_ratio", "value": 1.0, "threshold": 0.5 }], "suppressed": 0,
        "runbook": "https://runbooks.example/resolver-down.md",
    });
    let mut batch = Batch::default();
    batch.push_json(Stream::Alerts, 1, &record, b"key");
    Arc::new(batch)
}

/// Waits until Alertmanager's alerts satisfy a condition; returns them.
fn alerts(
    alertmanager: &Alertmanager,
    what: &str,
    wished: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let found = shell::wait_for(what, RECORD_LIMIT, || {
        let alerts = alertmanager.alerts()?;
        Ok(wished(&alerts).then_some(alerts))
    });
    found.with_context(|| format!("{:#?}", alertmanager.alerts())).unwrap()
}

#[test]
fn alerts_start_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut alertmanager = Alertmanager::new(folder.path()).unwrap();
    alertmanager.start().unwrap();
    let mut sink = sink(&alertmanager);
    sink.offer(&alert("192.0.2.53", "warning", "firing"));
    sink.offer(&alert("192.0.2.54", "critical", "firing"));
    assert!(sink.flush(RECORD_LIMIT));
    let received = alerts(&alertmanager, "both alerts", |alerts| alerts.len() == 2);
    let first = received.iter().find(|alert| alert["labels"]["resolver"] == "192.0.2.53").unwrap();
    let labels = json!({
        "alertname": "DnsResolverDown", "rule": "resolver_down", "severity": "warning",
        "node": "n", "resolver": "192.0.2.53", "vantage": "client", "team": "dns",
    });
    assert_eq!(first["labels"], labels);
    assert_eq!(first["status"]["state"], "active");
    assert_eq!(first["startsAt"], "2026-01-01T00:00:00.000Z");
    assert_eq!(first["generatorURL"], "https://dashboards.example/dns");
    let annotations = &first["annotations"];
    assert_eq!(annotations["runbook_url"], "https://runbooks.example/resolver-down.md");
    assert_eq!(annotations["description"], "timeout_ratio 1 (threshold 0.5)");

    // Longer than Alertmanager keeps an alert that is not sent again.
    let ends = |alert: &Value| alert["endsAt"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let later = Timestamp::now().plus(RESEND * 5);
    let of = |alerts: &[Value], resolver: &str| {
        alerts.iter().find(|alert| alert["labels"]["resolver"] == resolver).cloned()
    };
    alerts(&alertmanager, "an alert to go on", |alerts| {
        of(alerts, "192.0.2.53").is_some_and(|alert| ends(&alert) > later)
    });

    sink.offer(&alert("192.0.2.53", "critical", "firing"));
    alerts(&alertmanager, "one critical alert", |alerts| {
        let critical = alerts.iter().all(|alert| alert["labels"]["severity"] == "critical");
        critical && alerts.len() == 2 && of(alerts, "192.0.2.53").is_some()
    });
    sink.offer(&alert("192.0.2.53", "critical", "resolved"));
    alerts(&alertmanager, "the end of one alert", |alerts| {
        alerts.len() == 1 && of(alerts, "192.0.2.54").is_some()
    });
    // Alertmanager may show the end before its response is read.
    assert!(sink.flush(RECORD_LIMIT));
    let counted = sink.counters()["alerts"].clone();
    assert_eq!((counted.records, counted.delivered), (4, 4));
    sink.close();
    alerts(&alertmanager, "the other to expire with the agent", <[Value]>::is_empty);
}

#[test]
fn alerts_return_after_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut alertmanager = Alertmanager::new(folder.path()).unwrap();
    let mut sink = sink(&alertmanager);
    sink.offer(&alert("192.0.2.53", "critical", "firing"));
    assert!(!sink.flush(Duration::from_millis(500)), "Alertmanager is down");
    assert_eq!(sink.counters()["alerts"].in_flight, 1);
    alertmanager.start().unwrap();
    assert!(sink.flush(RECORD_LIMIT));
    alerts(&alertmanager, "the alert", |alerts| alerts.len() == 1);
    alertmanager.kill();
    fs::remove_dir_all(folder.path().join("storage")).unwrap();
    alertmanager.start().unwrap();
    alerts(&alertmanager, "the alert again", |alerts| alerts.len() == 1);
    alertmanager.kill();
    sink.offer(&alert("192.0.2.53", "critical", "resolved"));
    sink.offer(&alert("192.0.2.54", "critical", "firing"));
    alertmanager.start().unwrap();
    let received = alerts(&alertmanager, "only active alerts", |alerts| alerts.len() == 1);
    assert_eq!(received[0]["labels"]["resolver"], "192.0.2.54");
    sink.close();
}

#[test]
fn check_reports_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let authority = Authority::new("alertmanager's authority").unwrap();
    let server = authority.server(&["127.0.0.1"], Validity::Current).unwrap();
    let (certificate, key) = (write("a.crt", &server.certificate), write("a.key", &server.key));
    let ca = write("ca.pem", &authority.pem().unwrap());
    let password = write("password", "hunter2\n");
    // "hunter2" as a bcrypt hash.
    let hash = "$2b$04$ukz085RfzameTAShWFELFetjeUfrtPUf9Sv4duD9W26rZDPCn2xcC";
    let web = format!(
        "tls_server_config: {{ cert_file: {certificate}, key_file: {key} }}\n\
         basic_auth_users: {{ me: {hash} }}\n"
    );
    let mut alertmanager = Alertmanager::new(folder).unwrap().with_web(&web);
    alertmanager.start().unwrap();
    let address = alertmanager.address();
    let check = |section: &str| check(folder, section);

    let login = format!("username: me, password_file: {password}");
    let all = format!("urls: [\"https://{address}\"], ca_file: {ca}, {login}");
    let found = check(&all);
    assert_eq!(found["ok"], true, "{found}");
    assert!(found["detail"].as_str().unwrap().starts_with("Alertmanager 0."), "{found}");
    let elsewhere = dnscribe_tests::agent::free_address().unwrap();
    let urls = "alertmanager.urls";
    for (section, why, remedy) in [
        (format!("urls: [\"https://{address}\"], {login}"), "certificate", "alertmanager.ca_file"),
        (
            format!("urls: [\"https://{address}\"], ca_file: {ca}"),
            "answers 401",
            "alertmanager.username",
        ),
        (format!("urls: [\"http://{address}\"], {login}"), "answers 400", urls),
        (format!("urls: [\"https://{address}/no\"], ca_file: {ca}, {login}"), "answers 404", urls),
        (format!("urls: [\"https://{elsewhere}\"]"), "refused", urls),
    ] {
        let found = check(&section);
        let detail = found["detail"].as_str().unwrap();
        assert!(found["ok"] == false && detail.contains(why), "{section}: {found}");
        assert!(found["remedy"].as_str().unwrap().contains(remedy), "{section}: {found}");
        assert!(detail.contains(&format!("{address}")) || why == "refused", "{found}");
        assert!(!found.to_string().contains("hunter2"));
    }
}

/// Returns the result of `dnscribe check` for Alertmanager.
fn check(folder: &Path, section: &str) -> Value {
    let file = folder.join("dnscribe.yaml");
    fs::write(&file, format!("version: 1\nalertmanager: {{ {section} }}\n")).unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["check", "-o", "json", "--metrics-listen", "off", "--sink", "null"]);
    let output = command.arg("--config").arg(file).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let probes = report["probes"].as_array().unwrap();
    probes.iter().find(|probe| probe["name"] == "alertmanager").unwrap().clone()
}
