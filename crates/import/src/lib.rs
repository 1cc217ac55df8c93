//! Reads what operators know about their zones and about threats from files, for `dnscribe zones
//! import` and `dnscribe intel import`. A line that cannot be read is refused with its place, and the
//! rest is read.
//!
//! ```
//! use dnscribe_import::zones::{self, ZoneFormat};
//!
//! let read = zones::read("zone,owner\nShop.Example.,web\n.,dns\n", ZoneFormat::Csv);
//! assert_eq!(read.items[0].zone, "shop.example");
//! assert_eq!(read.refused[0].line, 3);
//! ```

pub mod intel;
mod rpz;
mod table;
pub mod zones;

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

/// A part of a file that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl Refusal {
    fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.problem)
    }
}

/// What a file contains: one item for each key, and what was refused.
#[derive(Clone, Debug)]
pub struct Imported<T> {
    /// Usable items, in the order of the file.
    pub items: Vec<T>,
    /// Number of items left out because an earlier one has the same key.
    pub duplicates: u64,
    /// Number of items left out because they no longer hold: expired.
    pub expired: u64,
    /// What was refused.
    pub refused: Vec<Refusal>,
}

impl<T> Imported<T> {
    /// Creates an empty result.
    #[must_use]
    pub const fn empty() -> Self {
        Self { items: Vec::new(), duplicates: 0, expired: 0, refused: Vec::new() }
    }

    fn refuse(&mut self, line: usize, problem: impl Into<String>) {
        self.refused.push(Refusal::new(line, problem));
    }

    /// Keeps the first item of each key and counts the others.
    fn deduplicate<K: Eq + Hash>(&mut self, key: impl Fn(&T) -> K) {
        let mut seen = HashSet::with_capacity(self.items.len());
        let before = self.items.len();
        self.items.retain(|item| seen.insert(key(item)));
        self.duplicates = (before - self.items.len()) as u64;
    }
}

/// Returns a domain name in the form of records: lower case, without its last dot, A-labels.
///
/// # Errors
/// Returns a sentence if the text is no name, or the root.
pub fn domain(text: &str) -> Result<String, String> {
    let refusal = |why: &str| Err(format!("\"{}\" is not a domain name: {why}", shortened(text)));
    let bare = text.strip_suffix('.').unwrap_or(text);
    let name = if bare.is_ascii() {
        bare.to_ascii_lowercase()
    } else {
        match dnscribe_dns::to_ascii(bare) {
            Some(name) => name,
            None => return refusal("it has no valid form in A-labels"),
        }
    };
    if name.is_empty() {
        return refusal("it is empty");
    }
    if name.len() > 253 || name.split('.').any(|label| label.is_empty() || label.len() > 63) {
        return refusal("a label is empty or longer than 63 bytes, or the name longer than 253");
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(is_allowed) {
        return refusal("only letters, digits, hyphens and underscores are allowed in labels");
    }
    Ok(name)
}

/// Returns the beginning of a text, for messages.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_names() {
        for (text, expected) in [
            ("Example.COM.", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("_dmarc.example.org", "_dmarc.example.org"),
            ("XN--bcher-KVA.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(domain(text).as_deref(), Ok(expected), "{text}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for text in ["", ".", "a..b", "a b.example", "http://a.example/", "a@b.example", &long] {
            assert!(domain(text).is_err(), "{text}");
        }
    }
}
