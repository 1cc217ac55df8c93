//! Names by how they end, label by label.

use std::collections::BTreeSet;
use std::str::FromStr;

/// A name that stands for itself and all below it, as records write names; the root stands for all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suffix(String);

/// Why something is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not the end of a name: give one such as example.com, which stands for all below it, too"
)]
pub struct BadSuffix(String);

impl FromStr for Suffix {
    type Err = BadSuffix;

    /// A dot at either end says nothing; other scripts become A-labels (RFC 5890).
    fn from_str(text: &str) -> Result<Self, BadSuffix> {
        let bad = || BadSuffix(text.to_owned());
        if text == "." {
            return Ok(Self(String::new()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let name = name.strip_prefix('.').unwrap_or(name);
        let name = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| bad())?
        };
        let has_empty_label = name.is_empty() || name.split('.').any(str::is_empty);
        if has_empty_label
            || name.contains('*')
            || !name.bytes().all(|octet| octet.is_ascii_graphic())
        {
            return Err(bad());
        }
        Ok(Self(name))
    }
}

/// A set of them: whether a name is in it takes one look per label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suffixes(BTreeSet<String>);

impl FromIterator<Suffix> for Suffixes {
    fn from_iter<I: IntoIterator<Item = Suffix>>(suffixes: I) -> Self {
        Self(suffixes.into_iter().map(|suffix| suffix.0).collect())
    }
}

impl Suffixes {
    /// Whether a name, as records write it (lower case, escaped, no last dot), is one of these or below.
    #[must_use]
    pub fn contain(&self, qname: &str) -> bool {
        let mut ends = std::iter::once(qname).chain(below(qname)).chain([""]);
        ends.any(|end| self.has(end))
    }

    fn has(&self, end: &str) -> bool {
        self.0.contains(end)
    }
}

/// What is behind each dot between two labels.
fn below(qname: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    qname.bytes().enumerate().filter_map(move |(place, octet)| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match octet {
            b'\\' if !was_escaped => {
                is_escaped = true;
                None
            }
            b'.' if !was_escaped => qname.get(place + 1..),
            _ => None,
        }
    })
}
