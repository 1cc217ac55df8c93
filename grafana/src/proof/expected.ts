// What each panel must show of the scripted day. A panel that is not listed here fails, as does one that shows nothing.
import type { BoardName } from "../board.js";
import type { IncidentName } from "./day.js";

/** Part of the day: an incident with some minutes around it, or all of it. */
export type Span = IncidentName | "day" | "now" | "later";

/** A condition on the rows of a panel's queries. */
export interface Expectation {
    readonly span: Span;
    readonly says: string;
    readonly holds: (rows: Record<string, unknown>[]) => boolean;
}

/** Some row has this value or more in a column. */
function peak(span: Span, column: string, least: number): Expectation {
    return {
        span,
        says: `${column} ≥ ${String(least)}`,
        holds: (rows) => rows.some((row) => row[column] !== null && Number(row[column]) >= least),
    };
}

/** Some row has this value or less in a column. */
function low(span: Span, column: string, most: number): Expectation {
    return {
        span,
        says: `${column} ≤ ${String(most)}`,
        holds: (rows) =>
            rows.some((row) => row[column] !== null && row[column] !== undefined && Number(row[column]) <= most),
    };
}

/** No row has more than this value in a column. */
function atMost(span: Span, column: string, most: number): Expectation {
    return {
        span,
        says: `${column} never > ${String(most)}`,
        holds: (rows) =>
            rows.length > 0 && rows.every((row) => row[column] === undefined || Number(row[column]) <= most),
    };
}

/** Some row contains all of these words. */
function shows(span: Span, ...words: string[]): Expectation {
    return {
        span,
        says: words.join(" and "),
        holds: (rows) => rows.some((row) => words.every((word) => JSON.stringify(row).includes(word))),
    };
}

/** Expectations by board and title of the panel. */
export const expected: Record<BoardName, Record<string, readonly Expectation[]>> = {
    noc: {
        "Failing queries": [
            peak("resolver", "failing", 0.4),
            atMost("deploy", "failing", 0.02),
            peak("packets", "failing", 0.1),
        ],
        "Alerts that fire": [peak("resolver", "critical", 1), peak("deploy", "warning", 1)],
        Resolvers: [
            {
                span: "resolver",
                says: "resolver-2 fails, resolver-1 does not",
                holds: (rows) => states(rows, "resolver-2", 2) && !states(rows, "resolver-1", 2),
            },
            {
                span: "deploy",
                says: "both are healthy",
                holds: (rows) => states(rows, "resolver-2", 0) && !states(rows, "resolver-2", 2),
            },
        ],
        "Queries by resolver": [peak("day", "queries", 1.5), peak("deploy", "queries", 4)],
        Outcomes: [peak("deploy", "nxdomain", 4), peak("resolver", "timeout", 1), peak("forged", "servfail", 0.3)],
        "Failing queries by zone": [shows("resolver", "shop-corp.com"), peak("forged", "failing", 0.05)],
        "Latency by resolver": [
            shows("day", "resolver-1", '"p95"'),
            peak("day", "p95", 8),
            shows("day", "resolver-2", '"p99"'),
        ],
        "Latency by resolver and zone": [shows("day", "resolver-1", "shop-corp.com"), peak("day", "p95_ms", 8)],
        "Cache hits": [peak("day", "cache hits", 0.2)],
        "Who asks for names that do not exist": [
            shows("deploy", "cart-v2.shop-corp.com", '"process":"cart"', "10.1.1.0/24", "shop"),
            peak("deploy", "ratio", 0.5),
        ],
        "What changed": [shows("deploy", "cart 2.0", "deploy"), shows("day", "resolver-2 lost its upstream link")],
        "Lost messages": [shows("packets", "netfilter: NETFILTER_DROP"), peak("packets", "transactions", 5)],
        "Where queries and answers die": [
            shows("packets", '"host":"us-1"', '"hook":"output"', "NETFILTER_DROP", "a rule, or conntrack"),
            shows("packets", "NEIGH_FAILED", "the next hop is silent"),
        ],
        Alerts: [shows("resolver", "resolver_down"), shows("deploy", "nxdomain")],
        "Undercounted windows": [peak("day", "share", 0), atMost("resolver", "share", 0)],
    },
    traffic: {
        "Queries, today and a week ago": [
            peak("day", "now", 2),
            peak("day", "a week ago", 2),
            {
                span: "deploy",
                says: "as a week ago",
                holds: (rows) => {
                    const most = (name: string): number => Math.max(...rows.map((row) => Number(row[name] ?? 0)));
                    return Math.abs(most("now") - most("a week ago")) < 0.01;
                },
            },
        ],
        "Sites side by side": [
            {
                span: "packets",
                says: "us fails, eu does not",
                holds: (rows) => {
                    const failing = (site: string): number => Number(rows.find((row) => row.site === site)?.failing);
                    return failing("us") > 0.1 && failing("eu") < 0.01;
                },
            },
            peak("day", "p95", 20),
            atMost("day", "p95", 60),
        ],
        "Top names": [shows("day", "www.shop-corp.com"), shows("deploy", "cart-v2.shop-corp.com")],
        "Top clients": [shows("day", "10.1.1.11"), shows("tunnel", "10.3.1.66")],
        "Query types": [shows("tunnel", "TXT"), peak("deploy", "queries", 4)],
        Transport: [shows("day", "udp"), peak("deploy", "queries", 4)],
        "Truncation, TCP and retries": [atMost("day", "truncated", 0), peak("day", "truncated", 0)],
        "Response sizes": [peak("day", "p50", 40), atMost("day", "p99", 512)],
        Latency: [
            peak("day", "1.9 ms", 50),
            {
                span: "deploy",
                says: "two bands: the cache at a millisecond, upstream around twenty",
                holds: (rows) => {
                    const sum = (name: string): number => rows.reduce((all, row) => all + Number(row[name]), 0);
                    return sum("1 ms") + sum("1.9 ms") > sum("25 ms") && sum("25 ms") > 100 && sum("170 ms") === 0;
                },
            },
        ],
    },
    security: {
        "Security alerts that fire": [
            peak("tunnel", "critical", 1),
            peak("forged", "critical", 1),
            atMost("deploy", "critical", 0),
        ],
        Evidence: [shows("tunnel", "tunnel", "evil-data.net"), shows("forged", "spoofing")],
        "Data in names": [
            shows("tunnel", "evil-data.net", '"process":"curl"', "TXT"),
            peak("tunnel", "name_bytes", 100_000),
        ],
        "Names with high entropy": [shows("tunnel", "evil-data.net"), peak("tunnel", "names", 50)],
        "Spoofing evidence": [peak("forged", "conflicts", 1), atMost("deploy", "conflicts", 0)],
        "DNSSEC failures": [peak("forged", "failures", 5), peak("forged", "bogus", 1), atMost("deploy", "bogus", 0)],
        "TTL drift and answers that changed": [shows("forged", "answer")],
        "Resolvers by process": [shows("day", "resolver-1", '"process":"nginx"')],
        "Sources by network and country": [shows("day", "10.1.1.0/24"), peak("day", "amplification", 1)],
        "Names on lists of threats": [shows("tunnel", "evil-data.net", "c2")],
        "Encrypted DNS by process": [
            shows("tunnel", '"process":"curl"', '"protocol":"doh3"', "203.0.113.9"),
            shows("day", '"process":"java"', '"protocol":"dot"', '"server":"resolver-1"'),
            // One an hour on each node; that each is reported twice adds none.
            peak("day", "connections", 24),
            atMost("day", "connections", 24),
            peak("packets", "failed", 1),
            // All of them began before that.
            peak("forged", "connections", 3),
            atMost("forged", "connections", 3),
        ],
    },
    slo: {
        "Answered queries": [low("resolver", "answered", 0.7), peak("deploy", "answered", 0.99)],
        "Error budget left, 30 days": [low("day", "budget", 0), low("deploy", "budget", 0)],
        "Minutes within the latency objective": [peak("day", "good", 0.9)],
        Incidents: [peak("day", "incidents", 5)],
        "Burn rate": [peak("resolver", "5 min", 100), peak("resolver", "1 h", 14.4), atMost("deploy", "5 min", 30)],
        "Worst zones, this week and the last": [shows("day", "shop-corp.com"), peak("day", "failing", 0.01)],
        "Incidents of the time range": [
            shows("resolver", "resolver-2", "confirmed"),
            shows("deploy", "shop-corp.com", "nxdomain"),
            shows("tunnel", "evil-data.net"),
            shows("packets", "verdict_path"),
            peak("resolver", "duration", 900),
        ],
        "Quality of rules": [
            shows("day", "resolver_down"),
            peak("day", "precision", 1),
            peak("day", "time_to_detect", 1),
        ],
        "Queries an hour": [peak("day", "queries", 10_000)],
        "Bytes a day": [peak("day", "responses", 1_000_000)],
    },
    probes: {
        "Verdicts that fire": [peak("resolver", "critical", 1), peak("now", "critical", 1)],
        Services: [
            {
                span: "packets",
                says: "shop is not healthy",
                holds: (rows) => states(rows, "shop", 1) || states(rows, "shop", 2),
            },
        ],
        Verdicts: [
            shows("resolver", "verdict_resolver"),
            shows("packets", "verdict_path"),
            shows("day", "certificate_expiry"),
        ],
        "Days until certificates and signatures expire": [
            low("day", "days", 2.99),
            shows("day", "wiki.intranet-corp.com"),
        ],
        "Nameservers that lag or are lame": [shows("day", "ns2.intranet-corp.com", '"behind":"2"')],
        "Resolvers that disagree": [shows("forged", "resolver-2", "203.0.113.66")],
        "Connect, handshake and first byte": [
            peak("packets", "connect", 1_000),
            peak("packets", "first byte", 500),
            atMost("deploy", "connect", 100),
        ],
        "Latency and its anomaly score": [peak("packets", "z", 5), peak("packets", "latency", 400)],
        "Packet loss": [peak("packets", "loss", 0.3), atMost("deploy", "loss", 0)],
        "Measurements by service": [low("packets", "value", 0.5), peak("deploy", "value", 1)],
    },
    kubernetes: {
        "Pods with failing lookups": [
            peak("packets", "pods", 3),
            peak("resolver", "pods", 9),
            atMost("deploy", "pods", 0),
        ],
        "Pods by failed queries": [shows("packets", "cart-7d4f9-us1", "us-1"), peak("resolver", "ratio", 0.3)],
        "Failed queries by node": [
            {
                span: "packets",
                says: "us-1 fails, eu-1 does not",
                holds: (rows) => {
                    const worst = (node: string): number =>
                        Math.max(...rows.filter((row) => row.node === node).map((row) => Number(row.failing)));
                    return worst("us-1") > 0.15 && worst("eu-1") < 0.02;
                },
            },
        ],
        "Wasted queries by pod": [shows("day", "shop/web-7d4f9-eu1"), peak("day", "wasted", 0.5)],
        "Names from search lists": [shows("day", ".cluster.local", '"workload":"web"')],
        "Queries by pod": [shows("deploy", "shop/cart-7d4f9-eu1"), peak("deploy", "queries", 4)],
        "Names that do not exist, by pod": [shows("deploy", "shop/cart-7d4f9-eu1"), peak("deploy", "nxdomain", 3)],
    },
    pods: {
        "Pods that fail": [peak("packets", "value", 3), peak("resolver", "value", 9), atMost("deploy", "value", 0)],
        "Failing pods": [
            shows("packets", "cart-7d4f9-us1", '"namespace":"shop"', '"timeout"'),
            peak("resolver", "share", 0.3),
            peak("forged", "servfail", 0.1),
            {
                span: "packets",
                says: "pods of us-1 alone, the worst first",
                holds: (rows) =>
                    rows.every((row) => String(row.pod).endsWith("-us1")) &&
                    rows.every((row, index) => Number(row.failed) <= Number(rows[index - 1]?.failed ?? row.failed)) &&
                    rows.every((row) => Number(row.queries) > Number(row.failed)),
            },
        ],
        "Failures by outcome": [
            shows("resolver", '"outcome":"timeout"'),
            shows("forged", '"outcome":"servfail"'),
            peak("resolver", "value", 1),
        ],
        "Failing queries by namespace": [
            shows("resolver", '"namespace":"build"'),
            peak("resolver", "value", 0.3),
            atMost("deploy", "value", 0),
        ],
        "Queries by namespace": [peak("deploy", "value", 4), shows("tunnel", '"namespace":"tools"')],
        "Slowest workloads": [shows("day", '"workload":"cart"'), peak("day", "value", 0.02)],
        "Latency by workload": [peak("resolver", "p99", 0.02), low("resolver", "p50", 0.0025)],
        "Latency of all chosen workloads": [shows("day", '"le":"0.0025"'), peak("day", "value", 1)],
        "Queries by pod": [shows("deploy", "cart-7d4f9-eu1"), peak("deploy", "value", 4)],
        "Names that do not exist, by pod": [
            shows("day", "web-7d4f9-us1"),
            peak("deploy", "value", 3.5),
            atMost("packets", "value", 0.3),
        ],
        "Lost messages": [shows("packets", '"stage":"netfilter"'), peak("packets", "value", 0.2)],
        "Lost messages by node": [shows("packets", "us-1:9353", "NETFILTER_DROP"), peak("packets", "messages", 300)],
        "Agents down": [peak("day", "value", 0), atMost("day", "value", 0)],
        "Agents without pods": [peak("day", "value", 0), atMost("day", "value", 0)],
        "Of unknown pods": [peak("day", "value", 0), atMost("day", "value", 0)],
        "Counted as other": [peak("day", "value", 0), atMost("day", "value", 0)],
        Agents: [
            shows("packets", "us-1:9353"),
            peak("packets", "lost", 3),
            atMost("resolver", "lost", 0),
            peak("day", "pods", 4),
            peak("day", "up", 1),
        ],
    },
    uses: {
        "Failing connections": [peak("forged", "failing", 0.04), low("tunnel", "failing", 0.03)],
        "Stale addresses": [peak("packets", "stale", 1), atMost("deploy", "stale", 0)],
        "By no name": [peak("tunnel", "unnamed", 0.03), atMost("deploy", "unnamed", 0)],
        "Waits: lookup and connecting": [
            peak("resolver", "lookup", 5_000),
            atMost("deploy", "lookup", 20),
            peak("forged", "connecting", 1_000),
            atMost("packets", "connecting", 20),
        ],
        "Service map": [
            shows("day", "client shop/web", "destination img.shop-corp.com", "none failed"),
            shows("forged", "client shop/web", "destination api.shop-corp.com", " failed"),
            shows("day", '"title":"mail.intranet-corp.com"', '"subtitle":"name"'),
            peak("packets", "arc__failed", 0.3),
        ],
        Destinations: [
            shows("forged", "shop/web", "api.shop-corp.com", '"verdict":"fails"'),
            shows("resolver", "shop/cart", "api.shop-corp.com", '"verdict":"slow lookup"'),
            shows("deploy", "shop/cart", '"verdict":"ok"'),
            peak("packets", "lookup_p95", 5_000),
            peak("packets", "refused", 50),
            peak("forged", "timed_out", 50),
        ],
        "Failing lookups": [peak("resolver", "failing", 0.1), atMost("deploy", "failing", 0)],
        "Longest waits by name": [
            shows("resolver", "shop/cart", "api.shop-corp.com"),
            peak("resolver", "p95", 5_000),
            peak("packets", "retries", 20),
            atMost("deploy", "p95", 20),
        ],
        "Asked in vain by search lists": [
            shows("day", "shop/web", '"search_domain":"svc.cluster.local"', '"example":"img.shop-corp.com"'),
            peak("day", "questions", 2_880),
            atMost("day", "questions", 2_880),
        ],
        "Who holds on to old addresses": [
            shows("packets", '"process":"java"', "mail.intranet-corp.com", "192.0.2.99", '"state":"fails"'),
            peak("packets", "past_ttl", 9_000),
        ],
        "Connections to stale addresses": [shows("packets", "build/runner"), peak("packets", "connections", 2)],
        "Connections without one name": [
            shows("tunnel", "tools/shell", "203.0.113.9", "no lookup"),
            shows("day", "several names", "www.example.org, mirror.example.net"),
        ],
        "How names were found": [shows("day", '"found":"ambiguous"'), peak("tunnel", "connections", 6)],
    },
    pipeline: {
        "Every identity closes": [peak("now", "balanced", 1)],
        "Age of the newest row": [peak("now", "windows", 0), peak("now", "transactions", 0)],
        "Records waiting in Kafka": [atMost("now", "value", 100)],
        "What each job read and wrote": [
            shows("now", "reads dns.normalized"),
            shows("now", "writes clickhouse"),
            atMost("now", "difference", 0),
        ],
        "Nodes that fell silent": [shows("later", "us-1"), shows("later", "eu-1"), peak("later", "silent_for", 3_000)],
        "Losses by stage": [shows("packets", "ring_full"), peak("packets", "value", 1)],
        Spool: [peak("packets", "value", 4e6), atMost("deploy", "value", 0)],
        "Records delivered": [peak("day", "value", 1)],
        "Agents without Kafka": [peak("packets", "value", 1)],
        Checkpoints: [peak("now", "value", 1)],
        "Failed checkpoints and restarts": [atMost("now", "value", 0)],
        "Checkpoints by the ledger": [peak("now", "checkpoints", 1)],
        "Alerts written": [shows("day", "probe"), shows("day", "fleet"), shows("day", "node")],
        "Alerts that no Alertmanager has": [atMost("day", "value", 0)],
    },
    operations: {
        registration_success_ratio: [low("resolver", "value", 0.9), peak("now", "value", 0.98)],
        transfer_completion_ratio: [peak("day", "value", 0.9)],
        dns_query_error_ratio: [peak("resolver", "value", 0.2), low("now", "value", 0.01)],
        abuse_first_response_hours_p50: [peak("day", "value", 4)],
        ...ofKpis("registration_success_ratio"),
    },
    sales: {
        registrations: [low("resolver", "value", 900), peak("now", "value", 1200)],
        net_transfers: [low("day", "value", -3)],
        renewal_ratio: [peak("day", "value", 0.7)],
        revenue: [shows("day", "EUR"), shows("day", "USD"), peak("day", "value", 15_000)],
        ...ofKpis("revenue"),
    },
    product: {
        workflow_completion_ratio: [peak("day", "value", 0.8)],
        api_error_ratio: [peak("deploy", "value", 0.2), low("now", "value", 0.01)],
        api_latency_ms_p95: [peak("deploy", "value", 900)],
        dns_change_minutes_p50: [peak("day", "value", 3)],
        ...ofKpis("api_error_ratio"),
    },
};

/** Panels that the boards of all families of KPIs have; of this KPI two days are incomplete. */
function ofKpis(name: string): Record<string, readonly Expectation[]> {
    return {
        "Change to the week before": [shows("resolver", name), shows("now", name)],
        Ratios: [peak("day", "value", 0.5)],
        "Age of the newest fact": [peak("now", "value", 3_600)],
        "Age of the computation": [peak("now", "value", 60)],
        "Incomplete days of the last 28": [peak("now", "value", 2)],
    };
}

/** Whether a series of a state timeline has a state at some time. */
function states(rows: Record<string, unknown>[], metric: string, state: number): boolean {
    return rows.some((row) => row.metric === metric && Number(row.state) === state);
}
