//! The registrable domain of a name, by the Public Suffix List.

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
