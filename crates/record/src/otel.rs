//! Records in the words of OpenTelemetry (<https://opentelemetry.io/docs/specs/semconv/>, version 1.39).
//!
//! Attributes are the declared fields. A field that has a name in ECS, and whose name in OpenTelemetry is known, has that name;
//! what has none is `dnscribe.` and its own path: nothing is lost.

use crate::ecs::{Place, Shape, network_transport, outcome};
use crate::time::Timestamp;
use crate::{Stream, json_schema};
use serde_json::{Map, Value};

/// An attribute: its name and its value.
pub type Attribute = (String, Value);

/// Makes attributes of records.
pub struct OtelEncoder {
    /// One for each stream.
    shapes: [Shape; Stream::ALL.len()],
}

/// A record, taken apart.
#[derive(Debug, PartialEq)]
pub struct OtelRecord {
    /// The record's `ts`.
    pub time: Timestamp,
    /// What made the record: node, region and labels.
    pub resource: Vec<Attribute>,
    /// All other fields.
    pub attributes: Vec<Attribute>,
}

impl Default for OtelEncoder {
    fn default() -> Self {
        Self { shapes: Shape::all(otel_name) }
    }
}

impl OtelEncoder {
    /// Takes a record apart.
    #[must_use]
    pub fn encode(&self, stream: Stream, mut record: Map<String, Value>) -> OtelRecord {
        let mut attributes = derived(stream, &record);
        let text = |value: Value| value.as_str().map(str::to_owned);
        let time = record.remove("ts").and_then(text).and_then(|ts| ts.parse().ok());
        let mut resource = vec![("service.name".to_owned(), "dnscribe".into())];
        if let Some(node) = record.remove("node") {
            // Prometheus makes `instance` of it: without, all hosts would be one.
            resource.push(("service.instance.id".to_owned(), node.clone()));
            resource.push(("host.name".to_owned(), node));
        }
        resource
            .extend(record.remove("region").map(|region| ("dnscribe.region".to_owned(), region)));
        if let Some(Value::Object(labels)) = record.remove("labels") {
            resource.extend(labels);
        }
        flatten(Some(&self.shapes[stream as usize]), "dnscribe", record, &mut attributes);
        OtelRecord { time: time.unwrap_or_default(), resource, attributes }
    }

    /// Makes attributes of some of a record's fields.
    #[must_use]
    pub fn attributes(&self, stream: Stream, fields: Map<String, Value>) -> Vec<Attribute> {
        let mut attributes = Vec::new();
        flatten(Some(&self.shapes[stream as usize]), "dnscribe", fields, &mut attributes);
        attributes
    }
}

/// Appends the fields of an object, those of objects inside by their paths.
fn flatten(
    shape: Option<&Shape>,
    prefix: &str,
    object: Map<String, Value>,
    attributes: &mut Vec<Attribute>,
) {
    for (name, value) in object {
        match (shape.and_then(|shape| shape.0.get(&name)), value) {
            (Some(Place::Named(paths)), value) => {
                attributes.extend(paths.iter().map(|path| (path.clone(), value.clone())));
            }
            (Some(Place::Object(shape)), Value::Object(inner)) => {
                flatten(Some(shape), &format!("{prefix}.{name}"), inner, attributes);
            }
            (_, Value::Object(inner)) => {
                flatten(None, &format!("{prefix}.{name}"), inner, attributes);
            }
            (_, value) => attributes.push((format!("{prefix}.{name}"), value)),
        }
    }
}

/// Returns the name that OpenTelemetry has for a field of ECS.
fn otel_name(ecs: &str) -> Option<&str> {
    Some(match ecs {
        "event.id" => "log.record.uid",
        "client.ip" => "client.address",
        "server.ip" => "server.address",
        "dns.resolved_ip" => "dns.answers",
        "process.name" => "process.executable.name",
        "process.executable" => "process.executable.path",
        "container.name" => "k8s.container.name",
        "container.runtime" => "container.runtime.name",
        "orchestrator.namespace" => "k8s.namespace.name",
        "orchestrator.resource.name" => "k8s.pod.name",
        "orchestrator.resource.id" => "k8s.pod.uid",
        "client.port" | "server.port" | "dns.question.name" | "process.pid" | "process.user.id"
        | "container.id" => ecs,
        _ => return None,
    })
}

/// Returns what the conventions want beside the record's fields.
fn derived(stream: Stream, record: &Map<String, Value>) -> Vec<Attribute> {
    let mut attributes = Vec::new();
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let mut set = |name: &str, value: Option<Value>| {
        attributes.extend(value.map(|value| (name.to_owned(), value)));
    };
    let transport = text("transport").filter(|_| stream != Stream::Connections);
    set("network.transport", transport.and_then(network_transport).map(Value::from));
    set("error.type", error_type(stream, record).map(Value::from));
    let answers = record.get("answers").and_then(Value::as_array).into_iter().flatten();
    let addresses = answers.filter(|answer| answer["type"] == "A" || answer["type"] == "AAAA");
    let addresses: Vec<Value> = addresses.map(|answer| answer["data"].clone()).collect();
    set("dns.answers", (!addresses.is_empty()).then(|| addresses.into()));
    let k8s = record.get("k8s");
    let workload = |name: &str| k8s?.get(name)?.as_str();
    if let Some((kind, name)) = workload("workload_kind").zip(workload("workload")) {
        let known = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"]
            .contains(&kind);
        let key = format!("k8s.{}.name", kind.to_lowercase());
        set(&key, known.then(|| name.into()));
    }
    attributes
}

/// Returns the `error.type` of a lookup, in the words of `getaddrinfo`, or of a transaction that failed, in ours.
#[must_use]
pub fn error_type(stream: Stream, record: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let error = match (stream, text("outcome").unwrap_or_default()) {
        (Stream::Lookups, "nxdomain" | "nodata") => "host_not_found",
        (Stream::Lookups, "timeout" | "servfail" | "unreachable" | "truncated") => "try_again",
        (Stream::Lookups, "refused" | "error") => "no_recovery",
        (Stream::Transactions, _) if outcome(stream, record) == Some("failure") => {
            text("rcode").or(text("status"))?
        }
        _ => return None,
    };
    Some(error.to_owned())
}

/// A field of `dns.window/1` that is a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowMetric {
    /// Name of the field.
    pub field: String,
    /// Name of the metric, without what the windows are grouped by.
    pub name: String,
    /// Unit, as OpenTelemetry writes it (UCUM).
    pub unit: String,
    /// Attribute that tells the parts of a list or an object apart; `None` for a number and for latencies.
    pub by: Option<String>,
}

/// Returns the metrics of `dns.window/1`, and the names of the fields that tell its groups apart: `x-otel-metric` and
/// `x-otel-group` in the JSON Schema.
#[must_use]
pub fn window_metrics() -> (Vec<WindowMetric>, Vec<String>) {
    let schema = json_schema(Stream::Metrics.schema()).unwrap_or_default();
    let fields = || schema["properties"].as_object().into_iter().flatten();
    let metric = |(field, declared): (&String, &Value)| {
        let text = |index: usize| declared["x-otel-metric"][index].as_str().map(str::to_owned);
        Some(WindowMetric { field: field.clone(), name: text(0)?, unit: text(1)?, by: text(2) })
    };
    let groups = fields().filter(|(_, declared)| declared["x-otel-group"] == true);
    (fields().filter_map(metric).collect(), groups.map(|(name, _)| name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn encode(stream: Stream, record: Value) -> OtelRecord {
        let Value::Object(record) = record else { unreachable!("an object") };
        OtelEncoder::default().encode(stream, record)
    }

    #[test]
    fn transactions_have_the_conventions_names_and_lose_nothing() {
        let found = encode(
            Stream::Transactions,
            json!({
                "schema": "dns.transaction/1", "event_id": "00", "ts": "2026-11-26T10:00:00.5Z", "node": "n",
                "region": "eu", "labels": { "env": "test" }, "transport": "dot", "client_ip": "192.0.2.1",
                "client_port": 4000, "server_ip": "192.0.2.53", "server_port": 853, "resolver": "cache",
                "qname": "www.example.com", "qtype": "A", "status": "answered", "rcode": "SERVFAIL",
                "answers": [{ "name": "a", "type": "A", "ttl": 60, "data": "198.51.100.1" }], "edns": { "do": true },
                "process": { "pid": 9, "uid": 0, "comm": "curl", "exe": "/usr/bin/curl" },
                "container": { "id": "c0" },
                "k8s": {
                    "namespace": "shop", "pod": "web-1", "workload_kind": "Deployment", "workload": "web",
                    "labels": { "app": "x" },
                },
            }),
        );
        let resource = json!({
            "service.name": "dnscribe", "service.instance.id": "n", "host.name": "n", "dnscribe.region": "eu",
            "env": "test",
        });
        assert_eq!(Value::Object(found.resource.into_iter().collect()), resource);
        assert_eq!(found.time.to_string(), "2026-11-26T10:00:00.500000000Z");
        let attributes = json!({
            "log.record.uid": "00", "network.transport": "tcp", "error.type": "SERVFAIL",
            "client.address": "192.0.2.1", "client.port": 4000, "server.address": "192.0.2.53", "server.port": 853,
            "dns.question.name": "www.example.com", "dns.answers": ["198.51.100.1"],
            "process.pid": 9, "process.user.id": 0, "process.executable.name": "curl",
            "process.executable.path": "/usr/bin/curl", "container.id": "c0", "k8s.namespace.name": "shop",
            "k8s.pod.name": "web-1", "k8s.deployment.name": "web",
            "dnscribe.schema": "dns.transaction/1", "dnscribe.transport": "dot", "dnscribe.resolver": "cache",
            "dnscribe.qtype": "A", "dnscribe.status": "answered", "dnscribe.rcode": "SERVFAIL",
            "dnscribe.answers": [{ "name": "a", "type": "A", "ttl": 60, "data": "198.51.100.1" }],
            "dnscribe.edns.do": true, "dnscribe.k8s.workload_kind": "Deployment", "dnscribe.k8s.workload": "web",
            "dnscribe.k8s.labels.app": "x",
        });
        assert_eq!(Value::Object(found.attributes.into_iter().collect()), attributes);
    }

    #[test]
    fn lookups_fail_as_getaddrinfo_does() {
        for (outcome, expected) in [
            ("answered", None),
            ("nxdomain", Some("host_not_found")),
            ("timeout", Some("try_again")),
            ("refused", Some("no_recovery")),
            ("open", None),
        ] {
            let found = encode(Stream::Lookups, json!({ "outcome": outcome }));
            let error = found.attributes.iter().find(|(name, _)| name == "error.type");
            assert_eq!(error.map(|(_, value)| value.as_str().unwrap()), expected, "{outcome}");
        }
    }

    #[test]
    fn windows_declare_their_metrics() {
        let (metrics, groups) = window_metrics();
        let name = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
        assert_eq!(name("transactions").by.as_deref(), Some("dnscribe.status"));
        assert_eq!((&*name("latency").field, &*name("latency").unit), ("latency_ms", "s"));
        for group in [
            "vantage",
            "transport",
            "resolver",
            "zone",
            "qtype",
            "process",
            "container",
            "k8s",
            "other",
        ] {
            assert!(groups.iter().any(|name| name == group), "{group}");
        }
        assert_eq!(groups.len(), 9);
    }
}
