//! The file formats: where each packet begins, when it passed, and over which kind of link.

mod pcap;
mod pcapng;

use super::source::{Problem, Source};
use dnscribe_record::time::Timestamp;

/// Longest packet or block that is believed, in octets; a greater length means damage. libpcap
/// itself writes at most 256 KiB for what can carry IP.
const MAX_RECORD: u32 = 16 * 1024 * 1024;

/// One captured frame.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub ts: Timestamp,
    /// Link type (`LINKTYPE_*` of the registry at tcpdump.org).
    pub link: u32,
    /// The captured octets from the link-layer header on.
    pub bytes: &'a [u8],
    /// Their number on the wire.
    pub wire_bytes: u32,
}

/// Reads frame after frame.
pub(super) struct Reader {
    source: Source,
    format: Format,
    warning: Option<String>,
}

enum Format {
    Pcap(pcap::Header),
    PcapNg(pcapng::Section),
}

impl Reader {
    pub(super) fn new(mut source: Source) -> Result<Self, Problem> {
        source.fill(24)?;
        let start = source.available();
        let format = match start.first_chunk::<4>() {
            None if start.is_empty() => {
                return Err(source
                    .cut_off()
                    .map_or(Problem::Empty, |what| Problem::Damaged { offset: 0, what }));
            }
            Some([0x0a, 0x0d, 0x0d, 0x0a]) => Format::PcapNg(pcapng::Section::default()),
            Some(magic) if pcap::is_magic(*magic) => {
                let header = pcap::Header::read(start)?;
                source.consume(pcap::HEADER_BYTES);
                Format::Pcap(header)
            }
            _ => {
                let shown = start.get(..4).unwrap_or(start);
                return Err(Problem::NotACapture(shown.to_vec()));
            }
        };
        Ok(Self { source, format, warning: None })
    }

    /// The next frame; `None` at the end of the file, with a warning if that is in mid packet.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, Problem> {
        let found = match &mut self.format {
            Format::Pcap(header) => header.find(&mut self.source)?,
            Format::PcapNg(section) => section.find(&mut self.source)?,
        };
        let Some(found) = found else {
            self.warning = self.ending();
            return Ok(None);
        };
        // The record is consumed first: the window keeps its octets until it is filled again.
        let record = self.source.take(found.record);
        let bytes = record.get(found.data).unwrap_or_default();
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(Some(Frame {
            ts: found.ts,
            link: found.link,
            bytes,
            // Some tools leave the length on the wire blank.
            wire_bytes: found.wire_bytes.max(captured),
        }))
    }

    /// The one link type of all packets, where the format has but one.
    pub(super) fn link(&self) -> Option<u32> {
        match &self.format {
            Format::Pcap(header) => Some(header.link),
            Format::PcapNg(_) => None,
        }
    }

    fn ending(&self) -> Option<String> {
        let left = self.source.available().len();
        let position = self.source.position();
        if let Some(why) = self.source.cut_off() {
            return Some(format!("the file is cut off: {why}; its whole packets were replayed"));
        }
        (left > 0).then(|| {
            format!(
                "the file ends in mid packet, {left} octets after octet {position}; its whole \
                 packets were replayed"
            )
        })
    }

    pub(super) fn warning(self) -> Option<String> {
        self.warning
    }
}

/// Where a frame lies in the window.
struct Found {
    ts: Timestamp,
    link: u32,
    wire_bytes: u32,
    /// Length of the whole record, from the window's start.
    record: usize,
    /// The frame within the record.
    data: std::ops::Range<usize>,
}

/// Reads numbers in the file's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Endian {
    #[default]
    Little,
    Big,
}

impl Endian {
    /// Two octets at `at`; 0 where there are none.
    fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let two = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        match self {
            Self::Little => u16::from_le_bytes(two),
            Self::Big => u16::from_be_bytes(two),
        }
    }

    /// Four octets at `at`; 0 where there are none.
    fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let four = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        }
    }

    /// Eight octets at `at`; 0 where there are none.
    fn i64(self, bytes: &[u8], at: usize) -> i64 {
        let eight = bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
        match self {
            Self::Little => i64::from_le_bytes(eight),
            Self::Big => i64::from_be_bytes(eight),
        }
    }
}

/// Octet counts of a file as sizes; `MAX_RECORD` keeps them small.
fn size(octets: u32) -> usize {
    usize::try_from(octets).unwrap_or(usize::MAX)
}
