//! Reading a message octet by octet, within bounds.

use super::name::Name;

/// A place in a message, and where reading must end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// From the header to the end of what may be read: names may point back to all of it.
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader that begins at `at`; past the end it reads nothing.
    pub(super) const fn new(message: &'a [u8], at: usize) -> Self {
        Self { message, at }
    }

    /// Where the next octet is.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.message.get(self.at..).unwrap_or_default()
    }

    /// Whether everything was read.
    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// The next octets.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let octets = self.rest().get(..count)?;
        self.at += count;
        Some(octets)
    }

    /// Everything that is left.
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        let octets = self.rest();
        self.at = self.message.len();
        octets
    }

    /// The next octets, as many as there are in an array.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let octets = *self.rest().first_chunk()?;
        self.at += N;
        Some(octets)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A character string (RFC 1035, 3.3): its length in one octet, then itself.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.take(length.into())
    }

    /// Octets after their length in two octets.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A domain name, compressed or not.
    pub(super) fn name(&mut self) -> Option<Name<'a>> {
        let (name, behind) = Name::read(self.message, self.at)?;
        self.at = behind;
        Some(name)
    }

    /// A domain name that is likely to be a pointer to `known`, which stands in one piece.
    pub(super) fn name_like(&mut self, known: Option<&Name<'a>>) -> Option<Name<'a>> {
        if let Some(known) = known
            && let Some([high, low]) = self.rest().first_chunk()
            && u16::from_be_bytes([*high, *low]) ^ 0xC000 == u16::try_from(known.at()).ok()?
            && known.at() < self.at
        {
            let name = known.pointed_to(self.at);
            self.at += 2;
            return Some(name);
        }
        self.name()
    }

    /// What is read, from its beginning.
    pub(super) const fn message(&self) -> &'a [u8] {
        self.message
    }

    /// A reader of the next octets only, of which names may point back into the message.
    pub(super) fn part(&mut self, length: usize) -> Option<Self> {
        let at = self.at;
        self.take(length)?;
        Some(Self { message: self.message.get(..self.at)?, at })
    }
}
