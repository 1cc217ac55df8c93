//! Answers that a name must have.

use crate::dns::{parse_name, presentation, type_name, unescape};
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The set of answers that a name must have, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAnswers {
    record_type: RecordType,
    answers: BTreeSet<Vec<u8>>,
}

impl ExpectedAnswers {
    /// Creates the set of answers of a type, each as a zone file has it. Names may lack the dot at their end, and texts
    /// their quotes.
    ///
    /// # Errors
    /// There is none, or one is none of the type.
    pub fn new(record_type: RecordType, answers: &[String]) -> Result<Self, String> {
        if answers.is_empty() {
            return Err("give at least one answer, or rcodes: [NXDOMAIN]".to_owned());
        }
        let is_wrong = |answer: &&String| match record_type {
            RecordType::A => answer.parse::<Ipv4Addr>().is_err(),
            RecordType::AAAA => answer.parse::<Ipv6Addr>().is_err(),
            RecordType::MX => {
                let words: Vec<&str> = answer.split_whitespace().collect();
                words.len() != 2 || words[0].parse::<u16>().is_err()
            }
            _ => answer.trim().is_empty(),
        };
        if let Some(wrong) = answers.iter().find(is_wrong) {
            let name = type_name(record_type);
            return Err(format!("\"{wrong}\" is no answer of type {name}"));
        }
        let answers = answers.iter().map(|answer| canonical(record_type, answer)).collect();
        Ok(Self { record_type, answers })
    }

    /// Returns what was expected and what was got, where the sets differ.
    #[must_use]
    pub fn difference(&self, found: &[String]) -> Option<String> {
        let got: BTreeSet<_> = found.iter().map(|text| canonical(self.record_type, text)).collect();
        let list = |set: &BTreeSet<Vec<u8>>| {
            set.iter().map(|one| String::from_utf8_lossy(one)).collect::<Vec<_>>().join(", ")
        };
        let differs = got != self.answers;
        differs.then(|| format!("expected {}; got {}", list(&self.answers), list(&got)))
    }
}

/// Returns the spelling in which answers are compared: names and hexadecimal digits in lower case, escapes decoded.
fn canonical(record_type: RecordType, answer: &str) -> Vec<u8> {
    let answer = answer.trim();
    if let (RecordType::AAAA, Ok(address)) = (record_type, answer.parse::<Ipv6Addr>()) {
        return address.to_string().into();
    }
    if is_text_alone(record_type) {
        // The strings of a record are joined, as those who read it do (RFC 7208, section 3.3).
        let words = if answer.starts_with('"') { words(answer) } else { vec![answer.to_owned()] };
        return words.iter().flat_map(|word| text(word)).collect();
    }
    let mut words = words(answer);
    let blob = blob(record_type, &words);
    if let Some((place, _)) = blob {
        // A zone file may have blanks within (RFC 4034, section 5.3).
        let rest = words.drain(place.min(words.len())..).collect::<String>();
        words.push(rest);
    }
    let spelled = words.iter().enumerate().map(|(place, word)| match blob {
        Some((blob, is_hex)) if blob == place && is_hex => word.to_ascii_lowercase().into(),
        Some((blob, _)) if blob == place => word.clone().into(),
        _ if is_text(record_type, place) => text(word),
        _ => match parse_name(word) {
            Some(name) => presentation(&name).into(),
            None => word.to_ascii_lowercase().into(),
        },
    });
    spelled.collect::<Vec<Vec<u8>>>().join(&b' ')
}

/// Returns whether an answer of a type is character strings and nothing else.
fn is_text_alone(record_type: RecordType) -> bool {
    matches!(&*type_name(record_type), "TXT" | "SPF")
}

/// Returns whether the word at a place is text, of which the case counts.
fn is_text(record_type: RecordType, place: usize) -> bool {
    match &*type_name(record_type) {
        "NAPTR" => place == 4,
        "CAA" | "URI" => place == 2,
        "SVCB" | "HTTPS" => place >= 2,
        "HINFO" | "ISDN" | "X25" | "GPOS" => true,
        _ => false,
    }
}

/// Returns the place from which on an answer is hexadecimal digits (`true`) or base64.
fn blob(record_type: RecordType, words: &[String]) -> Option<(usize, bool)> {
    if words.first().is_some_and(|word| word == r"\#") {
        return Some((2, true));
    }
    match &*type_name(record_type) {
        "DS" | "CDS" | "DLV" | "TLSA" | "SMIMEA" | "ZONEMD" => Some((3, true)),
        "SSHFP" => Some((2, true)),
        "DNSKEY" | "CDNSKEY" | "KEY" | "CERT" => Some((3, false)),
        "RRSIG" => Some((8, false)),
        "OPENPGPKEY" | "DHCID" => Some((0, false)),
        _ => None,
    }
}

/// Returns the bytes for which a text stands.
fn text(word: &str) -> Vec<u8> {
    match unescape(word) {
        Some(bytes) => bytes.into_iter().map(|(byte, _)| byte).collect(),
        None => word.into(),
    }
}

/// Splits an answer at its blanks outside of quotes (RFC 1035, section 5.1). Removes the quotes, and keeps escapes.
fn words(answer: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for letter in answer.chars() {
        match letter {
            '"' if !is_escaped => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            _ if letter.is_whitespace() && !is_quoted && !is_escaped => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(record_type: RecordType, expected: &[&str], found: &[&str]) -> Option<String> {
        let owned =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        ExpectedAnswers::new(record_type, &owned(expected)).unwrap().difference(&owned(found))
    }

    #[test]
    fn spelling_and_order_do_not_matter() {
        for (record_type, expected, found) in [
            (RecordType::A, &["192.0.2.2", "192.0.2.1"][..], &["192.0.2.1", "192.0.2.2"][..]),
            (RecordType::AAAA, &["2001:DB8:0::1"], &["2001:db8::1"]),
            (RecordType::MX, &["10 Mail.Example.com"], &["10 mail.example.com."]),
            (RecordType::MX, &["0 ."], &["0 ."]),
            (RecordType::TXT, &["v=spf1 -all"], &["\"v=spf1 -all\""]),
            (RecordType::TXT, &["\"a \" \"b\""], &["\"a b\""]),
            (RecordType::TXT, &["say \"hi\""], &["\"say \\\"hi\\\"\""]),
            (RecordType::CAA, &["0 issue \"ca.example\""], &["0 issue \"ca.example\""]),
            (RecordType::CNAME, &["www.example.com"], &["www.example.com."]),
        ] {
            assert_eq!(difference(record_type, expected, found), None, "{expected:?}");
        }
    }

    #[test]
    fn answers_may_stand_as_in_a_zone_file() {
        let types = |name: &str| RecordType::from(dnscribe_dns::type_number(name).unwrap());
        for (record_type, expected, found) in [
            ("DS", "12345 13 2 0123ABCD 4567EF", "12345 13 2 0123abcd4567ef"),
            ("TLSA", "3 1 1 0A0b 0C", "3 1 1 0a0b0c"),
            ("DNSKEY", "257 3 13 mdsswUyr 3DPW132m", "257 3 13 mdsswUyr3DPW132m"),
            ("TXT", "\"caf\\195\\169\"", "\"caf\\195\\169\""),
            ("TXT", "café", "\"caf\\195\\169\""),
            ("TXT", "caf\\195\\169", "\"caf\\195\\169\""),
            ("PTR", "My\\ Printer.example", "my\\032printer.example."),
            (
                "NAPTR",
                "1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:A@b!\" .",
                "1 1 \"u\" \"E2U+sip\" \"!^.*$!sip:A@b!\" .",
            ),
            ("CAA", "0 ISSUE ca.example", "0 issue \"ca.example\""),
            ("SRV", "0 5 5060 SIP.example", "0 5 5060 sip.example."),
            ("TYPE65280", "\\# 3 0A 0B0C", "\\# 3 0a0b0c"),
        ] {
            assert_eq!(difference(types(record_type), &[expected], &[found]), None, "{expected}");
        }
        for (record_type, expected, found) in [
            ("TXT", "caf195169", "\"caf\\195\\169\""),
            ("DNSKEY", "257 3 13 MDSSWUYR", "257 3 13 mdsswUyr"),
            ("NAPTR", "1 1 \"u\" \"\" \"!^.*$!sip:a@b!\" .", "1 1 \"u\" \"\" \"!^.*$!sip:A@b!\" ."),
            ("PTR", "a\\.b.example", "a.b.example"),
        ] {
            assert!(difference(types(record_type), &[expected], &[found]).is_some(), "{expected}");
        }
    }

    #[test]
    fn differences_name_both_sides() {
        for (record_type, expected, found, detail) in [
            (
                RecordType::A,
                &["192.0.2.1"][..],
                &["192.0.2.2"][..],
                "expected 192.0.2.1; got 192.0.2.2",
            ),
            (
                RecordType::MX,
                &["10 mail.example.com"],
                &["10 mial.example.com.", "20 mail.example.com."],
                "expected 10 mail.example.com; got 10 mial.example.com, 20 mail.example.com",
            ),
            (RecordType::TXT, &["A"], &["\"a\""], "expected A; got a"),
        ] {
            assert_eq!(difference(record_type, expected, found).as_deref(), Some(detail));
        }
    }

    #[test]
    fn answers_of_another_type_are_refused() {
        let refused = |record_type, answers: &[&str]| {
            let answers: Vec<_> = answers.iter().map(|text| (*text).to_owned()).collect();
            ExpectedAnswers::new(record_type, &answers).unwrap_err()
        };
        assert!(refused(RecordType::A, &["2001:db8::1"]).contains("is no answer of type A"));
        assert!(refused(RecordType::MX, &["mail.example.com"]).contains("is no answer of type MX"));
        assert!(refused(RecordType::TXT, &[]).contains("at least one"));
    }
}
