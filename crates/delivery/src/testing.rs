//! Helpers for tests of this module.

/// Returns whether this is a CI run, in which no test may be skipped: `CI` is set and not empty, `0`
/// or `false`.
pub(super) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// A `dns.message/1` with the fields that sinks of packets read. `more` adds or replaces fields.
pub(crate) fn message_line(more: &serde_json::Value) -> serde_json::Value {
    let mut record = serde_json::json!({
        "ts": "2026-11-27T10:00:00.000000007Z", "event_id": "0b", "node": "n", "vantage": "client",
        "direction": "egress", "transport": "udp", "src_ip": "192.0.2.1", "src_port": 4000,
        "dst_ip": "192.0.2.53", "dst_port": 53, "qr": "query", "qname": "www.example.com",
        "wire": "cXVlc3Rpb24=",
    });
    let fields = record.as_object_mut().into_iter();
    fields.for_each(|fields| fields.extend(more.as_object().cloned().into_iter().flatten()));
    record
}
