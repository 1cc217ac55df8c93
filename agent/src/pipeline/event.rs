//! What a flow stage passes to the merge stage, and how: through [`EventSink`].

use super::renderer::MessageParts;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Connect, DeadLetter, Dropped, Envelope, Message, MessageStep};
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::packet::Task;
use dnscribe_transaction::pair::{MessageTexts, Transaction};

/// An event of one flow. Events are passed in the order in which they happened.
///
/// An event borrows its data. A receiver that keeps an event copies the bytes.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A DNS message was seen.
    Message(Message<'a>),
    /// A transaction has ended, or a response matches no query.
    Transaction(&'a Transaction<'a>),
    /// A query has begun a transaction and is not a retransmission. Passed after the transactions that the
    /// same message ended.
    Began(Message<'a>),
    /// A packet of encrypted DNS was seen.
    Encrypted(&'a Envelope),
    /// A packet waits, and its sender may have ended when it is processed.
    Sender(Sender),
    /// A connection of encrypted DNS has ended, or is reported while it is open because it is long.
    Connection(&'a ConnectionReport<'a>),
    /// A connection of a socket has taken a step.
    Connect(&'a Connect),
    /// The kernel has discarded a message.
    Dropped(&'a Dropped),
    /// A message took a step on its way.
    Step(&'a MessageStep),
    /// A packet cannot be decoded.
    DeadLetter(&'a DeadLetter<'a>),
}

/// The process that sent a packet.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The process.
    pub task: Task,
    /// See [`dnscribe_transaction::packet::Packet::cgroup_id`].
    pub cgroup_id: u64,
}

/// An event with the parts of its record that the flow stage has rendered.
#[derive(Clone, Copy, Debug)]
pub struct RenderedEvent<'a> {
    /// The event.
    pub(super) event: &'a Event<'a>,
    /// Names and answers of a transaction as text, if a stage needs them.
    pub(super) texts: Option<&'a MessageTexts>,
    /// The first part of the JSON record of a message or transaction, to which the merge stage adds fields.
    /// Empty if no sink needs it.
    pub(super) json: &'a [u8],
    /// Whether the record leaves out parts of its messages, because it would be too large.
    pub(super) is_shortened: bool,
    /// What is rendered of the record of a message.
    pub(super) parts: MessageParts,
}

impl<'a> From<&'a Event<'a>> for RenderedEvent<'a> {
    fn from(event: &'a Event<'a>) -> Self {
        Self { event, texts: None, json: &[], is_shortened: false, parts: MessageParts::Nothing }
    }
}

/// Receiver of the events of flow stages: the merge side itself, or a batch on its way to it.
pub trait EventSink {
    /// Takes an event that happened at `at`, by the clock of the capture.
    fn event(&mut self, at: Timestamp, event: RenderedEvent<'_>);

    /// The flow stage has passed all events that timers up to `now` cause.
    fn expired(&mut self, now: Timestamp) {
        let _ = now;
    }
}
