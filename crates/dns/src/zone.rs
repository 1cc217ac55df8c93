//! The registrable domain of a name, by the Public Suffix List.

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// Cached names. A newer one replaces an older one in the same slot.
const SLOTS: usize = 1 << 12;

/// Cache of the registrable domains of recent names.
#[derive(Debug, Default)]
pub struct RegistrableDomainCache {
    /// Slots by hash of the name, with the start of the domain; empty before first use.
    slots: Vec<Option<(u64, Option<usize>)>>,
    /// Random seed, so that nobody can choose names with equal hashes.
    hasher: RandomState,
}

impl RegistrableDomainCache {
    /// Returns the offset in `qname` at which its registrable domain begins.
    pub fn domain_start(&mut self, qname: &str) -> Option<usize> {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        let hash = self.hasher.hash_one(qname);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let slot = &mut self.slots[hash as usize % SLOTS];
        match slot {
            Some((cached, start)) if *cached == hash => *start,
            _ => {
                let start = registrable_domain(qname).map(|zone| qname.len() - zone.len());
                *slot = Some((hash, start));
                start
            }
        }
    }
}

/// Returns the registrable domain of a name in the form of records (lower case, no last dot), by
/// the Public Suffix List with its private section; `None` for the root and for a bare suffix.
#[must_use]
pub fn registrable_domain(qname: &str) -> Option<&str> {
    if qname == "." {
        return None;
    }
    // An escaped dot is part of a label. The list does not know escapes, and its default rule would
    // split such a label.
    let domain = psl::domain_str(qname)?;
    let before = qname.len() - domain.len();
    let label = qname[..before].strip_suffix('.').unwrap_or_default();
    // A backslash at the end is itself escaped by one before it.
    let backslashes = label.bytes().rev().take_while(|byte| *byte == b'\\').count();
    backslashes.is_multiple_of(2).then_some(domain)
}

/// Whether a name ends in a top-level domain that is not in the Public Suffix List.
#[must_use]
pub fn has_unknown_suffix(qname: &str) -> bool {
    // Here, not where it is used: each crate that asks the list gets a copy of its code.
    psl::suffix(qname.as_bytes()).is_some_and(|suffix| !suffix.is_known())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_domain_starts() {
        let mut zones = RegistrableDomainCache::default();
        for _ in 0..2 {
            assert_eq!(zones.domain_start("www.example.com"), Some(4));
            assert_eq!(zones.domain_start("example.com"), Some(0));
            assert_eq!(zones.domain_start("com"), None);
        }
        // More names than slots: collisions are detected.
        for number in 0..3 * SLOTS {
            let qname = format!("{number}.example.com");
            assert_eq!(zones.domain_start(&qname), Some(qname.len() - 11), "{qname}");
        }
    }

    #[test]
    fn escapes_are_part_of_labels() {
        for (name, zone) in [
            (r"a\\.evil.com", Some("evil.com")),
            (r"\\.evil.com", Some("evil.com")),
            (r"a\\.evil.co.uk", Some("evil.co.uk")),
            (r"a\.\\.evil.com", Some("evil.com")),
            (r"a\.evil.com", None),
            (r"a\\\.evil.com", None),
            ("a.evil.com", Some("evil.com")),
            ("evil.com", Some("evil.com")),
        ] {
            assert_eq!(registrable_domain(name), zone, "{name}");
        }
    }

    #[test]
    fn knows_suffixes_of_the_list() {
        assert!(has_unknown_suffix("host.internal"));
        assert!(!has_unknown_suffix("www.example.com"));
        assert!(!has_unknown_suffix("com"));
    }

    #[test]
    fn follows_the_public_suffix_list() {
        for (qname, zone) in [
            ("www.example.com", Some("example.com")),
            ("a.b.example.co.uk", Some("example.co.uk")),
            ("someone.github.io", Some("someone.github.io")),
            ("x.someone.github.io", Some("someone.github.io")),
            ("github.io", None),
            ("com", None),
            ("co.uk", None),
            (".", None),
            ("host.internal", Some("host.internal")),
            ("1.2.0.192.in-addr.arpa", Some("192.in-addr.arpa")),
        ] {
            assert_eq!(registrable_domain(qname), zone, "{qname}");
        }
    }
}
