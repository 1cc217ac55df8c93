//! Emits decoded events and counts packets and messages.

use super::{DeadLetter, Decoded, Envelope, Malformed, Message, MessageId};
use crate::packet::{Direction, Packet, PacketId, Task, Transport};
use dnscribe_dns::{Dns, MessageIndex};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use std::net::SocketAddr;

/// Longest dead letter in bytes.
pub(super) const MAX_DEAD_LETTER_BYTES: usize = 64 * 1024;

/// Metadata of a packet, without its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct PacketContext {
    pub ts: Timestamp,
    /// `ts` by the decoder's clock, which never steps back. Timeouts use it.
    pub steady_ts: Timestamp,
    pub id: PacketId,
    pub scope: u64,
    pub direction: Direction,
    pub task: Option<Task>,
    pub datagram_bytes: u16,
    pub cgroup_id: u64,
    /// Number of captured packets: an IP packet may come in fragments.
    pub packets: u64,
}

impl PacketContext {
    pub(super) fn new(packet: &Packet<'_>, steady_ts: Timestamp) -> Self {
        let Packet {
            ts,
            id,
            scope,
            direction,
            task,
            datagram_bytes,
            cgroup_id,
            arrived: _,
            body: _,
        } = *packet;
        let packets = 1;
        Self { ts, steady_ts, id, scope, direction, task, datagram_bytes, cgroup_id, packets }
    }
}

/// Sender, receiver and transport.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub transport: Transport,
    pub src: SocketAddr,
    pub dst: SocketAddr,
}

/// The bytes of one DNS message.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageBytes<'a> {
    pub captured: &'a [u8],
    /// Length of the message on the wire, in bytes.
    pub wire_bytes: u32,
}

/// Counters of packets and messages.
#[derive(Clone, Debug, Default)]
pub(super) struct PacketCounters {
    /// Without malformed packets.
    pub totals: ledger::Decode,
    /// Malformed packets by reason.
    pub malformed: [u64; Malformed::ALL.len()],
}

impl PacketCounters {
    /// Counts packets as decoded, or as malformed if there is an error.
    pub(super) fn account(&mut self, packets: u64, verdict: Option<Malformed>) {
        match verdict {
            Some(reason) => self.malformed[reason as usize] += packets,
            None => self.totals.decoded_packets += packets,
        }
    }
}

/// Passes the decoder's results to the caller and counts them.
pub(super) struct Emitter<'a> {
    pub counters: &'a mut PacketCounters,
    /// Buffer for temporary copies.
    pub scratch: &'a mut Vec<u8>,
    pub each: &'a mut dyn FnMut(Decoded<'_>),
}

impl Emitter<'_> {
    /// Parses a message and emits it, or a dead letter. `index`: number of messages and dead
    /// letters that the packet has completed; incremented.
    pub(super) fn emit_message(
        &mut self,
        context: &PacketContext,
        flow: &Flow,
        bytes: MessageBytes<'_>,
        index: &mut u32,
    ) -> Result<(), Malformed> {
        let MessageBytes { captured, wire_bytes } = bytes;
        let clipped = u32::try_from(captured.len()).is_ok_and(|captured| captured < wire_bytes);
        match MessageIndex::parse(captured, clipped) {
            Ok(outline) => {
                if outline.flags.is_response() {
                    self.counters.totals.responses += 1;
                } else {
                    self.counters.totals.queries += 1;
                }
                let envelope = &envelope(context, flow, index);
                let dns = Dns::new(captured, &outline);
                (self.each)(Decoded::Message(Message { envelope, dns, wire_bytes }));
                Ok(())
            }
            Err(error) => {
                let reason = error.into();
                self.emit_dead_letter(context, flow, reason, captured, index);
                Err(reason)
            }
        }
    }

    /// Emits a dead letter.
    pub(super) fn emit_dead_letter(
        &mut self,
        context: &PacketContext,
        flow: &Flow,
        reason: Malformed,
        bytes: &[u8],
        index: &mut u32,
    ) {
        let bytes = bytes.get(..MAX_DEAD_LETTER_BYTES).unwrap_or(bytes);
        let envelope = envelope(context, flow, index);
        (self.each)(Decoded::DeadLetter(DeadLetter { envelope, reason, bytes }));
    }
}

pub(super) fn envelope(context: &PacketContext, flow: &Flow, index: &mut u32) -> Envelope {
    let PacketContext { id: packet, ts, scope, direction, task, cgroup_id, .. } = *context;
    let Flow { transport, src, dst } = *flow;
    let id = MessageId { packet, index: *index };
    *index += 1;
    let (report, seen_by) = (None, None);
    Envelope { id, ts, scope, direction, task, cgroup_id, transport, src, dst, report, seen_by }
}
