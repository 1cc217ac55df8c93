//! From a link-layer frame to the IP packet inside: each link type tells where its header ends and
//! what follows; the walk from there is the one that the eBPF programs share.

mod wireless;

use dnscribe_common::layers::{self, ETHERNET, Found, IP, LLC, MPLS, PPP, PPPOE, Place};
use std::ops::Range;

/// For messages.
pub(super) const SUPPORTED: &str = "Ethernet (1), FDDI (10), raw IP (12, 14, 101, 228, 229), null and \
     loopback (0, 108), Linux cooked (113, 276), PPP (9, 50, 51, 166, 204), Cisco HDLC (104, 205), frame relay \
     (107, 206), 802.11 (105, 119, 127, 163, 192), NFLOG (239), PFLOG (117), enc (109), IPNET (226), \
     IP over InfiniBand (242), over ATM (100), over FireWire (138), MPLS (219), PKTAP (258)";

/// A link type that can be read (`LINKTYPE_*` of the registry at tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// BSD loopback: an address family in the byte order of some host.
    Loopback,
    /// This kind of header, after as many octets.
    Plain {
        kind: u16,
        skip: u32,
    },
    /// An `EtherType` at the one place, and what it says at the other.
    Typed {
        kind_at: u32,
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
    /// AVS: its length stands at octet 4.
    Avs,
    /// Per-packet information: its length and the link type stand in it.
    Ppi,
    Pktap,
    Nflog,
    Pflog,
}

impl TryFrom<u32> for Link {
    type Error = u32;

    fn try_from(link: u32) -> Result<Self, u32> {
        let plain = |kind, skip| Self::Plain { kind, skip };
        Ok(match link {
            0 | 108 => Self::Loopback,
            1 => plain(ETHERNET, 0),
            10 => Self::Fddi,
            12 | 14 | 101 | 228 | 229 => plain(IP, 0),
            9 | 50 => plain(PPP, 0),
            51 => plain(PPPOE, 0),
            // A first octet tells the direction.
            166 | 204 => plain(PPP, 1),
            100 => plain(LLC, 0),
            104 => Self::Typed { kind_at: 2, at: 4 },
            205 => Self::Typed { kind_at: 3, at: 5 },
            105 => Self::Wireless { skip: 0 },
            107 => Self::FrameRelay { skip: 0 },
            206 => Self::FrameRelay { skip: 1 },
            109 => plain(IP, 12),
            113 => Self::Typed { kind_at: 14, at: 16 },
            117 => Self::Pflog,
            119 => Self::Wireless { skip: 144 },
            127 => Self::Radiotap,
            138 => Self::Typed { kind_at: 16, at: 18 },
            163 => Self::Avs,
            192 => Self::Ppi,
            219 => plain(MPLS, 0),
            226 => plain(IP, 24),
            239 => Self::Nflog,
            242 => Self::Typed { kind_at: 40, at: 44 },
            258 => Self::Pktap,
            276 => Self::Typed { kind_at: 0, at: 20 },
            unknown => return Err(unknown),
        })
    }
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// An IP packet lies here, trailing padding included.
    Ip(Range<usize>),
    /// Something else, or it ends too early.
    Nothing,
    /// More headers before an IP packet than are looked through.
    TooDeep,
}

impl Link {
    /// Finds the IP packet in a frame.
    pub(super) fn inside(self, frame: &[u8]) -> Inside {
        self.find(frame).unwrap_or(Inside::Nothing)
    }

    fn find(self, frame: &[u8]) -> Option<Inside> {
        let mut end = frame.len();
        let place = match self {
            Self::Loopback => loopback(frame)?,
            Self::Plain { kind, skip } => Place::new(kind, skip),
            Self::Typed { kind_at, at } => Place::new(be16(frame, kind_at)?, at),
            Self::Fddi => fddi(frame)?,
            Self::FrameRelay { skip } => frame_relay(frame, skip)?,
            Self::Wireless { skip } => Place::new(LLC, wireless::header(frame, skip)?),
            Self::Radiotap => {
                let radio = wireless::radiotap(frame)?;
                end = end.checked_sub(radio.trailer)?;
                Place::new(LLC, wireless::header(frame, radio.header)?)
            }
            Self::Avs => Place::new(LLC, wireless::header(frame, be32(frame, 4)?)?),
            Self::Ppi => {
                let header = u16::from_le_bytes([*frame.get(2)?, *frame.get(3)?]);
                return nested(frame, u32::from(header), le32(frame, 4)?);
            }
            Self::Pktap => return nested(frame, le32(frame, 0)?, le32(frame, 8)?),
            Self::Nflog => {
                let payload = nflog(frame)?;
                end = payload.end;
                Place::new(IP, u32::try_from(payload.start).ok()?)
            }
            // The length leaves out what fills it up to four octets.
            Self::Pflog => Place::new(IP, u32::from(*frame.first()?).next_multiple_of(4)),
        };
        Some(match layers::find_ip(frame.get(..end)?, place) {
            Found::Ip(at) => {
                let at = usize::try_from(at).ok()?;
                if at >= end {
                    return None;
                }
                Inside::Ip(at..end)
            }
            Found::Nothing => Inside::Nothing,
            Found::TooDeep => Inside::TooDeep,
        })
    }
}

/// A frame of another link type behind a header of `skip` octets.
fn nested(frame: &[u8], skip: u32, link: u32) -> Option<Inside> {
    let link = Link::try_from(link).ok().filter(|link| !matches!(link, Link::Ppi | Link::Pktap))?;
    let skip = usize::try_from(skip).ok()?;
    Some(match link.inside(frame.get(skip..)?) {
        Inside::Ip(range) => Inside::Ip(range.start + skip..range.end + skip),
        other => other,
    })
}

/// FDDI (ISO 9314-2): frame control, destination and source address, then LLC (RFC 1390). Frames of station
/// management, tokens and frames with 2-byte addresses carry no IP. Some hosts write the addresses with
/// the bits of each byte in reverse order, which changes nothing here: the frame control byte and what
/// follows the addresses are the same.
fn fddi(frame: &[u8]) -> Option<Place> {
    /// The bit for 6-byte addresses, and the two for the frame's format. The top bit, the class of
    /// service, and the lower half, the priority, may be anything.
    const LENGTH_AND_FORMAT: u8 = 0x70;
    const LLC_FRAME: u8 = 0x50;
    let control = *frame.first()?;
    (control & LENGTH_AND_FORMAT == LLC_FRAME).then(|| Place::new(LLC, 13))
}

/// Two octets of address, and what RFC 2427 puts behind; or Cisco's `EtherType`.
fn frame_relay(frame: &[u8], skip: u32) -> Option<Place> {
    let at = skip + 2;
    let behind = usize::try_from(at).ok()?;
    Some(match frame.get(behind..)? {
        [0x03, 0xcc | 0x8e, ..] => Place::new(IP, at + 2),
        // SNAP, after an octet that pads.
        [0x03, 0x00, 0x80, _, _, _, high, low, ..] => {
            Place::new(u16::from_be_bytes([*high, *low]), at + 8)
        }
        [high, low, ..] => Place::new(u16::from_be_bytes([*high, *low]), at + 2),
        _ => return None,
    })
}

/// The families of the BSDs, Linux and Windows; which host wrote the file cannot be known. Some
/// write an `EtherType` into the second half instead.
fn loopback(frame: &[u8]) -> Option<Place> {
    let family = *frame.first_chunk::<4>()?;
    let family = u32::from_le_bytes(family).min(u32::from_be_bytes(family));
    if matches!(family, 2 | 10 | 23 | 24 | 26 | 28 | 30) {
        return Some(Place::new(IP, 4));
    }
    Some(Place::new(be16(frame, 2)?, 4))
}

/// The packet among the attributes of a netfilter log message, which stand in the byte order of
/// the host that logged.
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
    octets(frame, at).map(u16::from_be_bytes)
}

fn be32(frame: &[u8], at: u32) -> Option<u32> {
    octets(frame, at).map(u32::from_be_bytes)
}

fn le32(frame: &[u8], at: u32) -> Option<u32> {
    octets(frame, at).map(u32::from_le_bytes)
}

fn octets<const N: usize>(frame: &[u8], at: u32) -> Option<[u8; N]> {
    frame.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
