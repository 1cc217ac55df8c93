//! Domain names in messages (RFC 1035, 3.1 and 4.1.4) and as text (RFC 1035, 5.1; RFC 4343).

use std::hash::{Hash, Hasher};

/// Longest name in bytes, with length bytes and root (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// Most compression pointers followed in one name. A name has at most 127 labels.
const MAX_POINTERS: usize = 127;

/// A checked name inside a message, not copied. Names are compared without regard to the case of
/// ASCII letters (RFC 4343).
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    message: &'a [u8],
    /// Offset in the message.
    pub(super) at: usize,
    /// Bytes without compression, the root included: 1 to 255.
    pub(super) bytes: u8,
    /// Whether the name contains no pointers.
    pub(super) uncompressed: bool,
}

/// A part of a name.
enum NamePart<'a> {
    Root,
    Label(&'a [u8]),
    Pointer(usize),
}

impl<'a> Name<'a> {
    /// Reads bytes that are one name, and nothing else.
    #[must_use]
    pub fn of_wire(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes, 0).filter(|(_, end)| *end == bytes.len()).map(|(name, _)| name)
    }

    /// Reads the name at `at`; returns it and the offset after it. `None` if a label or pointer
    /// runs out of the message or has another label type (such as RFC 2673), if a pointer does not
    /// point back, or if the name is too long.
    pub(super) fn read(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut end = at;
        // Most names have no pointer.
        loop {
            match *message.get(end)? {
                0 => {
                    let bytes = u8::try_from(end + 1 - at).ok()?;
                    return Some((Self { message, at, bytes, uncompressed: true }, end + 1));
                }
                length @ 1..=63 => end += 1 + usize::from(length),
                _ => return Self::read_compressed(message, at),
            }
            if end - at >= MAX_NAME_BYTES {
                return None;
            }
        }
    }

    fn read_compressed(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut walk = NameWalk::new(message, at);
        let mut bytes = 1;
        let mut behind = None;
        loop {
            match walk.next_part()? {
                NamePart::Root => break,
                NamePart::Label(label) => bytes += label.len() + 1,
                NamePart::Pointer(place) => behind = behind.or(Some(place)),
            }
            if bytes > MAX_NAME_BYTES {
                return None;
            }
        }
        let bytes = u8::try_from(bytes).ok()?;
        Some((Self { message, at, bytes, uncompressed: false }, behind.unwrap_or(walk.at)))
    }

    /// Restores a name of the same message; `None` if the message is too short for it.
    pub(super) fn restore(
        message: &'a [u8],
        at: usize,
        bytes: u8,
        uncompressed: bool,
    ) -> Option<Self> {
        let there = message.len() >= at + if uncompressed { usize::from(bytes) } else { 2 };
        there.then_some(Self { message, at, bytes, uncompressed })
    }

    /// Returns the name that a pointer at `at` to this uncompressed name stands for.
    pub(super) const fn pointer_at(&self, at: usize) -> Self {
        Self { at, uncompressed: false, ..*self }
    }

    /// Returns the offset of the first label. Names of one message with equal offsets are equal.
    #[must_use]
    pub fn first_label_offset(&self) -> usize {
        match self.message.get(self.at..self.at + 2) {
            Some(&[high, low]) if high >> 6 == 0b11 => {
                usize::from(high & 0x3F) << 8 | usize::from(low)
            }
            _ => self.at,
        }
    }

    /// Returns whether this is the root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.bytes == 1
    }

    /// Returns whether the name contains an upper case letter.
    #[must_use]
    pub fn has_upper_case(&self) -> bool {
        // A label's length is below any letter.
        let is_upper = |bytes: &[u8]| bytes.iter().any(u8::is_ascii_uppercase);
        self.uncompressed_bytes().map_or_else(|| self.labels().any(is_upper), is_upper)
    }

    /// Returns the name as text in its original case, without its last dot; the root is `.`. Bytes
    /// outside 0x21 to 0x7E become `\DDD`, a dot or backslash inside a label `\.` and `\\`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.push(&mut text);
        text
    }

    /// Appends the name as text.
    pub fn push(&self, text: &mut String) {
        if self.is_root() {
            text.push('.');
            return;
        }
        text.reserve(self.bytes.into());
        // Most names need no escape: they are checked and appended as a whole.
        let mut buffer = [0; MAX_NAME_BYTES];
        let mut end = 0;
        let mut plain = true;
        for label in self.labels() {
            let Some([dot, there @ ..]) = buffer.get_mut(end..end + 1 + label.len()) else { break };
            *dot = b'.';
            for (byte, there) in label.iter().zip(there) {
                *there = *byte;
                plain &= is_plain(*byte);
            }
            end += 1 + label.len();
        }
        match std::str::from_utf8(buffer.get(1..end).unwrap_or_default()) {
            Ok(name) if plain => text.push_str(name),
            _ => self.push_labels(text),
        }
    }

    fn push_labels(&self, text: &mut String) {
        for (place, label) in self.labels().enumerate() {
            if place > 0 {
                text.push('.');
            }
            for byte in label {
                push_escaped(text, *byte, b".\\", b'!');
            }
        }
    }

    /// Appends the name as text in lower case.
    pub fn push_lower_case(&self, text: &mut String) {
        let before = text.len();
        self.push(text);
        if let Some(name) = text.get_mut(before..) {
            name.make_ascii_lowercase();
        }
    }

    /// Writes the name to `buffer` without compression and in lower case; returns the bytes used.
    fn lower_case<'b>(&self, buffer: &'b mut [u8; MAX_NAME_BYTES]) -> &'b [u8] {
        let mut end = 0;
        for label in self.labels() {
            let behind = end + 1 + label.len();
            let Some([length, there @ ..]) = buffer.get_mut(end..behind) else { break };
            // A label has at most 63 bytes.
            *length = u8::try_from(label.len()).unwrap_or(u8::MAX);
            there.copy_from_slice(label);
            end = behind;
        }
        // The root.
        buffer[end] = 0;
        let bytes = &mut buffer[..=end];
        bytes.make_ascii_lowercase();
        bytes
    }

    /// Returns the name's bytes if it is uncompressed.
    fn uncompressed_bytes(&self) -> Option<&'a [u8]> {
        self.message.get(self.at..)?.get(..self.bytes.into()).filter(|_| self.uncompressed)
    }

    /// Returns the labels without the root.
    fn labels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut walk = NameWalk::new(self.message, self.at);
        std::iter::from_fn(move || {
            loop {
                match walk.next_part()? {
                    NamePart::Root => return None,
                    NamePart::Label(label) => return Some(label),
                    NamePart::Pointer(_) => {}
                }
            }
        })
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
            && match (self.uncompressed_bytes(), other.uncompressed_bytes()) {
                (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                _ => self
                    .labels()
                    .zip(other.labels())
                    .all(|(one, other)| one.eq_ignore_ascii_case(other)),
            }
    }
}

impl Eq for Name<'_> {}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.uncompressed_bytes() {
            Some(bytes) => hash_ignoring_case(bytes, state),
            None => hash_ignoring_case(self.lower_case(&mut [0; MAX_NAME_BYTES]), state),
        }
    }
}

/// Hashes bytes without regard to the case of ASCII letters, eight at a time, without a copy.
fn hash_ignoring_case<H: Hasher>(bytes: &[u8], state: &mut H) {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.write_u64(lower_case_word(u64::from_le_bytes(*word)));
    }
    let last = match bytes.last_chunk() {
        // Hashes some bytes twice, which costs less than a copy of a few.
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    state.write_u64(lower_case_word(last));
    // Tells apart names that repeat themselves, such as a.a.a.a.a and a.a.a.a.a.a.
    state.write_usize(bytes.len());
}

/// Converts the ASCII letters among eight bytes to lower case.
const fn lower_case_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7F * EACH);
    // The upper bit of each byte: whether it is at least 'A', and whether it is above 'Z'.
    let (from_a, past_z) = (low + 0x3F * EACH, low + 0x25 * EACH);
    let upper = from_a & !past_z & !word & (0x80 * EACH);
    word | upper >> 2
}

/// Walks over the parts of a name.
struct NameWalk<'a> {
    message: &'a [u8],
    at: usize,
    /// Pointers must point below this: to an earlier name, never in a circle.
    limit: usize,
    pointers: usize,
}

impl<'a> NameWalk<'a> {
    const fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at, limit: at, pointers: 0 }
    }

    /// Returns the next part; for a pointer with the offset after it.
    fn next_part(&mut self) -> Option<NamePart<'a>> {
        let length = *self.message.get(self.at)?;
        match length >> 6 {
            0 if length == 0 => {
                self.at += 1;
                Some(NamePart::Root)
            }
            0 => {
                let label = self.message.get(self.at + 1..)?.get(..length.into())?;
                self.at += 1 + label.len();
                Some(NamePart::Label(label))
            }
            0b11 => {
                let low = *self.message.get(self.at + 1)?;
                let target = usize::from(length & 0x3F) << 8 | usize::from(low);
                self.pointers += 1;
                if target >= self.limit || self.pointers > MAX_POINTERS {
                    return None;
                }
                let behind = self.at + 2;
                (self.at, self.limit) = (target, target);
                Some(NamePart::Pointer(behind))
            }
            _ => None,
        }
    }
}

/// Returns whether a byte is written without an escape.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E) && !matches!(byte, b'.' | b'\\')
}

/// Appends a byte: with a backslash if it is one of `special`, as `\DDD` if it is not ASCII from
/// `first` to 0x7E.
pub(super) fn push_escaped(text: &mut String, byte: u8, special: &[u8], first: u8) {
    if special.contains(&byte) {
        text.push('\\');
    }
    if (first..=0x7E).contains(&byte) {
        text.push(char::from(byte));
    } else {
        push_decimal(text, byte);
    }
}

/// Writes a byte as `\DDD`: three decimal digits.
pub(super) fn push_decimal(text: &mut String, byte: u8) {
    text.push('\\');
    for digit in [byte / 100, byte / 10 % 10, byte % 10] {
        text.push(char::from(b'0' + digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the name at `at` as text, and its end.
    fn read(message: &[u8], at: usize) -> Option<(String, usize)> {
        Name::read(message, at).map(|(name, behind)| (name.text(), behind))
    }

    #[test]
    fn reads_labels_and_pointers() {
        let message = b"\x03www\xC0\x0A\0\0\0\0\x04test\0\x01a\xC0\x00";
        assert_eq!(read(message, 9), Some((".".into(), 10)));
        assert_eq!(read(message, 10), Some(("test".into(), 16)));
        assert_eq!(read(message, 0), None, "points forward");
        let message = b"\x04test\0\x03www\xC0\x00\x01a\xC0\x06";
        assert_eq!(read(message, 6), Some(("www.test".into(), 12)));
        assert_eq!(read(message, 12), Some(("a.www.test".into(), 16)));
    }

    #[test]
    fn lower_case_word_matches_bytewise() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut bytes = [b'Z', b'[', b'@', b'A', 0xC1, 0x7F, 0, b'z'];
                bytes[place] = byte;
                let lower = lower_case_word(u64::from_le_bytes(bytes)).to_le_bytes();
                assert_eq!(lower, bytes.map(|byte| byte.to_ascii_lowercase()));
            }
        }
    }

    #[test]
    fn escapes_special_bytes() {
        assert_eq!(read(b"\x05a.b\\ \x02\xFF\x7F\0", 0).unwrap().0, "a\\.b\\\\\\032.\\255\\127");
    }

    #[test]
    fn rejects_invalid_names() {
        for message in [
            &b""[..],
            b"\x03ww",
            b"\x03www",
            b"\xC0",
            b"\xC0\x00",
            b"\x01a\xC0\x00",
            // A binary label (RFC 2673), and the label type that was never assigned.
            b"\x41\x08\xFF\0",
            b"\x80\0",
        ] {
            assert_eq!(read(message, 0), None, "{message:x?}");
        }
        assert_eq!(read(b"\0", 9), None);
    }

    #[test]
    fn accepts_at_most_255_bytes() {
        let name = |last: u8| {
            let labels = [63, 63, 63, last]
                .map(|length| [vec![length], vec![b'x'; usize::from(length)]].concat());
            [labels.concat(), vec![0]].concat()
        };
        assert_eq!(read(&name(60), 0).unwrap().0.len(), 252);
        assert_eq!(read(&name(61), 0).unwrap().0.len(), 253);
        assert_eq!(read(&name(62), 0), None);
        // Half of the name is behind a pointer; the limit applies to the uncompressed name.
        let tail = name(61);
        let longer = [tail.as_slice(), b"\x01a\xC0\x00"].concat();
        assert_eq!(read(&longer, tail.len()), None);
        let empty_labels_need_room_too = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!(read(&empty_labels_need_room_too, 0).unwrap().0.len(), 253);
    }

    #[test]
    fn limits_pointers() {
        // A name, and pointers, each to the previous one.
        let mut message = b"\x01a\0".to_vec();
        let mut target = 0_u16;
        for _ in 0..200 {
            let place = u16::try_from(message.len()).unwrap();
            message.extend((0xC000 | target).to_be_bytes());
            target = place;
        }
        assert_eq!(read(&message, 3 + 2 * 126).unwrap().0, "a");
        assert_eq!(read(&message, 3 + 2 * 127), None);
    }
}
