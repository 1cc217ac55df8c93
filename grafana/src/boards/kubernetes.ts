// Kubernetes: which pods suffer, which waste queries, which are noisy, and which nodes lose packets?
import { board, events, next, runbook } from "../board.js";
import { FAILURES, NONE } from "../common.js";
import { dns_transactions as t, metric as m } from "../names.js";
import { column, series, stat, states, table } from "../panels.js";
import { chFailed, chMatches, clickhouse, prometheus, prometheusNow } from "../sources.js";

const FILTER = `$__timeFilter(${t.ts}) AND ${chMatches(t.node, "node")} AND ${chMatches(t.zone, "zone")} AND ${t.vantage} = '$vantage'`;
const WASTE = { warning: 0.3, critical: 0.6 };

export const kubernetes = board(
    "kubernetes",
    "Which pods suffer? The first row answers it; below it which waste queries, which are noisy, and which nodes lose packets.",
    ["environment", "zone", "node", "instance"],
    [
        {
            title: "Which pods suffer?",
            height: 9,
            panels: [
                [
                    4,
                    stat({
                        title: "Pods with failing lookups",
                        description:
                            "Pods of which 5 % of the queries or more failed in the time range, of those with 20 queries. Red: the list beside it; pods of one node are a matter of " +
                            "that node, pods of one workload of its configuration.",
                        unit: "short",
                        bounds: { warning: 1, critical: 5 },
                        links: [runbook("kubernetes"), next("noc"), events("k8s.pod != '' AND status = 'timeout'")],
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT count() AS pods FROM (SELECT ${t.k8s}.namespace, ${t.k8s}.pod FROM dns_transactions WHERE ${FILTER} AND ${t.k8s}.pod != ''
                   GROUP BY ${t.k8s}.namespace, ${t.k8s}.pod HAVING count() >= 20 AND countIf(${chFailed}) / count() >= ${String(FAILURES.critical)})`,
                            ),
                        ],
                    }),
                ],
                [
                    14,
                    table({
                        title: "Pods by failed queries",
                        description:
                            "The 50 pods with most failed queries, with their node and the share that failed. All of one node: its network or its node-local cache; all of one " +
                            "workload: a name or a resolver in its configuration.",
                        unit: "short",
                        sortBy: "failed",
                        links: [runbook("kubernetes"), next("noc"), events("k8s.pod != '' AND rcode = 'SERVFAIL'")],
                        overrides: [column("ratio", "percentunit", FAILURES)],
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.k8s}.namespace AS namespace, ${t.k8s}.pod AS pod, any(${t.node}) AS host, count() AS queries, countIf(${chFailed}) AS failed,
                   failed / queries AS ratio, countIf(${t.rcode} = 'NXDOMAIN') AS nxdomain, topKIf(1)(${t.qname}, ${chFailed}) AS example
                 FROM dns_transactions WHERE ${FILTER} AND ${t.k8s}.pod != '' GROUP BY namespace, pod HAVING failed > 0 ORDER BY failed DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
                [
                    6,
                    series({
                        title: "Failed queries by node",
                        description:
                            "Share of failed queries by node. One node alone has a network problem of its own (cable, driver, firewall, a full conntrack table); all nodes: the resolver.",
                        unit: "percentunit",
                        bounds: FAILURES,
                        links: [
                            runbook("runbooks/timeout"),
                            next("noc"),
                            events(`${chMatches(t.node, "node")} AND status = 'timeout'`),
                        ],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, ${t.node}, countIf(${chFailed}) / count() AS failing FROM dns_transactions
                 WHERE ${FILTER} GROUP BY time, ${t.node} HAVING count() >= 5 ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Wasted queries",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Wasted queries by pod",
                        description:
                            "Share of query messages that contributed nothing: search lists, retries, duplicates. ndots:5 wastes four of five for external names: end them with a " +
                            "dot, or set ndots in the pod's dnsConfig. Needs the stream lookups.",
                        unit: "percentunit",
                        max: 1,
                        bounds: WASTE,
                        links: [runbook("lookups"), next("noc"), events("endsWith(qname, '.cluster.local')")],
                        targets: [
                            prometheus(
                                `topk(10, sum by (namespace, pod, container_id) (rate(${m.dnscribe_lookup_wasted_queries_total}{instance=~"$instance"}[$__rate_interval]))
                 / sum by (namespace, pod, container_id) (rate(${m.dnscribe_lookup_queries_total}{instance=~"$instance"}[$__rate_interval])) > 0)`,
                                "{{namespace}}/{{pod}} {{container_id}}",
                            ),
                        ],
                    }),
                ],
                [
                    16,
                    table({
                        title: "Names from search lists",
                        description:
                            "Queries for names below cluster.local that do not exist, by workload: what ndots costs. The example shows the external name that was meant.",
                        unit: "short",
                        links: [
                            runbook("lookups"),
                            next("noc"),
                            events("endsWith(qname, '.cluster.local') AND rcode = 'NXDOMAIN'"),
                        ],
                        overrides: [column("ratio", "percentunit", WASTE)],
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.k8s}.namespace AS namespace, ${t.k8s}.workload AS workload, ${t.process}.comm AS process,
                   countIf(endsWith(${t.qname}, '.cluster.local') AND ${t.rcode} = 'NXDOMAIN') AS wasted, count() AS queries, wasted / queries AS ratio,
                   anyIf(${t.qname}, endsWith(${t.qname}, '.cluster.local') AND ${t.rcode} = 'NXDOMAIN') AS example
                 FROM dns_transactions WHERE ${FILTER} GROUP BY namespace, workload, process HAVING wasted > 0 ORDER BY wasted DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Noisy neighbours, and nodes that lose",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Queries by pod",
                        description:
                            "Queries a second of the ten pods with most. One that stands out starves the others of the node's cache and of conntrack entries: give it a cache of its own, " +
                            "or find the loop.",
                        unit: "reqps",
                        links: [runbook("runbooks/query-rate"), next("noc"), events("k8s.pod != ''")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, concat(${t.k8s}.namespace, '/', ${t.k8s}.pod) AS name, count() / $__interval_s AS queries FROM dns_transactions
                 WHERE ${FILTER} AND ${t.k8s}.pod != '' AND concat(${t.k8s}.namespace, '/', ${t.k8s}.pod) IN (
                   SELECT concat(${t.k8s}.namespace, '/', ${t.k8s}.pod) FROM dns_transactions WHERE ${FILTER} AND ${t.k8s}.pod != ''
                   GROUP BY 1 ORDER BY count() DESC LIMIT 10)
                 GROUP BY time, name ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Lost packets by node",
                        description:
                            "Packets a second that each kernel could not hand over because the ring was full, and those sampled out under overload. Not traffic that was lost: " +
                            "what this view misses of it. Red: raise capture.ring_bytes or give the agent more CPU.",
                        unit: "cps",
                        bounds: { warning: 0.1, critical: 10 },
                        links: [runbook("pressure"), next("pipeline")],
                        targets: [
                            prometheus(
                                `sum by (instance, outcome) (rate(${m.dnscribe_packets_total}{outcome=~"lost_ring_full|sampled_out", instance=~"$instance"}[$__rate_interval]))`,
                                "{{instance}} {{outcome}}",
                            ),
                        ],
                    }),
                ],
                [
                    4,
                    stat({
                        title: "Nodes that know their pods",
                        description:
                            "Whether the Kubernetes API tells each agent of its node's pods. Red: names of pods are those last known; see dnscribe_kubernetes_errors_total for the reason.",
                        unit: "none",
                        bounds: { warning: 1, critical: 1, isLower: true },
                        mappings: [states({ "0": "last known", "1": "yes" })],
                        noValue: "not configured",
                        links: [runbook("kubernetes"), next("pipeline")],
                        targets: [prometheusNow(`min(${m.dnscribe_kubernetes_up}{instance=~"$instance"})`, "pods")],
                    }),
                ],
                [
                    4,
                    stat({
                        title: "Queries of unknown pods",
                        description:
                            "Transactions of pods a second whose names were not known. Above 0 for long: the agent may not watch pods (RBAC), or pods live for less than a second.",
                        unit: "cps",
                        bounds: NONE,
                        noValue: "not configured",
                        links: [runbook("kubernetes"), next("pipeline")],
                        targets: [
                            prometheusNow(
                                `sum(rate(${m.dnscribe_kubernetes_transactions_total}{outcome="unnamed", instance=~"$instance"}[$__rate_interval]))`,
                                "unnamed",
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
);
