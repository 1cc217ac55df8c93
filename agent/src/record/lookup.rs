//! `dns.lookup/1`.

use super::{ContainerFields, EventId, ProcessFields};
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.lookup/1`: what an application asked in one call, with all the queries that were made of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.lookup/1")]
pub struct LookupRecord<'a> {
    /// `dns.lookup/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// When the first query passed.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// `client`, or `passive` where it was seen on its way.
    #[schemars(extend("enum" = ["client", "passive"]))]
    pub vantage: &'static str,
    /// Who asked.
    pub client_ip: IpAddr,
    /// The servers' configured names, else their addresses, in the order in which they were asked first.
    pub resolvers: Vec<&'a str>,
    /// What the application asked for, as far as that can be told: with a search list, the name
    /// without the domains of the list.
    pub qname: &'a str,
    /// The types asked for, in the order of their first queries: mnemonics.
    pub qtypes: Vec<Cow<'static, str>>,
    /// The class asked for: mnemonic.
    pub qclass: Cow<'static, str>,
    /// How it ended: `answered` (records of a type asked for), `nodata` (the name exists without
    /// such records), `nxdomain`, `truncated` (the answer did not fit, and nobody asked over TCP),
    /// `servfail`, `refused`, `error` (another code), `unreachable` (ICMP), `timeout`, `open` (unknown:
    /// capture stopped, or a table was full). Of several types, the first of these that any came to,
    /// at the name that decided: the one that had records, else `qname`, else the last one asked for.
    #[schemars(extend("enum" = [
        "answered", "nodata", "nxdomain", "truncated", "servfail", "refused", "error", "unreachable",
        "timeout", "open"
    ]))]
    pub outcome: &'static str,
    /// True where it was answered for one of A and AAAA, and no server said whether there are
    /// records of the other.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub partial: bool,
    /// Mnemonic, extended, of the response that decided; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<Cow<'static, str>>,
    /// The name that had records: `qname`, or that with a domain of the search list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_name: Option<&'a str>,
    /// The names to which CNAMEs led from there, the first 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub cname_chain: Vec<&'a str>,
    /// The addresses found, the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub addresses: Vec<&'a str>,
    /// How many address records there were.
    pub address_count: u32,
    /// What the caller waited, in milliseconds: from the first query to the last of the responses that
    /// decided the outcome for each type. A query without a response counts until its ICMP error,
    /// its timeout here, or the end of the capture.
    pub duration_ms: f64,
    /// Queries with their outcomes; a query that was sent again with the same id, from the same port,
    /// to the same server counts once.
    pub transactions: u32,
    /// Query messages sent, each of those included.
    pub packets: u32,
    /// Query messages that contributed nothing: all but one for each type at the name that decided,
    /// and what this one needed before it, a truncated answer or one that named a CNAME's target.
    pub packets_wasted: u32,
    /// Names asked for beside `qname`: those that the search list made.
    pub search_expansions: u32,
    /// All names asked for, in order, the first 32, where there are others than `qname`. Targets of
    /// CNAMEs are not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub names_tried: Vec<&'a str>,
    /// Query messages that asked a server again, or another server, what had been asked before;
    /// over TCP after truncation not included.
    pub retries: u32,
    /// Different servers asked.
    pub servers_tried: u32,
    /// Whether TCP followed a truncated answer.
    pub tcp_fallback: bool,
    /// The `event_id`s of its transactions, in the order of their queries, the first 64.
    pub transaction_ids: Vec<EventId>,
    /// True where it was given out before its end, or one of its queries was evicted: a table was
    /// full. More of it may be in other lookups.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub evicted: bool,
    /// The process that asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}
