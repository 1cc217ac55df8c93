//! One direction of a TCP connection: takes segments, emits messages.

mod account;
mod resync;
mod sequence;

use super::buffer::Buffer;
use crate::decode::Malformed;
use crate::decode::emitter::{Emitter, Flow, MessageBytes, PacketContext};
use crate::packet::net::TcpSegment;
use dnscribe_record::time::Timestamp;
use std::collections::BTreeMap;

/// Bytes of the length before each message (RFC 1035, 4.2.2).
const PREFIX: u64 = 2;
/// Most bytes held: four messages of the greatest length.
const MAX_HELD_BYTES: u64 = 4 * 65_537;
/// Most memory of one direction, in bytes.
const MAX_MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// After this many malformed messages in a row, the stream is not DNS.
const MAX_CONSECUTIVE_ERRORS: u32 = 8;

/// Whether the next byte is known to begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The next byte begins a message.
    Framed,
    /// Unknown. Bytes in which no message begins are discarded with this reason.
    Searching(Malformed),
    /// The stream is not DNS; everything is discarded with this reason.
    Rejected(Malformed),
}

/// The end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unknown,
    /// A FIN was seen; the stream ends at this offset.
    Fin(u64),
    /// A reset was seen, and no data since.
    Reset,
}

/// A packet with pending data.
#[derive(Clone, Copy, Debug)]
struct HeldPacket {
    context: PacketContext,
    /// Pending bytes of the packet.
    bytes: u64,
    error: Option<Malformed>,
    /// Messages and dead letters that the packet completed.
    emitted: u32,
}

/// One direction of a connection. Offsets start at [`FIRST_OFFSET`], which leaves space before the first
/// byte seen: neither reordering nor wrap-around of sequence numbers makes them negative.
#[derive(Debug)]
pub(super) struct Stream {
    flow: Flow,
    /// Sequence number of offset 0.
    base_seq: u32,
    /// Offset of the first byte seen; after a SYN, of the first byte of the stream.
    first: u64,
    /// Offset of the next message.
    next: u64,
    /// End of the contiguous data from `next` on.
    contiguous_end: u64,
    /// End of the message at `next`, if known.
    message_end: Option<u64>,
    ending: Ending,
    framing: Framing,
    /// Whether a message or a SYN was seen.
    start_known: bool,
    /// Whether the stream had data before the first byte seen.
    joined_midstream: bool,
    /// The last gap that was skipped, as offsets.
    skipped_gap: (u64, u64),
    consecutive_errors: u32,
    /// Whether a message was read. Otherwise it may be only a connection attempt.
    pub(super) has_message: bool,
    pub(super) buffer: Buffer,
    held: BTreeMap<u64, HeldPacket>,
    /// Number of packets held.
    pub(super) packets: u64,
    /// The packet being processed. It is counted at the end of processing.
    current: Option<u64>,
    serial: u64,
    /// Time of the last activity, by the decoder's clock.
    pub(super) last_seen: Timestamp,
}

/// Offset of a stream's first byte.
const FIRST_OFFSET: u64 = 1 << 40;

impl Stream {
    /// Creates a stream whose first byte has number `seq`. `from_syn`: a SYN was before it.
    pub(super) fn new(flow: Flow, seq: u32, from_syn: bool) -> Self {
        let low = u32::try_from(FIRST_OFFSET & 0xffff_ffff).unwrap_or(0);
        let midstream = Framing::Searching(Malformed::TcpMidstream);
        let framing = if from_syn { Framing::Framed } else { midstream };
        Self {
            flow,
            base_seq: seq.wrapping_sub(low),
            first: FIRST_OFFSET,
            next: FIRST_OFFSET,
            contiguous_end: FIRST_OFFSET,
            message_end: None,
            ending: Ending::Unknown,
            framing,
            start_known: from_syn,
            joined_midstream: !from_syn,
            skipped_gap: (0, 0),
            consecutive_errors: 0,
            has_message: false,
            buffer: Buffer::default(),
            held: BTreeMap::new(),
            packets: 0,
            current: None,
            serial: 0,
            last_seen: Timestamp::default(),
        }
    }

    /// Returns whether the stream has ended and no data is pending.
    pub(super) fn is_over(&self) -> bool {
        (self.ending == Ending::Reset || self.is_complete()) && self.packets == 0
    }

    /// Returns whether all bytes up to the FIN have arrived.
    fn is_complete(&self) -> bool {
        self.fin().is_some_and(|fin| self.contiguous_end >= fin)
    }

    /// Returns the end of the stream, if a FIN was seen.
    fn fin(&self) -> Option<u64> {
        if let Ending::Fin(at) = self.ending { Some(at) } else { None }
    }

    /// Processes a segment whose first payload byte has sequence number `seq`. Returns whether it
    /// resets the connection.
    pub(super) fn segment(
        &mut self,
        segment: &TcpSegment<'_>,
        seq: u32,
        context: PacketContext,
        out: &mut Emitter<'_>,
    ) -> bool {
        self.last_seen = self.last_seen.max(context.steady_ts);
        let at = self.offset_of(seq);
        if segment.flags.rst {
            // The payload of a reset is text for humans (RFC 9293, 3.5.3).
            out.counters.account(context.packets, None);
            return self.take_reset(at, out);
        }
        let length = u64::from(segment.payload_wire);
        if segment.flags.fin {
            self.take_fin(at + length);
        }
        if length == 0 {
            out.counters.account(context.packets, None);
        } else {
            if self.ending == Ending::Reset {
                self.ending = Ending::Unknown;
            }
            let held = HeldPacket { context, bytes: 0, error: None, emitted: 0 };
            if self.is_in_order(at, segment) {
                self.read_in_place(segment.payload, held, out);
            } else {
                self.buffer_segment(at, length, segment.payload, held, out);
            }
        }
        if self.fin().is_some_and(|fin| self.contiguous_end >= fin && self.next < fin)
            && !self.has_gap()
        {
            self.abandon(Malformed::TcpIncomplete, out);
        }
        false
    }

    /// Returns whether a segment needs no copy: it begins a message, and no data is pending.
    fn is_in_order(&self, at: u64, segment: &TcpSegment<'_>) -> bool {
        self.framing == Framing::Framed
            && at == self.next
            && self.fin().is_none_or(|fin| at < fin)
            && self.buffer.is_empty()
            && u32::try_from(segment.payload.len()).is_ok_and(|len| len == segment.payload_wire)
    }

    /// Reads messages from a segment. The rest becomes pending.
    fn read_in_place(&mut self, payload: &[u8], mut held: HeldPacket, out: &mut Emitter<'_>) {
        let mut rest = payload;
        while let Some((prefix, message)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            let Some(message) = message.get(..length) else { break };
            let bytes = MessageBytes {
                captured: message,
                wire_bytes: u32::from_be_bytes([0, 0, prefix[0], prefix[1]]),
            };
            let result = out.emit_message(&held.context, &self.flow, bytes, &mut held.emitted);
            rest = rest.get(2 + length..).unwrap_or_default();
            self.next += 2 + len(message);
            self.start_known = true;
            self.note_result(result, &mut held);
            if self.framing != Framing::Framed {
                break;
            }
        }
        self.contiguous_end = self.next;
        self.message_end = None;
        if rest.is_empty() {
            out.counters.account(held.context.packets, held.error);
        } else {
            self.buffer_segment(self.next, len(rest), rest, held, out);
        }
    }

    /// Counts malformed messages and notes the packet's first error.
    fn note_result(&mut self, result: Result<(), Malformed>, held: &mut HeldPacket) {
        match result {
            Ok(()) => (self.consecutive_errors, self.has_message) = (0, true),
            Err(reason) => {
                held.error = held.error.or(Some(reason));
                self.consecutive_errors += 1;
                if self.consecutive_errors >= MAX_CONSECUTIVE_ERRORS {
                    self.framing = Framing::Rejected(reason);
                }
            }
        }
    }

    /// Stores data and reads the messages that it completes.
    fn buffer_segment(
        &mut self,
        at: u64,
        length: u64,
        data: &[u8],
        mut held: HeldPacket,
        out: &mut Emitter<'_>,
    ) {
        let end = at + length;
        if self.is_behind_end(at, end) {
            let reason = Malformed::TcpMidstream;
            out.emit_dead_letter(&held.context, &self.flow, reason, data, &mut held.emitted);
            out.counters.account(held.context.packets, Some(reason));
            return;
        }
        let from = at.max(self.next);
        self.serial += 1;
        let serial = self.serial;
        if from < end {
            let skip = usize::try_from(from - at).unwrap_or(usize::MAX);
            let data = data.get(skip..).unwrap_or_default();
            held.bytes = self.buffer.insert(from, end - from, data, serial);
        }
        if at < self.skipped_gap.1 && end > self.skipped_gap.0 {
            held.error = held.error.or(Some(Malformed::TcpGap));
        } else if self.joined_midstream && at < self.first && end != self.next {
            // A keep-alive repeats the byte before the next one (RFC 9293, 3.8.4).
            held.error = held.error.or(Some(Malformed::TcpMidstream));
        }
        if held.bytes == 0 {
            if let Some(reason) = held.error
                && end <= self.next
            {
                out.emit_dead_letter(&held.context, &self.flow, reason, data, &mut held.emitted);
            }
            out.counters.account(held.context.packets, held.error);
            return;
        }
        self.packets += held.context.packets;
        self.held.insert(serial, held);
        self.contiguous_end = self.buffer.contiguous_end(self.contiguous_end);
        self.current = Some(serial);
        self.advance(out);
        self.enforce_limits(out);
        self.current = None;
        self.account_if_done(serial, out);
    }

    /// Emits all complete messages.
    fn advance(&mut self, out: &mut Emitter<'_>) {
        loop {
            let progressed = match self.framing {
                Framing::Framed => self.take_message(out),
                Framing::Searching(reason) => self.search(reason, out),
                Framing::Rejected(reason) => self.reject(reason, out),
            };
            if !progressed {
                return;
            }
        }
    }

    /// Emits the message at `next`, if it is complete.
    fn take_message(&mut self, out: &mut Emitter<'_>) -> bool {
        if self.contiguous_end < self.next + PREFIX {
            return false;
        }
        let Some(end) = self.message_end(out) else {
            // The length was clipped, so the beginning of the next message is unknown.
            let end = self.buffer.chunk_length(self.next).unwrap_or(PREFIX);
            self.discard(self.next + end, Malformed::TcpGap, out);
            self.framing = Framing::Searching(Malformed::TcpGap);
            return true;
        };
        if self.contiguous_end < end {
            return false;
        }
        let mut bytes = std::mem::take(out.scratch);
        self.buffer.copy(self.next, end, &mut bytes);
        let wire_bytes = u32::try_from(end - self.next - PREFIX).unwrap_or(u32::MAX);
        let captured = bytes.get(2..).unwrap_or_default();
        self.emit(end, MessageBytes { captured, wire_bytes }, out);
        *out.scratch = bytes;
        self.consume(end, None, out);
        true
    }

    /// Returns the end of the message at `next`, once its length has arrived.
    fn message_end(&mut self, out: &mut Emitter<'_>) -> Option<u64> {
        if self.message_end.is_none() {
            self.buffer.copy(self.next, self.next + PREFIX, out.scratch);
            let length = out.scratch.first_chunk::<2>().map(|two| u16::from_be_bytes(*two));
            self.message_end = length.map(|length| self.next + PREFIX + u64::from(length));
        }
        self.message_end
    }
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
