//! Addresses that are not of the public Internet: one rule for all that the probe is led to by others, which are
//! redirects and names that no service has.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// IPv4 prefixes of IANA's registry of special-purpose addresses (RFC 6890), and multicast. Prefixes inside others
/// are left out. Also those that the registry calls globally reachable are special: their anycast servers may be
/// ones of the probe's own network.
const SPECIAL_IPV4: [&str; 18] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// IPv6 prefixes of that registry inside [`GLOBAL_UNICAST`], with Teredo inside the first. 6to4 is judged by the
/// address that it contains.
const SPECIAL_IPV6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20"];

/// The only IPv6 prefix of which addresses of hosts are assigned (RFC 4291, section 2.4, and IANA's registry).
const GLOBAL_UNICAST: &str = "2000::/3";

static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| read(&[&SPECIAL_IPV4[..], &SPECIAL_IPV6]));
static GLOBAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| read(&[&[GLOBAL_UNICAST]]));

fn read(lists: &[&[&str]]) -> Vec<IpNet> {
    lists.iter().copied().flatten().filter_map(|text| text.parse().ok()).collect()
}

/// Returns whether an address is private, loopback, link-local, multicast, reserved or special in another way, or
/// leads to an IPv4 address that is.
#[must_use]
pub fn is_special(address: IpAddr) -> bool {
    let is_listed = SPECIAL.iter().any(|prefix| prefix.contains(&address));
    let IpAddr::V6(ipv6) = address else { return is_listed };
    if let Some(ipv4) = translated(ipv6) {
        return is_special(ipv4.into());
    }
    is_listed
        || !GLOBAL.iter().any(|prefix| prefix.contains(&address))
        || tunnelled(ipv6).into_iter().flatten().any(|ipv4| is_special(ipv4.into()))
}

/// Returns the IPv4 address that an IPv6 address stands for: mapped (RFC 4291, section 2.5.5.2), or of NAT64 with
/// the well-known prefix (RFC 6052). What the prefix for local use (RFC 8215) contains depends on the network, so
/// all of it is special, as the registry has it.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(ipv4(high, low))
        }
        _ => None,
    }
}

/// Returns the IPv4 addresses to which packets for an IPv6 address may be tunnelled: of 6to4 (RFC 3056), and of
/// ISATAP (RFC 5214, section 6.1), in whose interface identifiers two bits differ.
fn tunnelled(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let segments = address.segments();
    let to4 = match segments {
        [0x2002, high, low, ..] => Some(ipv4(high, low)),
        _ => None,
    };
    let isatap = match segments {
        [_, _, _, _, 0 | 0x100 | 0x200 | 0x300, 0x5efe, high, low] => Some(ipv4(high, low)),
        _ => None,
    };
    [to4, isatap]
}

fn ipv4(high: u16, low: u16) -> Ipv4Addr {
    ((u32::from(high) << 16) | u32::from(low)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IANA's registry of special-purpose IPv4 addresses, with multicast.
    const REGISTRY_IPV4: [&str; 27] = [
        "0.0.0.0/8",
        "0.0.0.0/32",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.0.0/29",
        "192.0.0.8/32",
        "192.0.0.9/32",
        "192.0.0.10/32",
        "192.0.0.170/32",
        "192.0.0.171/32",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.88.99.2/32",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
    ];

    /// IANA's registry of special-purpose IPv6 addresses, without those that are judged by the IPv4 address that
    /// they contain, with multicast, site-local addresses, and all that is not global unicast.
    const REGISTRY_IPV6: [&str; 31] = [
        "::1/128",
        "::/128",
        "::/96",
        "64:ff9b:1::/48",
        "100::/64",
        "100:0:0:1::/64",
        "2001::/23",
        "2001::/32",
        "2001:1::1/128",
        "2001:1::2/128",
        "2001:1::3/128",
        "2001:2::/48",
        "2001:3::/32",
        "2001:4:112::/48",
        "2001:10::/28",
        "2001:20::/28",
        "2001:30::/28",
        "2001:db8::/32",
        "2620:4f:8000::/48",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        "400::/6",
        "800::/5",
        "1000::/4",
        "4000::/2",
        "8000::/1",
        "::fffe:0:0/96",
    ];

    /// Prefixes whose addresses are judged by an IPv4 address.
    const CONTAINING: [&str; 3] = ["::ffff:0:0/96", "64:ff9b::/96", "2002::/16"];

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|text| text.parse().unwrap_or_else(|_| panic!("{text}"))).collect()
    }

    fn to_number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u32::from(address).into(),
            IpAddr::V6(address) => address.into(),
        }
    }

    /// The address before and the one behind a prefix, where there are some.
    fn neighbours(prefix: &IpNet) -> Vec<IpAddr> {
        let (first, last) = (to_number(prefix.network()), to_number(prefix.broadcast()));
        let most = if prefix.addr().is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
        let numbers = [first.checked_sub(1), last.checked_add(1).filter(|number| *number <= most)];
        let of = |number: u128| match prefix {
            IpNet::V4(_) => IpAddr::V4(u32::try_from(number).unwrap().into()),
            IpNet::V6(_) => IpAddr::V6(number.into()),
        };
        numbers.into_iter().flatten().map(of).collect()
    }

    #[test]
    fn every_prefix_is_read() {
        assert_eq!(SPECIAL.len(), SPECIAL_IPV4.len() + SPECIAL_IPV6.len());
        assert_eq!(GLOBAL.len(), 1);
    }

    #[test]
    fn the_registries_are_special_and_their_neighbours_are_not() {
        let global: IpNet = GLOBAL_UNICAST.parse().unwrap();
        let registries = nets(&[&REGISTRY_IPV4[..], &REGISTRY_IPV6].concat());
        let containing = nets(&CONTAINING);
        let mut public = 0;
        for prefix in &registries {
            for address in [prefix.network(), prefix.broadcast()] {
                assert!(is_special(address), "{address} of {prefix}");
            }
            for address in neighbours(prefix) {
                if containing.iter().any(|one| one.contains(&address)) {
                    continue;
                }
                let is_listed = registries.iter().any(|other| other.contains(&address))
                    || (address.is_ipv6() && !global.contains(&address));
                assert_eq!(is_special(address), is_listed, "{address} beside {prefix}");
                public += u32::from(!is_listed);
            }
        }
        assert!(public > 30, "{public} neighbours are public");
    }

    /// IPv6 addresses that lead to an IPv4 address.
    fn spellings(address: Ipv4Addr) -> Vec<IpAddr> {
        let number = u32::from(address);
        let (high, low) = (number >> 16, number & 0xffff);
        [
            format!("::ffff:{high:x}:{low:x}"),
            format!("64:ff9b::{high:x}:{low:x}"),
            format!("2002:{high:x}:{low:x}::1"),
            format!("2606:4700::5efe:{high:x}:{low:x}"),
            format!("2606:4700::200:5efe:{high:x}:{low:x}"),
            format!("2002:101:101::5efe:{high:x}:{low:x}"),
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect()
    }

    #[test]
    fn addresses_that_contain_others_are_judged_by_these() {
        for prefix in nets(&REGISTRY_IPV4) {
            for address in
                [vec![prefix.network(), prefix.broadcast()], neighbours(&prefix)].concat()
            {
                let IpAddr::V4(ipv4) = address else { unreachable!("of the registry of IPv4") };
                for spelling in spellings(ipv4) {
                    assert_eq!(is_special(spelling), is_special(address), "{spelling}: {address}");
                }
            }
        }
        // What is special whatever it contains: compatible, translated by SIIT, of NAT64 for local use, Teredo.
        for special in ["::1.1.1.1", "::ffff:0:1.1.1.1", "64:ff9b:1::1.1.1.1", "2001:0:101:101::1"]
        {
            assert!(is_special(special.parse().unwrap()), "{special}");
        }
        // 6to4 of a private network, with a public address behind.
        assert!(is_special("2002:a00:1::5efe:101:101".parse().unwrap()));
    }

    #[test]
    fn public_addresses_are_not_special() {
        for public in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            assert!(!is_special(public.parse().unwrap()), "{public}");
        }
    }
}
