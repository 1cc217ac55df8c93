// What Grafana and its data sources replace in a query before they send it: variables and macros.
import type { Range } from "./stores.js";

/** Values of variables: "All" is the `allValue` of the boards, `.*`. */
export type Variables = Record<string, string>;

const seconds = (ms: number): number => Math.floor(ms / 1000);
const iso = (ms: number): string => new Date(ms).toISOString().replace(".000Z", "Z");

/** Replaces `$name`, `${name}` and `${name:format}`; a name without a value stays. */
export function variables(text: string, values: Variables): string {
    return text.replaceAll(
        /\$\{(\w+)(?::(\w+))?\}|\$(\w+)/g,
        (whole, braced?: string, format?: string, plain?: string) => {
            const value = values[braced ?? plain ?? ""];
            if (value === undefined) return whole;
            // Grafana escapes the values of a variable in a regular expression, but not `allValue`.
            return format === "regex" && value !== ".*" ? value.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&") : value;
        },
    );
}

/** Names of what was not replaced. */
export function unresolved(text: string): string[] {
    return [...text.matchAll(/\$(?:\{(?:__)?[a-z]\w*|__\w+)/gi)].map(([name]) => name);
}

/** Replaces what Grafana's PostgreSQL source does (with TimescaleDB: `time_bucket`). */
export function timescaledb(sql: string, range: Range): string {
    const [from, to] = [`'${iso(range.fromMs)}'`, `'${iso(range.toMs)}'`];
    return builtIn(sql, range)
        .replaceAll(/\$__timeFilter\(([^)]*)\)/g, `$1 BETWEEN ${from} AND ${to}`)
        .replaceAll("$__timeFrom()", from)
        .replaceAll("$__timeTo()", to)
        .replaceAll(/\$__timeGroupAlias\(([^,]*),\s*'?([^)']*)'?\)/g, `time_bucket('$2', $1) AS "time"`)
        .replaceAll(/\$__timeGroup\(([^,]*),\s*'?([^)']*)'?\)/g, `time_bucket('$2', $1)`);
}

/** Replaces what Grafana's ClickHouse source does. */
export function clickhouse(sql: string, range: Range): string {
    const [from, to] = [`toDateTime(${String(seconds(range.fromMs))})`, `toDateTime(${String(seconds(range.toMs))})`];
    return builtIn(
        sql
            .replaceAll("$__interval_s", String(range.stepSeconds))
            .replaceAll(/\$__timeFilter\(([^)]*)\)/g, `$1 >= ${from} AND $1 <= ${to}`)
            .replaceAll(
                /\$__timeInterval\(([^)]*)\)/g,
                `toStartOfInterval(toDateTime($1), INTERVAL ${String(range.stepSeconds)} second)`,
            )
            .replaceAll("$__fromTime", from)
            .replaceAll("$__toTime", to),
        range,
    );
}

/** Replaces what Grafana's Prometheus source does; a rate covers four scrapes at least. */
export function prometheus(expr: string, range: Range): string {
    const rate = Math.max(range.stepSeconds, 4 * 60);
    const all = Math.max(1, seconds(range.toMs - range.fromMs));
    return builtIn(
        expr.replaceAll("$__rate_interval", `${String(rate)}s`).replaceAll("$__range", `${String(all)}s`),
        range,
    );
}

function builtIn(text: string, { stepSeconds }: Range): string {
    return text
        .replaceAll("$__interval_ms", String(stepSeconds * 1000))
        .replaceAll("$__interval", `${String(stepSeconds)}s`);
}
