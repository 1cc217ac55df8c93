//! Rules of Prometheus and routes of Alertmanager, checked by promtool and amtool.

use dnscribe_tests::prometheus::Program;
use dnscribe_tests::{environment, grafana, shell};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// Labels of an alert with the receivers that it reaches, in order.
const ROUTES: [(&[&str], &str); 5] = [
    (&["severity=info", "alertname=DnscribeSampling"], "chat"),
    (&["severity=warning", "zone=shop.example"], "ticket,chat"),
    (&["severity=critical", "scope=fleet", "rule=resolver_failing"], "page,ticket,chat"),
    (&["severity=critical", "alertname=DnscribeErrorBudgetBurnsFast"], "page,ticket,chat"),
    (&["alertname=WithoutSeverity"], "chat"),
];

fn run(program: Program, words: &[&str]) -> String {
    let mut command = Command::new(program.file().unwrap());
    let output = shell::output(command.args(words).current_dir(grafana::folder())).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn prometheus_rules_do_what_their_tests_say() {
    for name in ["dnscribe", "stream", "kpi"] {
        check_rules(name);
    }
}

/// Checks a file of rules, that each alert has a test, and that pages and boards exist. The rules of KPIs are all made by
/// the same lines: some have a test.
fn check_rules(name: &str) {
    let [rules, tests] = ["rules", "tests"].map(|kind| format!("prometheus/{kind}/{name}.yaml"));
    let found = run(Program::Promtool, &["check", "rules", &rules]);
    assert!(found.contains("rules found"), "{found}");
    run(Program::Promtool, &["test", "rules", &tests]);

    let read = |name: &str| fs::read_to_string(grafana::folder().join(name)).unwrap();
    let (rules, tests) = (read(&rules), read(&tests));
    let values = |key: &str| -> Vec<String> {
        let lines = rules.lines().map(|line| line.trim().trim_start_matches("- "));
        lines
            .filter_map(|line| Some(line.strip_prefix(key)?.trim().trim_matches('"').to_owned()))
            .collect()
    };
    let alerts = values("alert:");
    assert!(alerts.len() > 4);
    // Others have rules in the same Prometheus.
    assert!(alerts.iter().all(|alert| alert.starts_with("Dnscribe")), "{alerts:?}");
    for alert in alerts.iter().filter(|_| name != "kpi") {
        assert!(tests.contains(&format!("alertname: {alert}")), "{alert} has no test");
    }
    for page in values("runbook_url:") {
        let address = dnscribe_record::RUNBOOKS.trim_end_matches("runbooks");
        let file =
            page.strip_prefix(address).map(|name| environment::workspace().join("docs").join(name));
        assert!(file.is_some_and(|file| file.is_file()), "{page}");
    }
    for board in values("dashboard:") {
        let file = grafana::folder().join(format!("dashboards/{board}.json"));
        assert!(file.is_file(), "{board}");
    }
}

/// Rules of Grafana and the boards lead to the pages at the address that the other rules and the agents have: one text to replace.
#[test]
fn rules_of_grafana_name_the_product_and_lead_to_pages() {
    let read = |name: &str| fs::read_to_string(grafana::folder().join(name)).unwrap();
    let rules: Value = serde_json::from_str(&read("provisioning/alerting/rules.json")).unwrap();
    let address = dnscribe_record::RUNBOOKS.trim_end_matches("runbooks");
    let rules = rules["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() > 4);
    for rule in rules {
        assert!(rule["title"].as_str().unwrap().starts_with("Dnscribe"), "{rule}");
        let page = rule["annotations"]["runbook_url"].as_str().unwrap();
        let file = environment::workspace().join("docs").join(page.strip_prefix(address).unwrap());
        assert!(file.is_file(), "{page}");
    }
    let board: Value = serde_json::from_str(&read("dashboards/dnscribe-noc.json")).unwrap();
    let variables = board["templating"]["list"].as_array().unwrap();
    let docs = variables.iter().find(|variable| variable["name"] == "docs").unwrap();
    assert_eq!(docs["query"], address.trim_end_matches('/'));
}

#[test]
fn alerts_take_the_route_of_their_severity() {
    let config = "alertmanager/alertmanager.yaml";
    run(Program::Amtool, &["check-config", config]);
    let option = format!("--config.file={config}");
    for (labels, receivers) in ROUTES {
        let words = [&["config", "routes", "test", &option][..], labels].concat();
        assert_eq!(run(Program::Amtool, &words).trim(), receivers, "{labels:?}");
    }
}

#[test]
fn a_notification_has_evidence_board_and_runbook() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data.json");
    let alert = serde_json::json!({
        "status": "resolved",
        "labels": { "alertname": "DnsTunnel", "rule": "tunnel", "severity": "critical", "zone": "evil.example", "node": "a b", "namespace": "shop" },
        "annotations": { "summary": "Data in names below evil.example.", "description": "names 900 (threshold 100)",
            "changes": "cart 2.0 by ci", "runbook_url": "https://wiki.example/docs/runbooks/tunnel.md" },
        "startsAt": "2026-11-22T10:00:00Z", "endsAt": "2026-11-22T10:20:00Z",
    });
    let message = serde_json::json!({
        "receiver": "chat", "status": "resolved", "alerts": [alert],
        "groupLabels": { "zone": "evil.example" }, "commonLabels": alert["labels"], "commonAnnotations": {},
        "externalURL": "http://alertmanager",
    });
    fs::write(&data, message.to_string()).unwrap();
    let text = run(
        Program::Amtool,
        &[
            "template",
            "render",
            "--template.glob=alertmanager/templates/*.tmpl",
            &format!("--template.data={}", data.display()),
            "--template.text={{ template \"dns.title\" . }}\n{{ template \"dns.text\" . }}",
        ],
    );
    for part in [
        "[RESOLVED] critical zone evil.example DnsTunnel",
        "Data in names below evil.example.",
        "Evidence: names 900 (threshold 100)",
        "Changes: cart 2.0 by ci",
        "/d/dnscribe-security?from=1795339800000&to=1795342800000&var-zone=evil.example&var-node=a+b&var-namespace=shop",
        "Runbook: https://wiki.example/docs/runbooks/tunnel.md",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
