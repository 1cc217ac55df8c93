//! Lines that no figure counts, for the reader of the figures.

use crate::top::clean;
use dnscribe_record::schema_names;
use std::collections::BTreeMap;
use std::fmt;

/// Schemas that are named.
const MAX_SCHEMAS: usize = 4;

/// Length limit of a schema's name in characters.
const MAX_NAME: usize = 64;

/// Lines that were left out: no records, and records of schemas that this version does not know. `Display` says what they are.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    lines: u64,
    /// Records by schema: the first ones.
    schemas: BTreeMap<String, u64>,
}

impl Unreadable {
    /// Returns the number of lines.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// Adds a line that is no record.
    pub(crate) const fn add(&mut self) {
        self.lines += 1;
    }

    /// Adds a record if its schema is unknown, and returns whether it is. Another version of a known schema may mean
    /// something else by the same fields.
    pub(crate) fn add_unknown(&mut self, schema: &str) -> bool {
        if schema_names().any(|known| known == schema) {
            return false;
        }
        self.add();
        let name: String = clean(schema).chars().take(MAX_NAME).collect();
        if self.schemas.len() < MAX_SCHEMAS || self.schemas.contains_key(&name) {
            *self.schemas.entry(name).or_default() += 1;
        }
        true
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines;
        if self.schemas.is_empty() {
            return match lines {
                1 => write!(f, "1 line that is no record of dnscribe"),
                _ => write!(f, "{lines} lines that are no records of dnscribe"),
            };
        }
        let noun = if lines == 1 { "line" } else { "lines" };
        let others = lines - self.schemas.values().sum::<u64>();
        let schemas = self.schemas.iter().map(|(name, count)| format!("{count} of schema {name}"));
        let others = (others > 0).then(|| format!("{others} of other kinds"));
        let kinds: Vec<String> = schemas.chain(others).collect();
        write!(f, "{lines} {noun} that this version cannot read: {}", kinds.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_schemas_that_are_unknown() {
        let mut found = Unreadable::default();
        found.add();
        assert_eq!(found.to_string(), "1 line that is no record of dnscribe");
        assert!(!found.add_unknown("dns.transaction/1") && !found.add_unknown("dns.window/1"));
        assert!(found.add_unknown("dns.transaction/2") && found.add_unknown("dns.transaction/2"));
        assert_eq!(
            found.to_string(),
            "3 lines that this version cannot read: 2 of schema dns.transaction/2, 1 of other kinds"
        );
        for number in 0..100 {
            found.add_unknown(&format!("\u{1b}{number}{}", "x".repeat(1 << 10)));
        }
        assert_eq!(found.lines(), 103);
        let text = found.to_string();
        assert!(text.len() < 600 && !text.contains('\u{1b}'), "{text}");
    }
}
