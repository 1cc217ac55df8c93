//! IP reassembly (RFC 791, 3.2; RFC 8200, 4.5). Overlapping fragments are refused (RFC 5722).

#![forbid(unsafe_code)]

use super::Malformed;
use super::outlet::{Carrier, Flow, Outlet};
use crate::capture::{Sight, Transport};
use crate::net::{Fragment, Ip, protocol};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long fragments wait for the rest, by capture time: what Linux gives them
/// (`net.ipv4.ipfrag_time`).
const LIFETIME: Duration = Duration::from_secs(30);
/// Longest payload of an IP packet that can come in fragments, in octets.
const MAX_PAYLOAD: u32 = 65_535;
/// What a fragment costs beyond its octets, roughly.
const PART_COST: usize = 64;

/// What names a datagram, at one point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    sight: Sight,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// 0 in IPv6, where it does not count.
    protocol: u8,
}

/// A datagram put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// What the first fragment said that the payload is.
    pub protocol: u8,
    /// The captured octets up to the first that is missing.
    pub payload: Vec<u8>,
    /// Their number on the wire.
    pub payload_wire: u32,
    /// In how many packets it came.
    pub packets: u64,
}

#[derive(Debug)]
struct Part {
    /// Octets on the wire; `data` may be fewer.
    length: u32,
    data: Box<[u8]>,
}

#[derive(Debug)]
struct Entry {
    born: u64,
    carrier: Carrier,
    parts: BTreeMap<u32, Part>,
    octets: u32,
    total: Option<u32>,
    protocol: u8,
    packets: u64,
    /// Memory used, roughly.
    cost: usize,
    /// Refused: what still comes is refused too.
    refused: bool,
}

impl Entry {
    /// Adds a fragment; an error if it cannot be one of this datagram's.
    fn add(
        &mut self,
        fragment: Fragment,
        protocol: u8,
        data: &[u8],
        length: u32,
    ) -> Result<(), ()> {
        let end = fragment.offset.checked_add(length).filter(|end| *end <= MAX_PAYLOAD).ok_or(())?;
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
            // The same once more, clipped differently perhaps.
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
        self.octets += length;
        self.cost += data.len() + PART_COST;
        self.parts.insert(fragment.offset, Part { length, data: data.into() });
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.total == Some(self.octets)
    }

    /// As far as the fragments tell; the ports are 0 without the first one.
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

    /// The octets up to the first that is missing.
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

/// Datagrams in pieces.
#[derive(Debug)]
pub(super) struct Fragments {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    /// Every entry once, in order of arrival.
    order: VecDeque<(Timestamp, Key, u64)>,
    max_datagrams: usize,
    max_cost: usize,
    cost: usize,
    held: u64,
    births: u64,
}

impl Fragments {
    pub(super) fn new(max_datagrams: usize, max_cost: usize) -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            max_datagrams: max_datagrams.max(1),
            max_cost,
            cost: 0,
            held: 0,
            births: 0,
        }
    }

    /// Packets that wait.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// Memory that they use, in octets, roughly.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Takes a fragment that came in `packets` packets, more than one where it came in fragments
    /// itself; gives the datagram that it completes.
    pub(super) fn take(
        &mut self,
        ip: &Ip<'_>,
        fragment: Fragment,
        carrier: Carrier,
        packets: u64,
        out: &mut Outlet<'_>,
    ) -> Option<Whole> {
        let key = Key {
            scope: carrier.scope,
            sight: carrier.sight,
            src: ip.src,
            dst: ip.dst,
            id: fragment.id,
            protocol: if ip.src.is_ipv4() { ip.protocol } else { 0 },
        };
        self.expire(carrier.steady, out);
        self.open(key, carrier, out);
        let entry = self.entries.get_mut(&key)?;
        entry.packets += packets;
        self.held += packets;
        let before = entry.cost;
        let added =
            !entry.refused && entry.add(fragment, ip.protocol, ip.payload, ip.payload_wire).is_ok();
        if !added {
            // What came before is refused too: which of the octets would count is anyone's guess.
            let flow = entry.flow(&key);
            entry.refused = true;
            self.cost -= before;
            entry.cost = 0;
            entry.parts.clear();
            self.held -= entry.packets;
            out.tally.settle(std::mem::take(&mut entry.packets), Some(Malformed::FragmentConflict));
            let reason = Malformed::FragmentConflict;
            out.letter(&carrier, &flow, reason, ip.payload, &mut 0);
            return None;
        }
        self.cost += entry.cost - before;
        if entry.is_whole() {
            return self.remove(&key).map(|entry| Whole {
                protocol: entry.protocol,
                payload: entry.payload(),
                payload_wire: entry.octets,
                packets: entry.packets,
            });
        }
        while self.cost > self.max_cost && self.give_up_oldest(out) {}
        None
    }

    /// Gives up datagrams whose rest did not come in time.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Outlet<'_>) {
        while let Some((since, ..)) = self.order.front()
            && now.since(*since) > LIFETIME
        {
            self.give_up_oldest(out);
        }
    }

    fn open(&mut self, key: Key, carrier: Carrier, out: &mut Outlet<'_>) {
        if self.entries.contains_key(&key) {
            return;
        }
        while self.entries.len() >= self.max_datagrams && self.give_up_oldest(out) {}
        self.births += 1;
        let entry = Entry {
            born: self.births,
            carrier,
            parts: BTreeMap::new(),
            octets: 0,
            total: None,
            protocol: key.protocol,
            packets: 0,
            cost: 0,
            refused: false,
        };
        self.entries.insert(key, entry);
        self.order.push_back((carrier.steady, key, self.births));
        // Datagrams that became whole leave their places behind, at most as many as may wait.
        if self.order.len() > 2 * self.max_datagrams {
            let entries = &self.entries;
            self.order
                .retain(|(_, key, born)| entries.get(key).is_some_and(|entry| entry.born == *born));
        }
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.cost -= entry.cost;
        self.held -= entry.packets;
        Some(entry)
    }

    /// Gives up the datagram that has waited longest.
    fn give_up_oldest(&mut self, out: &mut Outlet<'_>) -> bool {
        let Some((_, key, born)) = self.order.pop_front() else { return false };
        if self.entries.get(&key).is_some_and(|entry| entry.born == born)
            && let Some(entry) = self.remove(&key)
            && entry.packets > 0
        {
            let reason = Malformed::FragmentIncomplete;
            out.tally.settle(entry.packets, Some(reason));
            let bytes: Vec<u8> =
                entry.parts.values().flat_map(|part| part.data.iter().copied()).collect();
            out.letter(&entry.carrier, &entry.flow(&key), reason, &bytes, &mut 0);
        }
        true
    }
}

#[cfg(test)]
mod tests;
