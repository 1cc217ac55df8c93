//! Content of an address answer, reduced to what can be compared between resolvers.

use super::AAAA;
use crate::analysis::detect::attribution::{hash, hash_address};
use crate::analysis::view::TransactionView;
use std::net::{IpAddr, Ipv6Addr};

const NXDOMAIN: u16 = 3;
/// Maximum number of addresses of an answer that are evaluated.
const MAX_ADDRESSES: usize = 16;

/// Content of an answer to an address query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerContent {
    /// No such name.
    Missing,
    /// No address of this family.
    Nothing,
    /// Addresses, as hashes of their networks.
    Addresses {
        /// Whether there is a private address (RFC 1918, RFC 4193, RFC 6598).
        private: bool,
        /// The two smallest network hashes, in order, so that the order of the answer does not
        /// matter.
        networks: [u64; 2],
        /// Sum of all network hashes.
        all: u64,
    },
    /// A null address: unspecified or loopback.
    Nowhere,
}

impl AnswerContent {
    /// Returns the content of a response, or `None` for errors, truncated responses, and IPv4
    /// addresses translated to IPv6 (RFC 6147).
    pub(super) fn new(observation: &TransactionView<'_>, qtype: u16) -> Option<Self> {
        match observation.rcode? {
            NXDOMAIN => return Some(Self::Missing),
            0 => {}
            _ => return None,
        }
        if observation.flags.is_truncated() {
            return None;
        }
        let mut networks = [u64::MAX; 2];
        let (mut all, mut count, mut private) = (0_u64, 0, false);
        let addresses = observation.answers.iter().filter(|answer| answer.rtype == qtype);
        for address in
            addresses.filter_map(|answer| answer.data.parse::<IpAddr>().ok()).take(MAX_ADDRESSES)
        {
            count += 1;
            match kind(address) {
                AddressKind::Translated => return None,
                AddressKind::Nowhere => return Some(Self::Nowhere),
                AddressKind::Private => private = true,
                AddressKind::Public => {}
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

    /// Returns how the answers of two resolvers differ.
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
            // Some resolvers filter AAAA for hosts without IPv6.
            (Self::Nothing, _) | (_, Self::Nothing) if qtype == AAAA => Difference::None,
            // Filtering resolvers disagree about whether a name without addresses exists.
            (Self::Nothing, Self::Missing) | (Self::Missing, Self::Nothing) => Difference::None,
            _ if self == other => Difference::None,
            _ => Difference::Kind,
        }
    }
}

/// Difference between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    None,
    /// Addresses without a common network.
    Addresses,
    /// Different class: addresses and none, public and private, or a null address.
    Kind,
}

enum AddressKind {
    Public,
    Private,
    Nowhere,
    Translated,
}

fn kind(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            if v4.is_unspecified() || v4.is_loopback() {
                AddressKind::Nowhere
            } else if v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64) {
                AddressKind::Private
            } else {
                AddressKind::Public
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_unspecified() || v6.is_loopback() {
                AddressKind::Nowhere
            } else if v6.is_unique_local() || v6.is_unicast_link_local() {
                AddressKind::Private
            } else if is_translated(v6) {
                AddressKind::Translated
            } else {
                AddressKind::Public
            }
        }
    }
}

/// Returns whether `address` has the well-known prefix of RFC 6052.
const fn is_translated(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, ..])
}

/// Returns the hash of the network of `address`, since a site has several addresses in it. Private
/// and documentation addresses are hashed whole.
fn network(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) if !v4.is_private() && !v4.is_documentation() => {
            let [a, b, c, _] = v4.octets();
            hash(&[a, b, c])
        }
        IpAddr::V6(v6) if v6.segments()[0] & 0xE000 == 0x2000 && v6.segments()[1] != 0xDB8 => {
            hash(&v6.octets()[..6])
        }
        _ => hash_address(address),
    }
}
