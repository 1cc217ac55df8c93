//! Stapled OCSP responses (RFC 6960).

use super::x509::seconds;
use dnscribe_record::time::Timestamp;
use x509_cert::der::{Decode as _, Encode as _};
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspGeneralizedTime, OcspResponse, SingleResponse};
use x509_parser::asn1_rs::{Any, BitString, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::verify::verify_signature;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// Difference between clocks that is tolerated.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// Status of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    /// Revoked at this time in seconds since the Unix epoch.
    Revoked(i64),
    Unknown,
}

/// Reads the status of `leaf` in an OCSP response, which must be signed with the issuer's key or by a
/// responder that the issuer has certified.
///
/// # Errors
/// The response cannot be read, is about other certificates, is not current, or its signature is wrong.
pub(super) fn status(
    response: &[u8],
    leaf: &X509Certificate<'_>,
    issuer_key: &[u8],
    now: Timestamp,
) -> Result<Status, String> {
    let unreadable = |error: x509_cert::der::Error| format!("cannot be read: {error}");
    let response = OcspResponse::from_der(response).map_err(unreadable)?;
    let Some(bytes) = response.response_bytes else {
        return Err(format!("the responder says {:?}", response.response_status));
    };
    let raw = bytes.response.as_bytes();
    let basic = BasicOcspResponse::from_der(raw).map_err(unreadable)?;
    check_signature(raw, &basic, issuer_key, seconds(now))?;
    let single = basic.tbs_response_data.responses.iter().find(|single| {
        let serial = single.cert_id.serial_number.as_bytes();
        serial.iter().skip_while(|byte| **byte == 0).eq(leaf
            .tbs_certificate
            .raw_serial()
            .iter()
            .skip_while(|byte| **byte == 0))
    });
    let single = single.ok_or("is about another certificate")?;
    check_time(single, seconds(now))?;
    Ok(match &single.cert_status {
        CertStatus::Good(_) => Status::Good,
        CertStatus::Revoked(info) => Status::Revoked(unix(&info.revocation_time)),
        CertStatus::Unknown(_) => Status::Unknown,
    })
}

fn check_signature(
    raw: &[u8],
    basic: &BasicOcspResponse,
    issuer_key: &[u8],
    now: i64,
) -> Result<(), String> {
    let wrong = |problem: &str| format!("its signature {problem}");
    let unreadable = |_| wrong("cannot be read");
    let (_, sequence) = Sequence::from_der(raw).map_err(|_| wrong("cannot be read"))?;
    let contents = sequence.content.as_ref();
    let (rest, _) = Any::from_der(contents).map_err(|_| wrong("cannot be read"))?;
    let signed = &contents[..contents.len() - rest.len()];
    let algorithm = basic.signature_algorithm.to_der().map_err(unreadable)?;
    let (_, algorithm) =
        AlgorithmIdentifier::from_der(&algorithm).map_err(|_| wrong("cannot be read"))?;
    let signature = BitString::new(0, basic.signature.raw_bytes());
    let is_signed_with = |key: &SubjectPublicKeyInfo<'_>| {
        verify_signature(key, &algorithm, &signature, signed).is_ok()
    };
    let (_, issuer_key) =
        SubjectPublicKeyInfo::from_der(issuer_key).map_err(|_| wrong("cannot be checked"))?;
    if is_signed_with(&issuer_key) {
        return Ok(());
    }
    for responder in basic.certs.iter().flatten() {
        let der = responder.to_der().map_err(unreadable)?;
        let Ok((_, responder)) = X509Certificate::from_der(&der) else { continue };
        let is_authorized = matches!(
            responder.extended_key_usage(),
            Ok(Some(usage)) if usage.value.ocsp_signing
        ) && responder.validity().not_before.timestamp() <= now
            && now <= responder.validity().not_after.timestamp()
            && responder.verify_signature(Some(&issuer_key)).is_ok();
        if is_authorized && is_signed_with(responder.public_key()) {
            return Ok(());
        }
    }
    Err(wrong("is none of the issuer's"))
}

fn check_time(single: &SingleResponse, now: i64) -> Result<(), String> {
    if unix(&single.this_update) > now + CLOCK_SKEW_SECONDS {
        return Err("is not yet valid".to_owned());
    }
    match &single.next_update {
        Some(end) if unix(end) + CLOCK_SKEW_SECONDS < now => Err("is out of date".to_owned()),
        _ => Ok(()),
    }
}

fn unix(time: &OcspGeneralizedTime) -> i64 {
    i64::try_from(time.0.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}
