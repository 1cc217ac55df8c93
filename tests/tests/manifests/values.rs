//! Values of the chart that are legal, and unusual: each is rendered as it is meant, or refused with its name.

use super::{daemonset, stream_jobs, stream_values};
use dnscribe_tests::{manifests, page};
use manifests::{chart, everything, of_kind, read, read_yaml, render, render_release};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

/// The values of `docs/stream-operation.md`, as they are on the page.
#[test]
fn page_of_stream_operation_has_values_of_the_chart() {
    let text = page::read("stream-operation").unwrap();
    let mut blocks = page::blocks(&text, "yaml").into_iter();
    let block = blocks.find(|block| block.starts_with("stream:")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    fs::write(&file, block).unwrap();
    let documents = read("1.34", &render("1.34", &read_yaml(&file).unwrap()).unwrap()).unwrap();
    let jobs = documents.iter().filter(|document| document["kind"] == "FlinkDeployment");
    let names: Vec<&str> = jobs.filter_map(|job| job["metadata"]["name"].as_str()).collect();
    let expected = ["enrich", "fleet", "store-archive", "store-clickhouse", "store-timescaledb"];
    assert_eq!(names, expected.map(|job| format!("dnscribe-{job}")));
}

/// A name that YAML without quotes reads as a number, a date, a truth value or nothing stays a name.
#[test]
fn names_are_texts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    let mut rendered = Vec::new();
    for name in ["123", "0123", "1e3", "2026-01-01", "true", "on", "y", "null"] {
        let mut values = everything();
        for path in [
            "/nameOverride",
            "/fullnameOverride",
            "/serviceAccount/name",
            "/priorityClass/name",
            "/kafka/existingSecret",
            "/dashboards/namespace",
            "/probe/existingClaim",
            "/stream/existingSecret",
            "/stream/serviceAccount",
            "/stream/storage/existingSecret",
        ] {
            *place(&mut values, path.split('/').skip(1)) = json!(name);
        }
        // Other names are refused for these jobs, by their operator.
        values["stream"]["enabled"] = json!(name.starts_with(char::is_alphabetic));
        fs::write(&file, values.to_string()).unwrap();
        let command = format!(
            "helm install {name} deploy/helm/dnscribe --namespace {name} --values {}",
            file.display()
        );
        rendered.push(manifests::render_command("1.34", &command).unwrap());
    }
    let documents = read("1.34", &rendered.join("\n---\n")).unwrap();
    assert_eq!(documents.len(), 4 * 13 + 4 * 20);
    // Not every kind has a schema, and no schema has the metadata of all.
    for document in &documents {
        let metadata = &document["metadata"];
        let labels = metadata["labels"].as_object().unwrap().values();
        let mut texts = labels.chain([&metadata["name"]]).chain(metadata.get("namespace"));
        assert!(texts.all(Value::is_string), "{document:#}");
    }
}

/// A folder with what means something in YAML is the folder of the node.
#[test]
fn folder_of_the_spool_is_what_the_values_say() {
    for path in ["/a,b", "/a: b", "/a #b", "/{a}", "/a\"b"] {
        let volumes = &daemonset(&json!({ "spool": { "hostPath": path } }))["spec"]["volumes"];
        let mut volumes = volumes.as_array().unwrap().iter();
        let spool = volumes.find(|volume| volume["name"] == "spool").unwrap();
        assert_eq!(spool["hostPath"], json!({ "path": path, "type": "DirectoryOrCreate" }));
    }
}

/// Values with a key that the chart itself sets. No key is there twice.
#[test]
fn keys_of_the_chart_may_be_values() {
    let mut values = everything();
    let instance = "app.kubernetes.io/instance";
    for part in ["podMonitor", "prometheusRule", "dashboards"] {
        values[part]["labels"] = json!({ instance: "mine" });
    }
    let system = json!({ "kubernetes.io/os": "linux" });
    values["nodeSelector"] = system.clone();
    values["probe"]["nodeSelector"] = system.clone();
    let documents = read("1.34", &render("1.34", &values).unwrap()).unwrap();
    let mine =
        documents.iter().filter(|document| document["metadata"]["labels"][instance] == "mine");
    let kinds: Vec<&str> = mine.filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["ConfigMap", "PodMonitor", "PodMonitor", "PrometheusRule"]);
    for kind in ["DaemonSet", "Deployment"] {
        let document = of_kind(&documents, kind).unwrap();
        assert_eq!(document["spec"]["template"]["spec"]["nodeSelector"], system);
    }
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { a: b, a: b }\n";
    let error = read("1.34", twice).unwrap_err().to_string();
    assert!(error.contains("duplicate key"), "{error}");
}

/// For Helm, null removes a default. Either the chart does without it, or Helm says which value is missing.
#[test]
fn values_that_are_null_are_left_out_or_named() {
    let mut paths = BTreeSet::new();
    for values in [read_yaml(&chart().join("values.yaml")).unwrap(), everything()] {
        add_paths(&values, &[], &mut paths);
    }
    assert!(paths.len() > 100, "{paths:?}");
    let (mut documents, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let mut values = everything();
        *place(&mut values, path.iter().map(String::as_str)) = Value::Null;
        match render("1.34", &values) {
            Ok(rendered) => documents.extend(rendered.split("---\n").map(str::to_owned)),
            Err(error) => {
                let error = error.to_string();
                let is_explained = ["don't meet the specifications", "execution error at"]
                    .iter()
                    .any(|start| error.contains(start));
                assert!(is_explained, "{path:?}: {error}");
                refused.insert(path.join("."));
            }
        }
    }
    for needed in ["metrics", "metrics.port", "spool.hostPath", "stream.jobs", "config"] {
        assert!(refused.contains(needed), "{needed}: {refused:?}");
    }
    for optional in ["resources.limits", "stream.flinkConfiguration", "config.kafka"] {
        assert!(!refused.contains(optional), "{optional}: {refused:?}");
    }
    let documents: Vec<String> = documents.into_iter().collect();
    read("1.34", &documents.join("---\n")).unwrap();
}

/// Adds the paths of a value's keys, at every depth.
fn add_paths(value: &Value, above: &[String], paths: &mut BTreeSet<Vec<String>>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = [above, std::slice::from_ref(key)].concat();
        add_paths(value, &path, paths);
        paths.insert(path);
    }
}

/// The place of a path, which is made if it is missing.
fn place<'a, 'b>(values: &'a mut Value, path: impl Iterator<Item = &'b str>) -> &'a mut Value {
    path.fold(values, |place, key| &mut place[key])
}

/// Sections of the jobs' configuration with comments only, and a job that another file of values has switched off.
#[test]
fn sections_of_the_stream_may_be_empty() {
    let (config, lines) = stream_jobs(&json!({
        "config": { "kafka": { "brokers": "kafka:9093" }, "archive": null, "store": null },
        "jobs": { "store-archive": null },
        "migrate": { "config": null },
    }));
    assert_eq!(config["store"]["stores"], json!(["clickhouse", "influxdb", "timescaledb"]));
    assert_eq!(lines.len(), 5);
    // One that is empty for the migrations takes nothing away.
    let values =
        stream_values(&json!({ "migrate": { "config": { "kafka": null, "store": null } } }));
    let documents = read("1.34", &render("1.34", &values).unwrap()).unwrap();
    let mut data = documents.iter().map(|document| &document["data"]);
    let data = data.find(|data| data["migrate.yaml"].is_string()).unwrap();
    assert_eq!(data["migrate.yaml"], data["stream.yaml"]);
    let archive = json!({
        "config": { "archive": { "path": "s3a://dns/archive" } },
        "jobs": { "store-archive": null },
    });
    let error = render("1.34", &stream_values(&archive)).unwrap_err().to_string();
    assert!(error.contains("add stream.jobs.store-archive"), "{error}");
}

/// Flink's operator refuses the name after the installation, which Helm would call successful.
#[test]
fn names_of_flink_begin_with_a_letter() {
    let error = render_release("1a", "1.34", &everything()).unwrap_err().to_string();
    assert!(error.contains("begin with a letter: set fullnameOverride"), "{error}");
}

/// The agent's own policy lets in what the agent is configured to receive.
#[test]
fn network_policy_lets_dnstap_in() {
    let ingress = |config: Value, policy: Value| {
        let values = json!({ "config": { "capture": config }, "networkPolicy": policy });
        let documents = read("1.34", &render("1.34", &values).unwrap()).unwrap();
        of_kind(&documents, "NetworkPolicy").unwrap()["spec"]["ingress"].clone()
    };
    let port = |port: Value| json!({ "port": port, "protocol": "TCP" });
    let metrics = json!({ "ports": [port(json!("metrics"))] });
    let local = json!({ "dnstap": ["unix:/run/dnscribe/dnstap.sock"] });
    assert_eq!(ingress(local, json!({})), json!([metrics]));
    let addresses = ["unix:/run/a:1", "tls:0.0.0.0:6000", "tcp:[::]:6001", "tls:[::]:6000"];
    let ports = json!([port(json!(6000)), port(json!(6001))]);
    for dnstap in [json!(addresses), json!(addresses.join(", "))] {
        let found = ingress(json!({ "dnstap": dnstap }), json!({}));
        assert_eq!(found, json!([metrics, { "ports": ports }]));
    }
    let peers = json!([{ "ipBlock": { "cidr": "192.0.2.0/24" } }]);
    let found = ingress(json!({ "dnstap": addresses }), json!({ "dnstapSenders": peers }));
    assert_eq!(found, json!([metrics, { "ports": ports, "from": peers }]));
}
