// Operations: is DNS healthy, where not, since when, and what changed then?
import { board, events, next, runbook } from "../board.js";
import {
    ABOUT_CHOSEN,
    alerts,
    failuresNow,
    FAILURES,
    firing,
    LATENCY_MS,
    resolverStates,
    whatChanged,
} from "../common.js";
import { dns_fleet as f, dns_transactions as t } from "../names.js";
import { column, lights, matrix, series, stat, table, TIME } from "../panels.js";
import {
    chMatches,
    clickhouse,
    failed,
    failureRatio,
    grouped,
    MINUTES,
    queryRate,
    timescaledb,
    windows,
} from "../sources.js";

const SECURITY =
    "tunnel|dga|spoofing|cache_poisoning|amplification|resolver_bypass|encrypted_bypass|zone_hijack|zone_new_source|client_fanout";

/** Condition: the kernel of the agent's host discarded a message of the transaction. */
const LOST = `${t.lost_at}.stage != ''`;
const OF_LOST = `$__timeFilter(${t.ts}) AND ${t.vantage} = '$vantage' AND ${LOST} AND ${chMatches(t.resolver, "resolver")} AND ${chMatches(t.zone, "zone")}`;
/** What each stage points to, as docs/runbooks/local-loss.md has it. */
const STAGES = {
    netfilter: "a rule, or conntrack",
    policy: "Cilium, XDP or another program",
    routing: "no route, or rp_filter",
    neighbour: "the next hop is silent",
    queue: "a limit of traffic control",
    device: "the interface",
    checksum: "damaged packets",
};
const MEANING = `multiIf(stage = 'socket' AND message = 'query', 'the server does not read', stage = 'socket', 'the client does not read', ${Object.entries(
    STAGES,
)
    .map(([stage, means]) => `stage = '${stage}', '${means}'`)
    .join(", ")}, 'see the reason')`;

export const noc = board(
    "noc",
    "Is DNS healthy? The first row answers it; below it where not, since when, and what changed then.",
    ["resolver", "zone"],
    [
        {
            title: "Is DNS healthy?",
            height: 7,
            panels: [
                [
                    4,
                    failuresNow([
                        runbook("runbooks/success-ratio"),
                        next("slo"),
                        events("status IN ('timeout', 'icmp_error')"),
                    ]),
                ],
                [
                    4,
                    firing(
                        "Alerts that fire",
                        "Alerts of nodes, fleet and probes that fire at the end of the time range, of any vantage, without those of the security board. " +
                            "Red: begin with the alert that started first.",
                        `rule !~ '^(${SECURITY})$' AND ${ABOUT_CHOSEN}`,
                        [runbook("runbooks/README"), next("slo")],
                    ),
                ],
                [
                    4,
                    stat({
                        title: "Undercounted windows",
                        description:
                            "Share of windows in which some node counted less than it saw: its capture began or ended, it sampled under overload, or its tables were full. " +
                            "Red: numbers of this board are too low; see the pipeline board for the node and the reason.",
                        unit: "percentunit",
                        decimals: 1,
                        bounds: { warning: 0.05, critical: 0.2 },
                        links: [runbook("runbooks/losses"), next("pipeline")],
                        noValue: "no queries",
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT avg((${f.partial} OR ${f.undercounted} OR coalesce(${f.sample_ratio}, 1) < 1)::int)::float8 AS share
                 FROM dns_fleet WHERE ${windows("all")}`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    lights({
                        title: "Resolvers",
                        description:
                            "Each resolver over time. Failing: 5 % of queries or more without an answer or with SERVFAIL. Getting worse: 1 %, or the 95th " +
                            "percentile of latency is over 100 ms and twice its median of the time range. Minutes with fewer than 5 queries are left out. " +
                            "Red: fail over, then look at what changed when it began.",
                        unit: "none",
                        links: [
                            runbook("runbooks/resolver-failing"),
                            next("probes"),
                            events(`${chMatches(t.resolver, "resolver")} AND status = 'timeout'`),
                        ],
                        targets: [resolverStates],
                    }),
                ],
            ],
        },
        {
            title: "Traffic",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Queries by resolver",
                        description:
                            "Queries a second, all nodes together. A sudden fall is an outage in front of the resolver or of the agents; a sudden rise is a loop, " +
                            "a release or a flood: the table of names below says which.",
                        unit: "reqps",
                        links: [
                            runbook("runbooks/query-rate"),
                            next("kubernetes"),
                            events(chMatches(t.resolver, "resolver")),
                        ],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${f.resolver} AS metric, ${queryRate} AS "queries"
                 FROM dns_fleet WHERE ${windows("resolver")} GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Outcomes",
                        description:
                            "Answers by response code, and queries without an answer, a second. Growing NXDOMAIN points to a wrong name in a release or to " +
                            "generated names; SERVFAIL to the zone's servers or DNSSEC; no answer to the network or the resolver; an ICMP error to a resolver that does not run.",
                        unit: "reqps",
                        isStacked: true,
                        links: [runbook("runbooks/nxdomain"), next("security"), events("rcode NOT IN ('', 'NOERROR')")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${[
                                    "noerror",
                                    "nxdomain",
                                    "servfail",
                                    "refused",
                                    "timeout",
                                    "icmp_error",
                                ]
                                    .map(
                                        (name) =>
                                            `sum(${f[name as "noerror"]}) * 1000.0 / greatest($__interval_ms, 60000) AS "${name}"`,
                                    )
                                    .join(", ")}
                 FROM dns_fleet WHERE ${windows("all")} GROUP BY 1 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Failing queries by zone",
                        description:
                            "Share of failed queries of the ten zones with most failures. One red zone at all resolvers: its own servers or signatures; many zones " +
                            "at one resolver: the resolver.",
                        unit: "percentunit",
                        bounds: FAILURES,
                        links: [
                            runbook("runbooks/zone-failing"),
                            next("slo"),
                            events(`${chMatches(t.zone, "zone")} AND rcode = 'SERVFAIL'`),
                        ],
                        targets: [
                            timescaledb(
                                "time_series",
                                `WITH worst AS (
                   SELECT ${f.zone} FROM dns_fleet WHERE ${windows("zone")}
                   GROUP BY 1 HAVING sum(${failed}) > 0 ORDER BY sum(${failed}) DESC LIMIT 10
                 )
                 SELECT $__timeGroupAlias(${f.ts}, $__interval), ${f.zone} AS metric, ${failureRatio} AS "failing"
                 FROM dns_fleet JOIN worst USING (${f.zone}) WHERE ${windows("zone")} GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Latency and cache",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Latency by resolver",
                        description:
                            "Median, 95th and 99th percentile of each minute, from merged sketches: the highest minute of each step is shown, never an average of " +
                            "percentiles. Red: compare with the cache hits beside it; cold caches and slow upstream servers look alike otherwise.",
                        unit: "ms",
                        bounds: LATENCY_MS,
                        links: [runbook("runbooks/resolver-slow"), next("probes"), events("latency_ms > 100")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${f.resolver} AS metric, max(${f.latency_ms_p50}) AS "p50",
                   max(${f.latency_ms_p95}) AS "p95", max(${f.latency_ms_p99}) AS "p99"
                 FROM dns_fleet WHERE ${windows("resolver")} AND ${f.latency_ms_p50} IS NOT NULL GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    matrix(
                        {
                            title: "Latency by resolver and zone",
                            description:
                                "95th percentile in milliseconds of the zones with most queries, by resolver: 60 pairs at most. A red row is a slow zone, a red column a slow resolver.",
                            unit: "ms",
                            decimals: 0,
                            bounds: LATENCY_MS,
                            links: [runbook("runbooks/latency"), next("slo"), events("latency_ms > 100")],
                            targets: [
                                clickhouse(
                                    "table",
                                    `SELECT ${t.zone}, ${t.resolver}, quantile(0.95)(${t.latency_ms}) AS p95_ms
                   FROM dns_transactions
                   WHERE $__timeFilter(${t.ts}) AND ${t.latency_ms} IS NOT NULL AND ${t.zone} != '' AND ${t.vantage} = '$vantage'
                     AND ${chMatches(t.resolver, "resolver")} AND ${chMatches(t.zone, "zone")}
                   GROUP BY ${t.zone}, ${t.resolver} ORDER BY sum(count()) OVER (PARTITION BY ${t.zone}) DESC, ${t.zone}, ${t.resolver} LIMIT 60`,
                                ),
                            ],
                        },
                        t.zone,
                        t.resolver,
                        "p95_ms",
                    ),
                ],
                [
                    8,
                    series({
                        title: "Cache hits",
                        description:
                            "Share of answers from the cache of each resolver with an agent beside it, of any vantage, inferred from its own queries meanwhile. A fall after a restart " +
                            "recovers within minutes; one that lasts is a flood of new names (random subdomains) or TTLs that somebody shortened.",
                        unit: "percentunit",
                        max: 1,
                        bounds: { warning: 0.5, critical: 0.2, isLower: true },
                        links: [runbook("correlation"), next("security"), events("cache = 'miss'")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${f.resolver} AS metric,
                   sum(${f.cache_hits})::float8 / nullif(sum(${f.cache_hits} + ${f.cache_misses}), 0) AS "cache hits"
                 FROM dns_fleet WHERE $__timeFilter(${f.ts}) AND ${MINUTES} AND ${grouped("resolver", undefined, "true")}
                 GROUP BY 1, 2 HAVING sum(${f.cache_hits} + ${f.cache_misses}) > 0 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Names that do not exist",
            height: 9,
            panels: [
                [
                    24,
                    table({
                        title: "Who asks for names that do not exist",
                        description:
                            "NXDOMAIN by zone, network of the client, process and pod: the 50 with most. A new process at the top after a release has a wrong name " +
                            "in its configuration; random names of one client are generated (DGA).",
                        unit: "short",
                        sortBy: "nxdomain",
                        links: [runbook("runbooks/zone-nxdomain"), next("kubernetes"), events("rcode = 'NXDOMAIN'")],
                        overrides: [column("ratio", "percentunit", { warning: 0.2, critical: 0.5 })],
                        widths: {
                            zone: 190,
                            clients: 150,
                            process: 120,
                            namespace: 120,
                            pod: 200,
                            nxdomain: 95,
                            ratio: 80,
                            names: 80,
                        },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.zone}, if(position(${t.client_ip}, ':') > 0, concat(arrayStringConcat(arraySlice(splitByChar(':', ${t.client_ip}), 1, 3), ':'), '::/48'),
                     concat(arrayStringConcat(arraySlice(splitByChar('.', ${t.client_ip}), 1, 3), '.'), '.0/24')) AS clients,
                   ${t.process}.comm AS process, ${t.k8s}.namespace AS namespace, ${t.k8s}.pod AS pod,
                   countIf(${t.rcode} = 'NXDOMAIN') AS nxdomain, nxdomain / count() AS ratio, uniq(${t.qname}) AS names, anyIf(${t.qname}, ${t.rcode} = 'NXDOMAIN') AS example
                 FROM dns_transactions
                 WHERE $__timeFilter(${t.ts}) AND ${t.vantage} = '$vantage' AND ${chMatches(t.zone, "zone")} AND ${chMatches(t.resolver, "resolver")}
                 GROUP BY ${t.zone}, clients, process, namespace, pod HAVING nxdomain > 0 ORDER BY nxdomain DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Messages that the kernel discarded",
            height: 8,
            panels: [
                [
                    8,
                    series({
                        title: "Lost messages",
                        description:
                            "Transactions whose query or response the kernel of an agent's own host discarded, by stage and reason. The resolver is innocent of these. Needs agents with " +
                            "capture.path: true; a query that died elsewhere is a timeout without a reason.",
                        unit: "short",
                        isBars: true,
                        noValue: "none, or no agent with capture.path",
                        links: [runbook("lost"), next("uses"), events(LOST)],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, concat(${t.lost_at}.stage, ': ', ${t.lost_at}.reason) AS reason, count() AS transactions FROM dns_transactions
                 WHERE ${OF_LOST} GROUP BY time, reason ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    16,
                    table({
                        title: "Where queries and answers die",
                        description:
                            "Lost messages by host, stage and reason: the 100 with most. One host: its rules, conntrack or neighbours; all hosts since a change: the rule that was rolled out. " +
                            "The column means says what to read next; the runbook has the commands.",
                        unit: "short",
                        sortBy: "transactions",
                        noValue: "none, or no agent with capture.path",
                        links: [runbook("runbooks/local-loss"), next("kubernetes"), events(LOST)],
                        overrides: [column("first", TIME), column("last", TIME)],
                        widths: {
                            host: 90,
                            message: 80,
                            stage: 80,
                            hook: 85,
                            transactions: 100,
                            clients: 70,
                            process: 90,
                            first: 60,
                            last: 60,
                        },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.node} AS host, ${t.lost_at}.message AS message, ${t.lost_at}.stage AS stage, ${t.lost_at}.hook AS hook, ${t.lost_at}.reason AS reason,
                   ${MEANING} AS means, count() AS transactions, uniq(${t.client_ip}) AS clients, topK(1)(${t.process}.comm)[1] AS process,
                   min(${t.ts}) AS first, max(${t.ts}) AS last FROM dns_transactions
                 WHERE ${OF_LOST} GROUP BY host, message, stage, hook, reason ORDER BY transactions DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "What changed, and what fired then",
            height: 10,
            panels: [
                [7, whatChanged()],
                [
                    17,
                    alerts(
                        "Alerts",
                        "Alerts of the time range, of any vantage, without those of the security board, newest first. The one that started first is nearest to the cause.",
                        `rule !~ '^(${SECURITY})$' AND severity <> 'info' AND ${ABOUT_CHOSEN}`,
                        [runbook("runbooks/README"), next("slo")],
                    ),
                ],
            ],
        },
    ],
);
