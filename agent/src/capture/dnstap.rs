//! dnstap: what DNS servers report of their own messages (<https://dnstap.info>), the encrypted ones included.
//!
//! A frame has one message, with the addresses and times that the server knows. A frame of a response may have its query as
//! well, which servers also report by itself: it is not read twice.

mod acceptor;
mod address;
mod arrivals;
mod listener;
mod order;
mod receiver;
mod senders;
mod tls;

pub use address::DnstapAddress;
pub(super) use order::{Arrival, DELAY, Ordered};
#[cfg(test)]
pub(crate) use receiver::tests::received;
pub use receiver::{Counters, Receiver};
pub use tls::DnstapTls;

use dnscribe_dns::Name;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{
    Body, Direction, Packet, PacketId, ServerPolicy, ServerReport, Transport,
};
use prost::Message as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Content type of Frame Streams that carry dnstap.
pub(super) const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

const SECOND: u64 = 1_000_000_000;

/// Fields of `dnstap.proto` that are read. Those of fixed values are numbers here: a value that is not known yet leaves the
/// others readable.
mod proto {
    #[derive(prost::Message)]
    pub struct Dnstap {
        #[prost(bytes = "vec", tag = "1")]
        pub identity: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub version: Vec<u8>,
        #[prost(message, optional, tag = "14")]
        pub message: Option<Message>,
    }

    #[derive(prost::Message)]
    pub struct Message {
        #[prost(int32, tag = "1")]
        pub kind: i32,
        #[prost(int32, tag = "2")]
        pub family: i32,
        #[prost(int32, tag = "3")]
        pub protocol: i32,
        #[prost(bytes = "vec", tag = "4")]
        pub query_address: Vec<u8>,
        #[prost(bytes = "vec", tag = "5")]
        pub response_address: Vec<u8>,
        #[prost(uint32, tag = "6")]
        pub query_port: u32,
        #[prost(uint32, tag = "7")]
        pub response_port: u32,
        #[prost(uint64, optional, tag = "8")]
        pub query_seconds: Option<u64>,
        #[prost(fixed32, tag = "9")]
        pub query_nanos: u32,
        #[prost(bytes = "vec", optional, tag = "10")]
        pub query: Option<Vec<u8>>,
        #[prost(bytes = "vec", tag = "11")]
        pub zone: Vec<u8>,
        #[prost(uint64, optional, tag = "12")]
        pub response_seconds: Option<u64>,
        #[prost(fixed32, tag = "13")]
        pub response_nanos: u32,
        #[prost(bytes = "vec", optional, tag = "14")]
        pub response: Option<Vec<u8>>,
        #[prost(message, optional, tag = "15")]
        pub policy: Option<Policy>,
    }

    #[derive(prost::Message)]
    pub struct Policy {
        #[prost(bytes = "vec", tag = "1")]
        pub kind: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub rule: Vec<u8>,
        #[prost(int32, tag = "3")]
        pub action: i32,
        #[prost(int32, tag = "4")]
        pub matched: i32,
        #[prost(bytes = "vec", tag = "5")]
        pub value: Vec<u8>,
    }
}

/// A message that a server has reported.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// When the server received or sent it.
    ts: Timestamp,
    direction: Direction,
    transport: Transport,
    src: SocketAddr,
    dst: SocketAddr,
    bytes: Vec<u8>,
    /// What the server says beside it.
    says: Option<Arc<ServerReport>>,
}

impl Report {
    /// Reads a frame; `None` if it is not dnstap's, or lacks the message or its time. `last` is what the sender said before: a
    /// server says the same of itself each time.
    fn read(frame: &[u8], last: &mut Option<Arc<ServerReport>>) -> Option<Self> {
        let proto::Dnstap { identity, version, message } = proto::Dnstap::decode(frame).ok()?;
        let message = message?;
        let says = ServerReport {
            identity: text(&identity),
            version: text(&version),
            zone: name(&message.zone),
            policy: message.policy.as_ref().map(policy),
        };
        if last.as_deref() != Some(&says) {
            *last = (says != ServerReport::default()).then(|| Arc::new(says));
        }
        // Types come in pairs of a query, which is odd, and its response.
        let is_query = message.kind % 2 == 1;
        let is_asked = match message.kind {
            // AUTH, CLIENT and UPDATE: the server that reports is asked.
            1 | 2 | 5 | 6 | 13 | 14 => true,
            // RESOLVER, FORWARDER, STUB and TOOL: it asks.
            3 | 4 | 7..=12 => false,
            _ => return None,
        };
        // Some servers know of UDP and TCP only: there the server's port tells the rest. BIND 9.18 says UDP or TCP; unbound
        // 1.17 as well, except for DoH, of which it says nothing.
        let transport = match (message.protocol, message.response_port) {
            (3, _) | (0 | 2, 853) => Transport::Dot,
            (7, _) | (1, 853) => Transport::Doq,
            (5 | 6, _) => Transport::DnsCrypt,
            (1 | 2, 443) | (4, _) => Transport::Doh,
            (0, 53) | (1, _) => Transport::Udp,
            (0, _) => Transport::Doh,
            (2, _) => Transport::Tcp,
            _ => return None,
        };
        let [client, server] = [
            (&message.query_address, message.query_port),
            (&message.response_address, message.response_port),
        ]
        .map(|(address, port)| socket(address, port, message.family));
        let (client, server) = (client?, server?);
        let (seconds, nanos, bytes, src, dst) = if is_query {
            (message.query_seconds, message.query_nanos, message.query, client, server)
        } else {
            (message.response_seconds, message.response_nanos, message.response, server, client)
        };
        let nanos = u64::from(nanos);
        let ts = seconds?.checked_mul(SECOND)?.checked_add(nanos).filter(|_| nanos < SECOND)?;
        Some(Self {
            ts: Timestamp::from_nanos(ts),
            direction: if is_query == is_asked { Direction::Ingress } else { Direction::Egress },
            transport,
            src,
            dst,
            bytes: bytes?,
            says: last.clone(),
        })
    }

    /// Returns it as a packet of this time.
    fn packet(&self, ts: Timestamp, id: PacketId) -> Packet<'_> {
        let &Self { transport, src, dst, .. } = self;
        let report = self.says.as_ref();
        let body = Body::Message { transport, src, dst, index: 0, bytes: &self.bytes, report };
        Packet::new(ts, id, self.direction, body)
    }
}

/// Returns bytes as a text of at most 255 characters, without control characters; none if there are no bytes.
fn text(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let plain = text.chars().map(|one| if one.is_control() { '\u{fffd}' } else { one });
    (!bytes.is_empty()).then(|| plain.take(255).collect())
}

/// Returns a name in wire format as records write names.
fn name(bytes: &[u8]) -> Option<String> {
    let name = Name::of_wire(bytes)?;
    let mut text = String::new();
    name.push_lower_case(&mut text);
    Some(text)
}

fn policy(policy: &proto::Policy) -> ServerPolicy {
    // The mnemonics of dnstap.proto. The format of rule and value depends on the type and what was matched.
    const ACTIONS: [&str; 6] = ["NXDOMAIN", "NODATA", "PASS", "DROP", "TRUNCATE", "LOCAL_DATA"];
    const MATCHES: [&str; 5] = ["QNAME", "CLIENT_IP", "RESPONSE_IP", "NS_NAME", "NS_IP"];
    let known = |names: &[&'static str], number: i32| {
        names.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    };
    let value = &policy.value;
    ServerPolicy {
        kind: text(&policy.kind),
        rule: name(&policy.rule).or_else(|| text(&policy.rule)),
        action: known(&ACTIONS, policy.action),
        matched: known(&MATCHES, policy.matched),
        value: match (policy.matched, value.len()) {
            (2 | 3 | 5, 4 | 16) => socket(value, 0, 0).map(|address| address.ip().to_string()),
            _ => name(value).or_else(|| text(value)),
        },
    }
}

/// Reads an address, which servers may leave out: a resolver that does not know which of its own it asks from.
fn socket(address: &[u8], port: u32, family: i32) -> Option<SocketAddr> {
    const INET6: i32 = 2;
    let ip = match (address.len(), family) {
        (0, INET6) => Ipv6Addr::UNSPECIFIED.into(),
        (0, _) => Ipv4Addr::UNSPECIFIED.into(),
        (4, _) => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        (16, _) => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::try_from(port).ok()?))
}

#[cfg(test)]
pub(super) mod tests;
