//! Values of certificates as records and people read them.

use dnscribe_record::time::Timestamp;
use rustls::pki_types::UnixTime;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _, Tag};
use x509_parser::asn1_rs::Any;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

/// Length limit of a name.
const MAX_NAME_CHARS: usize = 1000;

/// Returns the names of hosts in the certificate (RFC 6125).
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        // Such a name is no address, whatever it resembles.
        GeneralName::DNSName(name) if name.parse::<IpAddr>().is_ok() => Some(format!("DNS:{name}")),
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|ip| Ipv4Addr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|ip| Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    });
    names.collect()
}

/// Words of authorities' names that say nothing of who runs them. A word that begins with another one stands before it.
const GENERIC_WORDS: [&str; 38] = [
    "authority",
    "ca",
    "certificate",
    "certification",
    "cert",
    "class",
    "company",
    "corporate",
    "corp",
    "default",
    "dev",
    "enterprise",
    "global",
    "intermediate",
    "internal",
    "int",
    "issuing",
    "local",
    "my",
    "network",
    "new",
    "our",
    "policy",
    "primary",
    "private",
    "prod",
    "public",
    "root",
    "secure",
    "server",
    "ssl",
    "subordinate",
    "sub",
    "test",
    "the",
    "tls",
    "trust",
    "web",
];

/// Organizations that openssl gives where nobody names one.
const DEFAULT_ORGANIZATIONS: [&str; 2] = ["Internet Widgits Pty Ltd", "Default Company Ltd"];

/// Returns who runs the authority of this name: its organization (`O`), else the first word of its common
/// name (`Acme` of `Acme Issuing CA`), as private authorities often have no more. Returns nothing where that
/// may be anybody.
pub(super) fn operator<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    let text = match name.iter_organization().next() {
        Some(organization) => organization.as_str().ok()?,
        None => name.iter_common_name().next()?.as_str().ok()?.split(' ').next()?,
    };
    let is_anybody = is_generic(text) || DEFAULT_ORGANIZATIONS.contains(&text);
    (text.len() > 2 && !is_anybody).then_some(text)
}

/// Returns whether a name is made of generic words and digits alone, such as `RootCA-2`.
fn is_generic(name: &str) -> bool {
    let name = name.to_lowercase();
    let mut rest = name.as_str();
    loop {
        rest = rest.trim_start_matches(|letter: char| !letter.is_alphabetic());
        match GENERIC_WORDS.iter().find_map(|word| rest.strip_prefix(word)) {
            Some(behind) => rest = behind,
            None => return rest.is_empty(),
        }
    }
}

/// Returns a name as records have it (RFC 4514), or in the library's own way if its encoding is wrong. Clipped
/// to [`MAX_NAME_CHARS`].
pub(super) fn presentation(name: &X509Name<'_>) -> String {
    let text = x509_cert::name::Name::from_der(name.as_raw())
        .map_or_else(|_| name.to_string(), |name| name.to_string());
    text.chars().take(MAX_NAME_CHARS).collect()
}

/// Contents of a DER value, without tag and length.
pub(super) fn contents(der: &[u8]) -> &[u8] {
    Any::from_der(der).map_or(&[], |(_, any)| any.data)
}

/// Wraps contents as a SEQUENCE in DER.
pub(super) fn wrapped(contents: &[u8]) -> Vec<u8> {
    AnyRef::new(Tag::Sequence, contents).and_then(|any| any.to_der()).unwrap_or_default()
}

/// Writes bytes as lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX)
}

/// A time in seconds since the Unix epoch; the epoch itself for earlier ones, the year 2554 for later ones.
pub(super) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000))
}

/// Converts a time of a certificate.
pub(super) fn timestamp(time: ASN1Time) -> Timestamp {
    from_seconds(time.timestamp())
}

/// Converts seconds since the Unix epoch; the epoch itself stands for earlier ones.
pub(super) fn unix(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// Writes the day of a certificate's time, of any year.
pub(super) fn date(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

/// Writes the day of a time: `2026-11-21`.
pub(super) fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_words_name_no_operator() {
        for (name, expected) in [
            ("Acme Issuing CA", Some("Acme")),
            ("Lab Root CA", Some("Lab")),
            ("Interlink CA 1", Some("Interlink")),
            ("Rootstock G2", Some("Rootstock")),
            ("Root A", None),
            ("Intermediate 2", None),
            ("Internal-CA", None),
            ("RootCA2", None),
            ("SubCA_1", None),
            ("Global Services", None),
            ("Secure Site", None),
            ("CertificationAuthority", None),
            ("2026 Root", None),
        ] {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let (_, certificate) = X509Certificate::from_der(certificate.der()).unwrap();
            assert_eq!(operator(certificate.subject()), expected, "{name}");
        }
    }

    #[test]
    fn days_of_every_year_are_written() {
        for (seconds, day) in
            [(253_402_300_799, "9999-12-31"), (-1, "1969-12-31"), (0, "1970-01-01")]
        {
            assert_eq!(date(ASN1Time::from_timestamp(seconds).unwrap()), day);
        }
    }
}
