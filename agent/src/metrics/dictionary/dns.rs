//! What the traffic does.

use super::Metric;

const VANTAGE: (&str, &str) = ("vantage", "client, server, passive");
const TRANSPORT: (&str, &str) = ("transport", "udp, tcp");
const RESOLVER: (&str, &str) = ("resolver", "configured name, else address; bounded, then `other`");
const PROTOCOL: (&str, &str) = ("protocol", "dot, doh, doq, doh3");
const BOUNDED: &str = "1,000 series at most: further ones are counted under `other` in place of the labels that traffic chooses.";
const BUCKETS: &str =
    "100 series at most, then `other`. Exact quantiles: `latency_ms` in `dns.window/1`.";

pub(super) const METRICS: &[Metric] = &[
    Metric::counter("dns_transactions_total", "transactions", "DNS transactions by outcome.")
        .labels(&[
            VANTAGE,
            TRANSPORT,
            RESOLVER,
            ("qtype", "mnemonic; bounded, then `other`; empty without a question"),
            ("status", "answered, timeout, late, icmp_error, duplicate, orphan, evicted, open"),
            ("rcode", "mnemonic; bounded, then `other`; empty without a response"),
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
    .source("`dns.transaction/1`: `latency_ms`, where there is one")
    .caveat(BUCKETS),
    Metric::counter("dns_messages_total", "messages", "DNS messages decoded.")
        .labels(&[("qr", "query, response"), TRANSPORT])
        .source("ledger: `decode.queries`, `decode.responses`"),
    Metric::counter("dns_connections_total", "connections", "Connections of encrypted DNS by outcome.")
        .labels(&[VANTAGE, PROTOCOL, RESOLVER, ("status", "as in `dns.connection/1`")])
        .source("`dns.connection/1`: one each, when it is over")
        .caveat("Only where a sink wants the stream connections."),
    Metric::histogram(
        "dns_connection_handshake_seconds",
        "seconds",
        "Time that handshakes of encrypted DNS took.",
    )
    .labels(&[VANTAGE, PROTOCOL, RESOLVER])
    .source("`dns.connection/1`")
    .caveat(BUCKETS),
    Metric::counter(
        "dns_cache_answers_total",
        "transactions",
        "Answers of local resolvers by where they were from.",
    )
    .labels(&[("cache", "hit, miss, stale, local")])
    .formula("cache-hit ratio: (hit + stale) / (hit + stale + miss)")
    .source("`dns.transaction/1`: `cache`")
    .caveat("Inferred from what a resolver on this host asks meanwhile: see [joining](joining.md)."),
];
