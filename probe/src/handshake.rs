//! Names of what goes wrong with TLS, the same for all that is measured over it.

use crate::failure::{Failure, Stage};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible, PeerMisbehaved};
use std::borrow::Cow;
use std::io;
use x509_parser::asn1_rs::Any;
use x509_parser::prelude::FromDer as _;

/// What the alert `handshake_failure` means.
const NOTHING_IN_COMMON: &str = ": it takes none of the algorithms that this probe offers (keys of P-521 are not among them), or wants a certificate of its clients";

/// Algorithms of signatures that no client should take any more, with their hashes.
const WEAK_ALGORITHMS: [(&str, &str); 3] = [
    ("1.2.840.113549.1.1.4", "MD5"),
    ("1.2.840.113549.1.1.5", "SHA-1"),
    ("1.2.840.10045.4.1", "SHA-1"),
];

/// Names an error of a handshake, or of TLS after it.
pub(crate) fn failed(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => failed_tls(tls),
        None => Failure::io(Stage::Tls, error),
    }
}

/// Names an error of TLS.
pub(crate) fn failed_tls(error: &Error) -> Failure {
    let fail = |reason, detail: String| Failure::new(Stage::Tls, reason).with_detail(detail);
    match error {
        Error::AlertReceived(alert) => failed_by(*alert),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => fail("version", "the server has no version of TLS from 1.2".to_owned()),
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            fail("alpn_mismatch", "the server chose a protocol that was not offered".to_owned())
        }
        Error::InvalidCertificate(certificate) => {
            let (kind, what) = certificate_problem(certificate);
            fail(kind.reason(), format!("the server's certificate {what}"))
        }
        Error::InvalidMessage(_) => fail("handshake_failed", format!("this is not TLS: {error}")),
        _ => fail("handshake_failed", error.to_string()),
    }
}

/// Names the alert with which a server ends a handshake.
pub(crate) fn failed_by(alert: AlertDescription) -> Failure {
    let reason = match alert {
        AlertDescription::ProtocolVersion => "version",
        AlertDescription::NoApplicationProtocol => "alpn_mismatch",
        AlertDescription::CertificateRequired => "client_certificate_required",
        // A client sends one certificate only: its own.
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => "client_certificate_refused",
        _ => "handshake_failed",
    };
    // By their names in RFC 8446, section 6.
    let mut detail = format!("the server sent the alert {}", words(&format!("{alert:?}"), '_'));
    if alert == AlertDescription::HandshakeFailure {
        detail.push_str(NOTHING_IN_COMMON);
    }
    Failure::new(Stage::Tls, reason).with_detail(detail)
}

/// A reason not to accept a certificate. Where several apply, the first in this order names the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ProblemKind {
    /// Not a certificate that can be read.
    Malformed,
    /// Revoked, as the stapled OCSP response or its issuer's list says.
    Revoked,
    /// Expired, or another of its chain has.
    Expired,
    /// Not yet valid, or another of its chain is not.
    NotYetValid,
    /// Signed with its own key and not trusted itself.
    SelfSigned,
    /// Sent without the certificate of its issuer, which only a root that is trusted could replace.
    ChainIncomplete,
    /// Issued by none that is trusted.
    Untrusted,
    /// Trusted, and not for a server, too weak, or by an issuer that may not issue it.
    Unsuitable,
    /// For other names.
    NameMismatch,
    /// With keys or signatures that this program cannot verify: others may.
    Unsupported,
}

impl ProblemKind {
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "certificate_malformed",
            Self::Revoked => "certificate_revoked",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::SelfSigned => "self_signed",
            Self::ChainIncomplete => "chain_incomplete",
            Self::Untrusted => "certificate_untrusted",
            Self::Unsuitable => "certificate_unsuitable",
            Self::NameMismatch => "name_mismatch",
            Self::Unsupported => "certificate_unsupported",
        }
    }
}

/// Names what is wrong with a certificate, and says it of the certificate.
pub(crate) fn certificate_problem(error: &CertificateError) -> (ProblemKind, Cow<'static, str>) {
    let (kind, what) = match (error, other(error)) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            (ProblemKind::Expired, "has expired")
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            (ProblemKind::NotYetValid, "is not valid yet")
        }
        (
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            _,
        ) => (ProblemKind::NameMismatch, "has other names"),
        (CertificateError::Revoked, _) => (ProblemKind::Revoked, "is revoked"),
        (CertificateError::UnknownIssuer, _) => {
            (ProblemKind::Untrusted, "has an issuer that is not trusted")
        }
        (CertificateError::BadEncoding, _) => (ProblemKind::Malformed, "cannot be read"),
        (_, Some(webpki::Error::UnsupportedCertVersion)) => {
            (ProblemKind::Malformed, "is of version 1, which has no names (RFC 5280)")
        }
        (CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }, _) => {
            (ProblemKind::Unsuitable, "is not for servers: its extended key usage lacks serverAuth")
        }
        (_, Some(webpki::Error::CaUsedAsEndEntity)) => (
            ProblemKind::Unsuitable,
            "is one of an authority (CA:TRUE), which not every client accepts of a server",
        ),
        (_, Some(webpki::Error::EndEntityUsedAsCa)) => {
            (ProblemKind::Unsuitable, "has an issuer that is no authority (CA:TRUE is missing)")
        }
        (_, Some(webpki::Error::NameConstraintViolation)) => (
            ProblemKind::Unsuitable,
            "has a name that an issuer may not certify (name constraints)",
        ),
        (_, Some(webpki::Error::PathLenConstraintViolated)) => (
            ProblemKind::Unsuitable,
            "has more issuers than one of them allows (path length constraint)",
        ),
        (CertificateError::UnhandledCriticalExtension, _)
        | (_, Some(webpki::Error::UnsupportedCriticalExtension)) => {
            (ProblemKind::Unsuitable, "has a critical extension that clients do not know")
        }
        (
            CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. },
            _,
        ) => (
            ProblemKind::Untrusted,
            "has a signature that does not fit the key, or a key that clients do not take (RSA under 2048 bits)",
        ),
        (
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id, ..
            },
            _,
        ) => return unknown_algorithm(signature_algorithm_id),
        (_, Some(inner)) => return unnamed(inner),
        (_, None) => return unnamed(error),
    };
    (kind, what.into())
}

/// Names a signature of a certificate whose algorithm is not among those that are verified.
fn unknown_algorithm(id: &[u8]) -> (ProblemKind, Cow<'static, str>) {
    let name = Any::from_der(id).ok().and_then(|(_, any)| any.oid().ok());
    let name = name.map_or_else(|| "unknown".to_owned(), |name| name.to_id_string());
    if let Some((_, hash)) = WEAK_ALGORITHMS.iter().find(|(weak, _)| *weak == name) {
        return (
            ProblemKind::Unsuitable,
            format!("is signed with {hash}, which is too weak").into(),
        );
    }
    let what = format!("is signed by an algorithm that this probe cannot verify ({name})");
    (ProblemKind::Unsupported, what.into())
}

/// Describes an error that has no words of its own here by the name that the library has for it.
fn unnamed(error: &impl std::fmt::Debug) -> (ProblemKind, Cow<'static, str>) {
    let text = format!("{error:?}");
    let name = text.split(|letter: char| !letter.is_ascii_alphanumeric()).next();
    let what = format!("is not accepted: {}", words(name.unwrap_or_default(), ' '));
    (ProblemKind::Untrusted, what.into())
}

/// Returns the error of the library below, for which there is no other name.
pub(crate) fn other(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Writes the name of a variant as words: `handshake_failure` for `HandshakeFailure`.
fn words(variant: &str, separator: char) -> String {
    let letters: Vec<char> = variant.chars().collect();
    let is_lower = |index: usize| letters.get(index).is_some_and(char::is_ascii_lowercase);
    let mut name = String::new();
    for (index, letter) in letters.iter().enumerate() {
        // Words begin with a capital; some are all capitals.
        let begins = index > 0 && letter.is_ascii_uppercase();
        if begins && (is_lower(index - 1) || is_lower(index + 1)) {
            name.push(separator);
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::OtherError;
    use std::sync::Arc;

    /// `sha1WithRSAEncryption` with its parameters, as certificates have it.
    const SHA_1: [u8; 13] =
        [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05, 0x05, 0x00];

    #[test]
    fn certificates_have_reasons_without_the_library_s_words() {
        let other = |error| CertificateError::Other(OtherError(Arc::new(error)));
        let authority = other(webpki::Error::CaUsedAsEndEntity);
        let issuer = other(webpki::Error::EndEntityUsedAsCa);
        let version = other(webpki::Error::UnsupportedCertVersion);
        let names = other(webpki::Error::NameConstraintViolation);
        let length = other(webpki::Error::PathLenConstraintViolated);
        let extension = other(webpki::Error::UnsupportedCriticalExtension);
        let depth = other(webpki::Error::MaximumPathDepthExceeded);
        let signed = |id: &[u8]| CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id.to_vec(),
            supported_algorithms: Vec::new(),
        };
        for (error, reason, detail) in [
            (CertificateError::Expired, "certificate_expired", "has expired"),
            (CertificateError::NotValidForName, "name_mismatch", "has other names"),
            (CertificateError::InvalidPurpose, "certificate_unsuitable", "is not for servers"),
            (authority, "certificate_unsuitable", "is one of an authority"),
            (issuer, "certificate_unsuitable", "has an issuer that is no authority"),
            (version, "certificate_malformed", "is of version 1"),
            (names, "certificate_unsuitable", "has a name that an issuer may not certify"),
            (length, "certificate_unsuitable", "has more issuers than one of them allows"),
            (extension, "certificate_unsuitable", "has a critical extension"),
            (CertificateError::BadSignature, "certificate_untrusted", "has a signature that does"),
            (signed(&SHA_1), "certificate_unsuitable", "is signed with SHA-1"),
            (
                signed(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4]),
                "certificate_unsupported",
                "is signed by an algorithm that this probe cannot verify (1.2.840.10045.4.3.4)",
            ),
            (depth, "certificate_untrusted", "is not accepted: maximum path depth exceeded"),
            (
                CertificateError::UnknownRevocationStatus,
                "certificate_untrusted",
                "is not accepted: unknown revocation status",
            ),
        ] {
            let failure = failed_tls(&Error::InvalidCertificate(error));
            assert_eq!(failure.reason, reason);
            let detail = format!("the server's certificate {detail}");
            let found = failure.detail.unwrap();
            assert!(found.starts_with(&detail) && found.len() < 150, "{found}");
        }
        let failure = failed_by(AlertDescription::ProtocolVersion);
        assert_eq!((failure.stage, failure.reason), (Stage::Tls, "version"));
        assert_eq!(failure.detail.unwrap(), "the server sent the alert protocol_version");
        let detail = failed_by(AlertDescription::HandshakeFailure).detail.unwrap();
        assert!(detail.starts_with("the server sent the alert handshake_failure: "), "{detail}");
        assert!(detail.contains("P-521"), "{detail}");
    }
}
