//! DNS Stateful Operations: what stands behind the header of a message with opcode DSO
//! (RFC 8490; push notifications, RFC 8765).

use super::TypedOctets;
use super::rdata::unknown;
use super::text::hex;
use std::borrow::Cow;

/// The opcode.
pub(super) const OPCODE: u8 = 6;

/// The name of a TLV; `DSO63488` for one without.
#[must_use]
pub fn dso_name(code: u16) -> Cow<'static, str> {
    match code {
        1 => "KEEPALIVE".into(),
        2 => "RETRY-DELAY".into(),
        3 => "PADDING".into(),
        0x40 => "SUBSCRIBE".into(),
        0x41 => "PUSH".into(),
        0x42 => "UNSUBSCRIBE".into(),
        0x43 => "RECONFIRM".into(),
        _ => format!("DSO{code}").into(),
    }
}

/// A TLV's data: milliseconds where it is timers, else hexadecimal; as `\# 3 0a0b0c` where it is
/// cut off. `None` where there is none, and for padding of zeros.
#[must_use]
pub fn dso_text(tlv: &TypedOctets<'_>) -> Option<String> {
    let word = |at: usize| {
        let octets = *tlv.octets.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(octets))
    };
    if !tlv.is_whole() {
        return Some(unknown(tlv.octets));
    }
    match (tlv.code, tlv.octets.len()) {
        (_, 0) => None,
        // Inactivity timeout and keepalive interval (RFC 8490, 7.1); retry delay (7.2).
        (1, 8) => Some(format!("{} {}", word(0)?, word(4)?)),
        (2, 4) => Some(word(0)?.to_string()),
        (3, _) if tlv.octets.iter().all(|octet| *octet == 0) => None,
        _ => Some(hex(tlv.octets)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::TypedOctetsList;
    use super::*;

    #[test]
    fn names_and_shows_tlvs() {
        let tlvs = TypedOctetsList::of(
            b"\0\x01\0\x08\0\0\x3a\x98\0\0\x75\x30\0\x03\0\x02\0\0\0\x40\0\x01\xff",
        );
        let shown: Vec<_> = tlvs.map(|tlv| (dso_name(tlv.code), dso_text(&tlv))).collect();
        assert_eq!(
            shown,
            [
                ("KEEPALIVE".into(), Some("15000 30000".to_owned())),
                ("PADDING".into(), None),
                ("SUBSCRIBE".into(), Some("ff".to_owned())),
            ]
        );
        assert_eq!(dso_name(0xF800), "DSO63488");
    }
}
