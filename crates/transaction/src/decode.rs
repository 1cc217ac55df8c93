//! Turns captured packets into DNS messages: IP reassembly, tunnels, TCP streams, DNS.
//!
//! Input: [`Packet`](crate::packet::Packet)s from live capture or replay. Output: [`Decoded`]
//! events for pairing and for connections of encrypted DNS.

mod decoder;
mod emitter;
mod encrypted_packet;
mod fragment;
mod owned_message;
mod steady_clock;
mod tcp;

pub use decoder::{Decoder, DecoderOptions, TCP_STREAM_BYTES};
pub use encrypted_packet::{EncryptedContent, EncryptedPacket};
pub use owned_message::OwnedMessage;

use crate::packet::net::{self, UnreachableReason, protocol};
use crate::packet::{ConnectStep, Direction, Loss, PacketId, ServerReport, Task, Transport};
pub use dnscribe_record::MessageId;
use dnscribe_record::named_enum;
use dnscribe_record::time::Timestamp;

use dnscribe_dns::{Dns, ParseError, Question};
use std::net::SocketAddr;
use std::sync::Arc;

/// Metadata of a message: sender, receiver, time and transport.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The packet that completed the message.
    pub id: MessageId,
    /// Time of that packet.
    pub ts: Timestamp,
    /// See [`crate::packet::Packet::scope`].
    pub scope: u64,
    /// See [`crate::packet::Packet::direction`].
    pub direction: Direction,
    /// See [`crate::packet::Packet::task`].
    pub task: Option<Task>,
    /// See [`crate::packet::Packet::cgroup_id`].
    pub cgroup_id: u64,
    /// UDP or TCP.
    pub transport: Transport,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// What the server that reports the message says, from dnstap.
    pub report: Option<Arc<ServerReport>>,
    /// Who has seen it, where a hook and servers are captured together.
    pub seen_by: Option<View>,
}

/// Who has seen a message: a socket of this host, the server that reports it by dnstap, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A socket.
    Socket,
    /// The server.
    Dnstap,
    /// Both.
    Both,
}

impl View {
    /// Returns the names in records.
    #[must_use]
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Socket => &["socket"],
            Self::Dnstap => &["dnstap"],
            Self::Both => &["socket", "dnstap"],
        }
    }
}

named_enum! {
    /// Why a packet contains no readable DNS message. The names are used in the ledger and in dead
    /// letters.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Malformed {
        /// An IPv4 or IPv6 header, or an extension header, is cut off or inconsistent.
        IpHeader = "ip_header",
        /// A UDP header is cut off, or its length is below 8 or beyond the packet.
        UdpHeader = "udp_header",
        /// A TCP header is cut off, or its data offset is impossible.
        TcpHeader = "tcp_header",
        /// A frame of dnstap has no message, no time, or is not dnstap's.
        DnstapFrame = "dnstap_frame",
        /// IP fragments overlap or cannot belong to one datagram.
        FragmentConflict = "fragment_conflict",
        /// IP fragments were incomplete at their timeout, or evicted.
        FragmentIncomplete = "fragment_incomplete",
        /// Bytes of a TCP stream that belong to no known message: capture began inside the stream, or
        /// they are behind the stream's end.
        TcpMidstream = "tcp_midstream",
        /// Bytes of a TCP stream next to others that were never captured.
        TcpGap = "tcp_gap",
        /// The beginning of a message whose TCP stream ended, was reset, or was evicted.
        TcpIncomplete = "tcp_incomplete",
        /// Fewer bytes than the twelve of a DNS header.
        DnsHeader = "dns_header",
        /// The question section cannot be read: a label, pointer or count is out of bounds.
        DnsQuestion = "dns_question",
        /// An answer, authority or additional record runs out of the message, or its owner name cannot
        /// be read.
        DnsRecord = "dns_record",
    }
}

impl From<ParseError> for Malformed {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Header => Self::DnsHeader,
            ParseError::Question => Self::DnsQuestion,
            ParseError::Record => Self::DnsRecord,
        }
    }
}

/// The port of multicast DNS (RFC 6762).
pub(crate) const MDNS_PORT: u16 = 5353;

/// A DNS message with its metadata, borrowed from the packet, the stream or an [`OwnedMessage`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Sender, receiver, time and transport.
    pub envelope: &'a Envelope,
    /// The message's contents.
    pub dns: Dns<'a>,
    /// Bytes of the message on the wire, without TCP's length prefix.
    pub wire_bytes: u32,
}

impl Message<'_> {
    /// Returns client and server: sender and receiver of a query, receiver and sender of a
    /// response.
    #[must_use]
    pub fn client_and_server(&self) -> (SocketAddr, SocketAddr) {
        let Envelope { src, dst, .. } = *self.envelope;
        if self.dns.flags.is_response() { (dst, src) } else { (src, dst) }
    }

    /// Returns whether this is multicast DNS, judged by its ports.
    #[must_use]
    pub const fn is_mdns(&self) -> bool {
        let Envelope { src, dst, transport, .. } = self.envelope;
        matches!(transport, Transport::Udp) && (dst.port() == MDNS_PORT || src.port() == MDNS_PORT)
    }

    /// Returns the class of a question. In multicast DNS the upper bit of QCLASS asks for a unicast
    /// response instead (RFC 6762, 5.4).
    #[must_use]
    pub const fn question_class(&self, question: &Question<'_>) -> u16 {
        if self.is_mdns() { question.qclass & 0x7FFF } else { question.qclass }
    }

    /// Returns the bytes of the message that were captured.
    #[must_use]
    pub fn captured_bytes(&self) -> u32 {
        u32::try_from(self.dns.bytes().len()).unwrap_or(u32::MAX)
    }

    /// Returns whether fewer bytes were captured than were on the wire.
    #[must_use]
    pub fn is_clipped(&self) -> bool {
        self.captured_bytes() < self.wire_bytes
    }
}

/// An undeliverable query, reported by ICMP (RFC 792 type 3, RFC 4443 type 1) or by the kernel.
#[derive(Clone, Debug)]
pub struct Unreachable {
    /// The packet that reported it.
    pub id: MessageId,
    /// Time of that packet.
    pub ts: Timestamp,
    /// See [`crate::packet::Packet::scope`].
    pub scope: u64,
    /// UDP or TCP.
    pub transport: Transport,
    /// Sender of the query.
    pub client: SocketAddr,
    /// The server that was not reached.
    pub server: SocketAddr,
    /// Id of the query if the ICMP message quotes it; without it, any query between the two may be
    /// meant.
    pub query_id: Option<u16>,
    /// Why it was not delivered.
    pub cause: UnreachableReason,
}

/// A step of a connection that a socket of this host opens.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// The record of the ring that reported it.
    pub id: PacketId,
    /// Its time.
    pub ts: Timestamp,
    /// See [`crate::packet::Packet::scope`].
    pub scope: u64,
    /// The process that connects, in the first step.
    pub task: Option<Task>,
    /// The cgroup2 id of that process, in the first step; 0 where unknown.
    pub cgroup_id: u64,
    /// The socket's cookie.
    pub cookie: u64,
    /// The step.
    pub step: ConnectStep,
}

/// A message in a packet that the kernel discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// When.
    pub ts: Timestamp,
    /// Which message.
    pub message: MessageKey,
    /// Where and why.
    pub loss: Arc<Loss>,
}

/// A message took a step on its way through this host, besides those at the sockets' hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageStep {
    /// When.
    pub ts: Timestamp,
    /// See [`crate::packet::Packet::scope`].
    pub scope: u64,
    /// Which message.
    pub message: MessageKey,
    /// The step.
    pub step: PathStep,
}

/// A step of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// A device took the query. Several do behind a bridge, a VLAN or a bond. A routed packet has left its socket.
    Sent {
        /// Index of the interface, in the network namespace [`MessageStep::scope`].
        device: u32,
    },
    /// The process read the message from its socket.
    Read {
        /// When it arrived at the socket: the time of its packet.
        at_socket: Timestamp,
        /// When it arrived at a device, if known.
        arrived: Option<Timestamp>,
    },
}

/// Length of a UDP header in bytes (RFC 768).
const UDP_HEADER: usize = 8;

/// What identifies a message of DNS over UDP where nothing else of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageKey {
    /// Sender of the query.
    pub client: SocketAddr,
    /// Receiver of the query.
    pub server: SocketAddr,
    /// Id in the header.
    pub id: u16,
    /// Whether it is a response.
    pub is_response: bool,
}

impl MessageKey {
    /// Reads the headers of a packet, or of the first fragment of one; `None` if it is not UDP, or has no header of DNS.
    #[must_use]
    pub fn read(bytes: &[u8], wire_bytes: u32) -> Option<Self> {
        let ip = net::parse_ip(bytes, wire_bytes).ok()?;
        if ip.protocol != protocol::UDP || ip.is_later_fragment() {
            return None;
        }
        let (src_port, dst_port) = net::ports(&ip)?;
        let [a, b, flags] = *ip.payload.get(UDP_HEADER..)?.first_chunk()?;
        let is_response = flags & 0x80 != 0;
        let (src, dst) = (SocketAddr::new(ip.src, src_port), SocketAddr::new(ip.dst, dst_port));
        let (client, server) = if is_response { (dst, src) } else { (src, dst) };
        Some(Self { client, server, id: u16::from_be_bytes([a, b]), is_response })
    }
}

/// A packet or part of a stream that is not readable DNS.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// Metadata, as far as known. Unknown ports are 0.
    pub envelope: Envelope,
    /// Why it is unreadable.
    pub reason: Malformed,
    /// The unreadable bytes: of the message, or of the IP packet if its headers are unreadable.
    pub bytes: &'a [u8],
}

/// An event of the decoder.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// A DNS message.
    Message(Message<'a>),
    /// A query, or a connection attempt of encrypted DNS, that was not delivered.
    Unreachable(Unreachable),
    /// A packet of encrypted DNS.
    Encrypted(Box<EncryptedPacket>),
    /// A step of a connection.
    Connect(Connect),
    /// A message was discarded with its packet. If that never reached the hook, the message follows.
    Dropped(Dropped),
    /// A message took a step on its way.
    Step(MessageStep),
    /// A packet or part of a stream that could not be read.
    DeadLetter(DeadLetter<'a>),
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
