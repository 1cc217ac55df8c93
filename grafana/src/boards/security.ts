// Security: does somebody misuse DNS, who, and with which names?
import { board, encrypted, events, next, runbook } from "../board.js";
import { ABOUT_CHOSEN, alerts, firing, NONE } from "../common.js";
import { dns_alerts as a, dns_connections as e, dns_probes as p, dns_transactions as t } from "../names.js";
import { column, series, severities, table, TIME } from "../panels.js";
import { below, chMatches, clickhouse, LASTS, matches, timescaledb, worst } from "../sources.js";

/** Rules of nodes, fleet and probes about misuse. */
const RULES =
    "tunnel|dga|spoofing|cache_poisoning|amplification|resolver_bypass|encrypted_bypass|zone_hijack|zone_new_source|client_fanout|answer_changed|issuer_changed";
const DRIFT = "answer_drift|answer_changed|zone_hijack|dnssec_disagreement|resolver_disagreement";
/** Extended DNS errors about DNSSEC (RFC 8914, section 4). */
const EDE_DNSSEC = "1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 25, 27";
const FILTER = `$__timeFilter(${t.ts}) AND ${chMatches(t.zone, "zone")} AND ${chMatches(t.resolver, "resolver")}`;

export const security = board(
    "security",
    "Does somebody misuse DNS? The first row answers it; below it the evidence by kind.",
    ["resolver", "zone"],
    [
        {
            title: "Does somebody misuse DNS?",
            height: 8,
            panels: [
                [
                    4,
                    firing(
                        "Security alerts that fire",
                        "Alerts about tunnels, generated names, forged answers, bypass of resolvers and hijacked zones at the end of the time range. " +
                            "Red: open the newest in the list beside it, and keep its transactions before retention removes them.",
                        `rule ~ '^(${RULES})$' AND ${ABOUT_CHOSEN}`,
                        [runbook("runbooks/README"), next("noc")],
                    ),
                ],
                [
                    20,
                    alerts(
                        "Evidence",
                        "Each alert of the time range with its processes. The summary has the decisive figures; the runbook of the rule says how to confirm them. " +
                            "A row per alert: rows that repeat for one client are one machine to isolate.",
                        `rule ~ '^(${RULES})$' AND ${ABOUT_CHOSEN}`,
                        [
                            runbook("runbooks/README"),
                            next("noc"),
                            events("name.class IN ('random', 'hex', 'base32', 'base64')"),
                        ],
                    ),
                ],
            ],
        },
        {
            title: "Names that carry data, and generated names",
            height: 9,
            panels: [
                [
                    12,
                    table({
                        title: "Data in names",
                        description:
                            "Zones by the bytes of encoded names (hex, base32, base64, random) that clients asked for: an estimate of what a tunnel carried away. " +
                            "Red: more than 100 kB. CDNs and anti-virus services do this with few names; a tunnel has many names, one client, and TXT or NULL.",
                        unit: "short",
                        links: [
                            runbook("runbooks/tunnel"),
                            next("noc"),
                            events("name.class IN ('hex', 'base32', 'base64')"),
                        ],
                        overrides: [
                            column("name_bytes", "bytes", { warning: 20_000, critical: 100_000 }),
                            column("entropy_bits", "none"),
                        ],
                        widths: {
                            zone: 130,
                            client: 110,
                            process: 80,
                            names: 70,
                            name_bytes: 100,
                            entropy_bits: 100,
                            qtype: 65,
                        },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.zone}, ${t.client_ip} AS client, any(${t.process}.comm) AS process, uniq(${t.qname}) AS names, sum(length(${t.qname})) AS name_bytes,
                   round(avg(${t.name}.entropy_bits), 2) AS entropy_bits, topK(1)(${t.qtype})[1] AS qtype, any(${t.qname}) AS example
                 FROM dns_transactions WHERE ${FILTER} AND ${t.name}.class IN ('random', 'hex', 'base32', 'base64')
                 GROUP BY ${t.zone}, client HAVING names > 20 ORDER BY name_bytes DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
                [
                    12,
                    series({
                        title: "Names with high entropy",
                        description:
                            "Distinct names a minute by zone whose labels have 3.5 bits or more per byte, the ten zones with most. A steady line is a tracker; " +
                            "a block that begins and ends is a transfer; many zones at once are generated domains (DGA).",
                        unit: "short",
                        links: [runbook("runbooks/dga"), next("noc"), events("name.entropy_bits > 3.5")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, ${t.zone}, uniq(${t.qname}) AS names FROM dns_transactions
                 WHERE ${FILTER} AND ${t.name}.entropy_bits >= 3.5 AND ${t.zone} IN (
                   SELECT ${t.zone} FROM dns_transactions WHERE ${FILTER} AND ${t.name}.entropy_bits >= 3.5 GROUP BY ${t.zone} ORDER BY uniq(${t.qname}) DESC LIMIT 10)
                 GROUP BY time, ${t.zone} ORDER BY time`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Forged and changed answers",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Spoofing evidence",
                        description:
                            "Second answers with other content (conflicts), responses that no query matched, and responses refused because of a wrong id or port. " +
                            "A few orphans are late answers; conflicts, or rejected responses in the hundreds, are an attack on the cache.",
                        unit: "short",
                        isBars: true,
                        bounds: NONE,
                        links: [runbook("runbooks/spoofing"), next("noc"), events("conflict")],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, countIf(${t.conflict}) AS conflicts, countIf(${t.status} = 'orphan') AS orphans,
                   sum(ifNull(${t.rejected_responses}, 0)) AS rejected
                 FROM dns_transactions WHERE ${FILTER} GROUP BY time ORDER BY time`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "DNSSEC failures",
                        description:
                            "SERVFAIL with an extended error about DNSSEC by zone, and answers that a probe itself found bogus. One zone: its signatures have expired " +
                            "or its DS is wrong; all zones of a resolver: its clock or trust anchor.",
                        unit: "short",
                        isBars: true,
                        bounds: NONE,
                        links: [
                            runbook("runbooks/verdict-dnssec"),
                            next("probes"),
                            events("edns.ede.code IN (6, 7, 8, 9)"),
                        ],
                        targets: [
                            clickhouse(
                                "time_series",
                                `SELECT $__timeInterval(${t.ts}) AS time, ${t.zone}, countIf(${t.rcode} = 'SERVFAIL' AND ${t.edns}.ede.code IN (${EDE_DNSSEC})) AS failures
                 FROM dns_transactions WHERE ${FILTER} AND ${t.rcode} = 'SERVFAIL' GROUP BY time, ${t.zone} ORDER BY time`,
                            ),
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${p.ts}, $__interval), 'probe ' || ${p.qname} AS metric, count(*) FILTER (WHERE ${p.dnssec} = 'bogus') AS "bogus"
                 FROM dns_probes WHERE $__timeFilter(${p.ts}) AND ${p.kind} = 'dns' AND ${matches(p.resolver, "resolver")} AND ${below(p.qname, "zone")}
                 GROUP BY 1, 2 ORDER BY 1`,
                                "B",
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "TTL drift and answers that changed",
                        description:
                            "Alerts about names whose answers or TTLs differ between sites or resolvers, or from what was known. Nobody announced a change and the " +
                            "network is another: treat it as a hijack until the owner of the zone has confirmed it.",
                        unit: "none",
                        links: [runbook("runbooks/answer-drift"), next("probes"), events(chMatches(t.zone, "zone"))],
                        overrides: [column("started", TIME), severities("severity")],
                        widths: { started: 70, rule: 120, severity: 75, subject: 140 },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT min(${a.started}) AS started, min(${a.rule}) AS rule, ${worst(a.severity)} AS severity, coalesce(min(${a.zone}), min(${a.qname}), min(${a.entity})) AS subject,
                   (array_agg(${a.summary} ORDER BY ${a.ts}))[1] AS summary
                 FROM dns_alerts WHERE $__timeFilter(${a.ts}) AND ${a.rule} ~ '^(${DRIFT})$' AND ${ABOUT_CHOSEN} GROUP BY ${a.alert_id} ORDER BY 1 DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Who asks, and around which resolvers",
            height: 9,
            panels: [
                [
                    8,
                    table({
                        title: "Resolvers by process",
                        description:
                            "Which programs use which resolvers, those that few programs use first. A browser or an unknown program with a resolver of its own, or " +
                            "encrypted DNS (ports 443, 853), bypasses policy and this view.",
                        unit: "short",
                        links: [
                            runbook("runbooks/resolver-bypass"),
                            next("kubernetes"),
                            events(chMatches(t.resolver, "resolver")),
                        ],
                        overrides: [column("last", TIME)],
                        widths: { port: 60, process: 100, clients: 75, queries: 80, last: 70 },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${t.resolver}, ${t.server_port} AS port, ${t.process}.comm AS process, uniq(${t.client_ip}) AS clients, count() AS queries,
                   max(${t.ts}) AS last FROM dns_transactions WHERE ${FILTER} AND ${t.process}.comm != ''
                 GROUP BY ${t.resolver}, port, process ORDER BY uniq(${t.client_ip}) ASC, queries DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "Sources by network and country",
                        description:
                            "Networks, countries and autonomous systems of clients (needs GeoIP databases in the job enrich). A new country with many queries for one " +
                            "zone is a scan; one network with large answers is amplification.",
                        unit: "short",
                        links: [runbook("runbooks/zone-new-source"), next("noc"), events(chMatches(t.zone, "zone"))],
                        overrides: [
                            column("bytes", "bytes"),
                            column("amplification", "none", { warning: 10, critical: 30 }),
                        ],
                        widths: { country: 75, as_org: 80, queries: 75, clients: 70, bytes: 75, amplification: 105 },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT if(position(${t.client_ip}, ':') > 0, concat(toString(IPv6CIDRToRange(toIPv6OrDefault(${t.client_ip}), 48).1), '/48'),
                     concat(arrayStringConcat(arraySlice(splitByChar('.', ${t.client_ip}), 1, 3), '.'), '.0/24')) AS network,
                   any(${t.client_geo}.country) AS country, any(${t.client_geo}.as_org) AS as_org, count() AS queries, uniq(${t.client_ip}) AS clients,
                   sum(ifNull(${t.response_bytes}, 0)) AS bytes, round(bytes / greatest(sum(ifNull(${t.query_bytes}, 0)), 1), 1) AS amplification
                 FROM dns_transactions WHERE ${FILTER} GROUP BY network ORDER BY queries DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "Names on lists of threats",
                        description:
                            "Who asked for an indicator of dns.intel (domain, or prefix of an answer). Each row is a machine to look at; a resolver that asks for all " +
                            "of them is only forwarding.",
                        unit: "short",
                        links: [runbook("threat-intelligence"), next("noc"), events("notEmpty(intel)")],
                        overrides: [column("first", TIME), column("last", TIME)],
                        widths: {
                            category: 80,
                            source: 70,
                            queries: 75,
                            clients: 70,
                            client: 100,
                            first: 60,
                            last: 60,
                        },
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT hit.indicator AS indicator, hit.category AS category, hit.source AS source, count() AS queries, uniq(${t.client_ip}) AS clients,
                   any(${t.client_ip}) AS client, min(${t.ts}) AS first, max(${t.ts}) AS last
                 FROM dns_transactions ARRAY JOIN ${t.intel} AS hit WHERE ${FILTER}
                 GROUP BY indicator, category, source ORDER BY clients DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Encrypted DNS (agents with the stream connections)",
            height: 8,
            panels: [
                [
                    24,
                    table({
                        title: "Encrypted DNS by process",
                        description:
                            "Connections by DoT, DoQ, DoH and DoH3, seen at the client or on their way, whatever zone is chosen: those of few clients first. " +
                            "Counted are all that lasted within the time range, each with its bytes from begin to end. DoH is known by the addresses of encrypted.resolvers. " +
                            "A server that is not yours bypasses policy and all panels above.",
                        unit: "short",
                        links: [
                            runbook("runbooks/encrypted-bypass"),
                            next("uses"),
                            encrypted(chMatches(e.resolver, "resolver")),
                        ],
                        overrides: [
                            column("handshake_p95", "ms"),
                            column("bytes", "bytes"),
                            column("first", TIME),
                            column("last", TIME),
                        ],
                        widths: {
                            process: 110,
                            protocol: 80,
                            clients: 75,
                            connections: 105,
                            failed: 70,
                            handshake_p95: 120,
                            bytes: 85,
                            first: 70,
                            last: 70,
                        },
                        noValue: "none was seen",
                        targets: [
                            clickhouse(
                                "table",
                                `SELECT ${e.process}.comm AS process, any(${e.k8s}.namespace) AS namespace, ${e.protocol} AS protocol, ${e.resolver} AS server, ${e.sni} AS server_name, uniq(${e.client_ip}) AS clients,
                   count() AS connections, countIf(${e.status} IN ('reset', 'refused', 'timeout', 'handshake_failed')) AS failed, quantileTDigest(0.95)(${e.handshake_ms}) AS handshake_p95,
                   sum(${e.client_bytes} + ${e.server_bytes}) AS bytes, min(${e.ts}) AS first, max(${e.ts}) AS last
                 FROM (SELECT * FROM dns_connections WHERE ${LASTS} AND ${chMatches(e.resolver, "resolver")} AND ${e.vantage} != 'server'
                   ORDER BY ${e.final} DESC, ${e.duration_ms} DESC LIMIT 1 BY ${e.connection_id})
                 GROUP BY process, protocol, server, server_name ORDER BY clients, connections DESC LIMIT 100`,
                            ),
                        ],
                    }),
                ],
            ],
        },
    ],
);
