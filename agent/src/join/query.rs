//! What joining keeps of a query.

use super::name::Name;
use crate::capture::{Sight, Transport};
use crate::decode::{Envelope, Message, MessageId};
use crate::time::Timestamp;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// RD (RFC 1035, 4.1.1).
pub(super) const RECURSION_DESIRED: u16 = 0x100;

/// Who answers some queries and sends others to find the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resolver {
    /// A process of this host.
    Process(u32),
    /// This host, where its processes cannot be told apart.
    Host,
    /// A host that others see from outside, under one of its addresses.
    Address(IpAddr),
}

/// In one word or two: what is derived hashes every octet of an address for itself, for each query.
impl Hash for Resolver {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Process(pid) => state.write_u64(1 << 32 | u64::from(*pid)),
            Self::Host => state.write_u64(2 << 32),
            Self::Address(IpAddr::V4(address)) => {
                state.write_u64(3 << 32 | u64::from(address.to_bits()));
            }
            Self::Address(IpAddr::V6(address)) => state.write_u128(address.to_bits()),
        }
    }
}

impl Resolver {
    /// Whether two addresses may be one host's, once over IPv4 and once over IPv6.
    pub(super) const fn may_be(self, other: Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one.is_ipv4() != other.is_ipv4(),
            _ => false,
        }
    }

    /// Who asks, where a query was seen leaving, and who is asked, where it was seen arriving.
    pub(super) fn of_query(envelope: &Envelope) -> (Option<Self>, Option<Self>) {
        let leaves = envelope.sight != Sight::Ingress;
        let arrives = envelope.sight != Sight::Egress;
        let asked = || Self::at(envelope, envelope.dst.ip());
        (leaves.then(|| Self::sending(envelope)), arrives.then(asked))
    }

    /// Whose socket a message left from.
    pub(super) const fn sending(envelope: &Envelope) -> Self {
        Self::at(envelope, envelope.src.ip())
    }

    const fn at(envelope: &Envelope, address: IpAddr) -> Self {
        match (envelope.sight, &envelope.task) {
            (Sight::Passive, _) => Self::Address(address),
            (_, Some(task)) => Self::Process(task.pid),
            (_, None) => Self::Host,
        }
    }
}

/// What is asked of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) who: Resolver,
    pub(super) name: u64,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// A query as both of its ends know it, whatever stands between them does to the server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) id: u16,
    pub(super) name: u64,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// Who has to do with a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Concerned {
    /// Who asks, where the query was seen leaving.
    pub(super) asking: Option<Resolver>,
    /// Who is asked, where the query was seen arriving.
    pub(super) asked: Option<Resolver>,
    /// Whether one of them is a resolver, or may be.
    pub(super) resolver: bool,
}

/// A query, as far as joining needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) id: MessageId,
    pub(super) ts: Timestamp,
    pub(super) scope: u64,
    pub(super) sight: Sight,
    pub(super) exchange: Exchange,
    pub(super) server: SocketAddr,
    /// Needed only where a resolver is involved.
    pub(super) name: Option<Name>,
    /// Whether the answer is to be complete (RD), as clients want it.
    pub(super) recursion_desired: bool,
    /// As in [`Concerned`].
    pub(super) asking: Option<Resolver>,
    /// As in [`Concerned`].
    pub(super) asked: Option<Resolver>,
}

impl Query {
    /// Of a query with a question, for whom it concerns. `text` is room for its name.
    pub(super) fn of(
        message: &Message<'_>,
        concerned: &Concerned,
        text: &mut String,
    ) -> Option<Self> {
        let question = message.dns.question()?;
        let envelope = message.envelope;
        text.clear();
        question.name.push_lower_case(text);
        let name = concerned.resolver.then(|| Name::of(text));
        Some(Self {
            id: envelope.id,
            ts: envelope.ts,
            scope: envelope.scope,
            sight: envelope.sight,
            exchange: Exchange {
                transport: envelope.transport,
                client: envelope.src,
                id: message.dns.id,
                name: Name::whole_of(text),
                qtype: question.qtype,
                qclass: question.qclass,
            },
            server: envelope.dst,
            name,
            recursion_desired: message.dns.flags.0 & RECURSION_DESIRED != 0,
            asking: concerned.asking,
            asked: concerned.asked,
        })
    }

    /// What the query asks, as a question to or of somebody.
    pub(super) const fn question(&self, who: Resolver) -> Question {
        let Exchange { name, qtype, qclass, .. } = self.exchange;
        Question { who, name, qtype, qclass }
    }
}
