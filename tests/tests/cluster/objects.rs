//! What the API server accepts: every object that this project makes for a cluster, and no other.

use crate::cluster;
use dnscribe_tests::cluster::Cluster;
use dnscribe_tests::manifests::{self, base, connection, connections, everything, of_kind, render};
use dnscribe_tests::{environment, shell};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

/// Version of the API server, for Helm.
const VERSION: &str = "1.34";
const DRY: [&str; 3] = ["create", "--dry-run=server", "--validate=strict"];

/// Returns what the server says against objects; `None` if it accepts them.
fn refusal(cluster: &Cluster, objects: &str) -> Option<String> {
    let output = cluster.give(&DRY, objects).unwrap();
    (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
}

fn define(cluster: &Cluster) {
    let folder = tempfile::tempdir().unwrap();
    let [cilium, names] = manifests::policy_definitions().unwrap();
    let flink = manifests::flink_definition(folder.path()).unwrap();
    let monitoring = dnscribe_tests::cluster::monitoring_definitions().unwrap();
    for file in [cilium, names, flink, monitoring] {
        cluster.ask(&["create", "--filename", file.to_str().unwrap()]).unwrap();
    }
    cluster.ask(&["wait", "--for=condition=Established", "--all", "crd", "--timeout=60s"]).unwrap();
}

/// The server checks more than the schemas: rules in CEL, limits, names, ports, references and unknown fields.
#[test]
fn server_accepts_what_is_made_and_nothing_else() {
    let Some((cluster, _alone)) = cluster() else { return };
    define(&cluster);
    for name in ["dnscribe", "monitoring", "shop"] {
        cluster.ask(&["create", "namespace", name]).unwrap();
    }
    for values in [json!({}), everything()] {
        let objects = render(VERSION, &values).unwrap();
        assert_eq!(refusal(&cluster, &objects), None, "{values}");
    }
    // Kustomize makes the namespace, too, which is there already.
    let base = base().display().to_string();
    let apply = ["apply", "--dry-run=server", "--validate=strict", "--kustomize", &base];
    cluster.ask(&apply).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("uses.ndjson");
    // Names that DNS allows, and a policy may not have.
    let label = "l".repeat(63);
    let long = [label.as_str(); 3].join(".");
    let names = [
        "_dmarc.example.com",
        "a\"b.example.com",
        "a b.example.com",
        "*.example.com",
        "-a.example.com",
        "a-.example.com",
        "UPPER.example.com",
        "xn--bcher-kva.example",
        "b\u{fc}cher.example",
        "single",
        "a'b: {c}.example.com",
        "a#b.example.com",
        long.as_str(),
    ];
    let names = names.iter().map(|name| connection(name, "198.51.100.7", 443, "tcp"));
    let records: Vec<String> = connections().into_iter().chain(names).collect();
    fs::write(&file, records.join("\n")).unwrap();
    for format in ["cilium", "cluster", "kubernetes"] {
        let mut suggest = Command::new(environment::binary().unwrap());
        suggest.args(["policy", "suggest", "-o", format]).arg(&file);
        let policy = String::from_utf8(shell::output(&mut suggest).unwrap().stdout).unwrap();
        assert_eq!(refusal(&cluster, &policy), None, "{policy}");
        let wrong = policy.replacen("egress:", "egres:", 1);
        let why = refusal(&cluster, &wrong).unwrap();
        assert!(why.contains("unknown field") && why.contains("egres"), "{format}: {why}");
    }

    let objects = render(VERSION, &everything()).unwrap();
    for (right, wrong, why) in [
        ("hostPID: true", "hostPid: true", "unknown field"),
        ("upgradeMode: savepoint", "upgradeMode: sometimes", "Unsupported value"),
        ("kind: PodMonitor", "kind: PodMonitors", "no matches for kind"),
    ] {
        let bad = objects.replacen(right, wrong, 1);
        assert_ne!(objects, bad, "{right}");
        let said = refusal(&cluster, &bad).unwrap();
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

/// `docs/kubernetes.md`: the label of its first commands admits the agent's pods, `baseline` and `restricted` refuse them; the pod of
/// the probe is admitted everywhere.
#[test]
fn pod_security_admits_the_agent_by_the_label_alone() {
    let Some((cluster, _alone)) = cluster() else { return };
    let documents = manifests::read(VERSION, &render(VERSION, &everything()).unwrap()).unwrap();
    let template = |kind: &str| -> Value {
        let mut of_probe = documents.iter().filter(|document| document["kind"] == kind);
        of_probe.next().unwrap()["spec"]["template"].clone()
    };
    let kinds = [("DaemonSet", false), ("Deployment", true)];
    of_kind(&documents, "DaemonSet").unwrap();
    for level in ["privileged", "baseline", "restricted"] {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        cluster.ask(&["create", "namespace", level]).unwrap();
        cluster.ask(&["label", "namespace", level, &label]).unwrap();
        for (kind, admitted_everywhere) in kinds {
            let mut pod = template(kind);
            pod["apiVersion"] = "v1".into();
            pod["kind"] = "Pod".into();
            pod["metadata"]["name"] = "one".into();
            pod["metadata"]["namespace"] = level.into();
            // Those of the chart are in its own namespace.
            pod["spec"]["serviceAccountName"] = "default".into();
            pod["spec"]["priorityClassName"] = Value::Null;
            let said = refusal(&cluster, &pod.to_string());
            let admitted = admitted_everywhere || level == "privileged";
            assert_eq!(said.is_none(), admitted, "{kind} in {level}: {said:?}");
            if let Some(said) = said {
                assert!(said.contains("violates PodSecurity"), "{said}");
            }
        }
    }
}
