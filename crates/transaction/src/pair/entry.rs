//! An entry of the pairing table: a query with its state.

use super::transfer::RunningTransfer;
use super::{Status, Transaction, Vantage};
use crate::decode::{Message, OwnedMessage};
use dnscribe_record::time::Timestamp;

/// State of a query.
#[derive(Debug)]
pub(super) enum QueryState {
    /// No response yet.
    Waiting,
    /// A zone transfer has started and not ended.
    Transferring(Box<RunningTransfer>),
    /// A response came; holds the hash of its answer unless it was truncated.
    Answered(Option<u64>),
    /// The query timed out, was unreachable, or was evicted.
    Failed,
}

/// A query with its state.
#[derive(Debug)]
pub(super) struct QueryEntry {
    pub(super) query: OwnedMessage,
    pub(super) deadline: Timestamp,
    pub(super) state: QueryState,
    pub(super) retries: u32,
    /// Orphan responses that resembled the expected one.
    pub(super) rejected: u32,
}

impl QueryEntry {
    pub(super) fn waiting(query: &Message<'_>, deadline: Timestamp) -> Self {
        let query = OwnedMessage::from(*query);
        Self { query, deadline, state: QueryState::Waiting, retries: 0, rejected: 0 }
    }

    /// Reuses the entry for another query, which waits.
    pub(super) fn replace(&mut self, query: &Message<'_>, deadline: Timestamp) {
        self.query.replace(query);
        (self.deadline, self.state) = (deadline, QueryState::Waiting);
        (self.retries, self.rejected) = (0, 0);
    }

    /// Frees the heap memory of the entry.
    pub(super) fn release(&mut self) {
        self.query.release();
        self.state = QueryState::Failed;
    }

    pub(super) fn transaction(&self, status: Status) -> Transaction<'_> {
        let query = self.query.message();
        let vantage = Vantage::from_direction(query.envelope.direction, false);
        Transaction {
            query: Some(query),
            retries: self.retries,
            rejected: self.rejected,
            ..Transaction::new(status, vantage)
        }
    }

    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, QueryState::Waiting)
    }

    /// Returns the bytes that the entry occupies on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let first = match &self.state {
            QueryState::Transferring(running) => {
                size_of::<RunningTransfer>() + running.first.memory_bytes()
            }
            _ => 0,
        };
        self.query.memory_bytes() - size_of::<OwnedMessage>() + first
    }

    /// Returns the bytes that an entry for `query` would occupy on the heap.
    pub(super) fn heap_bytes_for(query: &Message<'_>) -> usize {
        OwnedMessage::memory_bytes_for(query) - size_of::<OwnedMessage>()
    }
}
