//! ICMP unreachable messages and the packets they quote (RFC 792; RFC 4443, 3.1).

use super::cause::{Cause, TYPE_4, TYPE_6};
use super::{Ip, be16, ip, protocol};
use std::net::SocketAddr;

/// The UDP or TCP packet that an ICMP destination-unreachable message quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Whether it is TCP rather than UDP.
    pub tcp: bool,
    /// Who had sent it.
    pub src: SocketAddr,
    /// Who was not reached.
    pub dst: SocketAddr,
    /// The first two octets of a UDP datagram's payload, if quoted: a DNS message's id.
    pub first_two: Option<u16>,
    /// Why it did not arrive.
    pub cause: Cause,
    /// Whether a DNS message in UDP is a response, if so much of it is quoted.
    pub is_response: Option<bool>,
}

/// The packet that `packet` quotes, if that is an ICMP destination-unreachable message (type 3 in
/// IPv4, type 1 in IPv6) about a UDP or TCP packet.
#[must_use]
pub fn quoted(packet: &Ip<'_>) -> Option<Quote> {
    let unreachable = match packet.protocol {
        protocol::ICMP => TYPE_4,
        protocol::ICMPV6 => TYPE_6,
        _ => return None,
    };
    if packet.fragment.is_some_and(|fragment| fragment.offset != 0)
        || *packet.payload.first()? != unreachable
    {
        return None;
    }
    let cause = Cause::of_code(unreachable == TYPE_6, *packet.payload.get(1)?);
    // The quote is cut short, so its own lengths say nothing: it counts as long as it claims.
    let inner = ip(packet.payload.get(8..)?, u32::MAX).ok()?;
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
    Some(Quote {
        tcp,
        src: SocketAddr::new(inner.src, be16(ports, 0)),
        dst: SocketAddr::new(inner.dst, be16(ports, 2)),
        first_two: payload.first_chunk::<2>().map(|id| u16::from_be_bytes(*id)),
        is_response: payload.get(2).map(|flags| flags & 0x80 != 0),
        cause,
    })
}
