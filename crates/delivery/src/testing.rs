//! Helpers for tests of this module.

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

/// Returns whether this is a CI run, in which no test may be skipped: `CI` is set and not empty, `0`
/// or `false`.
pub(super) fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// A `dns.message/1` with the fields that sinks of packets read. `more` adds or replaces fields.
pub(crate) fn message_line(more: &serde_json::Value) -> serde_json::Value {
    let mut record = serde_json::json!({
        "ts": "2026-11-27T10:00:00.000000007Z", "event_id": "0b", "node": "n", "vantage": "client",
        "direction": "egress", "transport": "udp", "src_ip": "192.0.2.1", "src_port": 4000,
        "dst_ip": "192.0.2.53", "dst_port": 53, "qr": "query", "qname": "www.example.com",
        "wire": "cXVlc3Rpb24=",
    });
    let fields = record.as_object_mut().into_iter();
    fields.for_each(|fields| fields.extend(more.as_object().cloned().into_iter().flatten()));
    record
}

/// A server with a self-signed certificate for an address, and that certificate.
pub(crate) fn acceptor(address: &str) -> (SslAcceptor, Vec<u8>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "server").unwrap();
    let name = name.build();
    let mut certificate = X509::builder().unwrap();
    certificate.set_version(2).unwrap();
    certificate.set_subject_name(&name).unwrap();
    certificate.set_issuer_name(&name).unwrap();
    certificate.set_pubkey(&key).unwrap();
    certificate.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    certificate.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    certificate.append_extension(BasicConstraints::new().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new()
        .ip(address)
        .build(&certificate.x509v3_context(None, None))
        .unwrap();
    certificate.append_extension(names).unwrap();
    certificate.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = certificate.build();
    let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    tls.set_private_key(&key).unwrap();
    tls.set_certificate(&certificate).unwrap();
    (tls.build(), certificate.to_pem().unwrap())
}
