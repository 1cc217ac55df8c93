//! `dns.lookup/1`.

use super::{EventId, RecordHead, RecordTail};
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.lookup/1`: one name lookup of an application, with all the queries made for it.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.lookup/1")]
pub struct LookupRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// `client`, or `passive` if seen in transit.
    #[schemars(extend("enum" = ["client", "passive"]))]
    pub vantage: &'static str,
    /// What was asked, the outcome, and what it took.
    #[serde(flatten)]
    pub fields: LookupFields<'a>,
    /// The `event_id`s of its transactions, in the order of their queries, the first 64.
    pub transaction_ids: Vec<EventId>,
    /// True if the lookup was reported before its end, or one of its queries was evicted, because a
    /// table was full. Other lookups may contain the rest of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub evicted: bool,
    /// Fields that end the record.
    #[serde(flatten)]
    pub tail: RecordTail<'a>,
}

/// The part of `dns.lookup/1` that its queries and responses determine.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LookupFields<'a> {
    /// Address of the client.
    #[schemars(extend("x-ecs" = ["client.ip", "source.ip"]))]
    pub client_ip: IpAddr,
    /// Configured names of the servers, else their addresses, in the order in which they were first
    /// queried.
    pub resolvers: Vec<Cow<'a, str>>,
    /// Name that the application looked up, as far as it can be inferred: with a search list, the
    /// name without the domains of the list.
    #[schemars(extend("x-ecs" = ["dns.question.name"]))]
    pub qname: &'a str,
    /// Query types, in the order of their first queries: mnemonics.
    pub qtypes: Vec<Cow<'static, str>>,
    /// Query class: mnemonic.
    #[schemars(extend("x-ecs" = ["dns.question.class"]))]
    pub qclass: Cow<'static, str>,
    /// Outcome: `answered` (records of a queried type), `nodata` (the name exists without such
    /// records), `nxdomain`, `truncated` (the answer did not fit, and no TCP query followed),
    /// `servfail`, `refused`, `error` (another code), `unreachable` (ICMP), `timeout`, `open`
    /// (unknown: capture stopped, or a table was full). With several types, the first of these that
    /// any type reached, at the name that decided: the one that had records, else `qname`, else the
    /// last one queried.
    #[schemars(extend("enum" = [
        "answered", "nodata", "nxdomain", "truncated", "servfail", "refused", "error", "unreachable",
        "timeout", "open"
    ]))]
    pub outcome: &'static str,
    /// True if the lookup was answered for one of A and AAAA, and no server said whether there are
    /// records of the other.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub partial: bool,
    /// Mnemonic of the extended code of the response that decided; absent without one.
    #[schemars(extend("x-ecs" = ["dns.response_code"]))]
    pub rcode: Option<Cow<'static, str>>,
    /// Name that had records: `qname`, or `qname` with a domain of the search list.
    pub answered_name: Option<&'a str>,
    /// Names to which CNAMEs led from `answered_name`, the first 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub cname_chain: Vec<&'a str>,
    /// Addresses in the answers, the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    #[schemars(extend("x-ecs" = ["dns.resolved_ip"]))]
    pub addresses: Vec<&'a str>,
    /// Number of address records.
    pub address_count: u32,
    /// Time that the application waited, in milliseconds: from the first query to the last of the
    /// responses that decided the outcome for each type. A query without a response counts until
    /// its ICMP error, its timeout here, or the end of the capture.
    #[schemars(extend("x-ecs" = ["event.duration"]))]
    pub duration_ms: f64,
    /// Number of transactions; a query that was sent again with the same id, from the same port, to
    /// the same server counts once.
    pub transactions: u32,
    /// Number of query messages sent, retransmissions included.
    pub packets: u32,
    /// Number of query messages that contributed nothing: all but one for each type at the name
    /// that decided, and the queries which that one needed before it, such as a truncated answer or
    /// one that named a CNAME's target.
    pub packets_wasted: u32,
    /// Number of names queried besides `qname`: those that the search list made.
    pub search_expansions: u32,
    /// All names queried, in order, the first 32, if there are others than `qname`. Targets of
    /// CNAMEs are not included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub names_tried: Vec<&'a str>,
    /// Number of query messages that repeated an earlier question to the same or another server;
    /// TCP after truncation is not included.
    pub retries: u32,
    /// Number of different servers queried.
    pub servers_tried: u32,
    /// True if TCP followed a truncated answer.
    pub tcp_fallback: bool,
}
