//! A query, as far as lookups need it when it is sent.

use crate::capture::{Sight, Transport};
use crate::decode::{Message, MessageId};
use crate::pair::Vantage;
use crate::time::Timestamp;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Who asks: only queries of one client belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A process of this host.
    Process(u32),
    /// An address in a network, where its processes are not known.
    Address(Vantage, Network),
}

/// An address and the network that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network(pub(super) u64, pub(super) IpAddr);

/// A query of an application.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub(super) id: MessageId,
    pub(super) ts: Timestamp,
    pub(super) vantage: Vantage,
    pub(super) client: Client,
    pub(super) network: Network,
    pub(super) port: u16,
    pub(super) server: SocketAddr,
    pub(super) transport: Transport,
    /// The header's id.
    pub(super) dns_id: u16,
    pub(super) qname: Cow<'a, str>,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// The opcode of ordinary queries (RFC 1035, 4.1.1).
pub(super) const QUERY: u8 = 0;

impl<'a> Query<'a> {
    /// Of an ordinary query (opcode QUERY) with a question, where it was sent or on its way; none
    /// for other messages. A server's view of a query is none of an application's doing. Its name is
    /// written into `room`.
    #[must_use]
    pub fn of(message: &Message<'_>, room: &'a mut String) -> Option<Self> {
        let (envelope, flags) = (message.envelope, message.dns.flags);
        if flags.response() || flags.opcode() != QUERY || envelope.sight == Sight::Ingress {
            return None;
        }
        let question = message.dns.question()?;
        room.clear();
        question.name.push_lower_case(room);
        let vantage = Vantage::of(envelope.sight, false);
        let network = Network(envelope.scope, envelope.src.ip());
        let process = envelope.task.as_ref().map(|task| Client::Process(task.pid));
        Some(Self {
            id: envelope.id,
            ts: envelope.ts,
            vantage,
            client: process.unwrap_or(Client::Address(vantage, network)),
            network,
            port: envelope.src.port(),
            server: envelope.dst,
            transport: envelope.transport,
            dns_id: message.dns.id,
            qname: Cow::Borrowed(room),
            qtype: question.qtype,
            qclass: message.class_of(&question),
        })
    }
}

/// The types of which stubs ask several for one call (RFC 3596, RFC 9460).
pub(super) const fn is_companion(qtype: u16) -> bool {
    matches!(qtype, A | AAAA | SVCB | HTTPS)
}

pub(super) const A: u16 = 1;
pub(super) const CNAME: u16 = 5;
pub(super) const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
pub(super) const ANY: u16 = 255;
