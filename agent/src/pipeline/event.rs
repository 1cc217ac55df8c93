//! What the front of the pipeline tells its back.

use crate::connection::Report;
use crate::decode::{DeadLetter, Envelope, Message};
use crate::pair::Transaction;

/// Something that has come to light in the rooms of one flow, in the order in which it did.
///
/// An event borrows all that it tells of, and nothing of it is rendered: whoever has to keep one copies
/// its octets and shows them in the same way later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// A DNS message was seen.
    Message(Message<'a>),
    /// A transaction has ended, or a response answers none.
    Transaction(&'a Transaction<'a>),
    /// A query has begun a transaction: it is not one that was sent again. It comes behind the
    /// transactions that its message ended.
    Began(Message<'a>),
    /// A packet of encrypted DNS was seen.
    Sealed(&'a Envelope),
    /// A connection of encrypted DNS has ended, or is reported for its length.
    Connection(&'a Report<'a>),
    /// A packet cannot be read.
    DeadLetter(&'a DeadLetter<'a>),
}

/// Whoever takes events.
pub(super) type Each<'a> = &'a mut dyn FnMut(&Event<'_>);
