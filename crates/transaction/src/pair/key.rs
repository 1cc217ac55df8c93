//! Keys that match a response with its query.

use super::Vantage;
use super::multicast::{self, MulticastGroup};
use crate::decode::{Envelope, Message, Unreachable};
use crate::packet::Transport;
use dnscribe_dns::Question;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// Returns the question used for pairing. Names compare without regard to case; in mDNS, the upper
/// bit of QCLASS is removed (RFC 6762, 5.4).
pub(super) fn normalized_question<'a>(message: &Message<'a>) -> Option<Question<'a>> {
    let question = message.dns.question()?;
    Some(Question { qclass: message.question_class(&question), ..question })
}

/// The two endpoints of an exchange, as seen from one vantage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// Hashes few large integers; a derived implementation would hash each byte of an address.
impl Hash for Endpoints {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u32::from(self.client.port()) << 16 | u32::from(self.server.port());
        hash_common(state, self.scope, self.vantage, self.transport, ports);
        hash_address(state, self.client.ip());
        hash_address(state, self.server.ip());
    }
}

fn hash_common(
    state: &mut impl Hasher,
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    rest: u32,
) {
    state.write_u64(scope);
    state.write_u64(u64::from(rest) << 16 | (vantage as u64) << 8 | transport as u64);
}

fn hash_address(state: &mut impl Hasher, address: IpAddr) {
    match address {
        IpAddr::V4(address) => state.write_u32(address.to_bits()),
        IpAddr::V6(address) => state.write_u128(address.to_bits()),
    }
}

impl Endpoints {
    pub(super) fn of(message: &Message<'_>) -> Self {
        let Envelope { scope, direction, transport, .. } = *message.envelope;
        let vantage = Vantage::from_direction(direction, message.dns.flags.is_response());
        let (client, server) = message.client_and_server();
        Self { scope, vantage, transport, client, server }
    }

    /// Returns whether a query is between these ends. Copies no address, unlike [`Self::of`].
    pub(super) fn are_of(&self, query: &Message<'_>) -> bool {
        let Envelope { scope, direction, transport, src, dst, .. } = query.envelope;
        self.client == *src
            && self.server == *dst
            && self.scope == *scope
            && self.transport == *transport
            && self.vantage == Vantage::from_direction(*direction, false)
    }

    pub(super) fn of_unreachable(error: &Unreachable, vantage: Vantage) -> Self {
        let Unreachable { scope, transport, client, server, .. } = *error;
        Self { scope, vantage, transport, client, server }
    }
}

/// Pairing key of the contract: endpoints, id and question.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct PairKey<'a> {
    endpoints: Endpoints,
    id: u16,
    question: Option<Question<'a>>,
}

impl<'a> PairKey<'a> {
    pub(super) fn of(message: &Message<'a>) -> Self {
        let (endpoints, question) = (Endpoints::of(message), normalized_question(message));
        Self { endpoints, id: message.dns.id, question }
    }

    /// Returns whether this is the key of a query.
    pub(super) fn is_of(&self, query: &Message<'_>) -> bool {
        self.id == query.dns.id
            && self.endpoints.are_of(query)
            && self.question == normalized_question(query)
    }

    /// Returns the key of the query to a multicast group that a unicast response answers.
    pub(super) fn of_group(response: &Message<'a>, group: MulticastGroup) -> Self {
        let endpoints = Endpoints { server: group.address(), ..Endpoints::of(response) };
        Self { endpoints, id: response.dns.id, question: normalized_question(response) }
    }
}

/// Index key of waiting queries where the pairing key is not known: the endpoints, or, for mDNS
/// queries, which any host may answer, the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FlowKey<'a> {
    Endpoints(Endpoints),
    MulticastQuestion {
        scope: u64,
        vantage: Vantage,
        group: MulticastGroup,
        question: Option<Question<'a>>,
    },
}

impl<'a> FlowKey<'a> {
    pub(super) fn of(query: &Message<'a>) -> Self {
        let endpoints = Endpoints::of(query);
        let Some(group) = multicast::queried_group(query) else {
            return Self::Endpoints(endpoints);
        };
        let Endpoints { scope, vantage, .. } = endpoints;
        Self::MulticastQuestion { scope, vantage, group, question: normalized_question(query) }
    }

    /// Returns the key of queries to `group` that ask for `question`.
    pub(super) fn of_record(
        response: &Message<'_>,
        group: MulticastGroup,
        question: Question<'a>,
    ) -> Self {
        let Endpoints { scope, vantage, .. } = Endpoints::of(response);
        Self::MulticastQuestion { scope, vantage, group, question: Some(question) }
    }
}

/// Index key of queries that an orphan response may have been meant for: client address and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientKey {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    client: IpAddr,
    id: u16,
}

impl Hash for ClientKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_common(state, self.scope, self.vantage, self.transport, self.id.into());
        hash_address(state, self.client);
    }
}

impl ClientKey {
    pub(super) fn of(message: &Message<'_>) -> Self {
        Self::between(&Endpoints::of(message), message.dns.id)
    }

    pub(super) fn between(endpoints: &Endpoints, id: u16) -> Self {
        let Endpoints { scope, vantage, transport, client, .. } = *endpoints;
        Self { scope, vantage, transport, client: client.ip(), id }
    }
}
