//! `dns.transaction/1`.

use super::fields::optional_text;
use super::{
    AnswerFields, AnswerList, DnstapFields, EdnsFields, EventId, FlagNames, IcmpFields,
    IntelMatchFields, LostAtFields, PathFields, RecordHead, RecordTail,
};
use crate::time::Timestamp;
use crate::{Transport, record_struct};
use dnscribe_dns::Hex;
use schemars::JsonSchema;
use serde::Serialize;
use serde_with::skip_serializing_none;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.transaction/1`: one query with its outcome.
#[derive(JsonSchema)]
#[serde(rename = "dns.transaction/1")]
pub struct TransactionRecord<'a> {
    /// Fields that the messages themselves determine.
    #[serde(flatten)]
    pub body: TransactionBody<'a>,
    /// Fields that depend on other flows, the host or the configuration.
    #[serde(flatten)]
    pub context: TransactionContext<'a>,
}

record_struct! {
    /// First part of `dns.transaction/1`: the fields that its messages determine.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct TransactionBody<'a> {
        /// Fields that begin every record.
        #[serde(flatten)]
        pub head: RecordHead<'a>,
        /// `client`, `server` or `passive`.
        #[schemars(extend("enum" = ["client", "server", "passive"]))]
        pub vantage: &'static str,
        /// `udp` or `tcp`; from dnstap also `dot`, `doh`, `doq` or `dnscrypt`.
        #[schemars(extend("enum" = Transport::ALL.map(Transport::name)))]
        pub transport: &'static str,
        /// Address of the client.
        #[schemars(extend("x-ecs" = ["client.ip", "source.ip"]))]
        pub client_ip: IpAddr,
        /// Port of the client.
        #[schemars(extend("x-ecs" = ["client.port", "source.port"]))]
        pub client_port: u16,
        /// Address of the server.
        #[schemars(extend("x-ecs" = ["server.ip", "destination.ip"]))]
        pub server_ip: IpAddr,
        /// Port of the server.
        #[schemars(extend("x-ecs" = ["server.port", "destination.port"]))]
        pub server_port: u16,
        /// Id in the header.
        #[schemars(extend("x-ecs" = ["dns.id"]))]
        pub id: u16,
        /// Mnemonic of the opcode.
        #[schemars(extend("x-ecs" = ["dns.op_code"]))]
        pub opcode: &'static str,
        /// Query name: lower case, no trailing dot, root `.`; escaped as `\DDD`, `\.` and `\\`.
        #[schemars(extend("x-ecs" = ["dns.question.name"]))]
        pub qname: Option<&'a str>,
        /// Query name in Unicode, with `records.idn: true`, if it differs from `qname`.
        pub qname_unicode: Option<String>,
        /// Query type: mnemonic; `TYPE65280` for a type without one.
        #[schemars(extend("x-ecs" = ["dns.question.type"]))]
        pub qtype: Option<Cow<'static, str>>,
        /// Query class: mnemonic; `CLASS32` for a class without one.
        #[schemars(extend("x-ecs" = ["dns.question.class"]))]
        pub qclass: Option<Cow<'static, str>>,
        /// Query name as written in the query, if it is not all lower case.
        pub qname_case: Option<&'a str>,
        /// Registrable domain of `qname` by the Public Suffix List, private entries included.
        #[schemars(extend("x-ecs" = ["dns.question.registered_domain"]))]
        pub zone: Option<&'a str>,
        /// `answered`, `timeout`, `late`, `icmp_error`, `duplicate`, `orphan`, `evicted` or `open`.
        #[schemars(extend("enum" = [
            "answered", "timeout", "late", "icmp_error", "duplicate", "orphan", "evicted", "open"
        ]))]
        pub status: &'static str,
        /// Mnemonic of the extended response code; absent without a response.
        #[schemars(extend("x-ecs" = ["dns.response_code"]))]
        pub rcode: Option<Cow<'static, str>>,
        /// Time from the first query to the response, in milliseconds.
        #[schemars(extend("x-ecs" = ["event.duration"]))]
        pub latency_ms: Option<f64>,
        /// Number of times the query was sent again before an answer.
        pub retries: u32,
        /// True for a duplicate whose answer differs.
        pub conflict: Option<bool>,
        /// Why the query could not be delivered, if ICMP reported it.
        pub icmp: Option<IcmpFields>,
        /// Flags that are set, of aa tc rd ra ad cd, in the response, else in the query.
        #[schemars(with = "Vec<&'static str>")]
        #[schemars(extend("x-ecs" = ["dns.header_flags"]))]
        pub flags: FlagNames,
        /// Records of the answer section.
        #[serde(skip_serializing_if = "AnswerList::is_empty")]
        #[schemars(default, with = "Vec<AnswerFields<'a>>")]
        #[schemars(extend("x-ecs" = ["dns.answers"]))]
        pub answers: AnswerList<'a>,
        /// Number of records of the answer section that are left out, behind those in `answers`, because
        /// the record would exceed `records.max_answers` or `records.max_bytes`.
        /// Records of a zone transfer behind the first 100 do not count.
        pub answers_omitted: Option<u16>,
        /// ANCOUNT of the response.
        pub answer_count: Option<u16>,
        /// NSCOUNT of the response.
        pub authority_count: Option<u16>,
        /// ARCOUNT of the response, OPT included.
        pub additional_count: Option<u16>,
        /// Smallest TTL of the response's records, without OPT, TKEY, TSIG and SIG(0), in seconds.
        pub min_ttl_seconds: Option<u32>,
        /// The OPT record (EDNS) of the response, else of the query.
        pub edns: Option<EdnsFields<'a>>,
        /// Client subnet of the query, if it differs from the one in the response.
        pub query_ecs: Option<String>,
        /// Cookie of the query, if it differs from the one in the response.
        #[serde(serialize_with = "optional_text")]
        #[schemars(with = "Option<String>")]
        pub query_cookie: Option<Hex<'a>>,
        /// Trace context of the query, as W3C's `traceparent`, if it has PowerDNS's EDNS option TRACEPARENT (65500).
        pub traceparent: Option<String>,
        /// Size of the query's DNS message in bytes.
        #[schemars(extend("x-ecs" = ["client.bytes", "source.bytes"]))]
        pub query_bytes: Option<u32>,
        /// Size of the response's DNS message in bytes; for a zone transfer, the sum of all messages.
        #[schemars(extend("x-ecs" = ["server.bytes", "destination.bytes"]))]
        pub response_bytes: Option<u64>,
        /// Zone transfer over TCP (AXFR, IXFR): number of response messages. `answers`, the counts,
        /// flags and `latency_ms` come from the first one; if there are several, the first 100 answers
        /// are kept.
        pub transfer_messages: Option<u64>,
        /// Zone transfer: sum of ANCOUNT of all messages.
        pub transfer_records: Option<u64>,
        /// Zone transfer: time from the first query to the last message, in milliseconds.
        pub transfer_ms: Option<f64>,
        /// Zone transfer: true if the closing SOA was seen (RFC 5936, 2.2; RFC 1995, 4). False if the
        /// connection broke off, an error came, 30 seconds passed without a message, or capture
        /// stopped.
        pub transfer_complete: Option<bool>,
        /// mDNS and LLMNR: address of the responder to a query that was sent to a group; `server_ip` is
        /// the group.
        pub responder_ip: Option<IpAddr>,
        /// Why an orphan matches no query, the first reason that fits: `wrong_source` (it came from an
        /// address that was not queried), `wrong_port` (from or to another port), `wrong_question`,
        /// `wrong_id` (both endpoints and the question are those of a waiting query), `announcement`
        /// (mDNS: sent to all, unrequested), `no_query`. Checked before all of them: `sampled` (its
        /// query may have been left out by sampling, so it is not suspicious).
        #[schemars(extend("enum" = [
            "wrong_source", "wrong_port", "wrong_question", "wrong_id", "announcement", "no_query",
            "sampled"
        ]))]
        pub orphan_reason: Option<&'static str>,
        /// Orphans only: the `event_id` of the query that the response would match but for
        /// `orphan_reason`.
        pub resembles: Option<EventId>,
        /// Who saw it, where a hook and dnstap are captured together: `socket`, `dnstap`, or both.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        #[schemars(default, with = "Vec<&'static str>")]
        pub seen_by: &'static [&'static str],
        /// What the server that reports it says, from dnstap: with the response, else with the query.
        pub dnstap: Option<DnstapFields<'a>>,
        /// Number of orphans that resembled the expected response while the query waited: spoofing
        /// attempts, or strays. Absent if there were none.
        pub rejected_responses: Option<u32>,
    }
}

impl TransactionBody<'_> {
    /// Returns whether parts of the messages are left out, because the record would be too large.
    #[must_use]
    pub fn is_shortened(&self) -> bool {
        let edns = self.edns.as_ref().and_then(|edns| edns.options_omitted);
        self.answers_omitted.or(edns).is_some()
    }
}

record_struct! {
    /// Second part of `dns.transaction/1`: the fields that depend on other flows, the host or the
    /// configuration.
    #[skip_serializing_none]
    #[derive(Clone, Debug, Serialize, JsonSchema)]
    pub struct TransactionContext<'a> {
        /// Configured name of the server, else its address.
        #[schemars(extend("x-ecs" = ["server.address", "destination.address"]))]
        pub resolver: &'a str,
        /// Sampling ratio of UDP transactions when this one passed, if below 1: an overloaded agent
        /// leaves out whole transactions. This record stands for 1 / `sample_ratio` transactions.
        pub sample_ratio: Option<f64>,
        /// TCP only: the `event_id` of the UDP transaction with the same question between the same
        /// hosts whose truncated response led to this one.
        pub tcp_fallback_of: Option<EventId>,
        /// The `event_id` of the transaction that caused this one, if both are seen: on a resolver host
        /// the client's transaction, upstream of a resolver the resolver's.
        pub parent_event_id: Option<EventId>,
        /// How `parent_event_id` was found, the most certain first: `exchange` (the same query at its
        /// client's socket), `question` (the resolver asks what it was asked), `cname` (it asks for the
        /// target of a CNAME of that name), `prefetch` (it asks again what it has just answered),
        /// `ancestor` (it asks about a zone that contains the name), `only` (no other query was
        /// waiting).
        #[schemars(extend("enum" = ["exchange", "question", "cname", "prefetch", "ancestor", "only"]))]
        pub parent_match: Option<&'static str>,
        /// Where a resolver on this host had the answer from, inferred from its own queries in the
        /// meantime: `hit` (no query was needed), `miss`, `stale` (the resolver says so), `local` (its
        /// own data). Absent if unknown.
        #[schemars(extend("enum" = ["hit", "miss", "stale", "local"]))]
        pub cache: Option<&'static str>,
        /// Where the kernel of this host discarded the query or its response, with `capture.path: true`. In an
        /// answered transaction: of a query that was sent again.
        pub lost_at: Option<LostAtFields<'a>>,
        /// Times on the way through this host, with `capture.path: true` and UDP.
        pub path: Option<PathFields>,
        /// Indicators of threats from `indicators.files` that match the query name or a name above it, a CNAME or DNAME, or an
        /// address among the answers: there, the longest prefix. At most 16.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        #[schemars(default, with = "Vec<IntelMatchFields>")]
        pub indicators: &'a [IntelMatchFields],
        /// When this host first saw a response that said that the zone exists, to the second, with `first_seen.directory`.
        pub first_seen: Option<Timestamp>,
        /// Fields that end the record.
        #[serde(flatten)]
        pub tail: RecordTail<'a>,
    }
}
