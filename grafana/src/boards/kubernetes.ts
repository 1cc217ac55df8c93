// Kubernetes: which pods suffer, which waste queries, and which are noisy?
import { board, events, next, runbook } from "../board.js";
import { FAILURES } from "../common.js";
import { dns_transactions as t } from "../names.js";
import { column, series, stat, table } from "../panels.js";
import { chFailed, chFinished, chMatches, clickhouse } from "../sources.js";

const FILTER = `$__timeFilter(${t.ts}) AND ${chMatches(t.node, "node")} AND ${chMatches(t.zone, "zone")} AND ${t.vantage} = '$vantage'`;
const FINISHED = `${FILTER} AND ${chFinished}`;
const WASTE = { warning: 0.3, critical: 0.6 };
const WASTED = `endsWith(${t.qname}, '.cluster.local') AND ${t.rcode} = 'NXDOMAIN'`;
const POD = `concat(${t.k8s}.namespace, '/', ${t.k8s}.pod)`;

export const kubernetes = board(
    "kubernetes",
    "Which pods suffer? The first row answers it; below it which waste queries, and which are noisy.",
    ["zone", "node"],
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
                                `SELECT count() AS pods FROM (SELECT ${t.k8s}.namespace, ${t.k8s}.pod FROM dns_transactions WHERE ${FINISHED} AND ${t.k8s}.pod != ''
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
                        widths: { namespace: 80, host: 80, queries: 75, failed: 70, ratio: 75, nxdomain: 85 },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.k8s}.namespace AS namespace, ${t.k8s}.pod AS pod, any(${t.node}) AS host, count() AS queries, countIf(${chFailed}) AS failed,
                   failed / queries AS ratio, countIf(${t.rcode} = 'NXDOMAIN') AS nxdomain, topKIf(1)(${t.qname}, ${chFailed})[1] AS example
                 FROM dns_transactions WHERE ${FINISHED} AND ${t.k8s}.pod != '' GROUP BY namespace, pod HAVING failed > 0 ORDER BY failed DESC LIMIT 50`,
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
                 WHERE ${FINISHED} GROUP BY time, ${t.node} HAVING count() >= 5 ORDER BY time`,
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
                            "Share of queries for names below cluster.local that do not exist, of the ten pods with most: what search lists cost. ndots:5 wastes four of five for " +
                            "external names: end them with a dot, or set ndots in the pod's dnsConfig.",
                        unit: "percentunit",
                        max: 1,
                        bounds: WASTE,
                        links: [runbook("lookups"), next("noc"), events("endsWith(qname, '.cluster.local')")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, ${POD} AS name, countIf(${WASTED}) / count() AS wasted FROM dns_transactions
                 WHERE ${FILTER} AND ${POD} IN (SELECT ${POD} FROM dns_transactions WHERE ${FILTER} AND ${WASTED} AND ${t.k8s}.pod != ''
                   GROUP BY 1 ORDER BY count() DESC LIMIT 10)
                 GROUP BY time, name ORDER BY time`,
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
                        widths: { namespace: 110, workload: 130, process: 110, wasted: 80, queries: 80, ratio: 80 },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.k8s}.namespace AS namespace, ${t.k8s}.workload AS workload, ${t.process}.comm AS process,
                   countIf(${WASTED}) AS wasted, count() AS queries, wasted / queries AS ratio,
                   anyIf(${t.qname}, ${WASTED}) AS example
                 FROM dns_transactions WHERE ${FILTER} GROUP BY namespace, workload, process HAVING wasted > 0 ORDER BY wasted DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Noisy neighbours",
            height: 9,
            panels: [
                [
                    12,
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
                                `SELECT $__timeInterval(${t.ts}) AS time, ${POD} AS name, count() / $__interval_s AS queries FROM dns_transactions
                 WHERE ${FILTER} AND ${t.k8s}.pod != '' AND ${POD} IN (SELECT ${POD} FROM dns_transactions WHERE ${FILTER} AND ${t.k8s}.pod != ''
                   GROUP BY 1 ORDER BY count() DESC LIMIT 10)
                 GROUP BY time, name ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Names that do not exist, by pod",
                        description:
                            "NXDOMAIN a second of the ten pods with most. One pod after a release: a wrong name in its configuration. All pods of a workload, always: its search list.",
                        unit: "reqps",
                        links: [runbook("runbooks/nxdomain"), next("noc"), events("rcode = 'NXDOMAIN'")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, ${POD} AS name, count() / $__interval_s AS nxdomain FROM dns_transactions
                 WHERE ${FILTER} AND ${t.rcode} = 'NXDOMAIN' AND ${POD} IN (
                   SELECT ${POD} FROM dns_transactions WHERE ${FILTER} AND ${t.rcode} = 'NXDOMAIN' AND ${t.k8s}.pod != ''
                   GROUP BY 1 ORDER BY count() DESC LIMIT 10)
                 GROUP BY time, name ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
);
