// Prometheus' view of the scripted day: OpenMetrics text for `promtool tsdb create-blocks-from openmetrics`. The counters
// are those that agents and probes of the day would have shown each minute.
//
// Usage: node metrics.js START_MS FILE [WITHOUT,…]
import { createWriteStream } from "node:fs";
import { kpi, metric as m } from "../names.js";
import { CERTIFICATE_MINUTE, clients, HOURS, incidents, type IncidentName, lasts, type Node } from "./day.js";
import { nodeNames } from "./records.js";

const [startText = "", file = "", withoutText = ""] = process.argv.slice(2);
const startSeconds = Math.floor(Number(startText) / 1000);
const without = withoutText.split(",").filter((name) => name !== "") as IncidentName[];
/** The day, and the minutes since: who asks what is so now gets no sample that is older than five. */
const MINUTES = Math.max(HOURS * 60, Math.floor((Date.now() / 1000 - startSeconds) / 60));
/** Port of the agents' metrics. */
const PORT = 9353;

type Labels = Record<string, string>;
/** Value of a gauge, or increase of a counter, in a minute. */
type Value = (minute: number) => number;

interface Series {
    readonly labels: Labels;
    readonly value: Value;
}

interface Family {
    readonly name: string;
    readonly type: "counter" | "gauge" | "histogram";
    readonly series: readonly Series[];
}

const happens = (name: IncidentName, minute: number): boolean => !without.includes(name) && lasts(name, minute);
const instance = (node: Node): Labels => ({ job: "dnscribe", instance: `${node}:${String(PORT)}` });
/** One series for each node. */
const each = (labels: Labels, value: (node: Node, minute: number) => number): Series[] =>
    nodeNames.map((node) => ({ labels: { ...instance(node), ...labels }, value: (minute) => value(node, minute) }));
const isLossy = (node: Node, minute: number): boolean => node === "us-1" && happens("packets", minute);

const transactions = (
    resolver: string,
    status: string,
    rcode: string,
    value: (node: Node, minute: number) => number,
): Series[] => each({ vantage: "client", transport: "udp", resolver, qtype: "A", status, rcode }, value);
const isDead = (resolver: string, minute: number): boolean => resolver === "resolver-2" && happens("resolver", minute);
const outcomes = ["resolver-1", "resolver-2"].flatMap((resolver) => [
    ...transactions(resolver, "answered", "NOERROR", (node, minute) =>
        isDead(resolver, minute) ? 0 : isLossy(node, minute) ? 20 : 30,
    ),
    ...transactions(resolver, "answered", "NXDOMAIN", (node, minute) =>
        happens("deploy", minute) && node !== "us-1" ? 120 : 6,
    ),
    ...transactions(resolver, "timeout", "", (node, minute) =>
        isDead(resolver, minute) ? 30 : isLossy(node, minute) ? 10 : 0,
    ),
]);

/** Queries of each pod, of 20 a minute and those of the incidents, by outcome. */
const byPod = nodeNames.flatMap((node) => {
    const [cart, web, runner, shell] = clients(node);
    return [cart, web, runner, shell].flatMap((client) => {
        const asks = client === shell ? 0 : 20;
        const lost = (minute: number): number =>
            (happens("resolver", minute) ? asks / 2 : 0) + (isLossy(node, minute) ? 0.35 * asks : 0);
        const outcomes: Record<string, Value> = {
            answered: (minute) =>
                asks - lost(minute) + (client === shell && node === "us-1" && happens("tunnel", minute) ? 180 : 0),
            nxdomain: (minute) =>
                (client === web ? 12 : 0) + (client === cart && node !== "us-1" && happens("deploy", minute) ? 240 : 0),
            servfail: (minute) => (client === web && happens("forged", minute) ? 10 : 0),
            timeout: lost,
        };
        return Object.entries(outcomes).map(([outcome, value]) => ({ node, client, outcome, value }));
    });
});
const podLabels = byPod.map(({ node, client: { namespace, pod, workload }, outcome, value }) => ({
    labels: { ...instance(node), namespace, pod, workload, outcome },
    value,
}));
/** Share of the responses up to a bound in seconds: those of the cache take half a millisecond to 1.5, the others 8 to 38. */
const latencies = {
    "0.0005": 0,
    "0.001": 0.35,
    "0.0025": 0.7,
    "0.005": 0.7,
    "0.01": 0.72,
    "0.025": 0.87,
    "0.05": 1,
    "0.1": 1,
    "+Inf": 1,
};
const durations = nodeNames.flatMap((node) =>
    clients(node).flatMap(({ namespace, pod, workload }) => {
        const mine = byPod.filter((one) => one.node === node && one.client.pod === pod && one.outcome !== "timeout");
        const responses: Value = (minute) => mine.reduce((sum, { value }) => sum + value(minute), 0);
        return Object.entries(latencies).map(([le, share]) => ({
            labels: { ...instance(node), namespace, workload, le },
            value: (minute: number) => share * responses(minute),
        }));
    }),
);

/** A KPI of the day: its usual value, and the value during an incident. */
const kpis: readonly (readonly [keyof typeof kpi, family: string, usual: number, IncidentName?, during?: number])[] = [
    ["registration_success_ratio", "operations", 0.985, "resolver", 0.81],
    ["transfer_completion_ratio", "operations", 0.96],
    ["dns_query_error_ratio", "operations", 0.004, "resolver", 0.26],
    ["abuse_first_response_hours_p50", "operations", 5.5],
    ["registrations", "sales", 1260, "resolver", 840],
    ["net_transfers", "sales", -4],
    ["renewal_ratio", "sales", 0.78],
    ["workflow_completion_ratio", "product", 0.87],
    ["api_error_ratio", "product", 0.006, "deploy", 0.24],
    ["api_latency_ms_p95", "product", 240, "deploy", 1150],
    ["dns_change_minutes_p50", "product", 3.5],
];
const ofKpi = (name: keyof typeof kpi, family: string, slice = ""): Labels => ({
    job: "dnscribe-kpi",
    instance: "kpi:9356",
    kpi: name,
    family,
    unit: kpi[name].unit,
    slice,
});
const money = (factor: number): Series[] =>
    ["EUR", "USD"].map((slice, index) => ({
        labels: ofKpi("revenue", "sales", slice),
        value: () => factor * (18_400_000_000 - index * 12_000_000_000),
    }));

const families: Family[] = [
    {
        name: m.dnscribe_kpi_value,
        type: "gauge",
        series: [
            ...kpis.map(([name, family, usual, incident, during = usual]) => ({
                labels: ofKpi(name, family),
                value: (minute: number) => (incident !== undefined && happens(incident, minute) ? during : usual),
            })),
            ...money(1),
        ],
    },
    {
        name: m.dnscribe_kpi_value_week_before,
        type: "gauge",
        series: [
            ...kpis.map(([name, family, usual]) => ({ labels: ofKpi(name, family), value: () => usual * 0.95 })),
            ...money(0.9),
        ],
    },
    {
        name: m.dnscribe_kpi_incomplete,
        type: "gauge",
        series: [...kpis.map(([name, family]) => [name, family] as const), ["revenue", "sales"] as const].map(
            ([name, family]) => ({
                labels: { job: "dnscribe-kpi", instance: "kpi:9356", kpi: name, family },
                value: () => (["registration_success_ratio", "revenue", "api_error_ratio"].includes(name) ? 2 : 0),
            }),
        ),
    },
    {
        name: m.dnscribe_kpi_computed_timestamp_seconds,
        type: "gauge",
        series: [
            {
                labels: { job: "dnscribe-kpi", instance: "kpi:9356" },
                value: (minute) => startSeconds + Math.floor(minute / 60) * 3600 - 120,
            },
        ],
    },
    {
        name: m.dnscribe_kpi_newest_fact_timestamp_seconds,
        type: "gauge",
        series: ["events", "dns", "probes"].map((source) => ({
            labels: { job: "dnscribe-kpi", instance: "kpi:9356", source },
            value: (minute) => startSeconds + minute * 60 - 5_400,
        })),
    },
    { name: m.dns_transactions_total, type: "counter", series: outcomes },
    {
        name: m.dnscribe_packets_total,
        type: "counter",
        series: [
            ...each({ hook: "cgroup", outcome: "submitted" }, () => 120),
            ...each({ hook: "cgroup", outcome: "lost_ring_full" }, (node, minute) => (isLossy(node, minute) ? 300 : 0)),
            ...each({ hook: "cgroup", outcome: "sampled_out" }, () => 0),
        ],
    },
    {
        name: m.dnscribe_dropped_packets_total,
        type: "counter",
        series: each({ stage: "kernel", reason: "ring_full" }, (node, minute) => (isLossy(node, minute) ? 300 : 0)),
    },
    {
        name: m.dns_lost_messages_total,
        type: "counter",
        series: each({ qr: "query", stage: "netfilter", reason: "NETFILTER_DROP" }, (node, minute) =>
            isLossy(node, minute) ? 20 : 0,
        ),
    },
    {
        name: m.dnscribe_dropped_records_total,
        type: "counter",
        series: each({ stage: "delivery", reason: "queue_full" }, () => 0),
    },
    {
        name: m.dnscribe_records_total,
        type: "counter",
        series: each({ stream: "transactions", outcome: "delivered" }, () => 60),
    },
    {
        name: m.dnscribe_spool_bytes,
        type: "gauge",
        series: each({}, (node, minute) => (isLossy(node, minute) ? 4e6 : 0)),
    },
    {
        name: m.dnscribe_kafka_up,
        type: "gauge",
        series: each({ sink: "kafka" }, (node, minute) => (isLossy(node, minute) ? 0 : 1)),
    },
    { name: m.dnscribe_alertmanager_waiting, type: "gauge", series: each({ sink: "alertmanager" }, () => 0) },
    { name: m.dnscribe_build_info, type: "gauge", series: each({ version: "0.1.0", revision: "unknown" }, () => 1) },
    { name: m.dnscribe_kubernetes_up, type: "gauge", series: each({}, () => 1) },
    { name: m.dnscribe_kubernetes_pods, type: "gauge", series: each({}, () => 4) },
    { name: m.dns_pod_transactions_total, type: "counter", series: podLabels },
    { name: m.dns_pod_transaction_duration_seconds_bucket, type: "histogram", series: durations },
    { name: m.dnscribe_pod_series_removed_total, type: "counter", series: each({}, () => 0) },
    // Prometheus writes it itself, for each target.
    { name: "up", type: "gauge", series: each({}, () => 1) },
    {
        name: m.dnscribe_kubernetes_transactions_total,
        type: "counter",
        series: [...each({ outcome: "named" }, () => 60), ...each({ outcome: "unnamed" }, () => 0)],
    },
    {
        name: m.dnscribe_lookup_queries_total,
        type: "counter",
        series: nodeNames.flatMap((node) => {
            const [cart, web] = clients(node);
            return [cart, web].map(({ namespace, pod }) => ({
                labels: { ...instance(node), namespace, pod },
                value: () => 40,
            }));
        }),
    },
    {
        name: m.dnscribe_lookup_wasted_queries_total,
        type: "counter",
        series: nodeNames.flatMap((node) => {
            const [cart, web] = clients(node);
            return [cart, web].map((client) => ({
                labels: { ...instance(node), namespace: client.namespace, pod: client.pod },
                value: () => (client === web ? 28 : 2),
            }));
        }),
    },
    {
        name: m.probe_success,
        type: "gauge",
        series: ["eu", "us"].map((site) => ({
            labels: {
                job: "dnscribe-probe",
                instance: `probe-${site}:9353`,
                service: "shop",
                kind: "http",
                target: "https://www.shop-corp.com/health",
            },
            value: (minute) => (site === "us" && happens("packets", minute) ? 0 : 1),
        })),
    },
    {
        name: m.probe_ssl_earliest_cert_expiry,
        type: "gauge",
        series: [
            {
                labels: {
                    job: "dnscribe-probe",
                    instance: "probe-eu:9353",
                    service: "shop",
                    kind: "tls",
                    target: "192.0.2.10:443",
                },
                value: () => startSeconds + CERTIFICATE_MINUTE * 60 + 3 * 86_400,
            },
        ],
    },
];

const out = createWriteStream(file);
for (const { name, type, series } of families) {
    // OpenMetrics names counters and histograms without their suffixes in the line TYPE.
    out.write(`# TYPE ${type === "gauge" ? name : name.replace(/_(total|bucket)$/, "")} ${type}\n`);
    for (const { labels, value } of series) {
        const text = Object.entries(labels)
            .map(([label, content]) => `${label}="${content}"`)
            .join(",");
        let sum = 0;
        for (let minute = 0; minute <= MINUTES; minute++) {
            const now = value(minute);
            sum = type === "gauge" ? now : sum + now;
            out.write(`${name}{${text}} ${String(sum)} ${String(startSeconds + minute * 60)}\n`);
        }
    }
}
out.end("# EOF\n");
console.error(`${String(families.length)} metrics, incidents ${Object.keys(incidents).join(", ")}`);
