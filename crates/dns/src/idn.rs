//! Internationalised names in Unicode (RFC 5890; UTS #46).

/// Returns a name with A-labels in lower case. `None` if it has no such form (UTS #46).
#[must_use]
pub fn to_ascii(name: &str) -> Option<String> {
    idna::domain_to_ascii(name).ok()
}

/// Returns a name in the form of records (lower case, A-labels) with U-labels. `None` if it has no
/// A-labels, if one of them is invalid, or if the name is not a host name.
#[must_use]
pub fn to_unicode(qname: &str) -> Option<String> {
    const PREFIX: &str = "xn--";
    let has_one = qname.starts_with(PREFIX) || qname.contains(".xn--");
    if !has_one || qname.contains('\\') {
        return None;
    }
    let (unicode, valid) = idna::domain_to_unicode(qname);
    (valid.is_ok() && unicode != qname).then_some(unicode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_a_labels() {
        for (name, shown) in [
            ("xn--bcher-kva.example", "bücher.example"),
            ("_dns.xn--bcher-kva.example", "_dns.bücher.example"),
            ("www.xn--fiqs8s", "www.中国"),
            ("xn--fa-hia.de", "faß.de"),
        ] {
            assert_eq!(to_unicode(name).as_deref(), Some(shown), "{name}");
        }
        for name in
            [".", "example.com", "axn--b.example", "xn--\\.x.example", "xn--0.example", "xn--.a"]
        {
            assert_eq!(to_unicode(name), None, "{name}");
        }
    }
}
