//! The registrable domain of a name, by the Public Suffix List.

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// Names remembered; a newer one takes the place of an older one.
const NAMES: usize = 1 << 12;

/// Where the registrable domains of names begin, found out once for names that come again soon.
#[derive(Debug, Default)]
pub(super) struct Zones {
    /// By the hash of the name; no places until the first.
    known: Vec<Option<(u64, Option<usize>)>>,
    /// Of its own, so that nobody can choose names that are taken for others.
    hasher: RandomState,
}

impl Zones {
    /// Where in a name its [registrable] domain begins, which it ends with.
    pub(super) fn start(&mut self, qname: &str) -> Option<usize> {
        if self.known.is_empty() {
            self.known.resize(NAMES, None);
        }
        let hash = self.hasher.hash_one(qname);
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let place = &mut self.known[hash as usize % NAMES];
        match place {
            Some((known, start)) if *known == hash => *start,
            _ => {
                let start = registrable(qname).map(|zone| qname.len() - zone.len());
                *place = Some((hash, start));
                start
            }
        }
    }
}

/// The registrable domain of a name as records write it (lower case, no last dot), by the Public
/// Suffix List with its private entries; none for the root and for a bare suffix.
#[must_use]
pub fn registrable(qname: &str) -> Option<&str> {
    if qname == "." {
        return None;
    }
    // An escaped dot is part of a label; such labels occur below the registrable domain or make
    // the name unfit for registration, and then the list's default rule would mislead.
    let domain = psl::domain_str(qname)?;
    let before = qname.len() - domain.len();
    (!qname[..before].ends_with("\\.")).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_where_domains_begin() {
        let mut zones = Zones::default();
        for _ in 0..2 {
            assert_eq!(zones.start("www.example.com"), Some(4));
            assert_eq!(zones.start("example.com"), Some(0));
            assert_eq!(zones.start("com"), None);
        }
        // However many come, each has its own.
        for number in 0..3 * NAMES {
            let qname = format!("{number}.example.com");
            assert_eq!(zones.start(&qname), Some(qname.len() - 11), "{qname}");
        }
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
            assert_eq!(registrable(qname), zone, "{qname}");
        }
    }
}
