//! Puts the messages that servers report into order of time: each thread of a server reports its own, up to a second
//! later.

use super::Report;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId, ServerReport};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a message waits for earlier ones. unbound and BIND flush once a second.
pub(in crate::capture) const DELAY: Duration = Duration::from_millis(1_500);

/// A frame that has arrived.
#[derive(Debug)]
pub(in crate::capture) struct Arrival {
    pub(in crate::capture) id: PacketId,
    /// Time of its message; of the one before it if it cannot be read.
    pub(in crate::capture) ts: Timestamp,
    /// Index of its sender's counters.
    pub(super) sender: usize,
    content: Result<Report, Vec<u8>>,
}

impl Arrival {
    /// Reads a frame. One that cannot be read has the time `otherwise`.
    /// `last` is what the sender said before.
    pub(in crate::capture) fn read(
        frame: &[u8],
        id: PacketId,
        otherwise: Timestamp,
        last: &mut Option<Arc<ServerReport>>,
    ) -> Self {
        let content = Report::read(frame, last).ok_or_else(|| frame.to_vec());
        let ts = content.as_ref().map_or(otherwise, |report| report.ts);
        Self { id, ts, sender: 0, content }
    }

    /// Returns whether it is a message.
    pub(in crate::capture) const fn is_readable(&self) -> bool {
        self.content.is_ok()
    }

    /// Returns it as a packet.
    pub(in crate::capture) fn packet(&self) -> Packet<'_> {
        match &self.content {
            Ok(report) => report.packet(self.ts, self.id),
            Err(bytes) => {
                Packet::new(self.ts, self.id, Direction::Passive, Body::Unreadable { bytes })
            }
        }
    }

    /// Bytes of memory that it takes while it waits.
    pub(in crate::capture) fn bytes(&self) -> usize {
        let content = match &self.content {
            // Most messages of a sender share what it says, some have their own.
            Ok(report) => {
                report.bytes.len() + report.says.as_ref().map_or(0, |says| says.text_bytes())
            }
            Err(bytes) => bytes.len(),
        };
        // With its place in the map.
        content + 2 * size_of::<Self>()
    }
}

/// Frames that wait for earlier ones.
#[derive(Debug, Default)]
pub(in crate::capture) struct Ordered {
    /// By the time at which each is due, then in the order of arrival.
    waiting: BTreeMap<(Timestamp, u64), Arrival>,
    arrived: u64,
    /// Bytes of memory of those that wait.
    pub(in crate::capture) bytes: usize,
}

impl Ordered {
    /// Adds a frame that is due at a time of the stream.
    pub(in crate::capture) fn push(&mut self, due: Timestamp, arrival: Arrival) {
        self.arrived += 1;
        self.bytes += arrival.bytes();
        self.waiting.insert((due, self.arrived), arrival);
    }

    /// Takes the first frame that is due by `horizon`, if there is one.
    pub(in crate::capture) fn pop(&mut self, horizon: Timestamp) -> Option<Arrival> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= horizon)?;
        let first = first.remove();
        self.bytes -= first.bytes();
        Some(first)
    }

    /// Time at which the first frame is due.
    pub(in crate::capture) fn first_due(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }
}
