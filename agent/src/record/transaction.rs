//! `dns.transaction/1`.

use super::{AnswerFields, ContainerFields, EdnsFields, EventId, ProcessFields};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.transaction/1`: one query with its outcome.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.transaction/1")]
pub struct TransactionRecord<'a> {
    /// `dns.transaction/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the query passed; the response where no query was seen.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// `udp` or `tcp`.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: &'static str,
    /// Who asked.
    pub client_ip: IpAddr,
    /// The port asked from.
    pub client_port: u16,
    /// Who was asked.
    pub server_ip: IpAddr,
    /// The port asked.
    pub server_port: u16,
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// The header's id.
    pub id: u16,
    /// Mnemonic.
    pub opcode: &'static str,
    /// Name asked for: lower case, no trailing dot, root `.`; escaped as `\DDD`, `\.` and `\\`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname: Option<&'a str>,
    /// The name in Unicode, with `records.idn: true`, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname_unicode: Option<String>,
    /// Type asked for: mnemonic; `TYPE65280` for a type without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<Cow<'static, str>>,
    /// Class asked for: mnemonic; `CLASS32` for a class without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qclass: Option<Cow<'static, str>>,
    /// The name as the query wrote it, where that is not all lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname_case: Option<&'a str>,
    /// Registrable domain by the Public Suffix List, private entries included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<&'a str>,
    /// `answered`, `timeout`, `late`, `icmp_error`, `duplicate`, `orphan`, `evicted` or `open`.
    #[schemars(extend("enum" = [
        "answered", "timeout", "late", "icmp_error", "duplicate", "orphan", "evicted", "open"
    ]))]
    pub status: &'static str,
    /// Mnemonic, extended; absent without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<Cow<'static, str>>,
    /// From the first query to the response, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Times the query was sent again before an answer.
    pub retries: u32,
    /// True on a duplicate that answers differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflict: Option<bool>,
    /// Those of aa tc rd ra ad cd that are set in the response, else in the query.
    pub flags: Vec<&'static str>,
    /// The records of the answer section.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub answers: Vec<AnswerFields<'a>>,
    /// ANCOUNT of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_count: Option<u16>,
    /// NSCOUNT of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_count: Option<u16>,
    /// ARCOUNT of the response, OPT included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_count: Option<u16>,
    /// Smallest TTL of the response's records, OPT aside, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_ttl_seconds: Option<u32>,
    /// The OPT record of the response, else of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edns: Option<EdnsFields<'a>>,
    /// The query's client subnet, where it differs from the response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_ecs: Option<String>,
    /// The query's cookie, where it differs from the response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_cookie: Option<String>,
    /// Octets of the query's DNS message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_bytes: Option<u32>,
    /// Octets of the response's DNS message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u32>,
    /// On TCP: the `event_id` of the UDP transaction with the same question between the same
    /// hosts whose truncated response this one follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fallback_of: Option<EventId>,
    /// The process that sent the query; at the server, the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
}
