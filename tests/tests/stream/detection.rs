//! Fleet detection from the windows of several nodes to the topic, `TimescaleDB` and Alertmanager,
//! while the jobs are stopped with a savepoint and go on from it: with another parallelism, and back, while alerts
//! fire and records arrive.

use crate::accounts;
use crate::running::{CAUGHT_UP, Running, Shared};
use dnscribe_tests::stack::{Component, jobs};
use dnscribe_tests::{environment, http, shell};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::time::SystemTime;

/// Nodes and their sites.
const NODES: [(&str, &str); 4] = [("n1", "eu"), ("n2", "us"), ("n3", "ap"), ("n4", "eu")];
const RESOLVER: &str = "192.0.2.53";
/// A zone that fails everywhere.
const BROKEN: &str = "broken.example";
/// A zone that fails at the site `us`.
const BLOCKED: &str = "blocked.example";
/// Queries of a window.
const QUERIES: u64 = 100;
/// Number of the last minute with windows.
const LAST_MINUTE: u64 = 16;

#[test]
fn nothing_is_lost_and_the_fleets_incidents_are_alerts_although_the_jobs_are_upgraded() {
    let Some(shared) = Shared::get() else { return };
    let running = shared.lock();
    // Windows of other tests on this stack are of other times.
    running.forget("fleet");
    let load = running.load();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let base = now / 60 * 60 - (LAST_MINUTE + 2) * 60;

    announce(&running, base + 60, "zone_change", ["--zone", BROKEN], "new nameservers");
    announce(&running, base + 5 * 60, "deploy", ["--service", RESOLVER], "unbound 1.21");
    windows(&running, base, 0..6);
    wait_for_firing(&running, &["zone_failing", "zone_failing_site"]);
    running.checkpoints(1);
    jobs::upgrade(&running.stack(), 2).unwrap();
    running.checkpoints(1);

    let node_alert = node_alert(base + 8 * 60);
    running.write("dns.alerts", &[("n1".to_owned(), node_alert.clone())]);
    shell::wait_for("the node's alert", CAUGHT_UP, || {
        let rows = "SELECT count(*) FROM dns_alerts WHERE rule = 'resolver_down'";
        Ok((running.stack().timescaledb(rows)?.trim() != "0").then_some(()))
    })
    .unwrap();
    windows(&running, base, 6..12);
    wait_for_firing(&running, &["resolver_failing"]);
    jobs::upgrade(&running.stack(), 1).unwrap();
    running.checkpoints(1);
    drop(load);
    windows(&running, base, 12..LAST_MINUTE + 1);
    let alerts = shell::wait_for("the end of all alerts", CAUGHT_UP, || {
        let alerts = fleet_alerts(&running);
        let is_over = |states: &Vec<Value>| states.iter().any(|alert| alert["state"] == "resolved");
        Ok((alerts.len() >= 3 && alerts.values().all(is_over)).then_some(alerts))
    })
    .unwrap();

    let states = |rule: &str| -> &Vec<Value> {
        let found: Vec<_> = alerts.values().filter(|states| states[0]["rule"] == rule).collect();
        assert_eq!(found.len(), 1, "{rule}: {found:?}");
        assert_eq!(found[0][0]["state"], "firing");
        found[0]
    };
    let first = |rule: &str| states(rule)[0].clone();
    assert_eq!(alerts.len(), 3, "{alerts:?}");
    let everywhere = first("zone_failing");
    assert_eq!(everywhere["zone"], BROKEN);
    assert_eq!(everywhere["severity"], "critical");
    assert_eq!(everywhere["changes"][0]["summary"], "new nameservers", "{everywhere}");
    let one_site = first("zone_failing_site");
    assert_eq!((&one_site["zone"], &one_site["site"]), (&json!(BLOCKED), &json!("us")));
    assert_eq!(one_site["changes"], Value::Null, "{one_site}");
    let resolver = first("resolver_failing");
    assert_eq!(resolver["resolver"], RESOLVER);
    assert_eq!(resolver["severity"], "critical");
    // A node that is read late on a busy machine is not waited for; by the end all are known.
    let all = json!(["n1", "n2", "n3"]);
    assert_eq!(states("resolver_failing").last().unwrap()["nodes"], all, "{alerts:?}");
    let known = resolver["nodes"].as_array().unwrap();
    let is_failing = |node: &Value| all.as_array().unwrap().contains(node);
    assert!(known.len() >= 2 && known.iter().all(is_failing), "{resolver}");
    assert_eq!(resolver["changes"][0]["summary"], "unbound 1.21", "{resolver}");
    assert_eq!(resolver["suppressed_alerts"], json!([node_alert["alert_id"]]), "{resolver}");

    let expected: BTreeSet<String> = alerts
        .values()
        .flatten()
        .map(|alert| alert["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(expected.len(), alerts.values().flatten().count(), "an alert is there twice");
    shell::wait_for("rows of alerts", CAUGHT_UP, || {
        let rows = format!(
            "SELECT event_id FROM dns_alerts WHERE scope = 'fleet' AND \
             (resolver = '{RESOLVER}' OR zone IN ('{BROKEN}', '{BLOCKED}'))"
        );
        let rows = running.stack().timescaledb(&rows)?;
        let rows: BTreeSet<String> = rows.lines().map(|id| id.trim().to_owned()).collect();
        Ok((rows == expected).then_some(()))
    })
    .unwrap();
    let all: BTreeSet<String> = running
        .topic("dns.alerts")
        .iter()
        .map(|text| {
            serde_json::from_str::<Value>(text).unwrap()["event_id"].as_str().unwrap().to_owned()
        })
        .collect();
    shell::wait_for("alerts beside transactions", CAUGHT_UP, || {
        let rows = running.clickhouse("SELECT event_id FROM dns_alerts FINAL");
        Ok((rows.len() == all.len() && rows.iter().all(|id| all.contains(id))).then_some(()))
    })
    .unwrap();
    let figures = format!(
        "SELECT count() FROM dns_alerts FINAL WHERE zone = '{BROKEN}' AND state = 'firing' \
         AND notEmpty(figures.value) AND changes[1].summary = 'new nameservers'"
    );
    assert_ne!(running.clickhouse(&figures), ["0"]);
    shell::wait_for("the end of alerts in Alertmanager", CAUGHT_UP, || {
        Ok(notified(&running)?.is_empty().then_some(()))
    })
    .unwrap();
    accounts::check(&running);
    // Threads of the former jobs would keep their classes.
    let mut threads = running.flink().threads().unwrap();
    assert!(threads.iter().any(|name| name.starts_with("kafka-producer")), "{threads:?}");
    threads.retain(|name| name.starts_with("kafka-admin-client"));
    assert_eq!(threads, [""; 0]);
}

/// Writes the windows of all nodes in these minutes after `base`, in seconds since the epoch.
fn windows(running: &Running, base: u64, minutes: std::ops::Range<u64>) {
    let mut records = Vec::new();
    let golden = golden();
    for minute in minutes {
        let zones_fail = (2..6).contains(&minute);
        let resolver_fails = (8..12).contains(&minute);
        for (node, region) in NODES {
            let failed = |fails: bool| if fails { 90 } else { 1 };
            let windows = [
                ("node", "node", node, 0),
                ("resolver", "resolver", RESOLVER, failed(resolver_fails && node != "n4")),
                ("zone", "zone", BROKEN, failed(zones_fail)),
                ("zone", "zone", BLOCKED, failed(zones_fail && region == "us")),
            ];
            for (grouping, field, value, failed) in windows {
                let mut window = window(&golden, base + minute * 60, node, region, failed);
                window["grouping"] = grouping.into();
                window[field] = value.into();
                let text = format!("{base} {minute} {node} {value}");
                window["event_id"] = event_id(&text).into();
                records.push((node.to_owned(), window));
            }
        }
    }
    running.write("dns.metrics", &records);
}

/// Returns a window of a node from a golden file.
fn golden() -> Value {
    let goldens = environment::workspace().join("tests/goldens/windows.ndjson");
    let goldens = std::fs::read_to_string(goldens).unwrap();
    let mut windows = goldens.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    windows.find(|window| window["grouping"] == "node").unwrap()
}

/// Returns a window of a minute with failed queries (SERVFAIL) and the sketches of `golden`.
fn window(golden: &Value, time: u64, node: &str, region: &str, failed: u64) -> Value {
    let mut window = golden.clone();
    for status in window["statuses"].as_object_mut().unwrap().values_mut() {
        *status = 0.into();
    }
    let answered = QUERIES - failed;
    let fields = json!({
        "ts": timestamp(time), "node": node, "region": region, "vantage": "client", "partial": false,
        "window_seconds": 60, "step_seconds": 60, "transactions": QUERIES, "queries": QUERIES,
        "successes": answered,
        "rcodes": [{ "rcode": "NOERROR", "count": answered }, { "rcode": "SERVFAIL", "count": failed }],
    });
    for (name, value) in fields.as_object().unwrap() {
        window[name] = value.clone();
    }
    window["statuses"]["answered"] = QUERIES.into();
    window
}

/// Returns an alert of a node on the resolver.
fn node_alert(time: u64) -> Value {
    json!({
        "schema": "dns.alert/1", "event_id": event_id("alert"), "ts": timestamp(time), "node": "n1",
        "alert_id": event_id("state"), "rule": "resolver_down",
        "entity": format!("resolver={RESOLVER}"), "resolver": RESOLVER, "state": "firing",
        "severity": "critical", "started": timestamp(time), "duration_seconds": 0.0,
        "summary": "the resolver does not answer", "figures": [], "suppressed": 0,
        "runbook": "docs/runbooks/resolver-down.md",
    })
}

/// Records a change as an operator does.
fn announce(running: &Running, time: u64, kind: &str, concerned: [&str; 2], summary: &str) {
    let mut annotate = Command::new(environment::binary().unwrap());
    annotate.args(["annotate", "--brokers", running.brokers(), "--kind", kind]);
    annotate.args(concerned).args(["--summary", summary, "--at", &timestamp(time)]);
    shell::output(&mut annotate).unwrap();
}

/// Waits until alerts of these rules fire in the topic and in Alertmanager.
fn wait_for_firing(running: &Running, rules: &[&str]) {
    let wanted: BTreeSet<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
    let waited = shell::wait_for(&format!("alerts {rules:?}"), CAUGHT_UP, || {
        let rules: BTreeSet<String> = fleet_alerts(running)
            .values()
            .map(|states| states[0]["rule"].as_str().unwrap().to_owned())
            .collect();
        Ok((wanted.is_subset(&rules) && wanted.is_subset(&notified(running)?)).then_some(()))
    });
    let alerts = fleet_alerts(running);
    assert!(waited.is_ok(), "{alerts:?}; Alertmanager has {:?}", notified(running));
}

/// Returns the records of each alert of the fleet in their order, by `alert_id`.
fn fleet_alerts(running: &Running) -> BTreeMap<String, Vec<Value>> {
    let mut alerts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for text in running.topic("dns.alerts") {
        let alert: Value = serde_json::from_str(&text).unwrap();
        if alert["scope"] == "fleet" && is_ours(&alert) {
            alerts.entry(alert["alert_id"].as_str().unwrap().to_owned()).or_default().push(alert);
        }
    }
    for states in alerts.values_mut() {
        states.sort_by_key(|alert| alert["ts"].to_string());
    }
    alerts
}

/// Returns the rules of the fleet's alerts that fire in Alertmanager.
fn notified(running: &Running) -> anyhow::Result<BTreeSet<String>> {
    let url = running.stack().address(Component::Alertmanager).unwrap();
    let address: SocketAddr = url.as_str().unwrap()["http://".len()..].parse()?;
    let (_, body) = http::get(address, None, "/api/v2/alerts")?;
    let alerts: Vec<Value> = serde_json::from_str(&body)?;
    let ours = alerts.iter().filter(|alert| is_ours(&alert["labels"]));
    let fleet = ours.filter(|alert| alert["labels"]["scope"] == "fleet");
    Ok(fleet.map(|alert| alert["labels"]["rule"].as_str().unwrap().to_owned()).collect())
}

/// Whether an alert or its labels are about something of this test.
fn is_ours(alert: &Value) -> bool {
    alert["resolver"] == RESOLVER || alert["zone"] == BROKEN || alert["zone"] == BLOCKED
}

fn timestamp(seconds: u64) -> String {
    format!("{}.000000000Z", crate::fleet::time(seconds))
}

/// Returns an id that is a function of the text.
fn event_id(text: &str) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{0:016x}{0:016x}", hasher.finish())
}
