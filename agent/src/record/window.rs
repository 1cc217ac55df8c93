//! `dns.window/1`.

use super::EventId;
use crate::privacy::MaskingFields;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::borrow::Cow;

/// `dns.window/1`: the numbers of one group of transactions in one span of time.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.window/1")]
pub struct WindowRecord<'a> {
    /// `dns.window/1`.
    pub schema: &'static str,
    /// Unique for ever.
    pub event_id: EventId,
    /// Where the window begins; a transaction belongs to it by its own `ts`.
    pub ts: Timestamp,
    /// The node that saw it.
    pub node: &'a str,
    /// The node's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a str>,
    /// How long the window is.
    pub window_seconds: u64,
    /// How far it is to the next window's beginning: less than `window_seconds` where windows slide.
    pub step_seconds: u64,
    /// True where the capture began or ended within the window.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub partial: bool,
    /// Transactions since the capture began, of any group, that came too late for their windows.
    pub late_total: u64,
    /// Version of the encodings of all sketches in the record: see `docs/sketches.md`.
    pub sketch_encoding: u32,
    /// What the transactions of the group have in common beside the vantage: `node` (nothing),
    /// `resolver`, `zone`, `qtype`, `process` or `pod`.
    #[schemars(extend("enum" = ["node", "resolver", "zone", "qtype", "process", "pod"]))]
    pub grouping: &'static str,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    pub vantage: &'static str,
    /// Grouping `resolver`: `udp` or `tcp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["udp", "tcp"]))]
    pub transport: Option<&'static str>,
    /// Grouping `resolver`: the server's configured name, else its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<&'a str>,
    /// Grouping `zone`: the registrable domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<&'a str>,
    /// Grouping `qtype`: the mnemonic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<&'a str>,
    /// Grouping `process`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<&'a str>,
    /// Grouping `pod`: `namespace/pod`, else the container's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<&'a str>,
    /// True for the group of all that found no room as a group of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub other: bool,
    /// True where some transactions of the group may stand in `other`, since the group had no room of
    /// its own in some ten seconds of the window.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub undercounted: bool,
    /// Transactions, those without a query (late, duplicate, orphan) included.
    pub transactions: u64,
    /// The share of the group's transactions that were told, where that was not all: under pressure,
    /// whole transactions are left out. All counts of the record are of those that were told, unless
    /// they say otherwise; ratios and quantiles need no scaling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_ratio: Option<f64>,
    /// With `sample_ratio`: how many transactions there were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_transactions: Option<EstimateFields>,
    /// Groupings `node` and `resolver`, where messages were not told, because they were left out on
    /// purpose or lost by a full ring: exact counts of all of them. Where this is missing, all were told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<ExactFields>,
    /// Transactions by status; those that are 0 included.
    pub statuses: StatusCounts,
    /// Queries, resent ones not included: answered, timeout, `icmp_error`, evicted and open.
    pub queries: u64,
    /// Queries per second of the window.
    pub query_rate: f64,
    /// Responses by extended code, most frequent first.
    pub rcodes: Vec<RcodeCount>,
    /// Transactions by type asked for, most frequent first.
    pub qtypes: Vec<QtypeCount>,
    /// Queries answered with NOERROR or NXDOMAIN: the name resolves, or is known not to.
    pub successes: u64,
    /// `successes` per query of which the outcome is known: answered, timeout and `icmp_error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_ratio: Option<f64>,
    /// Responses with the TC bit.
    pub truncated: u64,
    /// Queries sent again.
    pub retries: u64,
    /// Transactions over TCP that follow a truncated one over UDP.
    pub tcp_fallbacks: u64,
    /// Queries that a resolver on this host answered from its cache, stale entries included.
    pub cache_hits: u64,
    /// Queries for which a resolver on this host asked others.
    pub cache_misses: u64,
    /// Queries that ask for DNSSEC records (DO).
    pub dnssec_queries: u64,
    /// Queries with a client subnet (RFC 7871).
    pub ecs_queries: u64,
    /// Responses with NXDOMAIN, per response of any status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nxdomain_ratio: Option<f64>,
    /// Responses with SERVFAIL, per response of any status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servfail_ratio: Option<f64>,
    /// Timeouts per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ratio: Option<f64>,
    /// `truncated` per response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncation_ratio: Option<f64>,
    /// `retries` per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_ratio: Option<f64>,
    /// `tcp_fallbacks` per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fallback_ratio: Option<f64>,
    /// `cache_hits` / (`cache_hits` + `cache_misses`): per answer of which it can be told, which takes a
    /// resolver on this host whose own queries are seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_hit_ratio: Option<f64>,
    /// `dnssec_queries` per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dnssec_ratio: Option<f64>,
    /// `ecs_queries` per query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecs_ratio: Option<f64>,
    /// Duplicates that answer differently.
    pub conflicts: u64,
    /// Octets of the queries' DNS messages.
    pub query_bytes: u64,
    /// Octets of the responses' DNS messages; of a zone transfer, of all of them.
    pub response_bytes: u64,
    /// `response_bytes` / `query_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amplification: Option<f64>,
    /// Latencies of answered queries, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<LatencyFields>,
    /// Different names asked for.
    pub unique_qnames: DistinctFields,
    /// Different clients.
    pub unique_clients: DistinctFields,
    /// Different resolvers asked, by the names that records have for them: the fan-out.
    pub unique_resolvers: DistinctFields,
    /// The ten most frequent names; groupings `node` and `resolver`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub top_qnames: Vec<RankedFields>,
    /// The ten most frequent registrable domains; groupings `node` and `resolver`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub top_zones: Vec<RankedFields>,
    /// The ten most frequent clients; groupings `node` and `resolver`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub top_clients: Vec<RankedFields>,
    /// The ten most frequent processes; groupings `node` and `resolver`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub top_processes: Vec<RankedFields>,
    /// The sketches that the most frequent values are of; grouping `node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_sketches: Option<TopSketches>,
    /// Names by Shannon's entropy in bits per octet, dots aside.
    pub qname_entropy: Vec<BucketCount>,
    /// Labels by length in octets.
    pub label_lengths: Vec<BucketCount>,
    /// Responses by smallest TTL in seconds.
    pub min_ttls: Vec<BucketCount>,
    /// What of the record is not told as it was, where the configuration asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}

/// An estimate with its error.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct EstimateFields {
    /// The likeliest number: each transaction that was told counts 1 / its own `sample_ratio`.
    pub value: f64,
    /// The true number is between `low` and `high` with a probability of 95 %.
    pub low: f64,
    /// See `low`.
    pub high: f64,
}

/// Messages, told and untold together, counted one by one: what was not told, by the kernel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExactFields {
    /// Queries, resent ones included.
    pub queries: u64,
    /// Responses, to whatever query.
    pub responses: u64,
    /// Responses by the code of their header, four bits, most frequent first: BADVERS, which only EDNS
    /// tells from NOERROR, counts as that.
    pub rcodes: Vec<RcodeCount>,
    /// Responses with the TC bit.
    pub truncated: u64,
    /// Of the queries and responses, those that were not told. They belong to the window in which the
    /// kernel counted them.
    pub untold: u64,
    /// Of these and of `lost_segments`, those for which the ring had no room.
    pub lost: u64,
    /// TCP segments that the ring had no room for. How many messages they held nobody knows, and none
    /// of the counts above has them.
    pub lost_segments: u64,
}

/// Transactions by status.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct StatusCounts {
    /// Response paired in time.
    pub answered: u64,
    /// No response within the query timeout.
    pub timeout: u64,
    /// Response after its timeout record was written.
    pub late: u64,
    /// ICMP unreachable for the query.
    pub icmp_error: u64,
    /// A further response to an answered query.
    pub duplicate: u64,
    /// Response with no query seen.
    pub orphan: u64,
    /// Pushed out of the full table.
    pub evicted: u64,
    /// Still waiting when capture stopped.
    pub open: u64,
}

/// Responses with one code.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RcodeCount {
    /// Mnemonic, extended; `other` for all that found no room.
    pub rcode: Cow<'static, str>,
    /// How many.
    pub count: u64,
}

/// Transactions with one type asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct QtypeCount {
    /// Mnemonic; `other` for all that found no room.
    pub qtype: Cow<'static, str>,
    /// How many.
    pub count: u64,
}

/// Values up to a bound, and above the bound before it.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct BucketCount {
    /// The bound, itself included; absent for the last bucket, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_to: Option<f64>,
    /// How many.
    pub count: u64,
}

/// A distribution of latencies.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LatencyFields {
    /// How many there are.
    pub count: u64,
    /// Median, within 1 %: of `count` values in order, the one at place q (`count` - 1), rounded down,
    /// counted from 0.
    pub p50: f64,
    /// The same of q = 0.9.
    pub p90: f64,
    /// The same of q = 0.95.
    pub p95: f64,
    /// The same of q = 0.99.
    pub p99: f64,
    /// The greatest, exactly.
    pub max: f64,
    /// DDSketch with a relative accuracy of 0.01, as Datadog's Protobuf message, in base64: merge
    /// this, never the quantiles.
    pub sketch: String,
}

/// How many different values there are.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DistinctFields {
    /// The likeliest number.
    pub estimate: f64,
    /// The true number is not below, with a probability of 97.7 %.
    pub lower: f64,
    /// The true number is not above, with a probability of 97.7 %.
    pub upper: f64,
    /// HLL sketch of Apache DataSketches, in base64: merge this, never the estimates.
    pub sketch: String,
}

/// Frequent Items sketches of Apache DataSketches, of strings, in base64: merge these, never the lists.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TopSketches {
    /// Names asked for.
    pub qnames: String,
    /// Registrable domains.
    pub zones: String,
    /// Clients.
    pub clients: String,
    /// Processes.
    pub processes: String,
}

/// A frequent value.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RankedFields {
    /// The value, cut after 255 octets.
    pub value: String,
    /// At least so often.
    pub lower: u64,
    /// At most so often.
    pub upper: u64,
}
