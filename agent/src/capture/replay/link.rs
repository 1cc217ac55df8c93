//! Finds the IP packet in a link-layer frame of a capture file. This module parses the header of the link type;
//! [`dnscribe_common::layers`], shared with the eBPF programs, parses the layers after it.

use dnscribe_common::layers::{self, ETHERNET, IP, IpSearch, LLC, Layer, MPLS, PPP, PPPOE};
use std::ops::Range;

/// Supported link types, for error messages.
pub(super) const SUPPORTED: &str = "Ethernet (1), raw IP (12, 14, 101, 228, 229), null and loopback (0, 108), \
     Linux cooked (113, 276), PPP (9, 50, 51, 166, 204), 802.11 (105, 127, 192), NFLOG (239), PFLOG (117), enc (109), \
     MPLS (219), PKTAP (258)";

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

/// Finds the IP packet in a frame of this link type (`LINKTYPE_*` of the registry at tcpdump.org).
///
/// # Errors
/// The link type, if it is not supported.
pub(super) fn inside(link: u32, frame: &[u8]) -> Result<Inside, u32> {
    // A header of this `EtherType` after `skip` bytes.
    let plain = |ethertype, skip| Some(Layer::new(ethertype, skip));
    // A header with an `EtherType` at `type_at`, and its payload at `at`.
    let typed = |type_at, at| Some(Layer::new(be16(frame, type_at)?, at));
    let wireless = |skip: Option<u32>| Some(Layer::new(LLC, wireless_header(frame, skip?)?));
    let mut end = frame.len();
    let layer = match link {
        0 | 108 => loopback(frame),
        1 => plain(ETHERNET, 0),
        12 | 14 | 101 | 228 | 229 => plain(IP, 0),
        9 | 50 => plain(PPP, 0),
        51 => plain(PPPOE, 0),
        // The first byte is the direction.
        166 | 204 => plain(PPP, 1),
        105 => wireless(Some(0)),
        109 => plain(IP, 12),
        113 => typed(14, 16),
        // PFLOG: the length excludes the padding to four bytes.
        117 => frame.first().and_then(|size| plain(IP, u32::from(*size).next_multiple_of(4))),
        127 => radiotap(frame).and_then(|radio| {
            end = end.checked_sub(radio.trailer)?;
            wireless(Some(radio.header))
        }),
        // Per-packet information, and PKTAP, which contain their length and the link type.
        192 => return Ok(nested(frame, le16(frame, 2), le32(frame, 4))),
        258 => return Ok(nested(frame, le32(frame, 0), le32(frame, 8))),
        219 => plain(MPLS, 0),
        239 => nflog(frame).and_then(|payload| {
            end = payload.end;
            plain(IP, u32::try_from(payload.start).ok()?)
        }),
        276 => typed(0, 20),
        unknown => return Err(unknown),
    };
    let found = layer.zip(frame.get(..end)).map(|(layer, frame)| layers::find_ip(frame, layer));
    Ok(match found {
        Some(IpSearch::Ip(at)) => match usize::try_from(at) {
            Ok(at) if at < end => Inside::Ip(at..end),
            _ => Inside::Nothing,
        },
        Some(IpSearch::TooDeep) => Inside::TooDeep,
        Some(IpSearch::Nothing) | None => Inside::Nothing,
    })
}

/// Finds the IP packet in a frame of another link type after `skip` bytes.
fn nested(frame: &[u8], skip: Option<u32>, link: Option<u32>) -> Inside {
    let skip = skip.and_then(|skip| usize::try_from(skip).ok());
    let rest = skip.and_then(|skip| Some((skip, frame.get(skip..)?)));
    match rest.zip(link.filter(|link| !matches!(link, 192 | 258))) {
        Some(((skip, rest), link)) => match inside(link, rest) {
            Ok(Inside::Ip(range)) => Inside::Ip(range.start + skip..range.end + skip),
            other => other.unwrap_or(Inside::Nothing),
        },
        None => Inside::Nothing,
    }
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

/// Frame lengths from a radiotap header (radiotap.org).
struct Radiotap {
    /// Size of the radiotap header in bytes.
    header: u32,
    /// Size of the check sequence at the end of the frame, in bytes.
    trailer: usize,
}

/// Parses a radiotap header.
fn radiotap(frame: &[u8]) -> Option<Radiotap> {
    let header = le16(frame, 2)?;
    let present = le32(frame, 4)?;
    // Bit 31 announces one more word of presence bits.
    let mut fields = 8;
    let mut word = present;
    while word & 1 << 31 != 0 {
        word = le32(frame, fields)?;
        fields += 4;
    }
    // The flags (bit 1) follow the TSF timer (bit 0; eight bytes, aligned).
    let flags = match present & 0b11 {
        0b10 => bytes_at::<1>(frame, fields)?[0],
        0b11 => bytes_at::<1>(frame, fields.next_multiple_of(8) + 8)?[0],
        _ => 0,
    };
    Some(Radiotap { header, trailer: if flags & 0x10 == 0 { 0 } else { 4 } })
}

/// Returns the offset of the LLC header of the data frame at `at`; `None` for other and for encrypted frames
/// (IEEE 802.11, 9.2.4 and 9.3.2).
fn wireless_header(frame: &[u8], at: u32) -> Option<u32> {
    let [control, flags] = bytes_at(frame, at)?;
    let (data, no_payload, protected) = (control & 0x0c == 0x08, control & 0x40, flags & 0x40);
    if !data || no_payload != 0 || protected != 0 {
        return None;
    }
    let four_addresses = flags & 0x03 == 0x03;
    let quality_of_service = control & 0x80 != 0;
    let high_throughput = quality_of_service && flags & 0x80 != 0;
    Some(
        at + 24
            + if four_addresses { 6 } else { 0 }
            + if quality_of_service { 2 } else { 0 }
            + if high_throughput { 4 } else { 0 },
    )
}

fn be16(frame: &[u8], at: u32) -> Option<u16> {
    bytes_at(frame, at).map(u16::from_be_bytes)
}

/// Reads a 16-bit number.
fn le16(frame: &[u8], at: u32) -> Option<u32> {
    bytes_at(frame, at).map(|two| u16::from_le_bytes(two).into())
}

fn le32(frame: &[u8], at: u32) -> Option<u32> {
    bytes_at(frame, at).map(u32::from_le_bytes)
}

fn bytes_at<const N: usize>(frame: &[u8], at: u32) -> Option<[u8; N]> {
    frame.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
