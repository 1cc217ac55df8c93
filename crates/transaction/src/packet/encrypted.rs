//! Rules that identify encrypted DNS by port and address: dedicated ports, and HTTPS to known resolvers.

use super::ports::PortSet;
use ipnet::IpNet;
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The port of DNS over TLS (RFC 7858) and over QUIC (RFC 9250).
pub const ENCRYPTED_PORT: u16 = 853;
/// The port of HTTPS, and of DNS over it (RFC 8484).
pub const HTTPS_PORT: u16 = 443;

/// A prefix of addresses, or a single address. Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

/// Errors of parsing a [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an address or prefix: give one such as 192.0.2.53 or 2001:db8::/48")]
pub struct PrefixError(String);

impl Prefix {
    /// Returns length and address as the programs' map has them: IPv6, with IPv4 as IPv4-mapped.
    #[must_use]
    pub fn mapped(&self) -> (u32, [u8; 16]) {
        match self.0 {
            IpNet::V4(net) => {
                (96 + u32::from(net.prefix_len()), net.addr().to_ipv6_mapped().octets())
            }
            IpNet::V6(net) => (net.prefix_len().into(), net.addr().octets()),
        }
    }

    /// Returns the prefix with the first `bits` of an address; none if it has fewer bits.
    fn of(address: IpAddr, bits: u8) -> Option<Self> {
        IpNet::new(address, bits).ok().map(|net| Self(net.trunc()))
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let bad = || PrefixError(text.into());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        match (address.to_canonical(), bits) {
            (address, None) => {
                Self::of(address, if address.is_ipv4() { 32 } else { 128 }).ok_or_else(bad)
            }
            // The first 96 bits of an IPv4-mapped prefix are constant.
            (mapped, Some(bits)) if mapped != address => {
                bits.checked_sub(96).and_then(|bits| Self::of(mapped, bits)).ok_or_else(bad)
            }
            (address, Some(bits)) => Self::of(address, bits).ok_or_else(bad),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of prefixes. A lookup takes one hash access per prefix length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    all: HashSet<Prefix>,
    /// The prefix lengths in use, for IPv4 and for IPv6.
    lengths: [Vec<u8>; 2],
}

impl Prefixes {
    /// Returns whether any prefix holds the address. IPv4 addresses are not mapped.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths
            .iter()
            .any(|bits| Prefix::of(address, *bits).is_some_and(|prefix| self.all.contains(&prefix)))
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        let all: HashSet<Prefix> = prefixes.into_iter().collect();
        let mut lengths = [Vec::new(), Vec::new()];
        for prefix in &all {
            lengths[usize::from(prefix.0.addr().is_ipv6())].push(prefix.0.prefix_len());
        }
        for lengths in &mut lengths {
            lengths.sort_unstable();
            lengths.dedup();
        }
        Self { all, lengths }
    }
}

/// The rule by which a packet counts as encrypted DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The port alone: DNS over TLS, or over QUIC.
    Dedicated,
    /// Port and address: DNS over HTTPS.
    Https,
}

/// The rules for encrypted DNS. Ports of plain DNS are never among these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encrypted {
    /// The ports where every packet counts.
    pub ports: Vec<u16>,
    /// The ports where packets to and from resolvers count.
    pub https_ports: Vec<u16>,
    resolvers: Prefixes,
}

impl Encrypted {
    /// Creates rules for all packets on `ports`, and those on `https_ports` of `resolvers`, except on
    /// ports of plain DNS.
    #[must_use]
    pub fn new(
        dns: &PortSet,
        ports: &[u16],
        https_ports: &[u16],
        resolvers: impl IntoIterator<Item = Prefix>,
    ) -> Self {
        let free = |ports: &[u16]| -> Vec<u16> {
            ports.iter().copied().filter(|port| !dns.contains(*port)).collect()
        };
        let ports = free(ports);
        let resolvers: Prefixes = resolvers.into_iter().collect();
        let mut https_ports = free(https_ports);
        // Without addresses these ports match nothing.
        https_ports.retain(|port| !ports.contains(port) && !resolvers.all.is_empty());
        Self { ports, https_ports, resolvers }
    }

    /// Returns the resolvers' addresses.
    pub fn resolvers(&self) -> impl Iterator<Item = &Prefix> {
        self.resolvers.all.iter()
    }

    /// Returns the rule that one end of a flow matches.
    #[must_use]
    pub fn rule_of(&self, end: SocketAddr) -> Option<Service> {
        if self.ports.contains(&end.port()) {
            Some(Service::Dedicated)
        } else if self.https_ports.contains(&end.port())
            && self.resolvers.contains(end.ip().to_canonical())
        {
            Some(Service::Https)
        } else {
            None
        }
    }

    /// Returns whether a packet between the two ends counts, in either direction.
    #[must_use]
    pub fn matches(&self, one: SocketAddr, other: SocketAddr) -> bool {
        self.rule_of(one).is_some() || self.rule_of(other).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn reads_addresses_and_prefixes() {
        for (text, shown) in [
            ("192.0.2.53", "192.0.2.53/32"),
            ("192.0.2.53/24", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::53", "2001:db8::53/128"),
            ("2001:db8:1::53/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.53", "192.0.2.53/32"),
            ("::ffff:192.0.2.53/120", "192.0.2.0/24"),
        ] {
            assert_eq!(prefix(text).to_string(), shown);
        }
        for bad in ["", "dns.example", "192.0.2.1/33", "::1/129", "192.0.2.1/", "1.2.3.4/-1"] {
            let why = bad.parse::<Prefix>().unwrap_err().to_string();
            assert!(why.contains("2001:db8::/48"), "{why}");
        }
        assert!("::ffff:192.0.2.53/64".parse::<Prefix>().is_err());
    }

    #[test]
    fn maps_as_the_kernel_side_wants_it() {
        let (bits, bytes) = prefix("192.0.2.0/24").mapped();
        assert_eq!((bits, &bytes[10..]), (120, &[0xff, 0xff, 192, 0, 2, 0][..]));
        assert_eq!(prefix("2001:db8::/32").mapped().0, 32);
    }

    #[test]
    fn ports_and_addresses_decide() {
        let resolvers = ["192.0.2.0/24", "2001:db8::53"].map(prefix);
        let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], resolvers);
        for (end, service) in [
            ("198.51.100.1:853", Some(Service::Dedicated)),
            ("192.0.2.7:443", Some(Service::Https)),
            ("[::ffff:192.0.2.7]:443", Some(Service::Https)),
            ("[2001:db8::53]:443", Some(Service::Https)),
            ("[2001:db8::54]:443", None),
            ("198.51.100.1:443", None),
            ("192.0.2.7:53", None),
        ] {
            assert_eq!(encrypted.rule_of(end.parse().unwrap()), service, "{end}");
        }
    }

    #[test]
    fn plain_dns_wins_and_https_needs_addresses() {
        let dns = "53,853".parse().unwrap();
        let encrypted = Encrypted::new(&dns, &[853, 8853], &[443], []);
        assert_eq!((&encrypted.ports[..], &encrypted.https_ports[..]), (&[8853][..], &[][..]));
    }
}
