//! What two decoders say of one message, field by field, as text.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// Fields by name. An absent value is the empty text, so that one side alone having it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(BTreeMap<String, String>);

/// A field in which ours is not what the reference has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The frame that completed the message; 0 where the capture as a whole differs.
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

    /// How many of these fields the other has alike, and those that it has not. Fields that only
    /// the other has are not compared: the reference says nothing of them.
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

/// Seconds with a fraction, or RFC 3339, as nanoseconds since 1970.
pub fn moment(text: &str) -> Result<i128> {
    if let Ok(timestamp) = text.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_nanosecond());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    ensure!(fraction.len() <= 9, "finer than nanoseconds: {text}");
    let digits = format!("{seconds}{fraction:0<9}");
    digits.parse().with_context(|| format!("not a time: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_alone_is_a_difference() {
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
    fn both_ways_to_write_a_time_are_the_same() {
        assert_eq!(moment("0.25").unwrap(), moment("1970-01-01T00:00:00.25Z").unwrap());
        assert_eq!(moment("12").unwrap(), 12_000_000_000);
        assert!(moment("soon").is_err() && moment("1.0000000001").is_err());
    }
}
