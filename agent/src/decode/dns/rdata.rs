//! Record data as text, as master files write it (RFC 1035, 5; RFC 3597 for what is unknown).
//!
//! Names stand without their last dot, hexadecimal digits and base32 are lower case, algorithms are
//! numbers.

mod field;
mod grammar;
mod service;
mod special;

use super::reader::Reader;
use super::text::push_hex;
pub(super) use special::padded;
use std::fmt::Write;

/// Adds the data of one record, of which `data` are the octets and `data_at` their place in `message`.
/// Data that does not fit its type is shown as unknown data.
pub(super) fn push(text: &mut String, message: &[u8], data_at: usize, data: &[u8], rtype: u16) {
    let before = text.len();
    if push_known(text, message, data_at, data.len(), rtype).is_none() {
        text.truncate(before);
        push_unknown(text, data);
    }
}

/// Where names stand in record data: behind so many octets, so many in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) before: usize,
    pub(super) count: usize,
}

/// Where names stand in the data of the types that are met most; `None` of others.
pub(super) const fn names(rtype: u16) -> Option<Names> {
    let (before, count) = match rtype {
        // NS, CNAME, PTR, DNAME; SOA; MX, SVCB, HTTPS; SRV; RRSIG.
        2 | 5 | 12 | 39 => (0, 1),
        6 => (0, 2),
        15 | 64 | 65 => (2, 1),
        33 => (6, 1),
        46 => (18, 1),
        // TXT, DS, DNSKEY.
        16 | 43 | 48 => (0, 0),
        _ => return None,
    };
    Some(Names { before, count })
}

fn push_known(
    text: &mut String,
    message: &[u8],
    data_at: usize,
    length: usize,
    rtype: u16,
) -> Option<()> {
    let fields = grammar::fields(rtype)?;
    // Names may point back, and nothing can run on into the next record.
    let mut reader = Reader::new(message, data_at).part(length)?;
    let start = text.len();
    for field in fields {
        let end = text.len();
        if end > start {
            text.push(' ');
        }
        let before = text.len();
        field.push(text, &mut reader)?;
        // What may be empty, such as a key, leaves no blank behind.
        if text.len() == before {
            text.truncate(end);
        }
    }
    reader.is_done().then_some(())
}

/// `\# LENGTH HEX` (RFC 3597, 5).
pub(super) fn unknown(data: &[u8]) -> String {
    let mut text = String::new();
    push_unknown(&mut text, data);
    text
}

fn push_unknown(text: &mut String, data: &[u8]) {
    // Writing to a String cannot fail.
    let _ = write!(text, "\\# {}", data.len());
    if !data.is_empty() {
        text.push(' ');
        push_hex(text, data);
    }
}

#[cfg(test)]
mod tests;
