// Prometheus' view of the scripted day: OpenMetrics text for `promtool tsdb create-blocks-from openmetrics`. The counters
// are those that agents and probes of the day would have shown each minute.
//
// Usage: node metrics.js START_MS FILE [WITHOUT,…]
import { createWriteStream } from "node:fs";
import { metric as m } from "../names.js";
import { CERTIFICATE_MINUTE, clients, HOURS, incidents, type IncidentName, lasts, type Node } from "./day.js";
import { nodeNames } from "./records.js";

const [startText = "", file = "", withoutText = ""] = process.argv.slice(2);
const startSeconds = Math.floor(Number(startText) / 1000);
const without = withoutText.split(",").filter((name) => name !== "") as IncidentName[];
const MINUTES = HOURS * 60;
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
    readonly type: "counter" | "gauge";
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

const families: Family[] = [
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
        name: m.dnscribe_dropped_total,
        type: "counter",
        series: [
            ...each({ stage: "kernel", reason: "ring_full" }, (node, minute) => (isLossy(node, minute) ? 300 : 0)),
            ...each({ stage: "delivery", reason: "queue_full" }, () => 0),
        ],
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
        name: m.dnscribe_kafka_away,
        type: "gauge",
        series: each({ sink: "kafka" }, (node, minute) => (isLossy(node, minute) ? 1 : 0)),
    },
    { name: m.dnscribe_alertmanager_waiting, type: "gauge", series: each({ sink: "alertmanager" }, () => 0) },
    { name: m.dnscribe_build_info, type: "gauge", series: each({ version: "0.1.0", revision: "unknown" }, () => 1) },
    { name: m.dnscribe_kubernetes_up, type: "gauge", series: each({}, () => 1) },
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
                labels: { ...instance(node), pod: `${namespace}/${pod}` },
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
                labels: { ...instance(node), pod: `${client.namespace}/${client.pod}` },
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
    // OpenMetrics names a counter without its suffix in the line TYPE.
    out.write(`# TYPE ${type === "counter" ? name.replace(/_total$/, "") : name} ${type}\n`);
    for (const { labels, value } of series) {
        const text = Object.entries(labels)
            .map(([label, content]) => `${label}="${content}"`)
            .join(",");
        let sum = 0;
        for (let minute = 0; minute <= MINUTES; minute++) {
            const now = value(minute);
            sum = type === "counter" ? sum + now : now;
            out.write(`${name}{${text}} ${String(sum)} ${String(startSeconds + minute * 60)}\n`);
        }
    }
}
out.end("# EOF\n");
console.error(`${String(families.length)} metrics, incidents ${Object.keys(incidents).join(", ")}`);
