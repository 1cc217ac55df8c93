//! Renders in a flow stage what a record takes from its messages alone, so that this work is done by the
//! threads of the flow stages. The merge stage adds what depends on other flows or on the host.

use super::event::{Event, RenderedEvent};
use crate::record::RecordBuilder;
use dnscribe_record::time::ClockShift;
use dnscribe_record::write_json;
use dnscribe_transaction::pair::MessageTexts;

/// What is rendered of the record of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MessageParts {
    /// Nothing.
    #[default]
    Nothing,
    /// All but the message's bytes.
    Decoded,
    /// The bytes, too (`messages.wire`).
    WithBytes,
}

/// Which parts of records a flow stage renders. Derived from the sinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// Text of transactions.
    pub(super) texts: bool,
    /// JSON records of transactions.
    pub(super) transactions: bool,
    /// JSON records of messages.
    pub(super) messages: MessageParts,
}

impl RenderOptions {
    /// Returns whether all parts that these options ask for are there.
    pub(super) const fn are_met_by(self, rendered: &RenderedEvent<'_>) -> bool {
        let Self { texts, transactions, messages } = self;
        match rendered.event {
            Event::Transaction(_) => {
                !texts || rendered.texts.is_some() && !(transactions && rendered.json.is_empty())
            }
            Event::Message(_) => rendered.parts as u8 >= messages as u8,
            _ => true,
        }
    }
}

/// Renders the first part of records.
pub(super) struct Renderer {
    identity: RecordBuilder,
    pub(super) options: RenderOptions,
    /// Reused buffers.
    texts: MessageTexts,
    json: Vec<u8>,
}

impl Renderer {
    /// Creates a renderer of records of this writer.
    pub(super) fn new(identity: RecordBuilder, options: RenderOptions) -> Self {
        Self { identity, options, texts: MessageTexts::default(), json: Vec::new() }
    }

    /// Writes times by the host's clock, which was set this far.
    pub(super) const fn set_clock(&mut self, shift: ClockShift) {
        self.identity.clock = shift;
    }

    /// Renders the parts of an event that the options ask for.
    pub(super) fn render<'a>(&'a mut self, event: &'a Event<'a>) -> RenderedEvent<'a> {
        let Self { identity, options, texts, json } = self;
        match event {
            Event::Transaction(transaction) if options.texts => {
                identity.read_transaction(transaction, texts);
                json.clear();
                let mut is_shortened = texts.answers.omitted() > 0;
                if options.transactions
                    && let Some(body) = identity.transaction(transaction, texts)
                {
                    write_json(json, &body);
                    is_shortened = body.is_shortened();
                }
                RenderedEvent { texts: Some(texts), json, is_shortened, ..event.into() }
            }
            Event::Message(message) if options.messages > MessageParts::Nothing => {
                identity.read_message(message, texts);
                identity.wire = options.messages == MessageParts::WithBytes;
                json.clear();
                let body = identity.message(message, texts);
                write_json(json, &body);
                let is_shortened = body.is_shortened();
                RenderedEvent { json, is_shortened, parts: options.messages, ..event.into() }
            }
            _ => event.into(),
        }
    }
}
