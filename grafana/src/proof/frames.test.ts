// `node --test`: rows of each source become series and tables.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Panel } from "@grafana/schema";
import { merged } from "../panels.js";
import { series, table } from "./frames.js";

const AT = "2026-11-22T05:00:00Z";
const AT_MS = Date.parse(AT);

test("rows of every source become series", () => {
    const frames = [
        { target: {}, rows: [{ time: new Date(AT), metric: "resolver-1", queries: "12" }] },
        { target: {}, rows: [{ time: "2026-11-22 05:00:00", queries: 3, failed: 1 }] },
        { target: {}, rows: [{ time: AT, resolver: "resolver-2", p95: 4 }] },
        { target: { legendFormat: "{{instance}} lost" }, rows: [{ instance: "us-1", time: AT_MS / 1000, value: 5 }] },
    ];
    assert.deepEqual(series(frames), [
        { name: "resolver-1", points: [[AT_MS, 12]] },
        { name: "queries", points: [[AT_MS, 3]] },
        { name: "failed", points: [[AT_MS, 1]] },
        { name: "resolver-2", points: [[AT_MS, 4]] },
        { name: "us-1 lost", points: [[AT_MS, 5]] },
    ]);
});

test("a matrix has a column for each value", () => {
    const options = { columnField: "zone", rowField: "resolver", valueField: "ms" };
    const panel = { type: "table", transformations: [{ id: "groupingToMatrix", options }] } as Panel;
    const rows = [
        { resolver: "a", zone: "x", ms: 1 },
        { resolver: "a", zone: "y", ms: 2 },
        { resolver: "b", zone: "x", ms: 3 },
    ];
    assert.deepEqual(table(panel, [{ target: {}, rows }]), {
        columns: ["resolver", "x", "y"],
        rows: [
            { resolver: "a", x: 1, y: 2 },
            { resolver: "b", x: 3 },
        ],
    });
});

test("queries of a merged table are columns of one row for the same labels", () => {
    const measure = (refId: string) => ({ refId, datasource: { type: "prometheus", uid: "p" } });
    const panel = merged(
        { title: "Pods", description: "", unit: "short", links: [], sortBy: "failed" },
        ["pod"],
        [
            { name: "queries", target: measure("A") },
            { name: "failed", target: measure("B") },
        ],
    );
    const row = (pod: string, value: number): Record<string, unknown> => ({ pod, time: AT_MS / 1000, value });
    const frames = [
        { target: measure("A"), rows: [row("a", 5), row("b", 9)] },
        { target: measure("B"), rows: [row("b", 2)] },
    ];
    assert.deepEqual(table(panel, frames), {
        columns: ["pod", "queries", "failed"],
        rows: [
            { pod: "b", queries: 9, failed: 2 },
            { pod: "a", queries: 5 },
        ],
    });
});
