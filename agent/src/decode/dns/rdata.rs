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

/// The data of one record of which `data` are the octets, and `data_at` their place in `message`.
/// Data that does not fit its type is shown as unknown data.
pub(super) fn presentation(message: &[u8], data_at: usize, data: &[u8], rtype: u16) -> String {
    known(message, data_at, data.len(), rtype).unwrap_or_else(|| unknown(data))
}

fn known(message: &[u8], data_at: usize, length: usize, rtype: u16) -> Option<String> {
    let fields = grammar::fields(rtype)?;
    // Names may point back, and nothing can run on into the next record.
    let mut reader = Reader::new(message, data_at).part(length)?;
    let mut text = String::new();
    for field in fields {
        if !text.is_empty() {
            text.push(' ');
        }
        let before = text.len();
        field.push(&mut text, &mut reader)?;
        // What may be empty, such as a key, leaves no blank behind.
        if text.len() == before {
            text.truncate(text.trim_end().len());
        }
    }
    reader.is_done().then_some(text)
}

/// `\# LENGTH HEX` (RFC 3597, 5).
pub(super) fn unknown(data: &[u8]) -> String {
    let mut text = format!("\\# {}", data.len());
    if !data.is_empty() {
        text.push(' ');
        push_hex(&mut text, data);
    }
    text
}

#[cfg(test)]
mod tests;
