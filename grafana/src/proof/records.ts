// Records of the day that no capture file has: probes and their alerts, processes and pods of clients, changes.
import {
    CERTIFICATE_MINUTE,
    type Client,
    clients,
    DEPLOY_MINUTE,
    EVIL,
    HOURS,
    incidents,
    type IncidentName,
    lasts,
    type Node,
    nodes,
    resolvers,
} from "./day.js";

/** A record of a topic. */
export type TopicRecord = Record<string, unknown>;

const MINUTE_MS = 60_000;
const time = (ms: number): string => new Date(ms).toISOString();
/** An id with 32 hex digits: kind and number. */
const id = (kind: number, number: number): string =>
    kind.toString(16).padStart(8, "0") + number.toString(16).padStart(24, "0");

/** Latency in milliseconds below which an answer of a resolver of the day came from its cache. */
const CACHED_MS = 2;
/** Share of the answers of the day that come from caches. */
const CACHED = 0.7;

/** What the agent of a client's host knows of it. */
function attribution({ process, namespace, pod, workload }: Client): TopicRecord {
    return {
        process: { pid: 4242, uid: 1000, comm: process, exe: `/usr/bin/${process}` },
        k8s: { namespace, pod, container: process, workload_kind: "Deployment", workload },
    };
}

/** Where the kernel of us-1 discards queries: most by a rule, some for want of a neighbour. */
function lostAt(port: number): TopicRecord {
    const [stage, reason, more] =
        port % 4 > 0
            ? ["netfilter", "NETFILTER_DROP", { hook: "output", function: "nft_do_chain" }]
            : ["neighbour", "NEIGH_FAILED", {}];
    return { lost_at: { message: "query", stage, reason, ...more } };
}

/** Adds what agents on the hosts of clients and resolvers know, and a capture file does not: process, pod, cache, losses. */
export function attribute(record: TopicRecord, startMs: number): TopicRecord {
    if (record.schema === "dns.window/1") {
        const answered = Number((record.statuses as TopicRecord | undefined)?.answered ?? 0);
        const hits = Math.round(answered * CACHED);
        return { ...record, cache_hits: hits, cache_misses: answered - hits };
    }
    const client = clients(record.node as Node).find((one) => one.ip === record.client_ip);
    if (record.schema !== "dns.transaction/1" || client === undefined) return record;
    const minute = (Date.parse(String(record.ts)) - startMs) / MINUTE_MS;
    const isLost = record.node === "us-1" && record.status === "timeout" && lasts("packets", minute);
    return {
        ...record,
        ...attribution(client),
        ...(isLost ? lostAt(Number(record.client_port)) : {}),
        ...(record.status === "answered" ? { cache: Number(record.latency_ms) < CACHED_MS ? "hit" : "miss" } : {}),
    };
}

/** Measurements of the two sites, one round a minute, without the incidents in `without`. */
export function* probes(startMs: number, without: readonly IncidentName[] = []): Generator<TopicRecord> {
    let number = 0;
    for (let minute = 0; minute < HOURS * 60; minute++) {
        const happens = (name: IncidentName): boolean => !without.includes(name) && lasts(name, minute);
        for (const site of ["eu", "us"]) {
            const isLossy = site === "us" && happens("packets");
            const jitter = (minute * 7 + site.length) % 5;
            const record = (kind: string, target: string, ok: boolean, fields: TopicRecord): TopicRecord => ({
                schema: "dns.probe/1",
                event_id: id(0xa0b0, number++),
                ts: time(startMs + minute * MINUTE_MS + (number % 50)),
                node: `probe-${site}`,
                site,
                region: site,
                kind,
                service: kind === "authority" ? "intranet" : "shop",
                target,
                duration_ms: 20 + jitter,
                ok,
                attempt: 1,
                ...fields,
            });
            for (const resolver of Object.keys(resolvers)) {
                const isDead = resolver === "resolver-2" && happens("resolver");
                const isForged = resolver === "resolver-2" && happens("forged");
                yield record("dns", "www.shop-corp.com A", !isDead && !isForged, {
                    resolver,
                    protocol: "udp",
                    qname: "www.shop-corp.com",
                    qtype: "A",
                    ...(isDead
                        ? { error: { stage: "dns", reason: "timeout" } }
                        : {
                              rcode: "NOERROR",
                              latency_ms: isLossy ? 400 + 40 * jitter : 2 + jitter,
                              answers: [isForged ? "203.0.113.66" : "192.0.2.10"],
                              answer_digest: isForged ? "00000000000000bb" : "00000000000000aa",
                              min_ttl_seconds: 300,
                              dnssec: "insecure",
                              ...(isForged
                                  ? {
                                        changed: true,
                                        previous_digest: "00000000000000aa",
                                        differs_from: ["resolver-1"],
                                        error: { stage: "dns", reason: "answer_changed" },
                                    }
                                  : {}),
                          }),
                });
            }
            const isBogus = happens("forged");
            yield record("dns", "wiki.intranet-corp.com A", !isBogus, {
                resolver: "resolver-1",
                protocol: "udp",
                qname: "wiki.intranet-corp.com",
                qtype: "A",
                rcode: "NOERROR",
                latency_ms: 3 + jitter,
                answers: ["192.0.2.20"],
                dnssec: isBogus ? "bogus" : "secure",
                ...(isBogus
                    ? { error: { stage: "dns", reason: "bogus" } }
                    : {
                          signature: {
                              record: "wiki.intranet-corp.com A",
                              not_after: time(startMs + 20 * 86_400_000),
                              expiry_days: 20 - minute / 1440,
                              lifetime_days: 30,
                          },
                      }),
            });
            for (const nameserver of ["ns1.intranet-corp.com", "ns2.intranet-corp.com"]) {
                const behind = nameserver.startsWith("ns2") && minute >= 300 ? 2 : 0;
                yield record("authority", "intranet-corp.com", behind === 0, {
                    nameserver,
                    soa_serial: 2026112200 + Math.floor(minute / 60) - behind,
                    lame: false,
                });
            }
            const days = 3 + (CERTIFICATE_MINUTE - minute) / 1440;
            const times = { connect_ms: isLossy ? 1_200 : 12 + jitter, handshake_ms: isLossy ? 2_600 : 25 + jitter };
            yield record("tls", "192.0.2.10:443", true, {
                ...times,
                tls_version: "TLSv1.3",
                cert: {
                    subject: "CN=www.shop-corp.com",
                    issuer: "CN=Example CA",
                    not_after: time(startMs + minute * MINUTE_MS + days * 86_400_000),
                    expiry_days: days,
                    san_match: true,
                    chain_length: 2,
                    chain_ok: true,
                    sha256: "ab".repeat(32),
                    ocsp_stapled: false,
                },
            });
            const isTimeout = isLossy && minute % 3 === 0;
            yield record("http", "https://www.shop-corp.com/health", !isTimeout, {
                ...times,
                ...(isTimeout
                    ? { error: { stage: "http", reason: "timeout" } }
                    : { http_status: 200, ttfb_ms: isLossy ? 900 : 60 + jitter }),
            });
            yield record("ping", "192.0.2.10", !isLossy, {
                sent: 5,
                received: isLossy ? 3 : 5,
                loss_ratio: isLossy ? 0.4 : 0,
                rtt_ms: 11 + jitter,
                ...(isLossy ? { error: { stage: "connect", reason: "loss" } } : {}),
            });
        }
    }
}

/** Minute from which on the address of the mail host on eu-2 is gone, and java keeps it. */
const MOVED_MINUTE = 230;

/**
 * Connections of the clients, summed up once a minute, without the incidents in `without`: lookups that a lost query delays, connections to a
 * forged address, a process that keeps an address for hours, one that uses no name, and an address with two names.
 */
export function* uses(startMs: number, without: readonly IncidentName[] = []): Generator<TopicRecord> {
    let number = 0;
    for (let minute = 0; minute < HOURS * 60; minute++) {
        const happens = (name: IncidentName): boolean => !without.includes(name) && lasts(name, minute);
        for (const node of nodeNames) {
            const at = time(startMs + minute * MINUTE_MS + (number % 50));
            const jitter = (minute * 7 + node.length) % 5;
            const record = (client: Client, address: string, port: number, fields: TopicRecord): TopicRecord => ({
                schema: "dns.use/1",
                event_id: id(0x05e0, number++),
                ts: at,
                node,
                region: nodes[node],
                protocol: "tcp",
                address,
                port,
                match: "sole",
                lookup_scope: "process",
                answer_age_ms: 1 + jitter,
                ttl_left_ms: 299_000,
                lookup_ms: 4 + jitter,
                connect_ms: 12 + jitter,
                outcome: "established",
                count: 6,
                first: at,
                last: at,
                ...attribution(client),
                ...fields,
            });
            const [cart, web, runner, shell] = clients(node);
            const isDelayed = happens("resolver") || (node === "us-1" && happens("packets"));
            const api = "api.shop-corp.com";
            yield record(cart, "192.0.2.11", 443, { name: api, ...(isDelayed ? { lookup_ms: 5_002 + jitter } : {}) });
            yield happens("forged")
                ? record(web, "203.0.113.66", 443, { name: api, outcome: "timeout", connect_ms: 3_000 })
                : record(web, "192.0.2.11", 443, { name: api });
            yield record(web, "192.0.2.12", 443, { name: "img.shop-corp.com", count: 20 });
            yield node === "eu-2" && minute >= MOVED_MINUTE
                ? record(runner, "192.0.2.99", 587, {
                      name: "mail.intranet-corp.com",
                      answer_age_ms: (minute - MOVED_MINUTE + 5) * MINUTE_MS,
                      ttl_left_ms: (MOVED_MINUTE - minute) * MINUTE_MS,
                      outcome: "refused",
                      connect_ms: 1,
                      count: 2,
                  })
                : record(runner, "192.0.2.20", 587, { name: "mail.intranet-corp.com", count: 2 });
            const none = {
                lookup_scope: undefined,
                answer_age_ms: undefined,
                ttl_left_ms: undefined,
                lookup_ms: undefined,
            };
            const candidates = ["www.example.org", "mirror.example.net"];
            yield record(runner, "198.51.100.80", 443, { ...none, match: "ambiguous", candidates, count: 1 });
            if (node === "us-1" && happens("tunnel"))
                yield record(shell, "203.0.113.9", 443, {
                    ...none,
                    match: "none",
                    protocol: "udp",
                    outcome: "unknown",
                    connect_ms: undefined,
                });
        }
    }
}

/** Lookups of two clients, one a minute each: one waits for a second try or fails where queries are lost, the other has a search list. */
export function* lookups(startMs: number, without: readonly IncidentName[] = []): Generator<TopicRecord> {
    let number = 0;
    for (let minute = 0; minute < HOURS * 60; minute++) {
        const happens = (name: IncidentName): boolean => !without.includes(name) && lasts(name, minute);
        for (const node of nodeNames) {
            const jitter = (minute * 7 + node.length) % 5;
            const record = (client: Client, qname: string, fields: TopicRecord): TopicRecord => ({
                schema: "dns.lookup/1",
                event_id: id(0x100c, number++),
                ts: time(startMs + minute * MINUTE_MS + (number % 50)),
                node,
                region: nodes[node],
                vantage: "client",
                client_ip: client.ip,
                resolvers: ["resolver-1"],
                qname,
                qtypes: ["A", "AAAA"],
                qclass: "IN",
                outcome: "answered",
                rcode: "NOERROR",
                answered_name: qname,
                addresses: ["192.0.2.11"],
                address_count: 1,
                duration_ms: 4 + jitter,
                transactions: 2,
                packets: 2,
                packets_wasted: 0,
                search_expansions: 0,
                retries: 0,
                servers_tried: 1,
                tcp_fallback: false,
                transaction_ids: [],
                ...attribution(client),
                ...fields,
            });
            const [cart, web] = clients(node);
            const isDelayed = happens("resolver") || (node === "us-1" && happens("packets"));
            const retried = {
                duration_ms: 5_002 + jitter,
                resolvers: ["resolver-2", "resolver-1"],
                packets: 4,
                packets_wasted: 2,
                retries: 2,
                ...(minute % 3 === 0 ? { outcome: "timeout", rcode: undefined, answered_name: undefined } : {}),
            };
            yield record(cart, "api.shop-corp.com", isDelayed ? retried : {});
            const image = "img.shop-corp.com";
            const tried = ["shop.svc.cluster.local", "svc.cluster.local"].map((domain) => `${image}.${domain}`);
            const searched = { packets: 6, packets_wasted: 4, search_expansions: 2, names_tried: [...tried, image] };
            yield record(web, image, searched);
        }
    }
}

/** Connections of encrypted DNS: one an hour of each node to a resolver, reported twice, and those of the tunnel's client. */
export function* encrypted(startMs: number, without: readonly IncidentName[] = []): Generator<TopicRecord> {
    let number = 0;
    for (let minute = 0; minute < HOURS * 60; minute++) {
        const happens = (name: IncidentName): boolean => !without.includes(name) && lasts(name, minute);
        for (const node of nodeNames) {
            const [, , runner, shell] = clients(node);
            const record = (client: Client, fields: TopicRecord): TopicRecord => ({
                schema: "dns.connection/1",
                event_id: id(0xd07, number),
                connection_id: id(0xd07, number++),
                ts: time(startMs + minute * MINUTE_MS),
                node,
                region: nodes[node],
                vantage: "client",
                protocol: "dot",
                transport: "tcp",
                client_ip: client.ip,
                client_port: 40_000,
                server_ip: resolvers["resolver-1"],
                server_port: 853,
                resolver: "resolver-1",
                status: "closed",
                final: true,
                handshake_ms: 20,
                duration_ms: 600_000,
                client_bytes: 4_000,
                server_bytes: 16_000,
                ...attribution(client),
                ...fields,
            });
            if (minute % 60 === 0) {
                const open = record(runner, { status: "open", final: false, duration_ms: 300_000 });
                yield open;
                const isLost = node === "us-1" && happens("packets");
                yield record(runner, { connection_id: open.event_id, ...(isLost ? { status: "timeout" } : {}) });
            }
            if (node === "us-1" && happens("tunnel"))
                yield record(shell, {
                    protocol: "doh3",
                    transport: "udp",
                    server_ip: "203.0.113.9",
                    server_port: 443,
                    resolver: "203.0.113.9",
                    sni: `dns.${EVIL}`,
                });
        }
    }
}

interface ProbeAlert {
    readonly rule: string;
    readonly page: string;
    readonly from: number;
    /** Minutes until it is resolved; it goes on firing without. */
    readonly minutes?: number;
    readonly severity: string;
    readonly entity: string;
    readonly summary: string;
    readonly fields: TopicRecord;
    readonly incident?: IncidentName;
}

const PROBE_ALERTS: readonly ProbeAlert[] = [
    {
        rule: "certificate_expiry",
        page: "certificate-expiry",
        from: CERTIFICATE_MINUTE,
        severity: "critical",
        entity: "service=shop,target=192.0.2.10:443",
        summary: "The certificate of 192.0.2.10:443 (CN=www.shop-corp.com) expires in 3 days.",
        fields: { service: "shop", target: "192.0.2.10:443" },
    },
    {
        rule: "verdict_resolver",
        page: "verdict-resolver",
        from: incidents.resolver.from + 2,
        minutes: incidents.resolver.minutes,
        severity: "critical",
        entity: "service=shop",
        summary: "www.shop-corp.com: resolver-2 does not answer, resolver-1 does.",
        fields: { service: "shop", resolver: "resolver-2" },
        incident: "resolver",
    },
    {
        rule: "answer_changed",
        page: "answer-changed",
        from: incidents.forged.from + 1,
        minutes: incidents.forged.minutes,
        severity: "warning",
        entity: "service=shop,target=www.shop-corp.com A",
        summary: "www.shop-corp.com A has the answer 203.0.113.66 at resolver-2, which was never seen before.",
        fields: { service: "shop", target: "www.shop-corp.com A", qname: "www.shop-corp.com" },
        incident: "forged",
    },
    {
        rule: "verdict_path",
        page: "verdict-path",
        from: incidents.packets.from + 2,
        minutes: incidents.packets.minutes,
        severity: "warning",
        entity: "service=shop",
        summary: "www.shop-corp.com: 40 % of echo requests from us are lost, none from eu.",
        fields: { service: "shop", zone: "shop-corp.com" },
        incident: "packets",
    },
];

/** Alerts of the probes: while they fire they are repeated each hour. */
export function* probeAlerts(startMs: number, without: readonly IncidentName[] = []): Generator<TopicRecord> {
    let number = 0;
    for (const [index, alert] of PROBE_ALERTS.entries()) {
        if (alert.incident !== undefined && without.includes(alert.incident)) continue;
        const { rule, page, from, minutes, severity, entity, summary, fields } = alert;
        const until = minutes === undefined ? HOURS * 60 : from + minutes;
        const record = (minute: number, state: "firing" | "resolved"): TopicRecord => ({
            schema: "dns.alert/1",
            event_id: id(0xa1e7, number++),
            ts: time(startMs + minute * MINUTE_MS),
            node: "probe-eu",
            scope: "probe",
            alert_id: id(0xa1e8, index),
            rule,
            entity,
            state,
            severity,
            started: time(startMs + (from - 1) * MINUTE_MS),
            ...(state === "resolved" ? { ended: time(startMs + minute * MINUTE_MS) } : {}),
            duration_seconds: (minute - from + 1) * 60,
            summary,
            figures: [{ name: "failures", value: 2 }],
            evidence: [summary],
            suppressed: 0,
            site: "eu",
            runbook: `docs/runbooks/${page}.md`,
            ...fields,
        });
        for (let minute = from; minute < until; minute += 60) yield record(minute, "firing");
        if (minutes !== undefined) yield record(until, "resolved");
    }
}

/** What people and pipelines announced: arguments of `dnscribe annotate`. */
export function annotations(startMs: number): string[][] {
    const at = (minute: number): string[] => ["--at", time(startMs + minute * MINUTE_MS)];
    const one = (kind: string, summary: string, minute: number, ...more: string[]): string[] => [
        "annotate",
        "--kind",
        kind,
        "--summary",
        summary,
        "--actor",
        "ci",
        ...at(minute),
        ...more,
    ];
    return [
        one(
            "deploy",
            "cart 2.0",
            DEPLOY_MINUTE,
            "--service",
            "cart",
            "--zone",
            "shop-corp.com",
            "--url",
            "https://ci.example.org/42",
        ),
        one(
            "note",
            "resolver-2 lost its upstream link",
            incidents.resolver.from + 40,
            "--service",
            "resolver-2",
            "--incident",
            "confirmed",
        ),
        one(
            "note",
            "cart 2.0 asked for a name that nobody created",
            incidents.deploy.from + 20,
            "--zone",
            "shop-corp.com",
            "--incident",
            "confirmed",
        ),
    ];
}

/** Zones and indicators, as files that `dnscribe zones import` and `dnscribe intel import` read. */
export const intel = [{ indicator: EVIL, kind: "domain", category: "c2", source: "list", confidence: 80 }];

/** Nodes in the order in which their captures are made. */
export const nodeNames = Object.keys(nodes) as Node[];
