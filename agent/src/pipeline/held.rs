//! Packets that wait until it is known what becomes of them after the hook: a response that arrives is seen before the
//! kernel finds that the socket's buffer is full, and before the process reads it.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageKey;
use dnscribe_transaction::packet::{Body, ConnectStep, Loss, Packet};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Time from the hook for packets that arrive at a socket until the kernel has discarded or queued the packet: one or two
/// microseconds, unless an interrupt comes between.
pub const HOLD: Duration = Duration::from_millis(1);

/// Most packets that wait, in all stages together.
const MAX_HELD: usize = 1 << 14;

/// Most bytes of packets that wait, in all stages together.
pub const MAX_HELD_BYTES: usize = 16 << 20;

/// Longest packet whose buffer is used again, in bytes.
const SPARE_BYTES: usize = 4096;

/// Packets in order of arrival. Begins with a response that arrived, and has all packets after it.
pub(super) struct HeldPackets {
    queue: VecDeque<HeldPacket>,
    /// Number of the first packet in `queue`, counted from the first that was ever held.
    first: usize,
    /// Numbers of the responses in `queue` of which it is not known what became of them, in order.
    waiting: HashMap<MessageKey, VecDeque<usize>>,
    /// Bytes in `queue`.
    bytes: usize,
    /// Connections in `queue` that begin.
    connects: u64,
    hold: Duration,
    /// Whether it is seen now that processes read messages.
    pub(super) sees_reads: bool,
    shards: usize,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

struct HeldPacket {
    /// The packet without its bytes.
    packet: Packet<'static>,
    bytes: Vec<u8>,
    loss: Option<Arc<Loss>>,
    /// What it is, if it is a response of which it is not known what became of it.
    response: Option<MessageKey>,
}

impl HeldPackets {
    /// Creates an empty queue, one of `shards`, whose packets wait for `hold` at most.
    pub(super) fn new(hold: Duration, shards: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            first: 0,
            waiting: HashMap::new(),
            bytes: 0,
            connects: 0,
            hold,
            sees_reads: true,
            shards,
            spare: Vec::new(),
        }
    }

    /// Takes a packet, if it must wait. Returns whether it does. `response`: the packet arrived with this response.
    pub(super) fn hold(&mut self, packet: &Packet<'_>, response: Option<MessageKey>) -> bool {
        let (bytes, loss, body) = match packet.body {
            Body::Ip { bytes, wire_bytes } => (bytes, None, Body::Ip { bytes: &[], wire_bytes }),
            Body::Dropped { bytes, wire_bytes, loss, is_unseen } if is_unseen => (
                bytes,
                loss.cloned(),
                Body::Dropped { bytes: &[], wire_bytes, loss: None, is_unseen },
            ),
            Body::SocketError { transport, local, remote, errno, seen } => {
                (&[][..], None, Body::SocketError { transport, local, remote, errno, seen })
            }
            Body::Connect { cookie, step } => (&[][..], None, Body::Connect { cookie, step }),
            // This is what the others wait for. Dnstap has neither.
            Body::Dropped { .. }
            | Body::Sent { .. }
            | Body::Read { .. }
            | Body::Message { .. }
            | Body::Unreadable { .. } => return false,
        };
        if self.queue.is_empty() && response.is_none() {
            return false;
        }
        if let Some(response) = response {
            let number = self.first + self.queue.len();
            self.waiting.entry(response).or_default().push_back(number);
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        self.bytes += copy.len();
        self.connects += u64::from(is_begun(&body));
        let packet = Packet { body, ..*packet };
        self.queue.push_back(HeldPacket { packet, bytes: copy, loss, response });
        true
    }

    /// Notes that a process has read a message that came at this time. Returns whether that waits.
    pub(super) fn read(&mut self, message: &MessageKey, ts: Timestamp) -> bool {
        let numbers = self.waiting.get(message);
        let packet = |number: &usize| self.queue.get(number - self.first);
        // Sockets are read in the order of arrival.
        let at = numbers.and_then(|numbers| {
            numbers
                .iter()
                .position(|number| packet(number).is_some_and(|held| held.packet.ts == ts))
        });
        at.is_some_and(|at| self.settle(message, at).is_some())
    }

    /// Notes that the kernel has discarded a message, in the network `scope`, which is 0 where it is not known: of several
    /// copies the newest that waits there, which it returns.
    pub(super) fn discard(&mut self, scope: u64, message: &MessageKey) -> Option<&Packet<'static>> {
        let is_there = |held: &HeldPacket| scope == 0 || held.packet.scope == scope;
        let mut numbers = self.waiting.get(message)?.iter();
        let newest = numbers
            .rposition(|number| self.queue.get(number - self.first).is_some_and(is_there))?;
        self.settle(message, newest)
    }

    /// Notes that it is known what became of a copy of a message, counted from the oldest that waits.
    fn settle(&mut self, message: &MessageKey, copy: usize) -> Option<&Packet<'static>> {
        let numbers = self.waiting.get_mut(message)?;
        let number = numbers.remove(copy)?;
        if numbers.is_empty() {
            self.waiting.remove(message);
        }
        let held = self.queue.get_mut(number - self.first)?;
        held.response = None;
        Some(&held.packet)
    }

    /// Passes the packets on that wait for nothing any more at `now`.
    pub(super) fn release(&mut self, now: Timestamp, each: &mut dyn FnMut(&Packet<'_>)) {
        while self.queue.front().is_some_and(|held| self.is_due(held, now)) {
            self.release_first(each);
        }
    }

    fn is_due(&self, held: &HeldPacket, now: Timestamp) -> bool {
        if held.response.is_none() {
            return true;
        }
        let hold = if self.sees_reads { self.hold } else { self.hold.min(HOLD) };
        held.packet.ts.plus(hold) <= now
            || self.queue.len() > MAX_HELD / self.shards
            || self.bytes > MAX_HELD_BYTES / self.shards
    }

    /// Passes all packets on.
    pub(super) fn release_all(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        while !self.queue.is_empty() {
            self.release_first(each);
        }
    }

    fn release_first(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        if let Some(response) = self.queue.front().and_then(|held| held.response) {
            self.settle(&response, 0);
        }
        let Some(HeldPacket { packet, mut bytes, loss, .. }) = self.queue.pop_front() else {
            return;
        };
        self.first += 1;
        self.connects -= u64::from(is_begun(&packet.body));
        let body = match packet.body {
            Body::Ip { wire_bytes, .. } => Body::Ip { bytes: &bytes, wire_bytes },
            Body::Dropped { wire_bytes, is_unseen, .. } => {
                Body::Dropped { bytes: &bytes, wire_bytes, loss: loss.as_ref(), is_unseen }
            }
            other => other,
        };
        each(&Packet { body, ..packet });
        self.bytes -= bytes.len();
        if bytes.capacity() <= SPARE_BYTES {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// Time of the first packet.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        Some(self.queue.front()?.packet.ts)
    }

    /// Number of packets.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Number of connections that begin.
    pub(super) const fn connects(&self) -> u64 {
        self.connects
    }
}

const fn is_begun(body: &Body<'_>) -> bool {
    matches!(body, Body::Connect { step: ConnectStep::Begun { .. }, .. })
}
