//! The options of EDNS (RFC 6891, 6.1.2): names, and data as text.

use super::super::rdata::{type_name, unknown};
use super::super::reader::Reader;
use super::super::text::{Hex, push_list, push_quoted};
use super::{ede_name, extended_error, subnet};
use std::borrow::Cow;
use std::fmt::{self, Display};

/// A type-length-value: an EDNS option, or a DSO TLV (RFC 8490, 5.4.4).
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

    /// Returns the data of an EDNS option: in the option's own form if it has one, else in
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
        let Some(&(.., Some(format))) = find(self.code) else {
            return Some(OptionText::Hex(Hex(self.bytes)));
        };
        let mut reader = Reader::new(self.bytes, 0);
        let text = format(&mut reader).filter(|_| reader.is_done());
        Some(OptionText::Text(text.unwrap_or_else(|| unknown(self.bytes))))
    }
}

const PADDING: u16 = 12;

/// Writes the data of an option; `None` if it is invalid.
type FormatOption = fn(&mut Reader<'_>) -> Option<String>;

/// The options: code, name, and the text form of those that have one. Sorted by code, from the
/// IANA registry. OWNER is from draft-cheshire-edns0-owner-option; IANA reserves 4 for it.
const OPTIONS: [(u16, &str, Option<FormatOption>); 23] = [
    // LLQ (RFC 8764, 3.2): version, opcode, error, id, lease in seconds.
    (
        1,
        "LLQ",
        Some(|reader| {
            let [version, opcode, error] = [reader.u16()?, reader.u16()?, reader.u16()?];
            let id = u64::from_be_bytes(reader.array()?);
            Some(format!("{version} {opcode} {error} {id} {}", reader.u32()?))
        }),
    ),
    // UPDATE-LEASE (RFC 9664, 4): lease and key lease in seconds.
    (
        2,
        "UPDATE-LEASE",
        Some(|reader| {
            let lease = reader.u32()?;
            let keys = (!reader.is_done()).then(|| reader.u32()).flatten();
            Some(keys.map_or_else(|| lease.to_string(), |keys| format!("{lease} {keys}")))
        }),
    ),
    (3, "NSID", None),
    (4, "OWNER", None),
    // DAU, DHU, N3U (RFC 6975): algorithm numbers.
    (5, "DAU", Some(|reader| Some(joined(reader.take_rest())))),
    (6, "DHU", Some(|reader| Some(joined(reader.take_rest())))),
    (7, "N3U", Some(|reader| Some(joined(reader.take_rest())))),
    // ECS (RFC 7871): address, source and scope prefix.
    (
        8,
        "ECS",
        Some(|reader| {
            let scope = *reader.rest().get(3)?;
            Some(format!("{}/{scope}", subnet(reader.take_rest())?))
        }),
    ),
    // EXPIRE (RFC 7314): seconds.
    (9, "EXPIRE", Some(|reader| Some(reader.u32()?.to_string()))),
    (10, "COOKIE", None),
    // KEEPALIVE (RFC 7828): units of 100 ms.
    (
        11,
        "KEEPALIVE",
        Some(|reader| reader.u16().map(|timeout| format!("{}.{}s", timeout / 10, timeout % 10))),
    ),
    (12, "PADDING", None),
    // CHAIN (RFC 7901): a name.
    (13, "CHAIN", Some(|reader| Some(reader.name()?.text()))),
    // KEY-TAG (RFC 8145).
    (14, "KEY-TAG", Some(|reader| Some(joined(read_u16s(reader)?)))),
    // EDE (RFC 8914): code, its meaning, text.
    (
        15,
        "EDE",
        Some(|reader| {
            let error = extended_error(reader.take_rest())?;
            let mut text = error.code.to_string();
            if let Some(name) = ede_name(error.code) {
                text.extend([" (", name, ")"]);
            }
            if !error.text.is_empty() {
                text.push(' ');
                push_quoted(&mut text, error.text.as_bytes());
            }
            Some(text)
        }),
    ),
    // CLIENT-TAG, SERVER-TAG.
    (16, "CLIENT-TAG", Some(|reader| Some(reader.u16()?.to_string()))),
    (17, "SERVER-TAG", Some(|reader| Some(reader.u16()?.to_string()))),
    // REPORT-CHANNEL (RFC 9567): the reporting agent's domain.
    (18, "REPORT-CHANNEL", Some(|reader| Some(reader.name()?.text()))),
    // ZONEVERSION (RFC 9660): labels, type, version; version of type 0 is the SOA serial.
    (
        19,
        "ZONEVERSION",
        Some(|reader| match reader.array()? {
            [labels, 0] => Some(format!("{labels} 0 {}", reader.u32()?)),
            [labels, kind] => Some(format!("{labels} {kind} {}", Hex(reader.take_rest()))),
        }),
    ),
    // MQTYPE-QUERY, MQTYPE-RESPONSE (RFC 10029): record types.
    (20, "MQTYPE-QUERY", Some(|reader| Some(joined(read_u16s(reader)?.map(type_name))))),
    (21, "MQTYPE-RESPONSE", Some(|reader| Some(joined(read_u16s(reader)?.map(type_name))))),
    (20292, "UMBRELLA-IDENT", None),
    (26946, "DEVICEID", None),
];

/// Returns the option with this code.
fn find(code: u16) -> Option<&'static (u16, &'static str, Option<FormatOption>)> {
    OPTIONS.iter().find(|(number, ..)| *number == code)
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    push_list(&mut text, ' ', items);
    text
}

/// Reads the rest as 16-bit numbers.
fn read_u16s<'a>(reader: &mut Reader<'a>) -> Option<impl Iterator<Item = u16> + use<'a>> {
    let (words, odd) = reader.take_rest().as_chunks::<2>();
    odd.is_empty().then(|| words.iter().copied().map(u16::from_be_bytes))
}

/// Returns the name of an EDNS option; `OPT65001` for an unknown one.
#[must_use]
pub fn option_name(code: u16) -> Cow<'static, str> {
    find(code).map_or_else(|| format!("OPT{code}").into(), |(_, name, _)| Cow::Borrowed(*name))
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
            (1, &b"\0\x01\0\x01\0\0\0\0\0\0\0\0\0\x07\0\0\x0e\x10"[..], "1 1 0 7 3600"),
            (2, b"\0\0\x0e\x10", "3600"),
            (2, b"\0\0\x0e\x10\0\0\x1c\x20", "3600 7200"),
            (3, b"ns1", "6e7331"),
            (5, &[8, 13, 15], "8 13 15"),
            (8, &[0, 1, 24, 16, 198, 51, 100], "198.51.100.0/24/16"),
            (8, &[0, 2, 32, 0, 0x20, 1, 0xd, 0xb8], "2001:db8::/32/0"),
            (9, b"\0\x01\x51\x80", "86400"),
            (10, &[1, 2, 3, 4, 5, 6, 7, 8], "0102030405060708"),
            (11, &[0, 125], "12.5s"),
            (12, b"x", "78"),
            (13, b"\x07example\0", "example"),
            (14, b"\x4f\x66\x96\x47", "20326 38471"),
            (15, b"\0\x12no", "18 (Prohibited) \"no\""),
            (15, b"\0\x06", "6 (DNSSEC Bogus)"),
            (16, b"\x01\0", "256"),
            (18, b"\x02er\x04test\0", "er.test"),
            (19, b"\x02\0\x78\xa3\xcb\x31", "2 0 2024000305"),
            (19, b"\x02\xf6ab", "2 246 6162"),
            (20, b"\0\x01\0\x1c", "A AAAA"),
            (65001, b"\xff", "ff"),
        ] {
            assert_eq!(shown(code, bytes).as_deref(), Some(text), "{code}");
        }
        assert_eq!(shown(12, &[0; 9]), None);
        assert_eq!(shown(3, &[]), None);
    }

    #[test]
    fn writes_invalid_options_as_hex() {
        for (code, bytes, text) in [
            (8, &[0, 1, 33, 0, 1][..], "\\# 5 0001210001"),
            (8, &[0, 3, 0, 0], "\\# 4 00030000"),
            (9, &[1, 2, 3], "\\# 3 010203"),
            (9, &[1, 2, 3, 4, 5], "\\# 5 0102030405"),
            (14, &[1], "\\# 1 01"),
            (18, &[0xC0, 0], "\\# 2 c000"),
        ] {
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
        assert!(OPTIONS.is_sorted_by_key(|(code, ..)| *code));
        assert_eq!(option_name(15), "EDE");
        assert_eq!(option_name(65001), "OPT65001");
    }
}
