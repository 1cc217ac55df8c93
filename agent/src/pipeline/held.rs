//! Packets that wait until it is known whether the kernel discarded them after the hook: a response that arrives is seen
//! before the kernel finds that the socket's buffer is full.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{Body, Direction, Loss, Packet};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Time from the hook for packets that arrive at a socket until the kernel has discarded or queued the packet: one or two
/// microseconds, unless an interrupt comes between.
const HOLD: Duration = Duration::from_millis(1);

/// Packets in order of arrival. Begins with a response that arrived, and has all packets after it.
#[derive(Default)]
pub(super) struct HeldPackets {
    queue: VecDeque<HeldPacket>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

struct HeldPacket {
    /// The packet without its bytes.
    packet: Packet<'static>,
    bytes: Vec<u8>,
    loss: Option<Arc<Loss>>,
}

impl HeldPackets {
    /// Takes a packet, if it must wait. Returns whether it does.
    pub(super) fn hold(&mut self, packet: &Packet<'_>, is_dns: impl Fn(u16) -> bool) -> bool {
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
            Body::Dropped { .. } | Body::Message { .. } | Body::Unreadable { .. } => return false,
        };
        let begins =
            || packet.direction == Direction::Ingress && udp_source(bytes).is_some_and(&is_dns);
        if self.queue.is_empty() && !begins() {
            return false;
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.extend_from_slice(bytes);
        self.queue.push_back(HeldPacket { packet: Packet { body, ..*packet }, bytes: copy, loss });
        true
    }

    /// Passes the packets on that have waited long enough at `now`.
    pub(super) fn release(&mut self, now: Timestamp, each: &mut dyn FnMut(&Packet<'_>)) {
        while self.queue.front().is_some_and(|held| held.packet.ts.plus(HOLD) <= now) {
            self.release_first(each);
        }
    }

    /// Passes all packets on.
    pub(super) fn release_all(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        while !self.queue.is_empty() {
            self.release_first(each);
        }
    }

    fn release_first(&mut self, each: &mut dyn FnMut(&Packet<'_>)) {
        let Some(HeldPacket { packet, mut bytes, loss }) = self.queue.pop_front() else { return };
        let body = match packet.body {
            Body::Ip { wire_bytes, .. } => Body::Ip { bytes: &bytes, wire_bytes },
            Body::Dropped { wire_bytes, is_unseen, .. } => {
                Body::Dropped { bytes: &bytes, wire_bytes, loss: loss.as_ref(), is_unseen }
            }
            other => other,
        };
        each(&Packet { body, ..packet });
        bytes.clear();
        self.spare.push(bytes);
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

/// Returns the source port of a UDP packet without extension headers.
fn udp_source(packet: &[u8]) -> Option<u16> {
    const UDP: u8 = 17;
    let first = *packet.first()?;
    let (protocol, at) = match first >> 4 {
        4 => (packet.get(9)?, usize::from(first & 15) * 4),
        6 => (packet.get(6)?, 40),
        _ => return None,
    };
    let port = packet.get(at..)?.first_chunk::<2>().filter(|_| *protocol == UDP)?;
    Some(u16::from_be_bytes(*port))
}
