// Writes names.ts: the columns of the stores' tables as their migrations create them, and the metrics of all programs and the
// KPIs as the pages list them that are generated from the programs' dictionaries.
//
// Usage: node build/update-names.js REPOSITORY FILE
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [repository = "..", file = "src/names.ts"] = process.argv.slice(2);

/** Words of SQL that must be quoted as names of columns. */
const RESERVED = new Set(["grouping", "open", "end", "real"]);

function migrations(store: string): string {
    const folder = join(repository, "stores", store);
    const files = readdirSync(folder).filter((name) => /^\d+_.*\.sql$/.test(name));
    return files
        .sort()
        .map((name) => readFileSync(join(folder, name), "utf8"))
        .join("\n");
}

function timescaledb(): Map<string, string[]> {
    const tables = new Map<string, string[]>();
    for (const [, table = "", body = ""] of migrations("timescaledb").matchAll(
        /CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\);/gs,
    )) {
        const columns = [...body.matchAll(/^ {4}"?([a-z_0-9]+)"? [a-z]/gm)].map(([, column = ""]) => column);
        tables.set(table, columns);
    }
    for (const [, table = "", like = ""] of migrations("timescaledb").matchAll(
        /CREATE TABLE IF NOT EXISTS (\w+) \(LIKE (\w+)/g,
    )) {
        tables.set(table, tables.get(like) ?? []);
    }
    for (const [, view = "", columns = ""] of migrations("timescaledb").matchAll(
        /CREATE OR REPLACE VIEW (\w+)\s*\(([^)]*)\)/g,
    )) {
        tables.set(
            view,
            columns.split(",").map((column) => column.trim().replaceAll('"', "")),
        );
    }
    return tables;
}

function clickhouse(): Map<string, string[]> {
    const tables = new Map<string, string[]>();
    const sql = migrations("clickhouse");
    for (const [, table = "", body = ""] of sql.matchAll(/CREATE TABLE IF NOT EXISTS (\w+)\n\((.*?)\n\)/gs)) {
        const columns = [...body.matchAll(/^ {4}`(\w+)`/gm)].map(([, column = ""]) => column);
        tables.set(table, columns);
    }
    for (const [, table = "", body = ""] of sql.matchAll(/ALTER TABLE (\w+)\n(.*?);\n/gs)) {
        const added = [...body.matchAll(/ADD COLUMN IF NOT EXISTS `(\w+)`/g)].map(([, column = ""]) => column);
        tables.set(table, [...(tables.get(table) ?? []), ...added]);
    }
    return tables;
}

/** Names of metrics; a histogram is in Prometheus as three names. */
function metrics(): string[] {
    const names = new Set<string>();
    for (const page of ["docs/metrics.md", "docs/probe-metrics.md", "docs/kpis.md"]) {
        const text = readFileSync(join(repository, page), "utf8");
        for (const [, name = "", kind = ""] of text.matchAll(/^\*\*`(\w+)`\*\* · (\w+) ·/gm)) {
            const suffixes = kind === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
            for (const suffix of suffixes) names.add(name + suffix);
        }
    }
    return [...names].sort();
}

/** What the page of all KPIs says of each, as an object. */
function kpis(): string {
    const [page = ""] = readFileSync(join(repository, "docs/kpis.md"), "utf8").split("\n## Metrics\n");
    const entry = /^### (\w+)\n\n(.*?)\n\n.*?^- Unit: (\w+)\..*?^- (If .*?|Always): (.*?) \(\[runbook\]\((\S+?)\.md/gms;
    const lines = [...page.matchAll(entry)].map(([, name = "", description, unit, rule = "", action, runbook]) => {
        const when = rule.replace(/^If /, "");
        const fields = Object.entries({ name, description, unit, when, action, runbook });
        return `    ${name}: { ${fields.map(([key, text = ""]) => `${key}: ${JSON.stringify(text)}`).join(", ")} },`;
    });
    return `/** What the dictionary says of each KPI. */\n// prettier-ignore\nexport const kpi = {\n${lines.join("\n")}\n} as const;\n`;
}

function object(name: string, doc: string, pairs: (readonly [string, string])[]): string {
    const quoted = (value: string): string => (value.includes('"') ? `'${value}'` : `"${value}"`);
    const lines = pairs.map(([key, value]) => `    ${key}: ${quoted(value)},`);
    return `/** ${doc} */\nexport const ${name} = {\n${lines.join("\n")}\n} as const;\n`;
}

function tables(found: Map<string, string[]>, store: string, prefix: (table: string) => string = () => ""): string {
    return [...found]
        .sort()
        .map(([table, columns]) =>
            object(
                prefix(table) + table,
                `Columns of ${table} in ${store}.`,
                columns.map((column) => [column, RESERVED.has(column) ? `"${column}"` : column] as const),
            ),
        )
        .join("\n");
}

const relational = timescaledb();
const parts = [
    "// Names of columns and metrics, made by update-names.ts from the migrations and the metric dictionaries: do not edit.\n",
    tables(relational, "TimescaleDB"),
    // A table that both stores have.
    tables(clickhouse(), "ClickHouse", (table) => (relational.has(table) ? "clickhouse_" : "")),
    object(
        "metric",
        "Metrics of the agent, the probe and dnscribe-kpi.",
        metrics().map((name) => [name, name] as const),
    ),
    kpis(),
];
writeFileSync(file, parts.join("\n"));
