//! The classic format (draft-ietf-opsawg-pcap), with microseconds or nanoseconds, in both byte
//! orders, and Kuznetzov's variant with longer record headers.

use super::{Endian, Found, MAX_RECORD, size};
use crate::capture::replay::source::{Problem, Source};
use dnscribe_record::time::Timestamp;

pub(super) const HEADER_BYTES: usize = 24;

/// The file header.
#[derive(Debug)]
pub(super) struct Header {
    endian: Endian,
    nanos_per_tick: u64,
    before_packet: usize,
    pub(super) link: u32,
}

/// Whether a file that begins so is of this format.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    variant(magic).is_some()
}

/// Byte order, nanoseconds per tick, length of a record's header.
fn variant(magic: [u8; 4]) -> Option<(Endian, u64, usize)> {
    [Endian::Little, Endian::Big].into_iter().find_map(|endian| match endian.u32(&magic, 0) {
        0xa1b2_c3d4 => Some((endian, 1000, 16)),
        0xa1b2_3c4d => Some((endian, 1, 16)),
        0xa1b2_cd34 => Some((endian, 1000, 24)),
        _ => None,
    })
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let variant = bytes.first_chunk::<4>().copied().and_then(variant);
        let (Some((endian, nanos_per_tick, before_packet)), true) =
            (variant, bytes.len() >= HEADER_BYTES)
        else {
            return Err(Problem::Damaged { offset: 0, what: "its header is cut off" });
        };
        let version = (endian.u16(bytes, 4), endian.u16(bytes, 6));
        if version.0 != 2 {
            return Err(Problem::Version(version.0, version.1));
        }
        // The upper bits tell of a frame check sequence, which does no harm behind an IP packet.
        let link = endian.u32(bytes, 20) & 0x0fff_ffff;
        Ok(Self { endian, nanos_per_tick, before_packet, link: link & 0xffff })
    }

    pub(super) fn find(&mut self, source: &mut Source) -> Result<Option<Found>, Problem> {
        if !source.fill(self.before_packet)? {
            return Ok(None);
        }
        let header = source.available();
        let field = |at| self.endian.u32(header, at);
        let (seconds, ticks, captured, wire_bytes) = (field(0), field(4), field(8), field(12));
        if captured > MAX_RECORD {
            let offset = source.position();
            return Err(Problem::Damaged { offset, what: "a packet's length is impossible" });
        }
        let record = self.before_packet + size(captured);
        if !source.fill(record)? {
            return Ok(None);
        }
        let nanos = u64::from(seconds) * 1_000_000_000 + u64::from(ticks) * self.nanos_per_tick;
        let ts = Timestamp::from_nanos(nanos);
        Ok(Some(Found {
            ts,
            link: self.link,
            wire_bytes,
            record,
            data: self.before_packet..record,
        }))
    }
}
