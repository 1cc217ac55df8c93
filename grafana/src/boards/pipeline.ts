// Pipeline: does every record arrive, and how late?
import { board, next, runbook } from "../board.js";
import { FRESHNESS_SECONDS, NONE } from "../common.js";
import {
    dns_alerts as a,
    dns_fleet as f,
    dns_probes as p,
    dns_nodes_1h as n,
    metric as m,
    stream_ledger as l,
} from "../names.js";
import { column, DAY_TIME, series, stat, states, table } from "../panels.js";
import { clickhouse, prometheus, timescaledb } from "../sources.js";

/** Metrics of Flink's Prometheus reporter. */
const flink = {
    checkpointMs: "flink_jobmanager_job_lastCheckpointDuration",
    failedCheckpoints: "flink_jobmanager_job_numberOfFailedCheckpoints",
    pendingRecords: "flink_taskmanager_job_task_operator_pendingRecords",
    uptimeMs: "flink_jobmanager_job_uptime",
} as const;

/** The newest ledger of each job at the end of the time range. */
const NEWEST = `SELECT DISTINCT ON (${l.job}) * FROM stream_ledger WHERE ${l.ts} <= $__timeTo() ORDER BY ${l.job}, ${l.ts} DESC, ${l.checkpoint} DESC`;
const age = (column: string): string => `extract(epoch FROM $__timeTo()::timestamptz - max(${column}))::float8`;

export const pipeline = board(
    "pipeline",
    "Does every record arrive? The first row answers it; below it how late, and where losses are.",
    [],
    [
        {
            title: "Does every record arrive?",
            height: 6,
            panels: [
                [
                    6,
                    stat({
                        title: "Every identity closes",
                        description:
                            "Green only if the newest ledger of each job says that records = unique + duplicates + malformed per topic, and records = written + dropped per output. " +
                            "Red: run dnscribe ledger verify; the table below says which sum does not close.",
                        unit: "none",
                        bounds: { warning: 1, critical: 1, isLower: true },
                        mappings: [states({ "0": "no", "1": "yes" })],
                        noValue: "no ledger",
                        links: [runbook("ledger"), next("noc")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT min(${l.balanced}::int) AS balanced FROM (${NEWEST}) AS newest`,
                            ),
                        ],
                    }),
                ],
                [
                    10,
                    stat({
                        title: "Age of the newest row",
                        description:
                            "Seconds from the newest row of each table to the end of the time range: lag from the socket to the row. Windows are a minute long and wait for late nodes, " +
                            "so a minute and a half is normal for them. Red in all: Kafka or Flink; red in one: its store or its job.",
                        unit: "s",
                        decimals: 0,
                        bounds: FRESHNESS_SECONDS,
                        links: [runbook("stream-operation"), next("noc")],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT (SELECT ${age(f.ts)} FROM dns_fleet WHERE ${f.ts} <= $__timeTo() AND ${f.ts} > $__timeTo()::timestamptz - INTERVAL '1 day') AS "windows",
                   (SELECT ${age(p.ts)} FROM dns_probes WHERE ${p.ts} <= $__timeTo() AND ${p.ts} > $__timeTo()::timestamptz - INTERVAL '1 day') AS "probes",
                   (SELECT ${age(l.ts)} FROM stream_ledger WHERE ${l.ts} <= $__timeTo()) AS "ledger"`,
                            ),
                            clickhouse(
                                "table",
                                `SELECT dateDiff('second', max(${n.last}), $__toTime) AS transactions FROM dns_nodes_1h
                 WHERE ${n.hour} > $__toTime - INTERVAL 1 DAY AND ${n.hour} <= $__toTime`,
                                "B",
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Records waiting in Kafka",
                        description:
                            "Records that the jobs have not read yet. It grows while a store is away or a job restarts, and falls when they catch up; one that only grows needs more slots.",
                        unit: "short",
                        links: [runbook("stream-operation"), next("noc")],
                        noValue: "no jobs",
                        targets: [prometheus(`sum by (job_name) (${flink.pendingRecords})`, "{{job_name}}")],
                    }),
                ],
            ],
        },
        {
            title: "Identities of the ledgers",
            height: 9,
            panels: [
                [
                    12,
                    table({
                        title: "What each job read and wrote",
                        description:
                            "The newest ledger of each job: one row for each topic that it reads and each sink that it writes. A difference other than 0 is a loss without a counter: it must not exist. " +
                            "Dropped rows have a reason and are dead letters in dns.dlq.",
                        unit: "short",
                        links: [runbook("stream"), next("noc")],
                        overrides: [
                            column("difference", "short", { warning: 1, critical: 1 }),
                            column("dropped", "short", NONE),
                        ],
                        widths: { job: 120, records: 85, passed: 85, duplicates: 85, dropped: 80, difference: 85 },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT ${l.job}, 'reads ' || key AS place, (value ->> 'records')::bigint AS records, (value ->> 'unique')::bigint AS passed,
                   (value ->> 'duplicates')::bigint AS duplicates, (value ->> 'malformed')::bigint AS dropped,
                   (value ->> 'records')::bigint - (value ->> 'unique')::bigint - (value ->> 'duplicates')::bigint - (value ->> 'malformed')::bigint AS difference
                 FROM (${NEWEST}) AS newest, jsonb_each(${l.input})
                 UNION ALL SELECT ${l.job}, 'writes ' || key, (value ->> 'records')::bigint, (value ->> 'written')::bigint, NULL,
                   (SELECT coalesce(sum(reason.value::bigint), 0) FROM jsonb_each_text(coalesce(value -> 'dropped', '{}')) AS reason),
                   (value ->> 'records')::bigint - (value ->> 'written')::bigint
                     - (SELECT coalesce(sum(reason.value::bigint), 0) FROM jsonb_each_text(coalesce(value -> 'dropped', '{}')) AS reason)
                 FROM (${NEWEST}) AS newest, jsonb_each(${l.output}) ORDER BY 1, 2`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Losses by stage",
                        description:
                            "Losses a second by stage and reason, as the agents' ledgers count them: kernel (ring full), decode (malformed), pairing (evicted), delivery (a sink's queue). " +
                            "Kernel and decode count packets, pairing queries, delivery records. Red: the page losses says what each reason needs.",
                        unit: "cps",
                        bounds: { warning: 0.1, critical: 10 },
                        links: [runbook("runbooks/losses"), next("kubernetes")],
                        targets: [
                            prometheus(
                                `sum by (stage, reason) (rate({__name__=~"dnscribe_dropped_(packets|queries|records)_total"}[$__rate_interval])) > 0`,
                                "{{stage}} {{reason}}",
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Nodes",
            height: 6,
            panels: [
                [
                    24,
                    table({
                        title: "Nodes that fell silent",
                        description:
                            "Nodes of the week before the end of the time range without a transaction in its last 15 minutes, the latest first. Down, without traffic, or with an agent " +
                            "that does not run or cannot reach Kafka: its spool and its service's log say which.",
                        unit: "short",
                        links: [runbook("runbooks/health"), next("kubernetes")],
                        overrides: [
                            column("last_seen", DAY_TIME),
                            column("silent_for", "s", { warning: 900, critical: 3_600 }),
                        ],
                        widths: { site: 150, last_seen: 150, silent_for: 150 },
                        noValue: "every node sends",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${n.node}, any(${n.region}) AS site, max(${n.last}) AS last_seen, dateDiff('second', last_seen, $__toTime) AS silent_for FROM dns_nodes_1h
                 WHERE ${n.hour} > $__toTime - INTERVAL 7 DAY AND ${n.hour} <= $__toTime GROUP BY ${n.node} HAVING silent_for > 900 ORDER BY silent_for LIMIT 100`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Agents and Kafka",
            height: 8,
            panels: [
                [
                    8,
                    series({
                        title: "Spool",
                        description:
                            "Bytes that wait on the disks of agents and probes because Kafka, or an OpenTelemetry server, does not accept them. It drains by itself when that is back; while it grows, watch the " +
                            "bound spool.max_bytes: beyond it records are dropped.",
                        unit: "bytes",
                        links: [runbook("kafka"), next("kubernetes")],
                        targets: [prometheus(`sum by (instance) (${m.dnscribe_spool_bytes})`, "{{instance}}")],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Records delivered",
                        description:
                            "Records a second that brokers acknowledged, by stream. A fall to 0 with traffic on the operations board is Kafka; see the spool beside it.",
                        unit: "cps",
                        links: [runbook("kafka"), next("noc")],
                        targets: [
                            prometheus(
                                `sum by (stream) (rate(${m.dnscribe_records_total}{outcome="delivered"}[$__rate_interval]))`,
                                "{{stream}}",
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Agents without Kafka",
                        description:
                            "Agents and probes for which Kafka accepts no records. All at once: the brokers; one: its network, its certificate or its ACL.",
                        unit: "short",
                        bounds: NONE,
                        links: [runbook("kafka"), next("kubernetes")],
                        targets: [prometheus(`sum(${m.dnscribe_kafka_up} == bool 0)`, "agents")],
                    }),
                ],
            ],
        },
        {
            title: "Jobs",
            height: 8,
            panels: [
                [
                    8,
                    series({
                        title: "Checkpoints",
                        description:
                            "Duration of the last checkpoint of each job. Rows and records appear with checkpoints: one that grows towards its interval delays them, and comes from a slow store.",
                        unit: "ms",
                        bounds: { warning: 10_000, critical: 60_000 },
                        links: [runbook("stream-operation"), next("noc")],
                        targets: [prometheus(`max by (job_name) (${flink.checkpointMs})`, "{{job_name}}")],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Failed checkpoints and restarts",
                        description:
                            "Failed checkpoints in 15 minutes, and whether a job restarted in that time. Repeated restarts: Flink's log of the job manager names the operator.",
                        unit: "short",
                        bounds: NONE,
                        links: [runbook("stream-operation"), next("noc")],
                        targets: [
                            prometheus(
                                `max by (job_name) (increase(${flink.failedCheckpoints}[15m]))`,
                                "{{job_name}} failed",
                            ),
                            prometheus(
                                `max by (job_name) (resets(${flink.uptimeMs}[15m]))`,
                                "{{job_name}} restarts",
                                "B",
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Checkpoints by the ledger",
                        description:
                            "Ledger records by job in each step: one for each completed checkpoint. A gap is a job that was down.",
                        unit: "short",
                        isBars: true,
                        links: [runbook("stream"), next("noc")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${l.ts}, $__interval), ${l.job} AS metric, count(*) AS "checkpoints" FROM stream_ledger WHERE $__timeFilter(${l.ts}) GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Alerts on their way",
            height: 6,
            panels: [
                [
                    12,
                    series({
                        title: "Alerts written",
                        description:
                            "Records of alerts in each step by scope, repetitions included. Silence of a scope for hours is normal only where nothing fired.",
                        unit: "short",
                        isBars: true,
                        links: [runbook("alertmanager"), next("slo")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${a.ts}, $__interval), ${a.scope} AS metric, count(*) AS "alerts" FROM dns_alerts WHERE $__timeFilter(${a.ts}) GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Alerts that no Alertmanager has",
                        description:
                            "Alerts whose newest state no Alertmanager has received. Above 0 for minutes: nobody is notified; see dnscribe_alertmanager_failed_total.",
                        unit: "short",
                        bounds: NONE,
                        noValue: "no Alertmanager configured",
                        links: [runbook("alertmanager"), next("slo")],
                        targets: [prometheus(`sum by (instance) (${m.dnscribe_alertmanager_waiting})`, "{{instance}}")],
                    }),
                ],
            ],
        },
    ],
);
