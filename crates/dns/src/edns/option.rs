//! The options of EDNS (RFC 6891, 6.1.2): names, and data as text.

use super::super::rdata::unknown;
use super::super::reader::Reader;
use super::super::text::{Hex, push_quoted};
use super::{CLIENT_SUBNET, EXTENDED_ERROR, ede_name, extended_error, subnet};
use std::borrow::Cow;
use std::fmt::{self, Display};

/// A type-length-value: an EDNS option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// The type, as registered by IANA.
    pub code: u16,
    /// The length field: bytes of the data.
    pub length: u16,
    /// The bytes present; fewer than `length` if the last TLV of a list is cut off.
    pub bytes: &'a [u8],
}

/// Iterator over a list of TLVs. Up to three trailing bytes, too few for a header, are ignored.
#[derive(Clone, Debug)]
pub struct Tlvs<'a>(Reader<'a>);

impl<'a> Tlvs<'a> {
    /// Reads TLVs from `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(Reader::new(bytes, 0))
    }

    /// Returns the number of bytes that are not read yet.
    pub(super) fn remaining_bytes(&self) -> usize {
        self.0.rest().len()
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        let (code, length) = (self.0.u16()?, self.0.u16()?);
        let there = self.0.rest().len().min(length.into());
        Some(Tlv { code, length, bytes: self.0.take(there)? })
    }
}

/// The data of an option as text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(untagged)]
pub enum OptionText<'a> {
    /// Shown in hexadecimal.
    Hex(Hex<'a>),
    /// Shown in the option's own form.
    Text(String),
}

impl Display for OptionText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hex(bytes) => bytes.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl<'a> Tlv<'a> {
    /// Returns whether no data is cut off.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.bytes.len() == usize::from(self.length)
    }

    /// Returns the data of an EDNS option: client subnets and extended errors in their own form, a time for keepalive, others in
    /// hexadecimal; `\# 3 0a0b0c` if it is invalid. `None` for no data and for padding of zeros.
    #[must_use]
    pub fn option_text(&self) -> Option<OptionText<'a>> {
        if !self.is_complete() {
            return Some(OptionText::Text(unknown(self.bytes)));
        }
        let is_padding = self.code == PADDING && self.bytes.iter().all(|byte| *byte == 0);
        if self.bytes.is_empty() || is_padding {
            return None;
        }
        let text = match self.code {
            CLIENT_SUBNET => subnet_text(self.bytes),
            EXTENDED_ERROR => error_text(self.bytes),
            KEEPALIVE => keepalive_text(self.bytes),
            _ => return Some(OptionText::Hex(Hex(self.bytes))),
        };
        Some(OptionText::Text(text.unwrap_or_else(|| unknown(self.bytes))))
    }
}

const KEEPALIVE: u16 = 11;
const PADDING: u16 = 12;

/// Names of the options by code, from the IANA registry. OWNER is from draft-cheshire-edns0-owner-option; IANA reserves 4 for
/// it.
const OPTIONS: [(u16, &str); 23] = [
    (1, "LLQ"),
    (2, "UPDATE-LEASE"),
    (3, "NSID"),
    (4, "OWNER"),
    (5, "DAU"),
    (6, "DHU"),
    (7, "N3U"),
    (8, "ECS"),
    (9, "EXPIRE"),
    (10, "COOKIE"),
    (11, "KEEPALIVE"),
    (12, "PADDING"),
    (13, "CHAIN"),
    (14, "KEY-TAG"),
    (15, "EDE"),
    (16, "CLIENT-TAG"),
    (17, "SERVER-TAG"),
    (18, "REPORT-CHANNEL"),
    (19, "ZONEVERSION"),
    (20, "MQTYPE-QUERY"),
    (21, "MQTYPE-RESPONSE"),
    (20292, "UMBRELLA-IDENT"),
    (26946, "DEVICEID"),
];

/// Writes a client subnet: address, source and scope prefix.
fn subnet_text(data: &[u8]) -> Option<String> {
    Some(format!("{}/{}", subnet(data)?, data.get(3)?))
}

/// Writes the time of a connection without traffic (RFC 7828, section 3.1): tenths of a second.
fn keepalive_text(data: &[u8]) -> Option<String> {
    let [high, low] = *<&[u8; 2]>::try_from(data).ok()?;
    let tenths = u16::from_be_bytes([high, low]);
    Some(format!("{}.{}s", tenths / 10, tenths % 10))
}

/// Writes an extended error: code, its meaning, text.
fn error_text(data: &[u8]) -> Option<String> {
    let error = extended_error(data)?;
    let mut text = error.code.to_string();
    if let Some(name) = ede_name(error.code) {
        text.extend([" (", name, ")"]);
    }
    // As it came: bytes that are not UTF-8 have no other form.
    let said = data.get(2..).unwrap_or_default();
    let end = said.iter().rposition(|byte| *byte != 0).map_or(0, |place| place + 1);
    if end > 0 {
        text.push(' ');
        push_quoted(&mut text, &said[..end]);
    }
    Some(text)
}

/// Returns the name of an EDNS option; `OPT65001` for an unknown one.
#[must_use]
pub fn option_name(code: u16) -> Cow<'static, str> {
    let known = OPTIONS.iter().find(|(number, _)| *number == code);
    known.map_or_else(|| format!("OPT{code}").into(), |(_, name)| Cow::Borrowed(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(code: u16, bytes: &[u8]) -> Option<String> {
        let length = u16::try_from(bytes.len()).unwrap();
        Tlv { code, length, bytes }.option_text().map(|text| text.to_string())
    }

    #[test]
    fn writes_options() {
        for (code, bytes, text) in [
            (3, &b"ns1"[..], "6e7331"),
            (11, &[0, 125], "12.5s"),
            (11, &[0, 125, 0], "\\# 3 007d00"),
            (8, &[0, 1, 24, 16, 198, 51, 100], "198.51.100.0/24/16"),
            (8, &[0, 2, 32, 0, 0x20, 1, 0xd, 0xb8], "2001:db8::/32/0"),
            (10, &[1, 2, 3, 4, 5, 6, 7, 8], "0102030405060708"),
            (12, b"x", "78"),
            (15, b"\0\x12no", "18 (Prohibited) \"no\""),
            (15, b"\0\x06", "6 (DNSSEC Bogus)"),
            (65001, b"\xff", "ff"),
        ] {
            assert_eq!(shown(code, bytes).as_deref(), Some(text), "{code}");
        }
        assert_eq!(shown(12, &[0; 9]), None);
        assert_eq!(shown(3, &[]), None);
    }

    #[test]
    fn writes_invalid_options_as_hex() {
        for (code, bytes, text) in
            [(8, &[0, 1, 33, 0, 1][..], "\\# 5 0001210001"), (8, &[0, 3, 0, 0], "\\# 4 00030000")]
        {
            assert_eq!(shown(code, bytes).as_deref(), Some(text), "{code}");
        }
    }

    #[test]
    fn returns_incomplete_last_option() {
        let all: Vec<_> = Tlvs::new(b"\0\x03\0\0\0\x0a\0\x08\x01\x02").collect();
        assert_eq!(all.len(), 2);
        assert!(all[0].is_complete() && !all[1].is_complete());
        assert_eq!((all[1].code, all[1].length), (10, 8));
        let cut = all[1].option_text().map(|text| text.to_string());
        assert_eq!(cut.as_deref(), Some("\\# 2 0102"));
    }

    #[test]
    fn names_options() {
        assert!(OPTIONS.is_sorted_by_key(|(code, _)| *code));
        assert_eq!(option_name(15), "EDE");
        assert_eq!(option_name(65001), "OPT65001");
    }
}
