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
            || !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(bad());
        }
        Ok(Self(name))
    }
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
