//! Metrics of the agent itself.

use dnscribe_admin::metric::Metric;

const HOOK: (&str, &str) = ("hook", "cgroup, socket, dnstap, replay");
const RULE: (&str, &str) = ("rule", "names of the detection rules");
const SEVERITY: (&str, &str) = ("severity", "info, warning, critical");
const DETECTION: &str = "Only if detection is on.";
const PODS: &[(&str, &str)] = &[
    ("namespace", "of the pod; empty outside Kubernetes"),
    ("pod", "name of the pod; empty outside Kubernetes"),
    (
        "container_id",
        "of a container without a known pod; after the first 256 pods and containers, `other`",
    ),
];
const FIRST_SEEN: &str = "Only with `first_seen.directory`.";
const KUBERNETES: &str = "Only if Kubernetes is configured.";
const LOOKUPS: &str = "Only if a sink receives the stream lookups.";

pub(super) const METRICS: &[Metric] = &[
    Metric::counter("dnscribe_packets_total", "packets", "Packets on the DNS ports by outcome.")
        .labels(&[HOOK, ("outcome", "submitted, lost_ring_full, sampled_out, skipped")])
        .formula("the sum over `outcome` is `kernel.<hook>.seen`")
        .source("ledger: `kernel`"),
    Metric::counter(
        "dnscribe_clipped_packets_total",
        "packets",
        "Packets captured with fewer bytes than they had on the wire.",
    )
    .labels(&[HOOK])
    .source("ledger: `kernel.<hook>.clipped`")
    .caveat("Not an outcome: these packets were submitted."),
    Metric::gauge("dnscribe_ring_used_bytes", "bytes", "Bytes waiting in the ring.")
        .source("the ring buffer's positions")
        .caveat("Live capture only."),
    Metric::counter(
        "dnscribe_clock_steps_total",
        "steps",
        "Steps of the host's clock, back or forward, by a millisecond or more.",
    )
    .source("`CLOCK_REALTIME` and `CLOCK_MONOTONIC`")
    .caveat(
        "Live capture only. The log has the size of each. A step changes the times of records; it delays nothing and \
         ends nothing early. A host that was asleep counts as set forward.",
    ),
    Metric::counter(
        "dnscribe_address_read_errors_total",
        "errors",
        "Failed attempts to read this host's addresses, which distinguish its packets from those of other hosts.",
    )
    .source("rtnetlink")
    .caveat("Live capture at hook `socket` only. The addresses known before stay in use."),
    Metric::gauge(
        "dnscribe_longest_turn_seconds",
        "seconds",
        "Longest time that the thread of the pipeline was busy between two looks at its ring or its workers.",
    )
    .source("measured around each turn of that thread, since the start")
    .caveat(
        "Live capture only. The ring must hold what comes in this time. That thread waits for no sink, file or log; \
         the longest turns are those of a machine that is short of processors.",
    ),
    Metric::gauge(
        "dnscribe_sampling_ratio",
        "ratio",
        "Ratio of UDP transactions that are exported; below 1 while the agent is overloaded.",
    )
    .source("ledger: `sampling.ratio`")
    .caveat("Live capture only. TCP is never sampled."),
    Metric::counter("dnscribe_sampling_episodes_total", "episodes", "Number of times that sampling began.")
        .source("ledger: `sampling.episodes`")
        .caveat("Live capture only."),
    Metric::counter(
        "dnscribe_not_exported_packets_total",
        "packets",
        "Packets that were sampled out or lost to a full ring, counted by the kernel.",
    )
    .labels(&[("kind", "query, response, tcp_segment, other")])
    .source("ledger: `sampling.not_exported`")
    .caveat("Live capture only; read from the kernel every ten seconds."),
    Metric::counter("dnscribe_dropped_packets_total", "packets", "Packets lost before they were messages.")
        .labels(&[("stage", "kernel, decode"), ("reason", "as in the ledger")])
        .source("ledger: `kernel`, `decode.malformed`"),
    Metric::counter(
        "dnscribe_dropped_queries_total",
        "queries",
        "Queries whose response was not waited for, because the table was full.",
    )
    .labels(&[("stage", "pairing"), ("reason", "evicted")])
    .source("ledger: `pairing.evicted`"),
    Metric::counter(
        "dnscribe_records_shortened_total",
        "records",
        "Records that leave out parts of their messages, because they would be too large.",
    )
    .labels(&[("stream", "messages, transactions")])
    .source(
        "`dns.message/1`, `dns.transaction/1`: `answers_omitted`, `questions_omitted`, \
         `edns.options_omitted`",
    )
    .caveat("The limits are `records.max_answers` and `records.max_bytes`."),
    Metric::gauge("dnscribe_spool_bytes", "bytes", "Bytes waiting on disk.").source("the spool"),
    Metric::gauge("dnscribe_pairing_open", "queries", "Queries waiting for a response.")
        .source("ledger: `pairing.open`"),
    Metric::gauge(
        "dnscribe_connections_open",
        "connections",
        "Open connections of encrypted DNS.",
    )
    .source("ledger: `connections.open`")
    .caveat("Only if a sink receives the stream connections."),
    Metric::counter(
        "dnscribe_connections_evicted_total",
        "connections",
        "Connections of encrypted DNS reported before their end because the table was full.",
    )
    .source("ledger: `connections.evicted`")
    .caveat("Only if a sink receives the stream connections."),
    Metric::counter(
        "dnscribe_links_overflow_total",
        "transactions",
        "Transactions without links because the tables of correlation were full.",
    )
    .source("counted by correlation"),
    Metric::counter(
        "dnscribe_links_total",
        "transactions",
        "Transactions of local resolvers by how their parent was found.",
    )
    .labels(&[("match", "values of `parent_match`, and none")])
    .source("`dns.transaction/1`: `parent_match`"),
    Metric::counter(
        "dnscribe_windows_late_total",
        "transactions",
        "Transactions that came too late for their windows.",
    )
    .source("`dns.window/1`: `late_total`")
    .caveat(
        "They are in no window. Includes zone transfers that last longer than the query timeout, and repeated \
         times in a capture file after a clock step back.",
    ),
    Metric::gauge("dnscribe_windows_bytes", "bytes", "Memory used by windows.")
        .source("counted when the page is read")
        .caveat("Names shared between windows count in each of them."),
    Metric::counter("dnscribe_lookups_total", "lookups", "Lookups of applications by outcome.")
        .labels(&[("outcome", "as in `dns.lookup/1`")])
        .source("`dns.lookup/1`: one each")
        .caveat(LOOKUPS),
    Metric::counter(
        "dns_lost_messages_total",
        "messages",
        "DNS messages over UDP that the kernel of this host discarded.",
    )
    .labels(&[
        ("qr", "query, response"),
        ("stage", "as `lost_at` of `dns.transaction/1`"),
        ("reason", "the kernel's, as `lost_at` of `dns.transaction/1`"),
    ])
    .source("`dns.transaction/1`: `lost_at`; messages of no transaction count, too")
    .caveat("Absent without `capture.path`. A bridge's copies for its ports count as well."),
    Metric::counter(
        "dnscribe_uses_total",
        "connections",
        "Connections that processes opened, by how their name was found and what became of them.",
    )
    .labels(&[("match", "as in `dns.use/1`"), ("outcome", "as in `dns.use/1`")])
    .source("`dns.use/1`: the sum of `count`")
    .caveat("Absent unless connections are captured."),
    Metric::counter(
        "dnscribe_lookup_queries_total",
        "queries",
        "Query messages that applications sent for lookups.",
    )
    .labels(PODS)
    .source("`dns.lookup/1`")
    .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_lookup_wasted_queries_total",
        "queries",
        "Query messages that contributed nothing: search lists, retries, duplicates.",
    )
    .labels(PODS)
    .formula("waste: `rate(dnscribe_lookup_wasted_queries_total[5m]) / rate(dnscribe_lookup_queries_total[5m])`")
    .source("`dns.lookup/1`")
    .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_lookups_evicted_total",
        "lookups",
        "Lookups reported before their end because the table was full.",
    )
    .source("the table of lookups")
    .caveat(LOOKUPS),
    Metric::gauge("dnscribe_lookups_open", "lookups", "Lookups in progress.")
        .source("the table of lookups")
        .caveat(LOOKUPS),
    Metric::counter(
        "dnscribe_alerts_total",
        "alerts",
        "Alerts reported, reminders included, by rule and severity.",
    )
    .labels(&[RULE, SEVERITY, ("state", "as in `dns.alert/1`")])
    .source("`dns.alert/1`: one each")
    .caveat(DETECTION),
    Metric::gauge("dnscribe_alerts_active", "alerts", "Alerts that are firing.")
        .labels(&[RULE, SEVERITY])
        .source("the alert engine")
        .caveat(DETECTION),
    Metric::gauge(
        "dnscribe_alert_baselines",
        "entities",
        "Entities that a rule with a baseline knows: still learning, so that nothing is reported about them, or judged.",
    )
    .labels(&[RULE, ("state", "`learning` until the rule's `learning` time was observed, then `judged`")])
    .source("the table of baselines")
    .caveat(DETECTION),
    Metric::counter(
        "dnscribe_alerts_suppressed_total",
        "alerts",
        "Alerts not reported because another alert explains them.",
    )
    .labels(&[RULE])
    .source("the alert engine")
    .caveat(DETECTION),
    Metric::counter("dnscribe_alerts_muted_total", "alerts", "Alerts not reported because of maintenance.")
        .labels(&[RULE])
        .source("the alert engine")
        .caveat(DETECTION),
    Metric::counter(
        "dnscribe_alerts_overflow_total",
        "findings",
        "Findings dropped because the table of alerts was full.",
    )
    .source("the alert engine")
    .caveat(DETECTION),
    Metric::gauge(
        "dnscribe_kubernetes_up",
        "1",
        "1 while the Kubernetes API reports this node's pods, 0 while the last known pods are used.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::counter("dnscribe_seen_total", "transactions", "Transactions by who saw them: a socket, the server that reports by dnstap, or both.")
        .labels(&[("by", "both, socket, dnstap")])
        .source("the join of both views")
        .caveat("Only where a hook is captured beside dnstap."),
    Metric::gauge("dnscribe_indicators", "indicators", "Indicators of threats that transactions are matched with.")
        .source("the files of indicators"),
    Metric::gauge("dnscribe_first_seen_zones", "zones", "Zones whose first time on this host is known.")
        .source("responses that say that the zone exists")
        .caveat(FIRST_SEEN),
    Metric::counter(
        "dnscribe_first_seen_evicted_total",
        "zones",
        "Zones that were forgotten for others. They are new when they are seen again.",
    )
    .source("the table of zones, which is full: `first_seen.max_zones`")
    .caveat(FIRST_SEEN),
    Metric::counter(
        "dnscribe_first_seen_write_failures_total",
        "writes",
        "Failed writes of the file of first times. They are kept in memory.",
    )
    .source("the thread that writes the file")
    .caveat(FIRST_SEEN),
    Metric::gauge(
        "dnscribe_kubernetes_pods",
        "pods",
        "Known pods of this node, those that ended in the last five minutes included.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::counter("dnscribe_kubernetes_errors_total", "errors", "Failed attempts to read the pods.")
        .labels(&[("reason", "config, unreachable, tls, unauthorized, forbidden, server, garbage")])
        .source("the watch of pods")
        .caveat(KUBERNETES),
    Metric::counter(
        "dnscribe_kubernetes_refused_total",
        "pods",
        "Pods not stored because 4096 are known already.",
    )
    .source("the watch of pods")
    .caveat(KUBERNETES),
    Metric::counter(
        "dnscribe_kubernetes_transactions_total",
        "transactions",
        "Transactions of pods by whether the names of the pod were known.",
    )
    .labels(&[("outcome", "named, unnamed")])
    .source("`k8s` and `container.pod_uid` of `dns.transaction/1`")
    .caveat(KUBERNETES),
    Metric::gauge("dnscribe_build_info", "1", "Version of dnscribe.")
        .labels(&[("version", "one"), ("revision", "one")])
        .source("the program"),
];
