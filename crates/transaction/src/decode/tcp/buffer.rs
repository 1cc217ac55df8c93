//! Out-of-order and incomplete data of one direction, without overlaps: the first copy of a byte
//! counts.

use std::collections::BTreeMap;

/// Approximate overhead of a chunk in bytes: the chunk, its packet and their map entries.
const CHUNK_OVERHEAD_BYTES: usize = 384;
/// Memory of the maps with at least one chunk, in bytes: nodes for eleven chunks.
const MAPS_OVERHEAD_BYTES: usize = 2048;

/// Consecutive bytes from one packet.
#[derive(Debug)]
struct Chunk {
    /// The packet's bytes. The first `skip` were consumed.
    data: Box<[u8]>,
    skip: usize,
    /// Bytes on the wire. Those beyond `data` were not captured.
    length: u64,
    packet: u64,
}

impl Chunk {
    fn present(&self) -> &[u8] {
        self.data.get(self.skip..).unwrap_or_default()
    }
}

/// Bytes removed from a packet's chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct RemovedBytes {
    pub packet: u64,
    pub bytes: u64,
}

/// Chunks by stream offset.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    chunks: BTreeMap<u64, Chunk>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the approximate memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        if self.chunks.is_empty() {
            return 0;
        }
        MAPS_OVERHEAD_BYTES + self.bytes + self.chunks.len() * CHUNK_OVERHEAD_BYTES
    }

    /// Returns the offset after the last byte.
    pub(super) fn end(&self) -> Option<u64> {
        self.chunks.last_key_value().map(|(at, chunk)| at + chunk.length)
    }

    /// Returns the first offset at or after `at` with data, and its packet.
    pub(super) fn first_from(&self, at: u64) -> Option<(u64, u64)> {
        self.chunks.range(at..).next().map(|(at, chunk)| (*at, chunk.packet))
    }

    /// Returns the length of the chunk that begins at `at`, in bytes.
    pub(super) fn chunk_length(&self, at: u64) -> Option<u64> {
        self.chunks.get(&at).map(|chunk| chunk.length)
    }

    /// Returns the end of the contiguous data from `at` on.
    pub(super) fn contiguous_end(&self, mut at: u64) -> u64 {
        while let Some(chunk) = self.chunks.get(&at) {
            at += chunk.length;
        }
        at
    }

    /// Adds the new ones of `length` bytes at `at`, captured in `data`. Returns their number.
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
                self.bytes += present.len();
                let chunk = Chunk { data: present.into(), skip: 0, length: to - from, packet };
                self.chunks.insert(from, chunk);
                fresh += to - from;
            }
            from = beyond;
        }
        fresh
    }

    /// Copies the bytes between `from` and `to` into `into`, up to the first missing one.
    pub(super) fn copy(&self, from: u64, to: u64, into: &mut Vec<u8>) {
        into.clear();
        let mut at = from;
        for (offset, chunk) in self.chunks.range(from..to) {
            if *offset != at {
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

    /// Copies up to `most` bytes from `from`, inside a chunk or not, up to the first missing one.
    pub(super) fn copy_within(&self, from: u64, most: u64, into: &mut Vec<u8>) {
        let before = self.chunks.range(..=from).next_back().map(|(at, _)| *at);
        let at = before.unwrap_or(from);
        self.copy(at, from + most, into);
        let skip = usize::try_from(from - at).unwrap_or(usize::MAX).min(into.len());
        into.drain(..skip);
    }

    /// Returns the packets with bytes between `from` and `to`, in stream order.
    pub(super) fn packets(&self, from: u64, to: u64) -> impl Iterator<Item = u64> + '_ {
        self.chunks.range(from..to).map(|(_, chunk)| chunk.packet)
    }

    /// Removes the bytes of the first chunk before `to` and appends them to `into`.
    pub(super) fn take(&mut self, to: u64, into: Option<&mut Vec<u8>>) -> Option<RemovedBytes> {
        let entry = self.chunks.first_entry().filter(|entry| *entry.key() < to)?;
        let (at, mut chunk) = entry.remove_entry();
        let bytes = chunk.length.min(to - at);
        let present = chunk.present();
        let taken = usize::try_from(bytes).map_or(present.len(), |most| present.len().min(most));
        if let Some(into) = into {
            into.extend_from_slice(present.get(..taken).unwrap_or_default());
        }
        let packet = chunk.packet;
        self.bytes -= taken;
        if bytes < chunk.length {
            chunk.skip += taken;
            chunk.length -= bytes;
            self.chunks.insert(to, chunk);
        } else if self.chunks.is_empty() {
            // An empty map keeps a node; there may be many thousand streams.
            self.chunks = BTreeMap::new();
        }
        Some(RemovedBytes { packet, bytes })
    }
}

/// Returns the bytes of `data` between two offsets, as far as present.
fn part(data: &[u8], from: u64, to: u64) -> &[u8] {
    let offset = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(data.len());
    data.get(offset(from)..offset(to)).unwrap_or_default()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_copy_of_a_byte_counts() {
        let mut buffer = Buffer::default();
        assert_eq!(buffer.insert(10, 4, b"cdef", 1), 4);
        assert_eq!(buffer.insert(8, 8, b"ABCDEFGH", 2), 4);
        assert_eq!(buffer.insert(9, 3, b"xyz", 3), 0);
        let mut bytes = Vec::new();
        buffer.copy(8, 16, &mut bytes);
        assert_eq!(bytes, b"ABcdefGH");
        assert_eq!((buffer.contiguous_end(8), buffer.end()), (16, Some(16)));
        buffer.copy(9, 12, &mut bytes);
        assert!(bytes.is_empty(), "9 is no chunk's beginning");
    }

    #[test]
    fn removes_parts_of_chunks() {
        let mut buffer = Buffer::default();
        buffer.insert(0, 4, b"abcd", 1);
        let mut bytes = Vec::new();
        let part = buffer.take(3, Some(&mut bytes)).unwrap();
        assert_eq!((part.packet, part.bytes, bytes.as_slice()), (1, 3, b"abc".as_slice()));
        assert!(buffer.take(3, None).is_none());
        assert_eq!(buffer.first_from(0), Some((3, 1)));
        assert_eq!(buffer.take(9, None).unwrap().bytes, 1);
        assert_eq!((buffer.is_empty(), buffer.memory_bytes()), (true, 0));
    }

    #[test]
    fn copy_ends_at_clipped_bytes() {
        let mut buffer = Buffer::default();
        buffer.insert(0, 6, b"abc", 1);
        buffer.insert(6, 2, b"gh", 2);
        let mut bytes = Vec::new();
        buffer.copy(0, 8, &mut bytes);
        assert_eq!((bytes.as_slice(), buffer.contiguous_end(0)), (b"abc".as_slice(), 8));
        assert_eq!(buffer.take(2, None).unwrap().bytes, 2);
        assert_eq!(buffer.take(6, None).unwrap().bytes, 4);
        assert_eq!(buffer.take(8, None).unwrap().bytes, 2);
    }
}
