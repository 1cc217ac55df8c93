//! Metrics of the DNS traffic.

use dnscribe_admin::metric::Metric;

const VANTAGE: (&str, &str) = ("vantage", "client, server, passive");
const TRANSPORT: (&str, &str) = ("transport", "udp, tcp, and from dnstap dot, doh, doq, dnscrypt");
const RESOLVER: (&str, &str) = ("resolver", "configured name, else address; limited, then `other`");
const PROTOCOL: (&str, &str) = ("protocol", "dot, doh, doq, doh3");
const NAMESPACE: (&str, &str) = ("namespace", "of the pod");
const WORKLOAD: (&str, &str) =
    ("workload", "name of the Deployment, StatefulSet, DaemonSet, CronJob, …; empty without one");
const POD_SERIES: &str = "Only if Kubernetes is configured and `privacy` keeps containers. At most 512 pods at a time: one \
     without queries for ten minutes gives its place to another; those beyond are `other`. `nodata` is NOERROR without \
     answers.";
const BOUNDED: &str =
    "At most 1,000 series; further ones have `other` in place of the labels that traffic chooses.";
const BUCKETS: &str =
    "At most 100 series, then `other`. For exact quantiles see `latency_ms` in `dns.window/1`.";

pub(super) const METRICS: &[Metric] = &[
    Metric::counter("dns_transactions_total", "transactions", "DNS transactions by outcome.")
        .labels(&[
            VANTAGE,
            TRANSPORT,
            RESOLVER,
            ("qtype", "mnemonic; limited, then `other`; empty without a question"),
            ("status", "answered, timeout, late, icmp_error, duplicate, orphan, evicted, open"),
            ("rcode", "mnemonic; limited, then `other`; empty without a response"),
        ])
        .formula(
            "timeouts per query: `sum(rate(dns_transactions_total{status=\"timeout\"}[5m])) / \
             sum(rate(dns_transactions_total{status!~\"late|duplicate|orphan\"}[5m]))`",
        )
        .source("`dns.transaction/1`: one each")
        .caveat(BOUNDED),
    Metric::histogram(
        "dns_transaction_duration_seconds",
        "seconds",
        "Time from a query to its response.",
    )
    .labels(&[VANTAGE, RESOLVER])
    .formula("`histogram_quantile(0.99, sum by (le) (rate(dns_transaction_duration_seconds_bucket[5m])))`")
    .source("`dns.transaction/1`: `latency_ms`, if present")
    .caveat(BUCKETS),
    Metric::counter(
        "dns_pod_transactions_total",
        "transactions",
        "Queries that pods of this node sent, by outcome.",
    )
    .labels(&[
        NAMESPACE,
        ("pod", "name of the pod"),
        WORKLOAD,
        (
            "outcome",
            "answered, nodata, nxdomain, truncated, servfail, refused, error, unreachable, timeout, open",
        ),
    ])
    .formula(
        "failures per query: `sum by (namespace, pod) \
         (rate(dns_pod_transactions_total{outcome=~\"servfail|refused|error|unreachable|timeout\"}[5m])) / \
         sum by (namespace, pod) (rate(dns_pod_transactions_total[5m]))`",
    )
    .source("`dns.transaction/1` at vantage client: one each, but for late, duplicate and orphan")
    .caveat(POD_SERIES),
    Metric::histogram(
        "dns_pod_transaction_duration_seconds",
        "seconds",
        "Time from a pod's query to its response.",
    )
    .labels(&[NAMESPACE, WORKLOAD])
    .source("`dns.transaction/1`: `latency_ms` of answered ones")
    .caveat("Only if Kubernetes is configured. At most 128 workloads, then `other`."),
    Metric::counter(
        "dnscribe_pod_series_removed_total",
        "pods",
        "Pods whose series ended because others needed the room.",
    )
    .source("counted when it happens")
    .caveat("Only if Kubernetes is configured."),
    Metric::counter("dns_messages_total", "messages", "DNS messages decoded.")
        .labels(&[("qr", "query, response"), TRANSPORT])
        .source("ledger: `decode.queries`, `decode.responses`"),
    Metric::counter("dns_connections_total", "connections", "Connections of encrypted DNS by outcome.")
        .labels(&[VANTAGE, PROTOCOL, RESOLVER, ("status", "as in `dns.connection/1`")])
        .source("`dns.connection/1`: one each, at its end")
        .caveat("Only if a sink receives the stream connections."),
    Metric::histogram(
        "dns_connection_handshake_seconds",
        "seconds",
        "Duration of handshakes of encrypted DNS.",
    )
    .labels(&[VANTAGE, PROTOCOL, RESOLVER])
    .source("`dns.connection/1`")
    .caveat(BUCKETS),
    Metric::counter(
        "dns_cache_answers_total",
        "transactions",
        "Answers of local resolvers by source.",
    )
    .labels(&[("cache", "hit, miss, stale, local")])
    .formula("cache-hit ratio: (hit + stale) / (hit + stale + miss)")
    .source("`dns.transaction/1`: `cache`")
    .caveat("Inferred from the queries of a resolver on this host in the meantime: see [joining](correlation.md)."),
];
