//! The properties of a query that correlation uses.

use super::name_hash::NameHash;
use crate::decode::{Envelope, Message, MessageId};
use crate::packet::{Direction, Transport};
use dnscribe_record::time::Timestamp;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// RD (RFC 1035, 4.1.1).
pub(super) const RECURSION_DESIRED: u16 = 0x100;

/// A resolver: answers queries and sends others to find the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resolver {
    /// A process of this host.
    Process(u32),
    /// This host, if its processes are not known.
    Host,
    /// A host captured from outside, by one of its addresses: an integer, since the parts of an [`IpAddr`] are written and
    /// read in different sizes, for which the CPU has to wait.
    Address { is_ipv6: bool, bits: u128 },
}

/// Hashes one or two integers; a derived implementation would hash each byte of an address.
impl Hash for Resolver {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Process(pid) => state.write_u64(1 << 32 | u64::from(*pid)),
            Self::Host => state.write_u64(2 << 32),
            Self::Address { is_ipv6: _, bits } => state.write_u128(*bits),
        }
    }
}

impl Resolver {
    /// Returns whether two addresses may belong to one host, one IPv4 and one IPv6.
    pub(super) const fn may_be_same_host(self, other: Self) -> bool {
        match (self, other) {
            (Self::Address { is_ipv6: one, .. }, Self::Address { is_ipv6: other, .. }) => {
                one != other
            }
            _ => false,
        }
    }

    /// Returns the sender of a query captured leaving, and the receiver of one captured arriving.
    pub(super) fn of_query(envelope: &Envelope) -> (Option<Self>, Option<Self>) {
        let leaves = envelope.direction != Direction::Ingress;
        let arrives = envelope.direction != Direction::Egress;
        let receiver = || Self::at(envelope, envelope.dst.ip());
        (leaves.then(|| Self::sending(envelope)), arrives.then(receiver))
    }

    /// Returns the owner of the socket that a message left from.
    pub(super) const fn sending(envelope: &Envelope) -> Self {
        Self::at(envelope, envelope.src.ip())
    }

    const fn at(envelope: &Envelope, address: IpAddr) -> Self {
        match (envelope.direction, &envelope.task) {
            (Direction::Passive, _) => match address {
                IpAddr::V4(address) => {
                    Self::Address { is_ipv6: false, bits: address.to_bits() as u128 }
                }
                IpAddr::V6(address) => Self::Address { is_ipv6: true, bits: address.to_bits() },
            },
            (_, Some(task)) => Self::Process(task.pid),
            (_, None) => Self::Host,
        }
    }
}

/// A question to or from a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) resolver: Resolver,
    pub(super) name: u64,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// The properties of a query that are the same at both ends, even if the server's address is
/// translated on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Exchange {
    pub(super) transport: Transport,
    pub(super) client: SocketAddr,
    pub(super) id: u16,
    pub(super) name: u64,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// A query, reduced to what correlation uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) id: MessageId,
    pub(super) ts: Timestamp,
    pub(super) scope: u64,
    pub(super) direction: Direction,
    pub(super) exchange: Exchange,
    pub(super) server: SocketAddr,
    /// Only set if a resolver is involved.
    pub(super) name: Option<NameHash>,
    /// RD flag, as clients set it.
    pub(super) recursion_desired: bool,
    /// The sender, if the query was captured leaving.
    pub(super) sender: Option<Resolver>,
    /// The receiver, if the query was captured arriving.
    pub(super) receiver: Option<Resolver>,
}

impl Query {
    /// Reads a query; `None` if it has no question. `involves_resolver`: whether sender or receiver
    /// is or may be a resolver. `text` is a buffer for its name.
    pub(super) fn of(
        message: &Message<'_>,
        (sender, receiver): (Option<Resolver>, Option<Resolver>),
        involves_resolver: bool,
        text: &mut String,
    ) -> Option<Self> {
        let dnscribe_dns::Question { name, qtype, qclass } = message.dns.question()?;
        let Envelope { id, ts, scope, direction, transport, src: client, dst: server, .. } =
            *message.envelope;
        text.clear();
        name.push_lower_case(text);
        let name = NameHash::hash_whole(text);
        Some(Self {
            id,
            ts,
            scope,
            direction,
            exchange: Exchange { transport, client, id: message.dns.id, name, qtype, qclass },
            server,
            name: involves_resolver.then(|| NameHash::of(text)),
            recursion_desired: message.dns.flags.0 & RECURSION_DESIRED != 0,
            sender,
            receiver,
        })
    }

    /// Returns the question of this query to or from `who`.
    pub(super) const fn question(&self, resolver: Resolver) -> Question {
        let Exchange { name, qtype, qclass, .. } = self.exchange;
        Question { resolver, name, qtype, qclass }
    }
}
