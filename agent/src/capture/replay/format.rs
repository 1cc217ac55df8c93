//! Parses pcap and pcapng files into frames with time and link type, and files of Frame Streams.

pub(super) mod frame_streams;
mod pcap;
mod pcapng;

use super::source::{Problem, Source};
use dnscribe_record::time::Timestamp;

/// Largest valid packet or block in bytes; a greater length means damage. libpcap writes at most 256 KiB for link
/// types that can carry IP.
const MAX_RECORD: u32 = 16 * 1024 * 1024;

/// Captured frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Capture time.
    pub ts: Timestamp,
    /// Link type (`LINKTYPE_*` of the registry at tcpdump.org).
    pub link: u32,
    /// Captured bytes from the link-layer header on.
    pub bytes: &'a [u8],
    /// Length on the wire in bytes.
    pub wire_bytes: u32,
}

/// Reader of the frames of a file.
pub(super) struct Reader {
    source: Source,
    format: Format,
    /// Set at the end of the file: it ends in a packet, or packets have no time.
    pub(super) warning: Option<String>,
}

enum Format {
    Pcap(pcap::Header),
    PcapNg(pcapng::Section),
}

impl Reader {
    pub(super) fn new(mut source: Source) -> Result<Self, Problem> {
        source.fill(24)?;
        let start = source.available();
        let format = if start.is_empty() {
            let damaged = |what| Problem::Damaged { offset: 0, what };
            return Err(source.cut_off.map_or(Problem::Empty, damaged));
        } else if start.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            Format::PcapNg(pcapng::Section::default())
        } else if let Some(header) = pcap::Header::read(start)? {
            source.consume(pcap::HEADER_BYTES);
            Format::Pcap(header)
        } else {
            return Err(Problem::NotACapture(start.get(..4).unwrap_or(start).to_vec()));
        };
        Ok(Self { source, format, warning: None })
    }

    /// Returns the next frame, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, Problem> {
        let found = match &mut self.format {
            Format::Pcap(header) => header.find(&mut self.source)?,
            Format::PcapNg(section) => section.find(&mut self.source)?,
        };
        let Some(found) = found else {
            let warnings = [self.end_warning(), self.time_warning()];
            let warnings: Vec<_> = warnings.into_iter().flatten().collect();
            self.warning = (!warnings.is_empty()).then(|| warnings.join("; "));
            return Ok(None);
        };
        // The record is consumed first: the window keeps its bytes until it is filled again.
        let record = self.source.take(found.record);
        let bytes = record.get(found.data).unwrap_or_default();
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(Some(Frame {
            ts: found.ts,
            link: found.link,
            bytes,
            // Some tools set no length on the wire.
            wire_bytes: found.wire_bytes.max(captured),
        }))
    }

    /// Returns the link type of all packets, if the format has a single one.
    pub(super) fn link(&self) -> Option<u32> {
        match &self.format {
            Format::Pcap(header) => Some(header.link),
            Format::PcapNg(_) => None,
        }
    }

    fn time_warning(&self) -> Option<String> {
        let without_time = match &self.format {
            Format::Pcap(_) => 0,
            Format::PcapNg(section) => section.without_time,
        };
        (without_time > 0).then(|| {
            format!(
                "packets without a time (simple packet blocks): {without_time}; each has that of the packet before it, or \
                 1970, so their times, latencies and timeouts are not real"
            )
        })
    }

    fn end_warning(&self) -> Option<String> {
        let left = self.source.available().len();
        let position = self.source.position;
        if let Some(why) = self.source.cut_off {
            return Some(format!(
                "the file is truncated: {why}; its complete packets were replayed"
            ));
        }
        (left > 0).then(|| {
            format!(
                "the file ends in the middle of a packet, {left} bytes after byte {position}; its complete \
                 packets were replayed"
            )
        })
    }
}

/// Position of a frame in the window.
struct FramePosition {
    ts: Timestamp,
    link: u32,
    wire_bytes: u32,
    /// Size of the record in bytes, from the start of the window.
    record: usize,
    /// Range of the frame in the record.
    data: std::ops::Range<usize>,
}

/// Byte order of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Endian {
    #[default]
    Little,
    Big,
}

impl Endian {
    /// Returns the bytes of a number at `at`, least significant first; 0 beyond the end.
    fn bytes<const N: usize>(self, bytes: &[u8], at: usize) -> [u8; N] {
        let mut found = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N]);
        if self == Self::Big {
            found.reverse();
        }
        found
    }

    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(self.bytes(bytes, at))
    }

    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(bytes, at))
    }

    fn i64(self, bytes: &[u8], at: usize) -> i64 {
        i64::from_le_bytes(self.bytes(bytes, at))
    }
}

/// Converts a length in bytes, which `MAX_RECORD` bounds.
fn size(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
