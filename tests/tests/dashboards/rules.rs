//! Rules of Prometheus and routes of Alertmanager, checked by promtool and amtool.

use anyhow::Context as _;
use dnscribe_tests::alertmanager::Alertmanager;
use dnscribe_tests::prometheus::Program;
use dnscribe_tests::{environment, grafana, http, page, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Labels of an alert with the receivers that it reaches, in order.
const ROUTES: [(&[&str], &str); 5] = [
    (&["severity=info", "alertname=DnscribeSampling"], "chat"),
    (&["severity=warning", "zone=shop.example"], "ticket,chat"),
    (&["severity=critical", "scope=fleet", "rule=resolver_failing"], "page,ticket,chat"),
    (&["severity=critical", "alertname=DnscribeErrorBudgetBurnsFast"], "page,ticket,chat"),
    (&["alertname=WithoutSeverity"], "chat"),
];

/// Panels that show what an alert is about, on the board that it leads to.
const PANELS: [(&str, &str); 23] = [
    ("DnscribeErrorBudgetBurnsFast", "Burn rate"),
    ("DnscribeErrorBudgetBurns", "Burn rate"),
    ("DnscribeAgentDown", "Agents down"),
    ("DnscribeAgentRestarts", "Agents"),
    ("DnscribePacketsLost", "Agents"),
    ("DnscribeRecordsDropped", "Losses by stage"),
    ("DnscribeSampling", "Losses by stage"),
    ("DnscribeKafkaAway", "Agents without Kafka"),
    ("DnscribeOtlpAway", "Spool"),
    ("DnscribeSpoolOld", "Spool"),
    ("DnscribeAlertmanagerAway", "Alerts that no Alertmanager has"),
    ("DnscribeWorkloadFailing", "Failing pods"),
    ("DnscribePodsUnknown", "Agents without pods"),
    ("DnscribeProbeDown", "Measurements by service"),
    ("DnscribeProbeServiceFailing", "Measurements by service"),
    ("DnscribeProbeCertificateExpires", "Days until certificates and signatures expire"),
    ("DnscribeKpiStale", "Age of the computation"),
    ("DnscribeStreamJobRestarts", "Failed checkpoints and restarts"),
    ("DnscribeStreamCheckpointsFail", "Failed checkpoints and restarts"),
    ("DnscribeStreamLag", "Records waiting in Kafka"),
    ("DnscribeStreamDown", "Checkpoints"),
    ("DnscribeStoreJobDown", "Checkpoints"),
    ("DnscribeStoreDown", "Records waiting in Kafka"),
];

/// Alerts that fire at once while a store is away and other things fail, with whether another one mutes each. The last one is muted by one
/// before it: when it is, all are judged.
const STORE_AWAY: [(&str, bool); 17] = [
    ("alertname=DnscribeStoreDown severity=critical job=influxdb instance=i", false),
    ("alertname=DnscribeRowsStale severity=critical", false),
    ("alertname=DnscribeStreamCheckpointsFail severity=warning job_name=enrich", false),
    ("alertname=DnscribeStreamLag severity=warning job_name=store-clickhouse", false),
    ("alertname=DnscribeStreamLag severity=warning job_name=store-influxdb", true),
    ("alertname=DnscribeStoreJobDown severity=warning job_name=store-timescaledb", false),
    ("alertname=DnscribeStreamJobRestarts severity=warning job_name=store-timescaledb", true),
    ("alertname=DnsVerdictDns rule=verdict_dns severity=warning service=a", false),
    ("alertname=DnscribeProbeServiceFailing severity=critical service=a kind=http target=a", false),
    ("alertname=DnsVerdictDns rule=verdict_dns severity=critical service=b", false),
    ("alertname=DnscribeProbeServiceFailing severity=critical service=b kind=http target=b", true),
    ("alertname=DnscribeErrorBudgetBurnsFast severity=critical traffic=server", false),
    ("alertname=DnscribeErrorBudgetBurnsFast severity=info traffic=upstream", false),
    ("alertname=DnsResolverDown severity=critical region=eu node=n resolver=r", false),
    ("alertname=DnsResolverDown severity=warning region=us node=n resolver=r", false),
    ("alertname=DnscribeProbeCertificateExpires severity=critical service=s target=t", false),
    ("alertname=DnscribeProbeCertificateExpires severity=warning service=s target=t", true),
];
/// Pairs as above, while `enrich` and `fleet` do not run, and one resolver fails at some nodes, another one at most.
const JOBS_AND_RESOLVERS_DOWN: [(&str, bool); 9] = [
    ("alertname=A rule=resolver_failing scope=fleet severity=warning resolver=some", false),
    ("alertname=B rule=resolver_down severity=critical node=n resolver=some", false),
    ("alertname=C rule=timeout severity=warning node=n resolver=some", true),
    ("alertname=A rule=resolver_failing scope=fleet severity=critical resolver=most", false),
    ("alertname=B rule=resolver_down severity=critical node=n resolver=most", true),
    ("alertname=DnscribeStreamDown severity=critical", false),
    ("alertname=DnscribeStreamLag severity=warning job_name=store-clickhouse", false),
    ("alertname=DnscribeStreamCheckpointsFail severity=warning job_name=enrich", true),
    ("alertname=DnscribeRowsStale severity=critical", true),
];

/// Rules of agents, fleet and probes, with the boards that their notifications lead to.
const BOARDS: [(&str, &str); 13] = [
    ("resolver_down", "noc"),
    ("receive_buffer", "noc"),
    ("tunnel", "security"),
    ("indicator", "security"),
    ("dnssec_disagreement", "security"),
    ("resolver_disagreement", "security"),
    ("stale_address", "uses"),
    ("no_lookup", "uses"),
    ("verdict_dns", "probes"),
    ("certificate_expiry", "probes"),
    ("signature_expiry", "probes"),
    ("target_latency", "probes"),
    ("site_disagreement", "probes"),
];

/// Time limit for what an Alertmanager makes of alerts.
const JUDGED: Duration = Duration::from_secs(30);

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
    let boards = values("dashboard:");
    assert_eq!(boards.len(), alerts.len());
    for (alert, board) in alerts.iter().zip(boards) {
        let text = read(&format!("dashboards/{board}.json"));
        let panel = PANELS.iter().find(|(name, _)| name == alert);
        assert!(panel.is_some() || name == "kpi", "{alert}: which panel shows it?");
        if let Some((_, title)) = panel {
            assert!(text.contains(&format!("\"title\": \"{title}\"")), "{alert}: {board}");
        }
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

/// Alerts mute those that follow from them, and no others.
#[test]
fn alerts_mute_their_effects_alone() {
    for alerts in [&STORE_AWAY[..], &JOBS_AND_RESOLVERS_DOWN[..]] {
        let folder = tempfile::tempdir().unwrap();
        let config = fs::read_to_string(grafana::folder().join("alertmanager/alertmanager.yaml"));
        let alertmanager = Alertmanager::new(folder.path()).unwrap();
        let mut alertmanager = alertmanager.with_config(config.unwrap());
        alertmanager.start().unwrap();
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let posted = alerts.iter().map(|(text, _)| json!({ "labels": labels(text) }));
        let posted = posted.collect::<Value>().to_string();
        let kind = "Content-Type: application/json\r\n";
        let answer =
            http::send(alertmanager.address(), "POST", "/api/v2/alerts", kind, posted.as_bytes());
        assert_eq!(answer.unwrap().status, 200);
        let mut expected: Vec<Value> =
            alerts.iter().map(|(text, muted)| json!([labels(text), muted])).collect();
        expected.sort_by_key(Value::to_string);
        let judged = || {
            let found = alertmanager.alerts()?.into_iter();
            let found = found
                .map(|alert| json!([alert["labels"], alert["status"]["state"] == "suppressed"]));
            let mut found: Vec<Value> = found.collect();
            found.sort_by_key(Value::to_string);
            anyhow::Ok(found)
        };
        shell::wait_for("muted alerts", JUDGED, || Ok((judged()? == expected).then_some(())))
            .with_context(|| format!("{:#?}", judged()))
            .unwrap();
    }
}

/// An alert is muted by itself at a higher severity only if no label tells the two apart.
#[test]
fn severities_of_different_alerts_are_independent() {
    let read = |name: &str| fs::read_to_string(grafana::folder().join(name)).unwrap();
    let config = read("alertmanager/alertmanager.yaml");
    let equal = config.rsplit("equal:").next().unwrap().split(']').next().unwrap();
    let equal: BTreeSet<&str> =
        equal.trim_matches([' ', '\n', '[']).split(',').map(str::trim).collect();
    let rules = ["dnscribe", "stream"].map(|name| read(&format!("prometheus/rules/{name}.yaml")));
    let grouped = rules.iter().flat_map(|rules| rules.split(" by (").skip(1));
    let grouped = grouped.flat_map(|part| part.split(')').next().unwrap_or_default().split(", "));
    let page = page::read("alertmanager").unwrap();
    let row = page.lines().find(|line| line.starts_with("| labels |")).unwrap();
    let posted = row.split('`').skip(1).step_by(2);
    // Not labels of an alert, or the same in both.
    let others = BTreeSet::from(["outcome", "rule", "severity", "alertmanager.labels"]);
    let labels: BTreeSet<&str> =
        grouped.chain(posted).filter(|name| !others.contains(name)).collect();
    assert!(labels.len() > 15, "{labels:?}");
    assert!(labels.is_subset(&equal), "{labels:?} {equal:?}");
}

/// The rule on the page of losses counts each kind, two of which have no labels.
#[test]
fn rule_on_the_page_of_losses_fires() {
    let folder = tempfile::tempdir().unwrap();
    let text = page::read("runbooks/losses").unwrap();
    let blocks = page::blocks(&text, "yaml");
    assert_eq!(blocks.len(), 1);
    let rule = blocks[0].lines().collect::<Vec<_>>().join("\n      ");
    let [rules, tests] = ["rules.yaml", "tests.yaml"].map(|name| folder.path().join(name));
    fs::write(&rules, format!("groups:\n  - name: losses\n    rules:\n      {rule}\n")).unwrap();
    let series = [
        (
            "dropped_packets_total{instance=\"a\",stage=\"kernel\",reason=\"ring_full\"}",
            "0x9 100x50",
        ),
        ("dropped_packets_total{instance=\"a\",stage=\"decode\",reason=\"dns_header\"}", "0+1x60"),
        ("dropped_queries_total{instance=\"a\",stage=\"pairing\",reason=\"evicted\"}", "0x60"),
        ("dropped_records_total{instance=\"a\",stage=\"delivery\",reason=\"queue_full\"}", "0x60"),
        ("connections_evicted_total{instance=\"a\"}", "0x9 5x50"),
        ("links_overflow_total{instance=\"a\"}", "0x60"),
    ];
    let series = series.map(
        |(series, values)| json!({ "series": format!("dnscribe_{series}"), "values": values }),
    );
    let annotations = json!({ "runbook_url": "https://wiki.example.com/runbooks/losses.md" });
    let alerts = [
        json!({ "instance": "a", "stage": "kernel", "reason": "ring_full" }),
        json!({ "instance": "a", "reason": "connections_evicted" }),
    ];
    let alerts =
        alerts.map(|labels| json!({ "exp_labels": labels, "exp_annotations": annotations }));
    let cases = json!([{ "alertname": "DnscribeLoses", "eval_time": "20m", "exp_alerts": alerts }]);
    let test = json!({ "interval": "1m", "input_series": series, "alert_rule_test": cases });
    let test =
        json!({ "rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test] });
    // JSON is YAML.
    fs::write(&tests, test.to_string()).unwrap();
    run(Program::Promtool, &["test", "rules", &tests.display().to_string()]);
}

/// Returns title and text of a notification.
fn notification(message: &Value) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data.json");
    fs::write(&data, message.to_string()).unwrap();
    run(
        Program::Amtool,
        &[
            "template",
            "render",
            "--template.glob=alertmanager/templates/*.tmpl",
            &format!("--template.data={}", data.display()),
            "--template.text={{ template \"dns.title\" . }}\n{{ template \"dns.text\" . }}",
        ],
    )
}

#[test]
fn a_title_names_every_alert_once() {
    let alert = |name: &str, severity: &str| {
        json!({ "status": "firing", "startsAt": "2026-11-22T10:00:00Z", "annotations": {},
            "labels": { "alertname": name, "severity": severity, "cause": "losses" } })
    };
    let packets = alert("DnscribePacketsLost", "warning");
    let alerts = [packets.clone(), alert("DnscribeIdentityOpen", "critical"), packets];
    let message = |alerts: &[Value], group: &Value, common: &Value| {
        json!({ "receiver": "ticket", "status": "firing", "alerts": alerts, "groupLabels": group,
            "commonLabels": common, "commonAnnotations": {}, "externalURL": "http://alertmanager" })
    };
    let cause = json!({ "cause": "losses" });
    let mixed = notification(&message(&alerts, &cause, &cause));
    let title = "[FIRING 3] critical DnscribePacketsLost, DnscribeIdentityOpen\n";
    assert!(mixed.starts_with(title), "{mixed}");
    let group = json!({ "alertname": "DnsCachePoisoning", "node": "eu-1" });
    let common = json!({ "alertname": "DnsCachePoisoning", "node": "eu-1", "severity": "warning" });
    let alike = notification(&message(&[alert("DnsCachePoisoning", "warning")], &group, &common));
    assert!(alike.starts_with("[FIRING 1] warning node eu-1 DnsCachePoisoning\n"), "{alike}");
}

/// Alerts of agents, fleet and probes lead to the boards that show them, by the names of rules that exist.
#[test]
fn notifications_lead_to_the_boards_of_their_rules() {
    let file = grafana::folder().join("alertmanager/templates/dns.tmpl");
    let template = fs::read_to_string(file).unwrap();
    let lists = template.split("match \"^(").skip(1);
    let named = lists.flat_map(|part| part.split(')').next().unwrap_or_default().split('|'));
    for rule in named.filter(|rule| *rule != "verdict_.+").chain(BOARDS.map(|(rule, _)| rule)) {
        let page = format!("docs/runbooks/{}.md", rule.replace('_', "-"));
        assert!(environment::workspace().join(page).is_file(), "{rule}");
    }
    let alerts = BOARDS.map(|(rule, _)| {
        json!({ "status": "firing", "startsAt": "2026-11-22T10:00:00Z",
            "annotations": { "summary": format!("summary of {rule}") }, "labels": { "rule": rule } })
    });
    let text = notification(&json!({ "receiver": "chat", "status": "firing", "alerts": alerts,
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "" }));
    for (rule, board) in BOARDS {
        let part = text.split(&format!("summary of {rule}\n")).nth(1).unwrap();
        let link = part.lines().find(|line| line.starts_with("Board")).unwrap();
        assert!(link.contains(&format!("/d/dnscribe-{board}?")), "{rule}: {link}");
    }
}

#[test]
fn a_notification_has_evidence_board_and_runbook() {
    let alert = json!({
        "status": "resolved",
        "labels": { "alertname": "DnsTunnel", "rule": "tunnel", "severity": "critical", "zone": "evil.example", "node": "a b", "namespace": "shop" },
        "annotations": { "summary": "Data in names below evil.example.", "description": "names 900 (threshold 100)",
            "changes": "cart 2.0 by ci", "runbook_url": "https://wiki.example/docs/runbooks/tunnel.md" },
        "startsAt": "2026-11-22T10:00:00Z", "endsAt": "2026-11-22T10:20:00Z",
    });
    let message = json!({
        "receiver": "chat", "status": "resolved", "alerts": [alert],
        "groupLabels": { "zone": "evil.example" }, "commonLabels": alert["labels"], "commonAnnotations": {},
        "externalURL": "http://alertmanager",
    });
    let text = notification(&message);
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
