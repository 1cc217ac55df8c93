//! Addresses that are not of the public Internet.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Entries of the registries of special-purpose addresses (RFC 6890 and later), and multicast. Addresses
/// that contain an IPv4 address are judged by that.
const SPECIAL: [&str; 27] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

static PREFIXES: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| SPECIAL.iter().filter_map(|text| text.parse().ok()).collect());

/// Returns whether an address is private, loopback, link-local, reserved or special in another way
/// (RFC 6890).
pub(super) fn is_special(address: IpAddr) -> bool {
    let address = match address {
        IpAddr::V6(address) => inner(address).map_or(address.into(), IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    PREFIXES.iter().any(|prefix| prefix.contains(&address))
}

/// Returns the IPv4 address to which an IPv6 address leads: mapped and compatible (RFC 4291), NAT64
/// (RFC 6052) and 6to4 (RFC 3056).
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            if high > 0 =>
        {
            (high, low)
        }
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(((u32::from(high) << 16) | u32::from(low)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_read() {
        assert_eq!(PREFIXES.len(), SPECIAL.len());
    }

    #[test]
    fn tells_special_addresses_from_public_ones() {
        for special in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "100.127.255.255",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
        ] {
            assert!(is_special(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ] {
            assert!(!is_special(public.parse().unwrap()), "{public}");
        }
    }
}
