//! What leaves: the records of each stream, as the contract spells them.
//!
//! One flat JSON object per record; fields that have nothing to say are left out. The JSON Schemas
//! (`dnscribe schema`, `schemas/`) are generated from these types.

mod avro;
mod build;
mod event_id;
mod schema;
mod text;
mod zone;

pub use avro::avro_schema;
pub use build::{Context, Identity};
pub use event_id::{EventId, Namespace};
pub use schema::{json_schema, names as schema_names};
pub use text::line;
pub use zone::registrable;

use crate::ledger::Counters;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.message/1`: one DNS message as seen.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.message/1")]
pub struct MessageRecord<'a> {
    /// `dns.message/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the packet that completed the message passed.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// Capture sequence on its CPU; in replay the number of the frame that completed the message.
    pub seq: u64,
    /// The CPU that captured it; in replay the number of the file, from 0.
    pub cpu: u32,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// `ingress` or `egress`; absent where the packet passed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// `udp` or `tcp`.
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: &'static str,
    /// Sender.
    pub src_ip: IpAddr,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver.
    pub dst_ip: IpAddr,
    /// Receiver's port.
    pub dst_port: u16,
    /// The header's id.
    pub id: u16,
    /// `query` or `response`.
    #[schemars(extend("enum" = ["query", "response"]))]
    pub qr: &'static str,
    /// Mnemonic.
    pub opcode: &'static str,
    /// Mnemonic, extended; responses only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<Cow<'static, str>>,
    /// Those of aa tc rd ra ad cd that are set.
    pub flags: Vec<&'static str>,
    /// Name asked for: lower case, no trailing dot, root `.`; escaped as `\DDD`, `\.` and `\\`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qname: Option<&'a str>,
    /// Type asked for: mnemonic; `TYPE65280` for a type without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<Cow<'static, str>>,
    /// Class asked for: mnemonic; `CLASS32` for a class without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qclass: Option<Cow<'static, str>>,
    /// QDCOUNT.
    pub question_count: u16,
    /// ANCOUNT.
    pub answer_count: u16,
    /// NSCOUNT.
    pub authority_count: u16,
    /// ARCOUNT, OPT included.
    pub additional_count: u16,
    /// The records of the answer section.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub answers: Vec<AnswerFields<'a>>,
    /// The OPT record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edns: Option<EdnsFields<'a>>,
    /// Octets of the message on the wire, without TCP's length prefix.
    pub wire_bytes: u32,
    /// Octets of it that were captured.
    pub captured_bytes: u32,
    /// Whether fewer were captured than stood on the wire.
    pub clipped: bool,
    /// The message in base64, with `messages.wire: true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
    /// The process that sent it, or whose socket received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
}

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
    pub query_ecs: Option<&'a str>,
    /// The query's cookie, where it differs from the response's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_cookie: Option<&'a str>,
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

/// `dns.dlq/1`: what could not go on, and why: packets that were not DNS, records that could not
/// be encoded or that the broker refused.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename = "dns.dlq/1")]
pub struct DlqRecord<'a> {
    /// `dns.dlq/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the packet passed; when the record was refused.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// The stage that could not go on: `decode`, `encode` or `deliver`.
    #[schemars(extend("enum" = ["decode", "encode", "deliver"]))]
    pub stage: &'static str,
    /// Why; the name of the ledger's counter.
    pub reason: &'static str,
    /// The stream of the record that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<&'static str>,
    /// The `event_id` of the record that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_event_id: Option<EventId>,
    /// Stage `decode`: capture sequence on its CPU, as in `dns.message/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The CPU that captured it, as in `dns.message/1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// `ingress` or `egress`; absent where the packet passed by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: Option<&'static str>,
    /// Sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_ip: Option<IpAddr>,
    /// Sender's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_ip: Option<IpAddr>,
    /// Receiver's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// The octets that could not be read, or the beginning of the record, in base64.
    pub bytes: String,
    /// How many octets those are.
    pub captured_bytes: u32,
    /// How many the refused record had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_bytes: Option<u32>,
    /// The process that sent it, or whose socket received it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
}

impl<'a> DlqRecord<'a> {
    /// A dead letter of this node that says nothing else yet.
    #[must_use]
    pub fn new(node: &'a str, region: Option<&'a str>) -> Self {
        Self { schema: "dns.dlq/1", node, region, ..Self::default() }
    }
}

/// `dns.ledger/1`: the balance sheet, cumulative since the capture epoch.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename = "dns.ledger/1")]
pub struct LedgerRecord {
    /// `dns.ledger/1`.
    pub schema: String,
    /// Unique for ever.
    pub event_id: String,
    /// When the counters were read, RFC 3339.
    pub ts: String,
    /// The node that counted.
    pub node: String,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// When the capture began, RFC 3339.
    pub epoch: String,
    /// Seconds since then.
    pub uptime_seconds: f64,
    /// Whether this is the last record of its epoch.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether every identity holds.
    pub balanced: bool,
    /// What every stage counted.
    #[serde(flatten)]
    pub counters: Counters,
}

/// One record of an answer section.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AnswerFields<'a> {
    /// Owner, its case kept.
    pub name: &'a str,
    /// Mnemonic.
    #[serde(rename = "type")]
    pub rtype: Cow<'static, str>,
    /// Seconds.
    pub ttl: u32,
    /// Presentation form.
    pub data: &'a str,
}

/// An OPT record.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdnsFields<'a> {
    /// The sender's UDP payload size in octets.
    pub udp_size: u16,
    /// DNSSEC OK.
    #[serde(rename = "do")]
    pub dnssec_ok: bool,
    /// EDNS version.
    pub version: u8,
    /// Client subnet, `198.51.100.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs: Option<&'a str>,
    /// Extended DNS error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ede: Option<EdeFields<'a>>,
    /// Name server identifier, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsid: Option<&'a str>,
    /// Cookie, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<&'a str>,
}

/// An extended DNS error (RFC 8914).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EdeFields<'a> {
    /// INFO-CODE.
    pub code: u16,
    /// EXTRA-TEXT.
    pub text: &'a str,
}

/// A process.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ProcessFields<'a> {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// The process's name.
    pub comm: Cow<'a, str>,
    /// The executable's path; absent where the process was gone before it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<&'a str>,
}

/// A container.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ContainerFields<'a> {
    /// 64 hex digits.
    pub id: &'a str,
    /// `docker`, `containerd`, `cri-o` or `podman`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<&'static str>,
}
