//! The octets of one direction of a connection that wait, without overlaps: the first copy of an
//! octet is the one that counts.

use std::collections::BTreeMap;

/// What a chunk costs beyond its octets, roughly: itself, its packet and their place in the maps.
const CHUNK_COST: usize = 384;
/// What the maps cost as soon as there is a chunk: nodes for eleven of them.
const MAPS_COST: usize = 2048;

/// Consecutive octets from one packet.
#[derive(Debug)]
struct Chunk {
    /// The packet's octets, the first `skip` of which were consumed.
    data: Box<[u8]>,
    skip: usize,
    /// Octets on the wire; those beyond the data were not captured.
    length: u64,
    packet: u64,
}

impl Chunk {
    fn present(&self) -> &[u8] {
        self.data.get(self.skip..).unwrap_or_default()
    }
}

/// A part of a packet that was taken out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub packet: u64,
    pub octets: u64,
}

/// Chunks by their place in the stream.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    chunks: BTreeMap<u64, Chunk>,
    octets: usize,
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Memory used, in octets, roughly.
    pub(super) fn cost(&self) -> usize {
        if self.chunks.is_empty() {
            return 0;
        }
        MAPS_COST + self.octets + self.chunks.len() * CHUNK_COST
    }

    /// The place behind the last octet.
    pub(super) fn end(&self) -> Option<u64> {
        self.chunks.last_key_value().map(|(at, chunk)| at + chunk.length)
    }

    /// The first place at or behind `at` that holds octets, and the packet they came in.
    pub(super) fn first_from(&self, at: u64) -> Option<(u64, u64)> {
        self.chunks.range(at..).next().map(|(at, chunk)| (*at, chunk.packet))
    }

    /// The number of consecutive octets from `at`, a chunk's beginning, that came in one packet.
    pub(super) fn chunk_length(&self, at: u64) -> Option<u64> {
        self.chunks.get(&at).map(|chunk| chunk.length)
    }

    /// Where the octets end that go on from `at` without a hole.
    pub(super) fn covered(&self, mut at: u64) -> u64 {
        while let Some(chunk) = self.chunks.get(&at) {
            at += chunk.length;
        }
        at
    }

    /// Puts in what is new of `length` octets at `at`, of which `data` were captured; gives the
    /// number of new octets.
    pub(super) fn insert(&mut self, at: u64, length: u64, data: &[u8], packet: u64) -> u64 {
        let end = at + length;
        let mut from = at;
        if let Some((before, chunk)) = self.chunks.range(..=at).next_back() {
            from = from.max(before + chunk.length);
        }
        let mut fresh = 0;
        while from < end {
            let (to, beyond) = match self.chunks.range(from..end).next() {
                Some((next, chunk)) => (*next, next + chunk.length),
                None => (end, end),
            };
            if from < to {
                let present = part(data, from - at, to - at);
                self.octets += present.len();
                let chunk = Chunk { data: present.into(), skip: 0, length: to - from, packet };
                self.chunks.insert(from, chunk);
                fresh += to - from;
            }
            from = beyond;
        }
        fresh
    }

    /// Copies the octets from `from` up to `to` into `into`, up to the first one missing.
    pub(super) fn copy(&self, from: u64, to: u64, into: &mut Vec<u8>) {
        into.clear();
        let mut at = from;
        for (place, chunk) in self.chunks.range(from..to) {
            if *place != at {
                return;
            }
            let wanted = usize::try_from(to - at).unwrap_or(usize::MAX);
            let present = chunk.present();
            into.extend_from_slice(present.get(..wanted).unwrap_or(present));
            at += chunk.length;
            if len(present) < chunk.length {
                return;
            }
        }
    }

    /// Copies up to `most` octets from `from`, which may lie within a chunk, up to the first one
    /// missing.
    pub(super) fn copy_within(&self, from: u64, most: u64, into: &mut Vec<u8>) {
        let before = self.chunks.range(..=from).next_back().map(|(at, _)| *at);
        let at = before.unwrap_or(from);
        self.copy(at, from + most, into);
        let skip = usize::try_from(from - at).unwrap_or(usize::MAX).min(into.len());
        into.drain(..skip);
    }

    /// The packets that hold octets between `from` and `to`, in stream order.
    pub(super) fn packets(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        self.chunks.range(from..to).map(|(_, chunk)| chunk.packet)
    }

    /// Takes the first chunk's octets before `to` out, appending them to `into`.
    pub(super) fn take(&mut self, to: u64, into: Option<&mut Vec<u8>>) -> Option<Part> {
        let entry = self.chunks.first_entry().filter(|entry| *entry.key() < to)?;
        let (at, mut chunk) = entry.remove_entry();
        let octets = chunk.length.min(to - at);
        let present = chunk.present();
        let taken = usize::try_from(octets).map_or(present.len(), |most| present.len().min(most));
        if let Some(into) = into {
            into.extend_from_slice(present.get(..taken).unwrap_or_default());
        }
        let packet = chunk.packet;
        self.octets -= taken;
        if octets < chunk.length {
            chunk.skip += taken;
            chunk.length -= octets;
            self.chunks.insert(to, chunk);
        } else if self.chunks.is_empty() {
            // An emptied map keeps a node, and there may be one for each of many thousand streams.
            self.chunks = BTreeMap::new();
        }
        Some(Part { packet, octets })
    }
}

/// `data` from one place to another, as far as it goes.
fn part(data: &[u8], from: u64, to: u64) -> &[u8] {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
    data.get(place(from)..place(to)).unwrap_or_default()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_copy_counts() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.insert(10, 4, b"cdef", 1), 4);
        assert_eq!(buffer.insert(8, 8, b"ABCDEFGH", 2), 4);
        assert_eq!(buffer.insert(9, 3, b"xyz", 3), 0);
        let mut bytes = Vec::new();
        buffer.copy(8, 16, &mut bytes);
        assert_eq!(bytes, b"ABcdefGH");
        assert_eq!((buffer.covered(8), buffer.end()), (16, Some(16)));
        buffer.copy(9, 12, &mut bytes);
        assert!(bytes.is_empty(), "9 is no chunk's beginning");
    }

    #[test]
    fn takes_parts_of_chunks() {
        let mut buffer = Buffer::default();
        buffer.insert(0, 4, b"abcd", 1);
        let mut bytes = Vec::new();
        let part = buffer.take(3, Some(&mut bytes)).unwrap();
        assert_eq!((part.packet, part.octets, bytes.as_slice()), (1, 3, b"abc".as_slice()));
        assert!(buffer.take(3, None).is_none());
        assert_eq!(buffer.first_from(0), Some((3, 1)));
        assert_eq!(buffer.take(9, None).unwrap().octets, 1);
        assert_eq!((buffer.is_empty(), buffer.cost()), (true, 0));
    }

    #[test]
    fn clipped_octets_end_a_copy() {
        let mut buffer = Buffer::default();
        buffer.insert(0, 6, b"abc", 1);
        buffer.insert(6, 2, b"gh", 2);
        let mut bytes = Vec::new();
        buffer.copy(0, 8, &mut bytes);
        assert_eq!((bytes.as_slice(), buffer.covered(0)), (b"abc".as_slice(), 8));
        assert_eq!(buffer.take(2, None).unwrap().octets, 2);
        assert_eq!(buffer.take(6, None).unwrap().octets, 4);
        assert_eq!(buffer.take(8, None).unwrap().octets, 2);
    }
}
