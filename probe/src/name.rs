//! Names as text (RFC 1035, section 5.1), as records of dnscribe have them.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinEncodable as _;

/// Returns a name as records have it: in lower case, without the trailing dot; bytes that are not printable as `\DDD`,
/// in decimal, and a dot or backslash inside a label as `\.` and `\\`.
#[must_use]
pub fn presentation(name: &Name) -> String {
    let mut text = String::new();
    let wire = name.to_bytes().unwrap_or_default();
    if let Some(name) = dnscribe_dns::Name::of_wire(&wire) {
        name.push_lower_case(&mut text);
    }
    text
}

/// Reads a name that [`presentation`] or a zone file has written. It is absolute, with or without a dot at its end. Any
/// printable byte may stand in a label (RFC 2181, section 11).
#[must_use]
pub fn parse_name(text: &str) -> Option<Name> {
    if text == "." {
        return Some(Name::root());
    }
    let mut labels = vec![Vec::new()];
    for (byte, is_escaped) in unescape(text)? {
        match byte {
            b'.' if !is_escaped => labels.push(Vec::new()),
            _ if is_escaped || byte.is_ascii_graphic() => labels.last_mut()?.push(byte),
            _ => return None,
        }
    }
    // The dot at the end.
    if labels.len() > 1 && labels.last().is_some_and(Vec::is_empty) {
        labels.pop();
    }
    if labels.iter().any(Vec::is_empty) {
        return None;
    }
    Name::from_labels(labels.iter().map(Vec::as_slice)).ok()
}

/// Returns the bytes for which a text stands, and of each whether it was escaped: as `\DDD`, or with a backslash before
/// it. Returns nothing where an escape is not complete.
pub(crate) fn unescape(text: &str) -> Option<Vec<(u8, bool)>> {
    let mut found = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'\\' {
            found.push((*byte, false));
            continue;
        }
        let (byte, behind) = match rest {
            [first, ..] if first.is_ascii_digit() => {
                let digits = rest.get(..3).and_then(|digits| std::str::from_utf8(digits).ok())?;
                (digits.parse().ok()?, &rest[3..])
            }
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        found.push((byte, true));
        rest = behind;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_every_label() {
        for (text, shown) in [
            ("0/25.2.0.192.in-addr.arpa", "0/25.2.0.192.in-addr.arpa"),
            ("My\\032Printer._ipp._tcp.Example.", "my\\032printer._ipp._tcp.example"),
            ("-a.b+c@d=e:f#g~h%i.test", "-a.b+c@d=e:f#g~h%i.test"),
            ("a\\.b\\\\c.test", "a\\.b\\\\c.test"),
            ("\\097\\255.test", "a\\255.test"),
            (".", "."),
        ] {
            let name = parse_name(text).unwrap();
            assert_eq!(presentation(&name), shown, "{text}");
            assert_eq!(parse_name(shown).unwrap(), name, "{text}");
            assert!(name.is_fqdn());
        }
        assert_eq!(parse_name("a\\.b.test").unwrap().num_labels(), 2);
    }

    #[test]
    fn refuses_what_is_no_name() {
        let (label, long) = ("x".repeat(64), "abc.".repeat(64));
        for text in ["", "..", "a..b", ".a", "a b", "a\\", "\\25", "\\256", "\\2+5", &label, &long]
        {
            assert_eq!(parse_name(text), None, "{text}");
        }
    }
}
