//! Domain names: in a message (RFC 1035, 3.1 and 4.1.4) and as text (RFC 1035, 5.1; RFC 4343).

use std::hash::{Hash, Hasher};

/// The longest name in a message, its length octets and the root included (RFC 1035, 2.3.4).
const MAX_OCTETS: usize = 255;

/// Pointers followed in one name. More than a name has labels serve no purpose but to cost time.
const MAX_POINTERS: usize = 127;

/// A name in a message, found to be whole; not yet copied. Names are equal where they are without
/// regard to the case of ASCII letters (RFC 4343).
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    message: &'a [u8],
    at: usize,
    /// Octets without compression, the root's included: 1 to 255.
    octets: u8,
    /// Whether they stand in one piece, without pointers.
    flat: bool,
}

/// What stands at a place in a name.
enum Step<'a> {
    Root,
    Label(&'a [u8]),
    Pointer(usize),
}

impl<'a> Name<'a> {
    /// The name at a place, and the place behind it. `None` where a label or pointer runs out of
    /// the message, is of another kind than those (binary labels, RFC 2673, are gone), where a
    /// pointer does not point back, or where the name is too long.
    pub(super) fn read(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut end = at;
        // Most names have no pointer.
        loop {
            match *message.get(end)? {
                0 => {
                    let octets = u8::try_from(end + 1 - at).ok()?;
                    return Some((Self { message, at, octets, flat: true }, end + 1));
                }
                length @ 1..=63 => end += 1 + usize::from(length),
                _ => return Self::read_compressed(message, at),
            }
            if end - at >= MAX_OCTETS {
                return None;
            }
        }
    }

    fn read_compressed(message: &'a [u8], at: usize) -> Option<(Self, usize)> {
        let mut walk = Walk::new(message, at);
        let mut octets = 1;
        let mut behind = None;
        loop {
            match walk.step()? {
                Step::Root => break,
                Step::Label(label) => octets += label.len() + 1,
                Step::Pointer(place) => behind = behind.or(Some(place)),
            }
            if octets > MAX_OCTETS {
                return None;
            }
        }
        let octets = u8::try_from(octets).ok()?;
        Some((Self { message, at, octets, flat: false }, behind.unwrap_or(walk.at)))
    }

    /// A name that was read before from the same message, by its place, its octets, and whether
    /// they stand in one piece. `None` where they do not stand in this one.
    pub(super) fn known(message: &'a [u8], at: usize, octets: u8, flat: bool) -> Option<Self> {
        let there = message.len() >= at + if flat { usize::from(octets) } else { 2 };
        there.then_some(Self { message, at, octets, flat })
    }

    /// A name that consists of a pointer to this one, which stands in one piece before it.
    pub(super) const fn pointed_to(&self, at: usize) -> Self {
        Self { at, flat: false, ..*self }
    }

    /// Where it stands.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Octets without compression.
    pub(super) const fn octets(&self) -> u8 {
        self.octets
    }

    /// Whether it stands in one piece, without pointers.
    pub(super) const fn is_flat(&self) -> bool {
        self.flat
    }

    /// Where the name's first label stands: names with the same place are the same.
    pub(crate) fn place(&self) -> usize {
        match self.message.get(self.at..self.at + 2) {
            Some(&[high, low]) if high >> 6 == 0b11 => {
                usize::from(high & 0x3F) << 8 | usize::from(low)
            }
            _ => self.at,
        }
    }

    /// Whether this is the root.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.octets == 1
    }

    /// Whether it has an upper case letter.
    #[must_use]
    pub fn has_upper_case(&self) -> bool {
        // The length of a label is below any letter.
        let is_upper = |octets: &[u8]| octets.iter().any(u8::is_ascii_uppercase);
        self.flat_octets().map_or_else(|| self.labels().any(is_upper), is_upper)
    }

    /// The name as text without its last dot, its case kept; the root is `.`. Octets outside 0x21
    /// to 0x7E become `\DDD`, a dot or backslash inside a label `\.` and `\\`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.push(&mut text);
        text
    }

    /// Adds the name as text.
    pub fn push(&self, text: &mut String) {
        if self.is_root() {
            text.push('.');
            return;
        }
        text.reserve(self.octets.into());
        for (place, label) in self.labels().enumerate() {
            if place > 0 {
                text.push('.');
            }
            match std::str::from_utf8(label) {
                Ok(plain) if label.iter().all(|octet| is_plain(*octet)) => text.push_str(plain),
                _ => label.iter().for_each(|octet| push_octet(text, *octet)),
            }
        }
    }

    /// Hashes the name with its case, and as if it were not compressed.
    pub(super) fn hash_as_it_stands(&self, hasher: &mut impl Hasher) {
        for label in self.labels() {
            hasher.write_usize(label.len());
            hasher.write(label);
        }
        hasher.write_usize(0);
    }

    /// Adds the name as text in lower case.
    pub fn push_lower_case(&self, text: &mut String) {
        let before = text.len();
        self.push(text);
        if let Some(name) = text.get_mut(before..) {
            name.make_ascii_lowercase();
        }
    }

    /// Puts the name into `room` as it stands in a message without compression, in lower case.
    fn lower_case<'r>(&self, room: &'r mut [u8; MAX_OCTETS]) -> &'r [u8] {
        let mut end = 0;
        if let (Some(octets), Some(there)) =
            (self.flat_octets(), room.get_mut(..self.octets.into()))
        {
            there.copy_from_slice(octets);
            end = octets.len();
        } else {
            for label in self.labels() {
                let behind = end + 1 + label.len();
                let Some([length, there @ ..]) = room.get_mut(end..behind) else { break };
                // A label has at most 63 octets.
                *length = u8::try_from(label.len()).unwrap_or(u8::MAX);
                there.copy_from_slice(label);
                end = behind;
            }
            // The root.
            room[end] = 0;
            end += 1;
        }
        let octets = &mut room[..end];
        octets.make_ascii_lowercase();
        octets
    }

    /// The name in one piece, where it stands so.
    fn flat_octets(&self) -> Option<&'a [u8]> {
        self.message.get(self.at..)?.get(..self.octets.into()).filter(|_| self.flat)
    }

    fn labels(&self) -> Labels<'a> {
        Labels(Walk::new(self.message, self.at))
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
            && match (self.flat_octets(), other.flat_octets()) {
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
        match self.flat_octets() {
            Some(octets) => hash_lower_case(octets, state),
            None => hash_lower_case(self.lower_case(&mut [0; MAX_OCTETS]), state),
        }
    }
}

/// Hashes octets without regard to the case of ASCII letters, eight at a time and where they are.
fn hash_lower_case<H: Hasher>(octets: &[u8], state: &mut H) {
    let (words, rest) = octets.as_chunks::<8>();
    for word in words {
        state.write_u64(lower_case_word(u64::from_le_bytes(*word)));
    }
    let mut last = [0; 8];
    for (octet, there) in rest.iter().zip(&mut last) {
        *there = *octet;
    }
    state.write_u64(lower_case_word(u64::from_le_bytes(last)));
}

/// Eight octets, of which those that are upper case letters get the bit of lower case.
const fn lower_case_word(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7F * EACH);
    // The upper bit of each: whether it is 'A' or above, and whether it is above 'Z'.
    let (from_a, past_z) = (low + 0x3F * EACH, low + 0x25 * EACH);
    let upper = from_a & !past_z & !word & (0x80 * EACH);
    word | upper >> 2
}

/// The labels of a name, without the root.
struct Labels<'a>(Walk<'a>);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.0.step()? {
                Step::Root => return None,
                Step::Label(label) => return Some(label),
                Step::Pointer(_) => {}
            }
        }
    }
}

/// The way through a name.
struct Walk<'a> {
    message: &'a [u8],
    at: usize,
    /// Pointers must point to before this: to a prior name, and never round in circles.
    limit: usize,
    pointers: usize,
}

impl<'a> Walk<'a> {
    const fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at, limit: at, pointers: 0 }
    }

    /// Goes on by one label or pointer; a pointer gives the place behind itself.
    fn step(&mut self) -> Option<Step<'a>> {
        let length = *self.message.get(self.at)?;
        match length >> 6 {
            0 if length == 0 => {
                self.at += 1;
                Some(Step::Root)
            }
            0 => {
                let label = self.message.get(self.at + 1..)?.get(..length.into())?;
                self.at += 1 + label.len();
                Some(Step::Label(label))
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
                Some(Step::Pointer(behind))
            }
            _ => None,
        }
    }
}

/// Whether an octet stands for itself.
const fn is_plain(octet: u8) -> bool {
    matches!(octet, 0x21..=0x7E) && !matches!(octet, b'.' | b'\\')
}

fn push_octet(text: &mut String, octet: u8) {
    match octet {
        b'.' | b'\\' => {
            text.push('\\');
            text.push(char::from(octet));
        }
        0x21..=0x7E => text.push(char::from(octet)),
        _ => push_decimal(text, octet),
    }
}

/// `\DDD`: the octet as three decimal digits.
pub(super) fn push_decimal(text: &mut String, octet: u8) {
    text.push('\\');
    for digit in [octet / 100, octet / 10 % 10, octet % 10] {
        text.push(char::from(b'0' + digit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name at `at` as text, and where it ends.
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
    fn eight_octets_at_a_time_are_lower_case_as_each_would_be() {
        for octet in 0..=u8::MAX {
            for place in 0..8 {
                let mut octets = [b'Z', b'[', b'@', b'A', 0xC1, 0x7F, 0, b'z'];
                octets[place] = octet;
                let lower = lower_case_word(u64::from_le_bytes(octets)).to_le_bytes();
                assert_eq!(lower, octets.map(|octet| octet.to_ascii_lowercase()));
            }
        }
    }

    #[test]
    fn escapes_what_would_be_read_otherwise() {
        assert_eq!(read(b"\x05a.b\\ \x02\xFF\x7F\0", 0).unwrap().0, "a\\.b\\\\\\032.\\255\\127");
    }

    #[test]
    fn refuses_what_is_no_name() {
        for message in [
            &b""[..],
            b"\x03ww",
            b"\x03www",
            b"\xC0",
            b"\xC0\x00",
            b"\x01a\xC0\x00",
            // A binary label (RFC 2673), and the label type that was never used.
            b"\x41\x08\xFF\0",
            b"\x80\0",
        ] {
            assert_eq!(read(message, 0), None, "{message:x?}");
        }
        assert_eq!(read(b"\0", 9), None);
    }

    #[test]
    fn takes_255_octets_and_no_more() {
        let name = |last: u8| {
            let labels = [63, 63, 63, last]
                .map(|length| [vec![length], vec![b'x'; usize::from(length)]].concat());
            [labels.concat(), vec![0]].concat()
        };
        assert_eq!(read(&name(60), 0).unwrap().0.len(), 252);
        assert_eq!(read(&name(61), 0).unwrap().0.len(), 253);
        assert_eq!(read(&name(62), 0), None);
        // Half of them behind a pointer: compression does not make room.
        let tail = name(61);
        let longer = [tail.as_slice(), b"\x01a\xC0\x00"].concat();
        assert_eq!(read(&longer, tail.len()), None);
        let empty_labels_need_room_too = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!(read(&empty_labels_need_room_too, 0).unwrap().0.len(), 253);
    }

    #[test]
    fn follows_so_many_pointers_and_no_more() {
        // A name, and pointers each to the one before.
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
