//! What an answer says, as far as two can be compared.

use super::AAAA;
use crate::detect::who::{hash, hash_of_address};
use crate::observation::Observation;
use std::net::{IpAddr, Ipv6Addr};

const NXDOMAIN: u16 = 3;
/// Networks of an answer that are looked at.
const NETWORKS: usize = 16;

/// What a resolver said of a name's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// There is no such name.
    Missing,
    /// It has no address of this family.
    Nothing,
    /// Addresses, by the hashes of the networks that they are in.
    Addresses {
        /// Private ones (RFC 1918, RFC 4193, RFC 6598).
        private: bool,
        /// The least two networks, the least first: two answers can be compared that give the same in another
        /// order.
        networks: [u64; 2],
        /// All of them, as a sum.
        all: u64,
    },
    /// An address that leads nowhere: 0.0.0.0, loopback.
    Nowhere,
}

impl Said {
    /// None where it says nothing of the name: errors, and what was translated for IPv6 (RFC 6147).
    pub(super) fn of(observation: &Observation<'_>, qtype: u16) -> Option<Self> {
        match observation.rcode? {
            NXDOMAIN => return Some(Self::Missing),
            0 => {}
            _ => return None,
        }
        if observation.flags.truncated() {
            return None;
        }
        let mut networks = [u64::MAX; 2];
        let (mut all, mut count, mut private) = (0_u64, 0, false);
        let addresses = observation.answers.iter().filter(|answer| answer.rtype == qtype);
        for address in
            addresses.filter_map(|answer| answer.data.parse::<IpAddr>().ok()).take(NETWORKS)
        {
            count += 1;
            match kind(address) {
                Kind::Translated => return None,
                Kind::Nowhere => return Some(Self::Nowhere),
                Kind::Private => private = true,
                Kind::Public => {}
            }
            let network = network(address);
            all = all.wrapping_add(network);
            if network < networks[0] {
                networks = [network, networks[0]];
            } else if network != networks[0] && network < networks[1] {
                networks[1] = network;
            }
        }
        Some(if count == 0 { Self::Nothing } else { Self::Addresses { private, networks, all } })
    }

    /// How it differs from what another resolver said.
    pub(super) fn differs(self, other: Self, qtype: u16) -> Difference {
        match (self, other) {
            (
                Self::Addresses { private, networks, .. },
                Self::Addresses { private: other_private, networks: others, .. },
            ) => {
                let shared = networks.iter().any(|one| *one != u64::MAX && others.contains(one));
                if private != other_private {
                    Difference::Kind
                } else if shared {
                    Difference::None
                } else {
                    Difference::Addresses
                }
            }
            // Some resolvers give no IPv6 addresses, so that hosts without a way there need not try.
            (Self::Nothing, _) | (_, Self::Nothing) if qtype == AAAA => Difference::None,
            // Whether a name without addresses exists is seen differently by resolvers that filter.
            (Self::Nothing, Self::Missing) | (Self::Missing, Self::Nothing) => Difference::None,
            _ if self == other => Difference::None,
            _ => Difference::Kind,
        }
    }
}

/// How two answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not.
    None,
    /// Other addresses, none in the same network.
    Addresses,
    /// In kind: one gives addresses and the other none, or one that leads nowhere, or private ones.
    Kind,
}

enum Kind {
    Public,
    Private,
    Nowhere,
    Translated,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            if v4.is_unspecified() || v4.is_loopback() {
                Kind::Nowhere
            } else if v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64) {
                Kind::Private
            } else {
                Kind::Public
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unspecified() || v6.is_loopback() {
                Kind::Nowhere
            } else if v6.is_unique_local() || v6.is_unicast_link_local() {
                Kind::Private
            } else if is_translated(v6) {
                Kind::Translated
            } else {
                Kind::Public
            }
        }
    }
}

/// Whether it is an IPv4 address in the well-known prefix of RFC 6052.
const fn is_translated(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..])
}

/// The network that an address is in, as a number: sites have more than one address there. What is not
/// the Internet's is told apart to the last bit.
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) if !v4.is_private() && !v4.is_documentation() => {
            let [a, b, c, _] = v4.octets();
            hash(&[a, b, c])
        }
        IpAddr::V6(v6) if v6.segments()[0] & 0xE000 == 0x2000 && v6.segments()[1] != 0xDB8 => {
            hash(&v6.octets()[..6])
        }
        _ => hash_of_address(address),
    }
}
