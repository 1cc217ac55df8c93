//! Suricata's tests: filters over its events, with the expected number of matches. The agent's
//! records are converted to Suricata's events; filters on fields that the records do not have are
//! skipped.

use super::{ComparedCapture, Statements, has_flag, list, written_qname};
use crate::conformance::agent_records::{frame, text};
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::fs;

/// Capture of Suricata's test of an output that leaves out types.
const FILTERED: &str = "dns-eve-type-filtering.pcap";

/// Compares the number of matches of every supported filter.
pub fn compare(capture: &ComparedCapture<'_>, statements: &mut Statements) -> Result<()> {
    let path = capture.peer.join(format!("suricata-verify/{}.json", capture.file));
    if capture.file == FILTERED || !path.is_file() {
        return Ok(());
    }
    let test: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let events = capture.actual.messages.iter().map(event).collect::<Result<Vec<_>>>()?;
    for check in list(&test, "checks") {
        let filter = check["filter"].as_object().context("no filter")?;
        // Before version 8, each answer record was a separate event with the addresses of its flow.
        let is_old = check["requires"]["lt-version"].is_number()
            || (filter.get("dns.type") == Some(&json!("answer")) && filter.contains_key("src_ip"));
        let of_dns = check["filter"]["event_type"] == "dns";
        if !of_dns || is_old || !filter.iter().all(|(key, value)| is_known(key, value)) {
            continue;
        }
        let matching = events.iter().filter(|event| matches(event, filter)).count();
        statements.check(
            &format!("suricata {}", Value::from(filter.clone())),
            &check["count"],
            matching,
        );
    }
    Ok(())
}

/// Converts a message to a Suricata event: values by the paths that filters use.
fn event(message: &Value) -> Result<Map<String, Value>> {
    let mut event = Map::new();
    let mut set = |name: &str, value: Value| event.insert(name.to_owned(), value);
    set("event_type", json!("dns"));
    for (name, key) in [("src_ip", "src_ip"), ("src_port", "src_port")] {
        set(name, message[key].clone());
    }
    for (name, key) in [("dest_ip", "dst_ip"), ("dest_port", "dst_port"), ("dns.id", "id")] {
        set(name, message[key].clone());
    }
    set("proto", json!(text(&message["transport"]).to_uppercase()));
    set("pcap_cnt", json!(frame(message)?));
    let response = message["qr"] == "response";
    set("dns.type", json!(if response { "response" } else { "request" }));
    set("dns.qr", json!(response));
    set("dns.rcode", message["rcode"].clone());
    for flag in ["aa", "tc", "rd", "ra"] {
        set(&format!("dns.{flag}"), json!(has_flag(message, flag)));
    }
    set("dns.queries[0].rrname", json!(written_qname(message)));
    set("dns.queries[0].rrtype", message["qtype"].clone());
    let answers = list(message, "answers");
    set("dns.answers.__len", json!(answers.len()));
    for (place, answer) in answers.iter().enumerate() {
        for (name, key) in [("rrname", "name"), ("rrtype", "type"), ("ttl", "ttl")] {
            set(&format!("dns.answers[{place}].{name}"), answer[key].clone());
        }
        // Suricata writes TXT data without quotes.
        let data = text(&answer["data"]);
        let data = data.strip_prefix('"').and_then(|data| data.strip_suffix('"')).unwrap_or(&data);
        set(&format!("dns.answers[{place}].rdata"), json!(data));
    }
    Ok(event)
}

/// Returns whether the agent's records have this key with the same format: Suricata escapes bytes
/// in another way.
fn is_known(key: &str, value: &Value) -> bool {
    let known = [
        "event_type",
        "src_ip",
        "src_port",
        "dest_ip",
        "dest_port",
        "proto",
        "pcap_cnt",
        "dns.id",
        "dns.type",
        "dns.qr",
        "dns.rcode",
        "dns.aa",
        "dns.tc",
        "dns.rd",
        "dns.ra",
        "dns.queries[0].rrname",
        "dns.queries[0].rrtype",
        "dns.answers.__len",
    ];
    let of_answer = ["rrname", "rrtype", "ttl", "rdata"]
        .iter()
        .any(|field| key.starts_with("dns.answers[") && key.ends_with(&format!("].{field}")));
    (known.contains(&key) || of_answer) && !text(value).contains('\\')
}

fn matches(event: &Map<String, Value>, filter: &Map<String, Value>) -> bool {
    filter.iter().all(|(key, wanted)| {
        let wanted = match (key.as_str(), wanted.as_str()) {
            ("dns.type", Some("query")) => "request",
            ("dns.type", Some("answer")) => "response",
            _ => return event.get(key) == Some(wanted),
        };
        event.get(key).is_some_and(|found| found == wanted)
    })
}
