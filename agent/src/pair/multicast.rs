//! Names on the local link: multicast DNS (RFC 6762) and LLMNR (RFC 4795), by their ports.
//!
//! An LLMNR query, and a "one-shot" mDNS query from a port other than 5353, goes to a group and is
//! answered from the responder's own address, with its id and question. A true mDNS query has
//! neither a wanted responder nor an id of meaning, and the response, sent to all, repeats no
//! question: the records in it tell what it answers.

use crate::capture::Transport;
use crate::decode::dns::Question;
use crate::decode::{MDNS_PORT as MDNS, Message};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Port of LLMNR.
const LLMNR: u16 = 5355;

/// Records of a response that are looked at for the questions that they answer.
const MAX_RECORDS: usize = 32;

/// QTYPE `ANY`, which every record answers.
const ANY: u16 = 255;

/// A group to which queries are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    Mdns4,
    Mdns6,
    Llmnr4,
    Llmnr6,
}

impl Group {
    const ALL: [Self; 4] = [Self::Mdns4, Self::Mdns6, Self::Llmnr4, Self::Llmnr6];

    /// Where its members listen.
    pub(super) const fn address(self) -> SocketAddr {
        let (address, port) = match self {
            Self::Mdns4 => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), MDNS),
            Self::Mdns6 => (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), MDNS),
            Self::Llmnr4 => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 252)), LLMNR),
            Self::Llmnr6 => (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3)), LLMNR),
        };
        SocketAddr::new(address, port)
    }

    /// The group whose members answer from `server`.
    pub(super) const fn answering(server: SocketAddr) -> Option<Self> {
        match (server.port(), server.is_ipv4()) {
            (MDNS, true) => Some(Self::Mdns4),
            (MDNS, false) => Some(Self::Mdns6),
            (LLMNR, true) => Some(Self::Llmnr4),
            (LLMNR, false) => Some(Self::Llmnr6),
            _ => None,
        }
    }

    pub(super) const fn is_mdns(self) -> bool {
        matches!(self, Self::Mdns4 | Self::Mdns6)
    }
}

/// The group, if the message is a query that any member may answer with a response to all.
pub(super) fn asks_everyone(query: &Message<'_>) -> Option<Group> {
    let envelope = query.envelope;
    if envelope.src.port() != MDNS || !query.is_mdns() {
        return None;
    }
    Group::ALL.into_iter().find(|group| group.address() == envelope.dst)
}

/// The group that a response over UDP may speak for.
pub(super) fn speaks_for(response: &Message<'_>) -> Option<Group> {
    let envelope = response.envelope;
    let group = Group::answering(envelope.src)?;
    (envelope.transport == Transport::Udp).then_some(group)
}

/// Whether a message was sent to a group.
pub(super) fn is_to_group(message: &Message<'_>) -> bool {
    message.envelope.dst.ip().is_multicast()
}

/// Whether it may be an mDNS responder's word that nobody asked for (RFC 6762, 8.3 and 10.1).
pub(super) fn is_announcement(response: &Message<'_>) -> bool {
    response.is_mdns() && is_to_group(response)
}

/// Whether a host that asks whether a name is free, and then takes it, answers itself (RFC 6762, 8.1:
/// a probe says in its authority section what it wants to have).
pub(super) fn is_own_probe(query: &Message<'_>, response: &Message<'_>) -> bool {
    query.dns.counts.authority > 0 && query.envelope.src == response.envelope.src
}

/// Calls `each` with the questions that the response's records answer: by type, and `ANY`.
pub(super) fn answered(response: &Message<'_>, mut each: impl FnMut(Question<'_>)) {
    /// The upper bit of a record's class says something else (RFC 6762, 10.2), and mDNS has one only.
    const IN: u16 = 1;
    for record in response.dns.answers().take(MAX_RECORDS) {
        for qtype in [record.rtype, ANY] {
            each(Question { name: record.name(), qtype, qclass: IN });
        }
    }
}
