//! Events on their way from one thread to another: copied into a batch there, shown again here.

use super::event::Event;
use super::scribe::Told;
use super::shard::Snapshot;
use crate::connection::{self, Connection};
use crate::decode::dns::{Dns, Outline};
use crate::decode::{DeadLetter, Envelope, Malformed, Message};
use crate::pair::Transaction;
use crate::record::Texts;
use crate::time::Timestamp;
use std::ops::Range;

/// A batch of so many octets, or of so many packets, is full.
const FULL_BYTES: usize = 256 << 10;
const FULL_PACKETS: usize = 512;

/// An empty batch keeps so much room for octets at most.
const SPARE_BYTES: usize = 1 << 20;

/// Of so many octets, a batch takes events without what was made of them, and the back makes it. So much
/// comes only where a great many transactions end at once, as when a server is lost.
const MADE_BYTES: usize = 1 << 20;

/// An empty batch keeps the room of texts that take no more than this: most do by far.
const SPARE_TEXT_BYTES: usize = 4 << 10;

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
    /// Of all messages and dead letters, and of records that are begun.
    octets: Vec<u8>,
    /// Of transactions, as far as somebody wants them, and room of some that were.
    texts: Vec<Texts>,
    texts_used: usize,
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
    Message {
        place: usize,
        json: Range<usize>,
    },
    Transaction {
        query: Option<usize>,
        response: Option<usize>,
        rest: Transaction<'static>,
        texts: Option<usize>,
        json: Range<usize>,
    },
    Began(usize),
    Sealed(Envelope),
    Connection {
        connection: Box<Connection>,
        status: connection::Status,
        is_final: bool,
    },
    DeadLetter {
        envelope: Envelope,
        reason: Malformed,
        octets: Range<usize>,
    },
}

impl Batch {
    /// Adds a copy of what is told.
    pub(super) fn push(&mut self, at: Timestamp, told: Told<'_>) {
        let told = if self.octets.len() < MADE_BYTES { told } else { told.event.into() };
        let what = match *told.event {
            Event::Message(message) => {
                Stored::Message { place: self.keep(message), json: self.copy(told.json) }
            }
            Event::Began(query) => Stored::Began(self.keep(query)),
            Event::Transaction(transaction) => self.transaction(transaction, &told),
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

    fn transaction(&mut self, transaction: &Transaction<'_>, told: &Told<'_>) -> Stored {
        // The response first: it is most often the message that has just been told of.
        let response = transaction.response.map(|message| self.keep(message));
        let query = transaction.query.map(|message| self.keep(message));
        let rest = transaction.without_messages();
        let texts = told.texts.map(|texts| self.keep_texts(texts));
        Stored::Transaction { query, response, rest, texts, json: self.copy(told.json) }
    }

    /// Keeps texts. Gives their place.
    fn keep_texts(&mut self, texts: &Texts) -> usize {
        let place = self.texts_used;
        if place == self.texts.len() {
            self.texts.push(Texts::default());
        }
        self.texts[place].copy(texts);
        self.texts_used += 1;
        place
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
    pub(super) fn show(&mut self, each: &mut dyn FnMut(Timestamp, Told<'_>)) {
        let place = self.next;
        self.next += 1;
        let Some(Entry { at, what }) = self.entries.get(place) else { return };
        let message = |place: &usize| self.message(*place);
        let part = |range: &Range<usize>| self.octets.get(range.clone()).unwrap_or_default();
        let mut tell = |event: &Event<'_>| each(*at, event.into());
        match what {
            Stored::Message { place, json } => {
                if let Some(message) = message(place) {
                    let event = &Event::Message(message);
                    each(*at, Told { json: part(json), ..event.into() });
                }
            }
            Stored::Began(place) => {
                if let Some(query) = message(place) {
                    tell(&Event::Began(query));
                }
            }
            Stored::Transaction { query, response, rest, texts, json } => {
                let query = query.as_ref().and_then(message);
                let response = response.as_ref().and_then(message);
                let transaction = Transaction { query, response, ..*rest };
                let event = &Event::Transaction(&transaction);
                let texts = texts.and_then(|place| self.texts.get(place));
                each(*at, Told { event, texts, json: part(json) });
            }
            Stored::Sealed(envelope) => tell(&Event::Sealed(envelope)),
            Stored::Connection { connection, status, is_final } => {
                let (status, is_final) = (*status, *is_final);
                tell(&Event::Connection(&connection::Report { connection, status, is_final }));
            }
            Stored::DeadLetter { envelope, reason, octets } => {
                let (bytes, envelope) = (part(octets), envelope.clone());
                let reason = *reason;
                tell(&Event::DeadLetter(&DeadLetter { envelope, reason, bytes }));
            }
        }
    }

    /// Forgets all that it held, but not the room.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.messages.clear();
        self.octets.clear();
        self.octets.shrink_to(SPARE_BYTES);
        self.texts.retain(|texts| texts.room_bytes() <= SPARE_TEXT_BYTES);
        self.texts_used = 0;
        self.next = 0;
        self.packets = 0;
        self.is_last = false;
    }
}
