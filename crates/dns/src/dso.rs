//! DNS Stateful Operations (RFC 8490) and push notifications (RFC 8765): the TLVs as text.

use super::Tlv;
use super::rdata::unknown;
use super::text::Hex;
use std::borrow::Cow;

/// The opcode of DSO.
pub(super) const OPCODE: u8 = 6;

/// Returns the name of a TLV type; `DSO63488` for an unknown one.
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

/// Returns a TLV's data as text: milliseconds for timers, else hexadecimal; `\# 3 0a0b0c` if it is
/// cut off. `None` for no data and for padding of zeros.
#[must_use]
pub fn dso_text(tlv: &Tlv<'_>) -> Option<String> {
    let word = |at: usize| {
        let bytes = *tlv.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_be_bytes(bytes))
    };
    if !tlv.is_complete() {
        return Some(unknown(tlv.bytes));
    }
    match (tlv.code, tlv.bytes.len()) {
        (_, 0) => None,
        // Inactivity timeout and keepalive interval (RFC 8490, 7.1); retry delay (7.2).
        (1, 8) => Some(format!("{} {}", word(0)?, word(4)?)),
        (2, 4) => Some(word(0)?.to_string()),
        (3, _) if tlv.bytes.iter().all(|byte| *byte == 0) => None,
        _ => Some(Hex(tlv.bytes).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tlvs;
    use super::*;

    #[test]
    fn names_and_writes_tlvs() {
        let tlvs =
            Tlvs::new(b"\0\x01\0\x08\0\0\x3a\x98\0\0\x75\x30\0\x03\0\x02\0\0\0\x40\0\x01\xff");
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
