//! Finds the IP packet in a link-layer frame of a capture file. This module parses the header of the link type;
//! [`dnscribe_common::layers`], shared with the eBPF programs, parses the layers after it.

mod wireless;

use dnscribe_common::layers::{self, ETHERNET, IP, IpSearch, LLC, Layer, MPLS, PPP, PPPOE};
use std::ops::Range;

/// Supported link types, for error messages.
pub(super) const SUPPORTED: &str = "Ethernet (1), FDDI (10), raw IP (12, 14, 101, 228, 229), null and \
     loopback (0, 108), Linux cooked (113, 276), PPP (9, 50, 51, 166, 204), Cisco HDLC (104, 205), frame relay \
     (107, 206), 802.11 (105, 119, 127, 163, 192), NFLOG (239), PFLOG (117), enc (109), IPNET (226), \
     IP over InfiniBand (242), over ATM (100), over FireWire (138), MPLS (219), PKTAP (258)";

/// Supported link type (`LINKTYPE_*` of the registry at tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// BSD loopback: an address family in the byte order of the capturing host.
    Loopback,
    /// Header of this `EtherType` after `skip` bytes.
    Plain {
        ethertype: u16,
        skip: u32,
    },
    /// Header with an `EtherType` at `type_at`, and its payload at `at`.
    Typed {
        type_at: u32,
        at: u32,
    },
    Fddi,
    FrameRelay {
        skip: u32,
    },
    Wireless {
        skip: u32,
    },
    Radiotap,
    /// AVS, with its length at byte 4.
    Avs,
    /// Per-packet information, which contains its length and the link type.
    Ppi,
    Pktap,
    Nflog,
    Pflog,
}

impl TryFrom<u32> for Link {
    type Error = u32;

    fn try_from(link: u32) -> Result<Self, u32> {
        let plain = |ethertype, skip| Self::Plain { ethertype, skip };
        Ok(match link {
            0 | 108 => Self::Loopback,
            1 => plain(ETHERNET, 0),
            10 => Self::Fddi,
            12 | 14 | 101 | 228 | 229 => plain(IP, 0),
            9 | 50 => plain(PPP, 0),
            51 => plain(PPPOE, 0),
            // The first byte is the direction.
            166 | 204 => plain(PPP, 1),
            100 => plain(LLC, 0),
            104 => Self::Typed { type_at: 2, at: 4 },
            205 => Self::Typed { type_at: 3, at: 5 },
            105 => Self::Wireless { skip: 0 },
            107 => Self::FrameRelay { skip: 0 },
            206 => Self::FrameRelay { skip: 1 },
            109 => plain(IP, 12),
            113 => Self::Typed { type_at: 14, at: 16 },
            117 => Self::Pflog,
            119 => Self::Wireless { skip: 144 },
            127 => Self::Radiotap,
            138 => Self::Typed { type_at: 16, at: 18 },
            163 => Self::Avs,
            192 => Self::Ppi,
            219 => plain(MPLS, 0),
            226 => plain(IP, 24),
            239 => Self::Nflog,
            242 => Self::Typed { type_at: 40, at: 44 },
            258 => Self::Pktap,
            276 => Self::Typed { type_at: 0, at: 20 },
            unknown => return Err(unknown),
        })
    }
}

/// Content of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// Range of an IP packet, including trailing padding.
    Ip(Range<usize>),
    /// No IP packet, or a truncated one.
    Nothing,
    /// More headers before the IP packet than are parsed.
    TooDeep,
}

impl Link {
    /// Finds the IP packet in a frame.
    pub(super) fn inside(self, frame: &[u8]) -> Inside {
        self.find(frame).unwrap_or(Inside::Nothing)
    }

    fn find(self, frame: &[u8]) -> Option<Inside> {
        let mut end = frame.len();
        let layer = match self {
            Self::Loopback => loopback(frame)?,
            Self::Plain { ethertype, skip } => Layer::new(ethertype, skip),
            Self::Typed { type_at, at } => Layer::new(be16(frame, type_at)?, at),
            Self::Fddi => fddi(frame)?,
            Self::FrameRelay { skip } => frame_relay(frame, skip)?,
            Self::Wireless { skip } => Layer::new(LLC, wireless::header(frame, skip)?),
            Self::Radiotap => {
                let radio = wireless::radiotap(frame)?;
                end = end.checked_sub(radio.trailer)?;
                Layer::new(LLC, wireless::header(frame, radio.header)?)
            }
            Self::Avs => Layer::new(LLC, wireless::header(frame, be32(frame, 4)?)?),
            Self::Ppi => {
                let header = u16::from_le_bytes([*frame.get(2)?, *frame.get(3)?]);
                return nested(frame, u32::from(header), le32(frame, 4)?);
            }
            Self::Pktap => return nested(frame, le32(frame, 0)?, le32(frame, 8)?),
            Self::Nflog => {
                let payload = nflog(frame)?;
                end = payload.end;
                Layer::new(IP, u32::try_from(payload.start).ok()?)
            }
            // The length excludes the padding to four bytes.
            Self::Pflog => Layer::new(IP, u32::from(*frame.first()?).next_multiple_of(4)),
        };
        Some(match layers::find_ip(frame.get(..end)?, layer) {
            IpSearch::Ip(at) => {
                let at = usize::try_from(at).ok()?;
                if at >= end {
                    return None;
                }
                Inside::Ip(at..end)
            }
            IpSearch::Nothing => Inside::Nothing,
            IpSearch::TooDeep => Inside::TooDeep,
        })
    }
}

/// Finds the IP packet in a frame of another link type after `skip` bytes.
fn nested(frame: &[u8], skip: u32, link: u32) -> Option<Inside> {
    let link = Link::try_from(link).ok().filter(|link| !matches!(link, Link::Ppi | Link::Pktap))?;
    let skip = usize::try_from(skip).ok()?;
    Some(match link.inside(frame.get(skip..)?) {
        Inside::Ip(range) => Inside::Ip(range.start + skip..range.end + skip),
        other => other,
    })
}

/// Parses FDDI (ISO 9314-2): frame control, destination and source address, then LLC (RFC 1390). Frames of station
/// management, tokens and frames with 2-byte addresses carry no IP. Some hosts write the addresses with the bits of
/// each byte in reverse order, which does not affect the other fields.
fn fddi(frame: &[u8]) -> Option<Layer> {
    /// Mask of the bit for 6-byte addresses and of the two for the frame format. The top bit (class of service) and
    /// the lower half (priority) are ignored.
    const LENGTH_AND_FORMAT: u8 = 0x70;
    const LLC_FRAME: u8 = 0x50;
    let control = *frame.first()?;
    (control & LENGTH_AND_FORMAT == LLC_FRAME).then(|| Layer::new(LLC, 13))
}

/// Parses frame relay: two bytes of address, then a header of RFC 2427 or Cisco's `EtherType`.
fn frame_relay(frame: &[u8], skip: u32) -> Option<Layer> {
    let at = skip + 2;
    let start = usize::try_from(at).ok()?;
    Some(match frame.get(start..)? {
        [0x03, 0xcc | 0x8e, ..] => Layer::new(IP, at + 2),
        // SNAP, after a byte of padding.
        [0x03, 0x00, 0x80, _, _, _, high, low, ..] => {
            Layer::new(u16::from_be_bytes([*high, *low]), at + 8)
        }
        [high, low, ..] => Layer::new(u16::from_be_bytes([*high, *low]), at + 2),
        _ => return None,
    })
}

/// Parses the address family of BSD, Linux or Windows loopback, in either byte order. Some systems write an
/// `EtherType` into the second half instead.
fn loopback(frame: &[u8]) -> Option<Layer> {
    let family = *frame.first_chunk::<4>()?;
    let family = u32::from_le_bytes(family).min(u32::from_be_bytes(family));
    if matches!(family, 2 | 10 | 23 | 24 | 26 | 28 | 30) {
        return Some(Layer::new(IP, 4));
    }
    Some(Layer::new(be16(frame, 2)?, 4))
}

/// Returns the range of the packet among the attributes of a netfilter log message, in either byte order.
fn nflog(frame: &[u8]) -> Option<Range<usize>> {
    const PAYLOAD: u16 = 9;
    let mut at = 4;
    loop {
        let header = *frame.get(at..)?.first_chunk::<4>()?;
        let read = |from: fn([u8; 2]) -> u16| {
            (usize::from(from([header[0], header[1]])), from([header[2], header[3]]))
        };
        let plausible = |(length, kind): &(usize, u16)| {
            (4..=frame.len() - at).contains(length) && *kind < 0x100
        };
        let little = Some(read(u16::from_le_bytes)).filter(plausible);
        let (length, kind) = little.or_else(|| Some(read(u16::from_be_bytes)).filter(plausible))?;
        if kind == PAYLOAD {
            return Some(at + 4..at + length);
        }
        at += length.next_multiple_of(4);
    }
}

fn be16(frame: &[u8], at: u32) -> Option<u16> {
    bytes_at(frame, at).map(u16::from_be_bytes)
}

fn be32(frame: &[u8], at: u32) -> Option<u32> {
    bytes_at(frame, at).map(u32::from_be_bytes)
}

fn le32(frame: &[u8], at: u32) -> Option<u32> {
    bytes_at(frame, at).map(u32::from_le_bytes)
}

fn bytes_at<const N: usize>(frame: &[u8], at: u32) -> Option<[u8; N]> {
    frame.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
