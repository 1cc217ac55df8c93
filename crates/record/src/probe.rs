//! `dns.probe/1`.

use super::{EdeFields, Labels, MaskingFields, RecordHead};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

/// `dns.probe/1`: one measurement of a target. A round of a target makes one record for each resolver,
/// nameserver or address that it asks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename = "dns.probe/1")]
pub struct ProbeRecord<'a> {
    /// Fields that begin every record.
    #[serde(flatten)]
    pub head: RecordHead<'a>,
    /// The measurement.
    #[serde(flatten)]
    pub probe: ProbeFields,
    /// How the record was masked, if the configuration asks for masking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masking: Option<MaskingFields>,
}

/// A measurement of a target.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeFields {
    /// `dns`, `authority`, `tcp`, `tls`, `http` or `ping`.
    #[schemars(extend("enum" = ["dns", "authority", "tcp", "tls", "http", "ping"]))]
    pub kind: String,
    /// Service that the target belongs to.
    pub service: String,
    /// Name of the target, unique in its service: the configured one, or what is measured:
    /// `shop.example.com A`, a zone, `192.0.2.10:443 ipv4`, a URL without user, password and query, or an
    /// address.
    pub target: String,
    /// Vantage point: where the probe runs.
    pub site: String,
    /// Duration of this measurement in milliseconds.
    pub duration_ms: f64,
    /// Whether the target is as it should be.
    pub ok: bool,
    /// Why not.
    pub error: Option<ProbeError>,
    /// Number of attempts that were made in this round, from 1: more where there was no response.
    pub attempt: u32,
    /// Configured name of the resolver that was asked.
    pub resolver: Option<String>,
    /// Protocol to the resolver: `udp`, `tcp`, `tls`, `https` or `quic`. A truncated response over UDP is
    /// asked for again over TCP, and the protocol is `tcp` then.
    #[schemars(extend("enum" = ["udp", "tcp", "tls", "https", "quic"]))]
    pub protocol: Option<String>,
    /// Name asked for: lower case, no trailing dot, A-labels.
    pub qname: Option<String>,
    /// Type asked for: `A`, `TYPE65280`.
    pub qtype: Option<String>,
    /// Response code: `NOERROR`.
    pub rcode: Option<String>,
    /// Time from the query to its response in milliseconds, without connecting.
    pub latency_ms: Option<f64>,
    /// Answers of the type asked for, in the presentation format and sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Number of those answers, if `answers` leaves some out: it has at most 100.
    pub answer_count: Option<u32>,
    /// Names to which CNAME records lead from `qname`, at most 17; `answers` are those of the last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cname_chain: Vec<String>,
    /// Number of records in the answer section, of all types. The numbers are those of a client that asks without
    /// DO: without signatures and proofs.
    pub answer_records: Option<u32>,
    /// Number of records in the authority section.
    pub authority_records: Option<u32>,
    /// Number of records in the additional section, without OPT.
    pub additional_records: Option<u32>,
    /// What the resolver says of its result (RFC 8914), at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ede: Vec<EdeFields>,
    /// Hash of the set of answers and of the response code, whatever their order: 16 hex digits.
    pub answer_digest: Option<String>,
    /// Smallest TTL of the answers.
    pub min_ttl_seconds: Option<u32>,
    /// Largest of these in the last hour or more: the TTL of the zone, which caches count down.
    pub known_ttl_seconds: Option<u32>,
    /// What it was before, while a change by more than half is new.
    pub previous_ttl_seconds: Option<u32>,
    /// Result of validation by the probe itself, from the trust anchors (RFC 4033, section 5):
    /// `secure`, `insecure`, `bogus` or `indeterminate`.
    #[schemars(extend("enum" = ["secure", "insecure", "bogus", "indeterminate"]))]
    pub dnssec: Option<String>,
    /// Why the answer is bogus or indeterminate.
    pub dnssec_reason: Option<String>,
    /// The record set whose signatures end first, among the secure ones of the answer and the keys that sign them.
    pub signature: Option<SignatureFields>,
    /// Whether the answers, certificate or serial number are none of those known to be good.
    pub changed: Option<bool>,
    /// The `answer_digest` that was last known to be good; if `changed`.
    pub previous_digest: Option<String>,
    /// Resolvers whose answers differ from this one's in the same round.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs_from: Vec<String>,
    /// Name of the authoritative server.
    pub nameserver: Option<String>,
    /// Address that was asked or connected to.
    pub address: Option<String>,
    /// Serial number of the zone's SOA record.
    pub soa_serial: Option<u32>,
    /// Whether the nameserver does not answer with authority for the zone.
    pub lame: Option<bool>,
    /// Time to resolve the host's name in milliseconds.
    pub resolve_ms: Option<f64>,
    /// Time to connect (TCP) in milliseconds.
    pub connect_ms: Option<f64>,
    /// Duration of the TLS handshake in milliseconds.
    pub handshake_ms: Option<f64>,
    /// Version of TLS: `TLSv1.3`.
    pub tls_version: Option<String>,
    /// Cipher suite: `TLS_AES_128_GCM_SHA256`.
    pub cipher: Option<String>,
    /// Application protocol that the server chose (RFC 7301).
    pub alpn: Option<String>,
    /// The server's certificate.
    pub cert: Option<CertificateFields>,
    /// Whether the certificate's issuer is none of those known to be good.
    pub issuer_changed: Option<bool>,
    /// An issuer known to be good, of the same organization where there is one; if `issuer_changed`.
    pub previous_issuer: Option<String>,
    /// Labels of `query_response` with what the server said.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub response_labels: Labels,
    /// Status of the last response.
    pub http_status: Option<u16>,
    /// Version of HTTP of the last response: `1.1`, `2`.
    pub http_version: Option<String>,
    /// Number of redirects that were followed.
    pub redirects: Option<u32>,
    /// Time from the request to the first byte of its response in milliseconds.
    pub ttfb_ms: Option<f64>,
    /// Time from the first byte to the last in milliseconds.
    pub transfer_ms: Option<f64>,
    /// Length of the body in bytes, as it was read.
    pub body_bytes: Option<u64>,
    /// Echo requests sent.
    pub sent: Option<u32>,
    /// Echo replies received.
    pub received: Option<u32>,
    /// Ratio of requests without a reply.
    pub loss_ratio: Option<f64>,
    /// Mean round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Smallest round-trip time in milliseconds.
    pub rtt_min_ms: Option<f64>,
    /// Largest round-trip time in milliseconds.
    pub rtt_max_ms: Option<f64>,
    /// The `event_id` of the alert that asked for this measurement.
    pub triggered_by: Option<String>,
}

/// Why a measurement failed.
#[skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeError {
    /// Stage at which it failed.
    #[schemars(extend("enum" = ["resolve", "connect", "tls", "http", "dns"]))]
    pub stage: String,
    /// Reason as one word: `timeout`, `refused`, `nxdomain`, `certificate_expired`, ...
    pub reason: String,
    /// Details for people.
    pub detail: Option<String>,
}

/// The signatures of a record set (RFC 4034, section 3). Of several, the one that ends last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignatureFields {
    /// Owner and type of the record set: `shop.example.com A`.
    pub record: String,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Days until then; negative once it has passed.
    pub expiry_days: f64,
    /// Days for which it is valid, from its beginning to its end.
    pub lifetime_days: f64,
}

/// Certificate of a server.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateFields {
    /// Subject (RFC 4514).
    pub subject: String,
    /// Issuer (RFC 4514).
    pub issuer: String,
    /// End of its validity.
    pub not_after: Option<Timestamp>,
    /// Days until then; negative once it has passed.
    pub expiry_days: Option<f64>,
    /// End of the validity of the certificate in the chain that expires first.
    pub earliest_not_after: Option<Timestamp>,
    /// Whether it is valid for the name asked for.
    pub san_match: Option<bool>,
    /// Number of certificates that the server sent.
    pub chain_length: u32,
    /// Whether the chain leads to a trusted root.
    pub chain_ok: bool,
    /// SHA-256 of the certificate, in hex.
    pub sha256: String,
    /// Whether the server stapled an OCSP response.
    pub ocsp_stapled: bool,
    /// Status in that response (RFC 6960): `good`, `revoked` or `unknown`; `invalid` if it cannot be read, is
    /// out of date, or is not signed for the issuer.
    pub ocsp_status: Option<String>,
    /// Whether it is revoked, by the stapled OCSP response, else by the revocation list (CRL) of its issuer:
    /// `good`, `revoked` or `unknown`. Absent if it was not checked: lists are not fetched, the chain does not
    /// lead to a trusted root, or it has expired.
    #[schemars(extend("enum" = ["good", "revoked", "unknown"]))]
    pub revocation: Option<String>,
    /// Where that is from: `stapled_ocsp` or `crl`; absent if it is unknown.
    #[schemars(extend("enum" = ["stapled_ocsp", "crl"]))]
    pub revocation_source: Option<String>,
    /// Why it is revoked, if the list says so (RFC 5280, section 5.3.1): `key_compromise`, ...; or why that is
    /// unknown: `no_crl` (the certificate names none), `crl_pending` (it is being fetched), `crl_unreachable`,
    /// `crl_timeout`, `crl_status`, `crl_too_large`, `crl_no_room`, `crl_address_private`, `crl_malformed`,
    /// `crl_delta`, `crl_expired`, `crl_signature`, `crl_other_scope`, `chain`.
    pub revocation_reason: Option<String>,
}
