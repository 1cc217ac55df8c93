//! Parses pcapng (draft-ietf-opsawg-pcapng): sections, each with a byte order and interfaces.

use super::{Endian, FramePosition, MAX_RECORD, size};
use crate::capture::replay::source::{Problem, Source};
use dnscribe_record::time::Timestamp;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// Obsolete packet block, which old files have.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Largest number of interfaces in a section; more mean damage.
const MAX_INTERFACES: usize = 65_536;

/// State of the current section.
#[derive(Debug, Default)]
pub(super) struct Section {
    endian: Endian,
    interfaces: Vec<Interface>,
    /// Time of the last packet that has one; simple packets have none.
    last: Timestamp,
    /// Number of simple packets.
    pub(super) without_time: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    snap_bytes: u32,
    clock: Clock,
}

impl Section {
    /// Finds the next packet, and skips other blocks.
    pub(super) fn find(&mut self, source: &mut Source) -> Result<Option<FramePosition>, Problem> {
        loop {
            if !source.fill(12)? {
                return Ok(None);
            }
            let damaged = |what| Problem::Damaged { offset: source.position, what };
            let head = source.available();
            if self.endian.u32(head, 0) == SECTION {
                self.endian = match head.get(8..12) {
                    Some([0x4d, 0x3c, 0x2b, 0x1a]) => Endian::Little,
                    Some([0x1a, 0x2b, 0x3c, 0x4d]) => Endian::Big,
                    _ => return Err(damaged("a section without byte order")),
                };
                self.interfaces.clear();
            }
            let (kind, length) = (self.endian.u32(head, 0), self.endian.u32(head, 4));
            if !(12..=MAX_RECORD).contains(&length) || length % 4 != 0 {
                return Err(damaged("a block's length is impossible"));
            }
            let length = size(length);
            if !source.fill(length)? {
                return Ok(None);
            }
            let position = source.position;
            let block = source.available().get(..length).unwrap_or_default();
            // Excludes the trailing copy of the length.
            let body = block.get(..length - 4).unwrap_or_default();
            let damaged = |what| Problem::Damaged { offset: position, what };
            if self.endian.u32(block, length - 4) != self.endian.u32(block, 4) {
                return Err(damaged("a block's two lengths differ"));
            }
            let found = match kind {
                SECTION if self.endian.u16(body, 12) != 1 => {
                    let version = (self.endian.u16(body, 12), self.endian.u16(body, 14));
                    return Err(Problem::Version(version.0, version.1));
                }
                INTERFACE if self.interfaces.len() >= MAX_INTERFACES => {
                    return Err(damaged("too many interfaces"));
                }
                INTERFACE => {
                    self.interfaces.push(interface(self.endian, body));
                    None
                }
                PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    Some(self.packet(kind, body).map_err(damaged)?)
                }
                _ => None,
            };
            match found {
                Some(found) => return Ok(Some(FramePosition { record: length, ..found })),
                None => source.consume(length),
            }
        }
    }

    fn packet(&mut self, kind: u32, body: &[u8]) -> Result<FramePosition, &'static str> {
        let field = |at| self.endian.u32(body, at);
        let number = match kind {
            ENHANCED_PACKET => field(8),
            PACKET => u32::from(self.endian.u16(body, 8)),
            _ => 0,
        };
        let interface =
            self.interfaces.get(size(number)).ok_or("a packet of an interface not described")?;
        let (start, captured, wire_bytes) = if kind == SIMPLE_PACKET {
            self.without_time += 1;
            let wire_bytes = field(8);
            let snapped = match interface.snap_bytes {
                0 => wire_bytes,
                snap => wire_bytes.min(snap),
            };
            (12, snapped.min(u32::try_from(body.len().saturating_sub(12)).unwrap_or(0)), wire_bytes)
        } else {
            let ticks = u64::from(field(12)) << 32 | u64::from(field(16));
            self.last = interface.clock.time(ticks);
            (28, field(20), field(24))
        };
        let data = start..start + size(captured);
        if captured > MAX_RECORD || data.end > body.len() {
            return Err("a packet is longer than its block");
        }
        Ok(FramePosition { ts: self.last, link: interface.link, wire_bytes, record: 0, data })
    }
}

fn interface(endian: Endian, body: &[u8]) -> Interface {
    let mut clock = Clock { resolution: 6, offset_seconds: 0 };
    let mut options = body.get(16..).unwrap_or_default();
    while options.len() >= 4 {
        let (code, length) = (endian.u16(options, 0), usize::from(endian.u16(options, 2)));
        let Some(value) = options.get(4..4 + length) else { break };
        match (code, value) {
            (0, _) => break,
            (9, [resolution, ..]) => clock.resolution = *resolution,
            (14, [_, _, _, _, _, _, _, _]) => clock.offset_seconds = endian.i64(value, 0),
            _ => {}
        }
        options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
    }
    Interface { link: u32::from(endian.u16(body, 8)), snap_bytes: endian.u32(body, 12), clock }
}

/// Clock of an interface: options `if_tsresol` and `if_tsoffset`.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Negative exponent of 10 s, or of 2 s if the top bit is set.
    resolution: u8,
    offset_seconds: i64,
}

impl Clock {
    fn time(self, ticks: u64) -> Timestamp {
        let exponent = u32::from(self.resolution & 0x7f);
        // 2^-64 s and 10^-38 s are finer than any clock; ticks of even finer ones count as zero.
        let per_second = if self.resolution & 0x80 == 0 {
            10_u128.checked_pow(exponent)
        } else {
            1_u128.checked_shl(exponent)
        };
        let nanos = per_second.map_or(0, |per_second| {
            let seconds = u128::from(ticks) / per_second * 1_000_000_000;
            let rest = (u128::from(ticks) % per_second).checked_mul(1_000_000_000);
            seconds + rest.unwrap_or(0) / per_second
        });
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        let nanos = i128::try_from(nanos).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_clocks_of_any_resolution() {
        let time = |resolution, offset_seconds, ticks| {
            Clock { resolution, offset_seconds }.time(ticks).as_nanos()
        };
        assert_eq!(time(6, 0, 1_500_001), 1_500_001_000);
        assert_eq!(time(9, 0, 1_500_000_001), 1_500_000_001);
        assert_eq!(time(0, 0, 7), 7_000_000_000);
        assert_eq!(time(0x8a, 0, 1024 + 512), 1_500_000_000);
        assert_eq!(time(6, 10, 1), 10_000_001_000);
        assert_eq!(time(6, -1, 2_000_000), 1_000_000_000);
        assert_eq!(time(6, i64::MIN, 0), 0);
        for resolution in 0..=255 {
            time(resolution, i64::MAX, u64::MAX);
        }
    }
}
