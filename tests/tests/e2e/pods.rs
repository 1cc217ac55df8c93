//! `docs/pods.md` with a real Prometheus: the chart's configuration, monitor and rules, the queries of the page, and those of every
//! panel of the board, while the container of the page's last step fails.

use crate::kubernetes::{NODE, WEB, id, pod};
use crate::support::lab;
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::container::{Bundle, Container};
use dnscribe_tests::kubernetes::Api;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::prometheus::Prometheus;
use dnscribe_tests::{environment, grafana, manifests, page, shell};
use manifests::of_kind;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Pod whose queries are answered, with the digit of its container's id.
const GOOD: (&str, &str, char) = ("web-7d4b9c6f5-x2x9z", WEB, 'a');
/// Pod that runs the loop of the page.
const BAD: (&str, &str, char) =
    ("web-7d4b9c6f5-q8q8q", "0a1b2c3d-0000-4000-8000-000000000003", 'b');

/// Time limit for values in Prometheus: rates need some scrapes, of which there is one each second.
const SHOWN: Duration = Duration::from_secs(90);

/// Address of the page that answers nothing.
const SILENT: &str = "192.0.2.53";

#[test]
fn board_of_pods_shows_the_pod_that_fails() {
    let Some((lab, _alone)) = lab() else { return };
    let text = page::read("pods").unwrap();
    let commands = page::commands(&text);
    let install = commands.iter().find(|command| command.starts_with("helm install ")).unwrap();
    let rendered = manifests::render_command("1.34", install).unwrap();
    let documents = manifests::read("1.34", &rendered).unwrap();

    let api = Api::start().unwrap();
    for (name, uid, digit) in [GOOD, BAD] {
        api.apply(pod(name, uid, &[("app", Some(id(digit)))]));
    }
    let folder = tempfile::tempdir().unwrap();
    let agent = installed(&documents, &api, folder.path());
    let rules = folder.path().join("rules.yaml");
    let groups = &of_kind(&documents, "PrometheusRule").unwrap()["spec"];
    fs::write(&rules, groups.to_string()).unwrap();
    let monitor = of_kind(&documents, "PodMonitor").unwrap();
    let scrape = scrape(monitor, agent.admin());
    let prometheus = Prometheus::up_with(folder.path(), &scrape, &[rules]).unwrap();

    let create = commands.iter().find(|command| command.contains("create deployment")).unwrap();
    let (_, script) = create.split_once("sh -c '").unwrap();
    let script = script.trim_end_matches('\'');
    assert!(script.contains(SILENT), "{script}");
    let resolver = lab.resolver_addr();
    let good = format!(
        "while true; do for name in www.example.com no-such-name.example.com; do \
         nslookup -type=a $name {resolver}; done; sleep 1; done"
    );
    let bad = script.replace(SILENT, &lab.blackhole_addr().to_string());
    let containers = [(GOOD, good), (BAD, bad)]
        .map(|((_, uid, digit), script)| (tempfile::tempdir().unwrap(), uid, digit, script));
    let running: Vec<Container> = containers
        .iter()
        .map(|(folder, uid, digit, script)| start(&lab, folder.path(), uid, *digit, script))
        .collect();

    // Messages that nobody receives.
    let lost = format!(
        "while :; do dig +tries=1 @{} www.example.com >/dev/null; sleep 0.3; done",
        lab.closed_addr()
    );
    let mut losing = lab.command(Host::Client, &["sh", "-c", &lost]).spawn().unwrap();

    let panels = panels();
    assert_eq!(panels.len(), 17);
    let shown = shell::wait_for("the pods on the board", SHOWN, || {
        let mut empty = missing(&prometheus, &panels)?;
        for query in page::blocks(&text, "promql").concat().lines() {
            if prometheus.query(query)?.is_empty() {
                empty.push(query.to_owned());
            }
        }
        Ok(empty.is_empty().then_some(()))
    });
    losing.kill().and_then(|()| losing.wait()).unwrap();
    shown.unwrap_or_else(|error| {
        let (_, metrics) = agent.get("/metrics").unwrap();
        let pods: Vec<&str> = metrics.lines().filter(|line| line.starts_with("dns_pod")).collect();
        panic!("{error}: {:?} {pods:#?} {}", missing(&prometheus, &panels), agent.log())
    });

    let ask = |title: &str, number: usize| prometheus.query(&panels[title][number]).unwrap();
    // The list has the pod that fails and no other, and only timeouts.
    let [failing] = &ask("Failing pods", 1)[..] else { panic!("{:?}", ask("Failing pods", 1)) };
    assert_eq!(failing["metric"], json!({ "namespace": "shop", "pod": BAD.0 }));
    let [share] = &ask("Failing pods", 2)[..] else { panic!("no share") };
    let counters = prometheus.query("dns_pod_transactions_total").unwrap();
    assert_eq!(share["value"][1], "1", "{share} of {counters:#?}");
    assert_eq!(value(&ask("Pods that fail", 0)), "1");
    let outcomes = ask("Failures by outcome", 0);
    assert_eq!(outcomes[0]["metric"], json!({ "outcome": "timeout" }));
    for title in ["Agents down", "Agents without pods", "Of unknown pods", "Counted as other"] {
        assert_eq!(value(&ask(title, 0)), "0", "{title}");
    }
    // The chart's rules run, and an agent is its node.
    let recorded = shell::wait_for("the rules", SHOWN, || {
        let found = prometheus.query("dnscribe:queries:rate5m")?;
        Ok((!found.is_empty()).then_some(found))
    });
    let [recorded] = &recorded.unwrap()[..] else { panic!("more than one agent") };
    assert_eq!(recorded["metric"]["instance"], NODE);

    drop(running);
    agent.kill().unwrap();
    shell::wait_for("the agent to be down", SHOWN, || {
        Ok((value(&ask("Agents down", 0)) == "1").then_some(()))
    })
    .unwrap();
}

/// Starts the agent with the chart's configuration, and with this API in place of a service account.
fn installed(documents: &[Value], api: &Api, folder: &Path) -> Agent {
    let config = documents.iter().find_map(|document| document["data"]["dnscribe.yaml"].as_str());
    let (file, kubeconfig) = (folder.join("dnscribe.yaml"), folder.join("kubeconfig"));
    fs::write(&file, config.unwrap()).unwrap();
    api.write_kubeconfig(&kubeconfig).unwrap();
    let mut command = Command::new(environment::binary().unwrap());
    command.args(["run", "--query-timeout", "500ms", "--config"]).arg(file);
    command.env("DNSCRIBE_KUBERNETES__KUBECONFIG", kubeconfig);
    // What the panels of lost messages ask for.
    command.env("DNSCRIBE_CAPTURE__PATH", "true");
    command.env("DNSCRIBE_KUBERNETES__NODE_NAME", NODE);
    Agent::start(&mut command).unwrap()
}

/// Returns what the operator makes of a `PodMonitor` for an agent's pod.
fn scrape(monitor: &Value, target: SocketAddr) -> Value {
    let endpoints = monitor["spec"]["podMetricsEndpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1, "{monitor}");
    let endpoint = &endpoints[0];
    let relabelings = endpoint["relabelings"].as_array().unwrap().iter().map(|one| {
        let names = [
            ("sourceLabels", "source_labels"),
            ("targetLabel", "target_label"),
            ("replacement", "replacement"),
        ];
        let fields = one.as_object().unwrap();
        assert!(fields.keys().all(|key| names.iter().any(|(name, _)| name == key)), "{one}");
        let fields = names.iter().filter_map(|(name, key)| Some((*key, fields.get(*name)?)));
        fields.collect::<BTreeMap<_, _>>()
    });
    json!({
        "job_name": "podMonitor/dnscribe/dnscribe/0",
        "honor_labels": endpoint["honorLabels"],
        "static_configs": [{
            "targets": [target.to_string()],
            "labels": {
                "namespace": "dnscribe", "pod": "dnscribe-4x7kp", "container": "dnscribe",
                "__meta_kubernetes_pod_node_name": NODE,
            },
        }],
        "relabel_configs": relabelings.collect::<Vec<_>>(),
    })
}

/// Starts a container of a pod on the lab's client.
fn start(lab: &Lab, folder: &Path, uid: &str, digit: char, script: &str) -> Container {
    let cgroup = format!("/kubepods/burstable/pod{uid}/{}", id(digit));
    let mut bundle = Bundle::busybox(folder, &cgroup, &["sh", "-c", script]).unwrap();
    bundle.join_network(&lab.namespace_path(Host::Client));
    bundle.start(&id(digit), &cgroup2_mount().unwrap()).unwrap()
}

/// Returns the queries of each panel, with all pods chosen and rates of some seconds.
fn panels() -> BTreeMap<String, Vec<String>> {
    let file = grafana::folder().join("dashboards/dnscribe-pods.json");
    let board: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let panels = panels.map(|panel| {
        let queries = panel["targets"].as_array().unwrap().iter().map(|target| {
            let mut query = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in [
                ("$namespace", ".*"),
                ("$pod", ".*"),
                ("$instance", ".*"),
                ("$__rate_interval", "30s"),
                ("$__range", "300s"),
            ] {
                query = query.replace(variable, value);
            }
            assert!(!query.contains('$'), "{query}");
            query
        });
        (panel["title"].as_str().unwrap().to_owned(), queries.collect())
    });
    panels.collect()
}

/// Returns the panels whose queries all have no result.
fn missing(
    prometheus: &Prometheus,
    panels: &BTreeMap<String, Vec<String>>,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for (title, queries) in panels {
        let mut results = 0;
        for query in queries {
            results += prometheus.query(query)?.len();
        }
        if results == 0 {
            missing.push(title.clone());
        }
    }
    Ok(missing)
}

/// Returns the value of the only result.
fn value(results: &[Value]) -> &str {
    assert_eq!(results.len(), 1, "{results:?}");
    results[0]["value"][1].as_str().unwrap()
}
