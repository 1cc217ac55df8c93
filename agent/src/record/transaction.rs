//! `dns.transaction/1`.

use super::{
    AnswerFields, AnswerList, ContainerFields, EdnsFields, EventId, FlagNames, IcmpFields,
    ProcessFields,
};
use crate::decode::dns::Hex;
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// `dns.transaction/1`: one query with its outcome.
#[derive(JsonSchema)]
#[serde(rename = "dns.transaction/1")]
pub struct TransactionRecord<'a> {
    /// What comes first.
    #[serde(flatten)]
    pub body: TransactionBody<'a>,
    /// What comes last.
    #[serde(flatten)]
    pub context: TransactionContext<'a>,
}

/// What its messages say of a transaction, and who writes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TransactionBody<'a> {
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
    /// Why the query could not arrive, where ICMP told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpFields>,
    /// Those of aa tc rd ra ad cd that are set in the response, else in the query.
    #[schemars(with = "Vec<&'static str>")]
    pub flags: FlagNames,
    /// The records of the answer section.
    #[serde(skip_serializing_if = "AnswerList::is_empty")]
    #[schemars(default, with = "Vec<AnswerFields<'a>>")]
    pub answers: AnswerList<'a>,
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
    #[schemars(with = "Option<String>")]
    pub query_cookie: Option<Hex<'a>>,
    /// Octets of the query's DNS message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_bytes: Option<u32>,
    /// Octets of the response's DNS message; of a zone transfer, of all its messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Zone transfer over TCP (AXFR, IXFR): messages of the response. `answers`, the counts, flags and
    /// `latency_ms` are those of the first one; of several messages, the first 100 answers are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_messages: Option<u64>,
    /// Zone transfer: ANCOUNT of all messages, summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_records: Option<u64>,
    /// Zone transfer: from the first query to the last message, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_ms: Option<f64>,
    /// Zone transfer: whether the closing SOA was seen (RFC 5936, 2.2; RFC 1995, 4). False where the
    /// connection broke off, an error came, 30 seconds passed without a message, or capture stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_complete: Option<bool>,
    /// mDNS and LLMNR: who answered a query that was put to a group, which `server_ip` names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub responder_ip: Option<IpAddr>,
    /// On an orphan, the first that fits: `wrong_source` (it came from an address that was not
    /// asked), `wrong_port` (from or to another port), `wrong_question`, `wrong_id` (both ends and
    /// question are those of a query that waits), `announcement` (mDNS: sent to all, unasked for),
    /// `no_query`. Before all of them, `sampled`: its query may have been left out on purpose, which
    /// says nothing against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = [
        "wrong_source", "wrong_port", "wrong_question", "wrong_id", "announcement", "no_query",
        "sampled"
    ]))]
    pub orphan_reason: Option<&'static str>,
    /// On an orphan: the `event_id` of the query that it would answer but for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resembles: Option<EventId>,
    /// Orphans that resembled the response that the query waited for, while it did: attempts at
    /// spoofing, or strays. Left out where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_responses: Option<u32>,
}

/// What takes other flows, the host or the configuration to know.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TransactionContext<'a> {
    /// The server's configured name, else its address.
    pub resolver: &'a str,
    /// The share of UDP transactions that were told when this one passed, where that was not all: under
    /// pressure, whole transactions are left out (see the README). It stands for 1 / `sample_ratio`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// On TCP: the `event_id` of the UDP transaction with the same question between the same
    /// hosts whose truncated response this one follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fallback_of: Option<EventId>,
    /// The `event_id` of the transaction that caused this one, where both are seen: at a resolver
    /// of its client's, upstream of a resolver of the query that it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_event_id: Option<EventId>,
    /// How that is known, the surest first: `exchange` (the same query at its client's socket),
    /// `question` (the resolver asks what it was asked), `cname` (for the target of a CNAME of that
    /// name), `prefetch` (it asks again what it has just answered), `ancestor` (about a zone that
    /// the name is in), `only` (nothing else waited there).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["exchange", "question", "cname", "prefetch", "ancestor", "only"]))]
    pub parent_match: Option<&'static str>,
    /// Where a resolver of this host had the answer from, inferred from what it asked others
    /// meanwhile: `hit` (nothing was needed), `miss`, `stale` (it says so), `local` (its own data).
    /// Absent where that cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["hit", "miss", "stale", "local"]))]
    pub cache: Option<&'static str>,
    /// The process that sent the query; at the server, the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessFields<'a>>,
    /// The container of that process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerFields<'a>>,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}
