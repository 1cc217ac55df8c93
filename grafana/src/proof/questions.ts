// Queries of panels and variables over the scripted day, sent as Grafana sends them.
import type { VariableModel } from "@grafana/schema";
import { HOURS, incidents } from "./day.js";
import * as expand from "./expand.js";
import type { Span } from "./expected.js";
import { type Addresses, type Answer, type Range, Stores } from "./stores.js";

/** Minutes before and after an incident. */
const MARGIN = 6;
/** The vantage of captures that are replayed. */
const VANTAGE = "passive";
const MINUTE_MS = 60_000;

/** A query of a panel, as a board has it. */
export type Target = Record<string, unknown>;

/** Queries against a stack that has the day. */
export class Questions {
    readonly stores: Stores;

    /** `startMs` is the start of the day in milliseconds since the epoch. */
    constructor(
        addresses: Addresses,
        private readonly startMs: number,
    ) {
        this.stores = new Stores(addresses);
    }

    /** Time range of a span, with a step of a minute. */
    range(span: Span): Range {
        const { startMs } = this;
        const end = startMs + HOURS * 60 * MINUTE_MS;
        if (span === "day") return { fromMs: startMs, toMs: end, stepSeconds: 60 };
        if (span === "later") return { fromMs: end, toMs: end + 60 * MINUTE_MS, stepSeconds: 60 };
        if (span === "now") return { fromMs: Date.now() - 60 * MINUTE_MS, toMs: Date.now(), stepSeconds: 60 };
        const { from, minutes } = incidents[span];
        return {
            fromMs: startMs + (from - MARGIN) * MINUTE_MS,
            toMs: startMs + (from + minutes) * MINUTE_MS,
            stepSeconds: 60,
        };
    }

    async ask(target: Target, at: Range, values: expand.Variables): Promise<Answer> {
        const { stores } = this;
        const text = (field: string): string => expand.variables(String(target[field]), values);
        const check = (query: string): string => {
            const left = expand.unresolved(query);
            if (left.length > 0) throw new Error(`not replaced: ${left.join(", ")}`);
            return query;
        };
        const { type } = target.datasource as { type: string };
        switch (type) {
            case "grafana-postgresql-datasource":
                return stores.timescaledb(check(expand.timescaledb(text("rawSql"), at)));
            case "grafana-clickhouse-datasource":
                return stores.clickhouse(check(expand.clickhouse(text("rawSql"), at)));
            case "prometheus":
                return stores.prometheus(check(expand.prometheus(text("expr"), at)), at, target.instant === true);
            default:
                throw new Error(`no such data source: ${type}`);
        }
    }

    /** Values of the variables of a board: all of them for those that are lists. Calls `empty` for those without any. */
    async variables(list: readonly VariableModel[], empty: (name: string) => void): Promise<expand.Variables> {
        const values: expand.Variables = { vantage: VANTAGE };
        for (const variable of list) {
            if (variable.type === "textbox") values[variable.name] = String(variable.query);
            if (variable.type !== "query") continue;
            values[variable.name] = String(variable.allValue);
            const query = typeof variable.query === "string" ? variable.query : String(variable.query?.query);
            const { type } = variable.datasource as { type: string };
            const found =
                type === "prometheus"
                    ? await this.stores.labelValues(...labelQuery(expand.variables(query, values)))
                    : (await this.ask({ datasource: variable.datasource, rawSql: query }, this.range("day"), values))
                          .rows;
            if (found.length === 0) empty(variable.name);
        }
        return values;
    }
}

function labelQuery(query: string): [string, string] {
    const [, selector = "", label = ""] = /^label_values\((\w+(?:\{.*\})?), (\w+)\)$/.exec(query) ?? [];
    return [selector, label];
}
