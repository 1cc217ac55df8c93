//! Results of measurements as metrics, family by family.

use dnscribe_admin::page::Page;
use dnscribe_record::ProbeFields;
use dnscribe_record::number::to_f64;
use std::net::IpAddr;

/// A result with the labels that tell it from others.
#[derive(Clone, Debug)]
pub struct LabeledResult<'a> {
    labels: Vec<(&'static str, &'a str)>,
    fields: &'a ProbeFields,
}

impl<'a> LabeledResult<'a> {
    /// Labels a result with its service, target, and what was asked.
    #[must_use]
    pub fn new(fields: &'a ProbeFields) -> Self {
        let mut labels = vec![
            ("service", fields.service.as_str()),
            ("kind", fields.kind.as_str()),
            ("target", fields.target.as_str()),
        ];
        let nameserver_address = fields.nameserver.as_ref().and(fields.address.as_ref());
        let optional = [
            ("resolver", fields.resolver.as_ref()),
            ("qname", fields.qname.as_ref()),
            ("qtype", fields.qtype.as_ref()),
            ("nameserver", fields.nameserver.as_ref()),
            ("address", nameserver_address),
        ];
        labels.extend(
            optional.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?.as_str()))),
        );
        Self { labels, fields }
    }

    /// Labels a result for those that are too many.
    #[must_use]
    pub fn other(fields: &'a ProbeFields) -> Self {
        let labels = vec![("service", "other"), ("kind", "other"), ("target", "other")];
        Self { labels, fields }
    }

    /// Leaves the labels to Prometheus, as a page about one target does.
    #[must_use]
    pub const fn bare(fields: &'a ProbeFields) -> Self {
        Self { labels: Vec::new(), fields }
    }

    /// Returns the labels, and one more.
    fn labels_with<'b>(&self, name: &'static str, value: &'b str) -> Vec<(&'static str, &'b str)>
    where
        'a: 'b,
    {
        self.labels.iter().copied().chain([(name, value)]).collect()
    }
}

/// Writes all families of these results. A family that no result has is left out.
pub fn write(page: &mut Page, results: &[LabeledResult<'_>]) {
    for (name, value) in GAUGES {
        let mut samples =
            results.iter().filter_map(|one| Some((one, value(one.fields)?))).peekable();
        if samples.peek().is_none() {
            continue;
        }
        let mut family = page.family(name);
        for (one, value) in samples {
            family.value(&one.labels, value);
        }
    }
    for (name, phases) in PHASES {
        let is_kind =
            |one: &&LabeledResult<'_>| phases(one.fields).iter().any(|(_, ms)| ms.is_some());
        let mut samples = results.iter().filter(is_kind).peekable();
        if samples.peek().is_none() {
            continue;
        }
        let mut family = page.family(name);
        for one in samples {
            for (phase, ms) in phases(one.fields) {
                family.value(&one.labels_with("phase", phase), seconds(ms.unwrap_or(0.0)));
            }
        }
    }
    for (name, info) in INFOS {
        let mut samples = results
            .iter()
            .map(|one| (one, info(one.fields)))
            .filter(|(_, info)| !info.is_empty())
            .peekable();
        if samples.peek().is_none() {
            continue;
        }
        let mut family = page.family(name);
        for (one, info) in samples {
            let is_new = |name| one.labels.iter().all(|(label, _)| *label != name);
            let own = info.iter().map(|(name, value)| (*name, value.as_str()));
            let own = own.filter(|(name, _)| is_new(*name));
            let labels: Vec<_> = one.labels.iter().copied().chain(own).collect();
            family.count(&labels, 1);
        }
    }
}

/// Value of a gauge; absent where a result has none.
type Gauge = fn(&ProbeFields) -> Option<f64>;

/// Phases of a measurement with their milliseconds.
type Phases = fn(&ProbeFields) -> Vec<(&'static str, Option<f64>)>;

/// Labels of an info metric; empty where a result has none.
type Info = fn(&ProbeFields) -> Vec<(&str, String)>;

/// Gauges with one sample for each result.
const GAUGES: &[(&str, Gauge)] = &[
    ("probe_success", |fields| Some(flag(fields.ok))),
    ("probe_duration_seconds", |fields| Some(seconds(fields.duration_ms))),
    ("probe_dns_lookup_time_seconds", |fields| Some(seconds(fields.resolve_ms.unwrap_or(0.0)))),
    ("probe_ip_protocol", |fields| {
        Some(address(fields).map_or(0.0, |address| if address.is_ipv4() { 4.0 } else { 6.0 }))
    }),
    ("probe_ip_addr_hash", |fields| {
        address(fields).map(|address| f64::from(address_hash(address)))
    }),
    ("probe_dns_query_succeeded", |fields| {
        fields.qname.as_ref().map(|_| flag(fields.rcode.is_some()))
    }),
    ("probe_dns_answer_rrs", |fields| fields.answer_records.map(f64::from)),
    ("probe_dns_authority_rrs", |fields| fields.authority_records.map(f64::from)),
    ("probe_dns_additional_rrs", |fields| fields.additional_records.map(f64::from)),
    ("probe_dns_serial", serial),
    ("probe_ssl_earliest_cert_expiry", |fields| {
        let cert = fields.cert.as_ref()?;
        Some(unix(cert.earliest_not_after.or(cert.not_after)?))
    }),
    ("probe_ssl_last_chain_expiry_timestamp_seconds", |fields| {
        let cert = fields.cert.as_ref().filter(|cert| cert.chain_ok)?;
        Some(unix(cert.earliest_not_after.or(cert.not_after)?))
    }),
    ("probe_http_status_code", |fields| {
        of_http(fields, f64::from(fields.http_status.unwrap_or_default()))
    }),
    ("probe_http_version", |fields| fields.http_version.as_ref()?.parse().ok()),
    ("probe_http_redirects", |fields| {
        of_http(fields, f64::from(fields.redirects.unwrap_or_default()))
    }),
    ("probe_http_content_length", |fields| of_http(fields, fields.body_bytes.map_or(-1.0, to_f64))),
    ("probe_http_uncompressed_body_length", |fields| {
        of_http(fields, fields.body_bytes.map_or(0.0, to_f64))
    }),
    ("probe_http_ssl", |fields| of_http(fields, flag(fields.tls_version.is_some()))),
    ("probe_failed_due_to_regex", |fields| {
        let is_mismatch = |reason: &str| {
            matches!(reason, "body_mismatch" | "header_mismatch" | "response_mismatch")
        };
        let failed = fields.error.as_ref().is_some_and(|error| is_mismatch(&error.reason));
        matches!(fields.kind.as_str(), "http" | "tcp" | "tls").then(|| flag(failed))
    }),
    ("dnscribe_probe_attempts", |fields| Some(f64::from(fields.attempt))),
    ("dnscribe_probe_answer_changed", |fields| fields.changed.map(flag)),
    ("dnscribe_probe_issuer_changed", |fields| fields.issuer_changed.map(flag)),
    ("dnscribe_probe_answer_differs", |fields| {
        fields.answer_digest.as_ref().map(|_| flag(!fields.differs_from.is_empty()))
    }),
    ("dnscribe_probe_answer_min_ttl_seconds", |fields| fields.min_ttl_seconds.map(f64::from)),
    ("dnscribe_probe_answer_known_ttl_seconds", |fields| fields.known_ttl_seconds.map(f64::from)),
    ("dnscribe_probe_signature_expiry_timestamp_seconds", |fields| {
        fields.signature.as_ref().map(|signature| unix(signature.not_after))
    }),
    ("dnscribe_probe_query_latency_seconds", |fields| fields.latency_ms.map(seconds)),
    ("dnscribe_probe_lame", |fields| fields.lame.map(flag)),
    ("dnscribe_probe_loss_ratio", |fields| fields.loss_ratio),
];

/// Durations by phase.
const PHASES: &[(&str, Phases)] = &[
    ("probe_dns_duration_seconds", |fields| match fields.kind.as_str() {
        "dns" => vec![
            ("resolve", fields.resolve_ms),
            ("connect", fields.connect_ms),
            ("request", fields.latency_ms),
        ],
        _ => Vec::new(),
    }),
    ("probe_http_duration_seconds", |fields| match fields.kind.as_str() {
        "http" => vec![
            ("resolve", fields.resolve_ms),
            ("connect", fields.connect_ms),
            ("tls", fields.handshake_ms),
            ("processing", fields.ttfb_ms),
            ("transfer", fields.transfer_ms),
        ],
        _ => Vec::new(),
    }),
    ("probe_icmp_duration_seconds", |fields| match fields.kind.as_str() {
        "ping" => vec![("resolve", fields.resolve_ms), ("rtt", fields.rtt_ms)],
        _ => Vec::new(),
    }),
];

/// Texts, as labels of a gauge that is 1.
const INFOS: &[(&str, Info)] = &[
    ("probe_tls_version_info", |fields| {
        let version = fields.tls_version.as_deref();
        version.map(|version| ("version", version.replace("TLSv", "TLS "))).into_iter().collect()
    }),
    ("probe_tls_cipher_info", |fields| {
        fields.cipher.clone().map(|cipher| ("cipher", cipher)).into_iter().collect()
    }),
    ("probe_ssl_last_chain_info", |fields| match &fields.cert {
        Some(cert) => vec![
            ("fingerprint_sha256", cert.sha256.clone()),
            ("subject", cert.subject.clone()),
            ("issuer", cert.issuer.clone()),
        ],
        None => Vec::new(),
    }),
    ("probe_expect_info", |fields| {
        fields.response_labels.iter().map(|(name, value)| (&**name, value.clone())).collect()
    }),
    ("dnscribe_probe_failure_info", |fields| match &fields.error {
        Some(error) => vec![("stage", error.stage.clone()), ("reason", error.reason.clone())],
        None => Vec::new(),
    }),
    ("dnscribe_probe_answer_info", |fields| match (&fields.answer_digest, &fields.rcode) {
        (Some(digest), Some(rcode)) => vec![
            ("qname", fields.qname.clone().unwrap_or_default()),
            ("qtype", fields.qtype.clone().unwrap_or_default()),
            ("digest", digest.clone()),
            ("rcode", rcode.clone()),
        ],
        _ => Vec::new(),
    }),
    ("dnscribe_probe_dnssec_info", |fields| {
        fields.dnssec.clone().map(|state| ("state", state)).into_iter().collect()
    }),
    ("dnscribe_probe_revocation_info", |fields| {
        let Some(cert) = &fields.cert else { return Vec::new() };
        let Some(status) = cert.revocation.clone() else { return Vec::new() };
        vec![
            ("status", status),
            ("source", cert.revocation_source.clone().unwrap_or_default()),
            ("reason", cert.revocation_reason.clone().unwrap_or_default()),
        ]
    }),
];

/// Names of all families of this module.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let names = GAUGES.iter().map(|(name, _)| *name);
    names.chain(PHASES.iter().map(|(name, _)| *name)).chain(INFOS.iter().map(|(name, _)| *name))
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn of_http(fields: &ProbeFields, value: f64) -> Option<f64> {
    (fields.kind == "http").then_some(value)
}

fn seconds(milliseconds: f64) -> f64 {
    // The record has microseconds.
    (milliseconds * 1e3).round() / 1e6
}

fn unix(time: dnscribe_record::time::Timestamp) -> f64 {
    to_f64(time.as_nanos() / 1_000_000_000)
}

fn address(fields: &ProbeFields) -> Option<IpAddr> {
    fields.address.as_ref()?.parse().ok()
}

/// Hash of an address as blackbox_exporter computes it: FNV-1a of 32 bits.
fn address_hash(address: IpAddr) -> u32 {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    match address {
        IpAddr::V4(address) => fnv(&address.octets()),
        IpAddr::V6(address) => fnv(&address.octets()),
    }
}

/// Serial number of the zone, by its nameserver or from an answer of type SOA (RFC 1035, section 3.3.13).
fn serial(fields: &ProbeFields) -> Option<f64> {
    let answered = || {
        let soa = fields.qtype.as_deref() == Some("SOA");
        let serial = fields.answers.first().filter(|_| soa)?.split_whitespace().nth(2)?;
        serial.parse().ok()
    };
    fields.soa_serial.or_else(answered).map(f64::from)
}
