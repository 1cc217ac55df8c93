//! The reader of one ring: converts records to packets. Each reader may run in its own thread; they share no
//! locks.

use super::clock::Clock;
use super::ring::Ring;
use super::{icmp, packet, tap};
use crate::capture::{Packet, Received};
use dnscribe_common::record::Record;
use dnscribe_record::time::Timestamp;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// The reader of one ring.
pub struct Reader {
    pub(super) ring: Ring,
    pub(super) received: Vec<Received>,
    pub(super) clock: Arc<Clock>,
    /// This host's addresses, at hook `socket`.
    pub(super) locals: Option<tap::LocalAddresses>,
    /// The listeners for ICMP errors, to which new network namespaces are reported.
    pub(super) coverage: Option<icmp::IcmpCoverage>,
}

impl Reader {
    /// Returns what was received from the ring, by CPU.
    #[must_use]
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Returns the current time by the clock of the packets.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns whether the ring is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.gauge.used() == 0
    }

    /// Waits until the ring may hold records, `bell` can be read, or `limit` is over. Returns whether `bell`
    /// can be read. At high rates the programs send no wakeups, and this sleeps for a few milliseconds without
    /// checking `bell`.
    ///
    /// # Errors
    /// Returns an error if `poll(2)` fails.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.ring.wait(limit, bell)
    }

    /// Calls `each` with up to `max` packets, borrowed from the ring, and returns their number. Fewer than
    /// `max` means that the ring is empty.
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>)) -> usize {
        let Self { ring, received, clock, locals, coverage } = self;
        if let Some(coverage) = coverage {
            coverage.read_results();
        }
        ring.drain(max, |bytes| match Record::try_from(bytes) {
            Ok(record) => {
                let cpu = usize::try_from(record.header.cpu).unwrap_or(0);
                if received.len() <= cpu {
                    received.resize(cpu + 1, Received::default());
                }
                if let Some(received) = received.get_mut(cpu) {
                    received.note(record.header.seq);
                }
                if let Some(coverage) = coverage {
                    coverage.note(record.header.netns_cookie);
                }
                each(&packet::packet(&record, clock, locals.as_mut(), coverage.as_ref()));
            }
            // Cannot happen, since programs and agent come from one build. The record would count as
            // received on no CPU, and the ledger would show the imbalance.
            Err(error) => tracing::error!(%error, "unreadable record"),
        })
    }
}
