//! Internationalised names in Unicode (RFC 5890; UTS #46).

/// A name as records write it (lower case, A-labels) with its A-labels as U-labels; none where it has
/// none, where one of them is no valid U-label, or where the name is not a host's.
#[must_use]
pub fn unicode(qname: &str) -> Option<String> {
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
    fn shows_a_labels_in_their_script() {
        for (name, shown) in [
            ("xn--bcher-kva.example", "bücher.example"),
            ("_dns.xn--bcher-kva.example", "_dns.bücher.example"),
            ("www.xn--fiqs8s", "www.中国"),
            ("xn--fa-hia.de", "faß.de"),
        ] {
            assert_eq!(unicode(name).as_deref(), Some(shown), "{name}");
        }
        for name in
            [".", "example.com", "axn--b.example", "xn--\\.x.example", "xn--0.example", "xn--.a"]
        {
            assert_eq!(unicode(name), None, "{name}");
        }
    }
}
