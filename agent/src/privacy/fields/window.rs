//! What the fields of `dns.window/1` hold.

use super::Kind::{
    self, Address, Container, Name, Object, ObjectOf, Process, Public, Resolver, Sketch,
};
use super::{Field, may, must};
use crate::privacy::Class;

const fn ranked(kind: Kind) -> [Field; 3] {
    [must("value", kind), must("lower", Public), must("upper", Public)]
}

const TOP_NAMES: Kind = ObjectOf(Class::Qname, &ranked(Name));
const TOP_CLIENTS: Kind = ObjectOf(Class::Client, &ranked(Address(Class::Client)));
const TOP_PROCESSES: Kind = ObjectOf(Class::Process, &ranked(Process));

const fn distinct(class: Class) -> [Field; 4] {
    [
        must("estimate", Public),
        must("lower", Public),
        must("upper", Public),
        must("sketch", Sketch(class)),
    ]
}

const ESTIMATE: Kind = Object(&[must("value", Public), must("low", Public), must("high", Public)]);
const RCODES: Kind = Object(&[must("rcode", Public), must("count", Public)]);
const QTYPES: Kind = Object(&[must("qtype", Public), must("count", Public)]);
const BUCKETS: Kind = Object(&[may("up_to", Public), must("count", Public)]);

const EXACT: Kind = Object(&[
    must("queries", Public),
    must("responses", Public),
    must("rcodes", RCODES),
    must("truncated", Public),
    must("untold", Public),
    must("lost", Public),
    must("lost_segments", Public),
]);

const STATUSES: Kind = Object(&[
    must("answered", Public),
    must("timeout", Public),
    must("late", Public),
    must("icmp_error", Public),
    must("duplicate", Public),
    must("orphan", Public),
    must("evicted", Public),
    must("open", Public),
]);

const LATENCY: Kind = Object(&[
    must("count", Public),
    must("p50", Public),
    must("p90", Public),
    must("p95", Public),
    must("p99", Public),
    must("max", Public),
    must("sketch", Public),
]);

pub(super) const WINDOW: &[Field] = &[
    must("schema", Public),
    must("event_id", Public),
    must("ts", Public),
    must("node", Public),
    may("region", Public),
    must("window_seconds", Public),
    must("step_seconds", Public),
    may("partial", Public),
    must("late_total", Public),
    must("sketch_encoding", Public),
    must("grouping", Public),
    must("vantage", Public),
    may("transport", Public),
    may("resolver", Resolver),
    may("zone", Name),
    may("qtype", Public),
    may("process", Process),
    may("pod", Container),
    may("other", Public),
    may("undercounted", Public),
    must("transactions", Public),
    may("sample_ratio", Public),
    may("estimated_transactions", ESTIMATE),
    may("exact", EXACT),
    must("statuses", STATUSES),
    must("queries", Public),
    must("query_rate", Public),
    must("rcodes", RCODES),
    must("qtypes", QTYPES),
    must("successes", Public),
    may("success_ratio", Public),
    must("truncated", Public),
    must("retries", Public),
    must("tcp_fallbacks", Public),
    must("cache_hits", Public),
    must("cache_misses", Public),
    must("dnssec_queries", Public),
    must("ecs_queries", Public),
    may("nxdomain_ratio", Public),
    may("servfail_ratio", Public),
    may("timeout_ratio", Public),
    may("truncation_ratio", Public),
    may("retry_ratio", Public),
    may("tcp_fallback_ratio", Public),
    may("cache_hit_ratio", Public),
    may("dnssec_ratio", Public),
    may("ecs_ratio", Public),
    must("conflicts", Public),
    must("query_bytes", Public),
    must("response_bytes", Public),
    may("amplification", Public),
    may("latency_ms", LATENCY),
    must("unique_qnames", Object(&distinct(Class::Qname))),
    must("unique_clients", Object(&distinct(Class::Client))),
    must("unique_resolvers", Object(&distinct(Class::Server))),
    may("top_qnames", TOP_NAMES),
    may("top_zones", TOP_NAMES),
    may("top_clients", TOP_CLIENTS),
    may("top_processes", TOP_PROCESSES),
    may(
        "top_sketches",
        Object(&[
            must("qnames", Sketch(Class::Qname)),
            must("zones", Sketch(Class::Qname)),
            must("clients", Sketch(Class::Client)),
            must("processes", Sketch(Class::Process)),
        ]),
    ),
    must("qname_entropy", BUCKETS),
    must("label_lengths", BUCKETS),
    must("min_ttls", BUCKETS),
];
