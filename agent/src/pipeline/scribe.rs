//! Records are begun where their flow is: all that the messages themselves say is written by the front, so
//! that it takes the time of the front's thread. The back ends them, with what takes other flows or the
//! host to know.

use super::event::Event;
use crate::record::{Identity, Texts};
use crate::sink::push_json_or_log;

/// An event, and what was made of it where it came to light.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The event.
    pub(super) event: &'a Event<'a>,
    /// What of a transaction is text, if anybody wants it.
    pub(super) texts: Option<&'a Texts>,
    /// The record of a message or transaction as far as it goes: an object to which the back adds. Empty
    /// where nobody reads one.
    pub(super) json: &'a [u8],
}

/// What is to be made of events. The sinks alone decide it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Text of transactions.
    pub(super) texts: bool,
    /// Records of transactions in JSON.
    pub(super) transactions: bool,
    /// Records of messages in JSON.
    pub(super) messages: bool,
}

/// Begins records.
pub(super) struct Scribe {
    identity: Identity,
    wanted: Wanted,
    /// Room that is used again.
    texts: Texts,
    json: Vec<u8>,
}

impl<'a> From<&'a Event<'a>> for Told<'a> {
    fn from(event: &'a Event<'a>) -> Self {
        Self { event, texts: None, json: &[] }
    }
}

impl Scribe {
    /// That writes what is wanted.
    pub(super) fn new(identity: Identity, wanted: Wanted) -> Self {
        Self { identity, wanted, texts: Texts::default(), json: Vec::new() }
    }

    /// Makes other things from here on.
    pub(super) const fn write(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// Whether all that is wanted of an event was made where it came to light.
    pub(super) const fn has_begun(&self, told: &Told<'_>) -> bool {
        let Wanted { texts, transactions, messages } = self.wanted;
        match told.event {
            Event::Transaction(_) => {
                !texts || told.texts.is_some() && !(transactions && told.json.is_empty())
            }
            Event::Message(_) => !(messages && told.json.is_empty()),
            _ => true,
        }
    }

    /// Makes of an event what is wanted of it.
    pub(super) fn tell<'a>(&'a mut self, event: &'a Event<'a>) -> Told<'a> {
        let Self { identity, wanted, texts, json } = self;
        match event {
            Event::Transaction(transaction) if wanted.texts => {
                texts.read(transaction);
                json.clear();
                if wanted.transactions
                    && let Some(body) = identity.transaction(transaction, texts)
                {
                    push_json_or_log(json, &body);
                }
                Told { event, texts: Some(texts), json }
            }
            Event::Message(message) if wanted.messages => {
                texts.read_message(message);
                json.clear();
                push_json_or_log(json, &identity.message(message, texts));
                Told { json, ..event.into() }
            }
            _ => event.into(),
        }
    }
}
