//! `dns.window/1`.

use super::{ContainerId, MaskingFields, PodName, ProcessName, RecordHead, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;
use std::borrow::Cow;

/// `dns.window/1`: statistics of one group of transactions in one time window.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.window/1")]
pub struct WindowRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// Length of the window in seconds.
    pub window_seconds: u64,
    /// Time to the start of the next window in seconds: less than `window_seconds` if windows
    /// slide.
    pub step_seconds: u64,
    /// True if the capture began or ended within the window.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub partial: bool,
    /// Transactions since the capture began, of all groups, that came too late for their windows.
    pub late_total: u64,
    /// Version of the encodings of all sketches in the record: see `docs/sketches.md`.
    pub sketch_encoding: u32,
    /// What the transactions of the group have in common besides the vantage: `node` (nothing),
    /// `resolver`, `zone`, `qtype`, `process`, `pod` or, if it is configured, `resolver+zone`.
    #[schemars(extend("enum" = ["node", "resolver", "zone", "qtype", "process", "pod", "resolver+zone"]))]
    pub grouping: &'static str,
    /// `client`, `server` or `passive`.
    #[schemars(extend("enum" = ["client", "server", "passive"]))]
    #[schemars(extend("x-otel-group" = true))]
    pub vantage: &'static str,
    /// Grouping `resolver`: `udp`, `tcp` or, from dnstap, `dot`, `doh`, `doq` or `dnscrypt`.
    #[schemars(extend("enum" = Transport::ALL.map(Transport::name)))]
    #[schemars(extend("x-otel-group" = true))]
    pub transport: Option<&'static str>,
    /// Groupings `resolver` and `resolver+zone`: configured name of the server, else its address.
    #[schemars(extend("x-otel-group" = true))]
    pub resolver: Option<&'a str>,
    /// Groupings `zone` and `resolver+zone`: registrable domain.
    #[schemars(extend("x-otel-group" = true))]
    pub zone: Option<&'a str>,
    /// Grouping `qtype`: mnemonic.
    #[schemars(extend("x-otel-group" = true))]
    pub qtype: Option<&'a str>,
    /// Grouping `process`: the processes of one name.
    #[schemars(extend("x-otel-group" = true))]
    pub process: Option<ProcessName<'a>>,
    /// Grouping `pod`: the container, if its pod is not known.
    #[schemars(extend("x-otel-group" = true))]
    pub container: Option<ContainerId<'a>>,
    /// Grouping `pod`: the pod.
    #[schemars(extend("x-otel-group" = true))]
    pub k8s: Option<PodName<'a>>,
    /// True for the group that collects all transactions without a group of their own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    #[schemars(extend("x-otel-group" = true))]
    pub other: bool,
    /// True if some transactions of the group may be counted in `other`, because the group had no
    /// slot of its own in some ten seconds of the window.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub undercounted: bool,
    /// Statistics of the group's transactions.
    #[serde(flatten)]
    pub statistics: WindowStatistics,
    /// How the record was masked, if the configuration asks for masking.
    pub masking: Option<MaskingFields>,
}

/// Statistics of a group of transactions, in `dns.window/1` of one node and in `dns.fleet/1` of all.
#[skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WindowStatistics {
    /// Number of transactions, those without a query (late, duplicate, orphan) included.
    pub transactions: u64,
    /// Share of the group's transactions that were exported, if below 1: an overloaded agent leaves
    /// out whole transactions. All counts of the record are counts of exported transactions, unless
    /// their description says otherwise; ratios and quantiles need no scaling.
    pub sample_ratio: Option<f64>,
    /// With `sample_ratio`: estimated number of all transactions.
    pub estimated_transactions: Option<EstimateFields>,
    /// Groupings `node` and `resolver`: exact counts of all messages, if some were not exported
    /// because they were sampled out or lost to a full ring. Absent if all were exported.
    pub exact: Option<ExactFields>,
    /// Transactions by status; zeros are included.
    #[schemars(extend("x-otel-metric" = ["transactions", "{transaction}", "dnscribe.status"]))]
    pub statuses: StatusCounts,
    /// Queries, retransmissions not included: answered, timeout, `icmp_error`, evicted and open.
    #[schemars(extend("x-otel-metric" = ["queries", "{query}"]))]
    pub queries: u64,
    /// Queries per second of the window.
    pub query_rate: f64,
    /// Responses by extended code, most frequent first.
    #[schemars(extend("x-otel-metric" = ["responses", "{response}", "dnscribe.rcode"]))]
    pub rcodes: Vec<RcodeCount>,
    /// Transactions by query type, most frequent first.
    #[schemars(extend("x-otel-metric" = ["transactions_by_qtype", "{transaction}", "dnscribe.qtype"]))]
    pub qtypes: Vec<QtypeCount>,
    /// Queries answered with NOERROR or NXDOMAIN: the name resolves, or is known not to exist.
    #[schemars(extend("x-otel-metric" = ["successes", "{query}"]))]
    pub successes: u64,
    /// `successes` per query with a known outcome: answered, timeout and `icmp_error`.
    pub success_ratio: Option<f64>,
    /// Responses with the TC bit.
    #[schemars(extend("x-otel-metric" = ["truncated", "{response}"]))]
    pub truncated: u64,
    /// Retransmitted queries.
    #[schemars(extend("x-otel-metric" = ["retries", "{query}"]))]
    pub retries: u64,
    /// Transactions over TCP that follow a truncated one over UDP.
    #[schemars(extend("x-otel-metric" = ["tcp_fallbacks", "{transaction}"]))]
    pub tcp_fallbacks: u64,
    /// Queries that a resolver on this host answered from its cache, stale entries included.
    #[schemars(extend("x-otel-metric" = ["cache_hits", "{query}"]))]
    pub cache_hits: u64,
    /// Queries for which a resolver on this host queried other servers.
    #[schemars(extend("x-otel-metric" = ["cache_misses", "{query}"]))]
    pub cache_misses: u64,
    /// Queries that ask for DNSSEC records (DO).
    #[schemars(extend("x-otel-metric" = ["dnssec_queries", "{query}"]))]
    pub dnssec_queries: u64,
    /// Queries with a client subnet (RFC 7871).
    #[schemars(extend("x-otel-metric" = ["ecs_queries", "{query}"]))]
    pub ecs_queries: u64,
    /// Responses with NXDOMAIN, per response of any status.
    pub nxdomain_ratio: Option<f64>,
    /// Responses with SERVFAIL, per response of any status.
    pub servfail_ratio: Option<f64>,
    /// Timeouts per query.
    pub timeout_ratio: Option<f64>,
    /// `truncated` per response.
    pub truncation_ratio: Option<f64>,
    /// `retries` per query.
    pub retry_ratio: Option<f64>,
    /// `tcp_fallbacks` per query.
    pub tcp_fallback_ratio: Option<f64>,
    /// `cache_hits` / (`cache_hits` + `cache_misses`). Known only for a resolver on this host whose
    /// own queries are captured.
    pub cache_hit_ratio: Option<f64>,
    /// `dnssec_queries` per query.
    pub dnssec_ratio: Option<f64>,
    /// `ecs_queries` per query.
    pub ecs_ratio: Option<f64>,
    /// Duplicates whose answer differs.
    #[schemars(extend("x-otel-metric" = ["conflicts", "{response}"]))]
    pub conflicts: u64,
    /// Bytes of the queries' DNS messages.
    #[schemars(extend("x-otel-metric" = ["query.size", "By"]))]
    pub query_bytes: u64,
    /// Bytes of the responses' DNS messages; for a zone transfer, of all its messages.
    #[schemars(extend("x-otel-metric" = ["response.size", "By"]))]
    pub response_bytes: u64,
    /// `response_bytes` / `query_bytes`.
    pub amplification: Option<f64>,
    /// Latencies of answered queries, in milliseconds.
    #[schemars(extend("x-otel-metric" = ["latency", "s"]))]
    pub latency_ms: Option<LatencyFields>,
    /// Number of different query names.
    pub unique_qnames: DistinctFields,
    /// Number of different clients.
    pub unique_clients: DistinctFields,
    /// Number of different resolvers, by their names in the records: the fan-out.
    pub unique_resolvers: DistinctFields,
    /// Up to ten of the most frequent query names, fewer where none stands out; groupings `node` and `resolver`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_qnames: Vec<RankedFields>,
    /// Up to ten of the most frequent registrable domains, fewer where none stands out; groupings `node` and `resolver`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_zones: Vec<RankedFields>,
    /// Up to ten of the most frequent clients, fewer where none stands out; groupings `node` and `resolver`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_clients: Vec<RankedFields>,
    /// Up to ten of the most frequent processes, fewer where none stands out; groupings `node` and `resolver`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_processes: Vec<RankedFields>,
    /// Sketches behind the lists of most frequent values; grouping `node`.
    pub top_sketches: Option<TopSketches>,
    /// Query names by Shannon entropy in bits per byte, without dots.
    pub qname_entropy: Vec<BucketCount>,
    /// Labels by length in bytes.
    pub label_lengths: Vec<BucketCount>,
    /// Responses by smallest TTL in seconds.
    pub min_ttls: Vec<BucketCount>,
}

/// An estimate with its confidence interval.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EstimateFields {
    /// Most likely number: each exported transaction counts 1 / its own `sample_ratio`.
    pub value: f64,
    /// Lower bound: the true number is between `low` and `high` with a probability of 95 %.
    pub low: f64,
    /// Upper bound: see `low`.
    pub high: f64,
}

/// Exact message counts: exported messages plus those that the kernel counted but did not export.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExactFields {
    /// Queries, retransmissions included.
    pub queries: u64,
    /// Responses, whether or not they match a query.
    pub responses: u64,
    /// Responses by the four-bit code of the header, most frequent first: BADVERS counts as
    /// NOERROR, since only EDNS distinguishes them.
    pub rcodes: Vec<RcodeCount>,
    /// Responses with the TC bit.
    pub truncated: u64,
    /// Queries and responses that were not exported. They belong to the window in which the kernel
    /// counted them.
    pub not_exported: u64,
    /// Messages and TCP segments, of those in `not_exported` and `lost_segments`, that did not fit into
    /// the ring.
    pub lost: u64,
    /// TCP segments that did not fit into the ring. The number of messages in them is unknown, and
    /// none of the counts above includes them.
    pub lost_segments: u64,
}

/// Transactions by status.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
    /// Evicted from the full table.
    pub evicted: u64,
    /// Still waiting when capture stopped.
    pub open: u64,
}

/// Responses with one code.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RcodeCount {
    /// Mnemonic of the extended code; `other` for all codes without a slot of their own.
    pub rcode: Cow<'static, str>,
    /// Number of values.
    pub count: u64,
}

/// Transactions with one query type.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct QtypeCount {
    /// Mnemonic; `other` for all types without a slot of their own.
    pub qtype: Cow<'static, str>,
    /// Number of values.
    pub count: u64,
}

/// Values up to a bound, and above the previous bound.
#[skip_serializing_none]
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct BucketCount {
    /// Upper bound, inclusive; absent for the last bucket, which has none.
    pub up_to: Option<f64>,
    /// Number of values.
    pub count: u64,
}

/// A distribution of latencies.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LatencyFields {
    /// Number of latencies.
    pub count: u64,
    /// Median, within 1 %: of `count` sorted values, the one at index q (`count` - 1), rounded
    /// down, counted from 0.
    pub p50: f64,
    /// 90th percentile, defined as `p50` with q = 0.9.
    pub p90: f64,
    /// 95th percentile, defined as `p50` with q = 0.95.
    pub p95: f64,
    /// 99th percentile, defined as `p50` with q = 0.99.
    pub p99: f64,
    /// Maximum, exact.
    pub max: f64,
    /// DDSketch with a relative accuracy of 0.01, as Datadog's Protobuf message, in base64. Merge
    /// sketches; never average quantiles.
    pub sketch: String,
}

/// Number of different values.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DistinctFields {
    /// Most likely number.
    pub estimate: f64,
    /// Lower bound: the true number is not below it, with a probability of 97.7 %.
    pub lower: f64,
    /// Upper bound: the true number is not above it, with a probability of 97.7 %.
    pub upper: f64,
    /// HLL sketch of Apache DataSketches, in base64. Merge sketches; never add estimates.
    pub sketch: String,
}

/// Frequent Items sketches of Apache DataSketches, of strings, in base64. Merge sketches; never
/// merge the lists.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TopSketches {
    /// Query names.
    pub qnames: String,
    /// Registrable domains.
    pub zones: String,
    /// Clients.
    pub clients: String,
    /// Processes.
    pub processes: String,
}

/// A frequent value.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RankedFields {
    /// The value, truncated to 255 bytes.
    pub value: String,
    /// Lower bound of its frequency.
    pub lower: u64,
    /// Upper bound of its frequency.
    pub upper: u64,
}
