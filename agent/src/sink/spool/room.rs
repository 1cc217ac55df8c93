//! Who has to go when the spool is full.
//!
//! First go segments of which everything is in the producer's memory already: their records are not
//! lost with them, while a record that finds no room is. Only then those with unsent records, least
//! important stream first. An incoming record never displaces what is more important, and an
//! insurance copy never displaces what is nowhere else.

use super::WhenFull;
use super::queue::{Queue, Segment};
use crate::sink::Stream;

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

/// What asks for room.
#[derive(Clone, Copy)]
pub(super) struct Incoming {
    pub stream: Stream,
    /// An insurance copy: the producer has the records.
    pub sent: bool,
}

/// The segments to remove, in order, so that at least `goal` octets become free; nothing where that
/// many cannot become free.
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

/// All that may go, in the order in which it goes.
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
    // Its own stream's copies may go for a record that is nowhere else, whatever the policy.
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
