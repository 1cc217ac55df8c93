//! Messages that wait in the queues of their sockets. The kernel says who sent a datagram that a process reads, not which of
//! several; a socket's queue is read in the order of arrival.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{MessageKey, MessageStep, PathStep};
use dnscribe_transaction::packet::{Body, Direction, Packet};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest time that a message is remembered. Programs that do not ask who sent a datagram are never seen to read it.
const RETENTION: Duration = Duration::from_secs(10);

/// Most messages that are remembered, in all stages together.
const MAX_MESSAGES: usize = 1 << 16;

/// Network, port of the socket, sender.
type Pair = (u64, u16, SocketAddr);

/// The messages that have arrived and were not read yet.
pub(super) struct UnreadMessages {
    queues: HashMap<Pair, VecDeque<Unread>>,
    /// In order of arrival, those that were read included.
    order: VecDeque<(Timestamp, Pair)>,
    max: usize,
}

struct Unread {
    ts: Timestamp,
    arrived: Option<Timestamp>,
    message: MessageKey,
}

impl UnreadMessages {
    /// Creates an empty table, one of `shards`.
    pub(super) fn new(shards: usize) -> Self {
        Self { queues: HashMap::new(), order: VecDeque::new(), max: MAX_MESSAGES / shards }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.order.clear();
    }

    /// Notes a packet that arrives at a socket, with its message.
    pub(super) fn arrive(&mut self, packet: &Packet<'_>, message: MessageKey) {
        let (ts, arrived) = (packet.ts, packet.arrived);
        while self.order.front().is_some_and(|(oldest, _)| {
            ts.since(*oldest) > RETENTION || self.order.len() >= self.max
        }) {
            self.forget_oldest();
        }
        let pair = pair(packet.scope, &message);
        self.order.push_back((ts, pair));
        self.queues.entry(pair).or_default().push_back(Unread { ts, arrived, message });
    }

    /// Returns the message that a process has read, and when that came; `None` if it is not known.
    pub(super) fn read(
        &mut self,
        packet: &Packet<'_>,
        local_port: u16,
        remote: SocketAddr,
    ) -> Option<(MessageStep, Timestamp)> {
        let Packet { ts, scope, .. } = *packet;
        let pair = (scope, local_port, remote);
        let queue = self.queues.get_mut(&pair)?;
        let unread = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&pair);
        }
        let Unread { ts: at_socket, arrived, message } = unread?;
        let step = PathStep::Read { at_socket, arrived };
        Some((MessageStep { ts, scope, message, step }, at_socket))
    }

    /// Forgets a message that the kernel discarded after it had arrived.
    pub(super) fn discard(&mut self, scope: u64, message: &MessageKey) {
        let pair = pair(scope, message);
        let Some(queue) = self.queues.get_mut(&pair) else { return };
        if let Some(at) = queue.iter().rposition(|unread| unread.message == *message) {
            queue.remove(at);
        }
        if queue.is_empty() {
            self.queues.remove(&pair);
        }
    }

    fn forget_oldest(&mut self) {
        let Some((ts, pair)) = self.order.pop_front() else { return };
        let Some(queue) = self.queues.get_mut(&pair) else { return };
        while queue.front().is_some_and(|unread| unread.ts <= ts) {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.queues.remove(&pair);
        }
    }
}

fn pair(scope: u64, message: &MessageKey) -> Pair {
    let MessageKey { client, server, is_response, .. } = *message;
    if is_response { (scope, client.port(), server) } else { (scope, server.port(), client) }
}

/// Returns the message of a packet that arrives at a socket.
pub(super) fn arriving(packet: &Packet<'_>, is_dns: impl Fn(u16) -> bool) -> Option<MessageKey> {
    let Body::Ip { bytes, wire_bytes } = packet.body else { return None };
    if packet.direction != Direction::Ingress {
        return None;
    }
    MessageKey::read(bytes, wire_bytes).filter(|message| is_dns(message.server.port()))
}
