// KPIs of a registrar: a board each for operations, sales and product, from `/metrics` of `dnscribe-kpi serve`.
import type { Dashboard, Panel } from "@grafana/schema";
import { board, next, runbook, WEEKS } from "../board.js";
import { kpi, metric as m } from "../names.js";
import { bars, type Bounds, series, stat, type Unit } from "../panels.js";
import { prometheus, prometheusNow } from "../sources.js";

type Kpi = (typeof kpi)[keyof typeof kpi];
type Family = "operations" | "sales" | "product";

/** Grafana's unit of a KPI's values, and what their query ends with to be in that unit. */
const UNITS: Partial<Record<Kpi["unit"], readonly [Unit, string]>> = {
    ratio: ["percentunit", ""],
    hours: ["h", ""],
    minutes: ["m", ""],
    milliseconds: ["ms", ""],
    micros: ["short", " / 1e6"],
};

/** Bounds of a rule such as "below 97 %" or "above 24 hours"; none where it compares with other days or counts days. */
function bounds(when: string): { bounds?: Bounds } {
    const [, side, number, unit] = /^(below|above) ([\d.]+) (%|\w+)$/.exec(when) ?? [];
    if (number === undefined) return {};
    const bound = unit === "%" ? Number(number) / 100 : Number(number);
    return { bounds: { warning: bound, critical: bound, isLower: side === "below" } };
}

/** Newest value of a KPI, with its meaning and what to do from the dictionary. */
function value({ name, description, unit, when, action, runbook: page }: Kpi): Panel {
    const [shown, scale] = UNITS[unit] ?? ["short", ""];
    return stat({
        title: name,
        description: `${description} The last day that is over. ${when === "Always" ? "" : `If ${when}: `}${action}`,
        unit: shown,
        ...bounds(when),
        withTrend: true,
        noValue: "no value",
        links: [runbook(page), next("pipeline")],
        targets: [prometheus(`max by (slice) (${m.dnscribe_kpi_value}{kpi="${name}"})${scale}`, "{{slice}}")],
    });
}

function kpiBoard(family: Family, question: string, headlines: readonly [Kpi, Kpi, Kpi, Kpi]): Dashboard {
    const links = [runbook("kpi"), next("pipeline")];
    // Each `serve` that is scraped has all values.
    const newest = `max by (kpi, slice) (${m.dnscribe_kpi_value}{family="${family}"})`;
    const before = `max by (kpi, slice) (${m.dnscribe_kpi_value_week_before}{family="${family}"} != 0)`;
    return board(
        family,
        `${question} The first row answers it; below it what moved, and whether the numbers can be trusted. Values are days in UTC.`,
        [],
        [
            { title: question, height: 6, panels: headlines.map((one) => [6, value(one)] as const) },
            {
                title: "What moved?",
                height: 12,
                panels: [
                    [
                        12,
                        bars({
                            title: "Change to the week before",
                            description:
                                "Each KPI of the family on the last day that is over, against the same weekday of the week before. Ask the API for the slices of what moved " +
                                "most: /v1/kpis/NAME?by=tld,country,channel.",
                            unit: "percentunit",
                            decimals: 1,
                            links,
                            targets: [prometheusNow(`(${newest} - ${before}) / abs(${before})`, "{{kpi}} {{slice}}")],
                        }),
                    ],
                    [
                        12,
                        series({
                            title: "Ratios",
                            description:
                                "All ratios of the family, day by day. Their formulas, owners and bounds are in the list of all KPIs. A line that ends is a ratio over nothing.",
                            unit: "percentunit",
                            links: [runbook("kpis"), next("pipeline")],
                            targets: [
                                prometheus(
                                    `max by (kpi) (${m.dnscribe_kpi_value}{family="${family}", unit="ratio"})`,
                                    "{{kpi}}",
                                ),
                            ],
                        }),
                    ],
                ],
            },
            {
                title: "Can the numbers be trusted?",
                height: 7,
                panels: [
                    [
                        6,
                        stat({
                            title: "Age of the newest fact",
                            description:
                                "By source. Red: nothing was imported for three days; days without facts are incomplete, not zero. Look at the job that imports.",
                            unit: "s",
                            bounds: { warning: 129_600, critical: 259_200 },
                            links,
                            targets: [
                                prometheusNow(
                                    `time() - max by (source) (${m.dnscribe_kpi_newest_fact_timestamp_seconds})`,
                                    "{{source}}",
                                ),
                            ],
                        }),
                    ],
                    [
                        6,
                        stat({
                            title: "Age of the computation",
                            description:
                                "Since `compute` ran last. Red: its timer does not run, or it fails: see its log.",
                            unit: "s",
                            bounds: { warning: 93_600, critical: 180_000 },
                            links,
                            targets: [
                                prometheusNow(`time() - max(${m.dnscribe_kpi_computed_timestamp_seconds})`, "computed"),
                            ],
                        }),
                    ],
                    [
                        12,
                        bars({
                            title: "Incomplete days of the last 28",
                            description:
                                "Days on which data of the KPI are missing: a silent source, hours without windows, refused rows. The API says why (`reasons`). " +
                                "They are never frozen: import what is missing, and compute again.",
                            unit: "short",
                            bounds: { warning: 1, critical: 7 },
                            links,
                            targets: [
                                prometheusNow(
                                    `sort_desc(max by (kpi) (${m.dnscribe_kpi_incomplete}{family="${family}"}))`,
                                    "{{kpi}}",
                                ),
                            ],
                        }),
                    ],
                ],
            },
        ],
        WEEKS,
    );
}

export const operations = kpiBoard("operations", "Do registrations, transfers and abuse cases run as promised?", [
    kpi.registration_success_ratio,
    kpi.transfer_completion_ratio,
    kpi.dns_query_error_ratio,
    kpi.abuse_first_response_hours_p50,
]);

export const sales = kpiBoard("sales", "Does the business grow, and what does it earn?", [
    kpi.registrations,
    kpi.net_transfers,
    kpi.renewal_ratio,
    kpi.revenue,
]);

export const product = kpiBoard("product", "Do customers get done what they came for, and how fast?", [
    kpi.workflow_completion_ratio,
    kpi.api_error_ratio,
    kpi.api_latency_ms_p95,
    kpi.dns_change_minutes_p50,
]);
