// The three data sources, their queries, and the conditions that recur in these.
import type { DataSourceRef } from "@grafana/schema";
import { dns_connections as e, dns_fleet as f } from "./names.js";

/** Data sources by their uids in provisioning/datasources. */
export const sources = {
    timescaledb: { type: "grafana-postgresql-datasource", uid: "dnscribe-timescaledb" },
    clickhouse: { type: "grafana-clickhouse-datasource", uid: "dnscribe-clickhouse" },
    prometheus: { type: "prometheus", uid: "dnscribe-prometheus" },
} as const satisfies Record<string, DataSourceRef>;

/** A query of a panel. Its fields are those that the source's plugin reads. */
export interface Target {
    readonly refId: string;
    readonly datasource: DataSourceRef;
    readonly [field: string]: unknown;
}

type Shape = "time_series" | "table";

/** Query of TimescaleDB. A time series has the columns `time`, `metric` (optional) and values. */
export function timescaledb(format: Shape, rawSql: string, refId = "A"): Target {
    return { refId, datasource: sources.timescaledb, editorMode: "code", format, rawQuery: true, rawSql: trim(rawSql) };
}

/** Query of ClickHouse. A time series has the columns `time`, labels and values. */
export function clickhouse(format: Shape, rawSql: string, refId = "A"): Target {
    const isSeries = format === "time_series";
    return {
        refId,
        datasource: sources.clickhouse,
        editorType: "sql",
        // Formats of the plugin: 0 is a time series, 1 a table.
        format: isSeries ? 0 : 1,
        queryType: isSeries ? "timeseries" : "table",
        rawSql: trim(rawSql),
    };
}

/** Range query of Prometheus; `legend` names its series. */
export function prometheus(expr: string, legend: string, refId = "A"): Target {
    const expression = expr.replaceAll(/\s+/g, " ").trim();
    return {
        refId,
        datasource: sources.prometheus,
        editorMode: "code",
        expr: expression,
        legendFormat: legend,
        range: true,
    };
}

/** Instant query of Prometheus: its value at the end of the time range. */
export function prometheusNow(expr: string, legend: string, refId = "A"): Target {
    return { ...prometheus(expr, legend, refId), instant: true, range: false };
}

/** Instant query of Prometheus as a table, with a column for each label and `Value #A` for the value of the query `A`. */
export function prometheusTable(refId: string, expr: string): Target {
    return { ...prometheusNow(expr, "", refId), format: "table" };
}

/** Range query of the buckets of a histogram, for a heat map. */
export function prometheusBuckets(expr: string): Target {
    return { ...prometheus(expr, "{{le}}"), format: "heatmap" };
}

/** Removes the indentation that all lines share. */
function trim(text: string): string {
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    const indent = Math.min(...lines.map((line) => line.length - line.trimStart().length));
    return lines.map((line) => line.slice(indent).trimEnd()).join("\n");
}

/** Length of the windows that boards read, in seconds: every agent writes them by default. */
export const WINDOW_SECONDS = 60;

/**
 * Literal of SQL around a regular expression of a variable's values, for both databases. Names may have quotes and backslashes. Between `$re$`
 * neither means anything, and values cannot have that, because Grafana puts a backslash before each `$` in `regex`.
 */
function literal(pattern: string): string {
    return `$re$${pattern}$re$`;
}

/** Condition that is constant for the database: "All" is chosen, so that the rows need not be compared. */
function isAll(variable: string): string {
    return `${literal(`\${${variable}:regex}`)} = '.*'`;
}

/** Condition of SQL: a column has one of a variable's values. "All" is the regular expression `.*`. */
export function matches(column: string, variable: "site" | "resolver" | "zone"): string {
    return `(${isAll(variable)} OR coalesce(${column}, '') ~ ${literal(`^(\${${variable}:regex})$`)})`;
}

/** Condition of SQL: a column has a value of any of these variables; with nothing chosen in all of them, any value. */
export function isOneOf(column: string, variables: Chosen): string {
    const all = variables.map(isAll).join(" AND ");
    const any = variables.map((name) => `NOT ${isAll(name)} AND ${matches(column, name)}`).join(" OR ");
    return `(${all} OR ${any})`;
}

/** Condition of SQL: a name is in one of a variable's zones. */
export function below(name: string, variable: "zone"): string {
    return `(${isAll(variable)} OR coalesce(${name}, '') ~ ${literal(`(^|[.])(\${${variable}:regex})$`)})`;
}

/** Condition of ClickHouse's SQL, as `matches`. */
export function chMatches(column: string, variable: "resolver" | "zone" | "node"): string {
    return `(${isAll(variable)} OR match(${column}, ${literal(`^(\${${variable}:regex})$`)}))`;
}

/** Condition of ClickHouse's SQL, as `below`. */
export function chBelow(name: string, variable: "zone"): string {
    return `(${isAll(variable)} OR match(${name}, ${literal(`(^|[.])(\${${variable}:regex})$`)}))`;
}

/** Condition of ClickHouse's SQL: a connection of encrypted DNS lasted within the time range. Its end is as in the index `end`. */
export const LASTS = `${e.ts} <= $__toTime AND toFloat64(${e.ts}) + ${e.duration_ms} / 1000 >= toUnixTimestamp($__fromTime)`;

/** Condition of ClickHouse's SQL: a text contains what was typed; all do if that is nothing. */
export function chContains(text: string, variable: "client"): string {
    return `match(${text}, ${literal(`\${${variable}:regex}`)})`;
}

/** Highest severity of a group of alerts. As texts, "warning" would be above "critical". */
export function worst(severity: string): string {
    const ranks = "ARRAY['info', 'warning', 'critical']";
    return `(${ranks})[max(array_position(${ranks}, ${severity}))]`;
}

/** Variables by which windows are narrowed. */
type Chosen = readonly ("resolver" | "zone")[];

/**
 * Condition: windows at the chosen vantage that are grouped by `by` and by what is chosen. With nothing chosen these are those of the grouping
 * `by`, with a resolver also by resolver, and so on: a choice narrows every panel, and none shows the whole instead. Both together need the
 * grouping `resolver+zone` of the agents.
 */
export function grouped(
    by: "all" | "resolver" | "zone",
    chosen: Chosen = ["resolver", "zone"],
    vantage = `${f.vantage} = '$vantage'`,
): string {
    const isWhole = (name: "resolver" | "zone"): string =>
        by === name ? "false" : chosen.includes(name) ? isAll(name) : "true";
    const [resolvers, zones] = [isWhole("resolver"), isWhole("zone")];
    const grouping = `CASE WHEN ${resolvers} AND ${zones} THEN 'all' WHEN ${zones} THEN 'resolver' WHEN ${resolvers} THEN 'zone' ELSE 'resolver+zone' END`;
    const narrowed = chosen.map((name) => ` AND ${matches(f[name], name)}`).join("");
    return `${f.grouping} = ${grouping}${narrowed} AND ${vantage} AND NOT ${f.other}`;
}

/** Condition: windows of one minute in the time range, as `grouped`. */
export function windows(by: "all" | "resolver" | "zone", chosen?: Chosen): string {
    return `$__timeFilter(${f.ts}) AND ${MINUTES} AND ${grouped(by, chosen)}`;
}

/** Condition: windows of one minute. */
export const MINUTES = `${f.window_seconds} = ${String(WINDOW_SECONDS)} AND ${f.step_seconds} = ${String(WINDOW_SECONDS)}`;

/**
 * Queries that failed for their client: no answer, or SERVFAIL. NXDOMAIN is an answer. A SERVFAIL that comes after the timeout counts
 * in `servfail`, too: no more count than answered queries without success.
 */
export const failed = `(${f.timeout} + ${f.icmp_error} + least(${f.servfail}, ${f.answered} - ${f.successes}))`;

/** Ratio of failed queries over the rows of a group; null without queries. */
export const failureRatio = `sum(${failed})::float8 / nullif(sum(${f.queries}), 0)`;

/** Queries a second over the rows of a group of `$__timeGroup`. */
export const queryRate = `sum(${f.queries}) * 1000.0 / greatest($__interval_ms, ${String(WINDOW_SECONDS * 1000)})`;

/** Condition of ClickHouse's SQL: a transaction that is a query's first end. A late answer, a copy and an answer without a query are further ones. */
export const chFinished = "status NOT IN ('late', 'duplicate', 'orphan')";

/** Condition of ClickHouse's SQL: a query that failed for its client; of transactions that are `chFinished`. */
export const chFailed = "(status IN ('timeout', 'icmp_error') OR rcode = 'SERVFAIL')";
