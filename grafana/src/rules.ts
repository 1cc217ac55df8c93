// Alert rules that Grafana evaluates: those about what lives in SQL. The rules about metrics are in prometheus/rules.
import { boards, type BoardName, published } from "./board.js";
import { FAILURES, FRESHNESS_SECONDS } from "./common.js";
import { dns_fleet as f, dns_probes as p, stream_ledger as l } from "./names.js";
import { failed, sources, timescaledb } from "./sources.js";

/** Seconds of the time range of a query. */
const RANGE_SECONDS = 600;

interface Rule {
    readonly uid: string;
    readonly title: string;
    /** Query with one value for each row; the other columns become labels. */
    readonly sql: string;
    /** The rule fires while the value is greater. */
    readonly above: number;
    readonly pending: string;
    readonly severity: "info" | "warning" | "critical";
    readonly cause: string;
    readonly summary: string;
    readonly runbook: string;
    readonly board: BoardName;
}

/** The rules. */
export const rules: readonly Rule[] = [
    {
        uid: "dnscribe-identity",
        title: "DnscribeIdentityOpen",
        sql: `SELECT ${l.job}, 1 - ${l.balanced}::int AS value FROM (SELECT DISTINCT ON (${l.job}) * FROM stream_ledger
          WHERE ${l.ts} > now() - INTERVAL '1 day' ORDER BY ${l.job}, ${l.ts} DESC, ${l.checkpoint} DESC) AS newest`,
        above: 0,
        pending: "0s",
        severity: "critical",
        cause: "losses",
        summary: "The ledger of the job {{ $labels.job }} does not close: run dnscribe ledger verify.",
        runbook: "ledger",
        board: "pipeline",
    },
    {
        uid: "dnscribe-malformed",
        title: "DnscribeRecordsMalformed",
        sql: `SELECT ${l.job}, topic.key AS topic, (max((topic.value ->> 'malformed')::bigint) - min((topic.value ->> 'malformed')::bigint))::float8
            / nullif(max((topic.value ->> 'records')::bigint) - min((topic.value ->> 'records')::bigint), 0) AS value
          FROM stream_ledger, jsonb_each(${l.input}) AS topic
          WHERE ${l.ts} > now() - INTERVAL '15 minutes' GROUP BY 1, 2`,
        above: 0.01,
        pending: "5m",
        severity: "warning",
        cause: "stream",
        summary:
            "The job {{ $labels.job }} cannot read {{ $values.A }} of the records of {{ $labels.topic }}: dns.dlq says why.",
        runbook: "stream-operation",
        board: "pipeline",
    },
    {
        uid: "dnscribe-stale",
        title: "DnscribeRowsStale",
        sql: `SELECT coalesce(extract(epoch FROM now() - max(${f.ts})), 86400)::float8 AS value FROM dns_fleet WHERE ${f.ts} > now() - INTERVAL '1 day'`,
        above: FRESHNESS_SECONDS.critical,
        pending: "2m",
        severity: "critical",
        cause: "stream",
        summary: "The newest window of the fleet is {{ $values.A }} s old: boards are out of date.",
        runbook: "stream-operation",
        board: "pipeline",
    },
    {
        uid: "dnscribe-zone-failing",
        title: "DnscribeZoneFailing",
        sql: `SELECT ${f.zone}, ${f.vantage}, sum(${failed})::float8 / sum(${f.queries}) AS value FROM dns_fleet
          WHERE $__timeFilter(${f.ts}) AND ${f.grouping} = 'zone' AND ${f.window_seconds} = 60 AND ${f.step_seconds} = 60 AND NOT ${f.other}
          GROUP BY 1, 2 HAVING sum(${f.queries}) >= 100`,
        above: FAILURES.critical,
        pending: "5m",
        severity: "warning",
        cause: "zone",
        summary: "{{ $values.A }} of the queries of {{ $labels.zone }} failed in ten minutes.",
        runbook: "runbooks/zone-failing",
        board: "noc",
    },
    {
        uid: "dnscribe-certificate",
        title: "DnscribeCertificateExpires",
        sql: `SELECT ${p.service}, ${p.target}, max(past) AS value FROM (
            SELECT DISTINCT ON (${p.service}, ${p.target}, ${p.site}, ${p.body} ->> 'address') ${p.service}, ${p.target},
              extract(epoch FROM now() - ${p.ts})::float8 / 86400 - ${p.cert_expiry_days} AS past
            FROM dns_probes WHERE ${p.ts} > now() - INTERVAL '2 days' AND ${p.cert_expiry_days} IS NOT NULL
            ORDER BY ${p.service}, ${p.target}, ${p.site}, ${p.body} ->> 'address', ${p.ts} DESC
          ) AS newest GROUP BY 1, 2`,
        above: -3,
        pending: "0s",
        severity: "critical",
        cause: "certificate",
        summary: "The certificate of {{ $labels.target }} expires in less than three days, or has expired.",
        runbook: "runbooks/certificate-expiry",
        board: "probes",
    },
    {
        uid: "dnscribe-probes-silent",
        title: "DnscribeSiteSilent",
        sql: `SELECT ${p.site}, extract(epoch FROM now() - max(${p.ts}))::float8 AS value FROM dns_probes
          WHERE ${p.ts} > now() - INTERVAL '1 day' AND ${p.site} IS NOT NULL GROUP BY 1`,
        above: 900,
        pending: "5m",
        severity: "warning",
        cause: "agent",
        summary: "No probe of the site {{ $labels.site }} has measured anything for {{ $values.A }} s.",
        runbook: "probe",
        board: "probes",
    },
];

/** Returns a text that Grafana does not expand as the name of an environment variable. */
function escape(text: string): string {
    return text.replaceAll("$", "$$$$");
}

/** Returns the provisioning file of the rules. */
export function provisioning(): object {
    const made = rules.map((rule) => ({
        uid: rule.uid,
        title: rule.title,
        condition: "B",
        data: [
            {
                refId: "A",
                relativeTimeRange: { from: RANGE_SECONDS, to: 0 },
                datasourceUid: sources.timescaledb.uid,
                model: { ...timescaledb("table", escape(rule.sql)), intervalMs: 60_000, maxDataPoints: 100 },
            },
            {
                refId: "B",
                relativeTimeRange: { from: RANGE_SECONDS, to: 0 },
                datasourceUid: "__expr__",
                model: {
                    refId: "B",
                    type: "threshold",
                    expression: "A",
                    conditions: [{ evaluator: { type: "gt", params: [rule.above] } }],
                },
            },
        ],
        for: rule.pending,
        // A store without rows is the rule DnscribeRowsStale's, one that does not answer is each rule's.
        noDataState: "OK",
        execErrState: "Error",
        labels: { severity: rule.severity, cause: rule.cause },
        annotations: {
            summary: escape(rule.summary),
            runbook_url: `${published}/${rule.runbook}.md`,
            dashboard: boards[rule.board].uid,
            __dashboardUid__: boards[rule.board].uid,
        },
    }));
    return { apiVersion: 1, groups: [{ orgId: 1, name: "dnscribe", folder: "dnscribe", interval: "1m", rules: made }] };
}
