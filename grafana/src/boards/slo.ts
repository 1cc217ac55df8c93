// Service levels: is what was promised kept, how fast is the budget used, and what did incidents cost?
import { board, DAYS, events, next, runbook } from "../board.js";
import { FAILURES, LATENCY_MS } from "../common.js";
import {
    dns_fleet as f,
    dns_fleet_1d as d,
    dns_fleet_1h as h,
    dns_incidents as i,
    dns_rule_quality as q,
    dns_transactions as t,
} from "../names.js";
import { column, DAY_TIME, ONCE, series, severities, stat, table } from "../panels.js";
import { chMatches, failed, grouped, isOneOf, MINUTES, timescaledb, windows } from "../sources.js";

/** Objective: this share of queries gets an answer other than SERVFAIL. */
const OBJECTIVE = 0.999;
const BUDGET = String(1 - OBJECTIVE);
/** Objective: the share of resolver minutes whose 95th percentile is at most this many milliseconds. */
const LATENCY_OBJECTIVE = 0.99;
/** Burn rates at which 2 % of a 30 day budget is used in an hour, and 5 % in six (Site Reliability Workbook, chapter 5). */
const BURN = { warning: 6, critical: 14.4 };

/** Condition: incidents about a chosen resolver or zone. Their subject is the zone, else the resolver, service or entity. */
const SUBJECT = isOneOf(i.subject, ["resolver", "zone"]);

export const slo = board(
    "slo",
    "Is what was promised kept? The first row answers it; below it how fast the budget is used, by whom, and what incidents cost.",
    ["resolver", "zone"],
    [
        {
            title: "Is what was promised kept?",
            height: 5,
            panels: [
                [
                    6,
                    stat({
                        title: "Answered queries",
                        description: `Share of queries with an answer other than SERVFAIL in the time range; the objective is ${String(OBJECTIVE * 100)} %. Red: the objective is missed; the table of zones says where, the incidents why.`,
                        unit: "percentunit",
                        decimals: 3,
                        bounds: { warning: OBJECTIVE, critical: OBJECTIVE - 0.004, isLower: true },
                        links: [runbook("runbooks/success-ratio"), next("noc"), events("status = 'timeout'")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT 1 - sum(${failed})::float8 / nullif(sum(${f.queries}), 0) AS answered FROM dns_fleet WHERE ${windows("all")}`,
                            ),
                        ],
                    }),
                ],
                [
                    6,
                    stat({
                        title: "Error budget left, 30 days",
                        description:
                            "What is left of the failures that the objective allows for the queries of the 30 days before the end of the time range, whatever its length: 100 % without " +
                            "failures, negative once the objective is missed. " +
                            "Red: stop risky changes until it recovers.",
                        unit: "percentunit",
                        decimals: 1,
                        bounds: { warning: 0.5, critical: 0, isLower: true },
                        links: [runbook("runbooks/success-ratio"), next("noc")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT 1 - sum(${failed})::float8 / nullif(sum(${f.queries}) * ${BUDGET}::float8, 0) AS budget
                 FROM dns_fleet_1h WHERE ${h.ts} > $__timeTo()::timestamptz - INTERVAL '30 days' AND ${h.ts} <= $__timeTo() AND ${grouped("all")}`,
                            ),
                        ],
                    }),
                ],
                [
                    6,
                    stat({
                        title: "Minutes within the latency objective",
                        description: `Share of minutes of all resolvers whose 95th percentile is at most ${String(LATENCY_MS.warning)} ms; the objective is ${String(LATENCY_OBJECTIVE * 100)} %. Red: see latency by resolver on the operations board.`,
                        unit: "percentunit",
                        decimals: 2,
                        bounds: { warning: LATENCY_OBJECTIVE, critical: 0.95, isLower: true },
                        links: [runbook("runbooks/resolver-slow"), next("noc"), events("latency_ms > 100")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT count(*) FILTER (WHERE ${f.latency_ms_p95} <= ${String(LATENCY_MS.warning)})::float8 / nullif(count(*), 0) AS good
                 FROM dns_fleet WHERE ${windows("resolver")} AND ${f.latency_ms_p95} IS NOT NULL`,
                            ),
                        ],
                    }),
                ],
                [
                    6,
                    stat({
                        title: "Incidents",
                        description:
                            "Incidents that began in the time range, and those still open, of severity warning or critical and any vantage. Each is a row in the table below.",
                        unit: "short",
                        bounds: { warning: 1, critical: 5 },
                        links: [runbook("dashboards"), next("noc")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT count(*) AS incidents, count(*) FILTER (WHERE ${i.ended} IS NULL) AS open FROM dns_incidents
                 WHERE $__timeFilter(${i.started}) AND ${i.severity} <> 'info' AND ${SUBJECT}`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "How fast is the budget used?",
            height: 9,
            panels: [
                [
                    12,
                    series({
                        title: "Burn rate",
                        description:
                            "Failures as a multiple of what the objective allows, over 5 minutes, 1 hour and 6 hours. Page when the hour and the 5 minutes are over 14.4 " +
                            "(2 % of a month's budget in an hour), open a ticket when 6 hours are over 6: the alert rules do so.",
                        unit: "none",
                        decimals: 1,
                        bounds: BURN,
                        links: [runbook("runbooks/success-ratio"), next("noc"), events("status = 'timeout'")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `WITH minute AS (
                   SELECT ${f.ts} AS time, sum(${failed})::float8 AS failed, sum(${f.queries})::float8 AS queries FROM dns_fleet
                   WHERE ${f.ts} BETWEEN $__timeFrom()::timestamptz - INTERVAL '6 hours' AND $__timeTo() AND ${MINUTES}
                     AND ${grouped("all")} GROUP BY 1
                 ), burn AS (
                   SELECT time, ${[
                       ["5 minutes", "5 min"],
                       ["1 hour", "1 h"],
                       ["6 hours", "6 h"],
                   ]
                       .map(([span = "", name = ""]) => {
                           const over = `OVER (ORDER BY time RANGE BETWEEN INTERVAL '${span}' PRECEDING AND CURRENT ROW)`;
                           return `sum(failed) ${over} / nullif(sum(queries) ${over} * ${BUDGET}::float8, 0) AS "${name}"`;
                       })
                       .join(", ")} FROM minute
                 )
                 SELECT $__timeGroupAlias(time, $__interval), max("5 min") AS "5 min", max("1 h") AS "1 h", max("6 h") AS "6 h" FROM burn
                 WHERE time >= $__timeFrom()::timestamptz GROUP BY 1 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    table({
                        title: "Worst zones, this week and the last",
                        description:
                            "Zones by failed queries of the last seven days at the end of the time range, with their share of failures and that of the week before. " +
                            "Red change: five times worse than last week; ask the owner of the zone what changed.",
                        unit: "short",
                        links: [runbook("runbooks/zone-failing"), next("noc"), events(chMatches(t.zone, "zone"))],
                        overrides: [
                            column("failing", "percentunit", FAILURES),
                            column("week_before", "percentunit", FAILURES),
                            column("change", "none", { warning: 2, critical: 5 }),
                        ],
                        widths: { queries: 90, failed: 80, failing: 90, week_before: 110, change: 90 },
                        targets: [
                            timescaledb(
                                "table",
                                `WITH week AS (
                   SELECT ${h.zone} AS zone, ${h.ts} > $__timeTo()::timestamptz - INTERVAL '7 days' AS is_this, sum(${failed})::float8 AS failed,
                     sum(${h.queries})::float8 AS queries
                   FROM dns_fleet_1h WHERE ${grouped("zone")}
                     AND ${h.ts} > $__timeTo()::timestamptz - INTERVAL '14 days' AND ${h.ts} <= $__timeTo() GROUP BY 1, 2
                 )
                 SELECT now.zone, now.queries, now.failed, now.failed / nullif(now.queries, 0) AS failing, past.failed / nullif(past.queries, 0) AS week_before,
                   (now.failed / nullif(now.queries, 0)) / nullif(past.failed / nullif(past.queries, 0), 0) AS change
                 FROM week now LEFT JOIN week past ON past.zone = now.zone AND NOT past.is_this
                 WHERE now.is_this AND now.failed > 0 ORDER BY now.failed DESC LIMIT 20`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Incidents and rules",
            height: 9,
            panels: [
                [
                    16,
                    table({
                        title: "Incidents of the time range",
                        description:
                            "Alerts that belong together are one incident: when it began, when users saw it, when which rule found it, how long it lasted, and what a person " +
                            "said of it (dnscribe annotate --incident), at any vantage. Red detection: more than five minutes.",
                        unit: "short",
                        links: [runbook("dashboards"), next("noc"), events("status IN ('timeout', 'icmp_error')")],
                        overrides: [
                            column("detection", "s", { warning: 120, critical: 300 }),
                            column("duration", "s"),
                            ONCE,
                            column("started", DAY_TIME),
                            severities("severity"),
                        ],
                        widths: {
                            started: 100,
                            severity: 75,
                            subject: 150,
                            summary: 350,
                            duration: 90,
                            detection: 85,
                            cause: 130,
                            spotted_by: 130,
                            scope: 60,
                            alerts: 60,
                            judged: 85,
                        },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT ${i.started}, ${i.severity}, ${i.subject}, ${i.summary},
                   extract(epoch FROM coalesce(${i.ended}, $__timeTo()::timestamptz) - ${i.started})::float8 AS duration,
                   extract(epoch FROM ${i.detected} - coalesce(${i.user_visible}, ${i.started}))::float8 AS detection, ${i.cause}, ${i.spotted_by}, ${i.scope}, ${i.alerts},
                   CASE WHEN ${i.was_real} THEN 'confirmed' WHEN NOT ${i.was_real} THEN 'false alarm' ELSE '' END AS judged
                 FROM dns_incidents WHERE $__timeFilter(${i.started}) AND ${i.severity} <> 'info' AND ${SUBJECT} ORDER BY ${i.started} DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "Quality of rules",
                        description:
                            "Over all time, whatever resolver, zone or vantage is chosen: in how many incidents each rule fired, how many were confirmed and how many false, and the mean time to detect where it was first. " +
                            "Low precision: raise the rule's threshold; long detection: lower it. Precision is empty until somebody has judged an incident.",
                        unit: "short",
                        links: [runbook("detection"), next("noc")],
                        overrides: [
                            column("precision", "percentunit", { warning: 0.8, critical: 0.5, isLower: true }),
                            column("recall", "percentunit"),
                            column("time_to_detect", "s", { warning: 120, critical: 300 }),
                        ],
                        widths: {
                            incidents: 75,
                            first: 55,
                            confirmed: 80,
                            false_alarms: 100,
                            precision: 75,
                            recall: 65,
                            time_to_detect: 115,
                        },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT ${q.rule}, ${q.incidents}, ${q.spotted_first} AS first, ${q.confirmed}, ${q.false_alarms}, ${q.precision_ratio} AS precision,
                   ${q.recall_ratio} AS recall, ${q.detect_seconds_mean} AS time_to_detect
                 FROM dns_rule_quality ORDER BY ${q.incidents} DESC`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Capacity",
            height: 8,
            panels: [
                [
                    12,
                    series({
                        title: "Queries an hour",
                        description:
                            "Queries an hour, of hours that are over. Plan for twice the busiest hour; a trend over months needs a time range of months.",
                        unit: "short",
                        links: [runbook("sizing"), next("pipeline")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT ${h.ts} AS "time", sum(${h.queries}) AS "queries" FROM dns_fleet_1h
                 WHERE $__timeFilter(${h.ts}) AND ${h.final} AND ${grouped("all")} GROUP BY 1 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Bytes a day",
                        description:
                            "Bytes of DNS messages a day, queries and responses. It grows with DNSSEC and large TXT records before it grows with queries.",
                        unit: "bytes",
                        isBars: true,
                        links: [runbook("sizing"), next("pipeline")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT ${d.ts} AS "time", sum(${d.query_bytes}) AS "queries", sum(${d.response_bytes}) AS "responses" FROM dns_fleet_1d
                 WHERE ${d.ts} BETWEEN $__timeFrom()::timestamptz - INTERVAL '1 day' AND $__timeTo() AND ${grouped("all")} GROUP BY 1 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
    DAYS,
);
