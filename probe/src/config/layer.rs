//! One layer of the configuration: what a file, the environment or the flags give, and nothing else.

use super::client_certificate::ClientCertificateLayer;
use super::rules::{RulesLayer, TriggerLayer};
use super::trust::TrustLayer;
use super::value::{
    Answer, BodyBytes, DnsName, HeaderName, HeaderText, HostOnly, HostPort, HttpMethod, HttpUrl,
    Percent, Qtype, ResolverUrl, Retries, StartTls,
};
use crate::target::{AddressFamily, Pattern, SecretText};
use dnscribe_config::alertmanager::AlertmanagerLayer;
use dnscribe_config::kafka::KafkaLayer;
use dnscribe_config::log::LogLayer;
use dnscribe_config::privacy::PrivacyLayer;
use dnscribe_config::reader::Placed;
use dnscribe_config::section;
use dnscribe_config::sinks::{FileLayer, HealthLayer, MetricsLayer, SpoolLayer};
use dnscribe_config::value::{
    Count, LabelName, LabelValue, Listen, Name, PositiveSpan, RecordOutput, Span, Switch, Version,
};
use dnscribe_delivery::{SinkSpec, StreamSet};
use hickory_proto::rr::RecordType;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Default address of `/metrics`: the port after the agent's, which may run on the same host.
pub(super) const METRICS_LISTEN: Listen =
    Listen(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9354)));

section! {
    /// All sections.
    Layer {
        /// Version of this file's format.
        text version: Option<Version> = default(1),
        /// Name of this host in records. Default: the system's host name.
        text node: Option<Name> = example("probe-1"),
        /// Vantage point: the field `site` of every record. Default: the node.
        text site: Option<Name> = example("lab-1"),
        /// Location of this host: the field `region` of every record.
        text region: Option<Name> = example("eu-central"),
        /// Labels of this host, in the field `labels` of every record; at most 16.
        map labels: BTreeMap<LabelName, LabelValue> = example("{ environment: prod }"),
        /// What is trusted.
        section trust: TrustLayer,
        /// Resolvers by name: udp://, tcp://, tls://, https:// or quic:// with address and port; behind #
        /// the name for the certificate. Default: the nameservers of /etc/resolv.conf, by their addresses.
        map resolvers: BTreeMap<Name, ResolverUrl> = example("{ corp: \"udp://192.0.2.53:53\", backup: \"tls://198.51.100.1:853#dns.example\" }"),
        /// Values for targets that have none of their own.
        section defaults: DefaultsLayer,
        /// What runs at the same time, and how often.
        section limits: LimitsLayer,
        /// Services, each with the targets that it depends on.
        placed_sections services: Option<Vec<Placed<ServiceLayer>>> = each(
            ServiceLayer,
            "[{ name: shop, targets: [{ dns: { name: shop.example.com } }] }]"
        ),
        /// What /probe measures of the target that it is asked for, by name: targets of one kind without
        /// the address, URL, zone or resolver. Further ones are built in: http_2xx, tcp_connect, tls, icmp,
        /// dns, authority.
        named_sections modules: BTreeMap<Name, TargetLayer> = example("{ http_json: { http: { body: \"ok\" } } }"),
        /// File with modules for blackbox_exporter.
        text modules_file: Option<PathBuf> = example("/etc/prometheus/blackbox.yml"),
        /// Measurements on request, for Prometheus: /probe?target=TARGET&module=MODULE, as of
        /// blackbox_exporter.
        section probe_endpoint: ProbeEndpointLayer,
        /// Memory of answers, certificates and serial numbers that were good.
        section memory: MemoryLayer,
        /// Rules of verdicts and other alerts.
        section rules: RulesLayer,
        /// Measurements on demand: alerts of agents and jobs, read from Kafka.
        section trigger: TriggerLayer,
        /// Streams of every sink that has no streams of its own: probes, alerts, ledger. Default: all
        /// of them, but to stdout no ledger.
        joined streams: Option<StreamSet> = example("[probes, alerts]"),
        /// Destinations of records: stdout, file:PATH, kafka, alertmanager, null. Default: kafka if
        /// kafka.brokers is given, else stdout.
        items sinks: Option<Vec<SinkSpec>> = example("[kafka, \"file:/var/log/dnscribe/probes.ndjson\"]"),
        /// Format of records on stdout: text, json, ecs (the Elastic Common Schema), or auto, which is text on
        /// a terminal and json elsewhere.
        text output: Option<RecordOutput> = default(RecordOutput::Auto),
        /// Connection to Kafka, and what is sent there.
        section kafka: KafkaLayer,
        /// Queue on disk for records while Kafka cannot be reached.
        section spool: SpoolLayer,
        /// Connection to Alertmanager. If urls is given, `run` sends alerts there.
        section alertmanager: AlertmanagerLayer,
        /// Files of all file sinks.
        section file: FileLayer,
        /// Endpoint for Prometheus.
        section metrics: MetricsLayer = defaults([("listen", METRICS_LISTEN.to_string())]),
        /// Health check.
        section health: HealthLayer,
        /// Masking of private data in records.
        section privacy: PrivacyLayer,
        /// Log on stderr.
        section log: LogLayer,
        /// Time limit of the shutdown.
        text drain_timeout: Option<Span> = default(Duration::from_secs(10)),
    }
}

section! {
    /// Section `defaults`.
    DefaultsLayer {
        /// Time between two rounds of a target.
        text interval: Option<PositiveSpan> = default(Duration::from_mins(1)),
        /// Time limit of a round.
        text timeout: Option<PositiveSpan> = default(Duration::from_secs(5)),
        /// Further attempts of dns and authority targets where there is no response.
        text retries: Option<Retries> = default(1_u32),
        /// Addresses of this host from which is measured: one, or one of each family. Default: the system's choice.
        items source_address: Option<Vec<IpAddr>> = example("192.0.2.1"),
        /// Whether answers of dns targets are validated with DNSSEC.
        text dnssec: Option<Switch> = default(true),
    }
}

section! {
    /// Section `probe_endpoint`.
    ProbeEndpointLayer {
        /// Whether /probe is served beside /metrics. Whoever reaches it can have this host connect
        /// anywhere. Default: if metrics.listen is a loopback address.
        text enabled: Option<Switch> = example("true"),
        /// Number of requests that are measured at a time; further ones get status 429.
        text max_concurrent: Option<Count> = default(64_usize),
    }
}

section! {
    /// Section `memory`.
    MemoryLayer {
        /// Whether what is known is kept on disk across restarts.
        text persist: Option<Switch> = default(true),
        /// Directory of the file. Default: that of STATE_DIRECTORY, else /var/lib/dnscribe-probe.
        text directory: Option<PathBuf> = example("/var/lib/dnscribe-probe"),
        /// Time after which something new that was seen in good rounds is no longer a change.
        text learn_after: Option<Span> = default(Duration::from_hours(1)),
        /// Number of those rounds that it needs besides.
        text learn_rounds: Option<Count> = default(3_usize),
        /// Time after which what was not seen is forgotten.
        text forget_after: Option<PositiveSpan> = default(Duration::from_hours(720)),
        /// Shortest time between two writes of the file.
        text save_interval: Option<PositiveSpan> = default(Duration::from_secs(30)),
    }
}

section! {
    /// Section `limits`. A host is a resolver's or a server's address or name, or a zone with its nameservers.
    LimitsLayer {
        /// Rounds of all targets that run at the same time.
        text rounds: Option<Count> = default(1000_usize),
        /// Rounds against one host that run at the same time.
        text rounds_per_host: Option<Count> = default(64_usize),
        /// Rounds against one host that begin in a second, on average.
        text rate_per_host: Option<Count> = default(100_usize),
        /// Rounds against one host that may begin at once.
        text burst_per_host: Option<Count> = default(100_usize),
        /// Consecutive rounds that do not reach an endpoint (timeout, refused, no route) after which its rounds are
        /// spaced; counted as skipped.
        text breaker_failures: Option<Count> = default(5_usize),
        /// Time from then to the next round; it doubles with each one that fails.
        text breaker_backoff: Option<PositiveSpan> = default(Duration::from_secs(30)),
        /// Limit of this time, and so the longest time for which a recovery is not seen. Targets with a longer interval
        /// are never skipped.
        text breaker_max_backoff: Option<PositiveSpan> = default(Duration::from_mins(2)),
    }
}

section! {
    /// An item of `services`.
    ServiceLayer {
        /// Name of the service; unique.
        text name: Option<Name> = example("shop"),
        /// Targets, each of one kind: dns, authority, tcp, tls, http or ping.
        placed_sections targets: Option<Vec<Placed<TargetLayer>>> = each(
            TargetLayer,
            "[{ dns: { name: shop.example.com } }, { tcp: { address: \"192.0.2.10:443\" } }]"
        ),
    }
}

section! {
    /// An item of `services.targets`.
    TargetLayer {
        /// Name in records, metrics and alerts; unique in its service. Default: what is measured, with address_family
        /// and connect_to where these are given, and never the query of a URL.
        text name: Option<Name> = example("shop-ipv6"),
        /// A name that resolvers are asked for.
        optional dns: Option<DnsLayer> = each(DnsLayer, "{ name: shop.example.com, type: A }"),
        /// A zone at every nameserver that it has.
        optional authority: Option<AuthorityLayer> = each(AuthorityLayer, "{ zone: example.com }"),
        /// A port that must accept connections.
        optional tcp: Option<TcpLayer> = each(TcpLayer, "{ address: \"192.0.2.10:443\" }"),
        /// A TLS server with a valid certificate.
        optional tls: Option<TlsLayer> = each(TlsLayer, "{ address: \"192.0.2.10:443\", server_name: shop.example.com }"),
        /// A URL with an expected response.
        optional http: Option<HttpLayer> = each(HttpLayer, "{ url: \"https://shop.example.com/health\" }"),
        /// A host that must answer ICMP echo requests.
        optional ping: Option<PingLayer> = each(PingLayer, "{ address: 192.0.2.10 }"),
    }
}

section! {
    /// Keys of every target.
    PaceLayer {
        /// Time between two rounds. Default: defaults.interval.
        text interval: Option<PositiveSpan> = example("30s"),
        /// Time limit of a round, with all its attempts. Default: defaults.timeout.
        text timeout: Option<PositiveSpan> = example("2s"),
        /// Addresses of this host from which is measured. Default: defaults.source_address.
        items source_address: Option<Vec<IpAddr>> = example("[192.0.2.1, \"2001:db8::1\"]"),
    }
}

section! {
    /// Keys of every target but ping, which has `count`.
    RetryLayer {
        /// Further attempts where there is no response. Queries over UDP are sent again at equal parts of the time limit;
        /// else the next attempt follows a failure. Default: defaults.retries for dns and authority, 0 for others.
        text retries: Option<Retries> = example("2"),
    }
}

section! {
    /// Section `dns` of a target.
    DnsLayer {
        /// Name asked for.
        text name: Option<DnsName> = example("shop.example.com"),
        /// Type asked for.
        text r#type: Option<Qtype> = default(RecordType::A),
        /// Resolvers that are asked, by their names in `resolvers`. Default: all.
        items resolvers: Option<Vec<Name>> = example("[corp, backup]"),
        /// Response codes that are good.
        items rcodes: Option<Vec<Name>> = example("[NOERROR, NXDOMAIN]"),
        /// Answers that the name must have, and no others: addresses, or what a zone file has. Default: any.
        items answers: Option<Vec<Answer>> = example("[\"10 mail.example.com\"]"),
        /// Whether the answer is validated with DNSSEC. Default: defaults.dnssec.
        text dnssec: Option<Switch> = example("false"),
        /// Whether the answer must be signed and validate.
        text require_secure: Option<Switch> = default(false),
        /// Whether the server is asked to recurse (RD). Without, answers are not validated.
        text recursion_desired: Option<Switch> = default(true),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
        /// Further attempts.
        flatten retry: RetryLayer,
    }
}

section! {
    /// Section `authority` of a target.
    AuthorityLayer {
        /// The zone.
        text zone: Option<DnsName> = example("example.com"),
        /// Resolver that finds the parent's nameservers. Default: the first by name.
        text resolver: Option<Name> = example("corp"),
        /// Nameservers that are asked, by address or name, and no others: for a zone whose parent does not know them, as of
        /// a split horizon. The parent is not asked. Default: those that the parent and the zone name.
        items servers: Option<Vec<HostOnly>> = example("[192.0.2.53, ns2.corp.example.com]"),
        /// Largest difference between the serial numbers of its nameservers that is good.
        text max_serial_lag: Option<u32> = default(0_u32),
        /// Port of the nameservers.
        text port: Option<u16> = default(53_u16),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
        /// Further attempts.
        flatten retry: RetryLayer,
    }
}

section! {
    /// An item of `query_response`.
    StepLayer {
        /// Pattern (a regular expression) that a line of the server must contain. Lines before it are skipped.
        text expect: Option<Pattern> = example("^220 (.*)"),
        /// Labels of the result: field response_labels of the record, metric probe_expect_info.
        sections labels: Option<Vec<StepLabelLayer>> = each(StepLabelLayer, "[{ name: version, value: \"${1}\" }]"),
        /// Line that is sent then. ${1} is what the first group of expect has matched.
        text send: Option<SecretText> = example("QUIT"),
        /// Kind tls: whether TLS begins after this step. Default: before the first.
        text starttls: Option<Switch> = example("true"),
    }
}

section! {
    /// A label of a step.
    StepLabelLayer {
        /// Name of the label.
        text name: Option<LabelName> = example("version"),
        /// Value. ${1} is what the first group of expect has matched.
        text value: Option<String> = example("${1}"),
    }
}

section! {
    /// Section `tcp` of a target.
    TcpLayer {
        /// Address or name, and port.
        text address: Option<HostPort> = example("192.0.2.10:443"),
        /// What server and client say, line by line, once connected.
        sections query_response: Option<Vec<StepLayer>> = each(StepLayer, "[{ expect: \"^SSH-2\\\\.0-\" }]"),
        /// Resolver of the name. Default: the system's.
        text resolver: Option<Name> = example("corp"),
        /// Which addresses of the name are used, and which are tried first: any, ipv4, ipv6, prefer_ipv4,
        /// prefer_ipv6.
        text address_family: Option<AddressFamily> = default(AddressFamily::Any),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
        /// Further attempts.
        flatten retry: RetryLayer,
    }
}

section! {
    /// Section `tls` of a target.
    TlsLayer {
        /// Address or name, and port.
        text address: Option<HostPort> = example("192.0.2.10:443"),
        /// Name for SNI and the certificate. Default: that of the address.
        text server_name: Option<Name> = example("shop.example.com"),
        /// Application protocols offered.
        items alpn: Option<Vec<Name>> = example("[h2, http/1.1]"),
        /// Protocol that begins the connection before TLS: smtp.
        text starttls: Option<StartTls> = example("smtp"),
        /// What server and client say, line by line, over TLS, or before it up to a step with starttls.
        sections query_response: Option<Vec<StepLayer>> = each(StepLayer, "[{ expect: \"^220\" }, { send: QUIT }]"),
        /// Resolver of the name. Default: the system's.
        text resolver: Option<Name> = example("corp"),
        /// Which addresses of the name are used, and which are tried first: any, ipv4, ipv6, prefer_ipv4,
        /// prefer_ipv6.
        text address_family: Option<AddressFamily> = default(AddressFamily::Any),
        /// Whether a certificate that is not valid is a failure; else it is only recorded.
        text verify: Option<Switch> = default(true),
        /// Certificate with which the probe identifies itself to the server (mTLS).
        optional client_certificate: Option<ClientCertificateLayer> = each(
            ClientCertificateLayer,
            "{ certificate: /etc/dnscribe-probe/client.pem, key: /etc/dnscribe-probe/client.key }"
        ),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
        /// Further attempts.
        flatten retry: RetryLayer,
    }
}

section! {
    /// Section `http` of a target.
    HttpLayer {
        /// URL: http:// or https://. A user and password in it are sent to its own origin only (Basic
        /// authentication), and are left out of records.
        text url: Option<HttpUrl> = example("https://shop.example.com/health"),
        /// Method: GET, HEAD or POST. After the redirects 301, 302 and 303, a POST goes on as GET.
        text method: Option<HttpMethod> = default(hyper::Method::GET),
        /// Headers of the request. Like those of header_files, they are not sent to other origins after a
        /// redirect.
        map headers: BTreeMap<HeaderName, HeaderText> = example("{ Accept: application/json }"),
        /// Headers whose values are secret: each file holds a value.
        map header_files: BTreeMap<HeaderName, PathBuf> = example("{ Authorization: /run/secrets/shop }"),
        /// Body of the request, with the method POST. It is sent to the URL's own origin only.
        text request_body: Option<SecretText> = example("{}"),
        /// Statuses that are good. Default: 200 to 299.
        items status: Option<Vec<u16>> = example("[200, 204]"),
        /// Pattern (a regular expression) that the body must contain.
        text body: Option<Pattern> = example("ok"),
        /// Pattern that the body must not contain.
        text body_not: Option<Pattern> = example("maintenance"),
        /// Patterns that headers of the response must contain.
        map response_headers: BTreeMap<HeaderName, Pattern> = example("{ Content-Type: json }"),
        /// Patterns that headers of the response must not contain.
        map response_headers_not: BTreeMap<HeaderName, Pattern> = example("{ Server: Apache }"),
        /// Patterns that headers of the response must contain where they are present.
        map response_headers_if_present: BTreeMap<HeaderName, Pattern> = example("{ Cache-Control: public }"),
        /// Number of bytes of the body that are read at most. Bodies are not decompressed.
        text max_body_bytes: Option<BodyBytes> = default(1 << 20),
        /// Largest number of redirects that are followed. With 0, or with the redirect's own status in
        /// status, none is.
        text max_redirects: Option<u32> = default(10_u32),
        /// Whether redirects may lead to special addresses (RFC 6890: private, loopback, link-local and
        /// so on) other than those of the URL's own host.
        text redirect_to_private: Option<Switch> = default(false),
        /// Whether redirects may lead from https to http.
        text redirect_to_insecure: Option<Switch> = default(false),
        /// Resolver of the host's name. Default: the system's.
        text resolver: Option<Name> = example("corp"),
        /// Which addresses of the name are used, and which are tried first: any, ipv4, ipv6, prefer_ipv4,
        /// prefer_ipv6.
        text address_family: Option<AddressFamily> = default(AddressFamily::Any),
        /// Host and port to connect to, in place of the URL's.
        text connect_to: Option<HostPort> = example("192.0.2.10:443"),
        /// Name for SNI and the certificate, in place of the URL's.
        text server_name: Option<Name> = example("shop.example.com"),
        /// Whether a certificate that is not valid is a failure; else it is only recorded.
        text verify: Option<Switch> = default(true),
        /// Certificate with which the probe identifies itself to the URL's own origin (mTLS).
        optional client_certificate: Option<ClientCertificateLayer> = each(
            ClientCertificateLayer,
            "{ certificate: /etc/dnscribe-probe/client.pem, key: /etc/dnscribe-probe/client.key }"
        ),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
        /// Further attempts.
        flatten retry: RetryLayer,
    }
}

section! {
    /// Section `ping` of a target.
    PingLayer {
        /// Address or name.
        text address: Option<HostOnly> = example("192.0.2.10"),
        /// Number of echo requests of a round: at most 1000.
        text count: Option<Count> = default(5_usize),
        /// Loss in percent from which the target is not good.
        text max_loss_percent: Option<Percent> = default(50_u8),
        /// Largest number of hops (TTL). Default: the system's.
        text ttl: Option<u8> = example("5"),
        /// Resolver of the name. Default: the system's.
        text resolver: Option<Name> = example("corp"),
        /// Which addresses of the name are used, and which are tried first: any, ipv4, ipv6, prefer_ipv4,
        /// prefer_ipv6.
        text address_family: Option<AddressFamily> = default(AddressFamily::Any),
        /// Interval, timeout and source address.
        flatten pace: PaceLayer,
    }
}

/// Shows no content: a layer may contain secrets.
impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").finish_non_exhaustive()
    }
}
