//! What leaves the decoder, and the count of it.

#![forbid(unsafe_code)]

use super::dns::{Dns, Outline};
use super::{DeadLetter, Decoded, Envelope, Malformed, Message, MessageId};
use crate::capture::{Origin, Packet, Sight, Task, Transport};
use crate::time::Timestamp;
use std::net::SocketAddr;

/// Longest dead letter, in octets.
pub(super) const MAX_LETTER: usize = 64 * 1024;

/// A packet without its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carrier {
    pub ts: Timestamp,
    /// The same moment by the decoder's own clock, which never steps back: what waits is timed by it.
    pub steady: Timestamp,
    pub origin: Origin,
    pub scope: u64,
    pub sight: Sight,
    pub task: Option<Task>,
    pub datagram_bytes: u16,
    pub cgroup_id: u64,
}

impl Carrier {
    pub(super) fn new(packet: &Packet<'_>, steady: Timestamp) -> Self {
        let Packet { ts, origin, scope, sight, task, datagram_bytes, cgroup_id, body: _ } = *packet;
        Self { ts, steady, origin, scope, sight, task, datagram_bytes, cgroup_id }
    }
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub transport: Transport,
    pub src: SocketAddr,
    pub dst: SocketAddr,
}

/// The octets of one DNS message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Octets<'a> {
    pub captured: &'a [u8],
    /// Their number on the wire.
    pub wire_bytes: u32,
}

/// Packets settled and messages found.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub received: u64,
    pub decoded: u64,
    pub malformed: [u64; Malformed::ALL.len()],
    pub queries: u64,
    pub responses: u64,
    /// ICMP errors about queries; these are told.
    pub icmp_about_queries: u64,
    /// ICMP errors about responses.
    pub icmp_about_responses: u64,
}

impl Tally {
    /// Ends the way of `packets` packets.
    pub(super) fn settle(&mut self, packets: u64, verdict: Option<Malformed>) {
        let place = verdict.and_then(|reason| Malformed::ALL.iter().position(|one| *one == reason));
        match place.and_then(|place| self.malformed.get_mut(place)) {
            Some(count) => *count += packets,
            None => self.decoded += packets,
        }
    }
}

/// Where the decoder's rooms put what they find.
pub(super) struct Outlet<'a> {
    pub tally: &'a mut Tally,
    /// Room for copies, whoever needs it: nobody's contents last.
    pub scratch: &'a mut Vec<u8>,
    pub each: &'a mut dyn FnMut(Decoded<'_>),
}

impl Outlet<'_> {
    /// Decodes a message and gives it, or a dead letter. `index`: how many messages and letters
    /// the carrier gave before; counted up.
    pub(super) fn message(
        &mut self,
        carrier: &Carrier,
        flow: &Flow,
        octets: Octets<'_>,
        index: &mut u32,
    ) -> Result<(), Malformed> {
        let Octets { captured, wire_bytes } = octets;
        let clipped = u32::try_from(captured.len()).is_ok_and(|captured| captured < wire_bytes);
        match Outline::read(captured, clipped) {
            Ok(outline) => {
                if outline.flags.response() {
                    self.tally.responses += 1;
                } else {
                    self.tally.queries += 1;
                }
                let envelope = &envelope(carrier, flow, index);
                let dns = Dns::new(captured, &outline);
                (self.each)(Decoded::Message(Message { envelope, dns, wire_bytes }));
                Ok(())
            }
            Err(reason) => {
                self.letter(carrier, flow, reason, octets.captured, index);
                Err(reason)
            }
        }
    }

    /// Gives a dead letter.
    pub(super) fn letter(
        &mut self,
        carrier: &Carrier,
        flow: &Flow,
        reason: Malformed,
        bytes: &[u8],
        index: &mut u32,
    ) {
        let bytes = bytes.get(..MAX_LETTER).unwrap_or(bytes);
        let envelope = envelope(carrier, flow, index);
        (self.each)(Decoded::DeadLetter(DeadLetter { envelope, reason, bytes }));
    }
}

pub(super) fn envelope(carrier: &Carrier, flow: &Flow, index: &mut u32) -> Envelope {
    let id = MessageId { origin: carrier.origin, index: *index };
    *index += 1;
    Envelope {
        id,
        ts: carrier.ts,
        scope: carrier.scope,
        sight: carrier.sight,
        task: carrier.task,
        cgroup_id: carrier.cgroup_id,
        transport: flow.transport,
        src: flow.src,
        dst: flow.dst,
    }
}
