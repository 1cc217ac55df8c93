// A board: rows of panels, variables, annotations, and links to the other boards.
import {
    type AnnotationQuery,
    type Dashboard,
    DashboardCursorSync,
    type DashboardLink,
    type DataQuery,
    type Panel,
    type RowPanel,
    VariableHide,
    type VariableModel,
    VariableRefresh,
    VariableSort,
} from "@grafana/schema";
import {
    dns_alerts as a,
    dns_changes as c,
    dns_connections as e,
    dns_fleet as f,
    dns_lookups as l,
    dns_nodes_1h as n,
    dns_probes as p,
    dns_transactions as t,
    dns_uses as u,
    metric as m,
} from "./names.js";
import { LASTS, sources, timescaledb, type Target, worst } from "./sources.js";

/** Boards by their uids. */
export const boards = {
    noc: { uid: "dnscribe-noc", title: "DNS: operations" },
    traffic: { uid: "dnscribe-traffic", title: "DNS: traffic" },
    security: { uid: "dnscribe-security", title: "DNS: security" },
    slo: { uid: "dnscribe-slo", title: "DNS: service levels" },
    probes: { uid: "dnscribe-probes", title: "DNS: probes" },
    kubernetes: { uid: "dnscribe-kubernetes", title: "DNS: Kubernetes" },
    pods: { uid: "dnscribe-pods", title: "DNS by pod" },
    uses: { uid: "dnscribe-uses", title: "DNS: who talks to what, by name" },
    pipeline: { uid: "dnscribe-pipeline", title: "DNS: pipeline" },
    operations: { uid: "dnscribe-kpi-operations", title: "Registrar: operations" },
    sales: { uid: "dnscribe-kpi-sales", title: "Registrar: sales" },
    product: { uid: "dnscribe-kpi-product", title: "Registrar: product" },
} as const;

/** Name of a board. */
export type BoardName = keyof typeof boards;

/** Where docs/ is published. */
export const published = "https://github.com/dnscribe/dnscribe/blob/main/docs";

/** Where the runbooks are published: the constant `docs` of every board. */
const DOCS = "${docs}";

function link(title: string, url: string, isNewTab = false): DashboardLink {
    return {
        type: "link",
        title,
        url,
        icon: isNewTab ? "external link" : "dashboard",
        tooltip: "",
        tags: [],
        asDropdown: false,
        includeVars: false,
        keepTime: false,
        targetBlank: isNewTab,
    };
}

/** Link to a runbook or another page of the documentation. */
export function runbook(page: string): DashboardLink {
    return link("Runbook", `${DOCS}/${page}.md`, true);
}

/** Link to another board with the time range and all variables kept. */
export function next(board: BoardName): DashboardLink {
    return link(boards[board].title, `/d/${boards[board].uid}?$\{__url_time_range}&$\{__all_variables}`);
}

/** Link to the single transactions behind a number: Explore with a query of ClickHouse, in the same time range. */
export function events(condition: string): DashboardLink {
    const columns = [t.ts, t.node, t.client_ip, t.resolver, t.qname, t.qtype, t.status, t.rcode, t.latency_ms];
    return explore("Raw events", "dns_transactions", t.ts, columns, condition);
}

/** Link to the single connections behind a number, as `events`. */
export function connections(condition: string): DashboardLink {
    const found = [u.match, u.name, u.address, u.port, u.outcome, u.count, u.lookup_ms, u.connect_ms, u.ttl_left_ms];
    return explore("Raw connections", "dns_uses", u.ts, [u.ts, u.node, u.k8s, u.process, ...found], condition);
}

/** Link to the single lookups behind a number, as `events`. */
export function lookups(condition: string): DashboardLink {
    const found = [l.qname, l.outcome, l.duration_ms, l.retries, l.packets, l.packets_wasted, l.names_tried];
    return explore("Raw lookups", "dns_lookups", l.ts, [l.ts, l.node, l.k8s, l.process, ...found], condition);
}

/** Link to the single reports of encrypted DNS behind a number, as `events`. */
export function encrypted(condition: string): DashboardLink {
    const found = [e.protocol, e.resolver, e.sni, e.status, e.handshake_ms, e.duration_ms, e.connection_id];
    const columns = [e.ts, e.node, e.client_ip, e.k8s, e.process, ...found];
    return explore("Raw connections", "dns_connections", e.ts, columns, condition, LASTS);
}

function explore(
    title: string,
    table: string,
    ts: string,
    columns: readonly string[],
    condition: string,
    during = `$__timeFilter(${ts})`,
): DashboardLink {
    const rawSql = `SELECT ${columns.join(", ")} FROM ${table} WHERE ${during} AND ${condition} ORDER BY ${ts} DESC LIMIT 1000`;
    const query = {
        refId: "A",
        datasource: sources.clickhouse,
        editorType: "sql",
        format: 1,
        queryType: "table",
        rawSql,
    };
    const pane = { datasource: sources.clickhouse.uid, queries: [query], range: { from: "FROM", to: "TO" } };
    const panes = encodeURIComponent(JSON.stringify({ a: pane }))
        .replace("FROM", "${__from}")
        .replace("%22TO%22", "%22${__to}%22");
    return link(title, `/explore?schemaVersion=1&panes=${panes}`, true);
}

interface Choice {
    readonly name: "site" | "resolver" | "zone" | "node" | "instance" | "namespace" | "pod";
    readonly label: string;
    readonly description: string;
    readonly target: Target;
}

const RECENT = "now() - INTERVAL '7 days'";

const choices: Record<Choice["name"], Choice> = {
    site: {
        name: "site",
        label: "Site",
        description: "Site of probes.",
        target: timescaledb(
            "table",
            `SELECT DISTINCT ${p.site} FROM dns_probes WHERE ${p.ts} > ${RECENT} AND ${p.site} IS NOT NULL ORDER BY 1`,
        ),
    },
    resolver: {
        name: "resolver",
        label: "Resolver",
        description: "Configured name of a resolver, else its address.",
        target: timescaledb(
            "table",
            `SELECT ${f.resolver} FROM dns_fleet_1h WHERE ${f.grouping} = 'resolver' AND ${f.ts} > ${RECENT} AND ${f.resolver} IS NOT NULL
       GROUP BY 1 ORDER BY sum(${f.queries}) DESC LIMIT 500`,
        ),
    },
    zone: {
        name: "zone",
        label: "Zone",
        description: "Registrable domain; the list has the 500 with most queries of the last week.",
        target: timescaledb(
            "table",
            `SELECT ${f.zone} FROM dns_fleet_1h WHERE ${f.grouping} = 'zone' AND ${f.ts} > ${RECENT} AND ${f.zone} IS NOT NULL
       GROUP BY 1 ORDER BY sum(${f.queries}) DESC LIMIT 500`,
        ),
    },
    node: {
        name: "node",
        label: "Node",
        description: "Host with an agent.",
        target: {
            refId: "A",
            datasource: sources.clickhouse,
            rawSql: `SELECT DISTINCT ${n.node} FROM dns_nodes_1h WHERE ${n.hour} > now() - INTERVAL 7 DAY ORDER BY 1`,
        },
    },
    instance: {
        name: "instance",
        label: "Instance",
        description: "Agent as Prometheus names it.",
        target: {
            refId: "A",
            datasource: sources.prometheus,
            query: `label_values(${m.dnscribe_build_info}, instance)`,
        },
    },
    namespace: {
        name: "namespace",
        label: "Namespace",
        description: "Namespace of the pods that ask.",
        target: {
            refId: "A",
            datasource: sources.prometheus,
            query: `label_values(${m.dns_pod_transactions_total}, namespace)`,
        },
    },
    pod: {
        name: "pod",
        label: "Pod",
        description: "Pod that asks.",
        target: {
            refId: "A",
            datasource: sources.prometheus,
            query: `label_values(${m.dns_pod_transactions_total}{namespace=~"$namespace"}, pod)`,
        },
    },
};

function variable({ name, label, description, target }: Choice): VariableModel {
    const text = target.rawSql ?? target.query;
    return {
        type: "query",
        name,
        label,
        description,
        datasource: target.datasource,
        query: target.datasource.uid === sources.prometheus.uid ? { query: text, refId: "A" } : String(text),
        refresh: VariableRefresh.onTimeRangeChanged,
        includeAll: true,
        allValue: ".*",
        multi: true,
        current: { text: ["All"], value: ["$__all"], selected: true },
        sort: VariableSort.disabled,
    };
}

/** Part of a workload's, pod's or process's name: nothing has them in a list. */
const client: VariableModel = {
    type: "textbox",
    name: "client",
    label: "Client contains",
    description: "Part of namespace/workload, or of the process and its host. Empty: all.",
    query: "",
    current: { text: "", value: "" },
};

const vantage: VariableModel = {
    type: "custom",
    name: "vantage",
    label: "Vantage",
    description:
        "Where queries were seen: at the client, at the server, or passively. One exchange may be seen at several.",
    query: "client,server,passive",
    options: ["client", "server", "passive"].map((value) => ({ text: value, value, selected: value === "client" })),
    current: { text: "client", value: "client", selected: true },
    includeAll: false,
    multi: false,
};

const docs: VariableModel = {
    type: "constant",
    name: "docs",
    label: "Documentation",
    description: "Where docs/ of dnscribe is published.",
    hide: VariableHide.hideVariable,
    query: published,
};

function annotation(name: string, iconColor: string, rawSql: string): AnnotationQuery {
    const target: DataQuery & Record<string, unknown> = { ...timescaledb("table", rawSql, "Anno") };
    return { name, enable: true, iconColor, datasource: sources.timescaledb, target };
}

const annotations: AnnotationQuery[] = [
    annotation(
        "Changes",
        "blue",
        `SELECT ${c.ts} AS time, ${c.ends} AS timeend, ${c.summary} AS text, concat_ws(',', ${c.kind}, ${c.zone}, ${c.service}, ${c.actor}) AS tags
     FROM dns_changes WHERE $__timeFilter(${c.ts})`,
    ),
    annotation(
        "Alerts",
        "red",
        `SELECT min(${a.started}) AS time, max(${a.ended}) AS timeend, min(${a.summary}) AS text, concat_ws(',', min(${a.rule}), ${worst(a.severity)}, min(${a.scope})) AS tags
     FROM dns_alerts WHERE $__timeFilter(${a.ts}) AND ${a.severity} IN ('warning', 'critical') GROUP BY ${a.alert_id}`,
    ),
];

/** A row: its title and its panels with their widths, of 24 columns in all. */
export interface Row {
    readonly title: string;
    readonly height: number;
    readonly panels: readonly (readonly [width: number, panel: Panel])[];
}

/** Time range and refresh interval of boards whose rows are of hours, and of days. */
const HOURS = { from: "now-3h", refresh: "1m" };
export const DAYS = { from: "now-7d", refresh: "5m" };
export const WEEKS = { from: "now-30d", refresh: "30m" };

/**
 * Makes a board. Its variables are those named, and `client` and `vantage` where a query has them. Each must narrow every panel, but for those whose
 * description says what they show whatever is chosen.
 */
export function board(
    name: BoardName,
    description: string,
    chosen: readonly Choice["name"][],
    rows: readonly Row[],
    { from, refresh } = HOURS,
): Dashboard {
    const panels: (Panel | RowPanel)[] = [];
    let id = 1;
    let y = 0;
    for (const row of rows) {
        panels.push({
            type: "row",
            id: id++,
            title: row.title,
            collapsed: false,
            gridPos: { x: 0, y, w: 24, h: 1 },
            panels: [],
        });
        y += 1;
        let x = 0;
        for (const [width, panel] of row.panels) {
            panels.push({ ...panel, id: id++, gridPos: { x, y, w: width, h: row.height } });
            x += width;
        }
        if (x !== 24) throw new Error(`${name}: the row "${row.title}" is ${String(x)} of 24 columns wide`);
        y += row.height;
    }
    const text = JSON.stringify(rows);
    const implied = [...(text.includes("${client:") ? [client] : []), ...(text.includes("$vantage") ? [vantage] : [])];
    const others = (Object.keys(boards) as BoardName[]).filter((other) => other !== name);
    return {
        uid: boards[name].uid,
        title: boards[name].title,
        description,
        tags: ["dnscribe", "dns"],
        schemaVersion: 42,
        version: 1,
        editable: true,
        graphTooltip: DashboardCursorSync.Crosshair,
        refresh,
        time: { from, to: "now" },
        timezone: "browser",
        links: others.map((other) => ({
            ...next(other),
            url: `/d/${boards[other].uid}`,
            keepTime: true,
            includeVars: true,
        })),
        templating: { list: [...chosen.map((one) => variable(choices[one])), ...implied, docs] },
        annotations: { list: annotations },
        panels,
    };
}

/** Data source of a board that is imported: the variable `datasource`. */
const CHOSEN = { ...sources.prometheus, uid: "${datasource}" };

const datasource: VariableModel = {
    type: "datasource",
    name: "datasource",
    label: "Data source",
    description: "Prometheus that scrapes the agents.",
    query: sources.prometheus.type,
    refresh: VariableRefresh.onDashboardLoad,
    includeAll: false,
    multi: false,
};

/**
 * Makes a board that any Grafana with a Prometheus shows, whether it is imported, provisioned, or read from a ConfigMap: the variable
 * `datasource` chooses the source, no annotation needs another one, and links lead only to boards that are there.
 */
export function standalone(made: Dashboard): Dashboard {
    const { templating, ...rest } = made;
    const chosen = JSON.parse(
        JSON.stringify({ ...rest, templating }).replaceAll(JSON.stringify(sources.prometheus), JSON.stringify(CHOSEN)),
    ) as Dashboard;
    const byTag: DashboardLink = {
        ...link("Boards", ""),
        type: "dashboards",
        tags: ["dnscribe"],
        asDropdown: true,
        keepTime: true,
    };
    return {
        ...chosen,
        links: [byTag],
        annotations: { list: [] },
        templating: { list: [datasource, ...(chosen.templating?.list ?? [])] },
    };
}

/** Plugins of the data sources by their names. */
const PLUGINS: Record<keyof typeof sources, string> = {
    timescaledb: "PostgreSQL",
    clickhouse: "ClickHouse",
    prometheus: "Prometheus",
};

/**
 * Returns a board as grafana.com and "Import" take it: they ask for the data sources in `__inputs`, which have other ids there. Provisioning does
 * not read these.
 */
export function importable(made: Dashboard): object {
    const used = (Object.keys(sources) as (keyof typeof sources)[]).filter((name) =>
        JSON.stringify(made).includes(sources[name].uid),
    );
    const input = (name: keyof typeof sources): string => `DS_DNSCRIBE_${name.toUpperCase()}`;
    const inputs = used.map((name) => ({
        name: input(name),
        label: `dnscribe ${PLUGINS[name]}`,
        description: "",
        type: "datasource",
        pluginId: sources[name].type,
        pluginName: PLUGINS[name],
    }));
    const panels = new Set((made.panels ?? []).map(({ type }) => type).filter((type) => type !== "row"));
    const requires = [
        { type: "grafana", id: "grafana", name: "Grafana", version: "12.0.0" },
        ...used.map((name) => ({ type: "datasource", id: sources[name].type, name: PLUGINS[name], version: "1.0.0" })),
        ...[...panels].sort().map((id) => ({ type: "panel", id, name: id, version: "" })),
    ];
    const text = used.reduce(
        (all, name) => all.replaceAll(sources[name].uid, `\${${input(name)}}`),
        JSON.stringify({ ...made, id: null }),
    );
    return { __inputs: inputs, __elements: {}, __requires: requires, ...(JSON.parse(text) as object) };
}
