// Traffic: what is asked, by whom, how, and is it as usual?
import { board, events, next, runbook } from "../board.js";
import { FAILURES, LATENCY_MS } from "../common.js";
import { dns_fleet as f, dns_traffic_1m as d, dns_transactions as t } from "../names.js";
import { column, heatMap, series, table } from "../panels.js";
import { chMatches, clickhouse, grouped, MINUTES, queryRate, timescaledb, windows } from "../sources.js";

const MATCHES = chMatches(t.resolver, "resolver");
/** Windows of the chosen resolvers. */
const WINDOWS = windows("all", ["resolver"]);
/** Counters of dns_traffic_1m with each transaction counted once. */
const TRAFFIC = `(SELECT ${d.minute}, ${d.region}, ${d.transport}, ${d.latency_bin}, uniqCombined64Merge(12)(${d.transactions}) AS n,
       uniqCombined64Merge(12)(${d.failures}) AS failed, uniqCombined64Merge(12)(${d.truncated}) AS tc
     FROM dns_traffic_1m WHERE $__timeFilter(${d.minute}) AND ${d.vantage} = '$vantage' AND ${chMatches(d.resolver, "resolver")}
     GROUP BY ${d.minute}, ${d.region}, ${d.resolver}, ${d.transport}, ${d.latency_bin})`;

/** Upper bound of a bin of latencies in milliseconds, as stores/clickhouse/006_traffic.sql makes them. */
function bound(bin: number): number {
    return (1.01 / 0.99) ** (16 * bin);
}

/** Rows of the heat map, two bins each, from 0.15 ms to 15 s: what is below and above is in the first and last. */
const HEAT_ROWS = Array.from({ length: 19 }, (_, index) => {
    const [low, high] = [2 * index - 7, 2 * index - 6];
    const least = index === 0 ? -999 : low;
    const most = index === 18 ? 1000 : high;
    return `sumIf(n, ${d.latency_bin} BETWEEN ${String(least)} AND ${String(most)}) AS "${String(Number(bound(high).toPrecision(2)))} ms"`;
});

/** Quantile of sizes: the middle of its bin, as stores/clickhouse/014_bins.sql makes them. */
function size(share: number): string {
    return `pow(1.01 / 0.99, 4 * quantileExactWeighted(${String(share)})(bin, n) - 2)`;
}

/** The ten most frequent values of each window, added up. */
function top(list: string, name: string): string {
    return `SELECT one ->> 'value' AS "${name}", sum((one ->> 'lower')::float8) AS queries
         FROM dns_fleet, jsonb_array_elements(${list}) AS one WHERE ${WINDOWS} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20`;
}

export const traffic = board(
    "traffic",
    "What is asked, by whom, and is it as usual? The first row answers it; below it names, clients, types, transport, sizes and latency.",
    ["resolver"],
    [
        {
            title: "Is it as usual, everywhere?",
            height: 8,
            panels: [
                [
                    12,
                    series({
                        title: "Queries, today and a week ago",
                        description:
                            "Queries a second, and those of the same time a week before. Apart for an hour: look at the names below for what is new or gone. " +
                            "A week ago is empty until windows are that old.",
                        unit: "reqps",
                        links: [runbook("runbooks/query-rate"), next("noc"), events(MATCHES)],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${queryRate} AS "now" FROM dns_fleet WHERE ${WINDOWS} GROUP BY 1 ORDER BY 1`,
                            ),
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts} + INTERVAL '7 days', $__interval), ${queryRate} AS "a week ago" FROM dns_fleet
                 WHERE ${f.ts} BETWEEN $__timeFrom()::timestamptz - INTERVAL '7 days' AND $__timeTo()::timestamptz - INTERVAL '7 days'
                   AND ${MINUTES} AND ${grouped("all", ["resolver"])} GROUP BY 1 ORDER BY 1`,
                                "B",
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    table({
                        title: "Sites side by side",
                        description:
                            "Each site (the region of its agents) in the time range. One red site: its network or its resolvers; all: what they share. The 95th percentile is the upper " +
                            "bound of a bin, at most 38 % above the true value.",
                        unit: "short",
                        links: [runbook("runbooks/zone-failing-site"), next("probes"), events(MATCHES)],
                        overrides: [
                            column("failing", "percentunit", FAILURES),
                            column("p95", "ms", LATENCY_MS),
                            column("truncated", "percentunit", { warning: 0.05, critical: 0.2 }),
                        ],
                        widths: { queries: 110, failing: 110, p95: 110, truncated: 110 },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT if(${d.region} = '', 'none', ${d.region}) AS site, sum(n) AS queries, sum(failed) / queries AS failing,
                   round(pow(1.01 / 0.99, 16 * quantileExactWeightedIf(0.95)(${d.latency_bin}, n, ${d.latency_bin} > -1000)), 1) AS p95, sum(tc) / queries AS truncated
                 FROM ${TRAFFIC} GROUP BY site ORDER BY queries DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Names and clients",
            height: 10,
            panels: [
                [
                    12,
                    table({
                        title: "Top names",
                        description:
                            "Names that were asked for most. The sum of the ten most frequent of each minute, so at least that many queries: a name that is never among the ten " +
                            "is missing. A new name at the top: ask the owner of the client beside it. Windows of one resolver have no such list.",
                        unit: "short",
                        noValue: "no list by resolver: choose All",
                        sortBy: "queries",
                        links: [runbook("runbooks/query-rate"), next("security"), events(MATCHES)],
                        widths: { queries: 110 },
                        targets: [timescaledb("table", top(f.top_qnames, "name"))],
                    }),
                ],
                [
                    12,
                    table({
                        title: "Top clients",
                        description:
                            "Clients that asked most, counted as the names are. One far above the others is a loop, a scanner, or a forwarder whose clients this view does not see. Not by resolver.",
                        unit: "short",
                        noValue: "no list by resolver: choose All",
                        sortBy: "queries",
                        links: [runbook("runbooks/client-fanout"), next("kubernetes"), events(MATCHES)],
                        widths: { queries: 110 },
                        targets: [timescaledb("table", top(f.top_clients, "client"))],
                    }),
                ],
            ],
        },
        {
            title: "Types, transport and truncation",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Query types",
                        description:
                            "Queries a second by type. Much TXT or NULL is a tunnel or a scanner, much ANY amplification, much PTR a log that resolves addresses.",
                        unit: "reqps",
                        isStacked: true,
                        links: [runbook("runbooks/tunnel"), next("security"), events(MATCHES)],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), one.key AS metric,
                   sum(one.value::float8) * 1000.0 / greatest($__interval_ms, 60000) AS "queries"
                 FROM dns_fleet, jsonb_each_text(${f.qtypes}) AS one WHERE ${WINDOWS} GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Transport",
                        description:
                            "Transactions a second over UDP and TCP. More TCP after a change: answers have grown, or a firewall drops fragments. Encrypted DNS is not in it: " +
                            "its messages cannot be read.",
                        unit: "reqps",
                        isStacked: true,
                        links: [runbook("capture"), next("pipeline"), events("transport = 'tcp'")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${d.minute}) AS time, ${d.transport}, sum(n) / greatest($__interval_s, 60) AS queries
                 FROM ${TRAFFIC} GROUP BY time, ${d.transport} ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Truncation, TCP and retries",
                        description:
                            "Shares of queries whose answer was truncated (TC bit), that were asked again over TCP, and that were repeated because no answer came. " +
                            "Truncated without TCP after it: port 53 over TCP is blocked.",
                        unit: "percentunit",
                        bounds: { warning: 0.05, critical: 0.2 },
                        links: [runbook("correlation"), next("noc"), events("has(flags, 'tc')")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${[
                                    [f.truncated, "truncated"],
                                    [f.tcp_fallbacks, "asked again over TCP"],
                                    [f.retries, "retries"],
                                ]
                                    .map(
                                        ([name = "", title = ""]) =>
                                            `sum(${name})::float8 / nullif(sum(${f.queries}), 0) AS "${title}"`,
                                    )
                                    .join(", ")}
                 FROM dns_fleet WHERE ${WINDOWS} GROUP BY 1 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Sizes and latency",
            height: 9,
            panels: [
                [
                    10,
                    series({
                        title: "Response sizes",
                        description:
                            "Median, 95th and 99th percentile of response sizes. Above 1,232 bytes UDP answers fragment on some paths; a sudden growth is DNSSEC, a large TXT record, " +
                            "or amplification.",
                        unit: "bytes",
                        links: [runbook("runbooks/amplification"), next("security"), events("response_bytes > 1232")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT time, ${[0.5, 0.95, 0.99].map((share) => `round(${size(share)}) AS p${String(100 * share)}`).join(", ")} FROM (
                   SELECT $__timeInterval(${d.minute}) AS time, uniqCombined64MapMerge(12)(${d.size_bins}) AS bins FROM dns_traffic_1m
                   WHERE $__timeFilter(${d.minute}) AND ${d.vantage} = '$vantage' AND ${chMatches(d.resolver, "resolver")} GROUP BY time)
                 ARRAY JOIN mapKeys(bins) AS bin, mapValues(bins) AS n GROUP BY time ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    14,
                    heatMap({
                        title: "Latency",
                        description:
                            "Answered queries by their latency, the darker the more; rows are bins of the agents' sketches, 32 of them together. Two bands are normal: the cache below, " +
                            "upstream servers above. The upper band thick or rising: the cache is cold or upstream is slow; all of it rising: the resolver is.",
                        unit: "short",
                        links: [runbook("runbooks/latency"), next("noc"), events("latency_ms > 100")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${d.minute}) AS time, ${HEAT_ROWS.join(",\n                   ")}
                 FROM ${TRAFFIC} GROUP BY time ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
);
