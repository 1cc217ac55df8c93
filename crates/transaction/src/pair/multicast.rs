//! Multicast DNS (RFC 6762) and LLMNR (RFC 4795), recognized by port.
//!
//! An LLMNR query, and an mDNS query from a port other than 5353 ("one-shot"), goes to a group and
//! is answered from the responder's own address, with its id and question. Other mDNS queries have
//! no known responder and no meaningful id, and their responses, sent to the group, repeat no
//! question: they are matched by their records.

use crate::decode::{MDNS_PORT as MDNS, Message};
use crate::packet::Transport;
use dnscribe_dns::Question;
use dnscribe_dns::rtype::ANY;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Port of LLMNR.
const LLMNR: u16 = 5355;

/// Maximum number of records per response that are matched with questions.
const MAX_RECORDS: usize = 32;

/// A multicast group that receives queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum MulticastGroup {
    Mdns4,
    Mdns6,
    Llmnr4,
    Llmnr6,
}

impl MulticastGroup {
    const ALL: [Self; 4] = [Self::Mdns4, Self::Mdns6, Self::Llmnr4, Self::Llmnr6];

    /// Returns the address and port of the group.
    pub(super) const fn address(self) -> SocketAddr {
        let (address, port) = match self {
            Self::Mdns4 => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), MDNS),
            Self::Mdns6 => (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), MDNS),
            Self::Llmnr4 => (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 252)), LLMNR),
            Self::Llmnr6 => (IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 3)), LLMNR),
        };
        SocketAddr::new(address, port)
    }

    /// Returns the group whose members answer from the port and address family of `server`.
    pub(super) const fn from_server(server: SocketAddr) -> Option<Self> {
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

/// Returns the group of an mDNS query that any member may answer with a response to the group.
pub(super) fn queried_group(query: &Message<'_>) -> Option<MulticastGroup> {
    let envelope = query.envelope;
    if envelope.src.port() != MDNS || !query.is_mdns() {
        return None;
    }
    MulticastGroup::ALL.into_iter().find(|group| group.address() == envelope.dst)
}

/// Returns whether a query was sent to all hosts by mDNS. Their responses may differ: each has its own
/// records, and a host with several interfaces has other addresses on each.
pub(super) fn is_mdns_query(query: &Message<'_>) -> bool {
    query.is_mdns() && is_to_group(query)
}

/// Returns the group whose queries a response over UDP may answer.
pub(super) fn responding_group(response: &Message<'_>) -> Option<MulticastGroup> {
    let envelope = response.envelope;
    let group = MulticastGroup::from_server(envelope.src)?;
    (envelope.transport == Transport::Udp).then_some(group)
}

/// Returns whether a message was sent to a multicast address.
pub(super) fn is_to_group(message: &Message<'_>) -> bool {
    message.envelope.dst.ip().is_multicast()
}

/// Returns whether a response may be an unsolicited mDNS announcement (RFC 6762, 8.3 and 10.1).
pub(super) fn is_announcement(response: &Message<'_>) -> bool {
    response.is_mdns() && is_to_group(response)
}

/// Returns whether `response` is the announcement that follows the sender's own probe `query`. A
/// probe has the proposed records in its authority section (RFC 6762, 8.1).
pub(super) fn is_own_probe(query: &Message<'_>, response: &Message<'_>) -> bool {
    query.dns.counts.authority > 0 && query.envelope.src == response.envelope.src
}

/// Calls `each` with the questions that the response's records answer: their type, and `ANY`.
pub(super) fn for_each_answered_question(
    response: &Message<'_>,
    mut each: impl FnMut(Question<'_>),
) {
    /// The upper bit of a record's class has another meaning (RFC 6762, 10.2); mDNS has one class.
    const IN: u16 = 1;
    for record in response.dns.answers().take(MAX_RECORDS) {
        for qtype in [record.rtype, ANY] {
            each(Question { name: record.name, qtype, qclass: IN });
        }
    }
}
