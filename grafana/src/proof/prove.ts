// Runs every query of every board against stores that have the scripted day, and compares what they return with what the
// day must show. Exits with 1 and names each panel that does not hold.
//
// Usage: node prove.js DASHBOARDS STACK.json START_MS [BOARD]
//
// With the name of a board, only that one is proved, and no rule. Another name exits with 2.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Dashboard, Panel } from "@grafana/schema";
import { type BoardName, boards } from "../board.js";
import { rules } from "../rules.js";
import { chMatches, matches, sources } from "../sources.js";
import type * as expand from "./expand.js";
import { expected } from "./expected.js";
import { type Frame, table } from "./frames.js";
import { Questions, type Target } from "./questions.js";
import type { Addresses } from "./stores.js";

/** A name that means something to each part of a query: DNS allows every byte in names. */
const AWKWARD = `o'brien\\'"100%_(\\"$re$)/[a-z]*|.example`;

/** Variables whose values are chosen by us, or that the source of Prometheus escapes itself. */
const PLAIN = new Set(["vantage", "instance", "namespace", "pod"]);

const [folder = "", stackFile = "", startText = "", onlyBoard = ""] = process.argv.slice(2);
if (onlyBoard !== "" && !(onlyBoard in boards)) {
    console.error(`there is no board ${onlyBoard}; there are ${Object.keys(boards).join(", ")}`);
    process.exit(2);
}
const addresses = JSON.parse(readFileSync(stackFile, "utf8")) as Addresses;
const questions = new Questions(addresses, Number(startText));
const problems: string[] = [];
const times: { readonly name: string; readonly ms: number }[] = [];

/** Whether a row has a value other than its time. */
function hasValue(row: Record<string, unknown>): boolean {
    return Object.entries(row).some(([name, value]) => name !== "time" && value !== null && value !== "");
}

async function provePanel(name: BoardName, panel: Panel, values: expand.Variables): Promise<void> {
    const title = String(panel.title);
    const where = `${name}: ${title}`;
    for (const [field, value] of Object.entries({
        "data source": panel.datasource?.uid,
        description: panel.description,
        unit: panel.fieldConfig?.defaults.unit,
        runbook: panel.links?.some(({ url }) => url?.startsWith("${docs}")),
        // It is made for Grafanas that have no other board.
        "link to the next board": name === "pods" || panel.links?.some(({ url }) => url?.includes("__all_variables")),
    })) {
        if (value === undefined || value === "" || value === false) problems.push(`${where}: no ${field}`);
    }
    const list = expected[name][title] ?? [];
    if (list.length === 0) problems.push(`${where}: nothing is expected of it`);
    for (const { span, says, holds } of list) {
        const frames: Frame[] = [];
        for (const target of panel.targets ?? []) {
            try {
                const answer = await questions.ask(target, questions.range(span), values);
                frames.push({ target, rows: answer.rows });
                times.push({ name: `${where} (${span})`, ms: answer.ms });
            } catch (error) {
                problems.push(`${where}: ${String(error)}`);
            }
        }
        const isMatrix = panel.transformations?.some(({ id }) => id === "groupingToMatrix") === true;
        if (panel.type === "table" && !isMatrix) {
            const shown = table(panel, frames);
            proveColumns(where, panel, shown.columns, shown.rows);
        }
        const isMerged = panel.transformations?.some(({ id }) => id === "merge") === true;
        const rows = isMerged ? table(panel, frames).rows : frames.flatMap((frame) => frame.rows);
        if (!rows.some(hasValue)) problems.push(`${where}: shows nothing in ${span}`);
        else if (!holds(rows))
            problems.push(`${where}: expected in ${span}: ${says}; ${JSON.stringify(rows.slice(0, 3))}`);
    }
}

/** A value of a variable that nothing has. */
const NOBODY = "nobody";

/** How the description of a panel says that a variable does not narrow it: what the panel shows has no such property. */
function exempts(description: string, variable: string): boolean {
    if (variable === "vantage") return /any vantage|or vantage is chosen/.test(description);
    if (variable === "namespace" || variable === "pod") return description.includes("whatever pods are chosen");
    return new RegExp(`whatever [a-z ,]*${variable}[a-z ,]* is chosen`).test(description);
}

/** Whether a row says something: a text, or a number other than 0. */
function saysSomething(row: Record<string, unknown>): boolean {
    return Object.entries(row).some(
        ([name, value]) => name !== "time" && value !== null && value !== "" && Number(value) !== 0,
    );
}

/** Rows of a query over the day; none if it is refused, which is a problem of its panel. */
async function rowsOf(target: Target, values: expand.Variables): Promise<Record<string, unknown>[]> {
    try {
        return (await questions.ask(target, questions.range("day"), values)).rows;
    } catch {
        return [];
    }
}

/** Each variable of a board narrows each panel: chosen so that nothing has its value, it leaves nothing. */
async function proveChoices(name: BoardName, board: Dashboard, values: expand.Variables): Promise<void> {
    for (const { name: variable = "", type } of board.templating?.list ?? []) {
        if (type !== "query" && type !== "custom" && type !== "textbox") continue;
        for (const panel of board.panels ?? []) {
            const { title, description = "", targets = [] } = panel as Panel;
            if (panel.type === "row" || exempts(description, variable)) continue;
            for (const target of targets) {
                const chosen = { ...values, [variable]: NOBODY };
                const rows = await rowsOf(target, chosen);
                // A query of Prometheus has one value and labels, which stay.
                const left = rows.filter((row) => saysSomething("value" in row ? { value: row.value } : row));
                if (left.length > 0)
                    problems.push(
                        `${name}: ${String(title)}: the variable ${variable} does not narrow it: ${JSON.stringify(left[0])}`,
                    );
            }
        }
    }
}

/** Columns of texts of which nobody knows how long they are: they share what the others leave. */
const MOST_WITHOUT_WIDTH = 3;
/** Pixels of a letter of a column's name in Grafana, and of the space around the name. */
const HEAD = { letter: 7, space: 12 };

/** Each column of a table has a width, but for a few with texts, in which its name has room, and each time is one of the day. */
function proveColumns(
    where: string,
    panel: Panel,
    columns: readonly string[],
    rows: readonly Record<string, unknown>[],
): void {
    const of = (column: string, id: string): unknown =>
        panel.fieldConfig?.overrides
            .filter(({ matcher }) => matcher.options === column)
            .flatMap(({ properties }) => properties)
            .find((property) => property.id === id)?.value;
    const free = columns.filter((column) => of(column, "custom.width") === undefined);
    const numbers = free.filter((column) => rows.some((row) => typeof row[column] === "number"));
    if (free.length > MOST_WITHOUT_WIDTH) problems.push(`${where}: columns without a width: ${free.join(", ")}`);
    if (numbers.length > 0) problems.push(`${where}: numbers without a width: ${numbers.join(", ")}`);
    for (const column of columns) {
        const width = Number(of(column, "custom.width") ?? Infinity);
        if (width < column.length * HEAD.letter + HEAD.space) problems.push(`${where}: ${column} is cut off`);
        const isTime = rows.some(
            (row) => row[column] instanceof Date || /^\d{4}-\d\d-\d\d[ T]/.test(String(row[column])),
        );
        if (isTime && !String(of(column, "unit")).endsWith("HH:mm")) problems.push(`${where}: ${column} is no HH:MM`);
    }
}

/** Sends all queries of a board with names that are awkward for SQL, Flux and regular expressions: none may be refused. */
async function proveNames(name: BoardName, board: Dashboard, values: expand.Variables): Promise<void> {
    const awkward = { ...values };
    for (const variable of Object.keys(values)) {
        if (!PLAIN.has(variable)) awkward[variable] = AWKWARD;
    }
    for (const panel of board.panels ?? []) {
        for (const target of (panel as Panel).targets ?? []) {
            try {
                await questions.ask(target, questions.range("day"), awkward);
            } catch (error) {
                problems.push(`${name}: ${String(panel.title)}: ${AWKWARD}: ${String(error)}`);
            }
        }
    }
}

/** Both databases find the awkward name by itself, and no other by it. */
async function proveMatches(): Promise<void> {
    const names = [AWKWARD, AWKWARD.replace("'", ""), AWKWARD.replaceAll("\\", "")];
    const rows = names.map((name) => `('${name.replaceAll("'", "''")}')`).join(", ");
    const escaped = names.map((name) => `'${name.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`).join(", ");
    for (const [datasource, rawSql] of [
        [sources.timescaledb, `SELECT zone FROM (VALUES ${rows}) AS names (zone) WHERE ${matches("zone", "zone")}`],
        [
            sources.clickhouse,
            `SELECT zone FROM (SELECT arrayJoin([${escaped}]) AS zone) WHERE ${chMatches("zone", "zone")}`,
        ],
    ] as const) {
        const { rows: found } = await questions.ask({ datasource, rawSql }, questions.range("day"), { zone: AWKWARD });
        if (found.length !== 1 || found[0]?.zone !== AWKWARD)
            problems.push(`${datasource.uid}: ${AWKWARD} finds ${JSON.stringify(found)}`);
    }
}

let panels = 0;
await proveMatches();
for (const name of Object.keys(boards) as BoardName[]) {
    if (onlyBoard !== "" && name !== onlyBoard) continue;
    const board = JSON.parse(readFileSync(join(folder, `${boards[name].uid}.json`), "utf8")) as Dashboard;
    const values = await questions.variables(board.templating?.list ?? [], (variable) =>
        problems.push(`${name}: the variable ${variable} has no values`),
    );
    for (const annotation of board.annotations?.list ?? []) {
        const { rows } = await questions.ask(
            { ...annotation.target, datasource: annotation.datasource },
            questions.range("day"),
            values,
        );
        if (rows.length === 0) problems.push(`${name}: the annotation ${annotation.name} shows nothing`);
    }
    const titles = new Set<string>();
    for (const panel of board.panels ?? []) {
        if (panel.type === "row") continue;
        panels++;
        titles.add(String(panel.title));
        await provePanel(name, panel as Panel, values);
    }
    await proveNames(name, board, values);
    await proveChoices(name, board, values);
    for (const title of Object.keys(expected[name])) {
        if (!titles.has(title)) problems.push(`${name}: ${title}: expected, but not on the board`);
    }
}
for (const rule of onlyBoard === "" ? rules : []) {
    const target = { datasource: sources.timescaledb, rawSql: rule.sql };
    try {
        // At the end of the day the certificate expires, rows are new, and no zone fails.
        const { rows, ms } = await questions.ask(
            target,
            { ...questions.range("day"), fromMs: questions.range("day").toMs - 600_000 },
            {},
        );
        times.push({ name: `rule ${rule.title}`, ms });
        const fires = rows.some((row) => Number(row.value) > rule.above);
        const isExpected = rule.title === "DnscribeCertificateExpires";
        if (rows.length === 0) problems.push(`rule ${rule.title}: no rows`);
        // The day ends when it is loaded: how old rows are then says nothing.
        else if (rule.cause !== "stream" && rule.cause !== "agent" && fires !== isExpected) {
            problems.push(`rule ${rule.title}: ${fires ? "fires" : "does not fire"}: ${JSON.stringify(rows)}`);
        }
    } catch (error) {
        problems.push(`rule ${rule.title}: ${String(error)}`);
    }
}
await questions.stores.end();
times.sort((a, b) => b.ms - a.ms);
const slowest = times.slice(0, 5).map(({ name, ms }) => `${name} ${String(Math.round(ms))} ms`);
console.error(`${String(panels)} panels, ${String(times.length)} queries; slowest: ${slowest.join("; ")}`);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
