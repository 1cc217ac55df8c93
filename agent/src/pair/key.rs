//! What ties a response to its query.

use super::Vantage;
use super::multicast::{self, Group};
use crate::capture::Transport;
use crate::decode::dns::Question;
use crate::decode::{Message, Unreachable};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// What a message asks, or repeats as asked. Names compare without regard to case, and in multicast
/// DNS the upper bit of QCLASS is no part of it.
pub(super) fn asked<'a>(message: &Message<'a>) -> Option<Question<'a>> {
    let question = message.dns.question()?;
    Some(Question { qclass: message.class_of(&question), ..question })
}

/// The two ends of an exchange, as one vantage sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// In a few words: what is derived hashes every octet of an address for itself, for each packet.
impl Hash for Ends {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u32::from(self.client.port()) << 16 | u32::from(self.server.port());
        hash_place(state, self.scope, self.vantage, self.transport, ports);
        hash_address(state, self.client.ip());
        hash_address(state, self.server.ip());
    }
}

fn hash_place(
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

impl Ends {
    pub(super) fn of(message: &Message<'_>) -> Self {
        let envelope = message.envelope;
        let (client, server) = message.ends();
        Self {
            scope: envelope.scope,
            vantage: Vantage::of(envelope.sight, message.dns.flags.response()),
            transport: envelope.transport,
            client,
            server,
        }
    }

    pub(super) fn of_unreachable(error: &Unreachable, vantage: Vantage) -> Self {
        Self {
            scope: error.scope,
            vantage,
            transport: error.transport,
            client: error.client,
            server: error.server,
        }
    }
}

/// The contract's pairing key: ends, id and question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    ends: Ends,
    id: u16,
    asked: Option<Question<'a>>,
}

impl<'a> Key<'a> {
    pub(super) fn of(message: &Message<'a>) -> Self {
        Self { ends: Ends::of(message), id: message.dns.id, asked: asked(message) }
    }

    /// The key of the query to a multicast group that a unicast response answers.
    pub(super) fn of_group(response: &Message<'a>, group: Group) -> Self {
        let ends = Ends { server: group.address(), ..Ends::of(response) };
        Self { ends, id: response.dns.id, asked: asked(response) }
    }
}

/// What waiting queries are found by where the key is not known: their ends, or, since anyone may
/// answer a question that was put to all of mDNS, that question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line<'a> {
    Between(Ends),
    Asked { scope: u64, vantage: Vantage, group: Group, asked: Option<Question<'a>> },
}

impl<'a> Line<'a> {
    pub(super) fn of(query: &Message<'a>) -> Self {
        let ends = Ends::of(query);
        match multicast::asks_everyone(query) {
            Some(group) => {
                Self::Asked { scope: ends.scope, vantage: ends.vantage, group, asked: asked(query) }
            }
            None => Self::Between(ends),
        }
    }

    /// The line of the questions that a record, of which `asked` are name, type and class, answers.
    pub(super) fn of_record(response: &Message<'_>, group: Group, asked: Question<'a>) -> Self {
        let Ends { scope, vantage, .. } = Ends::of(response);
        Self::Asked { scope, vantage, group, asked: Some(asked) }
    }
}

/// What a stray response must share with a query to be taken for an answer to it, or for an attempt
/// at one: the client's address and the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kin {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    client: IpAddr,
    id: u16,
}

impl Hash for Kin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_place(state, self.scope, self.vantage, self.transport, self.id.into());
        hash_address(state, self.client);
    }
}

impl Kin {
    pub(super) fn of(message: &Message<'_>) -> Self {
        Self::between(&Ends::of(message), message.dns.id)
    }

    pub(super) fn between(ends: &Ends, id: u16) -> Self {
        let Ends { scope, vantage, transport, client, .. } = *ends;
        Self { scope, vantage, transport, client: client.ip(), id }
    }
}
