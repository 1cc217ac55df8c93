//! The properties of a query that lookups need.

use dnscribe_dns::rtype::{A, AAAA, HTTPS, SVCB};
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Message, MessageId};
use dnscribe_transaction::packet::{Direction, Transport};
use dnscribe_transaction::pair::Vantage;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

/// Identifies a client; only its own queries belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A process of this host.
    Process(u32),
    /// An address in a network whose processes are unknown.
    Address(Vantage, Network),
}

/// A network scope and an address in it.
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
    /// Id in the DNS header.
    pub(super) dns_id: u16,
    pub(super) qname: Cow<'a, str>,
    pub(super) qtype: u16,
    pub(super) qclass: u16,
}

/// The opcode of ordinary queries (RFC 1035, 4.1.1).
pub(super) const QUERY: u8 = 0;

impl<'a> Query<'a> {
    /// Reads an ordinary query (opcode QUERY) with a question that was sent or forwarded by this
    /// host. `None` for other messages, and for queries that arrived at a server. The name is
    /// written into `buffer`.
    #[must_use]
    pub fn from_message(message: &Message<'_>, buffer: &'a mut String) -> Option<Self> {
        let (envelope, flags) = (message.envelope, message.dns.flags);
        if flags.is_response()
            || flags.opcode() != QUERY
            || envelope.direction == Direction::Ingress
        {
            return None;
        }
        let question = message.dns.question()?;
        buffer.clear();
        question.name.push_lower_case(buffer);
        let vantage = Vantage::from_direction(envelope.direction, false);
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
            qname: Cow::Borrowed(buffer),
            qtype: question.qtype,
            qclass: message.question_class(&question),
        })
    }
}

/// Returns whether stubs query this type together with others for one call (RFC 3596, RFC 9460).
pub(super) const fn is_companion(qtype: u16) -> bool {
    matches!(qtype, A | AAAA | SVCB | HTTPS)
}
