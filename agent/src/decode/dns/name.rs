//! Domain names as text (RFC 1035, 5.1; RFC 4343).

use hickory_proto::rr::Name;

/// The name without its last dot, its case kept; the root is `.`. Octets outside 0x21 to 0x7E
/// become `\DDD`, a dot or backslash inside a label `\.` and `\\`.
pub(super) fn presentation(name: &Name) -> String {
    let mut text = String::with_capacity(name.len());
    for (place, label) in name.iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        for &octet in label {
            push_octet(&mut text, octet);
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

fn push_octet(text: &mut String, octet: u8) {
    match octet {
        b'.' | b'\\' => {
            text.push('\\');
            text.push(char::from(octet));
        }
        0x21..=0x7E => text.push(char::from(octet)),
        _ => push_decimal(text, octet),
    }
}

/// `\DDD`: the octet as three decimal digits.
pub(super) fn push_decimal(text: &mut String, octet: u8) {
    text.push('\\');
    for digit in [octet / 100, octet / 10 % 10, octet % 10] {
        text.push(char::from(b'0' + digit));
    }
}
