//! The agent's watch of pods at a real API server, which stops, forgets, and refuses.

use crate::{NODE, cluster, start};
use dnscribe_tests::agent::Agent;
use dnscribe_tests::cluster::Cluster;
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::manifests;
use dnscribe_tests::shell;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(1);
const ACCOUNT: &str = "system:serviceaccount:dnscribe:dnscribe";

/// Installs the chart; no agent runs as its pod.
fn install(cluster: &Cluster) {
    let chart = shell::quote(manifests::chart());
    let install = format!(
        "helm install dnscribe {chart} --namespace dnscribe --create-namespace \
         --set image.repository=registry.example/dnscribe"
    );
    shell::output(&mut cluster.shell(&install).unwrap()).unwrap();
}

/// Writes a new token of the chart's service account, as a kubelet does.
fn renew(cluster: &Cluster, file: &Path) {
    let token = cluster.ask(&["create", "token", "dnscribe", "--namespace", "dnscribe"]).unwrap();
    let new = file.with_extension("new");
    fs::write(&new, String::from_utf8(token.stdout).unwrap().trim()).unwrap();
    fs::rename(new, file).unwrap();
}

fn wait_for_metric(agent: &Agent, line: &str) {
    let found = shell::wait_for(line, LIMIT, || {
        Ok(agent.get("/metrics")?.1.lines().any(|other| other == line).then_some(()))
    });
    found.unwrap_or_else(|error| {
        let (_, metrics) = agent.get("/metrics").unwrap();
        let metrics: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("dnscribe_kubernetes_")).collect();
        panic!("{error}: {metrics:#?}\n{}", agent.log())
    });
}

fn wait_for_log(agent: &Agent, text: &str) {
    let found = shell::wait_for(text, LIMIT, || Ok(agent.log().contains(text).then_some(())));
    found.unwrap_or_else(|error| panic!("{error}: {}", agent.log()));
}

/// Creates a workload whose only pod sleeps, and returns the pod once it is on the node.
fn pod(cluster: &Cluster, kind: &str, name: &str) -> Value {
    let labels = json!({ "app": name });
    let template = json!({
        "metadata": { "labels": labels },
        "spec": { "containers": [{ "name": "main", "image": "busybox" }], "restartPolicy": "Always" },
    });
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": "default" },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = name.into();
    }
    if kind == "Job" {
        object["apiVersion"] = "batch/v1".into();
        object["spec"] = json!({ "template": template });
        object["spec"]["template"]["spec"]["restartPolicy"] = "Never".into();
    }
    cluster.create(&object).unwrap();
    cluster.scheduled("default", &format!("app={name}")).unwrap()
}

/// Runs the pod's container, which asks for `NAME.test`, and returns what the record says of the pod.
fn asked(cluster: &Cluster, lab: &Lab, agent: &Agent, pod: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{}.test", pod["metadata"]["labels"]["app"].as_str().unwrap());
    let script = format!("nslookup -type=a {name} {} || true; sleep 60", lab.resolver_addr());
    let container = start(cluster, lab, folder.path(), pod, &script);
    let client = lab.address(Host::Client).to_string();
    let wanted = |record: &&Value| {
        record["qname"] == *name && record["vantage"] == "client" && record["client_ip"] == *client
    };
    let records = agent.wait_for(&name, LIMIT, |records| records.iter().any(|one| wanted(&one)));
    let record = records.unwrap().iter().find(wanted).unwrap().clone();
    drop(container);
    assert_eq!(record["container"]["pod_uid"], pod["metadata"]["uid"], "{record}");
    record["k8s"].clone()
}

fn expected(pod: &Value, kind: &str, name: &str) -> Value {
    json!({
        "namespace": "default", "pod": pod["metadata"]["name"], "container": "main",
        "workload_kind": kind, "workload": name,
    })
}

/// The service account of the chart may read pods and nothing else.
#[test]
fn account_reads_pods_and_nothing_else() {
    let Some((cluster, _alone)) = cluster() else { return };
    install(&cluster);
    let may = |verb: &str, resource: &str| {
        let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
        let words = ["auth", "can-i", verb, resource, "--subresource", part];
        let more = ["--all-namespaces", "--as", ACCOUNT];
        cluster.kubectl(&[&words[..], &more].concat()).output().unwrap().status.success()
    };
    for verb in ["get", "list", "watch"] {
        assert!(may(verb, "pods"), "{verb}");
    }
    for verb in ["create", "update", "patch", "delete"] {
        assert!(!may(verb, "pods"), "{verb}");
    }
    for resource in ["pods/log", "secrets", "configmaps", "nodes", "services", "namespaces"] {
        assert!(!may("get", resource), "{resource}");
    }
    assert!(!may("create", "pods/exec"));
}

/// Pods have their names from what real controllers make, and keep them while the server is stopped, has forgotten what was watched,
/// and refuses the account.
#[test]
fn agent_follows_a_server_that_stops_and_refuses() {
    let Some((mut cluster, _alone)) = cluster() else { return };
    let lab = Lab::up().unwrap();
    install(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let (token, kubeconfig) = (folder.path().join("token"), folder.path().join("kubeconfig"));
    renew(&cluster, &token);
    cluster.write_kubeconfig(&kubeconfig, "").unwrap();
    let mut config: Value = serde_json::from_slice(&fs::read(&kubeconfig).unwrap()).unwrap();
    config["users"][0]["user"] = json!({ "tokenFile": token });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let file = folder.path().join("dnscribe.yaml");
    let text = json!({ "version": 1, "kubernetes": {
        "kubeconfig": kubeconfig, "node_name": NODE, "timeout": "2s",
    } });
    fs::write(&file, text.to_string()).unwrap();
    let words = ["--config", file.to_str().unwrap(), "--stream", "transactions,ledger"];
    let agent = Agent::run(&words).unwrap();
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");

    let mut first = None;
    for (kind, name) in [("Deployment", "web"), ("StatefulSet", "db"), ("Job", "batch")] {
        let pod = pod(&cluster, kind, name);
        assert_eq!(asked(&cluster, &lab, &agent, &pod), expected(&pod, kind, name));
        first.get_or_insert(pod);
    }
    let first = first.unwrap();

    // Stopped: known pods keep their names.
    cluster.stop();
    wait_for_metric(&agent, "dnscribe_kubernetes_up 0");
    assert_eq!(agent.get("/readyz").unwrap().0, 200);
    // Started again: it has forgotten the versions that were watched from, and knows what happened since.
    cluster.resume().unwrap();
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");
    let pod_after = pod(&cluster, "Deployment", "later");
    let found = asked(&cluster, &lab, &agent, &pod_after);
    assert_eq!(found, expected(&pod_after, "Deployment", "later"));
    assert_eq!(asked(&cluster, &lab, &agent, &first), expected(&first, "Deployment", "web"));

    // Another account of the same name: the old token is worth nothing, the new one is read.
    cluster.ask(&["delete", "serviceaccount", "dnscribe", "--namespace", "dnscribe"]).unwrap();
    cluster.stop();
    cluster.resume().unwrap();
    wait_for_log(&agent, "the API server answers 401: Unauthorized; pod names are not updated");
    cluster.ask(&["create", "serviceaccount", "dnscribe", "--namespace", "dnscribe"]).unwrap();
    renew(&cluster, &token);
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");

    // Without the role.
    cluster.ask(&["delete", "clusterrolebinding", "dnscribe"]).unwrap();
    cluster.stop();
    cluster.resume().unwrap();
    let refused = "pods is forbidden: User \"system:serviceaccount:dnscribe:dnscribe\" cannot list";
    wait_for_log(&agent, refused);
    agent.terminate().unwrap().final_ledger().unwrap();
}
