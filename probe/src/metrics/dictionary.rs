//! All metrics of the probe: HELP and TYPE lines and `docs/probe-metrics.md` come from here. A metric that is
//! missing here fails a debug assertion.

use dnscribe_admin::metric::Metric;
use dnscribe_admin::{process, sinks};

type MetricLabels = &'static [(&'static str, &'static str)];

/// Labels of every result on `/metrics`; `/probe` has none of them.
const TARGET: MetricLabels = &[
    ("service", "of the target"),
    ("kind", "dns, authority, tcp, tls, http, ping"),
    ("target", "as in `dns.probe/1`"),
    ("resolver", "kind dns"),
    ("qname", "kind dns"),
    ("qtype", "kind dns"),
    ("nameserver", "kind authority"),
    ("address", "kind authority"),
];
const RECORD: &str = "`dns.probe/1`, the last round of each target";

const fn result(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric::gauge(name, unit, help).labels(TARGET).source(RECORD)
}

/// What blackbox_exporter has too, with its meaning.
pub(super) const COMPATIBLE: &[Metric] = &[
    result("probe_success", "0 or 1", "Displays whether or not the probe was a success.")
        .formula("`min by (service) (probe_success)` is 0 while anything of a service fails"),
    result("probe_duration_seconds", "seconds", "Returns how long the probe took to complete in seconds."),
    result(
        "probe_dns_lookup_time_seconds",
        "seconds",
        "Returns the time taken for probe dns lookup in seconds.",
    )
    .caveat("The lookup of the target's host, 0 for an address; not the query of kind dns."),
    result(
        "probe_ip_protocol",
        "4 or 6",
        "Specifies whether probe ip protocol is IP4 or IP6; 0 before an address is known.",
    ),
    result("probe_ip_addr_hash", "1", "Specifies the hash of IP address, to see whether it changes."),
    result("probe_dns_query_succeeded", "0 or 1", "Displays whether or not the query was answered."),
    result("probe_dns_answer_rrs", "records", "Returns number of entries in the answer resource record list."),
    result("probe_dns_authority_rrs", "records", "Returns number of entries in the authority resource record list."),
    result("probe_dns_additional_rrs", "records", "Returns number of entries in the additional resource record list.")
        .caveat("Without OPT, which the probe asks for and blackbox_exporter does not."),
    result("probe_dns_serial", "1", "Returns the serial number of the zone."),
    result(
        "probe_dns_duration_seconds",
        "seconds",
        "Duration of DNS request by phase.",
    )
    .caveat("A further label `phase`: resolve, connect, request."),
    result(
        "probe_ssl_earliest_cert_expiry",
        "Unix time",
        "Returns earliest SSL cert expiry date of the certificates that the server sent.",
    )
    .formula("days left: `(probe_ssl_earliest_cert_expiry - time()) / 86400`"),
    result(
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "seconds",
        "Returns last SSL chain expiry in timestamp, if the chain is trusted.",
    )
    .caveat("The certificate that expires first of those that the server sent; cross-signed chains are not distinguished."),
    result("probe_ssl_last_chain_info", "1", "Contains SSL leaf certificate information.")
        .caveat("Further labels `fingerprint_sha256`, `subject`, `issuer`."),
    result("probe_tls_version_info", "1", "Contains the TLS version used.")
        .caveat("A further label `version`: TLS 1.3."),
    result("probe_tls_cipher_info", "1", "Contains the TLS cipher negotiated.")
        .caveat("A further label `cipher`."),
    result("probe_http_status_code", "1", "Response HTTP status code; 0 without a response."),
    result(
        "probe_http_duration_seconds",
        "seconds",
        "Duration of http request by phase, of the last request after redirects.",
    )
    .caveat("A further label `phase`: resolve, connect, tls, processing, transfer."),
    result("probe_http_version", "1.0, 1.1 or 2", "Returns the version of HTTP of the probe response."),
    result("probe_http_redirects", "redirects", "The number of redirects."),
    result("probe_http_content_length", "bytes read", "Length of http content response; -1 if unknown."),
    result(
        "probe_http_uncompressed_body_length",
        "bytes read",
        "Length of uncompressed response body: nothing is compressed, since identity is asked for.",
    ),
    result("probe_http_ssl", "0 or 1", "Indicates if SSL was used for the final redirect."),
    result("probe_failed_due_to_regex", "0 or 1", "Indicates if probe failed due to regex."),
    result("probe_icmp_duration_seconds", "seconds", "Duration of icmp request by phase.")
        .caveat("A further label `phase`: resolve, rtt (the mean)."),
];

/// Results that blackbox_exporter does not have.
pub(super) const RESULTS: &[Metric] = &[
    result(
        "dnscribe_probe_attempts",
        "attempts",
        "Attempts of the last round: more than 1 where there was no response at first.",
    )
    .formula("`avg_over_time(dnscribe_probe_attempts[1h]) > 1.1` shows loss that no measurement failed by"),
    result(
        "dnscribe_probe_answer_changed",
        "0 or 1",
        "1 while the answers, certificate or serial number are none of those known to be good.",
    ),
    result(
        "dnscribe_probe_issuer_changed",
        "0 or 1",
        "1 while the certificate's issuer is none of those known to be good.",
    ),
    result(
        "dnscribe_probe_answer_differs",
        "0 or 1",
        "1 if another resolver gave other answers in the same round.",
    ),
    result("dnscribe_probe_answer_min_ttl_seconds", "seconds", "Smallest TTL of the answers."),
    result(
        "dnscribe_probe_answer_known_ttl_seconds",
        "seconds",
        "Largest of these in the last hour or more: the TTL of the zone, which caches count down.",
    ),
    result(
        "dnscribe_probe_signature_expiry_timestamp_seconds",
        "Unix time",
        "End of the signatures of a secure answer, or of its keys, that end first.",
    )
    .formula("days left: `(dnscribe_probe_signature_expiry_timestamp_seconds - time()) / 86400`"),
    result(
        "dnscribe_probe_query_latency_seconds",
        "seconds",
        "Time from the query to its response, without connecting.",
    ),
    result("dnscribe_probe_lame", "0 or 1", "1 if the nameserver does not answer with authority."),
    result("dnscribe_probe_loss_ratio", "ratio", "Ratio of echo requests without a reply."),
    result("probe_expect_info", "1", "What the server said, by the labels of `query_response`.")
        .caveat("Further labels: those of the configuration."),
    result("dnscribe_probe_failure_info", "1", "Stage and reason of the failure; absent without one.")
        .caveat("Further labels `stage`, `reason`."),
    result("dnscribe_probe_answer_info", "1", "Digest of the set of answers, of any type, and response code.")
        .formula(
            "changes of an answer: `count by (target, resolver) (count_over_time(dnscribe_probe_answer_info[1d])) > 1`",
        )
        .caveat("Further labels `digest`, `rcode`."),
    result("dnscribe_probe_dnssec_info", "1", "Result of validation by the probe from the trust anchors.")
        .caveat("A further label `state`: secure, insecure, bogus, indeterminate."),
    result("dnscribe_probe_revocation_info", "1", "Whether the certificate is revoked, and why that is unknown.")
        .formula("`dnscribe_probe_revocation_info{status=\"unknown\"}`: certificates of which nobody would know")
        .caveat("Further labels `status`: good, revoked, unknown; `source`: crl, stapled_ocsp; `reason`."),
];

const PROBING: &str = "ledger: `probing`";
const MEMORY: &str = "the memory of what was good";

/// Metrics of the program.
pub(super) const PROGRAM: &[Metric] = &[
    Metric::counter(
        "dnscribe_probe_other_results_total",
        "results",
        "Results beyond the first 20,000; the last of them has `other` as service, kind and target.",
    )
    .source("`/metrics`"),
    Metric::counter(
        "dnscribe_probe_unrouted_addresses_total",
        "addresses",
        "IPv6 addresses of nameservers that were not asked, because this host has no route to them.",
    )
    .source("rounds of `authority` targets"),
    Metric::counter("dnscribe_probe_rounds_total", "rounds", "Rounds that were due, by outcome.")
        .labels(&[("outcome", "completed, or the reason why it was skipped, as in the ledger")])
        .formula("with those that are running, they are all rounds that were due")
        .source(PROBING),
    Metric::counter(
        "dnscribe_probe_rounds_late_total",
        "rounds",
        "Rounds that began more than a second after they were due.",
    )
    .source(PROBING),
    Metric::gauge("dnscribe_probe_rounds_running", "rounds", "Rounds that run or wait for their turn.").source(PROBING),
    Metric::gauge(
        "dnscribe_probe_breakers_open",
        "endpoints",
        "Endpoints that count as unreachable, so that rounds to them are spaced out.",
    )
    .source("the scheduler"),
    Metric::gauge("dnscribe_probe_verdict", "1", "1 for each cause that a service has; absent while it is well.")
        .labels(&[
            ("service", "name"),
            ("cause", "dns, delegation, dnssec, certificate, hosting, path, resolver"),
            ("severity", "info, warning, critical"),
        ])
        .source("`dns.alert/1`"),
    Metric::gauge("dnscribe_probe_memory_subjects", "endpoints", "Endpoints of targets that are remembered.")
        .source(MEMORY),
    Metric::gauge(
        "dnscribe_probe_memory_values",
        "values",
        "Sets of answers, addresses, certificates, issuers and serial numbers that are remembered.",
    )
    .source(MEMORY),
    Metric::counter(
        "dnscribe_probe_memory_evicted_total",
        "values",
        "Values forgotten because an endpoint had too many.",
    )
    .source(MEMORY),
    Metric::counter(
        "dnscribe_probe_memory_overflow_total",
        "results",
        "Results that were not compared because there were too many endpoints.",
    )
    .source(MEMORY),
    Metric::counter(
        "dnscribe_probe_memory_write_failures_total",
        "writes",
        "Writes of the memory's file that failed.",
    )
    .source(MEMORY),
    Metric::counter("dnscribe_probe_requests_total", "requests", "Requests for /probe by outcome.")
        .labels(&[("outcome", "success, failure, refused, busy")])
        .source("`/probe`")
        .caveat("refused: a wrong target or module; busy: too many at once."),
    Metric::gauge("dnscribe_spool_bytes", "bytes", "Bytes waiting on disk.").source("the spool"),
    Metric::gauge("dnscribe_probe_build_info", "1", "Version of dnscribe-probe.")
        .labels(&[("version", "one")])
        .source("the program"),
];

/// All metrics by subject.
pub(super) const ALL: [&[Metric]; 6] =
    [COMPATIBLE, RESULTS, PROGRAM, sinks::RECORDS, sinks::METRICS, process::METRICS];

/// Returns all metrics.
pub fn metrics() -> impl Iterator<Item = &'static Metric> {
    ALL.into_iter().flatten()
}

/// Returns the metric with a name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    metrics().find(|metric| metric.name == name)
}
