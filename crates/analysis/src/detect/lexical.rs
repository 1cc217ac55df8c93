//! Classifies names: chosen by people, encoded data, or keys of a lookup service.

use std::ops::Range;

/// Surprise of each pair of letters, row by row from `aa` to `zz`, in half bits, as base-36 digits.
/// Counted over English technical prose and the parts of software package names, abbreviations
/// included: host names are made of the same material.
const PAIRS: &[u8; 26 * 26] = b"\
e988edagaic786h9k686bceecg\
7a9a7bbe7ad7ad7ag98b7eecbf\
7dac7cg6aj78cf5cj9b7aghhei\
79a94add6geabc8bh99b9eehdi\
9c88bbcfcif9a7dbe557fcdadi\
7b9a77dh5lh8de6di89a9hfgbk\
8dab4dba8hh9b98bh7899fehef\
4ecc4egg6ifcbc6ch9b89gdjci\
a68aabajhie8948aja87hbjdjb\
5c9a5cdd8edcbb7agd7c8cdffg\
7bab4cbc6geaac8bia899fchcf\
7dca5dfg4kf8ef6ckf99adghah\
59bb5eeg7if9af77ieacagghej\
8e877a6e8hcdda8cie76bcfheh\
bb88ebbgchc88598k6998badgh\
6ebb6dda8ke7cd79i698agfhak\
cdaccdeebff7accbeaa72ddehh\
6daa4cbg6jdcab7cia88bcgjai\
9e9d6ef97jcbcd99ed749fdgbh\
7e9c4cf86icbce7bj799bfegag\
a9ab9bbh9ie786e8l776ggheif\
5dbc3eeg5jhdad9didbcfeggfh\
5cbb6dea4hebb98ch78bdheffi\
9c7a7acd8icb7dc6gb85dddbbf\
8a8b9bbeage98795ga67bddfed\
6ccb3cdb6edabd8ehebdbfdfaa";

/// Surprise of a letter next to a digit, in half bits.
const MIXED: u32 = 14;
/// Surprise of two digits, in half bits: numbers are common in names.
const DIGITS: u32 = 7;
/// Surprise of a pair with a byte that host names do not have, in half bits.
const FOREIGN: u32 = 16;

/// Minimum length of a piece; shorter ones are not classified.
pub(super) const MIN_PIECE_BYTES: usize = 6;
/// Mean surprise, in bits, from which a piece of ten characters or more looks random. Words are at
/// 3.9 and rarely above 4.7; random letters, digits and hexadecimal are at 5.3 to 6.1 and rarely
/// below.
const MIN_SURPRISE: f64 = 4.75;
/// Mean surprise, in bits, from which a shorter piece looks random; chance matters more there.
const MIN_SURPRISE_SHORT: f64 = 5.2;
/// Minimum length of a piece of digits to be data.
const MIN_NUMBER_BYTES: usize = 20;
/// Minimum length of a hexadecimal number, with letters and digits, to be data.
const MIN_HEXADECIMAL_BYTES: usize = 12;
/// Minimum length of any piece to be data.
const MIN_ANY_BYTES: usize = 40;

/// Returns the mean surprise of a piece of a name, in bits per pair of characters.
#[must_use]
pub(super) fn surprise(piece: &[u8]) -> f64 {
    let mut sum = 0;
    let mut pairs = 0_u32;
    for pair in piece.windows(2) {
        sum += surprise_of(pair[0], pair[1]);
        pairs += 1;
    }
    if pairs == 0 { 0.0 } else { f64::from(sum) / f64::from(pairs) / 2.0 }
}

fn surprise_of(first: u8, second: u8) -> u32 {
    match (first.is_ascii_lowercase(), second.is_ascii_lowercase()) {
        (true, true) => {
            let digit = PAIRS[usize::from(first - b'a') * 26 + usize::from(second - b'a')];
            u32::from(if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 })
        }
        (false, false) if first.is_ascii_digit() && second.is_ascii_digit() => DIGITS,
        (first_is_letter, second_is_letter)
            if (first_is_letter || first.is_ascii_digit())
                && (second_is_letter || second.is_ascii_digit()) =>
        {
            MIXED
        }
        _ => FOREIGN,
    }
}

/// Returns whether a piece of a name, without dots and hyphens, looks like data.
#[must_use]
pub(super) fn is_random(piece: &[u8]) -> bool {
    let length = piece.len();
    if length < MIN_PIECE_BYTES {
        return false;
    }
    if piece.iter().all(u8::is_ascii_digit) {
        return length >= MIN_NUMBER_BYTES;
    }
    let threshold = if length < 10 { MIN_SURPRISE_SHORT } else { MIN_SURPRISE };
    length >= MIN_ANY_BYTES || is_hexadecimal(piece) || surprise(piece) >= threshold
}

/// Returns whether a piece is a hexadecimal number. Runs of digits lower its surprise.
fn is_hexadecimal(piece: &[u8]) -> bool {
    let digits = piece.iter().filter(|byte| byte.is_ascii_digit()).count();
    piece.len() >= MIN_HEXADECIMAL_BYTES
        && digits >= 3
        && piece.len() - digits >= 3
        && piece.iter().all(u8::is_ascii_hexdigit)
}

/// Returns the number of bytes of `labels` in pieces that look like data. An escape (`\\DDD`)
/// counts as one byte, and its piece looks like data.
#[must_use]
pub(super) fn encoded_bytes(labels: &str) -> u32 {
    let bytes = labels.as_bytes();
    let mut encoded = 0;
    let mut start = 0;
    let mut escapes = 0;
    for index in 0..=bytes.len() {
        match bytes.get(index) {
            Some(b'\\') => escapes += 1,
            Some(byte) if !matches!(byte, b'.' | b'-' | b'_') => {}
            _ => {
                encoded += encoded_piece(bytes, start..index, escapes);
                start = index + 1;
                escapes = 0;
            }
        }
    }
    u32::try_from(encoded).unwrap_or(u32::MAX)
}

fn encoded_piece(bytes: &[u8], piece: Range<usize>, escapes: usize) -> usize {
    let piece = bytes.get(piece).unwrap_or_default();
    if escapes > 1 {
        // Each escape takes four characters of text.
        return piece.len().saturating_sub(3 * escapes).max(escapes);
    }
    if piece.len() >= MIN_PIECE_BYTES && is_random(piece) { piece.len() } else { 0 }
}

/// Zones of services that are queried with the hash of a file, address, site or peer in the name.
/// Only the operator of the zone can receive this data. Sorted.
const LOOKUP_SERVICES: &[&str] = &[
    "akstat.io",
    "avast.com",
    "barracudacentral.org",
    "bitdefender.net",
    "cymru.com",
    "dnswl.org",
    "e5.sk",
    "eset.com",
    "ethdisco.net",
    "f-secure.com",
    "footprintdns.com",
    "invaluement.com",
    "kaspersky-labs.com",
    "mailspike.net",
    "mcafee.com",
    "msbl.org",
    "senderbase.org",
    "sophosxl.com",
    "sophosxl.net",
    "sorbs.net",
    "spamcop.net",
    "spamhaus.net",
    "spamhaus.org",
    "surbl.org",
    "trendmicro.com",
    "uribl.com",
    "webroot.com",
];

/// Returns whether a registrable domain belongs to such a service.
pub(super) fn is_lookup_service(zone: &str) -> bool {
    LOOKUP_SERVICES.binary_search(&zone).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_services_is_sorted() {
        assert!(LOOKUP_SERVICES.is_sorted());
        assert!(is_lookup_service("sophosxl.net") && !is_lookup_service("example.com"));
    }

    #[test]
    fn ordinary_names_are_not_data() {
        for name in [
            "www",
            "mail",
            "static-cdn",
            "scontent-fra3-1.xx",
            "ipv4-c001-fra001-ix.1.oca",
            "images-na.ssl-images",
            "autodiscover",
            "_ldap._tcp.default-first-site-name._sites.dc._msdcs",
            "4.3.2.1.zen",
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2",
            "selector1._domainkey",
            "_acme-challenge.www",
            "kubernetes.default.svc",
            "outbound_.80_._.reviews",
            "1700000000123",
            "p16-sign",
            "safebrowsing",
            "clientservices",
            "content-autofill",
        ] {
            assert_eq!(encoded_bytes(name), 0, "{name}");
        }
    }

    #[test]
    fn finds_encoded_data() {
        for (name, bytes) in [
            ("pafqchfq", 8),
            ("ad9001fdf52532417d", 18),
            ("hvmaaaabba", 10),
            ("tqdncyrxbw.cdn", 10),
            ("mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpi.0.abc", 42),
            ("5f4dcc3b5aa765d61d8327deb882cf99", 32),
            (r"rdfqd3\198\235\244\2499\220\237", 13),
            ("12345678901234567890", 20),
        ] {
            assert_eq!(encoded_bytes(name), bytes, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn counts_at_most_all_bytes(labels in ".{0,80}") {
            proptest::prop_assert!(encoded_bytes(&labels) as usize <= labels.len());
        }
    }

    #[test]
    fn table_covers_every_pair() {
        for first in b'a'..=b'z' {
            for second in b'a'..=b'z' {
                assert!((2..=24).contains(&surprise_of(first, second)));
            }
        }
    }
}
