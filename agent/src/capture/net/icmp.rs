//! ICMP "destination unreachable" messages and the packets that they quote (RFC 792; RFC 4443,
//! 3.1).

use super::cause::{ICMPV4_TYPE, ICMPV6_TYPE, UnreachableReason};
use super::{IpPacket, parse_ip, protocol, read_u16};
use std::net::SocketAddr;

/// The UDP or TCP packet quoted in an ICMP "destination unreachable" message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpQuote {
    /// Whether it is TCP; else it is UDP.
    pub tcp: bool,
    /// Sender of the quoted packet.
    pub src: SocketAddr,
    /// Destination of the quoted packet.
    pub dst: SocketAddr,
    /// First two payload bytes of a UDP datagram, if quoted: the id of a DNS message.
    pub first_two: Option<u16>,
    /// Why it was not delivered.
    pub cause: UnreachableReason,
    /// Whether the UDP payload is a DNS response, if its flags are quoted.
    pub is_response: Option<bool>,
}

/// Returns the packet quoted in `packet`, if that is an ICMP "destination unreachable" message
/// (type 3 in IPv4, type 1 in IPv6) about UDP or TCP.
#[must_use]
pub fn parse_icmp_quote(packet: &IpPacket<'_>) -> Option<IcmpQuote> {
    let unreachable = match packet.protocol {
        protocol::ICMP => ICMPV4_TYPE,
        protocol::ICMPV6 => ICMPV6_TYPE,
        _ => return None,
    };
    if packet.fragment.is_some_and(|fragment| fragment.offset != 0)
        || *packet.payload.first()? != unreachable
    {
        return None;
    }
    let cause = UnreachableReason::from_code(unreachable == ICMPV6_TYPE, *packet.payload.get(1)?);
    // The quote is cut off, so its length fields are used without a check.
    let inner = parse_ip(packet.payload.get(8..)?, u32::MAX).ok()?;
    let ports = inner.payload.first_chunk::<4>()?;
    let tcp = match inner.protocol {
        protocol::UDP => false,
        protocol::TCP => true,
        _ => return None,
    };
    if inner.is_later_fragment() {
        return None;
    }
    let payload = inner.payload.get(8..).filter(|_| !tcp).unwrap_or_default();
    Some(IcmpQuote {
        tcp,
        src: SocketAddr::new(inner.src, read_u16(ports, 0)),
        dst: SocketAddr::new(inner.dst, read_u16(ports, 2)),
        first_two: payload.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)),
        is_response: payload.get(2).map(|flags| flags & 0x80 != 0),
        cause,
    })
}
