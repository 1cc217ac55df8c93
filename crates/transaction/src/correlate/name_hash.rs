//! Hashes of domain names, for fast comparison and ancestor tests.

use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// Number of labels with a suffix hash, counted from the root. Names in `ip6.arpa` have 34.
const MAX_LABELS: usize = 36;

/// Hashes of a domain name in presentation form, without regard to case.
///
/// Different names collide with a probability of 2⁻⁶⁴, suffixes of the same depth with 2⁻³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameHash {
    /// Hash of the whole name.
    pub(super) whole: u64,
    /// Number of labels, at most [`MAX_LABELS`]; 0 for the root.
    labels: u8,
    /// Hashes of the last label, the last two labels, and so on.
    suffixes: [u32; MAX_LABELS],
}

impl NameHash {
    /// Returns the hash of a whole name in lower case.
    pub(super) fn hash_whole(lower: &str) -> u64 {
        xxh3_64(lower.as_bytes())
    }

    /// Hashes a name as written in records: no trailing dot, root `.`, `\.` for a dot in a label.
    pub(super) fn of(presentation: &str) -> Self {
        let upper = presentation.bytes().any(|byte| byte.is_ascii_uppercase());
        let lower = if upper {
            Cow::Owned(presentation.to_ascii_lowercase())
        } else {
            Cow::Borrowed(presentation)
        };
        let bytes = lower.as_bytes();
        let mut name = Self { whole: xxh3_64(bytes), labels: 0, suffixes: [0; MAX_LABELS] };
        if bytes == b"." {
            return name;
        }
        let mut end = bytes.len();
        let mut number = 0;
        for suffix in &mut name.suffixes {
            let start = label_start(bytes, end);
            number = xxh3_64(bytes.get(start..end).unwrap_or_default()) ^ mixed(number);
            *suffix = folded(number);
            name.labels += 1;
            if start == 0 {
                break;
            }
            end = start - 1;
        }
        name
    }

    /// Returns whether this name is `ancestor` or below it.
    pub(super) fn is_within(&self, ancestor: &Self) -> bool {
        let depth = usize::from(ancestor.labels);
        if self.whole == ancestor.whole || depth == 0 {
            return true;
        }
        // Beyond the maximum depth, only equal names can be recognized.
        depth < MAX_LABELS
            && ancestor.labels < self.labels
            && self.suffixes[depth - 1] == ancestor.suffixes[depth - 1]
    }
}

/// Returns the start of the label that ends before `end`.
fn label_start(bytes: &[u8], end: usize) -> usize {
    let before = bytes.get(..end).unwrap_or_default();
    let mut dots = rev_dots(before);
    dots.find(|dot| !is_escaped(before, *dot)).map_or(0, |dot| dot + 1)
}

fn rev_dots(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at)
}

/// Returns whether an odd number of backslashes precedes a position.
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Makes the hash depend on the order of labels.
const fn mixed(number: u64) -> u64 {
    number.rotate_left(23).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[expect(clippy::cast_possible_truncation, reason = "both halves are in the result")]
const fn folded(number: u64) -> u32 {
    (number ^ number >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn within(name: &str, ancestor: &str) -> bool {
        NameHash::of(name).is_within(&NameHash::of(ancestor))
    }

    #[test]
    fn recognizes_ancestors() {
        assert!(within("www.example.com", "example.com") && within("www.example.com", "com"));
        assert!(within("www.example.com", ".") && within("www.example.com", "WWW.example.COM"));
        assert!(within(".", "."));
        for other in ["ww.example.com", "example.org", "a.www.example.com", "com.example"] {
            assert!(!within("www.example.com", other), "{other}");
        }
        assert!(!within(".", "com") && !within("badexample.com", "example.com"));
    }

    #[test]
    fn escaped_dot_is_part_of_label() {
        assert!(!within(r"a\.example.com", "example.com"), "the label is `a.example`");
        assert!(within(r"a\\.example.com", "example.com"), "the label is `a\\`");
    }

    #[test]
    fn deep_names_are_compared_up_to_maximum_depth() {
        let deep = "a.".repeat(40) + "example.com";
        let deeper = "b.".to_owned() + &deep;
        assert!(within(&deeper, "example.com") && within(&deeper, &deeper));
        assert!(!within(&deeper, &deep), "too deep to be known");
    }

    proptest! {
        #[test]
        fn agrees_with_string_comparison(a in "([ab]\\.){0,5}[ab]", b in "([ab]\\.){0,5}[ab]") {
            let dotted = format!(".{b}");
            prop_assert_eq!(within(&a, &b), a == b || a.ends_with(&dotted));
        }
    }
}
