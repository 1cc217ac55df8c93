//! Records as documents of the Elastic Common Schema (<https://www.elastic.co/docs/reference/ecs>).
//!
//! A field's names there stand beside its declaration (`x-ecs` in the JSON Schemas). What has none is kept below `dnscribe`,
//! by its own name: nothing is lost.

use crate::privacy::is_pseudonym;
use crate::time::Timestamp;
use crate::{Stream, json_schema};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Version of the schema that documents follow.
const ECS_VERSION: &str = "9.4.0";

/// Makes documents of records.
pub struct EcsEncoder {
    /// One for each stream.
    shapes: [Shape; Stream::ALL.len()],
}

/// Where the fields of an object go. Others stay.
#[derive(Default)]
pub(crate) struct Shape(pub(crate) HashMap<String, Place>);

pub(crate) enum Place {
    /// Paths in the document.
    Named(Vec<String>),
    /// An object whose fields have paths.
    Object(Shape),
}

impl Shape {
    /// Returns where the fields of each stream go, if `rename` makes paths of their names in ECS.
    pub(crate) fn all(rename: impl Fn(&str) -> Option<&str> + Copy) -> [Self; Stream::ALL.len()] {
        Stream::ALL.map(|stream| {
            let schema = json_schema(stream.schema()).unwrap_or_default();
            Self::of(&schema, &schema, rename)
        })
    }

    /// Reads the names from a JSON Schema, of which `object` is a part.
    fn of(schema: &Value, object: &Value, rename: impl Fn(&str) -> Option<&str> + Copy) -> Self {
        let place = |field: &Value| {
            if let Some(Value::Array(names)) = field.get("x-ecs") {
                let names = names.iter().filter_map(|name| rename(name.as_str()?));
                let names: Vec<String> = names.map(str::to_owned).collect();
                return (!names.is_empty()).then_some(Place::Named(names));
            }
            let reference = field.get("$ref").and_then(Value::as_str);
            let target = reference.and_then(|path| schema.pointer(path.strip_prefix('#')?));
            let shape = Self::of(schema, target?, rename);
            (!shape.0.is_empty()).then_some(Place::Object(shape))
        };
        let fields = object.get("properties").and_then(Value::as_object).into_iter().flatten();
        Self(fields.filter_map(|(name, field)| Some((name.clone(), place(field)?))).collect())
    }

    /// Moves the fields of a record into a document. Returns those that have no place there.
    fn place(
        &self,
        record: Map<String, Value>,
        document: &mut Map<String, Value>,
    ) -> Option<Value> {
        let mut own = Map::new();
        for (name, value) in record {
            let left = match (self.0.get(&name), value) {
                (Some(Place::Named(paths)), value) => {
                    let put = |path: &String| {
                        let (path, value) = converted(path, &value)?;
                        put(document, &path, value)
                    };
                    let placed = paths.iter().map(put).fold(true, |all, one| all & one.is_some());
                    (!placed).then_some(value)
                }
                (Some(Place::Object(shape)), Value::Object(inner)) => shape.place(inner, document),
                (_, value) => Some(value),
            };
            if let Some(left) = left {
                own.insert(name, left);
            }
        }
        (!own.is_empty()).then_some(Value::Object(own))
    }
}

impl Default for EcsEncoder {
    fn default() -> Self {
        Self { shapes: Shape::all(|name| Some(name)) }
    }
}

impl EcsEncoder {
    /// Appends a record as a document, without a newline.
    ///
    /// # Errors
    /// It is no JSON object. Nothing is appended then.
    pub fn write(
        &self,
        stream: Stream,
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), serde_json::Error> {
        let record: Map<String, Value> = serde_json::from_slice(record)?;
        let mut document = derived(stream, &record);
        let wants_dnssec = record.get("edns").is_some_and(|edns| edns["do"] == true);
        if let Some(own) = self.shapes[stream as usize].place(record, &mut document) {
            document.insert("dnscribe".to_owned(), own);
        }
        // A flag of the header, as the schema sees it.
        if wants_dnssec
            && let Some(Value::Object(dns)) = document.get_mut("dns")
            && let Some(Value::Array(flags)) = dns.get_mut("header_flags")
        {
            flags.push("DO".into());
        }
        serde_json::to_writer(out, &document)
    }
}

/// Sets the value of a path, unless it has one.
fn put(document: &mut Map<String, Value>, path: &str, value: Value) -> Option<()> {
    let mut object = document;
    let mut rest = path;
    while let Some((name, inner)) = rest.split_once('.') {
        let entry = object.entry(name).or_insert_with(|| Map::new().into());
        object = entry.as_object_mut()?;
        rest = inner;
    }
    let is_new = !object.contains_key(rest);
    is_new.then(|| object.insert(rest.to_owned(), value)).map(|_| ())
}

/// Returns a value in the form that its path asks for, and the path.
fn converted(path: &str, value: &Value) -> Option<(String, Value)> {
    let mut path = path.to_owned();
    let value = match path.as_str() {
        "dns.id" | "process.user.id" => value.to_string().into(),
        "dns.header_flags" => {
            let flags = value.as_array()?.iter().filter_map(Value::as_str);
            flags.map(str::to_uppercase).collect()
        }
        "event.duration" => nanoseconds(value)?.into(),
        "client.ip" | "server.ip" | "source.ip" | "destination.ip" if !is_ip(value) => {
            // Victims of an amplification are a prefix.
            path.truncate(path.len() - "ip".len());
            path.push_str("address");
            value.clone()
        }
        _ => value.clone(),
    };
    Some((path, value))
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn is_ip(value: &Value) -> bool {
    ip(value).is_some()
}

/// Returns an address unless it stands for one that is not shown: a pseudonym, whose family says nothing, or a dropped one.
fn shown_ip(value: &Value) -> Option<IpAddr> {
    ip(value).filter(|ip| !ip.is_unspecified() && !is_pseudonym(*ip))
}

/// Reads milliseconds.
fn nanoseconds(value: &Value) -> Option<u64> {
    let duration = Duration::try_from_secs_f64(value.as_f64()? / 1000.0).ok()?;
    u64::try_from(duration.as_nanos()).ok()
}

/// Returns what a document says beside the record's fields.
fn derived(stream: Stream, record: &Map<String, Value>) -> Map<String, Value> {
    let mut document = Map::new();
    let mut set = |path: &str, value: Option<Value>| {
        if let Some(value) = value {
            // No path is set twice.
            let _ = put(&mut document, path, value);
        }
    };
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let is_dns = matches!(stream, Stream::Messages | Stream::Transactions | Stream::Lookups);
    set("ecs.version", Some(ECS_VERSION.into()));
    let kind = match stream {
        Stream::Alerts => "alert",
        Stream::Metrics | Stream::Ledger => "metric",
        Stream::Dlq => "pipeline_error",
        _ => "event",
    };
    set("event.kind", Some(kind.into()));
    let types = match stream {
        Stream::Messages | Stream::Transactions | Stream::Lookups => {
            json!(["connection", "protocol"])
        }
        Stream::Connections => json!(["connection"]),
        Stream::Uses => json!(["connection", "start"]),
        Stream::Alerts | Stream::Probes => json!(["info"]),
        Stream::Metrics | Stream::Ledger | Stream::Dlq => Value::Null,
    };
    if !types.is_null() {
        set("event.category", Some(json!(["network"])));
        set("event.type", Some(types));
    }
    set("event.module", Some("dnscribe".into()));
    set("event.dataset", Some(format!("dnscribe.{}", stream.name()).into()));
    set("event.outcome", outcome(stream, record).map(Value::from));
    let duration = ["latency_ms", "duration_ms"].into_iter().find_map(|name| record.get(name));
    let start = text("ts").and_then(|ts| ts.parse::<Timestamp>().ok());
    if let Some((duration, start)) = duration.and_then(nanoseconds).zip(start) {
        set("event.start", Some(start.to_string().into()));
        set("event.end", Some(start.plus(Duration::from_nanos(duration)).to_string().into()));
    }
    let severity = match text("severity") {
        Some("critical") => Some(3.into()),
        Some("warning") => Some(2.into()),
        Some("info") => Some(1.into()),
        _ => None,
    };
    set("event.severity", severity);
    if is_dns {
        set("network.protocol", Some("dns".into()));
        let has_answer = record.contains_key("rcode") || text("qr") == Some("response");
        set("dns.type", Some(if has_answer { "answer" } else { "query" }.into()));
    }
    let transport = text("transport").and_then(network_transport).map(Value::from);
    set("network.transport", transport.filter(|_| stream != Stream::Connections));
    let direction = match text("vantage").filter(|_| stream != Stream::Messages) {
        Some("client") => Some("egress".into()),
        Some("server") => Some("ingress".into()),
        _ => None,
    };
    set("network.direction", direction);
    let ends = ["client_ip", "server_ip", "src_ip", "dst_ip", "responder_ip", "address"];
    let ends = ends.into_iter().filter_map(|name| record.get(name));
    let mut addresses: Vec<&Value> = ends.filter(|end| shown_ip(end).is_some()).collect();
    if let Some(ip) = addresses.first().and_then(|end| ip(end)) {
        set("network.type", Some(if ip.is_ipv6() { "ipv6" } else { "ipv4" }.into()));
    }
    let answers = record.get("answers").and_then(Value::as_array).into_iter().flatten();
    let answered = answers.filter_map(|answer| answer.get("data"));
    let resolved: Vec<&Value> = answered.filter(|data| is_ip(data)).collect();
    if !resolved.is_empty() {
        set("dns.resolved_ip", Some(json!(resolved)));
    }
    let looked_up = record.get("addresses").and_then(Value::as_array).into_iter().flatten();
    addresses.extend(resolved.into_iter().chain(looked_up));
    let mut related: Vec<&Value> = Vec::new();
    for address in addresses {
        if shown_ip(address).is_some() && !related.contains(&address) {
            related.push(address);
        }
    }
    if !related.is_empty() {
        set("related.ip", Some(json!(related)));
    }
    let name = text("qname").filter(|name| !name.is_empty());
    set("related.hosts", name.map(|name| json!([name])));
    if let Some((name, zone)) = text("qname").zip(text("zone")) {
        let below = name.strip_suffix(zone).and_then(|below| below.strip_suffix('.'));
        set("dns.question.subdomain", below.map(Value::from));
        set("dns.question.top_level_domain", zone.split_once('.').map(|(_, tld)| tld.into()));
    }
    if record.contains_key("k8s") {
        set("orchestrator.type", Some("kubernetes".into()));
        set("orchestrator.resource.type", Some("pod".into()));
    }
    document
}

/// Returns what messages go over. What DoH and `DNSCrypt` go over is not known.
pub(crate) fn network_transport(transport: &str) -> Option<&'static str> {
    match transport {
        "udp" | "doq" => Some("udp"),
        "tcp" | "dot" => Some("tcp"),
        _ => None,
    }
}

/// Returns how it went, as far as the record knows; `None` if nothing was tried.
pub(crate) fn outcome(stream: Stream, record: &Map<String, Value>) -> Option<&'static str> {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let outcome = match stream {
        Stream::Transactions => match (text("status"), text("rcode")) {
            ("answered", "NOERROR" | "NXDOMAIN") => "success",
            ("answered" | "timeout" | "icmp_error", _) => "failure",
            _ => "unknown",
        },
        Stream::Lookups => match text("outcome") {
            "answered" | "nodata" | "nxdomain" => "success",
            "open" => "unknown",
            _ => "failure",
        },
        Stream::Connections => match text("status") {
            "closed" | "idle" => "success",
            "open" | "evicted" => "unknown",
            _ => "failure",
        },
        Stream::Uses => match text("outcome") {
            "established" => "success",
            "unknown" => "unknown",
            _ => "failure",
        },
        _ => return None,
    };
    Some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(stream: Stream, record: &Value) -> Value {
        let mut out = Vec::new();
        EcsEncoder::default().write(stream, record.to_string().as_bytes(), &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn transactions_become_documents_and_lose_nothing() {
        let record = json!({
            "schema": "dns.transaction/1", "event_id": "00", "ts": "2026-11-26T10:00:00.5Z", "node": "n",
            "labels": { "env": "test" }, "vantage": "client", "transport": "dot", "client_ip": "192.0.2.1",
            "client_port": 4000, "server_ip": "192.0.2.53", "server_port": 853, "id": 7, "opcode": "QUERY",
            "qname": "www.shop.example.co.uk", "qtype": "A", "qclass": "IN", "zone": "example.co.uk",
            "status": "answered", "rcode": "NOERROR", "latency_ms": 1.5, "retries": 0, "flags": ["rd", "ra"],
            "edns": { "do": true },
            "answers": [{ "name": "www.shop.example.co.uk", "type": "A", "ttl": 60, "data": "198.51.100.1" }],
            "resolver": "cache", "process": { "pid": 9, "uid": 0, "comm": "curl", "exe": "/usr/bin/curl" },
            "k8s": { "namespace": "shop", "pod": "web-1", "workload": "web" },
        });
        let ends = json!({ "ip": "192.0.2.1", "port": 4000 });
        let server = json!({ "ip": "192.0.2.53", "port": 853, "address": "cache" });
        let expected = json!({
            "@timestamp": "2026-11-26T10:00:00.5Z",
            "ecs": { "version": ECS_VERSION },
            "event": {
                "kind": "event", "category": ["network"], "type": ["connection", "protocol"],
                "module": "dnscribe", "dataset": "dnscribe.transactions", "outcome": "success",
                "start": "2026-11-26T10:00:00.500000000Z", "end": "2026-11-26T10:00:00.501500000Z",
                "id": "00", "duration": 1_500_000,
            },
            "network": { "protocol": "dns", "transport": "tcp", "direction": "egress", "type": "ipv4" },
            "dns": {
                "type": "answer", "id": "7", "op_code": "QUERY", "response_code": "NOERROR",
                "header_flags": ["RD", "RA", "DO"], "answers": record["answers"], "resolved_ip": ["198.51.100.1"],
                "question": {
                    "name": "www.shop.example.co.uk", "type": "A", "class": "IN", "subdomain": "www.shop",
                    "registered_domain": "example.co.uk", "top_level_domain": "co.uk",
                },
            },
            "related": {
                "ip": ["192.0.2.1", "192.0.2.53", "198.51.100.1"], "hosts": ["www.shop.example.co.uk"],
            },
            "orchestrator": {
                "type": "kubernetes", "namespace": "shop", "resource": { "type": "pod", "name": "web-1" },
            },
            "host": { "name": "n" }, "labels": { "env": "test" }, "client": ends, "source": ends,
            "server": server, "destination": server,
            "process": {
                "pid": 9, "user": { "id": "0" }, "name": "curl", "executable": "/usr/bin/curl",
            },
            "dnscribe": {
                "schema": "dns.transaction/1", "vantage": "client", "transport": "dot", "status": "answered",
                "retries": 0, "edns": { "do": true }, "k8s": { "workload": "web" },
            },
        });
        assert_eq!(document(Stream::Transactions, &record), expected);
    }

    #[test]
    fn pseudonyms_have_no_family_and_no_relations() {
        let answers = json!([{ "type": "A", "data": "100::1" }]);
        let record = json!({
            "client_ip": "100::a202:381f:cf89:b925", "server_ip": "192.0.2.53", "answers": answers,
            "qname": "",
        });
        let document = document(Stream::Transactions, &record);
        assert_eq!(document["client"]["ip"], record["client_ip"]);
        assert_eq!(document["network"]["type"], "ipv4");
        assert_eq!(document["related"], json!({ "ip": ["192.0.2.53"] }));
    }

    #[test]
    fn what_is_no_address_is_no_ip() {
        let record = json!({ "client_ip": "h:3f2a", "server_ip": "h:99", "resolver": "cache" });
        let document = document(Stream::Transactions, &record);
        assert_eq!(document["client"], json!({ "address": "h:3f2a" }));
        // The name of the server has the place of its pseudonym, or the other way round: one of them is kept as it is.
        assert_eq!(document["server"], json!({ "address": "h:99" }));
        assert_eq!(document["dnscribe"], json!({ "resolver": "cache" }));
        assert!(document.get("related").is_none(), "{document}");
    }

    #[test]
    fn outcomes_are_what_their_words_mean() {
        for (status, rcode, outcome) in [
            ("answered", "NXDOMAIN", "success"),
            ("answered", "SERVFAIL", "failure"),
            ("late", "NOERROR", "unknown"),
            ("timeout", "", "failure"),
            ("icmp_error", "", "failure"),
            ("open", "", "unknown"),
            ("orphan", "NOERROR", "unknown"),
        ] {
            let record = json!({ "status": status, "rcode": rcode });
            let found = document(Stream::Transactions, &record);
            assert_eq!(found["event"]["outcome"], outcome, "{status} {rcode}");
        }
        assert_eq!(document(Stream::Ledger, &json!({}))["event"].get("outcome"), None);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut out = Vec::new();
        assert!(EcsEncoder::default().write(Stream::Ledger, b"[]", &mut out).is_err());
        assert!(out.is_empty());
    }
}
