//! Events on their way from one thread to another: copied into a batch there, shown again here.

use super::event::Event;
use super::shard::Snapshot;
use crate::connection::{self, Connection};
use crate::decode::dns::{Dns, Outline};
use crate::decode::{DeadLetter, Envelope, Malformed, Message};
use crate::pair::Transaction;
use crate::time::Timestamp;
use std::ops::Range;

/// A batch of so many octets, or of so many packets, is full.
const FULL_BYTES: usize = 256 << 10;
const FULL_PACKETS: usize = 512;

/// An empty batch keeps so much room for octets at most.
const SPARE_BYTES: usize = 1 << 20;

/// What a shard gave between two looks at its ring. Emptied ones are used again.
#[derive(Debug, Default)]
pub struct Batch {
    /// The shard that filled it.
    pub shard: usize,
    /// Packets that the events came of.
    pub packets: usize,
    /// Whether it is the shard's last.
    pub is_last: bool,
    /// Everything that the shard will give later is of a later time.
    pub(super) until: Timestamp,
    /// What the shard had counted when it had given all of this.
    pub(super) snapshot: Snapshot,
    entries: Vec<Entry>,
    messages: Vec<Held>,
    /// Of all messages and dead letters.
    octets: Vec<u8>,
    /// The entry to be shown next.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    /// When the event came to light, by the capture's clock.
    at: Timestamp,
    what: Stored,
}

/// A message whose octets stand among the others.
#[derive(Debug)]
struct Held {
    envelope: Envelope,
    outline: Outline,
    wire_bytes: u32,
    octets: Range<usize>,
}

/// An event that owns what it tells of, or knows where among the messages that stands.
#[derive(Debug)]
enum Stored {
    Message(usize),
    Transaction { query: Option<usize>, response: Option<usize>, rest: Transaction<'static> },
    Began(usize),
    Sealed(Envelope),
    Connection { connection: Box<Connection>, status: connection::Status, is_final: bool },
    DeadLetter { envelope: Envelope, reason: Malformed, octets: Range<usize> },
}

impl Batch {
    /// Adds a copy of an event.
    pub(super) fn push(&mut self, at: Timestamp, event: &Event<'_>) {
        let what = match *event {
            Event::Message(message) => Stored::Message(self.keep(message)),
            Event::Began(query) => Stored::Began(self.keep(query)),
            Event::Transaction(transaction) => self.transaction(transaction),
            Event::Sealed(envelope) => Stored::Sealed(envelope.clone()),
            Event::Connection(report) => Stored::Connection {
                connection: Box::new(report.connection.clone()),
                status: report.status,
                is_final: report.is_final,
            },
            Event::DeadLetter(letter) => Stored::DeadLetter {
                envelope: letter.envelope.clone(),
                reason: letter.reason,
                octets: self.copy(letter.bytes),
            },
        };
        self.entries.push(Entry { at, what });
    }

    fn transaction(&mut self, transaction: &Transaction<'_>) -> Stored {
        // The response first: it is most often the message that has just been told of.
        let response = transaction.response.map(|message| self.keep(message));
        let query = transaction.query.map(|message| self.keep(message));
        Stored::Transaction { query, response, rest: transaction.without_messages() }
    }

    /// Keeps a message, if it is not the one kept last. Gives its place.
    fn keep(&mut self, message: Message<'_>) -> usize {
        let last = self.messages.last();
        if last.is_none_or(|last| last.envelope.id != message.envelope.id) {
            let octets = self.copy(message.dns.octets());
            self.messages.push(Held {
                envelope: message.envelope.clone(),
                outline: *message.dns.outline(),
                wire_bytes: message.wire_bytes,
                octets,
            });
        }
        self.messages.len() - 1
    }

    fn copy(&mut self, octets: &[u8]) -> Range<usize> {
        let start = self.octets.len();
        self.octets.extend_from_slice(octets);
        start..self.octets.len()
    }

    fn message(&self, place: usize) -> Option<Message<'_>> {
        let Held { envelope, outline, wire_bytes, octets } = self.messages.get(place)?;
        let dns = Dns::new(self.octets.get(octets.clone())?, outline);
        Some(Message { envelope, dns, wire_bytes: *wire_bytes })
    }

    /// Whether it should go on its way before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.packets >= FULL_PACKETS || self.octets.len() >= FULL_BYTES
    }

    /// Whether no event is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.entries.len()
    }

    /// The time of the next event, if there is one.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.entries.get(self.next).map(|entry| entry.at)
    }

    /// The time of the last event, if there is one.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.entries.last().map(|entry| entry.at)
    }

    /// Shows the next event.
    pub(super) fn show(&mut self, each: &mut dyn FnMut(Timestamp, &Event<'_>)) {
        let place = self.next;
        self.next += 1;
        let Some(Entry { at, what }) = self.entries.get(place) else { return };
        let message = |place: &usize| self.message(*place);
        match what {
            Stored::Message(place) => {
                if let Some(message) = message(place) {
                    each(*at, &Event::Message(message));
                }
            }
            Stored::Began(place) => {
                if let Some(query) = message(place) {
                    each(*at, &Event::Began(query));
                }
            }
            Stored::Transaction { query, response, rest } => {
                let query = query.as_ref().and_then(message);
                let response = response.as_ref().and_then(message);
                each(*at, &Event::Transaction(&Transaction { query, response, ..*rest }));
            }
            Stored::Sealed(envelope) => each(*at, &Event::Sealed(envelope)),
            Stored::Connection { connection, status, is_final } => {
                let (status, is_final) = (*status, *is_final);
                let report = connection::Report { connection, status, is_final };
                each(*at, &Event::Connection(&report));
            }
            Stored::DeadLetter { envelope, reason, octets } => {
                let bytes = self.octets.get(octets.clone()).unwrap_or_default();
                let (envelope, reason) = (envelope.clone(), *reason);
                each(*at, &Event::DeadLetter(&DeadLetter { envelope, reason, bytes }));
            }
        }
    }

    /// Forgets all that it held, but not the room.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.messages.clear();
        self.octets.clear();
        self.octets.shrink_to(SPARE_BYTES);
        self.next = 0;
        self.packets = 0;
        self.is_last = false;
    }
}
