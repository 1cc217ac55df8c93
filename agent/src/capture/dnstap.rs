//! dnstap: what DNS servers report of their own messages (<https://dnstap.info>), the encrypted ones included.
//!
//! A frame has one message, with the addresses and times that the server knows. A frame of a response may have its query as
//! well, which servers also report by itself: it is not read twice.

mod address;
mod order;
mod receiver;

pub use address::DnstapAddress;
pub(super) use order::{Arrival, DELAY, Ordered};
pub use receiver::Receiver;

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId, Transport};
use prost::Message as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Content type of Frame Streams that carry dnstap.
pub(super) const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";

/// Fields of `dnstap.proto` that are read. Those of fixed values are numbers here: a value that is not known yet leaves the
/// others readable.
mod proto {
    #[derive(prost::Message)]
    pub struct Dnstap {
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
        #[prost(uint64, optional, tag = "12")]
        pub response_seconds: Option<u64>,
        #[prost(fixed32, tag = "13")]
        pub response_nanos: u32,
        #[prost(bytes = "vec", optional, tag = "14")]
        pub response: Option<Vec<u8>>,
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
}

impl Report {
    /// Reads a frame; `None` if it is not dnstap's, or lacks the message or its time.
    fn read(frame: &[u8]) -> Option<Self> {
        let message = proto::Dnstap::decode(frame).ok()?.message?;
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
        let ts = seconds?.checked_mul(1_000_000_000)?.checked_add(nanos.into())?;
        Some(Self {
            ts: Timestamp::from_nanos(ts),
            direction: if is_query == is_asked { Direction::Ingress } else { Direction::Egress },
            transport,
            src,
            dst,
            bytes: bytes?,
        })
    }

    /// Returns it as a packet of this time.
    fn packet(&self, ts: Timestamp, id: PacketId) -> Packet<'_> {
        let &Self { transport, src, dst, .. } = self;
        let body = Body::Message { transport, src, dst, index: 0, bytes: &self.bytes };
        Packet::new(ts, id, self.direction, body)
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
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const QUERY: [u8; 12] = [0, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// A `CLIENT_QUERY` by DoT.
    fn query() -> proto::Message {
        proto::Message {
            kind: 5,
            family: 1,
            protocol: 3,
            query_address: vec![192, 0, 2, 1],
            response_address: vec![192, 0, 2, 53],
            query_port: 4000,
            response_port: 853,
            query_seconds: Some(1_700_000_000),
            query_nanos: 5,
            query: Some(QUERY.to_vec()),
            ..proto::Message::default()
        }
    }

    pub(in crate::capture) fn query_frame() -> Vec<u8> {
        frame(query())
    }

    /// A frame of a query at this second.
    pub(in crate::capture) fn frame_at(second: u64) -> Vec<u8> {
        frame(proto::Message { query_seconds: Some(second), query_nanos: 0, ..query() })
    }

    fn frame(message: proto::Message) -> Vec<u8> {
        proto::Dnstap { message: Some(message) }.encode_to_vec()
    }

    fn read(change: impl FnOnce(&mut proto::Message)) -> Option<Report> {
        let mut message = query();
        change(&mut message);
        Report::read(&frame(message))
    }

    #[test]
    fn types_have_sender_and_direction() {
        let query = read(|_| {}).unwrap();
        assert_eq!((query.direction, query.transport), (Direction::Ingress, Transport::Dot));
        assert_eq!((query.src.port(), query.dst.port()), (4000, 853));
        assert_eq!(query.ts, Timestamp::from_nanos(1_700_000_000_000_000_005));
        // AUTH, RESOLVER, CLIENT, FORWARDER, STUB, TOOL, UPDATE: whether the server that reports is asked.
        let is_asked = [true, false, true, false, false, false, true];
        for (kind, is_asked) in (1..).step_by(2).zip(is_asked) {
            let query = read(|message| message.kind = kind).unwrap();
            let response = read(|message| {
                message.kind = kind + 1;
                message.response = message.query.take();
                message.response_seconds = message.query_seconds;
            });
            let response = response.unwrap();
            assert_eq!((query.src, response.src), (response.dst, query.dst), "{kind}");
            let [to_server, to_client] = if is_asked {
                [Direction::Ingress, Direction::Egress]
            } else {
                [Direction::Egress, Direction::Ingress]
            };
            assert_eq!((query.direction, response.direction), (to_server, to_client), "{kind}");
        }
    }

    #[test]
    fn transport_is_that_of_the_report_or_of_the_port() {
        for (protocol, port, transport) in [
            (0, 53, "udp"),
            (0, 443, "doh"),
            (0, 8443, "doh"),
            (0, 853, "dot"),
            (1, 53, "udp"),
            (2, 53, "tcp"),
            (2, 853, "dot"),
            (1, 853, "doq"),
            (1, 443, "doh"),
            (2, 443, "doh"),
            (3, 53, "dot"),
            (4, 853, "doh"),
            (5, 443, "dnscrypt"),
            (6, 443, "dnscrypt"),
            (7, 443, "doq"),
        ] {
            let report = read(|message| {
                message.protocol = protocol;
                message.response_port = port;
            });
            assert_eq!(report.unwrap().transport.name(), transport, "{protocol} {port}");
        }
    }

    #[test]
    fn what_a_message_needs_must_be_there() {
        let changes: [fn(&mut proto::Message); 8] = [
            |message| message.kind = 6,
            |message| message.kind = 0,
            |message| message.kind = 15,
            |message| message.protocol = 8,
            |message| message.query = None,
            |message| message.query_seconds = None,
            |message| message.query_seconds = Some(u64::MAX),
            |message| message.query_address = vec![1; 5],
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(read(change), None, "{number}");
        }
        assert_eq!(read(|message| message.query_port = 65_536), None);
        for bytes in [&b"no frame"[..], &[], &[0x72, 0xff]] {
            assert_eq!(Report::read(bytes), None, "{bytes:?}");
        }
        let unknown = read(|message| message.query_address.clear()).unwrap();
        assert_eq!(unknown.src, SocketAddr::from(([0, 0, 0, 0], 4000)));
    }
}
