//! Names as numbers: cheap to keep, to compare, and to look for ancestors in.

use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_64;

/// Labels told apart, from the root on: an address below `ip6.arpa` has 34.
const MAX_LABELS: usize = 36;

/// A domain name, from its presentation form, without regard to case.
///
/// Equal names are equal numbers. Two names that differ have the same number once in 2⁶⁴ times,
/// two suffixes of one depth once in 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Of the name as a whole.
    pub(super) whole: u64,
    /// How many labels it has, [`MAX_LABELS`] at most; none in the root.
    labels: u8,
    /// Of its last label, its last two labels, and so on.
    suffixes: [u32; MAX_LABELS],
}

impl Name {
    /// The number of a name in lower case.
    pub(super) fn whole_of(lower: &str) -> u64 {
        xxh3_64(lower.as_bytes())
    }

    /// Reads a name as records spell it: no trailing dot, root `.`, `\.` for a dot in a label.
    pub(super) fn of(presentation: &str) -> Self {
        let upper = presentation.bytes().any(|octet| octet.is_ascii_uppercase());
        let lower = if upper {
            Cow::Owned(presentation.to_ascii_lowercase())
        } else {
            Cow::Borrowed(presentation)
        };
        let octets = lower.as_bytes();
        let mut name = Self { whole: xxh3_64(octets), labels: 0, suffixes: [0; MAX_LABELS] };
        if octets == b"." {
            return name;
        }
        let mut end = octets.len();
        let mut number = 0;
        for suffix in &mut name.suffixes {
            let start = label_start(octets, end);
            number = xxh3_64(octets.get(start..end).unwrap_or_default()) ^ mixed(number);
            *suffix = folded(number);
            name.labels += 1;
            if start == 0 {
                break;
            }
            end = start - 1;
        }
        name
    }

    /// Whether this name is `ancestor` or stands below it.
    pub(super) fn is_within(&self, ancestor: &Self) -> bool {
        let depth = usize::from(ancestor.labels);
        if self.whole == ancestor.whole || depth == 0 {
            return true;
        }
        // Deeper than what is told apart, only equal names are known to be related.
        depth < MAX_LABELS
            && ancestor.labels < self.labels
            && self.suffixes[depth - 1] == ancestor.suffixes[depth - 1]
    }
}

/// Where the label that ends before `end` begins.
fn label_start(octets: &[u8], end: usize) -> usize {
    let before = octets.get(..end).unwrap_or_default();
    let mut dots = memchr_reverse(before);
    dots.find(|dot| !is_escaped(before, *dot)).map_or(0, |dot| dot + 1)
}

fn memchr_reverse(octets: &[u8]) -> impl Iterator<Item = usize> {
    octets.iter().enumerate().rev().filter(|(_, octet)| **octet == b'.').map(|(at, _)| at)
}

/// Whether an odd number of backslashes stands before a place.
fn is_escaped(octets: &[u8], at: usize) -> bool {
    let before = octets.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|octet| **octet == b'\\').count() % 2 == 1
}

/// So that the order of labels counts.
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
        Name::of(name).is_within(&Name::of(ancestor))
    }

    #[test]
    fn knows_ancestors() {
        assert!(within("www.example.com", "example.com") && within("www.example.com", "com"));
        assert!(within("www.example.com", ".") && within("www.example.com", "WWW.example.COM"));
        assert!(within(".", "."));
        for other in ["ww.example.com", "example.org", "a.www.example.com", "com.example"] {
            assert!(!within("www.example.com", other), "{other}");
        }
        assert!(!within(".", "com") && !within("badexample.com", "example.com"));
    }

    #[test]
    fn a_dot_inside_a_label_ends_no_label() {
        assert!(!within(r"a\.example.com", "example.com"), "the label is `a.example`");
        assert!(within(r"a\\.example.com", "example.com"), "the label is `a\\`");
    }

    #[test]
    fn deep_names_are_related_as_far_as_they_are_told_apart() {
        let deep = "a.".repeat(40) + "example.com";
        let deeper = "b.".to_owned() + &deep;
        assert!(within(&deeper, "example.com") && within(&deeper, &deeper));
        assert!(!within(&deeper, &deep), "too deep to be known");
    }

    proptest! {
        #[test]
        fn agrees_with_text(a in "([ab]\\.){0,5}[ab]", b in "([ab]\\.){0,5}[ab]") {
            let dotted = format!(".{b}");
            prop_assert_eq!(within(&a, &b), a == b || a.ends_with(&dotted));
        }
    }
}
