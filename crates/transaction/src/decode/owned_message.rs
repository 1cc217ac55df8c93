//! A message that outlives its packet.

use super::{Envelope, Malformed, Message};
use dnscribe_dns::{Dns, MessageIndex};
use smallvec::SmallVec;

/// Inline capacity in bytes. Most queries fit.
const USUAL_BYTES: usize = 96;

/// The bytes of a message, inline if short.
pub(super) type Octets = SmallVec<[u8; USUAL_BYTES]>;

/// A message that owns its bytes.
#[derive(Clone, Debug)]
pub struct OwnedMessage {
    envelope: Envelope,
    outline: MessageIndex,
    wire_bytes: u32,
    octets: Octets,
}

impl OwnedMessage {
    /// Returns the message.
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        let dns = Dns::new(&self.octets, &self.outline);
        Message { envelope: &self.envelope, dns, wire_bytes: self.wire_bytes }
    }

    /// Parses `octets`, which are `wire_bytes` long on the wire.
    ///
    /// # Errors
    /// The part of the message that cannot be read.
    pub fn parse(envelope: Envelope, octets: &[u8], wire_bytes: u32) -> Result<Self, Malformed> {
        let clipped = u32::try_from(octets.len()).is_ok_and(|captured| captured < wire_bytes);
        let outline = MessageIndex::parse(octets, clipped)?;
        Ok(Self { envelope, outline, wire_bytes, octets: SmallVec::from_slice(octets) })
    }

    /// Replaces the message in place: it has a few hundred bytes, too many to be moved.
    pub(crate) fn replace(&mut self, message: &Message<'_>) {
        self.envelope.clone_from(message.envelope);
        self.outline = *message.dns.index();
        self.wire_bytes = message.wire_bytes;
        let octets = message.dns.bytes();
        if self.octets.spilled() || octets.len() > USUAL_BYTES {
            self.octets = SmallVec::from_slice(octets);
        } else {
            self.octets.clear();
            self.octets.extend_from_slice(octets);
        }
    }

    /// Frees the heap memory; the bytes of the message are gone.
    pub(crate) fn release(&mut self) {
        self.envelope.report = None;
        self.octets = Octets::new();
    }

    /// Returns [`Self::memory_bytes`] of an owned copy of `message`.
    pub(crate) fn memory_bytes_for(message: &Message<'_>) -> usize {
        let octets = message.dns.bytes().len();
        size_of::<Self>() + if octets > USUAL_BYTES { octets } else { 0 }
    }

    /// Removes all but the first `most` answer records, and all later records except OPT.
    pub(crate) fn limit_answers(&mut self, most: u16) {
        if let Some(length) = self.outline.limit_answers(&mut self.octets, most) {
            self.octets.truncate(length);
            self.octets.shrink_to_fit();
        }
    }

    /// Returns the memory used, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let heap = if self.octets.spilled() { self.octets.capacity() } else { 0 };
        size_of::<Self>() + heap
    }
}

impl From<Message<'_>> for OwnedMessage {
    fn from(message: Message<'_>) -> Self {
        Self {
            envelope: message.envelope.clone(),
            outline: *message.dns.index(),
            wire_bytes: message.wire_bytes,
            octets: SmallVec::from_slice(message.dns.bytes()),
        }
    }
}
