//! The field types of record data, each written as text.

use super::super::mnemonic::tsig_error_name;
use super::super::reader::Reader;
use super::super::text::{Hex, push_base32hex, push_hex, push_list, push_quoted};
use super::{NameCase, is_short_list, service, special, type_name};
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
    /// Seconds since 1970, as `YYYYMMDDHHmmSS` (RFC 4034, 3.2).
    Time,
    /// A character string, in quotes.
    Text,
    /// One or more character strings up to the end.
    Texts,
    /// A character string of letters and digits, without quotes (RFC 8659, 4.1).
    Tag,
    /// The rest as one string, in quotes.
    Quoted,
    /// The rest in hexadecimal.
    Hex,
    /// The rest in base64.
    Base64,
    /// A 16-bit length, then base64: `3 a2s=`; `0` alone if empty.
    Counted,
    /// An 8-bit length, then hexadecimal; `-` if empty.
    Salt,
    /// An 8-bit length, then base32 (RFC 5155, 3.3).
    NextHash,
    /// The rest as a bitmap of types (RFC 4034, 4.1.2).
    Types,
    /// Eight bytes in four groups (RFC 6742).
    Locator,
    /// The given number of bytes, separated by hyphens (RFC 7043).
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
    /// Reads the field and appends it as text; `None` if it is not well formed.
    pub(super) fn push(
        self,
        text: &mut String,
        reader: &mut Reader<'_>,
        case: NameCase,
    ) -> Option<()> {
        match self {
            Self::U8 => push_display(text, reader.u8()?),
            Self::U16 => push_display(text, reader.u16()?),
            Self::U32 => push_display(text, reader.u32()?),
            Self::U48 => {
                push_display(text, u64::from(reader.u16()?) << 32 | u64::from(reader.u32()?));
            }
            Self::U64 => push_display(text, u64::from_be_bytes(reader.array()?)),
            Self::Ipv4 => push_ipv4(text, reader.array::<4>()?),
            Self::Ipv6 => push_display(text, Ipv6Addr::from(reader.array::<16>()?)),
            Self::Name => case.push(text, &reader.name()?),
            Self::Type => text.push_str(&type_name(reader.u16()?)),
            Self::Error => text.push_str(&tsig_error_name(reader.u16()?)),
            Self::Time => return push_time(text, reader.u32()?),
            Self::Text => push_quoted(text, reader.char_string()?),
            Self::Texts => return push_texts(text, reader),
            Self::Tag => return push_tag(text, reader.char_string()?),
            Self::Quoted => push_quoted(text, reader.take_rest()),
            Self::Hex => push_hex(text, reader.take_rest()),
            Self::Base64 => BASE64.encode_string(reader.take_rest(), text),
            Self::Counted => return push_counted(text, reader),
            Self::Salt => push_salt(text, reader.char_string()?),
            Self::NextHash => push_base32hex(text, reader.char_string()?),
            Self::Types => return push_types(text, reader),
            Self::Locator => push_list(text, ':', reader.array::<8>()?.chunks(2).map(Hex)),
            Self::Eui(bytes) => push_list(text, '-', reader.take(bytes)?.chunks(1).map(Hex)),
            Self::Nsap => {
                text.push_str("0x");
                push_hex(text, reader.take_rest());
            }
            Self::Ports => return push_ports(text, reader),
            Self::Location => return special::location(text, reader),
            Self::Prefixes => return special::prefixes(text, reader),
            Self::IpsecGateway => return special::ipsec_gateway(text, reader, case),
            Self::Relay => return special::relay(text, reader, case),
            Self::HostIdentity => return special::host_identity(text, reader, case),
            Self::Parameters => return service::parameters(text, reader),
        }
        Some(())
    }
}

fn push_display(text: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

/// Appends an IPv4 address. Most records are addresses, and this is faster than formatting.
fn push_ipv4(text: &mut String, bytes: [u8; 4]) {
    for (place, byte) in bytes.into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        for (divisor, least) in [(100, 100), (10, 10), (1, 0)] {
            if byte >= least {
                text.push(char::from(b'0' + byte / divisor % 10));
            }
        }
    }
}

fn push_time(text: &mut String, seconds: u32) -> Option<()> {
    let time = jiff::Timestamp::from_second(seconds.into()).ok()?;
    push_display(text, time.strftime("%Y%m%d%H%M%S"));
    Some(())
}

fn push_texts(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    push_quoted(text, reader.char_string()?);
    while !reader.is_done() {
        text.push(' ');
        push_quoted(text, reader.char_string()?);
    }
    Some(())
}

fn push_tag(text: &mut String, tag: &[u8]) -> Option<()> {
    let word = std::str::from_utf8(tag).ok()?;
    let is_tag = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.push_str(word);
    is_tag.then_some(())
}

fn push_counted(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let length = reader.u16()?;
    let bytes = reader.take(length.into())?;
    push_display(text, length);
    if !bytes.is_empty() {
        text.push(' ');
        BASE64.encode_string(bytes, text);
    }
    Some(())
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
        let block = reader.char_string()?;
        for (byte, place) in block.iter().zip(0_u16..) {
            for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                if text.len() > before {
                    text.push(' ');
                }
                text.push_str(&type_name(u16::from(window) << 8 | (place * 8 + bit)));
            }
        }
        is_short_list(text, before)?;
    }
    Some(())
}

fn push_ports(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let before = text.len();
    push_display(text, reader.u8()?);
    for (byte, place) in reader.take_rest().iter().zip(0_u32..) {
        for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
            text.push(' ');
            push_display(text, place * 8 + bit);
        }
        is_short_list(text, before)?;
    }
    Some(())
}
