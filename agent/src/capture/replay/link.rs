//! From a link-layer frame to the IP packet inside: a walk from header to header, each of which
//! tells what comes next. Further encapsulations are further [`Next`]s.

mod wireless;

use std::ops::Range;

/// For messages.
pub(super) const SUPPORTED: &str = "Ethernet (1), raw IP (12, 14, 101, 228, 229), null and loopback \
     (0, 108), Linux cooked (113, 276), PPP (9, 50, 51), Cisco HDLC (104), 802.11 (105, 127), NFLOG \
     (239)";

/// A link type that can be read (`LINKTYPE_*` of the registry at tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// BSD loopback: an address family in the byte order of some host.
    Loopback,
    Ethernet,
    RawIp,
    Ppp,
    PppOverEthernet,
    CiscoHdlc,
    Wireless,
    Radiotap,
    Cooked,
    Cooked2,
    Nflog,
}

impl TryFrom<u32> for Link {
    type Error = u32;

    fn try_from(link: u32) -> Result<Self, u32> {
        Ok(match link {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            9 | 50 => Self::Ppp,
            51 => Self::PppOverEthernet,
            104 => Self::CiscoHdlc,
            105 => Self::Wireless,
            127 => Self::Radiotap,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            239 => Self::Nflog,
            unknown => return Err(unknown),
        })
    }
}

/// What the octets at a place in the frame are.
enum Next {
    /// An `EtherType` (IEEE 802.3, 3.2.6) and what it announces.
    EtherType(u16),
    /// LLC with SNAP (IEEE 802.2).
    Llc,
    /// PPP, with or without HDLC's address and control (RFC 1661, 1662).
    Ppp,
    /// A `PPPoE` session header (RFC 2516).
    PppOverEthernet,
    Ip,
}

/// A chain of more headers than this is no frame of this world.
const MAX_HEADERS: usize = 16;

impl Link {
    /// Where in the frame the IP packet lies, trailing padding included; `None` if it carries
    /// something else or ends too early.
    pub(super) fn header(self, frame: &[u8]) -> Option<Range<usize>> {
        let mut end = frame.len();
        let (mut next, mut at) = match self {
            Self::Loopback => (loopback(frame)?, 4),
            Self::Ethernet => (Next::EtherType(be16(frame, 12)?), 14),
            Self::RawIp => (Next::Ip, 0),
            Self::Ppp => (Next::Ppp, 0),
            Self::PppOverEthernet => (Next::PppOverEthernet, 0),
            Self::CiscoHdlc => (Next::EtherType(be16(frame, 2)?), 4),
            Self::Cooked => (Next::EtherType(be16(frame, 14)?), 16),
            Self::Cooked2 => (Next::EtherType(be16(frame, 0)?), 20),
            Self::Wireless => (Next::Llc, wireless::header(frame, 0)?),
            Self::Radiotap => {
                let radio = wireless::radiotap(frame)?;
                end = end.checked_sub(radio.trailer)?;
                (Next::Llc, wireless::header(frame, radio.header)?)
            }
            Self::Nflog => {
                let payload = nflog(frame)?;
                end = payload.end;
                (Next::Ip, payload.start)
            }
        };
        for _ in 0..MAX_HEADERS {
            (next, at) = match next {
                Next::Ip => return (at < end).then_some(at..end),
                Next::EtherType(kind) => ether_type(kind, frame, at)?,
                Next::Llc => match frame.get(at..at + 6)? {
                    [0xaa, 0xaa, 0x03, _, _, _] => (Next::EtherType(be16(frame, at + 6)?), at + 8),
                    _ => return None,
                },
                Next::PppOverEthernet => {
                    // Code 0 is the session's data; others set it up.
                    (*frame.get(at + 1)? == 0).then_some((Next::Ppp, at + 6))?
                }
                Next::Ppp => ppp(frame, at)?,
            };
        }
        None
    }
}

fn ether_type(kind: u16, frame: &[u8], at: usize) -> Option<(Next, usize)> {
    Some(match kind {
        0x0800 | 0x86dd => (Next::Ip, at),
        // 802.1Q, 802.1ad and the numbers that came before it.
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => {
            (Next::EtherType(be16(frame, at + 2)?), at + 4)
        }
        0x8864 => (Next::PppOverEthernet, at),
        // A length, not a type: 802.3.
        0..=1500 => (Next::Llc, at),
        _ => return None,
    })
}

fn ppp(frame: &[u8], mut at: usize) -> Option<(Next, usize)> {
    if frame.get(at..at + 2)? == [0xff, 0x03] {
        at += 2;
    }
    // An odd first octet is a protocol number compressed to one (RFC 1661, 6.5).
    let first = *frame.get(at)?;
    let (protocol, at) =
        if first & 1 == 1 { (u16::from(first), at + 1) } else { (be16(frame, at)?, at + 2) };
    matches!(protocol, 0x0021 | 0x0057).then_some((Next::Ip, at))
}

/// The families of the BSDs, Linux and Windows; which host wrote the file cannot be known. Some
/// write an `EtherType` into the second half instead.
fn loopback(frame: &[u8]) -> Option<Next> {
    let family = *frame.first_chunk::<4>()?;
    let family = u32::from_le_bytes(family).min(u32::from_be_bytes(family));
    if matches!(family, 2 | 10 | 23 | 24 | 26 | 28 | 30) {
        return Some(Next::Ip);
    }
    Some(Next::EtherType(be16(frame, 2)?))
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

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    frame.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests;
