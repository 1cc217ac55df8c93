//! Real containers (crun) in the cgroups that a kubelet creates, and a small API server over real
//! HTTP whose responses have the format of a real one.

mod daemonset;

use crate::support::{RECORD_LIMIT, alone, lab};
use dnscribe_agent::capture::live::cgroup2_mount;
use dnscribe_tests::agent::Agent;
use dnscribe_tests::container::Bundle;
use dnscribe_tests::kubernetes::{self, Api, Mode};
use dnscribe_tests::lab::{Host, Lab};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub(crate) const NODE: &str = "node-1";
pub(crate) const WEB: &str = "0a1b2c3d-0000-4000-8000-000000000001";
const JOB: &str = "0a1b2c3d-0000-4000-8000-000000000002";

/// Returns a container id: 64 digits.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Returns a pod as the API describes it.
pub(crate) fn pod(name: &str, uid: &str, containers: &[(&str, Option<String>)]) -> Value {
    let named = containers.iter().map(|(name, _)| json!({ "name": name, "image": "busybox" }));
    let statuses = containers.iter().map(|(name, id)| {
        let mut status = json!({
            "name": name, "image": "busybox", "imageID": "", "ready": id.is_some(),
            "restartCount": 0, "started": id.is_some(), "state": {}, "lastState": {},
        });
        if let Some(id) = id {
            status["containerID"] = format!("containerd://{id}").into();
        }
        status
    });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": uid, "creationTimestamp": "2026-11-20T10:00:30Z",
            "labels": { "team": "till", "app": "web", "pod-template-hash": "7d4b9c6f5" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5", "uid": "o",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": { "nodeName": NODE, "containers": named.collect::<Vec<_>>() },
        "status": { "phase": "Running", "containerStatuses": statuses.collect::<Vec<_>>() },
    })
}

/// Creates a folder with a configuration for an API server.
fn write_config(api: &Api) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    api.write_kubeconfig(&kubeconfig).unwrap();
    let file = folder.path().join("dnscribe.yaml");
    let config = format!(
        "version: 1\nkubernetes:\n  kubeconfig: {}\n  node_name: {NODE}\n  labels: [team]\n  timeout: 1s\n",
        kubeconfig.display()
    );
    fs::write(&file, config).unwrap();
    (folder, file)
}

/// Runs a container on the lab's client that queries a name from the lab's resolver.
pub(crate) fn ask(lab: &Lab, cgroup: &str, id: &str, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let resolver = lab.resolver_addr().to_string();
    // An answer of NXDOMAIN is sufficient. A kubelet keeps a container's cgroup for a moment, crun
    // does not: an agent that slept without packets could not look it up afterwards.
    let line = format!("nslookup -type=a {name} {resolver} || true; sleep 2");
    let mut bundle = Bundle::busybox(folder.path(), cgroup, &["sh", "-c", &line]).unwrap();
    bundle.join_network(&lab.namespace_path(Host::Client));
    let mount = cgroup2_mount().unwrap();
    let said = bundle.start(id, &mount).unwrap().finish(RECORD_LIMIT).unwrap();
    assert!(said.contains(name), "{said}");
}

/// Waits for the client's transaction for a name.
fn transaction(agent: &Agent, lab: &Lab, name: &str) -> Value {
    crate::support::transaction(agent, lab, name)
}

fn wait_for_metric(agent: &Agent, line: &str) {
    shell::wait_for(line, Duration::from_mins(1), || {
        Ok(agent.get("/metrics")?.1.lines().any(|other| other == line).then_some(()))
    })
    .unwrap();
}

#[test]
fn names_pod_of_container() {
    let Some((lab, _alone)) = lab() else { return };
    let api = Api::start().unwrap();
    api.apply(pod("web-7d4b9c6f5-x2x9z", WEB, &[("app", Some(id('a'))), ("side", Some(id('b')))]));
    let (_folder, file) = write_config(&api);
    let streams = "messages,transactions,lookups,metrics,ledger";
    let agent = Agent::run(&["--config", file.to_str().unwrap(), "--stream", streams]).unwrap();
    // The cgroup of the cgroupfs driver, and the systemd driver's for another container of the pod.
    ask(&lab, &format!("/kubepods/burstable/pod{WEB}/{}", id('a')), &id('a'), "www.a.test");
    let slices = "/kubepods.slice/kubepods-besteffort.slice";
    let slice = format!("kubepods-besteffort-pod{}.slice", WEB.replace('-', "_"));
    let scope = format!("{slices}/{slice}/cri-containerd-{}.scope", id('b'));
    ask(&lab, &scope, &id('b'), "www.b.test");

    for (name, digit, container) in [("www.a.test", 'a', "app"), ("www.b.test", 'b', "side")] {
        let record = transaction(&agent, &lab, name);
        let wanted = json!({ "id": id(digit), "runtime": "containerd", "pod_uid": WEB });
        assert_eq!(record["container"], wanted, "{record}");
        let k8s = json!({
            "namespace": "shop", "pod": "web-7d4b9c6f5-x2x9z", "container": container,
            "workload_kind": "Deployment", "workload": "web", "labels": { "team": "till" },
        });
        assert_eq!(record["k8s"], k8s, "{record}");
    }
    let (_, metrics) = agent.get("/metrics").unwrap();
    for line in ["dnscribe_kubernetes_up 1", "dnscribe_kubernetes_pods 1"] {
        assert!(metrics.lines().any(|other| other == line), "{line}\n{metrics}");
    }
    let labels = r#"namespace="shop",pod="web-7d4b9c6f5-x2x9z",workload="web""#;
    for line in [
        format!("dns_pod_transactions_total{{{labels},outcome=\"nxdomain\"}} 2"),
        "dns_pod_transaction_duration_seconds_count{namespace=\"shop\",workload=\"web\"} 2".into(),
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}\n{metrics}");
    }
    let asked = api.requests();
    assert!(
        asked.iter().all(|target| target.contains("fieldSelector=spec.nodeName%3Dnode-1")),
        "requests for other nodes: {asked:?}"
    );
    let end = agent.terminate().unwrap();
    for schema in ["dns.message/1", "dns.lookup/1"] {
        let found = end.records_of(schema).find(|record| record["qname"] == "www.a.test").unwrap();
        assert_eq!(found["k8s"]["pod"], "web-7d4b9c6f5-x2x9z", "{found}");
    }
    let of_pod = |record: &&Value| {
        record["k8s"] == json!({ "namespace": "shop", "pod": "web-7d4b9c6f5-x2x9z" })
    };
    assert!(end.records_of("dns.window/1").any(|record| of_pod(&record)), "windows by pod");
    end.final_ledger().unwrap();
}

#[test]
fn keeps_pod_names_while_api_is_down() {
    let Some((lab, _alone)) = lab() else { return };
    let api = Api::start().unwrap();
    // A pod of another container, so that the first list is not empty.
    api.apply(pod("other", JOB, &[("job", Some(id('e')))]));
    let (_folder, file) = write_config(&api);
    let arguments = ["--config", file.to_str().unwrap(), "--stream", "transactions,ledger"];
    let agent = Agent::run(&arguments).unwrap();
    let ask = |digit: char, name: &str| {
        ask(&lab, &format!("/kubepods/pod{WEB}/{}", id(digit)), &id(digit), name);
        transaction(&agent, &lab, name)
    };

    // The pod is still unknown: the record is written at once, with the pod's uid.
    let record = ask('a', "www.a.test");
    assert_eq!(record["container"]["pod_uid"], WEB, "{record}");
    assert_eq!(record["k8s"], Value::Null, "{record}");
    // The pod becomes known before its container's id.
    api.apply(pod("web-7d4b9c6f5-x2x9z", WEB, &[("app", None)]));
    wait_for_metric(&agent, "dnscribe_kubernetes_pods 2");
    let record = ask('b', "www.b.test");
    assert_eq!(
        (&record["k8s"]["pod"], &record["k8s"]["container"]),
        (&json!("web-7d4b9c6f5-x2x9z"), &json!("app"))
    );

    // The API stops: known names stay in use, also for a pod that is deleted meanwhile.
    api.set_mode(Mode::Refuse(503));
    wait_for_metric(&agent, "dnscribe_kubernetes_up 0");
    api.delete("web-7d4b9c6f5-x2x9z");
    let record = ask('c', "www.c.test");
    assert_eq!(record["k8s"]["namespace"], "shop", "{record}");
    assert_eq!(agent.get("/readyz").unwrap().0, 200);
    assert_eq!(agent.get("/livez").unwrap().0, 200);
    let message = "the API server answers 503";
    let log = agent.log();
    assert_eq!(log.matches(message).count(), 1, "logged more than once: {log}");
    assert!(log.contains("pod names are not updated; remedy: "), "{log}");

    // The API returns, with more events in between than it remembers.
    api.compact();
    api.set_mode(Mode::Serve);
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");
    let record = ask('d', "www.d.test");
    assert_eq!(record["k8s"]["namespace"], "shop", "kept for its last records: {record}");
    assert!(agent.log().contains("the API answers again"), "{}", agent.log());
    wait_for_metric(&agent, "dnscribe_kubernetes_transactions_total{outcome=\"unnamed\"} 1");
    let (_, metrics) = agent.get("/metrics").unwrap();
    let errors = "dnscribe_kubernetes_errors_total{reason=\"server\"} ";
    let errors = metrics.lines().find_map(|line| line.strip_prefix(errors)).unwrap();
    assert!(errors.parse::<u64>().unwrap() > 0, "{metrics}");
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn renewed_token_is_read_from_another_folder_after_the_drop() {
    let Some((_lab, _alone)) = lab() else { return };
    let api = Api::start().unwrap();
    api.apply(pod("other", JOB, &[("job", Some(id('e')))]));
    let (folder, file) = write_config(&api);
    let secrets = tempfile::tempdir().unwrap();
    for folder in [&folder, &secrets] {
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    }
    let token = secrets.path().join("token");
    fs::write(&token, kubernetes::TOKEN).unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let mut config: Value = serde_json::from_slice(&fs::read(&kubeconfig).unwrap()).unwrap();
    config["users"][0]["user"] = json!({ "tokenFile": token });
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let agent = Agent::run(&["--config", file.to_str().unwrap(), "--stream", "ledger"]).unwrap();
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");

    // The old token has expired. The new one replaces it, as a rename does.
    api.set_token("renewed");
    wait_for_metric(&agent, "dnscribe_kubernetes_up 0");
    let new = secrets.path().join("new");
    fs::write(&new, "renewed").unwrap();
    fs::rename(&new, &token).unwrap();
    wait_for_metric(&agent, "dnscribe_kubernetes_up 1");
    let log = agent.log();
    assert_eq!(log.matches("the API server answers 401").count(), 1, "{log}");

    // A server that is gone is logged once, too: a library reports each failed attempt.
    drop(api);
    let unreachable = "dnscribe_kubernetes_errors_total{reason=\"unreachable\"} 3";
    wait_for_metric(&agent, unreachable);
    let log = agent.log();
    let (_, after) = log.split_once("the API answers again").unwrap();
    assert_eq!(after.lines().skip(1).count(), 1, "{log}");
    agent.terminate().unwrap().final_ledger().unwrap();
}

#[test]
fn check_reports_why_pods_are_not_named() {
    if !environment::privileged() {
        return;
    }
    let _alone = alone();
    let api = Api::start().unwrap();
    let (folder, file) = write_config(&api);
    for (mode, found, remedy) in [
        (Mode::Serve, "no pods on node node-1", "kubernetes.node_name"),
        (Mode::Refuse(401), "the API server answers 401", "token"),
        (Mode::Refuse(403), "cannot list resource \"pods\"", "get, list and watch pods"),
        (Mode::Refuse(503), "the API server answers 503", "retried"),
        (Mode::Garbage, "the answer is not a list of pods", "that of an API server"),
        (Mode::Hang, "timeout: no list of pods", "network policies"),
    ] {
        api.set_mode(mode);
        let (message, advice) = check_api(&file);
        assert!(
            message.contains(found) && advice.contains(remedy),
            "{mode:?}: {message}; {advice}"
        );
    }
    api.set_mode(Mode::Serve);
    fs::write(folder.path().join("kubeconfig"), "apiVersion: v1\nkind: Config\n").unwrap();
    let (message, advice) = check_api(&file);
    assert!(
        message.contains("kubeconfig") && advice.contains("kubernetes.kubeconfig"),
        "{message}"
    );
    drop(api);
}

/// Returns the result of `dnscribe check` for the API, and its remedy. It must not be required for
/// `run`.
fn check_api(file: &Path) -> (String, String) {
    let mut check = Command::new(environment::binary().unwrap());
    check.args(["check", "-o", "json", "--metrics-listen", "off", "--config"]).arg(file);
    let output = check.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.stdout.is_empty(), "{}: {log}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let probes = report["probes"].as_array().unwrap();
    let probe = probes.iter().find(|probe| probe["name"] == "kubernetes").unwrap();
    assert_eq!((&probe["ok"], &probe["required"]), (&json!(false), &json!(false)), "{probe}");
    let text = |field: &str| probe[field].as_str().unwrap().to_owned();
    (text("detail"), text("remedy"))
}
