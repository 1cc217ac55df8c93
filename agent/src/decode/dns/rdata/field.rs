//! The fields that record data is made of, each as text.

use super::super::mnemonic::{tsig_error_name, type_name};
use super::super::reader::Reader;
use super::super::text::{push_base32hex, push_hex, push_list, push_quoted};
use super::{service, special};
use crate::time::Timestamp;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt::{Display, Write};
use std::net::Ipv6Addr;

/// One field of record data.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    U8,
    U16,
    U32,
    U48,
    U64,
    Ipv4,
    Ipv6,
    Name,
    /// A record type, by its mnemonic.
    Type,
    /// An rcode or TSIG error, by its mnemonic.
    Error,
    /// Seconds since 1970 as `YYYYMMDDHHmmSS` (RFC 4034, 3.2).
    Time,
    /// A character string, in quotes.
    Text,
    /// Character strings to the end, at least one.
    Texts,
    /// A character string, as it is: letters and digits (RFC 8659, 4.1).
    Tag,
    /// The rest as one text, in quotes.
    Quoted,
    /// The rest in hexadecimal.
    Hex,
    /// The rest in base64.
    Base64,
    /// A length of two octets, then base64: `3 a2s=`; `0` alone where empty.
    Counted,
    /// A length of one octet, then hexadecimal; `-` where empty.
    Salt,
    /// A length of one octet, then base32 (RFC 5155, 3.3).
    NextHash,
    /// The rest as a bitmap of types (RFC 4034, 4.1.2).
    Types,
    /// Eight octets in four groups (RFC 6742).
    Locator,
    /// So many octets with hyphens (RFC 7043).
    Eui(usize),
    /// The rest as `0x…` (RFC 1706).
    Nsap,
    /// A protocol number and the rest as a bitmap of ports (RFC 1035, 3.4.2).
    Ports,
    /// See [`special`] and [`service`].
    Location,
    Prefixes,
    IpsecGateway,
    Relay,
    HostIdentity,
    Parameters,
}

impl Field {
    /// Reads the field and adds it as text; `None` where it is not well formed.
    pub(super) fn push(self, text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
        match self {
            Self::U8 => show(text, reader.u8()?),
            Self::U16 => show(text, reader.u16()?),
            Self::U32 => show(text, reader.u32()?),
            Self::U48 => show(text, u64::from(reader.u16()?) << 32 | u64::from(reader.u32()?)),
            Self::U64 => show(text, u64::from_be_bytes(reader.array()?)),
            Self::Ipv4 => push_ipv4(text, reader.array::<4>()?),
            Self::Ipv6 => show(text, Ipv6Addr::from(reader.array::<16>()?)),
            Self::Name => reader.name()?.push(text),
            Self::Type => text.push_str(&type_name(reader.u16()?)),
            Self::Error => text.push_str(&tsig_error_name(reader.u16()?)),
            Self::Time => push_moment(text, reader.u32()?),
            Self::Text => push_quoted(text, reader.string()?),
            Self::Texts => return push_texts(text, reader),
            Self::Tag => return push_tag(text, reader.string()?),
            Self::Quoted => push_quoted(text, reader.take_rest()),
            Self::Hex => push_hex(text, reader.take_rest()),
            Self::Base64 => BASE64.encode_string(reader.take_rest(), text),
            Self::Counted => push_counted(text, reader.counted()?),
            Self::Salt => push_salt(text, reader.string()?),
            Self::NextHash => push_base32hex(text, reader.string()?),
            Self::Types => return push_types(text, reader),
            Self::Locator => push_list(text, ':', reader.array::<8>()?.chunks(2).map(Group)),
            Self::Eui(octets) => push_list(text, '-', reader.take(octets)?.chunks(1).map(Group)),
            Self::Nsap => {
                text.push_str("0x");
                push_hex(text, reader.take_rest());
            }
            Self::Ports => return push_ports(text, reader),
            Self::Location => return special::location(text, reader),
            Self::Prefixes => return special::prefixes(text, reader),
            Self::IpsecGateway => return special::ipsec_gateway(text, reader),
            Self::Relay => return special::relay(text, reader),
            Self::HostIdentity => return special::host_identity(text, reader),
            Self::Parameters => return service::parameters(text, reader),
        }
        Some(())
    }
}

/// Octets in hexadecimal, close together.
struct Group<'a>(&'a [u8]);

impl Display for Group<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

fn show(text: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

/// What most records are, without the detour through formatting.
fn push_ipv4(text: &mut String, octets: [u8; 4]) {
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        for (divisor, least) in [(100, 100), (10, 10), (1, 0)] {
            if octet >= least {
                text.push(char::from(b'0' + octet / divisor % 10));
            }
        }
    }
}

fn push_moment(text: &mut String, seconds: u32) {
    let moment = Timestamp::from_nanos(u64::from(seconds) * 1_000_000_000).to_string();
    text.extend(moment.chars().filter(char::is_ascii_digit).take(14));
}

fn push_texts(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    push_quoted(text, reader.string()?);
    while !reader.is_done() {
        text.push(' ');
        push_quoted(text, reader.string()?);
    }
    Some(())
}

fn push_tag(text: &mut String, tag: &[u8]) -> Option<()> {
    let word = std::str::from_utf8(tag).ok()?;
    let is_tag = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_alphanumeric());
    text.push_str(word);
    is_tag.then_some(())
}

fn push_counted(text: &mut String, octets: &[u8]) {
    show(text, octets.len());
    if !octets.is_empty() {
        text.push(' ');
        BASE64.encode_string(octets, text);
    }
}

fn push_salt(text: &mut String, salt: &[u8]) {
    if salt.is_empty() {
        text.push('-');
    }
    push_hex(text, salt);
}

fn push_types(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let before = text.len();
    while !reader.is_done() {
        let window = reader.u8()?;
        let block = reader.string()?;
        for (octet, place) in block.iter().zip(0_u16..) {
            for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                if text.len() > before {
                    text.push(' ');
                }
                text.push_str(&type_name(u16::from(window) << 8 | (place * 8 + bit)));
            }
        }
    }
    Some(())
}

fn push_ports(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    show(text, reader.u8()?);
    for (octet, place) in reader.take_rest().iter().zip(0_u32..) {
        for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
            text.push(' ');
            show(text, place * 8 + bit);
        }
    }
    Some(())
}
