// Draws every board over the scripted day as an SVG file, for the documentation. It is no Grafana: one picture of each
// kind of panel, with the board's layout, queries, units, bounds and colours. Panels without data on that day are left
// out, and named at the foot. Every colour has a contrast of 3:1 in light and in dark, and a word beside it.
// Grafana's own package of components, @grafana/ui 13.2.3, has none for time series, heat maps and states over time, the
// kinds of 52 panels: they are parts of its server's page.
//
// Usage: node draw.js DASHBOARDS STACK.json START_MS FOLDER
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Dashboard, FieldConfig, GridPos, Panel } from "@grafana/schema";
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
/** Width of a character of a table. */
const CHARACTER = 6.4;
/** Width of a character in Grafana, whose letters are larger. */
const LETTER = 7;
/** Width of a character of a table's head, in characters of its rows. */
const BOLD = 1.15;
/** Series, and characters of a name, that a legend has room for. */
const LEGEND = { series: 6, characters: 34 };
const COLOURS: Record<string, string> = { green: "#37872d", yellow: "#a87400", red: "#d1333f", blue: "#3274d9" };
/** What a colour of a value means. */
const STATES: Record<string, string> = { green: "ok", yellow: "warning", red: "critical" };
/** Colours of series: neither of them means a state. */
const PALETTE = ["#3274d9", "#a352cc", "#0f8a8a", "#c4622d", "#7c8a99", "#d6457a"];
/** Lines of quantiles: those of one series have its colour. */
const DASHES: Record<string, string> = { p50: "1 3", p90: "3 3", p95: "6 3" };
/** Width of a bar of a series over time. */
const BAR = "2.5";
/** Points that a line needs to be one. */
const LEAST_POINTS = 3;

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

/** A rectangle; `paint` is its colour, or `class="…"`. */
function rectangle(box: Box, paint: string): string {
    const { x, y, width, height } = box;
    const size = `width="${Math.max(width, 0.5).toFixed(1)}" height="${height.toFixed(1)}"`;
    const fill = paint.startsWith("class=") ? paint : `fill="${paint}"`;
    return `<rect x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${size} ${fill}/>`;
}

/** The name of a series or column as words: `latency_ms_p99 resolver-1` is `p99 resolver-1`. */
function words(name: string): string {
    // Reasons of the kernel stay as they are: NETFILTER_DROP.
    return name.replace(/\blatency_ms_(?=p\d\d\b)/, "").replaceAll(/_(?![A-Z])/g, " ");
}

/** A number with three digits, and k, M or G. */
function short(value: number): string {
    const size = Math.abs(value);
    const [divisor, suffix] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e4 ? [1e3, "k"] : [1, ""];
    const scaled = value / divisor;
    const digits = Number.isInteger(scaled) || Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
    return `${scaled.toFixed(digits)}${suffix}`;
}

/** Seconds, minutes or hours. */
function duration(seconds: number): string {
    const size = Math.abs(seconds);
    if (size < 1 && size !== 0) return `${short(seconds * 1000)} ms`;
    if (size >= 7200) return `${short(seconds / 3600)} h`;
    return size >= 120 ? `${short(seconds / 60)} min` : `${short(seconds)} s`;
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
            return duration(value);
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
        case "none":
            return Number.isInteger(value) ? String(value) : short(value);
        default:
            return short(value);
    }
}

/** Name of a value's colour by its bounds; undefined if there are none. */
function level(value: number, { thresholds }: FieldConfig): string | undefined {
    const steps = thresholds?.steps ?? [];
    if (steps.length < 2) return undefined;
    // Grafana reads null as the lowest value.
    const reached = steps.filter((step) => step.value === null || value >= step.value);
    return reached.at(-1)?.color;
}

/** Colour of a value by its bounds; undefined if there are none. */
function colour(value: number, defaults: FieldConfig): string | undefined {
    return COLOURS[level(value, defaults) ?? ""];
}

/** What the colour of a value means; nothing if it has none. */
function state(value: number, defaults: FieldConfig): string {
    return STATES[level(value, defaults) ?? ""] ?? "";
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

/** Colour of a word in a column whose words have colours; undefined if it has none. */
function wordColour(value: unknown, { mappings }: FieldConfig): string | undefined {
    const options = mappings?.find(({ type }) => String(type) === "value")?.options as
        Record<string, { color?: string }> | undefined;
    return typeof value === "string" ? COLOURS[options?.[value]?.color ?? ""] : undefined;
}

function last({ points }: Series): number {
    return points.at(-1)?.[1] ?? 0;
}

function drawStat(panel: Panel, frames: readonly Frame[], box: Box): string {
    const all = series(frames).slice(0, 8);
    const isWide = box.width > box.height * 2;
    return all
        .map((one, index) => {
            const settings = ofColumn(panel, one.name);
            const share = 1 / all.length;
            const part: Box = isWide
                ? { ...box, x: box.x + index * share * box.width, width: share * box.width - 2 }
                : { ...box, y: box.y + index * share * box.height, height: share * box.height - 2 };
            const middle = part.y + part.height / 2;
            const size = Math.min(26, part.height / 2);
            const centred = (pixels: number): string =>
                `text-anchor="middle" style="fill:#fff;font-size:${pixels.toFixed(0)}px"`;
            const x = part.x + part.width / 2;
            // A number of alerts by severity has a name that is such a word itself.
            const isSeverity = one.name === "info" || Object.values(STATES).includes(one.name);
            const word = isSeverity ? "" : state(last(one), settings);
            const label = [words(one.name), word].filter((text) => text !== "").join(": ");
            return (
                rectangle(part, colour(last(one), settings) ?? "#37872d") +
                write(x, middle + size / 4, format(last(one), settings), centred(size)) +
                (part.height > 44
                    ? write(x, middle + size / 4 + 16, shorten(label, Math.floor(part.width / 6)), centred(11))
                    : "")
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

/** Colours of series, and dashes of quantiles: those of one thing have one colour. */
function strokes(all: readonly Series[]): { readonly colour: string; readonly dash: string }[] {
    const things = [...new Set(all.map(({ name }) => name.replace(/\bp\d\d\b/, "")))];
    return all.map(({ name }) => {
        const quantile = /\bp\d\d\b/.exec(name)?.[0] ?? "";
        const index = things.indexOf(name.replace(/\bp\d\d\b/, ""));
        const dash = DASHES[quantile];
        return {
            colour: PALETTE[index % PALETTE.length] ?? "",
            dash: dash === undefined ? "" : ` stroke-dasharray="${dash}"`,
        };
    });
}

function legend(all: readonly Series[], box: Box): string {
    const looks = strokes(all);
    const columns = Math.max(1, Math.floor(box.width / 250));
    return all
        .slice(0, LEGEND.series)
        .map(({ name }, index) => {
            const x = box.x + (index % columns) * (box.width / columns);
            const y = box.y + Math.floor(index / columns) * 15;
            const more = index === LEGEND.series - 1 && all.length > LEGEND.series;
            const label = more ? `and ${String(all.length - index)} more` : shorten(name, LEGEND.characters);
            const { colour: stroke, dash } = looks[index] ?? { colour: "", dash: "" };
            const key = `<path d="M${x.toFixed(0)} ${(y - 4).toFixed(0)}h14" stroke="${stroke}" class="key"${dash}/>`;
            return key + write(x + 18, y, label, `class="axis"`);
        })
        .join("");
}

function drawSeries(panel: Panel, frames: readonly Frame[], box: Box, range: Range): string {
    const defaults = panel.fieldConfig?.defaults ?? {};
    const custom = defaults.custom as { stacking?: { mode?: string }; drawStyle?: string } | undefined;
    const isStacked = custom?.stacking?.mode === "normal";
    const peak = ({ points }: Series): number => points.reduce((most, [, value]) => Math.max(most, value), 0);
    const all = series(frames)
        .map(({ name, points }): Series => ({ name: words(name), points }))
        .sort((a, b) => peak(b) - peak(a));
    const looks = strokes(all);
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
        const { colour: stroke, dash } = looks[index] ?? { colour: "", dash: "" };
        const point = ([at, value]: readonly [number, number]): string => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
        if (custom?.drawStyle === "bars") {
            const bar = (at: readonly [number, number]): string => `M${point(at)}V${(plot.y + plot.height).toFixed(1)}`;
            return `<path d="${points.map(bar).join("")}" stroke="${stroke}" style="stroke-width:${BAR}"/>`;
        }
        if (!isStacked) {
            const only = points.length === 1 ? "h2" : "";
            return `<path d="M${points.map(point).join("L")}${only}" stroke="${stroke}" fill="none"${dash}/>`;
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
    const plot: Box = { x: box.x + 130, y: box.y, width: box.width - 138, height: box.height - 36 };
    const levels = new Set<string>();
    const row = plot.height / Math.max(all.length, 1);
    const width = range.toMs - range.fromMs;
    const rows = all.map(({ name, points }, index) => {
        const y = plot.y + index * row;
        const bars = points.map(([at, value], place) => {
            const [next = range.toMs] = points[place + 1] ?? [];
            const x = plot.x + ((at - range.fromMs) / width) * plot.width;
            // The worse a state, the taller its bar: nobody needs to see the colour.
            const name = level(value, defaults) ?? "green";
            levels.add(name);
            const share = name === "green" ? 0.35 : name === "yellow" ? 0.65 : 1;
            const height = (row - 4) * share;
            const bar = { x, y: y + row - 2 - height, width: ((next - at) / width) * plot.width + 0.5, height };
            return rectangle(bar, colour(value, defaults) ?? "#37872d");
        });
        return write(box.x, y + row / 2 + 4, shorten(name, 18)) + bars.join("");
    });
    const states = Object.keys(STATES).filter((name) => levels.has(name));
    const keys = states.map((name, index) => {
        // Below the names, too: narrow panels have no room for all words beside them.
        const x = box.x + index * Math.min(90, box.width / states.length);
        const y = plot.y + plot.height + 28;
        const key = rectangle({ x, y: y - 8, width: 10, height: 8 }, COLOURS[name] ?? "");
        return key + write(x + 14, y, STATES[name] ?? "", `class="axis"`);
    });
    return rows.join("") + hours(range, plot) + keys.join("");
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
            const label = write(box.x, y + row / 2 + 4, shorten(words(name), 24));
            const text = [format(value, defaults), state(value, defaults)].join(" ");
            return label + bar + write(box.x + 166 + width, y + row / 2 + 4, text);
        })
        .join("");
}

function cell(value: unknown, settings: FieldConfig): string {
    if (value === null || value === undefined) return "";
    const number = numeric(value);
    if (number !== undefined) return format(number, settings);
    // The day is that of the whole board.
    if (value instanceof Date) return value.toISOString().slice(11, 16);
    if (typeof value === "string" && /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d/.test(value)) return value.slice(11, 16);
    return typeof value === "object" ? JSON.stringify(value) : String(value as string | boolean);
}

/** Characters that columns get: as many as they need, else fewer for the longest of those without a width. */
function columnWidths(needs: readonly number[], hasWidth: readonly boolean[], room: number): number[] {
    for (let most = 48; most >= 10; most -= 1) {
        const widths = needs.map((need, index) => (hasWidth[index] === true ? need : Math.min(need, most)));
        if (widths.reduce((sum, width) => sum + width, 0) <= room) return widths;
    }
    return needs.map((need, index) => (hasWidth[index] === true ? need : Math.min(need, 10)));
}

function drawTable(panel: Panel, frames: readonly Frame[], box: Box): string {
    const { columns: every, rows } = table(panel, frames);
    const shown = rows.slice(0, Math.floor(box.height / 18) - 1);
    const settingsOf = new Map(every.map((name) => [name, ofColumn(panel, name)]));
    const text = (row: Record<string, unknown>, name: string): string => {
        const value = row[name];
        const settings = settingsOf.get(name);
        const parsed = numeric(value);
        const isJudged = parsed !== undefined && settings?.isColoured === true;
        const word = isJudged ? state(parsed, settings) : "";
        return cell(value, settings ?? {}) + (word === "" || word === "ok" ? "" : ` ${word}`);
    };
    const room = Math.floor(box.width / CHARACTER);
    // Columns that say nothing are left out, then those for which there is no room, the last ones first.
    let columns = every.filter((name) => shown.some((row) => text(row, name) !== ""));
    const widthOf = (name: string): number | undefined =>
        (settingsOf.get(name) as Record<string, number | undefined> | undefined)?.["custom.width"];
    const needs = (names: readonly string[]): number[] =>
        names.map((name) => {
            const head = Math.ceil(words(name).length * BOLD);
            const need = Math.max(head, ...shown.map((row) => text(row, name).length)) + 2;
            return Math.min(need, Math.max(head + 2, (widthOf(name) ?? Infinity) / LETTER));
        });
    const hasWidth = (names: readonly string[]): boolean[] => names.map((name) => widthOf(name) !== undefined);
    const least = (names: readonly string[]): number =>
        columnWidths(needs(names), hasWidth(names), 0).reduce((sum, width) => sum + width, 0);
    while (columns.length > 2 && least(columns) > room) columns = columns.slice(0, -1);
    const lengths = columnWidths(needs(columns), hasWidth(columns), room);
    const starts = lengths.map((_, index) =>
        lengths.slice(0, index).reduce((sum, length) => sum + length * CHARACTER, box.x),
    );
    const place = (index: number): number => starts[index] ?? box.x;
    const fit = (content: string, index: number): string => shorten(content, (lengths[index] ?? 8) - 1);
    const head = columns.map((name, index) => write(place(index), box.y + 12, fit(words(name), index), `class="head"`));
    const cells = shown.map((row, number) => {
        const y = box.y + (number + 1) * 18;
        return columns.map((name, index) => {
            const own = settingsOf.get(name);
            const parsed = numeric(row[name]);
            const fill = parsed !== undefined && own?.isColoured === true ? colour(parsed, own) : undefined;
            const ground = { x: place(index) - 2, y, width: (lengths[index] ?? 8) * CHARACTER - 4, height: 17 };
            const behind = fill === undefined ? "" : rectangle(ground, fill).replace("/>", ' fill-opacity="0.3"/>');
            const ink = own === undefined ? undefined : wordColour(row[name], own);
            const style = ink === undefined ? "" : `style="fill:${ink};font-weight:bold"`;
            return behind + write(place(index), y + 12, fit(text(row, name), index), style);
        });
    });
    const rest = [
        [rows.length - shown.length, "rows"],
        [every.length - columns.length, "columns"],
    ] as const;
    const more = rest.filter(([count]) => count > 0).map(([count, what]) => `${String(count)} more ${what}`);
    const note = write(box.x + box.width, box.y - 8, more.join(", "), `text-anchor="end" class="axis"`);
    return [...head, ...cells.flat(), more.length > 0 ? note : ""].join("");
}

/** Whether a panel shows anything on this day. */
function hasData(panel: Panel, frames: readonly Frame[]): boolean {
    if (panel.type === "table") return table(panel, frames).rows.length > 0;
    if (panel.type === "nodeGraph") return frames.some(({ rows }) => rows.length > 0);
    const all = series(frames);
    return panel.type === "timeseries" ? all.some(({ points }) => points.length >= LEAST_POINTS) : all.length > 0;
}

/** Cells of a heat map: counts of one bucket in one step, the darker the more. */
function drawHeatMap(frames: readonly Frame[], box: Box, range: Range): string {
    const plot: Box = { x: box.x + 52, y: box.y + 4, width: box.width - 60, height: box.height - 24 };
    const all = series(frames);
    // Buckets of Prometheus are cumulative and named by their bounds in seconds; others are named as they are shown.
    const isCumulative = !all.some(({ name }) => name.endsWith(" ms"));
    const rows = all
        .map(({ name, points }) => ({
            bound: isCumulative ? Number(name.replace("+Inf", "Infinity")) : Number.parseFloat(name) / 1000,
            counts: new Map(points),
        }))
        .sort((one, other) => one.bound - other.bound);
    const own = rows.map(({ bound, counts }, index) => {
        const below = isCumulative ? rows[index - 1]?.counts : undefined;
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

/** Nodes in two columns, those that edges begin at on the left, with the red share of each circle and the words that it stands for. */
function drawNodeGraph(frames: readonly Frame[], box: Box): string {
    const rowsOf = (name: string): readonly Record<string, unknown>[] =>
        frames.find(({ target }) => target.refId === name)?.rows ?? [];
    const text = (row: Record<string, unknown>, name: string): string => String(row[name] as string | number);
    const [edges, nodes] = [rowsOf("edges"), rowsOf("nodes")];
    const sources = new Set(edges.map((edge) => text(edge, "source")));
    const radius = 14;
    const places = new Map<string, readonly [x: number, y: number]>();
    for (const isLeft of [true, false]) {
        const column = nodes.filter((node) => sources.has(text(node, "id")) === isLeft);
        const x = box.x + box.width * (isLeft ? 0.3 : 0.7);
        for (const [index, node] of column.entries())
            places.set(text(node, "id"), [x, box.y + (box.height * (index + 0.5)) / column.length]);
    }
    const lines = edges.map((edge) => {
        const [x1, y1] = places.get(text(edge, "source")) ?? [0, 0];
        const [x2, y2] = places.get(text(edge, "target")) ?? [0, 0];
        const failures = text(edge, "secondarystat");
        const isFine = failures === "none failed";
        const look = isFine ? 'class="grid"' : `stroke="${COLOURS.red ?? ""}" stroke-dasharray="6 3" class="edge"`;
        const style = `style="stroke-width:${text(edge, "thickness")}"`;
        const label = isFine ? "" : write((x1 + 3 * x2) / 4, (y1 + 3 * y2) / 4 - 6, failures, 'text-anchor="middle"');
        return `<path d="M${x1.toFixed(0)} ${y1.toFixed(0)}L${x2.toFixed(0)} ${y2.toFixed(0)}" ${look} ${style}/>${label}`;
    });
    const circles = nodes.map((node) => {
        const [x, y] = places.get(text(node, "id")) ?? [0, 0];
        const isLeft = sources.has(text(node, "id"));
        const round = 2 * Math.PI * radius;
        const arc = (colour: string | undefined, share: number): string =>
            `<circle cx="${x.toFixed(0)}" cy="${y.toFixed(0)}" r="${String(radius)}" class="panel" stroke="${colour ?? ""}" stroke-width="4" ` +
            `stroke-dasharray="${(round * share).toFixed(1)} ${round.toFixed(1)}"/>`;
        const [at, anchor] = isLeft ? [x - 22, 'text-anchor="end"'] : [x + 22, ""];
        const says = `${short(Number(node.mainstat))} connections, ${text(node, "secondarystat")}`;
        return (
            arc(COLOURS.green, 1) +
            arc(COLOURS.red, Number(node.arc__failed)) +
            write(at, y - 2, text(node, "title"), `${anchor} style="font-weight:bold"`) +
            write(at, y + 12, says, `${anchor} class="axis"`)
        );
    });
    return lines.join("") + circles.join("");
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
        case "nodeGraph":
            return drawNodeGraph(frames, box);
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
    const drawn: { readonly panel: Panel; readonly frames: readonly Frame[]; readonly grid: GridPos }[] = [];
    const empty: string[] = [];
    for (const panel of board.panels ?? []) {
        const grid = panel.gridPos ?? { x: 0, y: 0, w: COLUMNS, h: 1 };
        const frames: Frame[] = [];
        for (const target of ("targets" in panel ? panel.targets : undefined) ?? []) {
            const { rows } = await questions.ask(target as Target, range, values);
            frames.push({ target: target as Target, rows });
        }
        if (panel.type === "row" || hasData(panel as Panel, frames))
            drawn.push({ panel: panel as Panel, frames, grid });
        else empty.push(String(panel.title));
    }
    const parts: string[] = [];
    let top = 0;
    // Panels that begin at the same height share the width that those without data leave.
    const lines = [...new Set(drawn.map(({ grid }) => grid.y))].sort((a, b) => a - b);
    for (const [index, y] of lines.entries()) {
        const line = drawn.filter(({ grid }) => grid.y === y);
        const isRow = line.every(({ panel }) => String(panel.type) === "row");
        const next = drawn.filter(({ grid }) => grid.y === lines[index + 1]);
        // A heading above nothing but the next heading is left out, too.
        if (isRow && next.every(({ panel }) => String(panel.type) === "row")) continue;
        const used = line.reduce((sum, { grid }) => sum + grid.w, 0);
        const scale = line.some(({ grid }) => grid.w === COLUMNS) ? 1 : COLUMNS / used;
        let left = 0;
        for (const { panel, frames, grid } of line.sort((a, b) => a.grid.x - b.grid.x)) {
            const width = grid.w * scale;
            if (isRow) {
                parts.push(write(CELL.gap, (top + 1) * CELL.height - 10, String(panel.title), `class="row"`));
                continue;
            }
            const frame: Box = {
                x: left * CELL.width + CELL.gap / 2,
                y: top * CELL.height + CELL.gap / 2,
                width: width * CELL.width - CELL.gap,
                height: grid.h * CELL.height - CELL.gap,
            };
            left += width;
            const inner: Box = {
                x: frame.x + 8,
                y: frame.y + TITLE + 4,
                width: frame.width - 16,
                height: frame.height - TITLE - 10,
            };
            const title = write(inner.x, frame.y + 16, words(String(panel.title)), `class="title"`);
            parts.push(rectangle(frame, `class="panel"`), title, drawPanel(panel, frames, inner, range));
        }
        top += Math.max(...line.map(({ grid }) => grid.h));
    }
    let height = top * CELL.height;
    if (empty.length > 0) {
        height += 24;
        parts.push(
            write(CELL.gap, height - 10, `Left out, without data on this day: ${empty.join(", ")}`, `class="axis"`),
        );
    }
    const width = COLUMNS * CELL.width;
    const style =
        "text{font:11px sans-serif}.axis{font-size:10px}.title{font-weight:bold;font-size:12px}path{stroke-width:1.2}" +
        ".row{font-weight:bold;font-size:14px}.head{font-weight:bold}.key{stroke-width:3}" +
        ".ground{fill:#f4f5f7}.panel{fill:#fff}text{fill:#24292e}.axis{fill:#57606a}.grid{stroke:#e4e7eb}" +
        "@media (prefers-color-scheme:dark){" +
        ".ground{fill:#111318}.panel{fill:#1b1e24}text{fill:#e6e8ec}.axis{fill:#aeb6c2}.grid{stroke:#363c47}}";
    const size = `viewBox="0 0 ${String(width)} ${String(height)}" width="${String(width)}" height="${String(height)}"`;
    return (
        `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img" aria-label="${escape(String(board.title))}">` +
        `<style>${style}</style><rect width="100%" height="100%" class="ground"/>\n${parts.join("\n")}\n</svg>\n`
    );
}

mkdirSync(output, { recursive: true });
for (const name of Object.keys(boards) as BoardName[]) {
    const board = JSON.parse(readFileSync(join(folder, `${boards[name].uid}.json`), "utf8")) as Dashboard;
    writeFileSync(join(output, `${name}.svg`), await drawBoard(name, board));
}
await questions.stores.end();
