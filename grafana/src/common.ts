// Panels and conditions that several boards show.
import type { Panel } from "@grafana/schema";
import { next, runbook } from "./board.js";
import { dns_alerts as a, dns_changes as c, dns_fleet as f } from "./names.js";
import { type Base, type Bounds, column, level, ONCE, severities, stat, TIME, table } from "./panels.js";
import { failed, failureRatio, isOneOf, matches, timescaledb, windows, worst } from "./sources.js";

/** Condition: alerts about the chosen resolvers and zones. */
export const ABOUT_CHOSEN = `${matches(a.zone, "zone")} AND ${matches(a.resolver, "resolver")}`;

/** Share of failed queries: the origin of these bounds is docs/runbooks/success-ratio.md. */
export const FAILURES: Bounds = { warning: 0.01, critical: 0.05 };
/** Latency of a resolver's 95th percentile in milliseconds. */
export const LATENCY_MS: Bounds = { warning: 100, critical: 500 };
/** A count that should be zero. */
export const NONE: Bounds = { warning: 1, critical: 10 };
/** Age of the newest row in seconds. */
export const FRESHNESS_SECONDS: Bounds = { warning: 120, critical: 300 };

/** Share of failed queries at the end of the time range, over all resolvers. */
export function failuresNow(links: Base["links"]): Panel {
    return stat({
        title: "Failing queries",
        description:
            "Share of queries without an answer or with SERVFAIL in the time range, all nodes together. NXDOMAIN is an answer. " +
            "Red: look which resolvers and zones are red below; if all are, the network or the agents' hosts are the cause.",
        unit: "percentunit",
        decimals: 2,
        bounds: FAILURES,
        withTrend: true,
        links,
        noValue: "no queries",
        targets: [
            timescaledb(
                "time_series",
                `SELECT $__timeGroupAlias(${f.ts}, $__interval), ${failureRatio} AS "failing"
         FROM dns_fleet WHERE ${windows("all")} GROUP BY 1 ORDER BY 1`,
            ),
        ],
    });
}

/** Number of alerts that fire at the end of the time range, by severity; `condition` selects alerts. */
export function firing(title: string, description: string, condition: string, links: Base["links"]): Panel {
    return stat({
        title,
        description,
        unit: "short",
        // One critical alert is as red as ten.
        overrides: [level("critical", "red"), level("warning", "yellow"), level("info", "blue")],
        links,
        targets: [
            timescaledb(
                "table",
                `SELECT count(*) FILTER (WHERE severity = 'critical') AS critical, count(*) FILTER (WHERE severity = 'warning') AS warning,
           count(*) FILTER (WHERE severity = 'info') AS info
         FROM (SELECT DISTINCT ON (${a.alert_id}) ${a.state}, ${a.severity}, ${a.ts} FROM dns_alerts
           WHERE ${a.ts} > $__timeFrom()::timestamptz - INTERVAL '1 day' AND ${a.ts} <= $__timeTo() AND ${condition}
           ORDER BY ${a.alert_id}, ${a.ts} DESC) AS newest
         WHERE ${a.state} = 'firing' AND ${a.ts} > $__timeTo()::timestamptz - INTERVAL '2 hours'`,
            ),
        ],
    });
}

/** Alerts of the time range, the newest first. */
export function alerts(title: string, description: string, condition: string, links: Base["links"]): Panel {
    return table({
        title,
        description,
        unit: "none",
        links,
        overrides: [column("duration", "s"), ONCE, column("started", TIME), severities("severity")],
        // What it is comes first, whole; narrow screens scroll to where it is.
        widths: {
            started: 70,
            severity: 75,
            rule: 150,
            summary: 380,
            duration: 90,
            state: 75,
            node: 90,
            processes: 110,
            scope: 60,
        },
        targets: [
            timescaledb(
                "table",
                `SELECT min(${a.started}) AS started, ${worst(a.severity)} AS severity, min(${a.rule}) AS rule,
           (array_agg(${a.summary} ORDER BY ${a.ts}))[1] AS summary,
           extract(epoch FROM coalesce(max(${a.ended}), max(${a.ts})) - min(${a.started}))::float8 AS duration,
           (array_agg(${a.state} ORDER BY ${a.ts} DESC))[1] AS state, min(${a.node}) AS node,
           (array_agg(array_to_string(ARRAY(SELECT jsonb_array_elements_text(${a.body} -> 'processes')), ', ') ORDER BY ${a.ts}))[1] AS processes,
           min(${a.entity}) AS entity, min(${a.scope}) AS scope
         FROM dns_alerts WHERE $__timeFilter(${a.ts}) AND ${condition}
         GROUP BY ${a.alert_id} ORDER BY started DESC LIMIT 200`,
            ),
        ],
    });
}

/** Changes that were announced in the time range. */
export function whatChanged(): Panel {
    return table({
        title: "What changed",
        description:
            "Changes that people and pipelines announced (dnscribe annotate), of any vantage, newest first; also those about everything. Look at what changed just " +
            "before the first red: most incidents follow a change. Nothing here although something changed: announce it in the pipeline.",
        unit: "none",
        links: [runbook("commands"), next("slo")],
        overrides: [column("time", TIME)],
        widths: { time: 70, kind: 90, subject: 150, actor: 80 },
        noValue: "no change was announced",
        targets: [
            timescaledb(
                "table",
                `SELECT ${c.ts} AS time, ${c.kind} AS kind, coalesce(${c.zone}, ${c.service}, '') AS subject, ${c.summary} AS summary, coalesce(${c.actor}, '') AS actor
         FROM dns_changes WHERE $__timeFilter(${c.ts})
           AND (coalesce(${c.zone}, ${c.service}) IS NULL OR ${isOneOf(c.zone, ["resolver", "zone"])} OR ${isOneOf(c.service, ["resolver", "zone"])})
         ORDER BY 1 DESC LIMIT 100`,
            ),
        ],
    });
}

/** Health of each resolver over time; see the description. */
export const resolverStates = timescaledb(
    "time_series",
    `WITH minute AS (
     SELECT $__timeGroup(${f.ts}, $__interval) AS time, ${f.resolver} AS metric, sum(${failed})::float8 / nullif(sum(${f.queries}), 0) AS failing,
       max(${f.latency_ms_p95}) AS p95, sum(${f.queries}) AS queries
     FROM dns_fleet WHERE ${windows("resolver")} GROUP BY 1, 2
   ), usual AS (
     SELECT metric, percentile_cont(0.5) WITHIN GROUP (ORDER BY p95) AS p95 FROM minute GROUP BY metric
   )
   SELECT time, metric, CASE WHEN failing >= ${String(FAILURES.critical)} THEN 2
       WHEN failing >= ${String(FAILURES.warning)} OR minute.p95 > greatest(2 * usual.p95, ${String(LATENCY_MS.warning)}) THEN 1 ELSE 0 END AS state
   FROM minute JOIN usual USING (metric) WHERE queries >= 5 ORDER BY time`,
);
