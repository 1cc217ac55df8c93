//! Events on their way from one thread to another: copied into a batch there, shown again here.

use super::event::Event;
use super::shard::Snapshot;
use crate::connection::{self, Connection};
use crate::decode::{DeadLetter, Envelope, Message};
use crate::pair::Transaction;
use crate::time::Timestamp;

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
    messages: Vec<Message>,
    /// The entry to be shown next.
    next: usize,
}

#[derive(Debug)]
struct Entry {
    /// When the event came to light, by the capture's clock.
    at: Timestamp,
    what: Stored,
}

/// An event that owns what it tells of, or knows where among the messages that stands.
#[derive(Debug)]
enum Stored {
    Message(usize),
    Transaction { query: Option<usize>, response: Option<usize>, rest: Transaction<'static> },
    Began(usize),
    Sealed(Envelope),
    Connection { connection: Box<Connection>, status: connection::Status, is_final: bool },
    DeadLetter(Box<DeadLetter>),
}

impl Batch {
    /// Adds a copy of an event.
    pub(super) fn push(&mut self, at: Timestamp, event: Event<'_>) {
        let what = match event {
            Event::Message(message) => Stored::Message(self.keep(message)),
            Event::Began(query) => Stored::Began(self.keep(query)),
            Event::Transaction(transaction) => self.transaction(transaction),
            Event::Sealed(envelope) => Stored::Sealed(envelope.clone()),
            Event::Connection(report) => Stored::Connection {
                connection: Box::new(report.connection.clone()),
                status: report.status,
                is_final: report.is_final,
            },
            Event::DeadLetter(letter) => Stored::DeadLetter(Box::new(letter.clone())),
        };
        self.entries.push(Entry { at, what });
    }

    fn transaction(&mut self, transaction: &Transaction<'_>) -> Stored {
        let Transaction {
            status,
            vantage,
            query,
            response,
            retries,
            conflict,
            icmp,
            rejected,
            transfer,
            stray,
        } = *transaction;
        // The response first: it is most often the message that has just been told of.
        let response = response.map(|message| self.keep(message));
        let query = query.map(|message| self.keep(message));
        let rest = Transaction {
            status,
            vantage,
            query: None,
            response: None,
            retries,
            conflict,
            icmp,
            rejected,
            transfer,
            stray,
        };
        Stored::Transaction { query, response, rest }
    }

    /// Keeps a message, if it is not the one kept last. Gives its place.
    fn keep(&mut self, message: &Message) -> usize {
        let is_last = |last: &Message| {
            last.envelope.id == message.envelope.id && last.envelope.scope == message.envelope.scope
        };
        if !self.messages.last().is_some_and(is_last) {
            self.messages.push(message.clone());
        }
        self.messages.len() - 1
    }

    /// Whether no event is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.entries.len()
    }

    /// The time of the next event for the order among shards, if there is one. What is told behind its
    /// time, since the clock was set back, must not wait until that has come again.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.entries.get(self.next).map(|entry| entry.at.min(self.until))
    }

    /// Shows the next event.
    pub(super) fn show(&mut self, each: &mut dyn FnMut(Timestamp, Event<'_>)) {
        let Some(entry) = self.entries.get(self.next) else { return };
        self.next += 1;
        let at = entry.at;
        let message = |place: &usize| self.messages.get(*place);
        match &entry.what {
            Stored::Message(place) => {
                if let Some(message) = message(place) {
                    each(at, Event::Message(message));
                }
            }
            Stored::Began(place) => {
                if let Some(query) = message(place) {
                    each(at, Event::Began(query));
                }
            }
            Stored::Transaction { query, response, rest } => {
                let query = query.as_ref().and_then(message);
                let response = response.as_ref().and_then(message);
                each(at, Event::Transaction(&Transaction { query, response, ..*rest }));
            }
            Stored::Sealed(envelope) => each(at, Event::Sealed(envelope)),
            Stored::Connection { connection, status, is_final } => {
                let (status, is_final) = (*status, *is_final);
                each(at, Event::Connection(&connection::Report { connection, status, is_final }));
            }
            Stored::DeadLetter(letter) => each(at, Event::DeadLetter(letter)),
        }
    }

    /// Forgets all that it held, but not the room.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.messages.clear();
        self.next = 0;
        self.packets = 0;
        self.is_last = false;
    }
}
