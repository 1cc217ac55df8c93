//! Parses pcap (draft-ietf-opsawg-pcap) with microseconds or nanoseconds, in both byte orders, and Kuznetzov's variant
//! with longer record headers.

use super::{Endian, FramePosition, MAX_RECORD, size};
use crate::capture::replay::source::{Problem, Source};
use dnscribe_record::time::Timestamp;

/// Size of the file header in bytes.
pub(super) const HEADER_BYTES: usize = 24;

/// File header.
#[derive(Debug)]
pub(super) struct Header {
    endian: Endian,
    nanos_per_tick: u64,
    per_packet_bytes: usize,
    pub(super) link: u32,
}

/// Returns byte order, nanoseconds per tick, and size of a record header in bytes, by the magic number.
fn variant(file: &[u8]) -> Option<(Endian, u64, usize)> {
    [Endian::Little, Endian::Big].into_iter().find_map(|endian| match endian.u32(file, 0) {
        0xa1b2_c3d4 => Some((endian, 1000, 16)),
        0xa1b2_3c4d => Some((endian, 1, 16)),
        0xa1b2_cd34 => Some((endian, 1000, 24)),
        _ => None,
    })
}

impl Header {
    /// Reads the header; none if this is not a pcap file.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, Problem> {
        let Some((endian, nanos_per_tick, per_packet_bytes)) = variant(bytes) else {
            return Ok(None);
        };
        if bytes.len() < HEADER_BYTES {
            return Err(Problem::Damaged { offset: 0, what: "its header is truncated" });
        }
        let version = (endian.u16(bytes, 4), endian.u16(bytes, 6));
        if version.0 != 2 {
            return Err(Problem::Version(version.0, version.1));
        }
        // The upper bits announce a frame check sequence, which is ignored after an IP packet.
        let link = endian.u32(bytes, 20) & 0xffff;
        Ok(Some(Self { endian, nanos_per_tick, per_packet_bytes, link }))
    }

    pub(super) fn find(&mut self, source: &mut Source) -> Result<Option<FramePosition>, Problem> {
        if !source.fill(self.per_packet_bytes)? {
            return Ok(None);
        }
        let header = source.available();
        let field = |at| self.endian.u32(header, at);
        let (seconds, ticks, captured, wire_bytes) = (field(0), field(4), field(8), field(12));
        if captured > MAX_RECORD {
            let offset = source.position;
            return Err(Problem::Damaged { offset, what: "a packet's length is impossible" });
        }
        let record = self.per_packet_bytes + size(captured);
        if !source.fill(record)? {
            return Ok(None);
        }
        let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(ticks) * self.nanos_per_tick;
        let ts = Timestamp::from_nanos(nanos);
        Ok(Some(FramePosition {
            ts,
            link: self.link,
            wire_bytes,
            record,
            data: self.per_packet_bytes..record,
        }))
    }
}
