//! Fragments that wait for the first fragment of their datagram, which alone has the ports.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::net::{Fragment, IpPacket};
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Time within which fragments belong to one datagram, by capture time. RFC 1122, 3.3.2 says 60 to 120 s; operating
/// systems use 30 s.
const LIFETIME: Duration = Duration::from_secs(30);
/// Largest number of datagrams.
const MAX_DATAGRAMS: usize = 8192;
/// Largest number of pending fragments.
const MAX_PENDING: usize = 16_384;
/// Largest size of all pending fragments, in bytes.
const MAX_PENDING_BYTES: usize = 32 * 1024 * 1024;

/// Key of a datagram (RFC 791, 3.2; without the protocol for IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DatagramKey {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

impl DatagramKey {
    pub(super) fn new(ip: &IpPacket<'_>, fragment: Fragment) -> Self {
        let protocol = if ip.src.is_ipv4() { ip.protocol } else { 0 };
        Self { src: ip.src, dst: ip.dst, id: fragment.id, protocol }
    }
}

/// Copy of a fragment that waits for the first one.
#[derive(Debug)]
pub(super) struct PendingFragment {
    ts: Timestamp,
    origin: PacketId,
    wire_bytes: u32,
    bytes: Box<[u8]>,
}

impl PendingFragment {
    pub(super) fn packet(&self) -> Packet<'_> {
        let body = Body::Ip { bytes: &self.bytes, wire_bytes: self.wire_bytes };
        Packet::new(self.ts, self.origin, Direction::Passive, body)
    }
}

/// State of a fragmented datagram.
#[derive(Debug)]
struct DatagramState {
    since: Timestamp,
    /// Whether the first fragment is captured, by its ports.
    is_captured: Option<bool>,
    pending: Vec<PendingFragment>,
}

/// Table of fragmented datagrams. When it is full, the oldest ones are evicted.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    datagrams: HashMap<DatagramKey, DatagramState>,
    /// Every datagram once, in order of arrival.
    order: VecDeque<(Timestamp, DatagramKey)>,
    pending: usize,
    pending_bytes: usize,
}

impl Fragments {
    /// Records whether a first fragment is captured. Returns the fragments that waited for it, if so.
    pub(super) fn decide(
        &mut self,
        datagram: DatagramKey,
        is_captured: bool,
        now: Timestamp,
    ) -> Vec<PendingFragment> {
        let entry = self.datagram(datagram, now);
        entry.is_captured = Some(is_captured);
        let pending = std::mem::take(&mut entry.pending);
        self.subtract(&pending);
        if is_captured { pending } else { Vec::new() }
    }

    /// Returns whether the first fragment is captured, if it has come.
    pub(super) fn is_captured(&mut self, datagram: &DatagramKey, now: Timestamp) -> Option<bool> {
        self.expire(now);
        self.datagrams.get(datagram)?.is_captured
    }

    /// Stores a fragment until the first one comes.
    pub(super) fn store(
        &mut self,
        datagram: DatagramKey,
        packet: &Packet<'_>,
        bytes: &[u8],
        wire_bytes: u32,
    ) {
        let fragment =
            PendingFragment { ts: packet.ts, origin: packet.id, wire_bytes, bytes: bytes.into() };
        self.datagram(datagram, packet.ts).pending.push(fragment);
        self.pending += 1;
        self.pending_bytes += bytes.len();
        while self.pending > MAX_PENDING || self.pending_bytes > MAX_PENDING_BYTES {
            if !self.evict_oldest() {
                break;
            }
        }
    }

    fn datagram(&mut self, datagram: DatagramKey, now: Timestamp) -> &mut DatagramState {
        self.expire(now);
        if !self.datagrams.contains_key(&datagram) {
            if self.datagrams.len() >= MAX_DATAGRAMS {
                self.evict_oldest();
            }
            self.order.push_back((now, datagram));
        }
        self.datagrams.entry(datagram).or_insert_with(|| DatagramState {
            since: now,
            is_captured: None,
            pending: Vec::new(),
        })
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((since, _)) = self.order.front()
            && now.since(*since) > LIFETIME
        {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let Some((since, datagram)) = self.order.pop_front() else { return false };
        if self.datagrams.get(&datagram).is_some_and(|entry| entry.since == since)
            && let Some(entry) = self.datagrams.remove(&datagram)
        {
            self.subtract(&entry.pending);
        }
        true
    }

    /// Subtracts removed fragments from the totals.
    fn subtract(&mut self, removed: &[PendingFragment]) {
        self.pending -= removed.len();
        self.pending_bytes -= removed.iter().map(|fragment| fragment.bytes.len()).sum::<usize>();
    }
}
