//! Domain name suffixes.

use std::collections::BTreeSet;
use std::str::FromStr;

/// A domain name that stands for itself and all names below it, spelled as in records; the root
/// stands for all names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameSuffix(String);

/// Error for a string that is not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a domain name: give one such as example.com, which includes all names below it"
)]
pub struct InvalidSuffix(String);

impl FromStr for NameSuffix {
    type Err = InvalidSuffix;

    /// Ignores a dot at either end and converts other scripts to A-labels (RFC 5890).
    fn from_str(text: &str) -> Result<Self, InvalidSuffix> {
        let bad = || InvalidSuffix(text.to_owned());
        if text == "." {
            return Ok(Self(String::new()));
        }
        // An escaped dot is part of the last label.
        let is_escaped =
            |name: &str| name.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let name = text.strip_suffix('.').filter(|name| !is_escaped(name)).unwrap_or(text);
        let name = name.strip_prefix('.').unwrap_or(name);
        let name = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(name).map_err(|_| bad())?
        };
        if !has_legal_labels(&name)
            || name.contains('*')
            || name.contains("://")
            || !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(bad());
        }
        Ok(Self(name))
    }
}

/// Returns whether each label has 1 to 63 bytes, and all of them fit into a name. An escape, `\\.` or `\\DDD`, is one byte.
fn has_legal_labels(name: &str) -> bool {
    const LABEL: std::ops::RangeInclusive<usize> = 1..=63;
    const MAX_BYTES: usize = 255;
    // The root.
    let mut bytes = 1;
    let mut label = 0;
    let mut rest = name.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = match (first, behind) {
            (b'.', _) if !LABEL.contains(&label) => return false,
            (b'.', _) => {
                bytes += 1 + label;
                (label, rest) = (0, behind);
                continue;
            }
            (b'\\', [a, b, c, behind @ ..]) if [a, b, c].iter().all(|one| one.is_ascii_digit()) => {
                behind
            }
            (b'\\', [_, behind @ ..]) => behind,
            (b'\\', []) => return false,
            _ => behind,
        };
        label += 1;
    }
    LABEL.contains(&label) && bytes + 1 + label <= MAX_BYTES
}

/// A set of suffixes; a lookup takes one step per label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameSuffixes(BTreeSet<String>);

impl FromIterator<NameSuffix> for NameSuffixes {
    fn from_iter<I: IntoIterator<Item = NameSuffix>>(suffixes: I) -> Self {
        Self(suffixes.into_iter().map(|suffix| suffix.0).collect())
    }
}

impl NameSuffixes {
    /// Returns whether a name, spelled as in records (lower case, escaped, no trailing dot), is one of
    /// these or below one.
    #[must_use]
    pub fn matches(&self, qname: &str) -> bool {
        let mut suffixes = std::iter::once(qname).chain(parent_suffixes(qname)).chain([""]);
        suffixes.any(|suffix| self.0.contains(suffix))
    }
}

/// Iterates over the suffixes that follow each dot between two labels.
fn parent_suffixes(qname: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    qname.bytes().enumerate().filter_map(move |(place, byte)| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match byte {
            b'\\' if !was_escaped => {
                is_escaped = true;
                None
            }
            b'.' if !was_escaped => qname.get(place + 1..),
            _ => None,
        }
    })
}
