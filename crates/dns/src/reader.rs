//! Bounds-checked reading of a message, byte by byte.

use super::name::Name;

/// A position in a message and the end of the readable part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// The header up to the end of the readable part. Names may point back to any of it.
    pub(super) message: &'a [u8],
    /// Offset of the next byte.
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    /// Creates a reader at offset `at`; behind the end it reads nothing.
    pub(super) const fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    /// Returns the unread bytes.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.message.get(self.at..).unwrap_or_default()
    }

    /// Returns whether everything was read.
    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// Takes the next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.rest().get(..count)?;
        self.at += count;
        Some(bytes)
    }

    /// Takes all unread bytes.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        let bytes = self.rest();
        self.at = self.message.len();
        bytes
    }

    /// Takes the next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = *self.rest().first_chunk()?;
        self.at += N;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes a character string: one length byte and the string (RFC 1035, 3.3).
    pub(super) fn char_string(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Takes a domain name, compressed or not.
    pub(super) fn name(&mut self) -> Option<Name<'a>> {
        let (name, behind) = Name::read(self.message, self.at)?;
        self.at = behind;
        Some(name)
    }

    /// Takes a domain name that is probably a pointer to the uncompressed name `known`.
    pub(super) fn name_like(&mut self, known: Option<&Name<'a>>) -> Option<Name<'a>> {
        if let Some(known) = known
            && let Some([high, low]) = self.rest().first_chunk()
            && u16::from_be_bytes([*high, *low]) ^ 0xC000 == u16::try_from(known.at).ok()?
            && known.at < self.at
        {
            let name = known.pointer_at(self.at);
            self.at += 2;
            return Some(name);
        }
        self.name()
    }

    /// Takes `length` bytes as a reader; names in them may point back into the message.
    pub(super) fn part(&mut self, length: usize) -> Option<Self> {
        let at = self.at;
        self.take(length)?;
        Some(Self { message: self.message.get(..self.at)?, at })
    }
}
