//! Records as the view reads them: the fields that it shows, borrowed from the line.
//!
//! Unknown fields are ignored and missing ones empty, so that records of older and newer agents can be shown.

use dnscribe_record::{ContainerView, JsonText, PodView, ProcessView, read_object};
use serde::Deserialize;
use std::borrow::Cow;

/// The fields of `dns.transaction/1` that are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Transaction<'a> {
    #[serde(borrow)]
    pub event_id: JsonText<'a>,
    pub ts: JsonText<'a>,
    pub node: JsonText<'a>,
    pub vantage: JsonText<'a>,
    pub client_ip: JsonText<'a>,
    pub resolver: JsonText<'a>,
    pub qname: Option<JsonText<'a>>,
    pub qtype: Option<JsonText<'a>>,
    pub zone: Option<JsonText<'a>>,
    pub status: JsonText<'a>,
    pub rcode: Option<JsonText<'a>>,
    pub latency_ms: Option<f64>,
    pub retries: u32,
    pub parent_match: Option<JsonText<'a>>,
    pub process: Option<ProcessView<'a>>,
    pub container: Option<ContainerView<'a>>,
    pub k8s: Option<PodView<'a>>,
}

/// The fields of `dns.use/1` that are shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Use<'a> {
    #[serde(borrow)]
    pub node: JsonText<'a>,
    pub address: JsonText<'a>,
    pub name: Option<JsonText<'a>>,
    pub ttl_left_ms: Option<f64>,
    pub lookup_ms: Option<f64>,
    pub connect_ms: Option<f64>,
    pub outcome: JsonText<'a>,
    pub count: u64,
    pub last: JsonText<'a>,
    pub process: Option<ProcessView<'a>>,
    pub container: Option<ContainerView<'a>>,
    pub k8s: Option<PodView<'a>>,
}

/// Returns the `schema` of a line of NDJSON. dnscribe writes it first, so that the line need not be parsed twice.
///
/// # Errors
/// The line is not a JSON object with a `schema`.
pub fn schema_of(line: &[u8]) -> Result<Cow<'_, str>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        schema: JsonText<'a>,
    }
    let start =
        line.strip_prefix(b"{\"schema\":\"").and_then(|rest| rest.split(|o| *o == b'"').next());
    let start = start.and_then(|schema| std::str::from_utf8(schema).ok());
    // Names of schemas have no escapes.
    if let Some(schema) = start.filter(|schema| !schema.contains('\\')) {
        return Ok(Cow::Borrowed(schema));
    }
    let head: Head<'_> = read_object(line)?;
    Ok(head.schema.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_known_fields_and_ignores_others() {
        let line = br#"{"schema":"dns.transaction/1","ts":"2026-11-20T07:30:00Z","vantage":"client","client_ip":"192.0.2.1","resolver":"corp","qname":"a\\.b.example","status":"answered","rcode":"NOERROR","latency_ms":1.5,"retries":1,"new_field":[1,{"a":2}],"process":{"pid":7,"uid":0,"comm":"dig"}}"#;
        assert_eq!(schema_of(line).unwrap(), "dns.transaction/1");
        let transaction: Transaction<'_> = serde_json::from_slice(line).unwrap();
        assert_eq!(&*transaction.qname.unwrap(), "a\\.b.example");
        assert!(matches!(transaction.resolver.0, Cow::Borrowed("corp")));
        assert!(matches!(transaction.rcode.unwrap().0, Cow::Borrowed("NOERROR")), "borrowed");
        assert_eq!(transaction.process.unwrap().pid, 7);
    }

    #[test]
    fn finds_the_schema_at_any_position() {
        let line = br#" {"node": "x", "schema": "dns.alert/1"}"#;
        assert_eq!(schema_of(line).unwrap(), "dns.alert/1");
        for line in ["no json", "{}", r#"["dns.alert/1"]"#] {
            assert!(schema_of(line.as_bytes()).is_err(), "{line}");
        }
    }
}
