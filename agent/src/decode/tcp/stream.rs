//! One direction of a TCP connection: segments in, messages out.

mod place;
mod recover;
mod settle;

use super::buffer::Buffer;
use crate::decode::Malformed;
use crate::decode::outlet::{Carrier, Flow, Octets, Outlet};
use crate::net::TcpSegment;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// Octets of the length before each message (RFC 1035, 4.2.2).
const PREFIX: u64 = 2;
/// Longest message with its prefix: no more octets need be held.
const MAX_OCTETS: u64 = 4 * 65_537;
/// Most memory that one direction may use, in octets.
const MAX_COST: usize = 4 * 1024 * 1024;
/// So many bad messages in a row, and the stream is no DNS.
const MAX_BAD: u32 = 8;

/// Whether the next octet is known to begin a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    /// It does.
    Framed,
    /// It may not; octets in which no message begins are given up for the reason.
    Searching(Malformed),
    /// It does not matter: not DNS.
    Refused(Malformed),
}

/// How the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unknown,
    /// A FIN told that it does at this place.
    Fin(u64),
    /// A reset ended it, and nothing came since.
    Reset,
}

/// A packet some of whose octets wait.
#[derive(Clone, Copy, Debug)]
struct Held {
    carrier: Carrier,
    /// Packets that it stands for: a segment may come in IP fragments.
    packets: u64,
    /// Its octets that wait.
    octets: u64,
    verdict: Option<Malformed>,
    /// Messages and dead letters that it completed.
    given: u32,
}

/// One direction of a connection. Places in it are counted from a number that leaves room before
/// the first octet seen, so that neither reordering nor wrap-around of sequence numbers matters.
#[derive(Debug)]
pub(super) struct Stream {
    flow: Flow,
    /// Sequence number of place 0.
    zero_seq: u32,
    /// The first octet seen or, after a SYN, the first that there is.
    first: u64,
    /// The octet that the next message begins with.
    next: u64,
    /// Where octets end that go on from `next` without a hole.
    covered: u64,
    /// Where the message that begins at `next` ends, if known.
    message_end: Option<u64>,
    ending: Ending,
    sync: Sync,
    /// Whether a message or a SYN was seen.
    anchored: bool,
    /// Whether there were octets before the first one seen.
    joined: bool,
    /// The last hole that was given up.
    lost: (u64, u64),
    bad: u32,
    /// Whether a message could be read.
    proven: bool,
    buffer: Buffer,
    held: BTreeMap<u64, Held>,
    /// Packets that wait.
    packets: u64,
    /// The packet at hand; it settles when it is done with.
    current: Option<u64>,
    serial: u64,
    last_seen: Timestamp,
}

/// Place of a stream's first octet.
const ORIGIN: u64 = 1 << 40;

impl Stream {
    /// A stream whose first octet is `seq`; `from_syn`: there was nothing before it.
    pub(super) fn new(flow: Flow, seq: u32, from_syn: bool) -> Self {
        let low = u32::try_from(ORIGIN & 0xffff_ffff).unwrap_or(0);
        Self {
            flow,
            zero_seq: seq.wrapping_sub(low),
            first: ORIGIN,
            next: ORIGIN,
            covered: ORIGIN,
            message_end: None,
            ending: Ending::Unknown,
            sync: if from_syn { Sync::Framed } else { Sync::Searching(Malformed::TcpMidstream) },
            anchored: from_syn,
            joined: !from_syn,
            lost: (0, 0),
            bad: 0,
            proven: false,
            buffer: Buffer::default(),
            held: BTreeMap::new(),
            packets: 0,
            current: None,
            serial: 0,
            last_seen: Timestamp::default(),
        }
    }

    /// By the decoder's own clock.
    pub(super) fn last_seen(&self) -> Timestamp {
        self.last_seen
    }

    /// Whether it has given a message: it is no mere attempt at a connection.
    pub(super) fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether it has ended, and nothing of it waits.
    pub(super) fn is_over(&self) -> bool {
        (self.ending == Ending::Reset || self.is_sealed()) && !self.holds()
    }

    /// Whether all octets up to its FIN are here.
    fn is_sealed(&self) -> bool {
        self.fin().is_some_and(|fin| self.covered >= fin)
    }

    /// Where the stream ends, if a FIN told.
    fn fin(&self) -> Option<u64> {
        match self.ending {
            Ending::Fin(at) => Some(at),
            Ending::Unknown | Ending::Reset => None,
        }
    }

    /// Packets that wait.
    pub(super) fn held(&self) -> u64 {
        self.packets
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Memory used for octets that wait, roughly.
    pub(super) fn cost(&self) -> usize {
        self.buffer.cost()
    }

    /// Takes a segment; its first payload octet has sequence number `seq`. Tells whether it resets
    /// the connection.
    pub(super) fn segment(
        &mut self,
        segment: &TcpSegment<'_>,
        seq: u32,
        carrier: Carrier,
        packets: u64,
        out: &mut Outlet<'_>,
    ) -> bool {
        self.last_seen = self.last_seen.max(carrier.steady);
        let at = self.place(seq);
        if segment.flags.rst {
            // What a reset carries is a text for people (RFC 9293, 3.5.3).
            out.tally.settle(packets, None);
            return self.take_reset(at, out);
        }
        let length = u64::from(segment.payload_wire);
        if segment.flags.fin {
            self.take_fin(at + length);
        }
        if length == 0 {
            out.tally.settle(packets, None);
        } else {
            if self.ending == Ending::Reset {
                self.ending = Ending::Unknown;
            }
            let held = Held { carrier, packets, octets: 0, verdict: None, given: 0 };
            if self.in_order(at, segment) {
                self.direct(segment.payload, held, out);
            } else {
                self.store(at, length, segment.payload, held, out);
            }
        }
        if self.fin().is_some_and(|fin| self.covered >= fin && self.next < fin) && !self.has_hole()
        {
            self.abandon(Malformed::TcpIncomplete, out);
        }
        false
    }

    /// Whether a segment can be read where it lies: it begins a message and nothing waits.
    fn in_order(&self, at: u64, segment: &TcpSegment<'_>) -> bool {
        self.sync == Sync::Framed
            && at == self.next
            && self.fin().is_none_or(|fin| at < fin)
            && self.buffer.is_empty()
            && u32::try_from(segment.payload.len()).is_ok_and(|len| len == segment.payload_wire)
    }

    /// Reads messages from a segment; what is left of it waits.
    fn direct(&mut self, payload: &[u8], mut held: Held, out: &mut Outlet<'_>) {
        let mut rest = payload;
        while let Some((prefix, message)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            let Some(message) = message.get(..length) else { break };
            let octets = Octets {
                captured: message,
                wire_bytes: u32::from_be_bytes([0, 0, prefix[0], prefix[1]]),
            };
            let result = out.message(&held.carrier, &self.flow, octets, &mut held.given);
            rest = rest.get(2 + length..).unwrap_or_default();
            self.next += 2 + len(message);
            self.anchored = true;
            self.judge(result, &mut held);
            if self.sync != Sync::Framed {
                break;
            }
        }
        self.covered = self.next;
        self.message_end = None;
        if rest.is_empty() {
            out.tally.settle(held.packets, held.verdict);
        } else {
            self.store(self.next, len(rest), rest, held, out);
        }
    }

    /// Keeps count of bad messages and of their packet's verdict.
    fn judge(&mut self, result: Result<(), Malformed>, held: &mut Held) {
        match result {
            Ok(()) => (self.bad, self.proven) = (0, true),
            Err(reason) => {
                held.verdict = held.verdict.or(Some(reason));
                self.bad += 1;
                if self.bad >= MAX_BAD {
                    self.sync = Sync::Refused(reason);
                }
            }
        }
    }

    /// Puts octets aside and reads what they complete.
    fn store(&mut self, at: u64, length: u64, data: &[u8], mut held: Held, out: &mut Outlet<'_>) {
        let end = at + length;
        if self.is_behind_end(at, end) {
            let reason = Malformed::TcpMidstream;
            out.letter(&held.carrier, &self.flow, reason, data, &mut held.given);
            out.tally.settle(held.packets, Some(reason));
            return;
        }
        let from = at.max(self.next);
        self.serial += 1;
        let serial = self.serial;
        if from < end {
            let skip = usize::try_from(from - at).unwrap_or(usize::MAX);
            let data = data.get(skip..).unwrap_or_default();
            held.octets = self.buffer.insert(from, end - from, data, serial);
        }
        if at < self.lost.1 && end > self.lost.0 {
            held.verdict = held.verdict.or(Some(Malformed::TcpGap));
        } else if self.joined && at < self.first && end != self.next {
            // (A keep-alive resends the octet before the next one, RFC 9293, 3.8.4.)
            held.verdict = held.verdict.or(Some(Malformed::TcpMidstream));
        }
        if held.octets == 0 {
            if let Some(reason) = held.verdict
                && end <= self.next
            {
                out.letter(&held.carrier, &self.flow, reason, data, &mut held.given);
            }
            out.tally.settle(held.packets, held.verdict);
            return;
        }
        self.packets += held.packets;
        self.held.insert(serial, held);
        self.covered = self.buffer.covered(self.covered);
        self.current = Some(serial);
        self.advance(out);
        self.bound(out);
        self.current = None;
        self.settle(serial, out);
    }

    /// Gives every message that can be given.
    fn advance(&mut self, out: &mut Outlet<'_>) {
        loop {
            let went_on = match self.sync {
                Sync::Framed => self.take_message(out),
                Sync::Searching(reason) => self.search(reason, out),
                Sync::Refused(reason) => self.refuse(reason, out),
            };
            if !went_on {
                return;
            }
        }
    }

    /// Takes the message at `next`, if it is there.
    fn take_message(&mut self, out: &mut Outlet<'_>) -> bool {
        if self.covered < self.next + PREFIX {
            return false;
        }
        let Some(end) = self.message_end(out) else {
            // The length itself was clipped: where the next message begins is unknown.
            let end = self.buffer.chunk_length(self.next).unwrap_or(PREFIX);
            self.give_up(self.next + end, Malformed::TcpGap, out);
            self.sync = Sync::Searching(Malformed::TcpGap);
            return true;
        };
        if self.covered < end {
            return false;
        }
        let mut bytes = std::mem::take(out.scratch);
        self.buffer.copy(self.next, end, &mut bytes);
        let wire_bytes = u32::try_from(end - self.next - PREFIX).unwrap_or(u32::MAX);
        let captured = bytes.get(2..).unwrap_or_default();
        self.emit(end, Octets { captured, wire_bytes }, out);
        *out.scratch = bytes;
        self.consume(end, None, out);
        true
    }

    /// Where the message at `next` ends, once its length is there.
    fn message_end(&mut self, out: &mut Outlet<'_>) -> Option<u64> {
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
