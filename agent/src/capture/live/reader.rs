//! The reader of one ring: records become packets. Each may have a thread of its own; they share
//! nothing that any of them waits for.

use super::clock::Clock;
use super::ring::{Gauge, Ring};
use super::tally::Received;
use super::{icmp, packet, tap};
use crate::capture::Packet;
use crate::time::Timestamp;
use dnscribe_common::record::Record;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// The reader of one ring.
pub struct Reader {
    ring: Ring,
    received: Vec<Received>,
    clock: Arc<Clock>,
    locals: Option<tap::Locals>,
    witness: Option<icmp::Witness>,
}

impl Reader {
    /// Of a ring, with `locals` at hook `socket`.
    pub(super) fn new(ring: Ring, clock: Arc<Clock>, locals: Option<tap::Locals>) -> Self {
        Self { ring, received: Vec::new(), clock, locals, witness: None }
    }

    /// Has it tell the listeners for ICMP errors of new network namespaces.
    pub(super) fn set_witness(&mut self, witness: icmp::Witness) {
        self.witness = Some(witness);
    }

    /// What came out of the ring before.
    pub(super) fn set_received(&mut self, received: Vec<Received>) {
        self.received = received;
    }

    pub(super) fn gauge(&self) -> Arc<Gauge> {
        self.ring.gauge()
    }

    /// What came out of the ring, by CPU.
    #[must_use]
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// Now, by the clock of the packets.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether nothing at all is in the ring.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.used() == 0
    }

    /// Returns when the ring may hold something or `bell`, if there is one, can be read, at the latest
    /// after `limit`; whether it was the bell. At high rates the programs wake nobody, and this sleeps for a few
    /// milliseconds at a time without looking at the bell.
    ///
    /// # Errors
    /// Where waiting itself fails.
    pub fn wait(&mut self, limit: Duration, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.ring.wait(limit, bell)
    }

    /// Hands over packets straight from the ring, `max` at most, and gives their number. Fewer than
    /// `max` means that the ring is empty.
    pub fn drain(&mut self, max: usize, each: &mut dyn FnMut(&Packet<'_>)) -> usize {
        let Self { ring, received, clock, locals, witness } = self;
        if let Some(witness) = witness {
            witness.hear();
        }
        ring.drain(max, |octets| match Record::try_from(octets) {
            Ok(record) => {
                let cpu = usize::try_from(record.header.cpu).unwrap_or(0);
                if received.len() <= cpu {
                    received.resize(cpu + 1, Received::default());
                }
                if let Some(received) = received.get_mut(cpu) {
                    received.note(record.header.seq);
                }
                if let Some(witness) = witness {
                    witness.note(record.header.netns_cookie);
                }
                each(&packet::packet(&record, clock, locals.as_mut(), witness.as_ref()));
            }
            // Programs and agent come from one build, so that this cannot be. Should it be all the
            // same, the record counts as received on no CPU, and the ledger shows the imbalance.
            Err(error) => tracing::error!(%error, "unreadable record"),
        })
    }
}
