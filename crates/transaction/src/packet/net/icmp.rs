//! ICMP "destination unreachable" messages, the packets that they quote, and why these were not delivered: from an
//! ICMP code (RFC 792, 1122, 1812; RFC 4443, 3.1) or from the errno that the kernel derives from it.

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

/// Why a packet was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnreachableReason {
    /// ICMP type and code; `None` if the errno stands for several codes.
    pub code: Option<(u8, u8)>,
    /// Name of the reason in records.
    pub name: &'static str,
}

/// Names of the codes of ICMP type 3 (IPv4).
const IPV4_NAMES: [&str; 16] = [
    "net_unreachable",
    "host_unreachable",
    "protocol_unreachable",
    "port_unreachable",
    "fragmentation_needed",
    "source_route_failed",
    "net_unknown",
    "host_unknown",
    "source_host_isolated",
    "net_prohibited",
    "host_prohibited",
    "net_unreachable_for_tos",
    "host_unreachable_for_tos",
    "admin_prohibited",
    "precedence_violation",
    "precedence_cutoff",
];

/// Names of the codes of ICMPv6 type 1 (7 is RFC 6550, 8 is RFC 8883).
const IPV6_NAMES: [&str; 9] = [
    "no_route",
    "admin_prohibited",
    "beyond_scope",
    "address_unreachable",
    "port_unreachable",
    "source_address_policy",
    "route_rejected",
    "source_routing_error",
    "headers_too_long",
];

/// ICMP "destination unreachable" (IPv4).
const ICMPV4_TYPE: u8 = 3;
/// ICMPv6 "destination unreachable".
const ICMPV6_TYPE: u8 = 1;

impl UnreachableReason {
    /// Returns the meaning of a code of "destination unreachable".
    #[must_use]
    pub fn from_code(ipv6: bool, code: u8) -> Self {
        let (kind, names) = if ipv6 {
            (ICMPV6_TYPE, IPV6_NAMES.as_slice())
        } else {
            (ICMPV4_TYPE, IPV4_NAMES.as_slice())
        };
        let name = names.get(usize::from(code)).copied().unwrap_or("unreachable");
        Self { code: Some((kind, code)), name }
    }

    /// Returns the meaning of a socket error. The kernel derives it from an ICMP code and maps
    /// several codes to one
    /// ([IPv4](https://github.com/torvalds/linux/blob/v6.18/net/ipv4/icmp.c#L142),
    /// [IPv6](https://github.com/torvalds/linux/blob/v6.18/net/ipv6/icmp.c#L1142)).
    #[must_use]
    pub fn from_errno(ipv6: bool, errno: i32) -> Self {
        let several = |name| Self { code: None, name };
        match (ipv6, errno) {
            (false, libc::ECONNREFUSED) => Self::from_code(false, 3),
            (true, libc::ECONNREFUSED) => Self::from_code(true, 4),
            (false, libc::ENOPROTOOPT) => Self::from_code(false, 2),
            (false, libc::EOPNOTSUPP) => Self::from_code(false, 5),
            (false, libc::EHOSTDOWN) => Self::from_code(false, 7),
            (false, libc::ENONET) => Self::from_code(false, 8),
            (true, libc::ENETUNREACH) => Self::from_code(true, 0),
            (false, libc::ENETUNREACH) => several("net_unreachable_or_prohibited"),
            (false, libc::EHOSTUNREACH) => several("host_unreachable_or_prohibited"),
            (true, libc::EHOSTUNREACH) => several("address_unreachable"),
            (true, libc::EACCES) => several("prohibited"),
            _ => several("unreachable"),
        }
    }

    /// Returns whether the packet is lost. "Fragmentation needed" only asks for smaller packets.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.code != Some((ICMPV4_TYPE, 4))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_icmp_codes() {
        assert_eq!(UnreachableReason::from_code(false, 3).name, "port_unreachable");
        assert_eq!(
            UnreachableReason::from_code(true, 4),
            UnreachableReason { code: Some((1, 4)), name: "port_unreachable" }
        );
        assert_eq!(UnreachableReason::from_code(false, 13).name, "admin_prohibited");
        assert_eq!(UnreachableReason::from_code(true, 1).name, "admin_prohibited");
        assert_eq!(UnreachableReason::from_code(false, 200).name, "unreachable");
        assert!(!UnreachableReason::from_code(false, 4).is_final());
        assert!(UnreachableReason::from_code(true, 4).is_final());
    }

    #[test]
    fn errno_gives_code_if_unique() {
        assert_eq!(
            UnreachableReason::from_errno(false, libc::ECONNREFUSED),
            UnreachableReason::from_code(false, 3)
        );
        assert_eq!(
            UnreachableReason::from_errno(true, libc::ECONNREFUSED),
            UnreachableReason::from_code(true, 4)
        );
        assert_eq!(UnreachableReason::from_errno(false, libc::EHOSTUNREACH).code, None);
        assert_eq!(UnreachableReason::from_errno(false, -1).name, "unreachable");
    }
}
