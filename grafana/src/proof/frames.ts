// Rows of queries as what panels show: series over time, or single values.
import type { Panel } from "@grafana/schema";
import type { Target } from "./questions.js";

/** Rows that one query of a panel returned. */
export interface Frame {
    readonly target: Target;
    readonly rows: readonly Row[];
}

type Row = Record<string, unknown>;

/** Values over time, with milliseconds since the epoch. */
export interface Series {
    readonly name: string;
    readonly points: readonly (readonly [atMs: number, value: number])[];
}

/** Returns the series of all queries of a panel, in the order of their first rows. */
export function series(frames: readonly Frame[]): Series[] {
    const all = new Map<string, [number, number][]>();
    for (const { target, rows } of frames) {
        for (const row of rows) {
            const at = time(row.time);
            for (const [name, value] of values(target, row)) {
                const points = all.get(name) ?? [];
                points.push([at, value]);
                all.set(name, points);
            }
        }
    }
    return [...all].map(([name, points]) => ({ name, points: points.sort(([a], [b]) => a - b) }));
}

function time(value: unknown): number {
    if (value instanceof Date) return value.getTime();
    if (typeof value === "number") return value * 1000;
    const text = String(value);
    return Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text.replace(" ", "T")}Z`);
}

/** A number, also one that is too large for PostgreSQL's client, which returns it as text. */
export function numeric(value: unknown): number | undefined {
    if (typeof value === "number") return value;
    return typeof value === "string" && /^-?\d+(?:\.\d+)?$/.test(value) ? Number(value) : undefined;
}

/** Names and values of a row: columns that are numbers, with the texts beside them as their name. */
function values(target: Target, row: Row): [string, number][] {
    const legend = target.legendFormat;
    if (typeof legend === "string") {
        const name = legend.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => String(row[label] ?? ""));
        return [[name, Number(row.value)]];
    }
    const shown = Object.entries(row).filter(([name]) => name !== "time");
    const numbers = shown.flatMap(([name, value]) => {
        const parsed = numeric(value);
        return parsed === undefined ? [] : [[name, parsed] as const];
    });
    const texts = shown
        .filter(([, value]) => typeof value === "string" && numeric(value) === undefined)
        .map(([, value]) => String(value));
    return numbers.map(([name, value]) => {
        const own = texts.length > 0 && numbers.length === 1 ? [] : [name];
        return [[...texts, ...own].join(" "), value];
    });
}

/** Returns the columns of a table and its rows, with the panel's transformation. */
export function table(panel: Panel, frames: readonly Frame[]): { readonly columns: string[]; readonly rows: Row[] } {
    if (panel.transformations?.some(({ id }) => id === "merge") === true) return merged(panel, frames);
    const rows = frames.flatMap((frame) => frame.rows);
    const matrix = panel.transformations?.find(({ id }) => id === "groupingToMatrix")?.options as
        { columnField: string; rowField: string; valueField: string } | undefined;
    if (matrix === undefined) return { columns: Object.keys(rows[0] ?? {}), rows: [...rows] };
    const byRow = new Map<string, Row>();
    const columns = new Set([matrix.rowField]);
    for (const row of rows) {
        const [key, column] = [String(row[matrix.rowField]), String(row[matrix.columnField])];
        columns.add(column);
        byRow.set(key, {
            ...(byRow.get(key) ?? { [matrix.rowField]: key }),
            [column]: row[matrix.valueField],
        });
    }
    return { columns: [...columns], rows: [...byRow.values()] };
}

/** What `organize` says of the columns. */
interface Organization {
    readonly indexByName: Record<string, number>;
    readonly renameByName: Record<string, string>;
}

/** Rows of several queries of Prometheus that have the same labels as one row, in the panel's order. */
function merged(panel: Panel, frames: readonly Frame[]): { readonly columns: string[]; readonly rows: Row[] } {
    const { indexByName, renameByName } = panel.transformations?.find(({ id }) => id === "organize")
        ?.options as unknown as Organization;
    const renamed = (name: string): string => renameByName[name] ?? name;
    const byLabels = new Map<string, Row>();
    for (const { target, rows } of frames) {
        for (const { value, ...row } of rows) {
            const labels = Object.fromEntries(Object.entries(row).filter(([name]) => name !== "time"));
            const key = JSON.stringify(Object.entries(labels).sort());
            byLabels.set(key, {
                ...(byLabels.get(key) ?? labels),
                [renamed(`Value #${String(target.refId)}`)]: value,
            });
        }
    }
    const columns = Object.entries(indexByName)
        .sort(([, one], [, other]) => one - other)
        .map(([name]) => renamed(name));
    const { sortBy } = panel.options as {
        sortBy?: readonly { readonly displayName: string; readonly desc: boolean }[];
    };
    const [{ displayName, desc } = { displayName: "", desc: true }] = sortBy ?? [];
    const rank = (row: Row): number => (numeric(row[displayName]) ?? 0) * (desc ? -1 : 1);
    return { columns, rows: [...byLabels.values()].sort((one, other) => rank(one) - rank(other)) };
}
