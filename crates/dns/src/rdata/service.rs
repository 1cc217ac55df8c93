//! The parameters of SVCB and HTTPS (RFC 9460, 2.1 and appendix A).

use super::super::name::push_escaped;
use super::super::reader::Reader;
use super::super::text::{push_list, push_quoted};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Indexed by key number, from the IANA registry.
const KEYS: [&str; 13] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
    "tls-supported-groups",
    "docpath",
    "pvd",
    "oots",
];

/// Appends the parameters after the target: `alpn="h2,h3" port=443`. Keys out of order and repeated
/// keys are written as they are.
pub(super) fn parameters(text: &mut String, reader: &mut Reader<'_>) -> Option<()> {
    let before = text.len();
    while !reader.is_done() {
        let number = reader.u16()?;
        let length = reader.u16()?;
        let mut value = reader.part(length.into())?;
        if text.len() > before {
            text.push(' ');
        }
        text.push_str(&key(number));
        push_value(text, number, &mut value)?;
        if !value.is_done() {
            return None;
        }
    }
    Some(())
}

/// Returns the name of a key; `key65280` for an unknown one.
fn key(number: u16) -> Cow<'static, str> {
    KEYS.get(usize::from(number))
        .map_or_else(|| format!("key{number}").into(), |name| Cow::Borrowed(*name))
}

fn push_value(text: &mut String, number: u16, value: &mut Reader<'_>) -> Option<()> {
    // no-default-alpn and ohttp have no value.
    if matches!(number, 2 | 8) {
        return value.is_done().then_some(());
    }
    if value.is_done() && number > 10 {
        return Some(());
    }
    text.push('=');
    match number {
        0 => push_list(text, ',', numbers(value)?.into_iter().map(key)),
        1 | 10 => return push_identifiers(text, value),
        3 => push_list(text, ',', [value.u16()?]),
        4 => push_list(text, ',', byte_groups::<4>(value)?.into_iter().map(Ipv4Addr::from)),
        5 => BASE64.encode_string(value.take_rest(), text),
        6 => push_list(text, ',', byte_groups::<16>(value)?.into_iter().map(Ipv6Addr::from)),
        9 => push_list(text, ',', numbers(value)?),
        // dohpath, and keys without a form of their own here.
        _ => push_quoted(text, value.take_rest()),
    }
    Some(())
}

/// Reads one or more 16-bit numbers.
fn numbers(value: &mut Reader<'_>) -> Option<Vec<u16>> {
    Some(byte_groups(value)?.into_iter().map(u16::from_be_bytes).collect())
}

/// Reads one or more groups of `N` bytes.
fn byte_groups<const N: usize>(value: &mut Reader<'_>) -> Option<Vec<[u8; N]>> {
    let mut groups = vec![value.array()?];
    while !value.is_done() {
        groups.push(value.array()?);
    }
    Some(groups)
}

/// Appends comma-separated character strings in quotes. A comma or backslash inside a string is
/// escaped twice: for the list and for the quotes (RFC 9460, appendix A.1).
fn push_identifiers(text: &mut String, value: &mut Reader<'_>) -> Option<()> {
    text.push('"');
    let mut first = true;
    while !value.is_done() {
        if !first {
            text.push(',');
        }
        first = false;
        for &byte in value.char_string()? {
            match byte {
                b',' => text.push_str("\\\\,"),
                b'\\' => text.push_str("\\\\\\\\"),
                _ => push_escaped(text, byte, b"\"", b' '),
            }
        }
    }
    text.push('"');
    Some(())
}
