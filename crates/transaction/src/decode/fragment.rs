//! IP reassembly (RFC 791, 3.2; RFC 8200, 4.5). Overlapping fragments are rejected (RFC 5722).

use super::Malformed;
use super::emitter::{Emitter, Flow, PacketContext};
use crate::packet::net::{Fragment, IpPacket, protocol};
use crate::packet::{Direction, Transport};
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Reassembly timeout by capture time: Linux's default for `net.ipv4.ipfrag_time`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest payload of a fragmented IP packet, in bytes.
const MAX_PAYLOAD_BYTES: u32 = 65_535;
/// Approximate overhead of a fragment in bytes.
const FRAGMENT_OVERHEAD_BYTES: usize = 64;

/// Identifies a datagram at one point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    direction: Direction,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// 0 in IPv6, which does not use it.
    protocol: u8,
}

/// A reassembled datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reassembled {
    /// Protocol of the payload, from the first fragment.
    pub protocol: u8,
    /// The captured bytes up to the first missing one.
    pub payload: Vec<u8>,
    /// Length of the payload on the wire, in bytes.
    pub payload_wire: u32,
    /// Number of packets that carried it.
    pub packets: u64,
}

#[derive(Debug)]
struct FragmentData {
    /// Bytes on the wire; `data` may be shorter.
    length: u32,
    data: Box<[u8]>,
}

#[derive(Debug)]
struct PartialDatagram {
    number: u64,
    context: PacketContext,
    parts: BTreeMap<u32, FragmentData>,
    bytes: u32,
    total: Option<u32>,
    protocol: u8,
    packets: u64,
    /// Approximate memory in bytes.
    memory_bytes: usize,
    /// Whether the fragments conflicted. Later ones are then rejected too.
    rejected: bool,
}

impl PartialDatagram {
    /// Adds a fragment. An error means that it cannot belong to this datagram.
    fn add(
        &mut self,
        fragment: Fragment,
        protocol: u8,
        data: &[u8],
        length: u32,
    ) -> Result<(), ()> {
        let end =
            fragment.offset.checked_add(length).filter(|end| *end <= MAX_PAYLOAD_BYTES).ok_or(())?;
        if length == 0 || (fragment.more && !length.is_multiple_of(8)) {
            return Err(());
        }
        let total = if fragment.more { self.total } else { Some(end) };
        let last = self.parts.last_key_value().map_or(0, |(at, part)| at + part.length);
        if total != self.total.or(total) || total.is_some_and(|total| end.max(last) > total) {
            return Err(());
        }
        if let Some(same) = self.parts.get(&fragment.offset)
            && same.length == length
            && same.data.iter().zip(data).all(|(one, other)| one == other)
        {
            // A duplicate, perhaps clipped at another length.
            return Ok(());
        }
        let before = self.parts.range(..=fragment.offset).next_back();
        let behind = self.parts.range(fragment.offset..).next();
        if before.is_some_and(|(at, part)| at + part.length > fragment.offset)
            || behind.is_some_and(|(at, _)| *at < end)
        {
            return Err(());
        }
        if fragment.offset == 0 {
            self.protocol = protocol;
        }
        self.total = total;
        self.bytes += length;
        self.memory_bytes += data.len() + FRAGMENT_OVERHEAD_BYTES;
        self.parts.insert(fragment.offset, FragmentData { length, data: data.into() });
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.total == Some(self.bytes)
    }

    /// Returns addresses and ports. The ports are 0 without the first fragment.
    fn flow(&self, key: &Key) -> Flow {
        let tcp = self.protocol == protocol::TCP;
        let first = self.parts.get(&0).filter(|_| tcp || self.protocol == protocol::UDP);
        let ports = first.and_then(|part| part.data.first_chunk::<4>());
        let [a, b, c, d] = ports.copied().unwrap_or_default();
        Flow {
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            src: SocketAddr::new(key.src, u16::from_be_bytes([a, b])),
            dst: SocketAddr::new(key.dst, u16::from_be_bytes([c, d])),
        }
    }

    /// Returns the bytes up to the first missing one.
    fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::new();
        for (at, part) in &self.parts {
            if usize::try_from(*at) != Ok(payload.len()) {
                break;
            }
            payload.extend_from_slice(&part.data);
        }
        payload
    }
}

/// The table of incomplete datagrams, bounded in number and memory.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    entries: HashMap<Key, PartialDatagram, foldhash::fast::RandomState>,
    /// Every datagram once, in order of arrival.
    order: VecDeque<(Timestamp, Key, u64)>,
    max_datagrams: usize,
    max_memory_bytes: usize,
    /// Approximate memory.
    pub memory_bytes: usize,
    /// Number of packets held.
    pub held: u64,
    created: u64,
}

impl Fragments {
    pub(super) fn new(max_datagrams: usize, max_memory_bytes: usize) -> Self {
        Self { max_datagrams: max_datagrams.max(1), max_memory_bytes, ..Self::default() }
    }

    /// Adds a fragment, which may have been fragmented itself. Returns the datagram that it completes.
    pub(super) fn add(
        &mut self,
        ip: &IpPacket<'_>,
        fragment: Fragment,
        context: PacketContext,
        out: &mut Emitter<'_>,
    ) -> Option<Reassembled> {
        let key = Key {
            scope: context.scope,
            direction: context.direction,
            src: ip.src,
            dst: ip.dst,
            id: fragment.id,
            protocol: if ip.src.is_ipv4() { ip.protocol } else { 0 },
        };
        self.expire(context.steady_ts, out);
        self.create(key, context, out);
        let entry = self.entries.get_mut(&key)?;
        entry.packets += context.packets;
        self.held += context.packets;
        let before = entry.memory_bytes;
        let added = !entry.rejected
            && entry.add(fragment, ip.protocol, ip.payload, ip.payload_wire).is_ok();
        if !added {
            // The earlier fragments are rejected too: it is unknown which bytes the receiver uses.
            let flow = entry.flow(&key);
            entry.rejected = true;
            self.memory_bytes -= before;
            entry.memory_bytes = 0;
            entry.parts.clear();
            self.held -= entry.packets;
            let reason = Malformed::FragmentConflict;
            out.counters.account(std::mem::take(&mut entry.packets), Some(reason));
            out.emit_dead_letter(&context, &flow, reason, ip.payload, &mut 0);
            return None;
        }
        self.memory_bytes += entry.memory_bytes - before;
        if entry.is_complete() {
            return self.remove(&key).map(|entry| Reassembled {
                protocol: entry.protocol,
                payload: entry.payload(),
                payload_wire: entry.bytes,
                packets: entry.packets,
            });
        }
        while self.memory_bytes > self.max_memory_bytes && self.discard_oldest(out) {}
        None
    }

    /// Discards datagrams that were not completed in time.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Emitter<'_>) {
        while let Some((since, ..)) = self.order.front()
            && now.since(*since) > TIMEOUT
        {
            self.discard_oldest(out);
        }
    }

    fn create(&mut self, key: Key, context: PacketContext, out: &mut Emitter<'_>) {
        if self.entries.contains_key(&key) {
            return;
        }
        while self.entries.len() >= self.max_datagrams && self.discard_oldest(out) {}
        self.created += 1;
        let entry = PartialDatagram {
            number: self.created,
            context,
            parts: BTreeMap::new(),
            bytes: 0,
            total: None,
            protocol: key.protocol,
            packets: 0,
            memory_bytes: 0,
            rejected: false,
        };
        self.entries.insert(key, entry);
        self.order.push_back((context.steady_ts, key, self.created));
        // Completed datagrams leave entries in the queue; limit these to as many as datagrams may
        // be pending.
        if self.order.len() > 2 * self.max_datagrams {
            let entries = &self.entries;
            self.order.retain(|(_, key, number)| {
                entries.get(key).is_some_and(|entry| entry.number == *number)
            });
        }
    }

    fn remove(&mut self, key: &Key) -> Option<PartialDatagram> {
        let entry = self.entries.remove(key)?;
        self.memory_bytes -= entry.memory_bytes;
        self.held -= entry.packets;
        Some(entry)
    }

    /// Discards the oldest datagram; returns whether there was one.
    fn discard_oldest(&mut self, out: &mut Emitter<'_>) -> bool {
        let Some((_, key, number)) = self.order.pop_front() else { return false };
        if self.entries.get(&key).is_some_and(|entry| entry.number == number)
            && let Some(entry) = self.remove(&key)
            && entry.packets > 0
        {
            let reason = Malformed::FragmentIncomplete;
            out.counters.account(entry.packets, Some(reason));
            let bytes: Vec<u8> =
                entry.parts.values().flat_map(|part| part.data.iter().copied()).collect();
            out.emit_dead_letter(&entry.context, &entry.flow(&key), reason, &bytes, &mut 0);
        }
        true
    }
}

#[cfg(test)]
mod tests;
