//! What the agent does with it.

use super::Metric;

const HOOK: (&str, &str) = ("hook", "cgroup, socket, replay");
const STREAM: (&str, &str) = ("stream", "the streams");
const RULE: (&str, &str) = ("rule", "the rules of detection");
const SEVERITY: (&str, &str) = ("severity", "info, warning, critical");
const DETECTION: &str = "Only where there is detection.";
const PODS: &[(&str, &str)] = &[(
    "pod",
    "`namespace/pod`, else the container's id, empty outside of containers; the first 256, the rest `other`",
)];
const KUBERNETES: &str = "Only where pods are named.";
const LOOKUPS: &str = "Only where a sink wants the stream lookups.";

pub(super) const METRICS: &[Metric] = &[
    Metric::counter("dnscribe_packets_total", "packets", "Packets on the DNS ports by what became of them.")
        .labels(&[HOOK, ("outcome", "submitted, lost_ring_full, sampled_out, skipped")])
        .formula("the sum over `outcome` is `kernel.<hook>.seen`")
        .source("ledger: `kernel`"),
    Metric::counter(
        "dnscribe_clipped_packets_total",
        "packets",
        "Packets captured with fewer octets than they had.",
    )
    .labels(&[HOOK])
    .source("ledger: `kernel.<hook>.clipped`")
    .caveat("No outcome of its own: these packets were submitted."),
    Metric::gauge("dnscribe_ring_used_bytes", "bytes", "Octets in the ring, waiting.")
        .source("the ring buffer's positions")
        .caveat("Only while capturing live."),
    Metric::gauge(
        "dnscribe_sampling_ratio",
        "ratio",
        "The share of UDP transactions that is told; below 1 while more comes than can be handled.",
    )
    .source("ledger: `sampling.ratio`")
    .caveat("Only while capturing live. TCP is always told."),
    Metric::counter("dnscribe_sampling_episodes_total", "episodes", "How often sampling began.")
        .source("ledger: `sampling.episodes`")
        .caveat("Only while capturing live."),
    Metric::counter(
        "dnscribe_untold_packets_total",
        "packets",
        "Packets that were sampled out or lost by a full ring, as the kernel counted them.",
    )
    .labels(&[("kind", "query, response, tcp_segment, other")])
    .source("ledger: `sampling.untold`")
    .caveat("Only while capturing live; the kernel is asked every ten seconds."),
    Metric::counter("dnscribe_records_total", "records", "Records by what became of them, all sinks together.")
        .labels(&[STREAM, ("outcome", "delivered, filtered, dropped")])
        .source("ledger: `delivery`")
        .caveat("A record for two sinks counts twice."),
    Metric::gauge("dnscribe_records_waiting", "records", "Records on their way, all sinks together.")
        .labels(&[STREAM, ("place", "spooled, in_flight")])
        .source("ledger: `delivery`"),
    Metric::counter("dnscribe_dropped_total", "packets, queries or records", "What was lost or given up, by stage and reason.")
        .labels(&[
            ("stage", "kernel, decode, pairing, connections, join, delivery"),
            ("reason", "as in the ledger"),
        ])
        .source("ledger: `kernel`, `decode.malformed`, `pairing.evicted`, `delivery`")
        .caveat("Stages count different things: do not add them up."),
    Metric::gauge("dnscribe_spool_bytes", "bytes", "Octets on disk, waiting.").source("the spool"),
    Metric::gauge("dnscribe_pairing_open", "queries", "Queries that wait for their response.")
        .source("ledger: `pairing.open`"),
    Metric::gauge(
        "dnscribe_connections_open",
        "connections",
        "Connections of encrypted DNS that are not over.",
    )
    .source("ledger: `connections.open`")
    .caveat("Only where a sink wants the stream connections."),
    Metric::counter(
        "dnscribe_links_total",
        "transactions",
        "Transactions of local resolvers by what ties them to a parent.",
    )
    .labels(&[("match", "the kinds of `parent_match`, and none")])
    .source("`dns.transaction/1`: `parent_match`"),
    Metric::counter(
        "dnscribe_windows_late_total",
        "transactions",
        "Transactions that came too late for their windows.",
    )
    .source("`dns.window/1`: `late_total`")
    .caveat(
        "They are in no window. Zone transfers that last longer than the query timeout are among them, and what \
         a clock that steps back repeats.",
    ),
    Metric::gauge("dnscribe_windows_bytes", "bytes", "Octets that the windows take.")
        .source("their own count, when it is asked for")
        .caveat("Names that windows share count in each of them."),
    Metric::counter("dnscribe_lookups_total", "lookups", "What applications asked, by how it ended.")
        .labels(&[("outcome", "as in `dns.lookup/1`")])
        .source("`dns.lookup/1`: one each")
        .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_lookup_queries_total",
        "queries",
        "Query messages that applications sent for that.",
    )
    .labels(PODS)
    .source("`dns.lookup/1`")
    .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_lookup_wasted_queries_total",
        "queries",
        "Those of them that contributed nothing: search lists, retries, duplicates.",
    )
    .labels(PODS)
    .formula("waste: `rate(dnscribe_lookup_wasted_queries_total[5m]) / rate(dnscribe_lookup_queries_total[5m])`")
    .source("`dns.lookup/1`")
    .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_lookups_evicted_total",
        "lookups",
        "Lookups given out before their end for want of room.",
    )
    .source("the table of lookups")
    .caveat(LOOKUPS),
    Metric::gauge("dnscribe_lookups_open", "lookups", "Lookups that are not over.")
        .source("the table of lookups")
        .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_alerts_total",
        "alerts",
        "Alerts told, reminders included, by rule and severity.",
    )
    .labels(&[RULE, SEVERITY, ("state", "as in `dns.alert/1`")])
    .source("`dns.alert/1`: one each")
    .caveat(DETECTION),
    Metric::gauge("dnscribe_alerts_active", "alerts", "Alerts that fire.")
        .labels(&[RULE, SEVERITY])
        .source("the alert engine")
        .caveat(DETECTION),
    Metric::counter(
        "dnscribe_alerts_suppressed_total",
        "alerts",
        "Not told: another explains them.",
    )
    .labels(&[RULE])
    .source("the alert engine")
    .caveat(DETECTION),
    Metric::counter("dnscribe_alerts_muted_total", "alerts", "Not told in time, for maintenance.")
        .labels(&[RULE])
        .source("the alert engine")
        .caveat(DETECTION),
    Metric::counter(
        "dnscribe_alerts_overflow_total",
        "findings",
        "Findings for which there was no room among the alerts.",
    )
    .source("the alert engine")
    .caveat(DETECTION),
    Metric::gauge(
        "dnscribe_kubernetes_up",
        "1",
        "1 while the Kubernetes API tells of this node's pods; 0 while what was known last serves.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::gauge(
        "dnscribe_kubernetes_pods",
        "pods",
        "Pods of this node that are known, those that ended in the last five minutes included.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::counter("dnscribe_kubernetes_errors_total", "errors", "Failures to learn of the pods.")
        .labels(&[("reason", "config, unreachable, tls, unauthorized, forbidden, server, garbage")])
        .source("the watch of pods")
        .caveat(KUBERNETES),
    Metric::counter(
        "dnscribe_kubernetes_refused_total",
        "pods",
        "Times that a pod found no room among 4096.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::counter(
        "dnscribe_kubernetes_transactions_total",
        "transactions",
        "Transactions of pods, by whether the pod's names were known.",
    )
    .labels(&[("outcome", "named, unnamed")])
    .source("`k8s` and `container.pod_uid` of `dns.transaction/1`")
    .caveat(KUBERNETES),
    Metric::gauge("dnscribe_build_info", "1", "Which dnscribe this is.")
        .labels(&[("version", "one"), ("revision", "one")])
        .source("the program"),
];
