//! Record data as text in the form of master files (RFC 1035, 5); unknown types by RFC 3597.
//!
//! Names have no last dot, hexadecimal digits and base32 are lower case, algorithms are numbers.

mod field;
mod grammar;
mod service;
mod special;

use super::name::Name;
use super::reader::Reader;
use super::text::Hex;
pub use grammar::{type_name, type_number};
pub(super) use special::push_prefix;
use std::fmt::Write;

/// Most bytes of text of a list whose items are far longer as text than in the message: types and
/// ports, of which each is one bit, and compressed names. A record with more is written as unknown
/// data.
pub(super) const MAX_LIST_BYTES: usize = 16 << 10;

/// How names in record data are written.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameCase {
    /// As in the message.
    AsWritten,
    /// In lower case, to compare data.
    Lower,
}

impl NameCase {
    fn push(self, text: &mut String, name: &Name<'_>) {
        match self {
            Self::AsWritten => name.push(text),
            Self::Lower => name.push_lower_case(text),
        }
    }
}

/// Appends the data of one record as text. `data` begins at offset `data_at` of `message`. Data
/// that does not fit its type, or whose text is out of proportion, is written as unknown data.
pub(super) fn push(
    text: &mut String,
    message: &[u8],
    data_at: usize,
    data: &[u8],
    rtype: u16,
    case: NameCase,
) {
    let before = text.len();
    let part = Reader::new(message, data_at).part(data.len());
    if part.and_then(|mut reader| push_known(text, &mut reader, rtype, case)).is_none() {
        text.truncate(before);
        push_unknown(text, data);
    }
}

/// Returns where the names are in the data of the most common types: the number of bytes before
/// them, and their number; `None` for other types.
pub(super) const fn name_layout(rtype: u16) -> Option<(usize, usize)> {
    Some(match rtype {
        // NS, CNAME, PTR, DNAME; SOA; MX, SVCB, HTTPS; SRV; RRSIG.
        2 | 5 | 12 | 39 => (0, 1),
        6 => (0, 2),
        15 | 64 | 65 => (2, 1),
        33 => (6, 1),
        46 => (18, 1),
        // TXT, DS, DNSKEY.
        16 | 43 | 48 => (0, 0),
        _ => return None,
    })
}

/// Appends data that `reader` holds: names may point back into the message, but no field may run on into the next record.
fn push_known(
    text: &mut String,
    reader: &mut Reader<'_>,
    rtype: u16,
    case: NameCase,
) -> Option<()> {
    let fields = grammar::fields(rtype)?;
    let start = text.len();
    for field in fields {
        let end = text.len();
        if end > start {
            text.push(' ');
        }
        let before = text.len();
        field.push(text, reader, case)?;
        // An empty field, such as a key, adds no blank.
        if text.len() == before {
            text.truncate(end);
        }
    }
    reader.is_done().then_some(())
}

/// Returns `\# LENGTH HEX` (RFC 3597, 5).
pub(super) fn unknown(data: &[u8]) -> String {
    let mut text = String::new();
    push_unknown(&mut text, data);
    text
}

/// Returns whether the list that begins at `start` of `text` is not too long to be written.
fn is_short_list(text: &str, start: usize) -> Option<()> {
    (text.len() - start <= MAX_LIST_BYTES).then_some(())
}

fn push_unknown(text: &mut String, data: &[u8]) {
    let blank = if data.is_empty() { "" } else { " " };
    // Writing to a String cannot fail.
    let _ = write!(text, "\\# {}{blank}{}", data.len(), Hex(data));
}

#[cfg(test)]
mod tests;
