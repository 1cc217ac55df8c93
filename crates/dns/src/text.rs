//! Bytes as text: hexadecimal, base32, quoted character strings.

use super::name::push_escaped;
use std::fmt::{self, Write};

/// Appends lower case hexadecimal digits.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    text.reserve(2 * bytes.len());
    // Writing to a String cannot fail.
    let _ = write!(text, "{}", Hex(bytes));
}

/// Bytes displayed as lower case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A cookie fits into one piece.
        const PIECE: usize = 40;
        let mut digits = [0; 2 * PIECE];
        self.0.chunks(PIECE).try_for_each(|bytes| {
            let digits = digits.get_mut(..2 * bytes.len()).ok_or(fmt::Error)?;
            f.write_str(hex_digits(digits, bytes))
        })
    }
}

impl serde::Serialize for Hex<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes bytes as hexadecimal digits to `buffer`, which holds two per byte. Faster than
/// formatting; every record has several such fields.
#[must_use]
pub fn hex_digits<'b>(buffer: &'b mut [u8], bytes: &[u8]) -> &'b str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in buffer.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    // Digits are ASCII.
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// Returns the length in bytes of a presentation text as a JSON string without its quotes. Such a
/// text consists of printable ASCII characters, of which two are escaped.
#[must_use]
pub fn json_bytes(text: &str) -> usize {
    text.len() + text.bytes().filter(|byte| matches!(byte, b'\\' | b'"')).count()
}

/// Appends lower case base32 with the extended hexadecimal alphabet, unpadded (RFC 4648, 7).
pub(super) fn push_base32hex(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.chunks(5) {
        let word = (0..5).fold(0_u64, |word, at| {
            word << 8 | u64::from(chunk.get(at).copied().unwrap_or_default())
        });
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            let digit = (word >> (35 - 5 * place) & 31) as usize;
            text.push(char::from(b"0123456789abcdefghijklmnopqrstuv"[digit]));
        }
    }
}

/// Appends a quoted string: with escapes, and bytes outside 0x20 to 0x7E as `\DDD`.
pub(super) fn push_quoted(text: &mut String, bytes: &[u8]) {
    text.push('"');
    for byte in bytes {
        push_escaped(text, *byte, b"\"\\", b' ');
    }
    text.push('"');
}

/// Appends items with a separator between them.
pub(super) fn push_list<T: fmt::Display>(
    text: &mut String,
    separator: char,
    items: impl IntoIterator<Item = T>,
) {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(separator);
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{item}");
    }
}
