//! The reason why a packet was not delivered, from an ICMP code (RFC 792, 1122, 1812; RFC 4443,
//! 3.1) or from the errno that the kernel derives from it.

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
pub(super) const ICMPV4_TYPE: u8 = 3;
/// ICMPv6 "destination unreachable".
pub(super) const ICMPV6_TYPE: u8 = 1;

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
