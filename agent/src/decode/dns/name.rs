//! Domain names: in a message (RFC 1035, 3.1 and 4.1.4) and as text (RFC 1035, 5.1; RFC 4343).

/// The longest name in a message, its length octets and the root included (RFC 1035, 2.3.4).
const MAX_OCTETS: usize = 255;

/// Pointers followed in one name. More than a name has labels serve no purpose but to cost time.
const MAX_POINTERS: usize = 127;

/// A name in a message, found to be whole; not yet copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    message: &'a [u8],
    at: usize,
    /// Octets without compression, the root's included: 1 to 255.
    octets: usize,
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
        let mut walk = Walk { message, at, limit: at, pointers: 0 };
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
        Some((Self { message, at, octets }, behind.unwrap_or(walk.at)))
    }

    /// Where the name's first label stands: names with the same place are the same.
    pub(super) fn place(&self) -> usize {
        match self.message.get(self.at..self.at + 2) {
            Some(&[high, low]) if high >> 6 == 0b11 => {
                usize::from(high & 0x3F) << 8 | usize::from(low)
            }
            _ => self.at,
        }
    }

    /// Whether this is the root.
    pub(super) const fn is_root(&self) -> bool {
        self.octets == 1
    }

    /// The name as text without its last dot, its case kept; the root is `.`. Octets outside 0x21
    /// to 0x7E become `\DDD`, a dot or backslash inside a label `\.` and `\\`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.push(&mut text);
        text
    }

    /// Adds the name as text.
    pub(super) fn push(&self, text: &mut String) {
        if self.is_root() {
            text.push('.');
            return;
        }
        text.reserve(self.octets);
        let mut walk = Walk { message: self.message, at: self.at, limit: self.at, pointers: 0 };
        let mut first = true;
        while let Some(step) = walk.step() {
            match step {
                Step::Root => break,
                Step::Pointer(_) => {}
                Step::Label(label) => {
                    if !first {
                        text.push('.');
                    }
                    first = false;
                    for &octet in label {
                        push_octet(text, octet);
                    }
                }
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
