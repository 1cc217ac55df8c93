// Which pods fail? For those who have a Prometheus that scrapes the agents, and nothing else.
import { board, runbook, standalone } from "../board.js";
import { FAILURES, NONE } from "../common.js";
import { metric as m } from "../names.js";
import { type Base, column, heatMap, merged, series, stat, states } from "../panels.js";
import { prometheus, prometheusBuckets, prometheusNow, prometheusTable } from "../sources.js";

/** Outcomes with which a query failed for its pod, as docs/metrics.md has them. NXDOMAIN is an answer. */
const KINDS = ["timeout", "unreachable", "servfail", "refused", "error"] as const;
const FAILED = `outcome=~"${KINDS.join("|")}"`;
/** Pods of a table. */
const ROWS = 50;
/** Lines of a panel. */
const LINES = 10;
/** Latency of a workload's 99th percentile in seconds. */
const LATENCY_SECONDS = { warning: 0.1, critical: 0.5 };
/** Share of queries that no pod's name is known of. */
const UNNAMED = { warning: 0.01, critical: 0.1 };

const PODS = `namespace=~"$namespace", pod=~"$pod", instance=~"$instance"`;

/** Queries a second of the chosen pods. */
const rate = (by: string, more = ""): string =>
    `sum by (${by}) (rate(${m.dns_pod_transactions_total}{${PODS}${more === "" ? "" : `, ${more}`}}[$__rate_interval]))`;
const failed = (by: string): string => rate(by, FAILED);
const share = (by: string): string => `${failed(by)} / (${rate(by)} > 0)`;

const POD = "namespace, pod";
/** The pods of the table. */
const WORST = `topk(${String(ROWS)}, ${failed(POD)} > 0)`;
const ofWorst = (expr: string): string => `${expr} and on (${POD}) ${WORST}`;

/** Growth of the buckets of the workloads that the chosen pods belong to, on their nodes. */
const buckets = (by: string): string =>
    `sum by (${by}) (rate(${m.dns_pod_transaction_duration_seconds_bucket}{namespace=~"$namespace", instance=~"$instance"}[$__rate_interval])
     and on (instance, namespace, workload) ${m.dns_pod_transactions_total}{${PODS}})`;
const quantile = (share: number): string =>
    `histogram_quantile(${String(share)}, ${buckets("namespace, workload, le")}) > 0`;

const AGENT = `instance=~"$instance"`;
const UP = `up{job="dnscribe", ${AGENT}}`;

const links: Base["links"] = [runbook("pods")];

export const pods = standalone(
    board(
        "pods",
        "Which pods fail? The first row answers it; below it how, where and how slowly, and what this board cannot know. Needs a Prometheus that scrapes the " +
            "agents, and nothing else.",
        ["namespace", "pod", "instance"],
        [
            {
                title: "Which pods fail?",
                height: 9,
                panels: [
                    [
                        4,
                        stat({
                            title: "Pods that fail",
                            description:
                                "Pods of which 5 % of the queries or more fail now: no answer, unreachable, SERVFAIL, REFUSED or another error. NXDOMAIN is an answer. Red: " +
                                "the list beside it. Pods of one workload: its names or its dnsPolicy. Pods of one node: its network. All: the cluster's resolver.",
                            unit: "short",
                            bounds: { warning: 1, critical: 5 },
                            links,
                            targets: [
                                prometheusNow(
                                    `count(${share(POD)} >= ${String(FAILURES.critical)}) or vector(0)`,
                                    "pods",
                                ),
                            ],
                        }),
                    ],
                    [
                        20,
                        merged(
                            {
                                title: "Failing pods",
                                description:
                                    `The ${String(ROWS)} pods with most failed queries now, and how they failed. Timeout: nobody answers; look at network policies and at the resolver. ` +
                                    "Unreachable: no process listens there. Refused: the resolver does not serve this client. SERVFAIL: the resolver cannot answer.",
                                unit: "reqps",
                                decimals: 2,
                                sortBy: "failed",
                                links,
                                noValue: "0",
                                overrides: [column("share", "percentunit", FAILURES)],
                                widths: { namespace: 110 },
                            },
                            ["namespace", "pod"],
                            [
                                { name: "queries", target: prometheusTable("A", ofWorst(rate(POD))) },
                                { name: "failed", target: prometheusTable("B", WORST) },
                                { name: "share", target: prometheusTable("C", ofWorst(`(${share(POD)})`)) },
                                ...KINDS.map((kind, index) => ({
                                    name: kind,
                                    target: prometheusTable(
                                        String.fromCharCode(68 + index),
                                        ofWorst(`(${rate(POD, `outcome="${kind}"`)} > 0)`),
                                    ),
                                })),
                            ],
                        ),
                    ],
                ],
            },
            {
                title: "How, and where?",
                height: 8,
                panels: [
                    [
                        8,
                        series({
                            title: "Failures by outcome",
                            description:
                                "Failed queries a second of the chosen pods by how they failed. One kind alone has one cause; timeouts that begin together in all " +
                                "namespaces are the resolver's or the network's.",
                            unit: "reqps",
                            isStacked: true,
                            links,
                            targets: [prometheus(failed("outcome"), "{{outcome}}")],
                        }),
                    ],
                    [
                        8,
                        series({
                            title: "Failing queries by namespace",
                            description: `Share of failed queries of the ${String(LINES)} namespaces where it is highest. One namespace: its policies and names; all: the resolver.`,
                            unit: "percentunit",
                            bounds: FAILURES,
                            links,
                            targets: [
                                prometheus(
                                    `topk(${String(LINES)}, ${share("namespace")} or 0 * ${rate("namespace")})`,
                                    "{{namespace}}",
                                ),
                            ],
                        }),
                    ],
                    [
                        8,
                        series({
                            title: "Queries by namespace",
                            description: `Queries a second of the ${String(LINES)} namespaces with most. A step up is a release or a loop, a step down a client that is gone.`,
                            unit: "reqps",
                            links,
                            targets: [prometheus(`topk(${String(LINES)}, ${rate("namespace")})`, "{{namespace}}")],
                        }),
                    ],
                ],
            },
            {
                title: "How slow?",
                height: 8,
                panels: [
                    [
                        8,
                        series({
                            title: "Slowest workloads",
                            description:
                                `99th percentile of the time from query to response of the ${String(LINES)} slowest workloads, those of the chosen pods. Red: the names of that workload are not ` +
                                "in the resolver's cache, or the resolver is overloaded. Timeouts have no response and are not in it.",
                            unit: "s",
                            bounds: LATENCY_SECONDS,
                            links,
                            targets: [
                                prometheus(`topk(${String(LINES)}, ${quantile(0.99)})`, "{{namespace}}/{{workload}}"),
                            ],
                        }),
                    ],
                    [
                        8,
                        merged(
                            {
                                title: "Latency by workload",
                                description:
                                    "Quantiles of the time from query to response now, by workload of the chosen pods; bare pods have no workload. They are as exact as the " +
                                    "histogram's bounds: 1, 2.5, 5, 10, 25 ms and so on.",
                                unit: "s",
                                sortBy: "p99",
                                links,
                                overrides: [column("p99", "s", LATENCY_SECONDS)],
                            },
                            ["namespace", "workload"],
                            [
                                { name: "p50", target: prometheusTable("A", quantile(0.5)) },
                                { name: "p95", target: prometheusTable("B", quantile(0.95)) },
                                { name: "p99", target: prometheusTable("C", quantile(0.99)) },
                            ],
                        ),
                    ],
                    [
                        8,
                        heatMap({
                            title: "Latency of all chosen workloads",
                            description:
                                "Responses a second by the time that they took. Two bands are the resolver's cache and what it has to fetch; a third one in whole seconds is " +
                                "retries after a loss.",
                            unit: "s",
                            links,
                            targets: [prometheusBuckets(buckets("le"))],
                        }),
                    ],
                ],
            },
            {
                title: "Who asks most?",
                height: 8,
                panels: [
                    [
                        12,
                        series({
                            title: "Queries by pod",
                            description: `Queries a second of the ${String(LINES)} pods with most. One that stands out takes the resolver's time from the others: find the loop, or give it a cache.`,
                            unit: "reqps",
                            links,
                            targets: [prometheus(`topk(${String(LINES)}, ${rate(POD)})`, "{{namespace}}/{{pod}}")],
                        }),
                    ],
                    [
                        12,
                        series({
                            title: "Names that do not exist, by pod",
                            description:
                                `NXDOMAIN a second of the ${String(LINES)} pods with most. Search lists: with ndots:5, an external name costs some of them; end it with a dot. A step up after ` +
                                "a deployment: a wrong name in its configuration.",
                            unit: "reqps",
                            links,
                            targets: [
                                prometheus(
                                    `topk(${String(LINES)}, ${rate(POD, 'outcome="nxdomain"')})`,
                                    "{{namespace}}/{{pod}}",
                                ),
                            ],
                        }),
                    ],
                ],
            },
            {
                title: "Where do messages die?",
                height: 7,
                panels: [
                    [
                        10,
                        series({
                            title: "Lost messages",
                            description:
                                "DNS messages a second that the kernels of the nodes discarded, by stage and reason, whatever pods are chosen. The resolver is innocent of these. " +
                                "Needs agents with capture.path: true. The metric has no pods: the alert local_loss, and the records, name them.",
                            unit: "cps",
                            noValue: "none, or no agent with capture.path",
                            links: [runbook("lost")],
                            targets: [
                                prometheus(
                                    `sum by (stage, reason) (rate(${m.dns_lost_messages_total}{${AGENT}}[$__rate_interval])) > 0`,
                                    "{{stage}} {{reason}}",
                                ),
                            ],
                        }),
                    ],
                    [
                        14,
                        merged(
                            {
                                title: "Lost messages by node",
                                description:
                                    "DNS messages that the kernel of each node discarded in the time range, whatever pods are chosen. One node: its rules, conntrack or neighbours. All nodes since a change: the rule " +
                                    "that was rolled out. Queries at stage socket: a resolver on the node does not read fast enough.",
                                unit: "short",
                                sortBy: "messages",
                                noValue: "none, or no agent with capture.path",
                                widths: { qr: 90, stage: 100 },
                                links: [runbook("runbooks/local-loss")],
                            },
                            ["instance", "qr", "stage", "reason"],
                            [
                                {
                                    name: "messages",
                                    target: prometheusTable(
                                        "A",
                                        `sum by (instance, qr, stage, reason) (increase(${m.dns_lost_messages_total}{${AGENT}}[$__range])) > 0`,
                                    ),
                                },
                            ],
                        ),
                    ],
                ],
            },
            {
                title: "What does this board not know?",
                height: 7,
                panels: [
                    [
                        4,
                        stat({
                            title: "Agents down",
                            description:
                                "Agents that Prometheus cannot scrape, whatever pods are chosen: the DNS of their nodes is missing here. Red: the list beside it has their nodes; " +
                                "the log of the agent's pod says why.",
                            unit: "short",
                            bounds: NONE,
                            links: [runbook("runbooks/health")],
                            targets: [prometheusNow(`count(${UP} == 0) or vector(0)`, "down")],
                        }),
                    ],
                    [
                        4,
                        stat({
                            title: "Agents without pods",
                            description:
                                "Agents that run and that the Kubernetes API does not tell of pods, whatever pods are chosen: names are those last known, or there are none. " +
                                "Red: the reason is in dnscribe_kubernetes_errors_total and in the log; most often it is RBAC.",
                            unit: "short",
                            bounds: NONE,
                            links: [runbook("kubernetes")],
                            targets: [
                                prometheusNow(
                                    `count((${UP} == 1) unless on (instance) (${m.dnscribe_kubernetes_up}{${AGENT}} == 1)) or vector(0)`,
                                    "agents",
                                ),
                            ],
                        }),
                    ],
                    [
                        4,
                        stat({
                            title: "Of unknown pods",
                            description:
                                "Share of the queries of pods whose names were not known, whatever pods are chosen: no row above has them. Above 0 for long: pods that live for less than " +
                                "a second, or an agent that may not watch pods.",
                            unit: "percentunit",
                            bounds: UNNAMED,
                            links: [runbook("kubernetes")],
                            targets: [
                                prometheusNow(
                                    `sum(rate(${m.dnscribe_kubernetes_transactions_total}{outcome="unnamed", ${AGENT}}[$__rate_interval]))
                                     / (sum(rate(${m.dnscribe_kubernetes_transactions_total}{${AGENT}}[$__rate_interval])) > 0) or vector(0)`,
                                    "unnamed",
                                ),
                            ],
                        }),
                    ],
                    [
                        4,
                        stat({
                            title: "Counted as other",
                            description:
                                "Share of the queries, whatever pods are chosen, of pods that have no series of their own, because a node has 512 already: they are in sums, as namespace and pod `other`, and not in the list. " +
                                "Above 0: a node has more pods than that within ten minutes.",
                            unit: "percentunit",
                            bounds: UNNAMED,
                            links: [runbook("metrics")],
                            targets: [
                                prometheusNow(
                                    `sum(rate(${m.dns_pod_transactions_total}{namespace="other", pod="other", ${AGENT}}[$__rate_interval]))
                                     / (sum(rate(${m.dns_pod_transactions_total}{${AGENT}}[$__rate_interval])) > 0) or vector(0)`,
                                    "other",
                                ),
                            ],
                        }),
                    ],
                    [
                        8,
                        merged(
                            {
                                title: "Agents",
                                description:
                                    "Each agent, those that are down first, whatever pods are chosen. Pods: those that it knows, the ones that ended lately included. Gave way: pods without queries for ten " +
                                    "minutes whose series made room for others in the time range. Lost: packets a second that the kernel could not hand over.",
                                unit: "short",
                                sortBy: "up",
                                isAscending: true,
                                links: [runbook("runbooks/health")],
                                overrides: [
                                    column("lost", "cps", { warning: 0.1, critical: 10 }),
                                    {
                                        ...column("up", "none", { warning: 1, critical: 1, isLower: true }),
                                        properties: [
                                            ...column("up", "none", { warning: 1, critical: 1, isLower: true })
                                                .properties,
                                            { id: "mappings", value: [states({ "0": "down", "1": "up" })] },
                                        ],
                                    },
                                ],
                            },
                            ["instance"],
                            [
                                { name: "up", target: prometheusTable("A", `max by (instance) (${UP})`) },
                                {
                                    name: "pods",
                                    target: prometheusTable(
                                        "B",
                                        `max by (instance) (${m.dnscribe_kubernetes_pods}{${AGENT}})`,
                                    ),
                                },
                                {
                                    name: "gave way",
                                    target: prometheusTable(
                                        "C",
                                        `sum by (instance) (increase(${m.dnscribe_pod_series_removed_total}{${AGENT}}[$__range]))`,
                                    ),
                                },
                                {
                                    name: "lost",
                                    target: prometheusTable(
                                        "D",
                                        `sum by (instance) (rate(${m.dnscribe_packets_total}{outcome="lost_ring_full", ${AGENT}}[$__rate_interval]))`,
                                    ),
                                },
                            ],
                        ),
                    ],
                ],
            },
        ],
    ),
);
