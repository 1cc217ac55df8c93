// Uses: which connection used which name, where it waited, and who holds on to old addresses?
import { board, connections, lookups, next, runbook } from "../board.js";
import { FAILURES, LATENCY_MS, NONE } from "../common.js";
import { dns_lookups as l, dns_uses as u } from "../names.js";
import { type Base, column, nodeGraph, series, stat, table, TIME, verdicts } from "../panels.js";
import { chBelow, chContains, chMatches, clickhouse } from "../sources.js";

/** Workload, else pod, else process and host. */
const CLIENT = `multiIf(${u.k8s}.workload != '', concat(${u.k8s}.namespace, '/', ${u.k8s}.workload), ${u.k8s}.pod != '', concat(${u.k8s}.namespace, '/', ${u.k8s}.pod),
                 concat(if(${u.process}.comm = '', 'unknown', ${u.process}.comm), ' on ', ${u.node}))`;
const OF_CLIENTS = `$__timeFilter(${u.ts}) AND ${chMatches(u.node, "node")} AND ${chContains(CLIENT, "client")}`;
const FILTER = `${OF_CLIENTS} AND ${chBelow(u.name, "zone")}`;

/** A connection that came to nothing. Of UDP, and of what the program gave up at once, nobody knows. */
const FAILED = `${u.outcome} IN ('refused', 'timeout', 'reset')`;
const KNOWN = `${u.outcome} != 'unknown'`;
/** Connections whose process had waited for a lookup just before; others used an answer that it kept. */
const FRESH = `ifNull(${u.answer_age_ms} < 1000, 0)`;
const LOOKUP_P95 = `quantileTDigestWeightedIf(0.95)(${u.lookup_ms}, ${u.count}, ${FRESH})`;
const CONNECT_P95 = `quantileTDigestWeighted(0.95)(${u.connect_ms}, ${u.count})`;
/** Later than a minute after the answer had expired. The rule stale_address needs five times the TTL, too. */
const STALE_SECONDS = 60;
const STALE = `ifNull(${u.ttl_left_ms} < -${String(STALE_SECONDS)}000, 0)`;

/** Lookups of the chosen clients and zones. One that is seen on its way, too, counts once. */
const LOOKUPS = `FROM dns_lookups WHERE ${OF_CLIENTS} AND ${chBelow(l.qname, "zone")} AND ${l.vantage} = 'client'`;
/** A lookup without an answer. How an open one ended, nobody knows. */
const LOOKUP_FAILED = `${l.outcome} NOT IN ('answered', 'nodata', 'nxdomain', 'open')`;

/** Pairs of client and name in the graph. More are a ball of wool. */
const PAIRS = 40;
const TOP = `SELECT ${CLIENT} AS client, ${u.name} AS destination, sum(${u.count}) AS number, sumIf(${u.count}, ${FAILED}) AS failed
                 FROM dns_uses WHERE ${FILTER} AND ${u.name} != '' GROUP BY client, destination ORDER BY number DESC, client, destination LIMIT ${String(PAIRS)}`;
const ofNodes = (place: "client" | "destination", subtitle: string): string =>
    `SELECT concat('${place} ', ${place}) AS id, ${place} AS title, '${subtitle}' AS subtitle, sum(number) AS mainstat,
                   if(sum(failed) > 0, concat(toString(sum(failed)), ' failed'), 'none failed') AS secondarystat,
                   sum(failed) / sum(number) AS arc__failed, 1 - arc__failed AS arc__fine
                 FROM (${TOP}) GROUP BY ${place}`;

const links = (condition: string, page = "uses"): Base["links"] => [runbook(page), next("noc"), connections(condition)];

export const uses = board(
    "uses",
    "Which connection used which name? The first row says whether a wait is DNS or the connection; below it who talks to what, and who holds on to old addresses. " +
        "Needs agents with capture.connections: true.",
    ["zone", "node"],
    [
        {
            title: "Is it DNS, or the connection?",
            height: 8,
            panels: [
                [
                    4,
                    stat({
                        title: "Failing connections",
                        description:
                            "Share of the connections whose end is known that were refused, timed out or were reset within a second. Red, while lookups are fast: it is not DNS, but the path or the host; " +
                            "the table of destinations says which.",
                        unit: "percentunit",
                        decimals: 2,
                        bounds: FAILURES,
                        links: links(FAILED),
                        noValue: "no connections",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT sumIf(${u.count}, ${FAILED}) / sumIf(${u.count}, ${KNOWN}) AS failing FROM dns_uses WHERE ${FILTER} HAVING sumIf(${u.count}, ${KNOWN}) > 0`,
                            ),
                        ],
                    }),
                ],
                [
                    4,
                    stat({
                        title: "Stale addresses",
                        description:
                            "Processes that connected to an address more than a minute after its answer had expired, each with each address. Red: they follow no failover; " +
                            "the list below has them.",
                        unit: "short",
                        bounds: NONE,
                        links: links(STALE, "runbooks/stale-address"),
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT uniqExact(${u.node}, ${u.process}.pid, ${u.name}, ${u.address}) AS stale FROM dns_uses WHERE ${FILTER} AND ${STALE}`,
                            ),
                        ],
                    }),
                ],
                [
                    4,
                    stat({
                        title: "By no name",
                        description:
                            "Share of connections to addresses that no lookup of the process gave, whatever zone is chosen: a literal address, /etc/hosts, encrypted DNS, or a lookup before the " +
                            "capture began. No policy by names covers them.",
                        unit: "percentunit",
                        decimals: 1,
                        links: links(`${u.match} = 'none'`),
                        noValue: "no connections",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT sumIf(${u.count}, ${u.match} = 'none') / sum(${u.count}) AS unnamed FROM dns_uses WHERE ${OF_CLIENTS} HAVING sum(${u.count}) > 0`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Waits: lookup and connecting",
                        description:
                            "95th percentile of what connections waited for: the lookup (of those within a second after it; others used an answer that the process kept), and the connection itself. " +
                            "The higher line is the cause. Lookup: see the resolvers; connecting: the path or the host.",
                        unit: "ms",
                        bounds: LATENCY_MS,
                        links: links(`${u.lookup_ms} > 100`),
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${u.ts}) AS time, ${LOOKUP_P95} AS lookup, ${CONNECT_P95} AS connecting
                 FROM dns_uses WHERE ${FILTER} GROUP BY time ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Who talks to what, by name",
            height: 16,
            panels: [
                [
                    24,
                    nodeGraph({
                        title: "Service map",
                        description:
                            `The ${String(PAIRS)} pairs of client and name with most connections. A client is a workload, else a pod, else a process with its host. The red part of a circle, and the words ` +
                            "beside it, are failed connections. One client that fails with all names: its node or a policy; one name that fails for all: its host.",
                        unit: "short",
                        links: links(`${u.name} != ''`),
                        arcs: { arc__failed: "red", arc__fine: "green" },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT concat(client, ' ', destination) AS id, concat('client ', client) AS source, concat('destination ', destination) AS target,
                   concat(toString(number), ' connections') AS mainstat, if(failed > 0, concat(toString(failed), ' failed'), 'none failed') AS secondarystat,
                   round(1 + log10(number), 1) AS thickness
                 FROM (${TOP})`,
                                "edges",
                            ),
                            clickhouse(
                                "table",
                                `${ofNodes("client", "client")} UNION ALL ${ofNodes("destination", "name")}`,
                                "nodes",
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Where each waits, and what fails",
            height: 9,
            panels: [
                [
                    24,
                    table({
                        title: "Destinations",
                        description:
                            "The 100 destinations with most failures, then with most connections. Verdict: fails (5 % or more; at times: 1 %; path or host), slow lookup (95th percentile of 100 ms or more: DNS), " +
                            "slow to connect (100 ms or more: path or host), else ok. Several addresses of which one fails: the name still has a host that is gone.",
                        unit: "short",
                        links: links(FAILED),
                        overrides: [
                            column("failing", "percentunit", FAILURES),
                            column("lookup_p95", "ms", LATENCY_MS),
                            column("connect_p95", "ms", LATENCY_MS),
                            verdicts("verdict", {
                                fails: "red",
                                "fails at times": "yellow",
                                "slow lookup": "yellow",
                                "slow to connect": "yellow",
                                ok: "green",
                            }),
                        ],
                        widths: {
                            process: 110,
                            verdict: 120,
                            port: 70,
                            connections: 105,
                            failing: 90,
                            refused: 80,
                            timed_out: 90,
                            reset: 70,
                            lookup_p95: 100,
                            connect_p95: 105,
                            addresses: 95,
                        },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${CLIENT} AS client, ${u.process}.comm AS process, ${u.name} AS destination, ${u.port} AS port,
                   multiIf(ifNull(failing, 0) >= ${String(FAILURES.critical)}, 'fails', ifNull(failing, 0) >= ${String(FAILURES.warning)}, 'fails at times', ifNull(lookup_p95, 0) >= ${String(LATENCY_MS.warning)}, 'slow lookup',
                     ifNull(connect_p95, 0) >= ${String(LATENCY_MS.warning)}, 'slow to connect', 'ok') AS verdict,
                   sum(${u.count}) AS connections, if(sumIf(${u.count}, ${KNOWN}) > 0, sumIf(${u.count}, ${FAILED}) / sumIf(${u.count}, ${KNOWN}), NULL) AS failing,
                   sumIf(${u.count}, ${u.outcome} = 'refused') AS refused, sumIf(${u.count}, ${u.outcome} = 'timeout') AS timed_out, sumIf(${u.count}, ${u.outcome} = 'reset') AS reset,
                   ${LOOKUP_P95} AS lookup_p95, ${CONNECT_P95} AS connect_p95, uniqExact(${u.address}) AS addresses
                 FROM dns_uses WHERE ${FILTER} AND ${u.name} != ''
                 GROUP BY client, process, destination, port ORDER BY sumIf(${u.count}, ${FAILED}) DESC, connections DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "What lookups cost (agents with the stream lookups)",
            height: 8,
            panels: [
                [
                    4,
                    stat({
                        title: "Failing lookups",
                        description:
                            "Share of the lookups of programs that ended without an answer: timeout, SERVFAIL, refused, unreachable. A lookup that a second try or another resolver answers does not fail; " +
                            "it is slow, and in the list beside it.",
                        unit: "percentunit",
                        decimals: 2,
                        bounds: FAILURES,
                        links: [runbook("lookups"), next("noc"), lookups(LOOKUP_FAILED)],
                        noValue: "no lookups",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT countIf(${LOOKUP_FAILED}) / count() AS failing ${LOOKUPS} HAVING count() > 0`,
                            ),
                        ],
                    }),
                ],
                [
                    10,
                    table({
                        title: "Longest waits by name",
                        description:
                            "The 100 names for which programs waited longest in all. Many retries: a resolver of the list does not answer. None: the resolver, or the zone behind it, is slow.",
                        unit: "short",
                        links: [runbook("lookups"), next("noc"), lookups(`${l.duration_ms} > 100`)],
                        overrides: [
                            column("waited", "s"),
                            column("p95", "ms", LATENCY_MS),
                            column("failing", "percentunit", FAILURES),
                        ],
                        widths: { lookups: 75, waited: 70, p95: 75, retries: 70, failing: 75 },
                        noValue: "no lookups",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${CLIENT} AS client, ${l.qname} AS name, count() AS lookups, round(sum(${l.duration_ms}) / 1000, 1) AS waited,
                   quantileTDigest(0.95)(${l.duration_ms}) AS p95, sum(${l.retries}) AS retries, countIf(${LOOKUP_FAILED}) / lookups AS failing
                 ${LOOKUPS} GROUP BY client, name ORDER BY waited DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
                [
                    10,
                    table({
                        title: "Asked in vain by search lists",
                        description:
                            "Questions that search lists made and nobody answered, by their domain: each delays its lookup, and loads the resolver. Write the name with a dot at its end, or lower ndots.",
                        unit: "short",
                        links: [runbook("lookups"), next("kubernetes"), lookups(`${l.search_expansions} > 0`)],
                        widths: { questions: 85, names: 65 },
                        noValue: "none",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${CLIENT} AS client, substring(tried, length(${l.qname}) + 2) AS search_domain, sum(length(${l.qtypes})) AS questions,
                   uniq(${l.qname}) AS names, any(${l.qname}) AS example
                 FROM (SELECT *, arrayJoin(${l.names_tried}) AS tried ${LOOKUPS}) WHERE startsWith(tried, concat(${l.qname}, '.')) AND tried != ${l.answered_name}
                 GROUP BY client, search_domain ORDER BY questions DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Stale addresses",
            height: 7,
            panels: [
                [
                    16,
                    table({
                        title: "Who holds on to old addresses",
                        description:
                            "Connections more than a minute after their answer had expired, those that fail first. Still answers: nobody notices until the address goes. " +
                            "Restart the process, then limit how long it keeps addresses: JVM, nginx and pools have a setting for it.",
                        unit: "short",
                        links: links(STALE, "runbooks/stale-address"),
                        overrides: [
                            column("past_ttl", "s"),
                            column("last", TIME),
                            verdicts("state", { fails: "red", "fails at times": "red", "still answers": "yellow" }),
                        ],
                        widths: {
                            process: 90,
                            address: 120,
                            state: 105,
                            past_ttl: 90,
                            connections: 100,
                            failed: 70,
                            last: 70,
                        },
                        noValue: "no process does",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${CLIENT} AS client, ${u.process}.comm AS process, ${u.name} AS destination, ${u.address} AS address,
                   multiIf(failed = connections, 'fails', failed > 0, 'fails at times', 'still answers') AS state,
                   round(max(-${u.ttl_left_ms}) / 1000) AS past_ttl, sum(${u.count}) AS connections, sumIf(${u.count}, ${FAILED}) AS failed, max(${u.last}) AS last
                 FROM dns_uses WHERE ${FILTER} AND ${STALE}
                 GROUP BY client, process, destination, address ORDER BY failed DESC, connections DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Connections to stale addresses",
                        description:
                            "Connections more than a minute after their answer had expired, of the ten clients with most. A line that begins at a failover or a migration is a client that did not follow it.",
                        unit: "short",
                        isBars: true,
                        links: links(STALE, "runbooks/stale-address"),
                        noValue: "none",
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${u.ts}) AS time, ${CLIENT} AS client, sum(${u.count}) AS connections FROM dns_uses
                 WHERE ${FILTER} AND ${STALE} AND client IN (SELECT ${CLIENT} AS client FROM dns_uses WHERE ${FILTER} AND ${STALE}
                   GROUP BY client ORDER BY sum(${u.count}) DESC LIMIT 10)
                 GROUP BY time, client ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Without a name, or by one of several",
            height: 7,
            panels: [
                [
                    16,
                    table({
                        title: "Connections without one name",
                        description:
                            "Connections that no lookup, or several, may have led to, whatever zone is chosen: the 100 destinations with most. No lookup: a literal address, /etc/hosts, encrypted DNS, or an " +
                            "answer from before the capture. Several names: the address serves all of them, and nothing tells which was meant.",
                        unit: "short",
                        links: links(`${u.match} IN ('none', 'ambiguous')`),
                        overrides: [column("last", TIME)],
                        widths: { process: 90, address: 130, port: 65, found: 105, connections: 105, last: 70 },
                        noValue: "each has one name",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${CLIENT} AS client, ${u.process}.comm AS process, ${u.address} AS address, ${u.port} AS port,
                   if(${u.match} = 'none', 'no lookup', 'several names') AS found, arrayStringConcat(arraySlice(any(${u.candidates}), 1, 3), ', ') AS candidates,
                   sum(${u.count}) AS connections, max(${u.last}) AS last
                 FROM dns_uses WHERE ${OF_CLIENTS} AND ${u.match} IN ('none', 'ambiguous')
                 GROUP BY client, process, address, port, found ORDER BY connections DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "How names were found",
                        description:
                            "Connections by how their name was found, whatever zone is chosen. Growing `none`: a program began to use encrypted DNS or literal addresses; `ambiguous`: " +
                            "more names share an address, as at a CDN.",
                        unit: "short",
                        isStacked: true,
                        links: links(`${u.match} = 'none'`),
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${u.ts}) AS time, ${u.match} AS found, sum(${u.count}) AS connections FROM dns_uses
                 WHERE ${OF_CLIENTS} GROUP BY time, found ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
);
