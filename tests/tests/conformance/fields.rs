//! The decoded fields of one message as text, to compare two decoders.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Fields by name. An absent value is an empty text, so that a field of only one side is a
/// difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

/// A field in which the agent differs from the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Frame that completed the message; 0 for a difference of the whole capture.
    pub frame: u64,
    pub field: String,
    pub expected: String,
    pub found: String,
}

impl Fields {
    pub fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Compares these fields with the other side's: returns the number of equal ones, and the
    /// differences. Fields that only the other side has are not compared.
    pub fn compare(&self, frame: u64, found: &Self) -> (usize, Vec<Difference>) {
        let mut differences = Vec::new();
        for (field, expected) in &self.0 {
            if found.get(field) != expected {
                differences.push(Difference {
                    frame,
                    field: field.clone(),
                    expected: expected.clone(),
                    found: found.get(field).to_owned(),
                });
            }
        }
        (self.0.len() - differences.len(), differences)
    }
}

/// Parses seconds with a fraction, or RFC 3339, as nanoseconds since 1970.
pub fn moment(text: &str) -> Result<i128> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_nanosecond());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(fraction.len() <= 9, "more precise than nanoseconds: {text}");
    let digits = format!("{seconds}{fraction:0<9}");
    digits.parse().with_context(|| format!("not a time: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_of_one_side_is_a_difference() {
        let mut expected = Fields::default();
        expected.set("id", 7);
        expected.set("rcode", "");
        let mut found = Fields::default();
        found.set("rcode", "NOERROR");
        found.set("only ours", "x");
        let (equal, differences) = expected.compare(3, &found);
        let fields: Vec<&str> = differences.iter().map(|one| one.field.as_str()).collect();
        assert_eq!((equal, fields), (0, vec!["id", "rcode"]));
        found.set("id", "7");
        assert_eq!(expected.compare(3, &found).0, 1);
    }

    #[test]
    fn parses_both_time_formats() {
        assert_eq!(moment("0.25").unwrap(), moment("1970-01-01T00:00:00.25Z").unwrap());
        assert_eq!(moment("12").unwrap(), 12_000_000_000);
        assert!(moment("soon").is_err() && moment("1.0000000001").is_err());
    }
}
