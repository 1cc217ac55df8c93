//! The order in which streams are looked at, and in which they make room for others.

use super::Key;
use crate::time::Timestamp;
use std::collections::VecDeque;

/// A stream's turn to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub due: Timestamp,
    pub key: Key,
    pub born: u64,
}

/// Turns, about in the order in which they are due. Streams that have given a message have a queue
/// of their own: a flood of connections that never say anything takes room from its like alone.
#[derive(Debug, Default)]
pub(super) struct Turns {
    unproven: VecDeque<Turn>,
    proven: VecDeque<Turn>,
}

impl Turns {
    pub(super) fn push(&mut self, turn: Turn, proven: bool) {
        self.queue(proven).push_back(turn);
    }

    /// Takes a turn that is due, if there is one.
    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<Turn> {
        [&mut self.unproven, &mut self.proven].into_iter().find_map(|queue| {
            queue.front().filter(|turn| turn.due <= now)?;
            queue.pop_front()
        })
    }

    /// Takes the turn of the stream that is to make room, and whether its queue is that of streams
    /// that have given a message.
    pub(super) fn pop_first(&mut self) -> Option<(Turn, bool)> {
        let unproven = self.unproven.pop_front().map(|turn| (turn, false));
        unproven.or_else(|| self.proven.pop_front().map(|turn| (turn, true)))
    }

    pub(super) fn len(&self) -> usize {
        self.unproven.len() + self.proven.len()
    }

    /// Forgets the turns that do not pass `keep`.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Turn) -> bool) {
        self.unproven.retain(&mut keep);
        self.proven.retain(keep);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.unproven.iter().chain(&self.proven)
    }

    fn queue(&mut self, proven: bool) -> &mut VecDeque<Turn> {
        if proven { &mut self.proven } else { &mut self.unproven }
    }
}
