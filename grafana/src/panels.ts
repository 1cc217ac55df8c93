// Kinds of panels with the options that all boards share.
import {
    BigValueColorMode,
    BigValueGraphMode,
    BigValueJustifyMode,
    BigValueTextMode,
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeSizing,
    BarGaugeValueMode,
    type DashboardLink,
    type DataTransformerConfig,
    type FieldConfig,
    FieldColorModeId,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    type MatcherConfig,
    MappingType,
    type Panel,
    PercentChangeColorMode,
    SortOrder,
    StackingMode,
    TableCellDisplayMode,
    ThresholdsMode,
    TooltipDisplayMode,
    type ValueMapping,
    VisibilityMode,
    VizOrientation,
} from "@grafana/schema";
import type {
    FieldConfig as SeriesField,
    Options as SeriesOptions,
} from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";
import {
    HeatmapColorMode,
    HeatmapColorScale,
    type Options as HeatmapOptions,
} from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import {
    LayoutAlgorithm,
    type Options as NodeGraphOptions,
    ZoomMode,
} from "@grafana/schema/dist/esm/raw/composable/nodegraph/panelcfg/x/NodeGraphPanelCfg_types.gen";
import type { Options as StatOptions } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as TableOptions } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as GaugeOptions } from "@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen";
import type {
    FieldConfig as TimelineField,
    Options as TimelineOptions,
} from "@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen";
import type { Target } from "./sources.js";

/** Units of values, as Grafana names them. */
export type Unit =
    | "percentunit"
    | "short"
    | "h"
    | "m"
    | "reqps"
    | "ms"
    | "s"
    | "d"
    | "bytes"
    | "Bps"
    | "rps"
    | "cps"
    | "none"
    | typeof TIME
    | typeof DAY_TIME;

/** Times of a table whose rows are of hours. */
export const TIME = "time:HH:mm";
/** Times of a table whose rows are of days. */
export const DAY_TIME = "time:MM-DD HH:mm";

/** Bounds from which on a value is a warning, and critical. */
export interface Bounds {
    readonly warning: number;
    readonly critical: number;
    /** Whether low values are bad. */
    readonly isLower?: boolean;
}

/** What every panel must say. */
export interface Base {
    readonly title: string;
    /** What it means, and what to do when it is red. */
    readonly description: string;
    readonly unit: Unit;
    readonly targets: readonly [Target, ...Target[]];
    readonly links: readonly DashboardLink[];
    readonly bounds?: Bounds;
    readonly decimals?: number;
    readonly max?: number;
    readonly noValue?: string;
    readonly overrides?: readonly Override[];
    readonly transformations?: readonly DataTransformerConfig[];
}

interface Override {
    readonly matcher: MatcherConfig;
    readonly properties: readonly { readonly id: string; readonly value?: unknown }[];
}

const GREEN = "green";
const YELLOW = "yellow";
const RED = "red";

function thresholds(bounds: Bounds | undefined): FieldConfig["thresholds"] {
    const mode = ThresholdsMode.Absolute;
    // JSON has no infinity: Grafana reads null as the lowest value.
    const lowest = null as unknown as number;
    if (bounds === undefined) return { mode, steps: [{ color: GREEN, value: lowest }] };
    const { warning, critical, isLower = false } = bounds;
    const steps = isLower
        ? [
              { color: RED, value: lowest },
              { color: YELLOW, value: critical },
              { color: GREEN, value: warning },
          ]
        : [
              { color: GREEN, value: lowest },
              { color: YELLOW, value: warning },
              { color: RED, value: critical },
          ];
    return { mode, steps };
}

function panel(type: string, base: Base, options: object, custom: object, color: FieldColorModeId): Panel {
    const { title, description, unit, targets, links, overrides = [], transformations = [] } = base;
    const [{ datasource }] = targets;
    const defaults: FieldConfig = {
        unit,
        color: { mode: color },
        thresholds: thresholds(base.bounds),
        custom: { ...custom },
        ...(base.decimals === undefined ? {} : { decimals: base.decimals }),
        ...(base.max === undefined ? {} : { max: base.max, min: 0 }),
        ...(base.noValue === undefined ? {} : { noValue: base.noValue }),
    };
    return {
        type,
        title,
        description,
        datasource,
        targets: targets.map((target) => ({ ...target })),
        links: [...links],
        // Windows are a minute long: a finer step shows gaps.
        interval: "1m",
        fieldConfig: {
            defaults,
            overrides: overrides.map(({ matcher, properties }) => ({ matcher, properties: [...properties] })),
        },
        options: { ...options },
        ...(transformations.length > 0 ? { transformations: [...transformations] } : {}),
    };
}

/** One large number for each series, coloured by its bounds. */
export function stat(base: Base & { readonly withTrend?: boolean; readonly mappings?: ValueMapping[] }): Panel {
    const options: StatOptions = {
        reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
        orientation: VizOrientation.Auto,
        colorMode: BigValueColorMode.Background,
        graphMode: base.withTrend === true ? BigValueGraphMode.Area : BigValueGraphMode.None,
        justifyMode: BigValueJustifyMode.Auto,
        percentChangeColorMode: PercentChangeColorMode.Standard,
        showPercentChange: false,
        textMode: BigValueTextMode.Auto,
        wideLayout: true,
    };
    const made = panel("stat", base, options, {}, FieldColorModeId.Thresholds);
    if (base.mappings && made.fieldConfig) made.fieldConfig.defaults.mappings = base.mappings;
    return made;
}

/** Lines over time, or stacked areas. The legend has the last and the highest value. */
export function series(base: Base & { readonly isStacked?: boolean; readonly isBars?: boolean }): Panel {
    const options: SeriesOptions = {
        legend: {
            displayMode: LegendDisplayMode.Table,
            placement: "bottom",
            showLegend: true,
            calcs: ["lastNotNull", "max"],
        },
        tooltip: { mode: TooltipDisplayMode.Multi, sort: SortOrder.Descending },
    };
    const isStacked = base.isStacked === true;
    const custom: SeriesField = {
        drawStyle: base.isBars === true ? GraphDrawStyle.Bars : GraphDrawStyle.Line,
        fillOpacity: isStacked ? 40 : 5,
        lineWidth: 1,
        spanNulls: 180_000,
        axisSoftMin: 0,
        stacking: { mode: isStacked ? StackingMode.Normal : StackingMode.None, group: "A" },
        ...(base.bounds === undefined ? {} : { thresholdsStyle: { mode: GraphThresholdsStyleMode.Dashed } }),
    };
    return panel("timeseries", base, options, custom, FieldColorModeId.PaletteClassic);
}

/** Colour of a value from 1 on, by its name: what is bad once it is there at all. */
export function level(name: string, color: "red" | "yellow" | "blue"): Override {
    // JSON has no infinity: Grafana reads null as the lowest value.
    const steps = [
        { color: GREEN, value: null },
        { color, value: 1 },
    ];
    return {
        matcher: { id: "byName", options: name },
        properties: [{ id: "thresholds", value: { mode: ThresholdsMode.Absolute, steps } }],
    };
}

/** Colours of the severities in a column of texts. */
export function severities(name: string): Override {
    return verdicts(name, { critical: RED, warning: YELLOW, info: "blue" });
}

/** Colours of words in a column of texts: the word says it, and the colour helps to find it. */
export function verdicts(name: string, colors: Readonly<Record<string, string>>): Override {
    const options = Object.fromEntries(Object.entries(colors).map(([text, color], index) => [text, { color, index }]));
    return {
        matcher: { id: "byName", options: name },
        properties: [
            { id: "mappings", value: [{ type: MappingType.ValueToText, options }] },
            { id: "custom.cellOptions", value: { type: TableCellDisplayMode.ColorText } },
        ],
    };
}

/** Word for the duration of what was found in one window only. */
export const ONCE: Override = {
    matcher: { id: "byName", options: "duration" },
    properties: [
        { id: "mappings", value: [{ type: MappingType.ValueToText, options: { "0": { text: "found once" } } }] },
    ],
};

/**
 * Rows, of which some columns have units and colours of their own: see `column`. `widths` has the pixels of each column but those with the
 * longest texts, which share the rest.
 */
export function table(
    base: Base & { readonly sortBy?: string; readonly widths?: Readonly<Record<string, number>> },
): Panel {
    const options: TableOptions = {
        frameIndex: 0,
        showHeader: true,
        ...(base.sortBy === undefined ? {} : { sortBy: [{ displayName: base.sortBy, desc: true }] }),
    };
    const widths = Object.entries(base.widths ?? {}).map(([name, width]) => ({
        matcher: { id: "byName", options: name },
        properties: [{ id: "custom.width", value: width }],
    }));
    const overrides = [...(base.overrides ?? []), ...widths];
    return panel("table", { ...base, overrides }, options, { filterable: true }, FieldColorModeId.Thresholds);
}

/** A column of a merged table: its name, and the query that has its value. */
export interface Measure {
    readonly name: string;
    readonly target: Target;
}

/** A table with one row for the labels that the results of several queries of Prometheus share, and a column for each query. */
export function merged(
    base: Omit<Base, "targets" | "transformations"> & {
        readonly sortBy: string;
        readonly isAscending?: boolean;
        readonly widths?: Readonly<Record<string, number>>;
    },
    labels: readonly string[],
    measures: readonly [Measure, ...Measure[]],
): Panel {
    const [first, ...others] = measures;
    const names = [...labels, ...measures.map(({ name }) => name)];
    const made = table({
        ...base,
        widths: { ...Object.fromEntries(measures.map(({ name }) => [name, 90])), ...base.widths },
        targets: [first.target, ...others.map(({ target }) => target)],
        transformations: [
            { id: "merge", options: {} },
            {
                id: "organize",
                options: {
                    excludeByName: { Time: true },
                    indexByName: Object.fromEntries(
                        [...labels, ...measures.map(({ target }) => `Value #${target.refId}`)].map((name, index) => [
                            name,
                            index,
                        ]),
                    ),
                    renameByName: Object.fromEntries(
                        measures.map(({ name, target }) => [`Value #${target.refId}`, name]),
                    ),
                },
            },
        ],
    });
    if (!names.includes(base.sortBy)) throw new Error(`${base.title}: no column ${base.sortBy}`);
    if (base.isAscending === true)
        made.options = { ...made.options, sortBy: [{ displayName: base.sortBy, desc: false }] };
    return made;
}

/** Counts over time and by the buckets of a histogram: the darker a cell, the more it has. */
export function heatMap(base: Base): Panel {
    const options: HeatmapOptions = {
        calculate: false,
        cellGap: 1,
        color: {
            mode: HeatmapColorMode.Scheme,
            scheme: "Oranges",
            scale: HeatmapColorScale.Exponential,
            exponent: 0.5,
            steps: 32,
            fill: "dark-orange",
            reverse: false,
        },
        exemplars: { color: "rgba(255,0,255,0.7)" },
        legend: { show: true },
        showValue: VisibilityMode.Never,
        tooltip: { mode: TooltipDisplayMode.Single, yHistogram: false },
        yAxis: { unit: base.unit },
    };
    return panel("heatmap", base, options, {}, FieldColorModeId.Thresholds);
}

/** Unit and colour of a table's column. */
export function column(name: string, unit: Unit, bounds?: Bounds, links: readonly DashboardLink[] = []): Override {
    const colored = { type: TableCellDisplayMode.ColorBackground };
    return {
        matcher: { id: "byName", options: name },
        properties: [
            { id: "unit", value: unit },
            ...(bounds === undefined
                ? []
                : [
                      { id: "thresholds", value: thresholds(bounds) },
                      { id: "custom.cellOptions", value: colored },
                  ]),
            ...(links.length > 0 ? [{ id: "links", value: links }] : []),
        ],
    };
}

/** A table in which every cell is coloured by its value. */
export function matrix(base: Base, row: string, columns: string, value: string): Panel {
    const cells = { custom: { cellOptions: { type: TableCellDisplayMode.ColorBackground } } };
    const made = table({
        ...base,
        transformations: [
            {
                id: "groupingToMatrix",
                options: { columnField: columns, rowField: row, valueField: value, emptyValue: "null" },
            },
        ],
    });
    if (made.fieldConfig) made.fieldConfig.defaults.custom = { ...made.fieldConfig.defaults.custom, ...cells.custom };
    return made;
}

/** One horizontal bar for each series. */
export function bars(base: Base): Panel {
    const options: GaugeOptions = {
        reduceOptions: { calcs: ["lastNotNull"], fields: "", values: true },
        orientation: VizOrientation.Horizontal,
        displayMode: BarGaugeDisplayMode.Basic,
        legend: { calcs: [], displayMode: LegendDisplayMode.List, placement: "bottom", showLegend: false },
        maxVizHeight: 300,
        minVizHeight: 16,
        minVizWidth: 8,
        namePlacement: BarGaugeNamePlacement.Left,
        showUnfilled: true,
        sizing: BarGaugeSizing.Auto,
        valueMode: BarGaugeValueMode.Color,
    };
    return panel("bargauge", base, options, {}, FieldColorModeId.Thresholds);
}

/**
 * Nodes and the edges between them, from two queries that are named so: `id`, `title`, `subtitle`, `mainstat`, `secondarystat`, and shares `arc__…`
 * of a circle; `id`, `source`, `target`, `mainstat`, `secondarystat` and `thickness`. `arcs` has the colours of the shares.
 */
export function nodeGraph(base: Base & { readonly arcs: Readonly<Record<string, string>> }): Panel {
    const options: NodeGraphOptions = {
        layoutAlgorithm: LayoutAlgorithm.Layered,
        zoomMode: ZoomMode.Cooperative,
        nodes: {
            mainStatUnit: base.unit,
            arcs: Object.entries(base.arcs).map(([field, color]) => ({ field, color })),
        },
    };
    return panel("nodeGraph", base, options, {}, FieldColorModeId.Thresholds);
}

/** The states of something over time: 0 healthy, 1 getting worse, 2 failing. */
export function lights(base: Base): Panel {
    const options: TimelineOptions = {
        legend: { calcs: [], displayMode: LegendDisplayMode.List, placement: "bottom", showLegend: true },
        mergeValues: true,
        rowHeight: 0.85,
        showValue: VisibilityMode.Never,
        tooltip: { mode: TooltipDisplayMode.Single, sort: SortOrder.None },
    };
    const custom: TimelineField = { fillOpacity: 80, lineWidth: 0 };
    const made = panel(
        "state-timeline",
        { ...base, bounds: { warning: 1, critical: 2 } },
        options,
        custom,
        FieldColorModeId.Thresholds,
    );
    if (made.fieldConfig) {
        made.fieldConfig.defaults.mappings = [states({ "0": "healthy", "1": "getting worse", "2": "failing" })];
    }
    return made;
}

/** Words for values. */
export function states(words: Record<string, string>): ValueMapping {
    const options = Object.fromEntries(Object.entries(words).map(([value, text], index) => [value, { text, index }]));
    return { type: MappingType.ValueToText, options };
}
