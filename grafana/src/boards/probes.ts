// Probes: does each service work from each site, why not, and what will fail next?
import { board, next, runbook } from "../board.js";
import { alerts, firing } from "../common.js";
import { dns_alerts as a, dns_probes as p, metric as m } from "../names.js";
import { bars, column, lights, series, table, TIME } from "../panels.js";
import { matches, prometheus, timescaledb } from "../sources.js";

const RANGE = `$__timeFilter(${p.ts}) AND ${matches(p.site, "site")}`;
/** Alerts of a chosen site: that of the probe, or one of those that agree. */
const OF_SITE = `(${matches(`${a.body} ->> 'site'`, "site")} OR EXISTS (SELECT FROM jsonb_array_elements_text(${a.body} -> 'sites') AS one (name) WHERE ${matches("one.name", "site")}))`;
/** Measurements of the hour before, with which a value is compared. */
const HOUR = `OVER (PARTITION BY ${p.target}, ${p.site}, ${p.resolver} ORDER BY ${p.ts} ROWS BETWEEN 60 PRECEDING AND 1 PRECEDING)`;

export const probes = board(
    "probes",
    "Does each service work from each site? The first row answers it; below it why not, and what will fail next.",
    ["site"],
    [
        {
            title: "Does each service work?",
            height: 8,
            panels: [
                [
                    4,
                    firing(
                        "Verdicts that fire",
                        "Alerts of probes at the end of the time range. Red: the verdict's rule names the cause; its evidence is in the list beside it.",
                        `scope = 'probe' AND ${OF_SITE}`,
                        [runbook("probe"), next("noc")],
                    ),
                ],
                [
                    6,
                    lights({
                        title: "Services",
                        description:
                            "Each service over time, all sites and targets together. Failing: half of the measurements of a minute or more failed; getting worse: some failed. " +
                            "Red: read the verdict beside it before you restart anything.",
                        unit: "none",
                        links: [runbook("probe"), next("noc")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${p.ts}, $__interval), ${p.service} AS metric,
                   CASE WHEN avg((NOT ${p.ok})::int) >= 0.5 THEN 2 WHEN bool_or(NOT ${p.ok}) THEN 1 ELSE 0 END AS "state"
                 FROM dns_probes WHERE ${RANGE} GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    14,
                    alerts(
                        "Verdicts",
                        "What probes found: the cause in the rule (dns, delegation, dnssec, certificate, hosting, path, resolver), the evidence in the summary. " +
                            "Each rule has a runbook of its name.",
                        `scope = 'probe' AND ${OF_SITE}`,
                        [runbook("runbooks/README"), next("slo")],
                    ),
                ],
            ],
        },
        {
            title: "What will fail next",
            height: 8,
            panels: [
                [
                    8,
                    bars({
                        title: "Days until certificates and signatures expire",
                        description:
                            "Newest measurement of each target with TLS, and of each name that is signed. Yellow below 14 days, " +
                            "red below 3: renew it, and find out why the renewal or the signer did not run. Negative days: it has expired. Signatures " +
                            "that live for a few days are always low; their rule knows.",
                        unit: "d",
                        decimals: 0,
                        bounds: { warning: 14, critical: 3, isLower: true },
                        links: [
                            runbook("runbooks/certificate-expiry"),
                            runbook("runbooks/signature-expiry"),
                            next("noc"),
                        ],
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT DISTINCT ON (${p.target}) ${p.service} || ' ' || ${p.target} AS target,
                   coalesce(${p.cert_expiry_days}, (${p.body} #>> '{signature,expiry_days}')::float) AS days FROM dns_probes
                 WHERE ${RANGE} AND (${p.cert_expiry_days} IS NOT NULL OR ${p.body} -> 'signature' IS NOT NULL) ORDER BY ${p.target}, ${p.ts} DESC`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "Nameservers that lag or are lame",
                        description:
                            "Each nameserver of each zone: its serial number, how far behind the newest it is, and whether it answers with authority. " +
                            "Red: the zone transfer does not work, or the delegation names a server that does not know the zone.",
                        unit: "none",
                        links: [runbook("runbooks/serial-lag"), next("noc")],
                        overrides: [column("behind", "none", { warning: 1, critical: 10 }), column("last", TIME)],
                        widths: { serial: 95, behind: 80, lame: 60, last: 60 },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT zone, nameserver, serial, max(serial) OVER (PARTITION BY zone) - serial AS behind, lame, ts AS last FROM (
                   SELECT DISTINCT ON (${p.target}, ${p.nameserver}) ${p.target} AS zone, ${p.nameserver} AS nameserver, ${p.soa_serial} AS serial,
                     coalesce(${p.lame}, false) AS lame, ${p.ts} AS ts
                   FROM dns_probes WHERE ${RANGE} AND ${p.kind} = 'authority' AND ${p.nameserver} IS NOT NULL ORDER BY ${p.target}, ${p.nameserver}, ${p.ts} DESC
                 ) AS newest ORDER BY behind DESC NULLS LAST, zone, nameserver`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    table({
                        title: "Resolvers that disagree",
                        description:
                            "Names that a resolver answered otherwise than the others in the same round, or otherwise than before. A cache that is behind agrees after its " +
                            "TTL; one that stays different is split-horizon DNS or redirection.",
                        unit: "short",
                        links: [runbook("runbooks/resolver-disagreement"), next("security")],
                        overrides: [column("last", TIME)],
                        widths: { qtype: 60, resolver: 95, site: 50, differs: 65, changed: 75, last: 60 },
                        targets: [
                            timescaledb(
                                "table",
                                `SELECT ${p.qname}, ${p.qtype}, ${p.resolver}, ${p.site}, count(*) FILTER (WHERE ${p.body} ? 'differs_from') AS differs,
                   count(*) FILTER (WHERE ${p.changed}) AS changed, max(${p.ts}) AS last,
                   (array_agg(${p.body} ->> 'answers' ORDER BY ${p.ts} DESC))[1] AS answers
                 FROM dns_probes WHERE ${RANGE} AND ${p.kind} = 'dns' AND (${p.body} ? 'differs_from' OR ${p.changed}) GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 50`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "Times by site",
            height: 9,
            panels: [
                [
                    8,
                    series({
                        title: "Connect, handshake and first byte",
                        description:
                            "Median times by site: TCP connect, TLS handshake, first byte of HTTP. Connect grows with the route, the handshake with the server's load, " +
                            "the first byte with the application.",
                        unit: "ms",
                        bounds: { warning: 500, critical: 2000 },
                        links: [runbook("runbooks/target-latency"), next("noc")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${p.ts}, $__interval), ${p.site} AS metric,
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY ${p.connect_ms}) AS "connect", percentile_cont(0.5) WITHIN GROUP (ORDER BY ${p.handshake_ms}) AS "handshake",
                   percentile_cont(0.5) WITHIN GROUP (ORDER BY ${p.ttfb_ms}) AS "first byte"
                 FROM dns_probes WHERE ${RANGE} AND ${p.kind} IN ('tcp', 'tls', 'http') GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Latency and its anomaly score",
                        description:
                            "Latency of DNS targets in milliseconds, and how many standard deviations it is from the 60 measurements before (z). " +
                            "Over 5 is unusual: the alert target_latency fires if it stays. Compare the sites: one site is its network, all are the server.",
                        unit: "ms",
                        links: [runbook("runbooks/target-latency"), next("noc")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(ts, $__interval), target || ' ' || coalesce(resolver, '') AS metric, max(value) AS "latency", max(z) AS "z" FROM (
                   SELECT ${p.ts} AS ts, ${p.target} AS target, ${p.resolver} AS resolver, ${p.latency_ms} AS value,
                     (${p.latency_ms} - avg(${p.latency_ms}) ${HOUR}) / greatest(stddev_samp(${p.latency_ms}) ${HOUR}, 1) AS z
                   FROM dns_probes WHERE ${RANGE} AND ${p.kind} = 'dns' AND ${p.latency_ms} IS NOT NULL
                 ) AS scored GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
                [
                    8,
                    series({
                        title: "Packet loss",
                        description:
                            "Loss of echo requests by target. Loss at one site is that site's network; at all sites the target's. Above 5 % TCP gets slow.",
                        unit: "percentunit",
                        max: 1,
                        bounds: { warning: 0.02, critical: 0.2 },
                        links: [runbook("runbooks/verdict-path"), next("noc")],
                        targets: [
                            timescaledb(
                                "time_series",
                                `SELECT $__timeGroupAlias(${p.ts}, $__interval), ${p.site} || ' ' || ${p.target} AS metric, avg(${p.loss_ratio}) AS "loss"
                 FROM dns_probes WHERE ${RANGE} AND ${p.kind} = 'ping' GROUP BY 1, 2 ORDER BY 1`,
                            ),
                        ],
                    }),
                ],
            ],
        },
        {
            title: "The probes themselves",
            height: 6,
            panels: [
                [
                    24,
                    series({
                        title: "Measurements by service",
                        description:
                            "Share of successful measurements by service, as the probes' own metrics say, whatever site is chosen: it works while Kafka and the stores do not. A line that ends is a probe " +
                            "that died or is not scraped any more.",
                        unit: "percentunit",
                        max: 1,
                        links: [runbook("probe-metrics"), next("pipeline")],
                        targets: [prometheus(`avg by (service) (${m.probe_success}{service!=""})`, "{{service}}")],
                    }),
                ],
            ],
        },
    ],
);
