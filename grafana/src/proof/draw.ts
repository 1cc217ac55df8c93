// Draws every board over the scripted day as an SVG file, for the documentation. It is no Grafana: one picture of each
// kind of panel, with the board's layout, queries, units, bounds and colours.
//
// Usage: node draw.js DASHBOARDS STACK.json START_MS FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Dashboard, FieldConfig, Panel } from "@grafana/schema";
import { type BoardName, boards } from "../board.js";
import { type Frame, numeric, series, type Series, table } from "./frames.js";
import { Questions, type Target } from "./questions.js";
import type { Addresses, Range } from "./stores.js";

/** Width and height of a cell of a board's grid, and the space between panels, in pixels. */
const CELL = { width: 50, height: 32, gap: 8 };
const COLUMNS = 24;
/** Height of a panel's title. */
const TITLE = 22;
/** Seconds between the points of a line: the day's shortest incident has two. */
const STEP_SECONDS = 240;
/** Series, and characters of a name, that a legend has room for. */
const LEGEND = { series: 6, characters: 34 };
const COLOURS: Record<string, string> = { green: "#37872d", yellow: "#e0b400", red: "#c4162a" };
const PALETTE = ["#1f60c4", "#37872d", "#e0b400", "#c4162a", "#8f3bb8", "#fa6400", "#3aa6b9", "#7c8a99"];

const [folder = "", stackFile = "", startText = "", output = ""] = process.argv.slice(2);
const addresses = JSON.parse(readFileSync(stackFile, "utf8")) as Addresses;
const questions = new Questions(addresses, Number(startText));

interface Box {
    readonly x: number;
    readonly y: number;
    readonly width: number;
    readonly height: number;
}

function escape(text: string): string {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function shorten(text: string, characters: number): string {
    return text.length > characters ? `${text.slice(0, Math.max(characters - 1, 1))}…` : text;
}

function write(x: number, y: number, text: string, style = ""): string {
    return `<text x="${x.toFixed(0)}" y="${y.toFixed(0)}" ${style}>${escape(text)}</text>`;
}

function rectangle(box: Box, fill: string): string {
    const { x, y, width, height } = box;
    const size = `width="${Math.max(width, 0.5).toFixed(1)}" height="${height.toFixed(1)}"`;
    return `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${size} fill="${fill}"/>`;
}

/** A number with three digits, and k, M or G. */
function short(value: number): string {
    const size = Math.abs(value);
    const [divisor, suffix] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
    const scaled = value / divisor;
    const digits = Number.isInteger(scaled) || Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
    return `${scaled.toFixed(digits)}${suffix}`;
}

function format(value: number, defaults: FieldConfig): string {
    const mapping = defaults.mappings?.find(({ type }) => String(type) === "value");
    const words = mapping?.options as Record<string, { text?: string }> | undefined;
    const word = words?.[String(value)]?.text;
    if (word !== undefined) return word;
    switch (defaults.unit) {
        case "percentunit":
            return `${(value * 100).toFixed(Math.abs(value) < 0.1 ? 2 : 1)} %`;
        case "s":
            return Math.abs(value) < 1 && value !== 0 ? `${short(value * 1000)} ms` : `${short(value)} s`;
        case "ms":
        case "m":
        case "h":
        case "d":
            return `${short(value)} ${defaults.unit}`;
        case "bytes":
            return `${short(value)}B`;
        case "reqps":
        case "rps":
        case "cps":
            return `${short(value)}/s`;
        default:
            return short(value);
    }
}

/** Colour of a value by its bounds; undefined if there are none. */
function colour(value: number, { thresholds }: FieldConfig): string | undefined {
    const steps = thresholds?.steps ?? [];
    if (steps.length < 2) return undefined;
    // Grafana reads null as the lowest value.
    const reached = steps.filter((step) => step.value === null || value >= step.value);
    return COLOURS[reached.at(-1)?.color ?? ""];
}

/** Settings of a column: the panel's, with those that the column has of its own. */
function ofColumn(panel: Panel, name: string): FieldConfig & { readonly isColoured: boolean } {
    const own: Record<string, unknown> = {};
    for (const { matcher, properties } of panel.fieldConfig?.overrides ?? []) {
        if (matcher.options !== name) continue;
        for (const { id, value } of properties) own[id] = value;
    }
    const defaults = panel.fieldConfig?.defaults ?? {};
    const isColoured = "custom.cellOptions" in own || "cellOptions" in (defaults.custom ?? {});
    return { ...defaults, ...own, isColoured };
}

function last({ points }: Series): number {
    return points.at(-1)?.[1] ?? 0;
}

function drawStat(panel: Panel, frames: readonly Frame[], box: Box): string {
    const defaults = panel.fieldConfig?.defaults ?? {};
    const all = series(frames).slice(0, 8);
    const isWide = box.width > box.height * 2;
    return all
        .map((one, index) => {
            const share = 1 / all.length;
            const part: Box = isWide
                ? { ...box, x: box.x + index * share * box.width, width: share * box.width - 2 }
                : { ...box, y: box.y + index * share * box.height, height: share * box.height - 2 };
            const middle = part.y + part.height / 2;
            const size = Math.min(26, part.height / 2);
            const centred = (pixels: number): string =>
                `text-anchor="middle" style="fill:#fff;font-size:${pixels.toFixed(0)}px"`;
            const x = part.x + part.width / 2;
            const label = shorten(one.name, Math.floor(part.width / 7));
            return (
                rectangle(part, colour(last(one), defaults) ?? "#37872d") +
                write(x, middle + size / 4, format(last(one), defaults), centred(size)) +
                (part.height > 50 ? write(x, middle + size / 4 + 16, label, centred(11)) : "")
            );
        })
        .join("");
}

function hours(range: Range, plot: Box): string {
    const hour = 3_600_000;
    const lines: string[] = [];
    for (let at = Math.ceil(range.fromMs / hour) * hour; at < range.toMs; at += 2 * hour) {
        const x = plot.x + ((at - range.fromMs) / (range.toMs - range.fromMs)) * plot.width;
        const label = new Date(at).toISOString().slice(11, 16);
        lines.push(write(x, plot.y + plot.height + 13, label, `text-anchor="middle" class="axis"`));
    }
    return lines.join("");
}

function legend(all: readonly Series[], box: Box): string {
    const columns = Math.max(1, Math.floor(box.width / 250));
    return all
        .slice(0, LEGEND.series)
        .map(({ name }, index) => {
            const x = box.x + (index % columns) * (box.width / columns);
            const y = box.y + Math.floor(index / columns) * 15;
            const more = index === LEGEND.series - 1 && all.length > LEGEND.series;
            const label = more ? `and ${String(all.length - index)} more` : shorten(name, LEGEND.characters);
            const key = rectangle({ x, y: y - 7, width: 10, height: 4 }, PALETTE[index % PALETTE.length] ?? "");
            return key + write(x + 14, y, label, `class="axis"`);
        })
        .join("");
}

function drawSeries(panel: Panel, frames: readonly Frame[], box: Box, range: Range): string {
    const defaults = panel.fieldConfig?.defaults ?? {};
    const custom = defaults.custom as { stacking?: { mode?: string }; drawStyle?: string } | undefined;
    const isStacked = custom?.stacking?.mode === "normal";
    const peak = ({ points }: Series): number => points.reduce((most, [, value]) => Math.max(most, value), 0);
    const all = series(frames).sort((a, b) => peak(b) - peak(a));
    const perRow = Math.max(1, Math.floor(box.width / 250));
    const under = 18 + Math.ceil(Math.min(all.length, LEGEND.series) / perRow) * 15;
    const plot: Box = { x: box.x + 52, y: box.y + 4, width: box.width - 60, height: box.height - under - 8 };
    const sums = new Map<number, number>();
    if (isStacked) {
        for (const { points } of all) for (const [at, value] of points) sums.set(at, (sums.get(at) ?? 0) + value);
    }
    const highest = Math.max(...all.map(peak), ...sums.values(), defaults.max ?? 0) || 1;
    const x = (at: number): number =>
        plot.x +
        (Math.min(Math.max(at - range.fromMs, 0), range.toMs - range.fromMs) / (range.toMs - range.fromMs)) *
            plot.width;
    const y = (value: number): number => plot.y + plot.height * (1 - Math.max(value, 0) / highest);
    const grid = [0, 0.5, 1].map((part) => {
        const at = y(highest * part);
        const line = `<path d="M${plot.x.toFixed(0)} ${at.toFixed(0)}h${plot.width.toFixed(0)}" class="grid"/>`;
        return line + write(plot.x - 4, at + 4, format(highest * part, defaults), `text-anchor="end" class="axis"`);
    });
    const below = new Map<number, number>();
    const lines = all.map(({ points }, index) => {
        const stroke = PALETTE[index % PALETTE.length] ?? "";
        const point = ([at, value]: readonly [number, number]): string => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
        if (!isStacked) {
            const only = points.length === 1 ? "h2" : "";
            return `<path d="M${points.map(point).join("L")}${only}" stroke="${stroke}" fill="none"/>`;
        }
        const floor = points.map(([at]) => [at, below.get(at) ?? 0] as const);
        const top = points.map(([at, value]) => [at, value + (below.get(at) ?? 0)] as const);
        for (const [at, value] of top) below.set(at, value);
        const edge = [...top.map(point), ...floor.reverse().map(point)].join("L");
        return `<path d="M${edge}Z" stroke="${stroke}" fill="${stroke}" fill-opacity="0.5"/>`;
    });
    const bounds = (defaults.thresholds?.steps ?? []).slice(1).map(({ value, color }) => {
        const at = y(value ?? 0);
        if (at < plot.y || custom === undefined || !("thresholdsStyle" in custom)) return "";
        const path = `M${plot.x.toFixed(0)} ${at.toFixed(0)}h${plot.width.toFixed(0)}`;
        return `<path d="${path}" stroke="${COLOURS[color] ?? ""}" stroke-dasharray="4 4"/>`;
    });
    const key = legend(all, { ...box, y: box.y + box.height - under + 26 });
    return [...grid, ...bounds, ...lines, hours(range, plot), key].join("");
}

function drawTimeline(panel: Panel, frames: readonly Frame[], box: Box, range: Range): string {
    const defaults = panel.fieldConfig?.defaults ?? {};
    const all = series(frames);
    const plot: Box = { x: box.x + 130, y: box.y, width: box.width - 138, height: box.height - 20 };
    const row = plot.height / Math.max(all.length, 1);
    const width = range.toMs - range.fromMs;
    const rows = all.map(({ name, points }, index) => {
        const y = plot.y + index * row;
        const bars = points.map(([at, value], place) => {
            const [next = range.toMs] = points[place + 1] ?? [];
            const x = plot.x + ((at - range.fromMs) / width) * plot.width;
            const bar = { x, y: y + 2, width: ((next - at) / width) * plot.width + 0.5, height: row - 4 };
            return rectangle(bar, colour(value, defaults) ?? "#37872d");
        });
        return write(box.x, y + row / 2 + 4, shorten(name, 18)) + bars.join("");
    });
    return rows.join("") + hours(range, plot);
}

function drawBars(panel: Panel, frames: readonly Frame[], box: Box): string {
    const defaults = panel.fieldConfig?.defaults ?? {};
    const bars = series(frames).map((one) => [one.name.trim(), last(one)] as const);
    const row = Math.min(28, box.height / Math.max(bars.length, 1));
    const highest = Math.max(...bars.map(([, value]) => value), defaults.max ?? 0) || 1;
    return bars
        .map(([name, value], index) => {
            const y = box.y + index * row;
            const width = (Math.max(value, 0) / highest) * (box.width - 240);
            const bar = rectangle(
                { x: box.x + 160, y: y + 3, width, height: row - 6 },
                colour(value, defaults) ?? "#37872d",
            );
            const label = write(box.x, y + row / 2 + 4, shorten(name, 24));
            return label + bar + write(box.x + 166 + width, y + row / 2 + 4, format(value, defaults));
        })
        .join("");
}

function cell(value: unknown, settings: FieldConfig): string {
    if (value === null || value === undefined) return "";
    const number = numeric(value);
    if (number !== undefined) return format(number, settings);
    if (value instanceof Date) return value.toISOString().slice(0, 16).replace("T", " ");
    return typeof value === "object" ? JSON.stringify(value) : String(value as string | boolean);
}

function drawTable(panel: Panel, frames: readonly Frame[], box: Box): string {
    const { columns, rows } = table(panel, frames);
    const shown = rows.slice(0, Math.floor(box.height / 18) - 1);
    const settings = columns.map((name) => ofColumn(panel, name));
    const texts = shown.map((row) => columns.map((name, index) => cell(row[name], settings[index] ?? {})));
    const lengths = columns.map((name, index) =>
        Math.min(40, Math.max(name.length, ...texts.map((row) => (row[index] ?? "").length)) + 2),
    );
    const unit = Math.min(7, box.width / lengths.reduce((sum, length) => sum + length, 0));
    const starts = lengths.map((_, index) =>
        lengths.slice(0, index).reduce((sum, length) => sum + length * unit, box.x),
    );
    const place = (index: number): number => starts[index] ?? box.x;
    const fit = (text: string, index: number): string =>
        shorten(text, Math.floor(((lengths[index] ?? 8) * unit) / 6.4));
    const head = columns.map((name, index) => write(place(index), box.y + 12, fit(name, index), `class="head"`));
    const cells = texts.map((row, number) => {
        const y = box.y + (number + 1) * 18;
        return row.map((text, index) => {
            const value = shown[number]?.[columns[index] ?? ""];
            const own = settings[index];
            const parsed = numeric(value);
            const fill = parsed !== undefined && own?.isColoured === true ? colour(parsed, own) : undefined;
            const box = { x: place(index) - 2, y, width: (lengths[index] ?? 8) * unit - 4, height: 17 };
            const ground = fill === undefined ? "" : rectangle(box, fill).replace("/>", ' fill-opacity="0.35"/>');
            return ground + write(place(index), y + 12, fit(text, index));
        });
    });
    const more = rows.length - shown.length;
    const rest =
        more > 0
            ? write(box.x + box.width, box.y - 8, `${String(more)} more rows`, `text-anchor="end" class="axis"`)
            : "";
    return [...head, ...cells.flat(), rest].join("");
}

/** Cells of a heat map: counts of one bucket in one step, the darker the more. */
function drawHeatMap(frames: readonly Frame[], box: Box, range: Range): string {
    const plot: Box = { x: box.x + 52, y: box.y + 4, width: box.width - 60, height: box.height - 24 };
    const rows = series(frames)
        .map(({ name, points }) => ({ bound: Number(name.replace("+Inf", "Infinity")), counts: new Map(points) }))
        .sort((one, other) => one.bound - other.bound);
    // Buckets are cumulative.
    const own = rows.map(({ bound, counts }, index) => {
        const below = rows[index - 1]?.counts;
        const cells = [...counts].map(([at, count]) => [at, count - (below?.get(at) ?? 0)] as const);
        return { bound, cells };
    });
    const highest = Math.max(...own.flatMap(({ cells }) => cells.map(([, count]) => count))) || 1;
    const width = range.toMs - range.fromMs;
    const height = plot.height / Math.max(own.length, 1);
    const step = ((range.stepSeconds * 1000) / width) * plot.width;
    const drawn = own.map(({ bound, cells }, index) => {
        const y = plot.y + plot.height - (index + 1) * height;
        const label = Number.isFinite(bound) ? `${short(bound * 1000)} ms` : "more";
        const filled = cells
            .filter(([at, count]) => count > highest / 1000 && at >= range.fromMs && at <= range.toMs)
            .map(([at, count]) => {
                const x = plot.x + ((at - range.fromMs) / width) * plot.width;
                const opacity = Math.max(0.1, Math.sqrt(count / highest)).toFixed(2);
                const one = { x, y, width: Math.min(step, plot.x + plot.width - x), height: height - 1 };
                return rectangle(one, "#fa6400").replace("/>", ` fill-opacity="${opacity}"/>`);
            });
        return write(plot.x - 4, y + height / 2 + 4, label, `text-anchor="end" class="axis"`) + filled.join("");
    });
    return drawn.join("") + hours(range, plot);
}

function drawPanel(panel: Panel, frames: readonly Frame[], box: Box, range: Range): string {
    switch (panel.type) {
        case "stat":
            return drawStat(panel, frames, box);
        case "timeseries":
            return drawSeries(panel, frames, box, range);
        case "state-timeline":
            return drawTimeline(panel, frames, box, range);
        case "bargauge":
            return drawBars(panel, frames, box);
        case "table":
            return drawTable(panel, frames, box);
        case "heatmap":
            return drawHeatMap(frames, box, range);
        default:
            throw new Error(`no picture of panels of type ${panel.type}`);
    }
}

async function drawBoard(name: BoardName, board: Dashboard): Promise<string> {
    // The jobs have read the day after its end. What fails now is seen during an incident.
    const toMs = name === "pods" ? questions.range("packets").toMs : Date.now();
    const range: Range = { ...questions.range("day"), toMs, stepSeconds: STEP_SECONDS };
    const values = await questions.variables(board.templating?.list ?? [], (variable) => {
        throw new Error(`${String(board.title)}: the variable ${variable} has no values`);
    });
    const parts: string[] = [];
    let height = 0;
    for (const panel of board.panels ?? []) {
        const { x, y, w, h } = panel.gridPos ?? { x: 0, y: 0, w: COLUMNS, h: 1 };
        height = Math.max(height, (y + h) * CELL.height);
        if (panel.type === "row") {
            parts.push(
                write(x * CELL.width + CELL.gap, (y + 1) * CELL.height - 10, String(panel.title), `class="row"`),
            );
            continue;
        }
        const frames: Frame[] = [];
        for (const target of ("targets" in panel ? panel.targets : undefined) ?? []) {
            const { rows } = await questions.ask(target as Target, range, values);
            frames.push({ target: target as Target, rows });
        }
        const frame: Box = {
            x: x * CELL.width + CELL.gap / 2,
            y: y * CELL.height + CELL.gap / 2,
            width: w * CELL.width - CELL.gap,
            height: h * CELL.height - CELL.gap,
        };
        const inner: Box = {
            x: frame.x + 8,
            y: frame.y + TITLE + 4,
            width: frame.width - 16,
            height: frame.height - TITLE - 10,
        };
        parts.push(rectangle(frame, "#fff"), write(inner.x, frame.y + 16, String(panel.title), `class="title"`));
        parts.push(drawPanel(panel as Panel, frames, inner, range));
    }
    const width = COLUMNS * CELL.width;
    const style =
        "text{font:11px sans-serif;fill:#24292e}.axis{fill:#6a737d;font-size:10px}.title{font-weight:bold;font-size:12px}" +
        ".row{font-weight:bold;font-size:14px}.head{font-weight:bold}.grid{stroke:#e4e7eb}path{stroke-width:1.2}";
    const size = `viewBox="0 0 ${String(width)} ${String(height)}" width="${String(width)}" height="${String(height)}"`;
    return (
        `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-label="${escape(String(board.title))}">` +
        `<style>${style}</style><rect width="100%" height="100%" fill="#f4f5f7"/>\n${parts.join("\n")}\n</svg>\n`
    );
}

mkdirSync(output, { recursive: true });
for (const name of Object.keys(boards) as BoardName[]) {
    const board = JSON.parse(readFileSync(join(folder, `${boards[name].uid}.json`), "utf8")) as Dashboard;
    writeFileSync(join(output, `${name}.svg`), await drawBoard(name, board));
}
await questions.stores.end();
