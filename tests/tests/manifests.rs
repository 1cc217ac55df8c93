//! The Helm chart and the kustomize manifests: valid in every supported Kubernetes version, with no
//! more privileges than documented.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

#[path = "manifests/values.rs"]
mod values;

use dnscribe_tests::prometheus::Program;
use dnscribe_tests::stack::jobs;
use dnscribe_tests::{environment, grafana, manifests, page, shell};
use manifests::{VERSIONS, base, chart, connection, everything, of_kind, read, render};
use serde_json::{Value, json};
use std::fs;
use std::process::Command;

fn daemonset(values: &Value) -> Value {
    let documents = read("1.34", &render("1.34", values).unwrap()).unwrap();
    of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"].clone()
}

/// The template of the pods that a document makes, if it makes any.
fn pod_template(document: &Value) -> Option<&Value> {
    let spec = &document["spec"];
    [&spec["template"], &spec["podTemplate"]].into_iter().find(|template| template.is_object())
}

#[test]
fn helm_lint_accepts_chart() {
    let mut lint = Command::new(manifests::helm().unwrap());
    shell::output(lint.args(["lint", "--strict"]).arg(chart())).unwrap();
}

#[test]
fn chart_is_valid_in_every_version() {
    let none = json!({
        "rbac": { "create": false }, "serviceAccount": { "create": false },
        "networkPolicy": { "enabled": false }, "priorityClass": { "create": false },
        "spool": { "enabled": false }, "tolerations": [],
    });
    for version in VERSIONS {
        for (values, kinds) in [(json!({}), 7), (everything(), 20), (none.clone(), 2)] {
            let documents = read(version, &render(version, &values).unwrap()).unwrap();
            assert_eq!(documents.len(), kinds, "{version}: {values}");
        }
    }
}

/// Variables such as `DNSCRIBE_PROBE_PORT`, which a Service `dnscribe-probe` of the namespace would set, stop every program with exit
/// code 2.
#[test]
fn no_pod_gets_variables_of_services() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let mut kinds = Vec::new();
    for document in &documents {
        let Some(pod) = pod_template(document) else { continue };
        assert_eq!(pod["spec"]["enableServiceLinks"], false, "{document:#}");
        kinds.push(document["kind"].as_str().unwrap());
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["DaemonSet", "Deployment", "FlinkDeployment", "Job"]);
}

#[test]
fn validation_finds_errors() {
    let good = render("1.34", &json!({})).unwrap();
    for (right, wrong) in [
        ("readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"),
        ("hostPID: true", "hostPID: yes please"),
    ] {
        let bad = good.replace(right, wrong);
        assert_ne!(good, bad);
        let error = read("1.34", &bad).unwrap_err().to_string();
        assert!(error.contains("DaemonSet"), "{error}");
    }
    let good = render("1.34", &everything()).unwrap();
    for (right, wrong) in [
        ("upgradeMode: savepoint", "upgradeMode: sometimes"),
        ("jarURI: local", "jarUri: local"),
        ("flinkVersion: v2_3", "flinkVersion: 2.3"),
    ] {
        let bad = good.replace(right, wrong);
        assert_ne!(good, bad);
        let error = read("1.34", &bad).unwrap_err().to_string();
        assert!(error.contains("FlinkDeployment"), "{error}");
    }
}

#[test]
fn chart_rejects_invalid_values() {
    for values in [
        json!({ "imagePullPolicy": "Always" }),
        json!({ "capabilities": ["ALL"] }),
        json!({ "metrics": { "port": "http" } }),
        json!({ "spool": { "hostPath": "relative" } }),
        json!({ "image": { "digest": "latest" } }),
        json!({ "config": { "version": 2 } }),
        json!({ "probe": { "config": { "version": 2 } } }),
        json!({ "stream": { "config": { "version": 2 } } }),
        json!({ "stream": { "migrate": { "config": { "version": 2 } } } }),
        json!({ "stream": { "config": { "store": { "stores": null } } } }),
        json!({ "nodeSelector": { "kubernetes.io/os": "windows" } }),
        json!({ "probe": { "nodeSelector": { "kubernetes.io/os": "windows" } } }),
        json!({ "podAnnotations": { "checksum/config": "mine" } }),
        json!({ "fullnameOverride": "Mine" }),
        json!({ "stream": { "taskManager": { "resource": { "cpu": "500m" } } } }),
        json!({ "stream": { "jobs": { "fleet": { "jobManager": { "resource": { "cpu": "1" } } } } } }),
        json!({ "probe": { "replicas": 2 } }),
        json!({ "stream": { "jobs": { "enrichment": { "parallelism": 1 } } } }),
        json!({ "config": null }),
        json!({ "extraEnv": [{ "name": "DNSCRIBE_CAPTURE__THREADS", "value": 2 }] }),
        json!({ "podLabels": { "app.kubernetes.io/name": "mine" } }),
        json!({ "probe": { "stateSizeLimit": "2 GB" } }),
        json!({ "appArmorProfile": { "type": "Localhost" } }),
        json!({ "extraVolumes": [{ "hostPath": { "path": "/run" } }] }),
    ] {
        let error = render("1.34", &values).unwrap_err().to_string();
        assert!(error.contains("don't meet the specifications"), "{values}: {error}");
    }
    // What the agent would refuse, in each pod again and again.
    let sizes = ["1TiB", "4GB", "4096KB", "512", "0MiB", "1000001GiB", "1 GiB"];
    let addresses = ["0.0.0.0:1", "localhost", "[]", "256.0.0.1", "1:2", ":::"];
    let sizes = sizes.map(|size| json!({ "spool": { "maxBytes": size } }));
    let addresses = addresses.map(|address| json!({ "metrics": { "address": address } }));
    for values in sizes.iter().chain(&addresses) {
        let error = render("1.34", values).unwrap_err().to_string();
        assert!(error.contains("does not match pattern"), "{values}: {error}");
    }
    let values = json!({ "kafka": { "optionKeys": { "sasl.password": "password" } } });
    let error = render("1.34", &values).unwrap_err().to_string();
    assert!(error.contains("name it in kafka.existingSecret"), "{error}");
}

/// What the documentation offers is accepted, and arrives as it is meant.
#[test]
fn documented_values_are_rendered() {
    let container = |values: Value| daemonset(&values)["spec"]["containers"][0].clone();
    let capabilities = json!(["BPF", "NET_ADMIN", "PERFMON", "SYSLOG"]);
    let found = container(json!({ "capabilities": capabilities }));
    assert_eq!(found["securityContext"]["capabilities"]["add"], capabilities);
    for address in ["::", "[::]"] {
        let found = container(json!({ "metrics": { "address": address } }));
        let listen = json!({ "name": "DNSCRIBE_METRICS__LISTEN", "value": "[::]:9353" });
        assert!(found["env"].as_array().unwrap().contains(&listen), "{found}");
    }
    // Each annotation before 1.30 is the field since.
    for (profile, expected) in [
        (json!({ "type": "Unconfined" }), "unconfined"),
        (json!({ "type": "RuntimeDefault" }), "runtime/default"),
        (json!({ "type": "Localhost", "localhostProfile": "dnscribe" }), "localhost/dnscribe"),
    ] {
        let values = json!({ "appArmorProfile": profile });
        let documents = read("1.29", &render("1.29", &values).unwrap()).unwrap();
        let template = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"];
        let name = "container.apparmor.security.beta.kubernetes.io/dnscribe";
        assert_eq!(template["metadata"]["annotations"][name], expected);
        let mut found = container(values)["securityContext"]["appArmorProfile"].clone();
        found.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(found, profile);
    }
    let template = daemonset(&everything());
    let [mounts, volumes] =
        [&template["spec"]["containers"][0]["volumeMounts"], &template["spec"]["volumes"]]
            .map(|list| list.as_array().unwrap());
    assert_eq!(mounts.last(), everything()["extraVolumeMounts"].as_array().unwrap().last());
    assert_eq!(volumes.last(), everything()["extraVolumes"].as_array().unwrap().last());
}

/// The values of `docs/kubernetes.md` for the socket of a server's dnstap, which the agent opens where the server looks for it.
#[test]
fn page_of_kubernetes_mounts_a_socket() {
    let text = page::read("kubernetes").unwrap();
    let block =
        page::blocks(&text, "yaml").into_iter().find(|block| block.contains("extraVolumes"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    fs::write(&file, block.unwrap()).unwrap();
    let values = manifests::read_yaml(&file).unwrap();
    let socket = values["config"]["capture"]["dnstap"][0].as_str().unwrap();
    let place = socket.strip_prefix("unix:").unwrap().rsplit_once('/').unwrap().0;
    let spec = &daemonset(&values)["spec"];
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == place).unwrap();
    let volumes = spec["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
    assert_eq!(volume["hostPath"]["path"], place);
    assert_ne!(mount["readOnly"], true);
}

/// The egress of agents is no egress of the migrations, which need Kafka and the stores.
#[test]
fn agents_are_selected_alone() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let policy =
        &of_kind(&documents, "NetworkPolicy").unwrap()["spec"]["podSelector"]["matchLabels"];
    let agents = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["selector"]["matchLabels"];
    for selector in [policy, agents] {
        let selector = selector.as_object().unwrap();
        for document in &documents {
            let Some(pod) = pod_template(document) else { continue };
            let labels = &pod["metadata"]["labels"];
            let is_selected = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            assert_eq!(is_selected, document["kind"] == "DaemonSet", "{document:#}");
        }
    }
}

/// Renderers without revisions apply a changed Job under another name, since a Job cannot be changed.
#[test]
fn changed_migration_is_another_job() {
    let name = |stream: &Value| {
        let rendered = render("1.34", &stream_values(stream)).unwrap();
        let documents = read("1.34", &rendered).unwrap();
        of_kind(&documents, "Job").unwrap()["metadata"]["name"].as_str().unwrap().to_owned()
    };
    let first = name(&json!({}));
    assert_eq!(first, name(&json!({})));
    for change in [
        json!({ "image": { "tag": "0.1.1" } }),
        json!({ "config": { "kafka": { "brokers": "kafka-2:9093" } } }),
        json!({ "migrate": { "config": { "clickhouse": { "user": "other" } } } }),
        json!({ "existingSecret": "other" }),
    ] {
        assert_ne!(first, name(&change), "{change}");
    }
}

/// The longest name that Helm allows, which is longer than those of jobs may be: Flink's operator allows 45 characters.
#[test]
fn names_of_long_releases_fit() {
    let release = |last: char| format!("{}{last}", "r".repeat(52));
    let names = |release: &str| -> Vec<String> {
        let rendered = manifests::render_release(release, "1.34", &everything()).unwrap();
        let documents = read("1.34", &rendered).unwrap();
        let jobs = documents.iter().filter_map(|document| {
            let limit = match document["kind"].as_str().unwrap() {
                "FlinkDeployment" => 45,
                "Job" => 63,
                _ => return None,
            };
            let name = document["metadata"]["name"].as_str().unwrap();
            assert!(name.len() <= limit, "{name}");
            Some(name.to_owned())
        });
        jobs.collect()
    };
    let (one, other) = (names(&release('a')), names(&release('b')));
    assert_eq!(one.len(), 6);
    assert!(one.iter().all(|name| !other.contains(name)), "{one:?} {other:?}");
}

#[test]
fn pod_has_only_documented_privileges() {
    let spec = &daemonset(&json!({}))["spec"];
    let [container] = &spec["containers"].as_array().unwrap()[..] else { panic!("{spec}") };
    let context = &container["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["seccompProfile"], json!({ "type": "RuntimeDefault" }));
    let capabilities = json!({
        "drop": ["ALL"],
        "add": ["BPF", "DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW", "PERFMON", "SYS_PTRACE"],
    });
    assert_eq!(context["capabilities"], capabilities);
    for refused in ["hostNetwork", "hostIPC", "initContainers"] {
        assert_eq!(spec[refused], Value::Null, "{refused}");
    }
    let paths: Vec<&Value> = spec["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|volume| volume.get("hostPath"))
        .map(|host| &host["path"])
        .collect();
    assert_eq!(paths, ["/sys/fs/cgroup", "/var/lib/dnscribe"]);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let writable: Vec<&Value> = mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
    assert_eq!(writable, [&json!({ "name": "spool", "mountPath": "/var/lib/dnscribe" })]);
}

#[test]
fn probe_has_no_privileges() {
    let values = json!({ "probe": { "enabled": true } });
    let documents = read("1.34", &render("1.34", &values).unwrap()).unwrap();
    let spec = &of_kind(&documents, "Deployment").unwrap()["spec"]["template"]["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let [container] = &spec["containers"].as_array().unwrap()[..] else { panic!("{spec}") };
    let context = &container["securityContext"];
    assert_eq!(context["capabilities"], json!({ "drop": ["ALL"] }));
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    for refused in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert_eq!(spec[refused], Value::Null, "{refused}");
    }
    let volumes = spec["volumes"].as_array().unwrap();
    assert!(volumes.iter().all(|volume| volume["hostPath"] == Value::Null), "{volumes:?}");
    // Each pod's agent and the probe are selected by labels of their own.
    let daemonset = of_kind(&documents, "DaemonSet").unwrap();
    let deployment = of_kind(&documents, "Deployment").unwrap();
    let labels = |document: &Value| document["spec"]["selector"]["matchLabels"].clone();
    assert_ne!(labels(daemonset), labels(deployment));
}

/// The probe itself accepts the configuration in its ConfigMap.
#[test]
fn probe_accepts_its_configuration() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let config = documents.iter().find_map(|document| document["data"]["probes.yaml"].as_str());
    let folder = tempfile::tempdir().unwrap();
    // The Secret is not mounted here.
    let secret = folder.path().join("password");
    fs::write(&secret, "x").unwrap();
    let config = config.unwrap();
    let config = config.replace("/run/secrets/dnscribe/kafka/password", secret.to_str().unwrap());
    let file = folder.path().join("probes.yaml");
    fs::write(&file, config).unwrap();
    let mut check = Command::new(environment::probe_binary().unwrap());
    check.args(["check", "-o", "json", "--config"]).arg(&file);
    let output = check.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // There is no broker here.
    assert_eq!(report["probes"][0]["ok"], true, "{report}");
}

#[test]
fn role_allows_only_reading_pods() {
    let documents = read("1.34", &render("1.34", &json!({})).unwrap()).unwrap();
    let role = of_kind(&documents, "ClusterRole").unwrap();
    let reading =
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] });
    assert_eq!(role["rules"], json!([reading]));
}

#[test]
fn configuration_change_restarts_pods() {
    let checksum = |values: &Value| {
        daemonset(values)["metadata"]["annotations"]["checksum/config"].as_str().unwrap().to_owned()
    };
    let first = checksum(&json!({}));
    assert_eq!(first.len(), 64);
    assert_eq!(first, checksum(&json!({ "podLabels": { "a": "b" } })));
    assert_ne!(first, checksum(&json!({ "config": { "region": "eu" } })));
}

/// The rules of Prometheus know agents and probes by the label `job`.
#[test]
fn monitored_pods_have_the_job_of_the_rules() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let monitors = documents.iter().filter(|document| document["kind"] == "PodMonitor");
    let agents = monitors.clone().next().unwrap();
    // Otherwise `namespace` and `pod` of the agent's metrics would be those of the agent.
    assert_eq!(agents["spec"]["podMetricsEndpoints"][0]["honorLabels"], true, "{agents:#}");
    let relabelings = monitors.map(|one| &one["spec"]["podMetricsEndpoints"][0]["relabelings"][0]);
    let relabelings: Vec<&Value> = relabelings.collect();
    let expected = ["dnscribe", "dnscribe-probe"]
        .map(|job| json!({ "targetLabel": "job", "replacement": job }));
    assert_eq!(relabelings, expected.each_ref());
}

/// The installation of `docs/pods.md`, with each option that the page offers, makes what it says; promtool accepts its rules and
/// its lines for a Prometheus without the operator.
#[test]
fn page_of_pods_installs_monitor_rules_and_board() {
    let text = page::read("pods").unwrap();
    let commands = page::commands(&text);
    let install = commands.iter().find(|command| command.starts_with("helm install ")).unwrap();
    for version in VERSIONS {
        let rendered = manifests::render_command(version, install).unwrap();
        assert_eq!(read(version, &rendered).unwrap().len(), 10, "{version}");
    }
    let options: Vec<&str> =
        page::inline(&text).filter(|code| code.starts_with("--set ")).collect();
    assert_eq!(options.len(), 3, "{options:?}");
    for option in options {
        manifests::render_command("1.34", &format!("{install} {option}")).unwrap();
    }

    let documents = read("1.34", &manifests::render_command("1.34", install).unwrap()).unwrap();
    let board = documents
        .iter()
        .find(|document| document["metadata"]["labels"]["grafana_dashboard"] == "1");
    let board = board.unwrap()["data"]["dnscribe-pods.json"].as_str().unwrap();
    let file = grafana::folder().join("dashboards/dnscribe-pods.json");
    assert_eq!(board, fs::read_to_string(file).unwrap());
    let rules = of_kind(&documents, "PrometheusRule").unwrap();
    let groups = rules["spec"]["groups"].as_array().unwrap().iter();
    let names: Vec<&str> = groups.map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["recording", "slo", "agent", "pods"].map(|name| format!("dnscribe-{name}")));
    let alerts = rules.to_string();
    for code in page::inline(&text).filter(|code| code.starts_with("Dns")) {
        assert!(alerts.contains(&format!("\"alert\":\"{code}\"")), "no alert {code}");
    }
    let folder = tempfile::tempdir().unwrap();
    let check = |what: &str, content: &str| {
        let file = folder.path().join(what);
        fs::write(&file, content).unwrap();
        let mut promtool = Command::new(Program::Promtool.file().unwrap());
        shell::output(promtool.args(["check", what]).arg(file)).unwrap();
    };
    check("rules", &rules["spec"].to_string());
    let [lines] = &page::blocks(&text, "yaml")[..] else { panic!("not one block of YAML") };
    let file = folder.path().join("scrape.yaml");
    fs::write(&file, lines).unwrap();
    let mut config = manifests::read_yaml(&file).unwrap();
    let scrape = config["scrape_configs"][0].as_object_mut().unwrap();
    assert_eq!(scrape["honor_labels"], true);
    // Debian's promtool knows no Kubernetes.
    let pods = scrape.remove("kubernetes_sd_configs").unwrap();
    assert_eq!(pods, json!([{ "role": "pod", "namespaces": { "names": ["dnscribe"] } }]));
    check("config", &config.to_string());
    let agents = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"];
    assert_eq!(agents["metadata"]["labels"]["app.kubernetes.io/name"], "dnscribe");
    assert_eq!(agents["spec"]["containers"][0]["ports"][0]["name"], "metrics");
}

/// With probes come their rules; KPIs are not in the chart.
#[test]
fn rules_are_those_of_what_is_installed() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let rules = of_kind(&documents, "PrometheusRule").unwrap().to_string();
    assert!(rules.contains("DnscribeProbeDown") && !rules.contains("DnscribeKpiStale"), "{rules}");
}

/// `examples/cluster-values.yaml` has the configuration of `examples/cluster.yaml`, but for what the chart sets.
#[test]
fn example_values_have_the_example_configuration() {
    let read = |name: &str| {
        manifests::read_yaml(&environment::workspace().join("examples").join(name)).unwrap()
    };
    let (values, config) = (read("cluster-values.yaml"), read("cluster.yaml"));
    for key in ["sinks", "streams"] {
        assert_eq!(values["config"][key], config[key], "{key}");
    }
}

/// Flink's jobs keep their state in the storage that the values name, and are run with the
/// configuration and the rights that they need.
#[test]
fn flink_deployment_survives_its_job_manager() {
    let documents = read("1.34", &render("1.34", &everything()).unwrap()).unwrap();
    let deployments: Vec<&Value> =
        documents.iter().filter(|document| document["kind"] == "FlinkDeployment").collect();
    let names: Vec<&str> =
        deployments.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
    assert_eq!(names, jobs::JOBS.map(|job| format!("dnscribe-{job}")));
    let deployment = &deployments[0]["spec"];
    let flink = &deployment["flinkConfiguration"];
    assert_eq!(flink["high-availability.type"], "kubernetes");
    assert_eq!(flink["high-availability.storageDir"], "s3://flink/dnscribe/enrich/ha");
    assert_eq!(flink["execution.checkpointing.dir"], "s3://flink/dnscribe/enrich/checkpoints");
    assert_eq!(flink["taskmanager.numberOfTaskSlots"], "4");
    // Whole, as Flink reads it.
    assert_eq!(flink["web.upload.max-size"], "1073741824");
    assert_eq!(flink["state.backend.type"], "rocksdb");
    let fleet = &deployments[1]["spec"];
    assert_eq!(fleet["flinkConfiguration"]["state.backend.type"], "hashmap");
    assert_eq!(fleet["taskManager"]["resource"]["memory"], "5g");
    assert_eq!(deployment["taskManager"]["resource"]["memory"], "3072m");
    let job = &deployment["job"];
    assert_eq!(job["args"], json!(["enrich", "--config", "/etc/dnscribe/stream.yaml"]));
    let store = &deployments[2]["spec"]["job"];
    let args = json!(["store", "--only", "clickhouse", "--config", "/etc/dnscribe/stream.yaml"]);
    assert_eq!(store["args"], args);
    let [container] = &deployment["podTemplate"]["spec"]["containers"].as_array().unwrap()[..]
    else {
        panic!("{deployment}")
    };
    assert_eq!(container["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container["securityContext"]["capabilities"], json!({ "drop": ["ALL"] }));
    // Nothing says where checkpoints are.
    let without =
        render("1.34", &json!({ "stream": { "enabled": true } })).unwrap_err().to_string();
    assert!(without.contains("stream.storage.url"), "{without}");
}

/// Values of the stream jobs, with these over those of [`everything`].
fn stream_values(stream: &Value) -> Value {
    let mut values = everything();
    for (key, value) in stream.as_object().unwrap() {
        values["stream"][key] = value.clone();
    }
    values
}

/// The configuration of the stream jobs, and their command lines.
fn stream_jobs(stream: &Value) -> (Value, Vec<String>) {
    let documents = read("1.34", &render("1.34", &stream_values(stream)).unwrap()).unwrap();
    let config = documents.iter().find_map(|document| document["data"]["stream.yaml"].as_str());
    let jobs = documents.iter().filter(|document| document["kind"] == "FlinkDeployment");
    let words = jobs.map(|job| job["spec"]["job"]["args"].as_array().unwrap());
    let lines = words.map(|words| {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        words.join(" ").replace(" --config /etc/dnscribe/stream.yaml", "")
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, config.unwrap()).unwrap();
    (manifests::read_yaml(file.path()).unwrap(), lines.collect())
}

/// Each store that is configured has a job, each job of a store is configured, and says where it
/// begins.
#[test]
fn stores_and_their_jobs_agree() {
    let (config, lines) = stream_jobs(&json!({}));
    assert_eq!(config["store"]["stores"], json!(["clickhouse", "influxdb", "timescaledb"]));
    assert_eq!(lines.len(), 5);
    let from = "2026-01-31T10:00:00Z";
    let (config, lines) = stream_jobs(&json!({
        "config": { "archive": { "path": "s3a://dns/archive" } },
        "jobs": {
            "fleet": null, "store-influxdb": null, "store-timescaledb": { "from": "LATEST" },
            "store-archive": { "parallelism": 1, "from": from },
        },
    }));
    assert_eq!(config["store"]["stores"], json!(["archive", "clickhouse", "timescaledb"]));
    let archive = format!("store --only archive --from {from}");
    let expected =
        ["enrich", &archive, "store --only clickhouse", "store --only timescaledb --from LATEST"];
    assert_eq!(lines, expected);
    // One list switches a store off for all parts.
    let (config, lines) = stream_jobs(&json!({
        "config": { "store": { "stores": ["clickhouse"] }, "archive": { "path": "s3a://dns/archive" } },
    }));
    assert_eq!(config["store"]["stores"], json!(["clickhouse"]));
    assert_eq!(lines, ["enrich", "fleet", "store --only clickhouse"]);

    let archive = json!({ "archive": { "path": "s3a://dns/archive" } });
    for (wrong, remedy) in [
        (json!({ "config": archive }), "add stream.jobs.store-archive"),
        (
            json!({ "jobs": { "store-archive": { "parallelism": 1 } } }),
            "needs stream.config.archive.path",
        ),
        (
            json!({
                "config": { "store": { "stores": ["influxdb"] } }, "jobs": { "store-influxdb": null },
            }),
            "add stream.jobs.store-influxdb",
        ),
        (json!({ "jobs": { "enrich": { "from": "monday" } } }), "stream/jobs/enrich/from"),
    ] {
        let error = render("1.34", &stream_values(&wrong)).unwrap_err().to_string();
        assert!(error.contains(remedy), "{error}");
    }
}

/// State of operators that a version or a setting removes is left behind only if the values say so.
#[test]
fn state_is_left_behind_on_request() {
    for (stream, expected) in [(json!({}), false), (json!({ "allowNonRestoredState": true }), true)]
    {
        let rendered = render("1.34", &stream_values(&stream)).unwrap();
        let documents = read("1.34", &rendered).unwrap();
        let deployments = documents.iter().filter(|one| one["kind"] == "FlinkDeployment");
        let allowed: Vec<&Value> =
            deployments.map(|one| &one["spec"]["job"]["allowNonRestoredState"]).collect();
        assert_eq!(allowed, [&json!(expected); 5]);
    }
}

/// The agent accepts the configuration of the chart.
#[test]
fn agent_accepts_chart_configuration() {
    for values in [
        json!({}),
        everything(),
        json!({ "spool": { "maxBytes": "1MiB" }, "metrics": { "address": "::1" } }),
        json!({ "spool": { "maxBytes": "999999999MiB" }, "metrics": { "address": "[2001:db8::7]" } }),
        json!({ "spool": { "maxBytes": "1000000GiB" }, "metrics": { "address": "127.0.0.1" } }),
        json!({ "config": { "version": 1, "capture": null, "kafka": null, "sinks": null } }),
    ] {
        let documents = read("1.34", &render("1.34", &values).unwrap()).unwrap();
        let config = documents.iter().find_map(|document| document["data"].get("dnscribe.yaml"));
        let config = config.unwrap().clone();
        let folder = tempfile::tempdir().unwrap();
        // The Secret is not mounted here.
        let secret = folder.path().join("password");
        fs::write(&secret, "x").unwrap();
        let yaml = config.as_str().unwrap();
        let yaml = yaml.replace("/run/secrets/dnscribe/kafka/password", secret.to_str().unwrap());
        let file = folder.path().join("dnscribe.yaml");
        fs::write(&file, yaml).unwrap();
        let mut check = Command::new(environment::binary().unwrap());
        check.args(["check", "-o", "json", "--config"]).arg(&file);
        let container = &daemonset(&values)["spec"]["containers"][0];
        for variable in container["env"].as_array().unwrap() {
            let value =
                variable["value"].as_str().unwrap_or("node-1").replace("$(NODE_NAME)", "node-1");
            check.env(variable["name"].as_str().unwrap(), value);
        }
        let output = check.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let probe = &report["probes"][0];
        assert_eq!(probe["ok"], true, "{report}");
        assert!(probe["detail"].as_str().unwrap().starts_with("node node-1, "), "{report}");
    }
}

/// The kustomize base equals the chart with default values, rendered for the newest version, except
/// for the configuration, from which kustomize makes a ConfigMap.
#[test]
fn kustomize_base_equals_chart() {
    let rendered = render("1.37", &json!({ "networkPolicy": { "enabled": true } })).unwrap();
    let wanted = plain(&rendered);
    let file = base().join("dnscribe.yaml");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        fs::write(&file, &wanted).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        wanted,
        "out of date: DNSCRIBE_BLESS=1 writes it"
    );
    for version in ["1.30", "1.37"] {
        assert_eq!(read(version, &wanted).unwrap().len(), 6);
    }
    let config = of_kind(&read("1.37", &rendered).unwrap(), "ConfigMap").unwrap().clone();
    let config = config["data"]["dnscribe.yaml"].as_str().unwrap().to_owned();
    let own = fs::read_to_string(base().join("config/dnscribe.yaml")).unwrap();
    let own = own.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(own.collect::<Vec<_>>(), config.lines().collect::<Vec<_>>());
}

/// Removes Helm's labels and the configuration.
fn plain(rendered: &str) -> String {
    let documents = rendered.split("---\n").filter(|document| {
        !document.trim().is_empty() && !document.contains("\nkind: ConfigMap\n")
    });
    let helm =
        ["# Source: ", "helm.sh/chart:", "app.kubernetes.io/managed-by:", "checksum/config:"];
    let dropped = ["# Another configuration starts", "annotations:"];
    let mut text = String::new();
    for document in documents {
        text.push_str(if text.is_empty() { "" } else { "---\n" });
        for line in document.lines() {
            let words = line.trim_start();
            if !helm.iter().chain(&dropped).any(|start| words.starts_with(start)) {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Every configuration in `examples/` is one that its program accepts. `shop.yaml` is a map of columns, which `dnscribe-kpi` imports by.
#[test]
fn example_configurations_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    // Where the example says /etc/dnscribe/privacy.key.
    let key = folder.path().join("privacy.key");
    fs::write(&key, "0123456789abcdef").unwrap();
    let mut count = 0;
    for entry in fs::read_dir(environment::workspace().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let is_other = path.ends_with("cluster-values.yaml") || path.ends_with("shop.yaml");
        if is_other || path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let is_probe = path.file_stem().is_some_and(|name| name == "probe");
        let binary = if is_probe { environment::probe_binary() } else { environment::binary() };
        let mut check = Command::new(binary.unwrap());
        check.args(["check", "-o", "json", "--config"]).arg(&path);
        check.env("DNSCRIBE_PRIVACY__KEY_FILE", &key);
        let output = check.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["probes"][0]["ok"], true, "{}: {report}", path.display());
        count += 1;
    }
    assert_eq!(count, 5);
}

/// `dnscribe policy` suggests policies that the API server takes, and `check` finds what they would refuse.
#[test]
fn suggested_policies_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    let records = manifests::connections();
    let file = folder.path().join("uses.ndjson");
    fs::write(&file, records.join("\n")).unwrap();
    let stranger = folder.path().join("stranger.ndjson");
    fs::write(&stranger, connection("evil.example.com", "192.0.2.66", 443, "tcp")).unwrap();
    let definitions = manifests::policy_definitions().unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(environment::binary().unwrap());
        let output = command.arg("policy").args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (records, stranger) = (file.display().to_string(), stranger.display().to_string());
    for (format, kind) in [
        ("cilium", "CiliumNetworkPolicy"),
        ("cluster", "ClusterNetworkPolicy"),
        ("kubernetes", "NetworkPolicy"),
    ] {
        let (code, policy, stderr) = run(&["suggest", &records, "-o", format]);
        assert_eq!(code, Some(0), "{stderr}");
        let documents = manifests::read_defined("1.34", &policy, &definitions).unwrap();
        // The API takes 25 rules of a cluster's policy.
        let names: Vec<&str> =
            documents.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), if format == "cluster" { 2 } else { 1 }, "{names:?}");
        assert!(documents.iter().all(|document| document["kind"] == kind), "{policy}");
        assert!(names.iter().all(|name| name.ends_with("-egress")), "{names:?}");
        // What is wrong is found: the definitions are read.
        let wrong = policy.replacen("egress:", "egres:", 1);
        assert!(manifests::read_defined("1.34", &wrong, &definitions).is_err(), "{format}");
        let path = folder.path().join(format);
        fs::write(&path, &policy).unwrap();
        let path = path.display().to_string();
        let (code, stdout, stderr) = run(&["check", &path, "--records", &records]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.contains("152 of 152 connections allowed, 0 refused"), "{stdout}");
        let (code, stdout, stderr) = run(&["check", &path, "--records", &stranger]);
        assert_eq!(code, Some(1), "{stdout}");
        assert!(stdout.contains("shop/web  evil.example.com  192.0.2.66 port 443/TCP"), "{stdout}");
        assert!(stderr.contains("1 of 1 connections would be refused"), "{stderr}");
    }
    let (code, _, stderr) = run(&["suggest", &records, "--namespace", "other"]);
    assert!(code == Some(1) && stderr.contains("capture.connections"), "{stderr}");
    let (code, _, stderr) = run(&["check", &records, "--records", &records]);
    assert!(code == Some(2) && stderr.contains("uses.ndjson"), "{stderr}");
    let (code, _, stderr) = run(&["suggest", &records, "--selector", "app=web,app=api"]);
    assert!(code == Some(2) && stderr.contains("names a label twice"), "{stderr}");
    // A workload of another kind with the same name and labels, and a masked record.
    let one = connection("job.example.com", "198.51.100.7", 443, "tcp");
    let masked = one.replacen('{', "{\"masking\":{\"qname\":\"hash\"},", 1);
    let lines = [one.replace("Deployment", "Job"), masked];
    fs::write(&stranger, [fs::read_to_string(&records).unwrap(), lines.join("\n")].join("\n"))
        .unwrap();
    let (code, stdout, stderr) = run(&["suggest", &stranger, "--workload", "Job/web"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("job.example.com") && !stdout.contains("n1.example.com"), "{stdout}");
    let warning = "the selector of shop/web (Job) also selects pods of shop/web (Deployment)";
    assert!(stdout.contains(&format!("# {warning}\n")) && stderr.contains(warning), "{stderr}");
    assert!(stderr.contains("left out 1 connections of masked records"), "{stderr}");
}
