//! Messages that are on their way through the host: those that leave a socket until a device takes them, and those that
//! wait in the queue of their socket until a process reads them.
//!
//! The kernel says who sent a datagram that a process reads, and to which address the socket is bound, not which of several
//! datagrams it is; a socket's queue is read in the order of arrival.

use super::waiting::WaitingTable;
use dnscribe_record::ledger::{Path, Reasons};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{MessageKey, MessageStep, PathStep};
use dnscribe_transaction::packet::{Body, Direction, Loss, Packet};
use std::net::SocketAddr;

/// Most messages that are remembered in each direction, in all stages together.
const MAX_MESSAGES: usize = 1 << 16;

/// Client, id, and whether it is a response: the server's address may be translated on the way.
type LeavingKey = (SocketAddr, u16, bool);

/// Port of the socket, sender.
type Pair = (u16, SocketAddr);

/// Messages on their way, and what became of those before.
pub(super) struct FollowedMessages {
    leaving: WaitingTable<LeavingKey, ()>,
    arriving: WaitingTable<Pair, Unread>,
    counts: Path,
}

/// A message that was not read yet.
struct Unread {
    /// Network of the socket.
    scope: u64,
    arrived: Option<Timestamp>,
    message: MessageKey,
}

impl FollowedMessages {
    /// Creates an empty table, one of `shards`.
    pub(super) fn new(shards: usize) -> Self {
        let max = MAX_MESSAGES / shards;
        Self {
            leaving: WaitingTable::new(max),
            arriving: WaitingTable::new(max),
            counts: Path::default(),
        }
    }

    /// Returns the counters; `lost` is not known here.
    pub(super) fn counters(&self) -> Path {
        let mut counts = self.counts.clone();
        counts.leaving.in_flight = self.leaving.len() as u64;
        counts.leaving.unknown = self.leaving.forgotten;
        counts.arriving.in_flight = self.arriving.len() as u64;
        counts.arriving.unknown = self.arriving.forgotten;
        counts
    }

    /// Forgets all: messages are left out from now on, and so are reports of them.
    pub(super) fn clear(&mut self) {
        self.leaving.clear();
        self.arriving.clear();
    }

    /// Forgets messages that have waited too long at `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.leaving.expire(now);
        self.arriving.expire(now);
    }

    /// Notes a packet, and returns its message if that arrives at a socket.
    pub(super) fn observe(
        &mut self,
        packet: &Packet<'_>,
        is_dns: impl Fn(u16) -> bool,
    ) -> Option<MessageKey> {
        match packet.body {
            Body::Ip { bytes, wire_bytes } => {
                let message =
                    MessageKey::read(bytes, wire_bytes).filter(|one| is_dns(one.server.port()))?;
                match packet.direction {
                    Direction::Ingress => {
                        self.arrive(packet, message);
                        return Some(message);
                    }
                    Direction::Egress => self.leave(packet.ts, &message),
                    Direction::Loopback | Direction::Passive => {}
                }
            }
            Body::Sent { bytes, wire_bytes, .. } => {
                let key = leaving_key(&MessageKey::read(bytes, wire_bytes)?);
                if self.leaving.take_first(key, |()| true).is_some() {
                    self.counts.leaving.delivered += 1;
                }
            }
            Body::Dropped { bytes, wire_bytes, loss, is_unseen } => {
                match (loss, MessageKey::read(bytes, wire_bytes)) {
                    (Some(loss), Some(message)) => {
                        self.discard(packet.scope, &message, loss, is_unseen);
                    }
                    _ => self.counts.copies += 1,
                }
            }
            _ => {}
        }
        None
    }

    fn arrive(&mut self, packet: &Packet<'_>, message: MessageKey) {
        let unread = Unread { scope: packet.scope, arrived: packet.arrived, message };
        self.arriving.push(packet.ts, pair(&message), unread);
        self.counts.arriving.packets += 1;
    }

    fn leave(&mut self, ts: Timestamp, message: &MessageKey) {
        self.leaving.push(ts, leaving_key(message), ());
        self.counts.leaving.packets += 1;
    }

    /// Returns the message that a process has read from a socket, which is bound to `local`, and when that came; `None` if it
    /// is not known.
    pub(super) fn read(
        &mut self,
        packet: &Packet<'_>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<(MessageStep, Timestamp)> {
        let Packet { ts, scope, .. } = *packet;
        let at_socket = |unread: &Unread| {
            unread.scope == scope
                && (local.ip().is_unspecified() || receiver(&unread.message) == local)
        };
        let (at_socket, unread) = self.arriving.take_first((local.port(), remote), at_socket)?;
        self.counts.arriving.delivered += 1;
        let step = PathStep::Read { at_socket, arrived: unread.arrived };
        Some((MessageStep { ts, scope, message: unread.message, step }, at_socket))
    }

    /// Notes a message that the kernel discarded; `scope` is 0 if its network is not known, as that of one in a queue.
    fn discard(&mut self, scope: u64, message: &MessageKey, loss: &Loss, is_unseen: bool) {
        let is_it =
            |unread: &Unread| unread.message == *message && (scope == 0 || unread.scope == scope);
        let counts = &mut self.counts;
        let reasons = if is_unseen {
            counts.leaving.packets += 1;
            &mut counts.leaving.dropped
        } else if self.arriving.take_last(pair(message), is_it).is_some() {
            &mut counts.arriving.dropped
        } else if self.leaving.take_first(leaving_key(message), |()| true).is_some() {
            &mut counts.leaving.dropped
        } else {
            &mut counts.passing
        };
        add(reasons, &loss.reason);
    }
}

fn add(reasons: &mut Reasons, reason: &str) {
    match reasons.get_mut(reason) {
        Some(count) => *count += 1,
        None => drop(reasons.insert(reason.to_owned(), 1)),
    }
}

const fn receiver(message: &MessageKey) -> SocketAddr {
    if message.is_response { message.client } else { message.server }
}

fn pair(message: &MessageKey) -> Pair {
    let sender = if message.is_response { message.server } else { message.client };
    (receiver(message).port(), sender)
}

const fn leaving_key(message: &MessageKey) -> LeavingKey {
    (message.client, message.id, message.is_response)
}
