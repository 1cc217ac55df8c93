//! Kubernetes manifests: rendered by Helm, and validated by Python against the JSON schemas of
//! Kubernetes releases. Both tools are stored below the target folder.

use crate::{cache, environment, go, shell};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of Helm.
const HELM: &str = "3.21.4";

/// Version of the Flink Kubernetes operator, whose classes have the schema of a `FlinkDeployment`.
const FLINK_OPERATOR: &str = "1.10.0";

/// Version of the program library of Docker Compose, which has the schema of its files.
const COMPOSE: &str = "2.16.2";

/// Version of Cilium, whose policies are those of `dnscribe policy`.
const CILIUM: &str = "1.18.4";

/// Version of the Kubernetes project's network policies with names.
const NETWORK_POLICY_API: &str = "0.3.0";

/// Version of Moby's seccomp profile.
const PROFILE: &str = "0.2.3";

/// Must change whenever `tests/consumers/manifests.txt` does.
const SCHEMAS: &str = "1.37.0-1";

/// Kubernetes versions that the manifests support: the oldest that the chart accepts, those with a
/// relevant change, and the newest with published schemas.
pub const VERSIONS: [&str; 6] = ["1.25", "1.27", "1.29", "1.30", "1.34", "1.37"];

/// Downloads Helm and the schemas if they are missing, so that tests need not.
pub fn prepare() -> Result<()> {
    helm()?;
    runtime_default()?;
    compose_schema()?;
    flink_operator()?;
    policy_definitions()?;
    python().map(drop)
}

/// Path of the Helm program.
pub fn helm() -> Result<PathBuf> {
    let install = |scratch: &Path| {
        let sources = go::sources(scratch, "helm.sh/helm/v3", &format!("v{HELM}"))?;
        go::build(scratch, &sources, &go::FAST, "./cmd/helm", "helm")
    };
    Ok(cache::folder("helm", HELM, install)?.join("helm"))
}

/// Path of the operator's classes.
fn flink_operator() -> Result<PathBuf> {
    let name = "flink-kubernetes-operator-api";
    let install = |scratch: &Path| {
        cache::maven_alone(scratch, &format!("org.apache.flink:{name}:{FLINK_OPERATOR}"))
    };
    let folder = cache::folder(name, FLINK_OPERATOR, install)?;
    Ok(folder.join(format!("{name}-{FLINK_OPERATOR}.jar")))
}

fn python() -> Result<PathBuf> {
    let install = |scratch: &Path| cache::python(scratch, &consumers().join("manifests.txt"));
    Ok(cache::folder("kubernetes-schemas", SCHEMAS, install)?.join("bin/python"))
}

fn consumers() -> PathBuf {
    environment::workspace().join("tests/consumers")
}

/// The seccomp profile for `RuntimeDefault`: Moby's, which containerd's follows, with the
/// capabilities that lift its rules.
pub fn runtime_default() -> Result<Value> {
    let install = |scratch: &Path| {
        let module = "github.com/moby/profiles/seccomp";
        go_module_file(scratch, module, &format!("v{PROFILE}"), "default.json")
    };
    let file = cache::folder("seccomp", PROFILE, install)?.join("default.json");
    Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
}

/// Path of the JSON Schema of compose files.
fn compose_schema() -> Result<PathBuf> {
    let install = |scratch: &Path| {
        let module = "github.com/compose-spec/compose-go/v2";
        go_module_file(scratch, module, &format!("v{COMPOSE}"), "schema/compose-spec.json")
    };
    Ok(cache::folder("compose-spec", COMPOSE, install)?.join("compose-spec.json"))
}

/// Extracts the definition of `FlinkDeployment` into a folder. That of the newest classes to be had by themselves is older than Flink
/// 2, whose version it gets.
pub fn flink_definition(folder: &Path) -> Result<PathBuf> {
    let mut extract = Command::new(python()?);
    extract.args(["-m", "zipfile", "-e"]).arg(flink_operator()?).arg(folder);
    shell::output(&mut extract)?;
    let file = folder.join("META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml");
    let text = std::fs::read_to_string(&file)?;
    let line = text.lines().find(|line| line.ends_with("- v1_20")).context("no version")?;
    let newer = text.replacen(line, &format!("{line}\n{}", line.replace("v1_20", "v2_3")), 1);
    std::fs::write(&file, newer)?;
    Ok(file)
}

/// Definitions of the kinds of policies that know names.
pub fn policy_definitions() -> Result<[PathBuf; 2]> {
    let one = |name: &str, version: &str, module: &str, file: &str| -> Result<PathBuf> {
        let install =
            |scratch: &Path| go_module_file(scratch, module, &format!("v{version}"), file);
        let name_of_file = Path::new(file).file_name().context("no file name")?;
        Ok(cache::folder(name, version, install)?.join(name_of_file))
    };
    Ok([
        one(
            "cilium-policies",
            CILIUM,
            "github.com/cilium/cilium",
            "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml",
        )?,
        one(
            "network-policy-api",
            NETWORK_POLICY_API,
            "sigs.k8s.io/network-policy-api",
            "config/crd/experimental/policy.networking.k8s.io_clusternetworkpolicies.yaml",
        )?,
    ])
}

/// Returns the record of a connection from a pod.
#[must_use]
pub fn connection(name: &str, address: &str, port: u16, protocol: &str) -> String {
    json!({
        "schema": "dns.use/1", "event_id": "0".repeat(32), "ts": "2026-11-20T07:00:00Z", "node": "n",
        "protocol": protocol, "address": address, "port": port, "match": "sole", "name": name,
        "outcome": "established", "count": 1, "first": "2026-11-20T07:00:00Z", "last": "2026-11-20T07:00:00Z",
        "k8s": {
            "namespace": "shop", "pod": "web-1", "container": "web", "workload_kind": "Deployment",
            "workload": "web", "labels": { "app.kubernetes.io/name": "web" },
        },
    })
    .to_string()
}

/// Returns the records of 62 connections of a pod, to other hosts by TCP and QUIC and to a service of the cluster.
#[must_use]
pub fn connections() -> Vec<String> {
    let names = (0..60).map(|number| format!("n{number}.example.com"));
    let mut records: Vec<String> =
        names.map(|name| connection(&name, "198.51.100.7", 443, "tcp")).collect();
    records.push(connection("quic.example.com", "2001:db8::7", 443, "udp"));
    records.push(connection("db.prod.svc.cluster.local", "10.96.7.7", 5432, "tcp"));
    // More ports of a name, and more names each with a port of its own, than a rule or a policy may have.
    records.extend((0..60).map(|n| connection("p.example.com", "198.51.100.9", 8_000 + n, "tcp")));
    let single =
        |n: u16| connection(&format!("d{n}.example.com"), "198.51.100.9", 9_000 + n, "tcp");
    records.extend((0..30).map(single));
    records
}

/// Stores a file of a Go module in the folder `ready` below `scratch`.
fn go_module_file(scratch: &Path, module: &str, version: &str, file: &str) -> Result<()> {
    let source = go::sources(scratch, module, version)?.join(file);
    let ready = scratch.join("ready");
    std::fs::create_dir(&ready)?;
    std::fs::copy(&source, ready.join(source.file_name().context("no file name")?))?;
    Ok(())
}

/// Reads a compose file and validates it against the schema of compose files.
pub fn read_compose(file: &Path) -> Result<Value> {
    let mut command = Command::new(python()?);
    command.arg(consumers().join("compose.py")).arg(compose_schema()?).arg(file);
    Ok(serde_json::from_slice(&shell::output(&mut command)?.stdout)?)
}

/// Reads a YAML file.
pub fn read_yaml(file: &Path) -> Result<Value> {
    let mut command = Command::new(python()?);
    command.args([
        "-c",
        "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)",
    ]);
    Ok(serde_json::from_slice(&shell::output(command.arg(file))?.stdout)?)
}

/// Folder of the chart.
#[must_use]
pub fn chart() -> PathBuf {
    environment::workspace().join("deploy/helm/dnscribe")
}

/// Folder of the kustomize manifests.
#[must_use]
pub fn base() -> PathBuf {
    environment::workspace().join("deploy/kustomize/base")
}

/// Values of the chart that enable every option.
#[must_use]
pub fn everything() -> Value {
    json!({
        "image": { "repository": "registry.example/dnscribe", "digest": format!("sha256:{}", "0".repeat(64)) },
        "imagePullSecrets": [{ "name": "registry" }],
        "config": {
            "region": "eu",
            "kafka": { "brokers": ["kafka:9093"], "options": { "security.protocol": "sasl_ssl" } },
        },
        "kafka": { "existingSecret": "kafka", "optionKeys": { "sasl.password": "password" } },
        "podMonitor": { "enabled": true, "labels": { "release": "prometheus" } },
        "prometheusRule": { "enabled": true, "labels": { "release": "prometheus" } },
        "dashboards": { "enabled": true, "namespace": "monitoring", "annotations": { "grafana_folder": "DNS" } },
        "networkPolicy": {
            "scrapers": [{ "namespaceSelector": { "matchLabels": { "team": "monitoring" } } }],
            "dnstapSenders": [{ "ipBlock": { "cidr": "192.0.2.0/24" } }],
            "egress": [{ "ports": [{ "port": 9093, "protocol": "TCP" }] }],
        },
        "serviceAccount": { "annotations": { "a": "b" } },
        "hostNetwork": true,
        "seLinuxOptions": { "type": "spc_t" },
        "nodeSelector": { "pool": "a" },
        "podAnnotations": { "a": "b" },
        "podLabels": { "a": "b" },
        "extraEnv": [{ "name": "DNSCRIBE_LOG__LEVEL", "value": "debug" }],
        "extraVolumes": [{ "name": "dnstap", "hostPath": { "path": "/run/dnscribe", "type": "DirectoryOrCreate" } }],
        "extraVolumeMounts": [{ "name": "dnstap", "mountPath": "/run/dnscribe" }],
        "probe": {
            "enabled": true,
            "config": {
                "site": "eu-1",
                "services": [{ "name": "shop", "targets": [{ "dns": { "name": "shop.example.com" } }] }],
            },
            "existingClaim": "probe",
            "nodeSelector": { "pool": "a" },
            "tolerations": [{ "operator": "Exists" }],
            "extraEnv": [{ "name": "DNSCRIBE_PROBE_LOG__LEVEL", "value": "debug" }],
        },
        "stream": {
            "enabled": true,
            "config": { "kafka": { "brokers": "kafka:9093" } },
            "existingSecret": "stream",
            "migrate": { "config": { "clickhouse": { "user": "dnscribe_migrator" } } },
            "storage": {
                "url": "s3://flink/dnscribe/", "endpoint": "http://minio:9000",
                "pathStyleAccess": true, "existingSecret": "minio",
            },
            "flinkConfiguration": { "taskmanager.numberOfTaskSlots": 4, "web.upload.max-size": 1_073_741_824 },
            "jobs": { "fleet": { "taskManager": { "resource": { "memory": "5g" } } } },
        },
    })
}

/// Renders the chart for a Kubernetes version as YAML, with these values over the defaults.
pub fn render(version: &str, values: &Value) -> Result<String> {
    render_release("dnscribe", version, values)
}

/// As [`render`], for a release of this name.
pub fn render_release(release: &str, version: &str, values: &Value) -> Result<String> {
    let mut file = tempfile::Builder::new().suffix(".json").tempfile()?;
    write!(file, "{values}")?;
    let mut command = Command::new(helm()?);
    command.args(["template", release]).arg(chart());
    command
        .args(["--namespace", "dnscribe", "--kube-version", version, "--values"])
        .arg(file.path());
    let output = shell::output(&mut command)?;
    String::from_utf8(output.stdout).context("Helm's output")
}

/// Renders the chart as a command `helm install …` or `helm upgrade …` of a page does in the folder of the repository, for a
/// Kubernetes version.
pub fn render_command(version: &str, command: &str) -> Result<String> {
    let words =
        ["helm install ", "helm upgrade "].iter().find_map(|start| command.strip_prefix(start));
    let words = words.with_context(|| format!("not an installation: {command}"))?;
    // Before the others, which may end with a comment.
    let script = format!("{} template --kube-version {version} {words}", shell::quote(helm()?));
    let mut render = Command::new("bash");
    let output = shell::output(render.args(["-c", &script]).current_dir(environment::workspace()))?;
    String::from_utf8(output.stdout).context("Helm's output")
}

/// Parses YAML and validates each document for a Kubernetes version, and those of Flink's operator;
/// other kinds that Kubernetes itself does not define are not validated.
pub fn read(version: &str, yaml: &str) -> Result<Vec<Value>> {
    read_defined(version, yaml, &[])
}

/// As [`read`], and validates the kinds of these definitions (`CustomResourceDefinition`), too.
pub fn read_defined(version: &str, yaml: &str, definitions: &[PathBuf]) -> Result<Vec<Value>> {
    let mut command = Command::new(python()?);
    command.arg(consumers().join("manifests.py")).arg(version).arg(flink_operator()?);
    command.args(definitions);
    // Not a pipe, since the program answers before it has read everything.
    let mut input = tempfile::tempfile()?;
    input.write_all(yaml.as_bytes())?;
    input.rewind()?;
    let output = command.stdin(input).output().context("cannot start Python")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "Kubernetes {version}: {errors}");
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Returns the only document of a kind.
pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = documents.iter().filter(|document| document["kind"] == kind);
    let first = found.next().with_context(|| format!("no {kind}"))?;
    anyhow::ensure!(found.next().is_none(), "more than one {kind}");
    Ok(first)
}
