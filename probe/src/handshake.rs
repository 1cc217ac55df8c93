//! Names of what goes wrong with TLS, the same for all that is measured over it.

use crate::failure::{Failure, Stage};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible, PeerMisbehaved};
use std::io;

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
            let (reason, what) = certificate_problem(certificate);
            let what = what.map_or_else(|| certificate.to_string(), str::to_owned);
            fail(reason, format!("the server's certificate {what}"))
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
    Failure::new(Stage::Tls, reason)
        .with_detail(format!("the server sent the alert {}", alert_name(alert)))
}

/// Names what is wrong with a certificate: the reason, and what is to be said of it.
fn certificate_problem(error: &CertificateError) -> (&'static str, Option<&'static str>) {
    let is_version_1 = |error: &CertificateError| {
        matches!(other(error), Some(webpki::Error::UnsupportedCertVersion))
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("certificate_expired", Some("has expired"))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("certificate_not_yet_valid", Some("is not valid yet"))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ("name_mismatch", Some("has other names"))
        }
        CertificateError::Revoked => ("certificate_revoked", Some("is revoked")),
        CertificateError::UnknownIssuer => {
            ("certificate_untrusted", Some("has an issuer that is not trusted"))
        }
        CertificateError::BadEncoding => ("certificate_malformed", Some("cannot be read")),
        error if unsuitable(error).is_some() => ("certificate_unsuitable", unsuitable(error)),
        error if is_version_1(error) => {
            ("certificate_malformed", Some("is of version 1, which has no names (RFC 5280)"))
        }
        _ => ("certificate_untrusted", None),
    }
}

/// Says what a certificate is, or its issuer, that is trusted and not meant for this use.
pub(crate) fn unsuitable(error: &CertificateError) -> Option<&'static str> {
    match (error, other(error)) {
        (CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }, _) => {
            Some("is not for servers: its extended key usage lacks serverAuth")
        }
        (_, Some(webpki::Error::CaUsedAsEndEntity)) => {
            Some("is one of an authority (CA:TRUE), which not every client accepts of a server")
        }
        (_, Some(webpki::Error::EndEntityUsedAsCa)) => {
            Some("has an issuer that is no authority (CA:TRUE is missing)")
        }
        _ => None,
    }
}

/// Returns the error of the library below, for which there is no other name.
fn other(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// Returns the name of an alert (RFC 8446, section 6): `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    let letters: Vec<char> = format!("{alert:?}").chars().collect();
    let is_lower = |index: usize| letters.get(index).is_some_and(char::is_ascii_lowercase);
    let mut name = String::new();
    for (index, letter) in letters.iter().enumerate() {
        // Words begin with a capital; some are all capitals.
        let begins = index > 0 && letter.is_ascii_uppercase();
        if begins && (is_lower(index - 1) || is_lower(index + 1)) {
            name.push('_');
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

    #[test]
    fn certificates_have_reasons_without_the_library_s_words() {
        let other = |error| CertificateError::Other(OtherError(Arc::new(error)));
        let authority = other(webpki::Error::CaUsedAsEndEntity);
        let issuer = other(webpki::Error::EndEntityUsedAsCa);
        let version = other(webpki::Error::UnsupportedCertVersion);
        for (error, reason, detail) in [
            (CertificateError::Expired, "certificate_expired", "has expired"),
            (CertificateError::NotValidForName, "name_mismatch", "has other names"),
            (CertificateError::InvalidPurpose, "certificate_unsuitable", "is not for servers"),
            (authority, "certificate_unsuitable", "is one of an authority"),
            (issuer, "certificate_unsuitable", "has an issuer that is no authority"),
            (version, "certificate_malformed", "is of version 1"),
        ] {
            let failure = failed_tls(&Error::InvalidCertificate(error));
            assert_eq!(failure.reason, reason);
            let detail = format!("the server's certificate {detail}");
            assert!(failure.detail.unwrap().starts_with(&detail));
        }
        let failure = failed_by(AlertDescription::ProtocolVersion);
        assert_eq!((failure.stage, failure.reason), (Stage::Tls, "version"));
    }
}
