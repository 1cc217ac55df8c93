//! Octets as text: hexadecimal, base32, character strings.

use super::name::push_decimal;
use std::fmt::{self, Write};

/// Lower case, two digits per octet.
pub(super) fn push_hex(text: &mut String, octets: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.reserve(2 * octets.len());
    for octet in octets {
        text.push(char::from(DIGITS[usize::from(octet >> 4)]));
        text.push(char::from(DIGITS[usize::from(octet & 15)]));
    }
}

/// Octets that are shown as lower case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A cookie in one piece.
        const PIECE: usize = 40;
        let mut digits = [0; 2 * PIECE];
        self.0.chunks(PIECE).try_for_each(|octets| {
            let digits = digits.get_mut(..2 * octets.len()).ok_or(fmt::Error)?;
            f.write_str(hex_digits(digits, octets))
        })
    }
}

/// Octets as hexadecimal digits, in `room`, which has two places for each: without the detour through
/// formatting, for every record has several.
pub(crate) fn hex_digits<'r>(room: &'r mut [u8], octets: &[u8]) -> &'r str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, octet) in room.chunks_exact_mut(2).zip(octets) {
        pair.copy_from_slice(&[DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
    // Digits are ASCII.
    std::str::from_utf8(room).unwrap_or_default()
}

/// Hexadecimal text of its own.
pub(super) fn hex(octets: &[u8]) -> String {
    let mut text = String::new();
    push_hex(&mut text, octets);
    text
}

/// Base32 with the extended hexadecimal alphabet, lower case, without padding (RFC 4648, 7).
pub(super) fn push_base32hex(text: &mut String, octets: &[u8]) {
    for chunk in octets.chunks(5) {
        let word = (0..5).fold(0_u64, |word, at| {
            word << 8 | u64::from(chunk.get(at).copied().unwrap_or_default())
        });
        for place in 0..(chunk.len() * 8).div_ceil(5) {
            let digit = (word >> (35 - 5 * place) & 31) as usize;
            text.push(char::from(b"0123456789abcdefghijklmnopqrstuv"[digit]));
        }
    }
}

/// In quotes; quotes and backslashes escaped, octets outside 0x20 to 0x7E as `\DDD`.
pub(super) fn push_quoted(text: &mut String, octets: &[u8]) {
    text.push('"');
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(char::from(octet));
            }
            0x20..=0x7E => text.push(char::from(octet)),
            _ => push_decimal(text, octet),
        }
    }
    text.push('"');
}

/// Items with something between them.
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
