//! A message that outlives its packet.

#![forbid(unsafe_code)]

use super::dns::{Dns, Outline};
use super::{Envelope, Malformed, Message};
use smallvec::SmallVec;

/// Octets that need no room of their own: most queries have no more.
const USUAL_BYTES: usize = 96;

/// Octets of a message.
pub(super) type Octets = SmallVec<[u8; USUAL_BYTES]>;

/// A message with octets of its own.
#[derive(Clone, Debug)]
pub struct Kept {
    envelope: Envelope,
    outline: Outline,
    wire_bytes: u32,
    octets: Octets,
}

impl Kept {
    /// The message as whoever has borrowed it sees it.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        let dns = Dns::new(&self.octets, &self.outline);
        Message { envelope: &self.envelope, dns, wire_bytes: self.wire_bytes }
    }

    /// A message of these octets, of so many on the wire.
    ///
    /// # Errors
    /// Where they are none.
    pub fn read(envelope: Envelope, octets: &[u8], wire_bytes: u32) -> Result<Self, Malformed> {
        let clipped = u32::try_from(octets.len()).is_ok_and(|captured| captured < wire_bytes);
        let outline = Outline::read(octets, clipped)?;
        Ok(Self { envelope, outline, wire_bytes, octets: SmallVec::from_slice(octets) })
    }

    /// Keeps another message in the same place: it is a few hundred octets, and not worth to be moved
    /// there.
    pub(crate) fn replace(&mut self, message: &Message<'_>) {
        self.envelope.clone_from(message.envelope);
        self.outline = *message.dns.outline();
        self.wire_bytes = message.wire_bytes;
        let octets = message.dns.octets();
        if self.octets.spilled() || octets.len() > USUAL_BYTES {
            self.octets = SmallVec::from_slice(octets);
        } else {
            self.octets.clear();
            self.octets.extend_from_slice(octets);
        }
    }

    /// Gives back what memory of its own it has; its octets are gone.
    pub(crate) fn release(&mut self) {
        self.octets = Octets::new();
    }

    /// What a message would take, in octets of memory: see [`Self::memory_bytes`].
    pub(crate) fn bytes_for(message: &Message<'_>) -> usize {
        let octets = message.dns.octets().len();
        size_of::<Self>() + if octets > USUAL_BYTES { octets } else { 0 }
    }

    /// Keeps no more records of the answer section than so many, and of what is behind them the OPT
    /// record only.
    pub(crate) fn limit_answers(&mut self, most: u16) {
        if self.outline.limit_answers(&mut self.octets, most) {
            self.octets.shrink_to_fit();
        }
    }

    /// Octets of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let heap = if self.octets.spilled() { self.octets.capacity() } else { 0 };
        size_of::<Self>() + heap
    }
}

impl From<Message<'_>> for Kept {
    fn from(message: Message<'_>) -> Self {
        Self {
            envelope: message.envelope.clone(),
            outline: *message.dns.outline(),
            wire_bytes: message.wire_bytes,
            octets: SmallVec::from_slice(message.dns.octets()),
        }
    }
}
