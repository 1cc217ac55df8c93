//! Batches of events on their way from a worker thread to the merge stage. The worker copies events into a
//! batch ([`EventSink`]), and the merge stage replays them.

use super::event::{Event, EventSink, RenderedEvent, Sender};
use super::flow_stage::FlowCounters;
use super::renderer::MessageParts;
use dnscribe_dns::{Dns, MessageIndex};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{
    Connect, DeadLetter, Dropped, Envelope, Malformed, Message, MessageStep,
};
use dnscribe_transaction::encrypted::{self, Connection};
use dnscribe_transaction::pair::{MessageTexts, Transaction};
use std::ops::Range;

/// A batch of this size is full: a worker sends it before it adds more.
const FULL_BYTES: usize = 256 << 10;
const FULL_PACKETS: usize = 512;

/// Capacity in bytes that an emptied batch keeps at most.
const SPARE_BYTES: usize = 1 << 20;

/// A batch of this size takes no more rendered parts of records: the merge stage renders them again. Reached
/// only if very many transactions end at once, as after the loss of a server.
const RENDERED_BYTES: usize = 1 << 20;

/// An emptied batch keeps the buffers of texts up to this size.
const SPARE_TEXT_BYTES: usize = 4 << 10;

/// Events that a flow stage passed between two checks of its ring. Emptied batches are reused.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// Number of the flow stage that filled it.
    pub shard: usize,
    /// Number of packets that led to the events.
    pub packets: usize,
    /// Whether it is the last batch of the stage.
    pub is_last: bool,
    /// All later events of the stage have a later time.
    pub(super) until: Timestamp,
    /// Counters of the stage after the last event.
    pub(super) counters: FlowCounters,
    /// Events with their times, by the clock of the capture.
    events: Vec<(Timestamp, StoredEvent)>,
    messages: Vec<StoredMessage>,
    /// Bytes of messages, dead letters and rendered records.
    bytes: Vec<u8>,
    /// Texts of transactions; those from `texts_used` on are spare buffers.
    texts: Vec<MessageTexts>,
    texts_used: usize,
    /// Index of the event to replay next.
    next: usize,
}

/// A message whose bytes are a range of the batch's.
#[derive(Debug)]
struct StoredMessage {
    envelope: Envelope,
    outline: MessageIndex,
    wire_bytes: u32,
    bytes: Range<usize>,
}

/// An event that owns its data, or refers to messages by their index.
#[derive(Debug)]
enum StoredEvent {
    Message {
        index: usize,
        json: Range<usize>,
        is_shortened: bool,
        parts: MessageParts,
    },
    Transaction {
        query: Option<usize>,
        response: Option<usize>,
        rest: Transaction<'static>,
        texts: Option<usize>,
        json: Range<usize>,
        is_shortened: bool,
    },
    Began(usize),
    Encrypted(Envelope),
    Sender(Sender),
    Connection {
        connection: Box<Connection>,
        status: encrypted::ConnectionStatus,
        is_final: bool,
    },
    Connect(Connect),
    Dropped(Dropped),
    Step(MessageStep),
    DeadLetter {
        envelope: Envelope,
        reason: Malformed,
        bytes: Range<usize>,
    },
}

impl EventSink for EventBatch {
    fn event(&mut self, at: Timestamp, rendered: RenderedEvent<'_>) {
        let is_small = self.bytes.len() < RENDERED_BYTES;
        let rendered = if is_small { rendered } else { rendered.event.into() };
        let kind = match *rendered.event {
            Event::Message(message) => StoredEvent::Message {
                index: self.store_message(message),
                json: self.store_bytes(rendered.json),
                is_shortened: rendered.is_shortened,
                parts: rendered.parts,
            },
            Event::Began(query) => StoredEvent::Began(self.store_message(query)),
            Event::Transaction(transaction) => self.store_transaction(transaction, &rendered),
            Event::Encrypted(envelope) => StoredEvent::Encrypted(envelope.clone()),
            Event::Sender(sender) => StoredEvent::Sender(sender),
            Event::Connection(report) => StoredEvent::Connection {
                connection: Box::new(report.connection.clone()),
                status: report.status,
                is_final: report.is_final,
            },
            Event::Connect(connect) => StoredEvent::Connect(*connect),
            Event::Dropped(dropped) => StoredEvent::Dropped((*dropped).clone()),
            Event::Step(step) => StoredEvent::Step(*step),
            Event::DeadLetter(letter) => StoredEvent::DeadLetter {
                envelope: letter.envelope.clone(),
                reason: letter.reason,
                bytes: self.store_bytes(letter.bytes),
            },
        };
        self.events.push((at, kind));
    }
}

impl EventBatch {
    fn store_transaction(
        &mut self,
        transaction: &Transaction<'_>,
        rendered: &RenderedEvent<'_>,
    ) -> StoredEvent {
        // The response first: most often it is the message that was stored last.
        let response = transaction.response.map(|message| self.store_message(message));
        let query = transaction.query.map(|message| self.store_message(message));
        let rest = transaction.without_messages();
        let texts = rendered.texts.map(|texts| self.store_texts(texts));
        let json = self.store_bytes(rendered.json);
        let is_shortened = rendered.is_shortened;
        StoredEvent::Transaction { query, response, rest, texts, json, is_shortened }
    }

    /// Copies texts and returns their index.
    fn store_texts(&mut self, texts: &MessageTexts) -> usize {
        let index = self.texts_used;
        if index == self.texts.len() {
            self.texts.push(MessageTexts::default());
        }
        self.texts[index].copy_from(texts);
        self.texts_used += 1;
        index
    }

    /// Copies a message, unless it is the one stored last, and returns its index.
    fn store_message(&mut self, message: Message<'_>) -> usize {
        let last = self.messages.last();
        if last.is_none_or(|last| last.envelope.id != message.envelope.id) {
            let bytes = self.store_bytes(message.dns.bytes());
            self.messages.push(StoredMessage {
                envelope: message.envelope.clone(),
                outline: *message.dns.index(),
                wire_bytes: message.wire_bytes,
                bytes,
            });
        }
        self.messages.len() - 1
    }

    fn store_bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    fn message(&self, index: usize) -> Option<Message<'_>> {
        let StoredMessage { envelope, outline, wire_bytes, bytes } = self.messages.get(index)?;
        let dns = Dns::new(self.bytes.get(bytes.clone())?, outline);
        Some(Message { envelope, dns, wire_bytes: *wire_bytes })
    }

    /// Returns whether the batch should be sent before more is added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.packets >= FULL_PACKETS || self.bytes.len() >= FULL_BYTES
    }

    /// Number of events, those included that were replayed.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Calls `each` with what the messages of an event carry beside the message.
    pub(super) fn each_envelope(&mut self, event: usize, each: &mut dyn FnMut(&mut Envelope)) {
        let of_event = match self.events.get(event) {
            Some((_, StoredEvent::Message { index, .. } | StoredEvent::Began(index))) => {
                [Some(*index), None]
            }
            Some((_, StoredEvent::Transaction { query, response, .. })) => [*query, *response],
            _ => [None, None],
        };
        for index in of_event.into_iter().flatten() {
            if let Some(message) = self.messages.get_mut(index) {
                each(&mut message.envelope);
            }
        }
    }

    /// Passes over the next event.
    pub(super) const fn skip_next(&mut self) {
        self.next += 1;
    }

    /// Returns whether no event is left to replay.
    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.events.len()
    }

    /// Time of the event to replay next.
    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.events.get(self.next).map(|(at, _)| *at)
    }

    /// Time of the last event.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.events.last().map(|(at, _)| *at)
    }

    /// Passes the next event to `sink`.
    pub(super) fn replay_next(&mut self, sink: &mut dyn EventSink) {
        let index = self.next;
        self.next += 1;
        let Some((at, kind)) = self.events.get(index) else { return };
        let message = |index: &usize| self.message(*index);
        let part = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        let mut pass = |event: &Event<'_>| sink.event(*at, event.into());
        match kind {
            StoredEvent::Message { index, json, is_shortened, parts } => {
                if let Some(message) = message(index) {
                    let (event, json) = (&Event::Message(message), part(json));
                    let (is_shortened, parts) = (*is_shortened, *parts);
                    let rest = event.into();
                    sink.event(*at, RenderedEvent { json, is_shortened, parts, ..rest });
                }
            }
            StoredEvent::Began(index) => {
                if let Some(query) = message(index) {
                    pass(&Event::Began(query));
                }
            }
            StoredEvent::Transaction { query, response, rest, texts, json, is_shortened } => {
                let query = query.as_ref().and_then(message);
                let response = response.as_ref().and_then(message);
                let transaction = Transaction { query, response, ..*rest };
                let event = &Event::Transaction(&transaction);
                let texts = texts.and_then(|index| self.texts.get(index));
                let (json, is_shortened) = (part(json), *is_shortened);
                sink.event(*at, RenderedEvent { texts, json, is_shortened, ..event.into() });
            }
            StoredEvent::Encrypted(envelope) => pass(&Event::Encrypted(envelope)),
            StoredEvent::Sender(sender) => pass(&Event::Sender(*sender)),
            StoredEvent::Connection { connection, status, is_final } => {
                let (status, is_final) = (*status, *is_final);
                pass(&Event::Connection(&encrypted::ConnectionReport {
                    connection,
                    status,
                    is_final,
                }));
            }
            StoredEvent::Connect(connect) => pass(&Event::Connect(connect)),
            StoredEvent::Dropped(dropped) => pass(&Event::Dropped(dropped)),
            StoredEvent::Step(step) => pass(&Event::Step(step)),
            StoredEvent::DeadLetter { envelope, reason, bytes } => {
                let (envelope, reason, bytes) = (envelope.clone(), *reason, part(bytes));
                pass(&Event::DeadLetter(&DeadLetter { envelope, reason, bytes }));
            }
        }
    }

    /// Removes all events; buffers stay, up to a limit.
    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.messages.clear();
        self.bytes.clear();
        self.bytes.shrink_to(SPARE_BYTES);
        self.texts.retain(|texts| texts.capacity_bytes() <= SPARE_TEXT_BYTES);
        self.texts_used = 0;
        self.next = 0;
        self.packets = 0;
        self.is_last = false;
    }
}
