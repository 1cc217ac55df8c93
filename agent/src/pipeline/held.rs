//! Packets that wait until it is known what becomes of them after the hook: a response that arrives is seen before the
//! kernel finds that the socket's buffer is full, and before the process reads it.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::MessageKey;
use dnscribe_transaction::packet::{Body, Loss, Packet};
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
    /// Responses in `queue`: how many of each, and of how many it is known what became of them.
    waiting: HashMap<MessageKey, Waiting>,
    /// Bytes in `queue`.
    bytes: usize,
    hold: Duration,
    /// Whether it is seen now that processes read messages.
    pub(super) sees_reads: bool,
    shards: usize,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Waiting {
    held: usize,
    settled: usize,
    /// See [`Packet::scope`].
    scope: u64,
}

struct HeldPacket {
    /// The packet without its bytes.
    packet: Packet<'static>,
    bytes: Vec<u8>,
    loss: Option<Arc<Loss>>,
    /// What it is, if it is a response that waits for itself.
    response: Option<MessageKey>,
}

impl HeldPackets {
    /// Creates an empty queue, one of `shards`, whose packets wait for `hold` at most.
    pub(super) fn new(hold: Duration, shards: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            waiting: HashMap::new(),
            bytes: 0,
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
            let waiting = self.waiting.entry(response).or_default();
            waiting.held += 1;
            waiting.scope = packet.scope;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        self.bytes += copy.len();
        let packet = Packet { body, ..*packet };
        self.queue.push_back(HeldPacket { packet, bytes: copy, loss, response });
        true
    }

    /// Returns the network of a response that waits.
    pub(super) fn scope_of(&self, message: &MessageKey) -> Option<u64> {
        self.waiting.get(message).map(|waiting| waiting.scope)
    }

    /// Notes that it is known what became of a message. Returns whether a packet waited for that.
    pub(super) fn settle(&mut self, message: &MessageKey) -> bool {
        self.waiting.get_mut(message).map(|waiting| waiting.settled += 1).is_some()
    }

    /// Passes the packets on that wait for nothing any more at `now`.
    pub(super) fn release(&mut self, now: Timestamp, each: &mut dyn FnMut(&Packet<'_>)) {
        while self.queue.front().is_some_and(|held| self.is_due(held, now)) {
            self.release_first(each);
        }
    }

    fn is_due(&self, held: &HeldPacket, now: Timestamp) -> bool {
        let Some(response) = &held.response else { return true };
        let hold = if self.sees_reads { self.hold } else { self.hold.min(HOLD) };
        held.packet.ts.plus(hold) <= now
            || self.queue.len() > MAX_HELD / self.shards
            || self.bytes > MAX_HELD_BYTES / self.shards
            || self.waiting.get(response).is_none_or(|waiting| waiting.settled > 0)
    }

    /// Passes all packets on.
    pub(super) fn release_all(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        while !self.queue.is_empty() {
            self.release_first(each);
        }
    }

    fn release_first(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        let Some(HeldPacket { packet, mut bytes, loss, response }) = self.queue.pop_front() else {
            return;
        };
        if let Some(response) = response
            && let Some(waiting) = self.waiting.get_mut(&response)
        {
            waiting.held -= 1;
            waiting.settled = waiting.settled.saturating_sub(1);
            if waiting.held == 0 {
                self.waiting.remove(&response);
            }
        }
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
}
