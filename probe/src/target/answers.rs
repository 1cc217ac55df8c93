//! Answers that a name must have.

use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The set of answers that a name must have, whatever their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedAnswers {
    record_type: RecordType,
    answers: BTreeSet<String>,
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
            return Err(format!("\"{wrong}\" is no answer of type {record_type}"));
        }
        let answers = answers.iter().map(|answer| canonical(record_type, answer)).collect();
        Ok(Self { record_type, answers })
    }

    /// Returns what was expected and what was got, where the sets differ.
    #[must_use]
    pub fn difference(&self, found: &[String]) -> Option<String> {
        let got: BTreeSet<_> = found.iter().map(|text| canonical(self.record_type, text)).collect();
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(", ");
        let differs = got != self.answers;
        differs.then(|| format!("expected {}; got {}", list(&self.answers), list(&got)))
    }
}

/// Returns the spelling in which answers are compared.
fn canonical(record_type: RecordType, answer: &str) -> String {
    match record_type {
        RecordType::TXT => joined(answer.trim()),
        RecordType::AAAA => {
            let address = answer.trim().parse::<Ipv6Addr>();
            address.map_or_else(|_| answer.to_owned(), |address| address.to_string())
        }
        _ => {
            let words = answer.split_whitespace().map(|word| {
                let word = word.trim_matches('"').to_ascii_lowercase();
                // A lone dot is the root.
                match word.strip_suffix('.') {
                    Some(name) if !name.is_empty() => name.to_owned(),
                    _ => word,
                }
            });
            words.collect::<Vec<_>>().join(" ")
        }
    }
}

/// Joins the quoted strings of a TXT record (RFC 1035, section 5.1), as those who read it do (RFC 7208, section 3.3).
fn joined(text: &str) -> String {
    if !text.starts_with('"') {
        return text.to_owned();
    }
    let (mut joined, mut is_inside, mut is_escaped) = (String::new(), false, false);
    for letter in text.chars() {
        match letter {
            _ if is_escaped => {
                joined.push(letter);
                is_escaped = false;
            }
            '\\' => is_escaped = true,
            '"' => is_inside = !is_inside,
            _ if is_inside => joined.push(letter),
            _ => {}
        }
    }
    joined
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
