//! The order in which streams expire and are evicted.

use super::Key;
use dnscribe_record::time::Timestamp;
use std::collections::VecDeque;

/// A queued check of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueuedCheck {
    pub due: Timestamp,
    pub key: Key,
    pub number: u64,
}

/// Queued checks, approximately in order of time. Streams with a message have a queue of their own,
/// so that a flood of connections without data evicts only its own kind.
#[derive(Debug, Default)]
pub(super) struct ExpiryQueue {
    without_message: VecDeque<QueuedCheck>,
    with_message: VecDeque<QueuedCheck>,
}

impl ExpiryQueue {
    pub(super) fn push(&mut self, check: QueuedCheck, has_message: bool) {
        self.queue(has_message).push_back(check);
    }

    /// Removes and returns an entry that is due.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<QueuedCheck> {
        [&mut self.without_message, &mut self.with_message].into_iter().find_map(|queue| {
            queue.front().filter(|check| check.due <= now)?;
            queue.pop_front()
        })
    }

    /// Removes and returns the next entry to evict, and whether it is from the queue of streams
    /// with a message.
    pub(super) fn pop_first(&mut self) -> Option<(QueuedCheck, bool)> {
        let without_message = self.without_message.pop_front().map(|check| (check, false));
        without_message.or_else(|| self.with_message.pop_front().map(|check| (check, true)))
    }

    pub(super) fn len(&self) -> usize {
        self.without_message.len() + self.with_message.len()
    }

    /// Removes the entries for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&QueuedCheck) -> bool) {
        self.without_message.retain(&mut keep);
        self.with_message.retain(keep);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &QueuedCheck> {
        self.without_message.iter().chain(&self.with_message)
    }

    fn queue(&mut self, has_message: bool) -> &mut VecDeque<QueuedCheck> {
        if has_message { &mut self.with_message } else { &mut self.without_message }
    }
}
