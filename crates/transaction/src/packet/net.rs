//! Reads headers of IP, UDP, TCP and ICMP as far as DNS needs them (RFC 791, 8200, 768, 9293, 792,
//! 4443).
//!
//! Used by the decoder and by file replay, which filters by ports as the kernel does. Nothing here
//! allocates, verifies checksums (offloading leaves them blank) or trusts a length.

mod icmp;
mod transport;

pub use icmp::{IcmpQuote, UnreachableReason, parse_icmp_quote};
pub use transport::{TcpFlags, TcpSegment, UdpDatagram, parse_tcp, parse_udp, ports};

use dnscribe_common::layers::{self, AUTHENTICATION, EXTENSIONS, FRAGMENT, IpSearch, is_extension};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers (IANA).
pub mod protocol {
    /// RFC 792.
    pub const ICMP: u8 = 1;
    /// RFC 9293.
    pub const TCP: u8 = 6;
    /// RFC 768.
    pub const UDP: u8 = 17;
    /// RFC 4443.
    pub const ICMPV6: u8 = 58;
}

/// The header that cannot be read: it is cut off or inconsistent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// IPv4, IPv6 or an extension header.
    Ip,
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// Position of a fragment in its datagram (RFC 791, 3.2; RFC 8200, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification, common to a datagram's fragments.
    pub id: u32,
    /// Offset of the payload in the datagram's payload, in bytes.
    pub offset: u32,
    /// Whether more fragments follow.
    pub more: bool,
}

/// An IP packet: addresses and payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol of the payload; in an IPv6 fragment the header after the fragment header, perhaps
    /// another extension: see [`skip_extensions`].
    pub protocol: u8,
    /// The captured bytes of the payload, without link-layer padding.
    pub payload: &'a [u8],
    /// Length of the payload on the wire, in bytes; `payload` is shorter if it was clipped.
    pub payload_wire: u32,
    /// Set in fragments; not in whole packets, nor in IPv6 "atomic" fragments (RFC 6946).
    pub fragment: Option<Fragment>,
}

impl<'a> IpPacket<'a> {
    /// Returns whether this is a fragment other than the first, without a transport header.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }

    /// Returns whether more IPv6 extension headers come first than are walked, so that the upper layer
    /// is unknown. Not in later fragments, which have none.
    #[must_use]
    pub fn has_too_many_extensions(&self) -> bool {
        let is_unknown =
            |upper: UpperLayer<'_>| upper.fragment.is_none() && is_extension(upper.protocol);
        self.src.is_ipv6() && self.upper_layer().is_some_and(is_unknown)
    }

    /// Returns the upper layer: the payload, in a first fragment after further extension headers.
    /// `None` in later fragments.
    fn upper_layer(&self) -> Option<UpperLayer<'a>> {
        let Self { protocol, payload, payload_wire, .. } = *self;
        match self.fragment {
            Some(fragment) if fragment.offset != 0 => None,
            Some(_) if self.src.is_ipv6() => skip_extensions(protocol, payload, payload_wire).ok(),
            _ => Some(UpperLayer { protocol, payload, payload_wire, fragment: None }),
        }
    }
}

/// Reads an IP packet. `wire_bytes` is its captured length on the wire, which may include
/// link-layer padding.
///
/// # Errors
/// The IP header or an extension header is invalid.
pub fn parse_ip(bytes: &[u8], wire_bytes: u32) -> Result<IpPacket<'_>, BadHeader> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4(bytes, wire_bytes),
        Some(6) => ipv6(bytes, wire_bytes),
        _ => Err(BadHeader::Ip),
    }
}

fn ipv4(bytes: &[u8], wire_bytes: u32) -> Result<IpPacket<'_>, BadHeader> {
    let header = bytes.first_chunk::<20>().ok_or(BadHeader::Ip)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    // Segmentation offload leaves the total length 0; then only the capture knows the length.
    let claimed = match u32::from(read_u16(header, 2)) {
        0 => wire_bytes,
        length => length.min(wire_bytes),
    };
    let payload_wire = subtract_header(claimed, header_len)?;
    if header_len < 20 {
        return Err(BadHeader::Ip);
    }
    let offset_word = read_u16(header, 6);
    let (offset, more) = (u32::from(offset_word & 0x1fff) * 8, offset_word & 0x2000 != 0);
    Ok(IpPacket {
        src: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        dst: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol: header[9],
        payload: captured_part(bytes.get(header_len..).ok_or(BadHeader::Ip)?, payload_wire),
        payload_wire,
        fragment: (offset != 0 || more).then(|| Fragment {
            id: u32::from(read_u16(header, 4)),
            offset,
            more,
        }),
    })
}

fn ipv6(bytes: &[u8], wire_bytes: u32) -> Result<IpPacket<'_>, BadHeader> {
    let (header, rest) = bytes.split_first_chunk::<40>().ok_or(BadHeader::Ip)?;
    let available = subtract_header(wire_bytes, 40)?;
    // 0: a jumbogram (RFC 2675), or segmentation offload.
    let payload_wire = match u32::from(read_u16(header, 4)) {
        0 => available,
        length => length.min(available),
    };
    let (src, rest_of_header) = header[8..].split_first_chunk::<16>().ok_or(BadHeader::Ip)?;
    let dst = rest_of_header.first_chunk::<16>().ok_or(BadHeader::Ip)?;
    let inner = skip_extensions(header[6], captured_part(rest, payload_wire), payload_wire)?;
    Ok(IpPacket {
        src: Ipv6Addr::from(*src).into(),
        dst: Ipv6Addr::from(*dst).into(),
        protocol: inner.protocol,
        payload: inner.payload,
        payload_wire: inner.payload_wire,
        fragment: inner.fragment,
    })
}

/// The upper layer after a chain of IPv6 extension headers.
#[derive(Clone, Copy, Debug)]
pub struct UpperLayer<'a> {
    /// Protocol of the first header that is no extension.
    pub protocol: u8,
    /// The captured bytes from that header on.
    pub payload: &'a [u8],
    /// Their length on the wire, in bytes.
    pub payload_wire: u32,
    /// Set if the chain contains a fragment header, after which the walk stops.
    pub fragment: Option<Fragment>,
}

/// Skips the IPv6 extension headers (RFC 8200, 4) that begin with `next`, at most [`EXTENSIONS`]; a
/// longer chain ends with the next extension as its protocol. Reassembled datagrams need this too:
/// their first fragment may continue with further extensions.
///
/// # Errors
/// An extension header is cut off.
pub fn skip_extensions(
    next: u8,
    payload: &[u8],
    payload_wire: u32,
) -> Result<UpperLayer<'_>, BadHeader> {
    let mut at = UpperLayer { protocol: next, payload, payload_wire, fragment: None };
    for _ in 0..EXTENSIONS {
        let length = match at.protocol {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(*at.payload.get(1).ok_or(BadHeader::Ip)?) + 2) * 4,
            other if is_extension(other) => {
                (usize::from(*at.payload.get(1).ok_or(BadHeader::Ip)?) + 1) * 8
            }
            _ => return Ok(at),
        };
        let header = at.payload.get(..length).ok_or(BadHeader::Ip)?;
        if at.protocol == FRAGMENT {
            let offset_word = read_u16(header, 2);
            let (offset, more) = (u32::from(offset_word & 0xfff8), offset_word & 1 != 0);
            if offset != 0 || more {
                let id = u32::from(read_u16(header, 4)) << 16 | u32::from(read_u16(header, 6));
                at.fragment = Some(Fragment { id, offset, more });
            }
        }
        at.protocol = header[0];
        at.payload = &at.payload[length..];
        at.payload_wire = subtract_header(at.payload_wire, length)?;
        // The fragments of a datagram share the protocol after the fragment header, so the walk
        // stops there. The rest of the chain is skipped after reassembly.
        if at.fragment.is_some() {
            return Ok(at);
        }
    }
    Ok(at)
}

/// A tunnel's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelContent<'a> {
    /// Not a supported tunnel.
    Nothing,
    /// An IP packet.
    Packet {
        /// The captured bytes from the IP header on, perhaps with trailing padding.
        bytes: &'a [u8],
        /// Their length on the wire, in bytes.
        wire_bytes: u32,
    },
    /// More than [`layers::HEADERS`] headers.
    TooDeep,
}

/// Returns the packet in the tunnel, if `ip` is a tunnel packet or its first fragment; of a
/// fragment, the part inside it.
#[must_use]
pub fn tunnel_content<'a>(ip: &IpPacket<'a>) -> TunnelContent<'a> {
    find_inner_packet(ip).unwrap_or(TunnelContent::Nothing)
}

fn find_inner_packet<'a>(ip: &IpPacket<'a>) -> Option<TunnelContent<'a>> {
    let upper = ip.upper_layer()?;
    let place = match upper.protocol {
        protocol::UDP => {
            let (src, dst) = ports(ip)?;
            layers::over_udp(upper.payload, src, dst, 8)
        }
        other => layers::over_ip(upper.payload, other, 0),
    }?;
    Some(match layers::find_ip(upper.payload, place) {
        IpSearch::Ip(at) => TunnelContent::Packet {
            bytes: upper.payload.get(usize::try_from(at).ok()?..)?,
            wire_bytes: upper.payload_wire.checked_sub(at)?,
        },
        IpSearch::Nothing => TunnelContent::Nothing,
        IpSearch::TooDeep => TunnelContent::TooDeep,
    })
}

fn subtract_header(total: u32, header: usize) -> Result<u32, BadHeader> {
    u32::try_from(header).ok().and_then(|header| total.checked_sub(header)).ok_or(BadHeader::Ip)
}

/// Returns the captured bytes, at most `wire` of them.
fn captured_part(bytes: &[u8], wire: u32) -> &[u8] {
    usize::try_from(wire).ok().and_then(|wire| bytes.get(..wire)).unwrap_or(bytes)
}

/// Reads two bytes at `at`; 0 if there are fewer.
fn read_u16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |two| u16::from_be_bytes(*two))
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

#[cfg(any(test, feature = "testing"))]
#[path = "net/testing.rs"]
pub mod test_packets;
#[cfg(test)]
mod tests;
