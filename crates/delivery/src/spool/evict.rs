//! Selects the segments to remove when the spool is full.
//!
//! Segments whose records are all in the producer's memory go first: removing them loses nothing,
//! while a record that does not fit is lost. Then segments with unsent records, the least important
//! stream first. A record never replaces a more important one, and a backup copy never replaces a
//! record that is stored only here.

use super::WhenFull;
use super::queue::{Queue, Segment};
use crate::Stream;

/// The streams, most important first.
pub(super) const IMPORTANCE: [Stream; Stream::ALL.len()] = [
    Stream::Ledger,
    Stream::Alerts,
    Stream::Metrics,
    Stream::Lookups,
    Stream::Transactions,
    Stream::Connections,
    Stream::Dlq,
    Stream::Messages,
];

/// The frame that needs space.
#[derive(Clone, Copy)]
pub(super) struct Incoming {
    pub stream: Stream,
    /// A backup copy: the producer has the records.
    pub sent: bool,
}

/// The segments to remove, in order, to free at least `goal` bytes; `None` if that is not possible.
pub(super) fn victims(
    queues: &[Queue; Stream::ALL.len()],
    incoming: Incoming,
    policy: WhenFull,
    goal: u64,
) -> Option<Vec<(Stream, u64)>> {
    let mut freed = 0;
    let mut victims = Vec::new();
    for (stream, name, segment) in candidates(queues, incoming, policy) {
        if freed >= goal {
            break;
        }
        freed += segment.bytes;
        victims.push((stream, name));
    }
    (freed >= goal).then_some(victims)
}

/// All segments that may be removed, in order.
fn candidates(
    queues: &[Queue; Stream::ALL.len()],
    incoming: Incoming,
    policy: WhenFull,
) -> impl Iterator<Item = (Stream, u64, &Segment)> {
    let least_first = move || {
        let less =
            IMPORTANCE.into_iter().rev().take_while(move |stream| *stream != incoming.stream);
        less.map(move |stream| (stream, policy == WhenFull::DropOldest))
    };
    let own = (incoming.stream, true);
    // Copies of the same stream may be removed for a record stored nowhere else, with any policy.
    let copies_too = policy == WhenFull::DropOldest || !incoming.sent;
    let in_memory = least_first()
        .map(|(stream, _)| (stream, true))
        .chain(copies_too.then_some(own))
        .flat_map(|(stream, oldest)| segments(queues, stream, oldest))
        .filter(|(_, _, segment)| !segment.has_waiting());
    let only_here = least_first()
        .chain((policy == WhenFull::DropOldest).then_some(own))
        .filter(move |_| !incoming.sent)
        .flat_map(|(stream, oldest)| segments(queues, stream, oldest))
        .filter(|(_, _, segment)| segment.has_waiting());
    in_memory.chain(only_here)
}

fn segments(
    queues: &[Queue; Stream::ALL.len()],
    stream: Stream,
    oldest_first: bool,
) -> impl Iterator<Item = (Stream, u64, &Segment)> {
    let mut left = queues[stream as usize].segments();
    std::iter::from_fn(move || if oldest_first { left.next() } else { left.next_back() })
        .map(move |(name, segment)| (stream, name, segment))
}
