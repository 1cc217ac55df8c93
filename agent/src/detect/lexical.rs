//! Does a name look like one that people gave, or like data?

use std::ops::Range;

/// How surprising each pair of letters is, row by row from `aa` to `zz`: half bits, in base 36. Counted over
/// the words of English technical prose and the parts of software package names, abbreviations and all; the
/// names of hosts are made of the same.
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

/// A letter beside a digit, in half bits.
const MIXED: u32 = 14;
/// A digit beside a digit, in half bits: numbers are usual in names.
const DIGITS: u32 = 7;
/// Anything beside an octet that host names do not have, in half bits.
const FOREIGN: u32 = 16;

/// Shorter pieces tell nothing.
pub(super) const LEAST_PIECE: usize = 6;
/// The mean surprise, in bits, from which a piece of ten letters or more looks random: words are at 3.9 and
/// rarely above 4.7; random letters, digits and hexadecimal are at 5.3 to 6.1 and rarely below.
const RANDOM: f64 = 4.75;
/// The same for shorter pieces, where chance does more.
const RANDOM_SHORT: f64 = 5.2;
/// Digits alone are data from so many on.
const LONG_NUMBER: usize = 20;
/// So many letters that are all hexadecimal, with some of either kind, are a number.
const HEXADECIMAL: usize = 12;
/// A piece of so many letters is data whatever it looks like.
const LONG_PIECE: usize = 40;

/// The mean surprise of a piece of a name, in bits per pair of letters.
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

/// Whether a piece of a name, without dots and hyphens, looks like data.
#[must_use]
pub(super) fn is_random(piece: &[u8]) -> bool {
    let length = piece.len();
    if length < LEAST_PIECE {
        return false;
    }
    if piece.iter().all(u8::is_ascii_digit) {
        return length >= LONG_NUMBER;
    }
    let enough = if length < 10 { RANDOM_SHORT } else { RANDOM };
    length >= LONG_PIECE || is_hexadecimal(piece) || surprise(piece) >= enough
}

/// Whether it is a number in hexadecimal, which runs of digits make look harmless.
fn is_hexadecimal(piece: &[u8]) -> bool {
    let digits = piece.iter().filter(|octet| octet.is_ascii_digit()).count();
    piece.len() >= HEXADECIMAL
        && digits >= 3
        && piece.len() - digits >= 3
        && piece.iter().all(u8::is_ascii_hexdigit)
}

/// How many octets of these labels are in pieces that look like data. Escapes (`\\DDD`) count as one
/// octet each, and make their piece look like data.
#[must_use]
pub(super) fn encoded_octets(labels: &str) -> u32 {
    let octets = labels.as_bytes();
    let mut encoded = 0;
    let mut start = 0;
    let mut escapes = 0;
    for place in 0..=octets.len() {
        match octets.get(place) {
            Some(b'\\') => escapes += 1,
            Some(octet) if !matches!(octet, b'.' | b'-' | b'_') => {}
            _ => {
                encoded += encoded_piece(octets, start..place, escapes);
                start = place + 1;
                escapes = 0;
            }
        }
    }
    u32::try_from(encoded).unwrap_or(u32::MAX)
}

fn encoded_piece(octets: &[u8], piece: Range<usize>, escapes: usize) -> usize {
    let piece = octets.get(piece).unwrap_or_default();
    if escapes > 1 {
        // Each escape takes four octets of text.
        return piece.len().saturating_sub(3 * escapes).max(escapes);
    }
    if piece.len() >= LEAST_PIECE && is_random(piece) { piece.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_gave_are_not_data() {
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
            assert_eq!(encoded_octets(name), 0, "{name}");
        }
    }

    #[test]
    fn data_is_data() {
        for (name, octets) in [
            ("pafqchfq", 8),
            ("ad9001fdf52532417d", 18),
            ("hvmaaaabba", 10),
            ("tqdncyrxbw.cdn", 10),
            ("mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpi.0.abc", 42),
            ("5f4dcc3b5aa765d61d8327deb882cf99", 32),
            (r"rdfqd3\198\235\244\2499\220\237", 13),
            ("12345678901234567890", 20),
        ] {
            assert_eq!(encoded_octets(name), octets, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_more_octets_are_data_than_there_are(labels in ".{0,80}") {
            proptest::prop_assert!(encoded_octets(&labels) as usize <= labels.len());
        }
    }

    #[test]
    fn every_pair_has_a_surprise() {
        for first in b'a'..=b'z' {
            for second in b'a'..=b'z' {
                assert!((2..=24).contains(&surprise_of(first, second)));
            }
        }
    }
}
