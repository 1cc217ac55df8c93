//! A query and what became of it.

use super::transfer::Running;
use super::{Status, Transaction, Vantage};
use crate::decode::{Kept, Message};
use crate::time::Timestamp;

/// What became of a query.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// A zone transfer has begun and not ended.
    Transferring(Box<Running>),
    /// A response came; what it said, if it said all.
    Answered(Option<u64>),
    /// It timed out, was unreachable, or was evicted.
    Failed,
}

/// A query and what became of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) query: Kept,
    pub(super) deadline: Timestamp,
    pub(super) state: State,
    pub(super) retries: u32,
    /// Responses that resembled the one it waits for.
    pub(super) rejected: u32,
}

impl Entry {
    pub(super) fn waiting(query: &Message<'_>, deadline: Timestamp) -> Self {
        let query = Kept::from(*query);
        Self { query, deadline, state: State::Waiting, retries: 0, rejected: 0 }
    }

    /// Becomes another query, which waits.
    pub(super) fn replace(&mut self, query: &Message<'_>, deadline: Timestamp) {
        self.query.replace(query);
        (self.deadline, self.state) = (deadline, State::Waiting);
        (self.retries, self.rejected) = (0, 0);
    }

    /// Gives back what memory of its own it has.
    pub(super) fn release(&mut self) {
        self.query.release();
        self.state = State::Failed;
    }

    pub(super) fn transaction(&self, status: Status) -> Transaction<'_> {
        let query = self.query.message();
        Transaction {
            status,
            vantage: Vantage::of(query.envelope.sight, false),
            query: Some(query),
            response: None,
            retries: self.retries,
            conflict: false,
            rejected: self.rejected,
            transfer: None,
            stray: None,
            icmp: None,
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    /// Octets of memory that its place has no room for.
    pub(super) fn further_bytes(&self) -> usize {
        let first = match &self.state {
            State::Transferring(running) => size_of::<Running>() + running.first.memory_bytes(),
            _ => 0,
        };
        self.query.memory_bytes() - size_of::<Kept>() + first
    }

    /// The same of a query that is to wait.
    pub(super) fn further_bytes_for(query: &Message<'_>) -> usize {
        Kept::bytes_for(query) - size_of::<Kept>()
    }
}
