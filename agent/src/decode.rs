//! The second room: packets become DNS messages.

mod clock;
mod decoder;
pub mod dns;
mod fragment;
mod kept;
mod outlet;
mod sealed;
mod tcp;

pub use decoder::{Decoder, DecoderOptions, TCP_STREAM_BYTES};
pub use kept::Kept;
pub use sealed::{Content, Sealed};

use crate::capture::{Origin, Sight, Task, Transport};
use crate::net::Cause;
use crate::time::Timestamp;
use dns::{Dns, Question};
use std::net::SocketAddr;

/// A DNS message's place: which packet completed it, and which of the messages in that packet it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The packet that completed the message.
    pub origin: Origin,
    /// 0 for the first message that the packet completed.
    pub index: u32,
}

/// The envelope of a message: who sent it to whom, when, how.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The packet that completed the message.
    pub id: MessageId,
    /// When that packet passed.
    pub ts: Timestamp,
    /// See [`crate::capture::Packet::scope`].
    pub scope: u64,
    /// See [`crate::capture::Packet::sight`].
    pub sight: Sight,
    /// See [`crate::capture::Packet::task`].
    pub task: Option<Task>,
    /// See [`crate::capture::Packet::cgroup_id`].
    pub cgroup_id: u64,
    /// UDP or TCP.
    pub transport: Transport,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
}

/// Why a packet holds no DNS message that can be read. The names stand in the ledger and in dead
/// letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformed {
    /// An IPv4 or IPv6 header, or one of its extensions, that is cut off or contradicts itself.
    IpHeader,
    /// A UDP header that is cut off, or whose length is below 8 or beyond the packet.
    UdpHeader,
    /// A TCP header that is cut off or whose data offset is impossible.
    TcpHeader,
    /// IP fragments that overlap, or that cannot belong to one datagram.
    FragmentConflict,
    /// IP fragments whose rest did not come in time or found no room.
    FragmentIncomplete,
    /// Octets of a TCP stream that cannot be placed in a message: capture began in mid stream, or
    /// they lie behind the stream's end.
    TcpMidstream,
    /// Octets of a TCP stream around others that were never captured.
    TcpGap,
    /// The beginning of a message whose TCP stream ended, was reset, or found no room.
    TcpIncomplete,
    /// Less than a DNS header's twelve octets.
    DnsHeader,
    /// A question section that cannot be read: label, pointer or count out of bounds.
    DnsQuestion,
    /// An answer, authority or additional record that runs out of the message, or whose owner
    /// name cannot be read.
    DnsRecord,
}

impl Malformed {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::IpHeader,
        Self::UdpHeader,
        Self::TcpHeader,
        Self::FragmentConflict,
        Self::FragmentIncomplete,
        Self::TcpMidstream,
        Self::TcpGap,
        Self::TcpIncomplete,
        Self::DnsHeader,
        Self::DnsQuestion,
        Self::DnsRecord,
    ];

    /// The reason's name in the ledger and in dead letters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IpHeader => "ip_header",
            Self::UdpHeader => "udp_header",
            Self::TcpHeader => "tcp_header",
            Self::FragmentConflict => "fragment_conflict",
            Self::FragmentIncomplete => "fragment_incomplete",
            Self::TcpMidstream => "tcp_midstream",
            Self::TcpGap => "tcp_gap",
            Self::TcpIncomplete => "tcp_incomplete",
            Self::DnsHeader => "dns_header",
            Self::DnsQuestion => "dns_question",
            Self::DnsRecord => "dns_record",
        }
    }
}

/// The port of multicast DNS (RFC 6762).
pub(crate) const MDNS_PORT: u16 = 5353;

/// One DNS message with its envelope. It borrows both: from the packet, from the stream, or from
/// [`Kept`].
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Who sent it to whom, when, how.
    pub envelope: &'a Envelope,
    /// What it says.
    pub dns: Dns<'a>,
    /// Octets of the message on the wire, without TCP's length prefix.
    pub wire_bytes: u32,
}

impl Message<'_> {
    /// Client and server of the exchange that the message belongs to: a query goes from the one
    /// to the other, a response back.
    #[must_use]
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let Envelope { src, dst, .. } = *self.envelope;
        if self.dns.flags.response() { (dst, src) } else { (src, dst) }
    }

    /// Whether it is of multicast DNS, as its port tells.
    #[must_use]
    pub const fn is_mdns(&self) -> bool {
        let Envelope { src, dst, transport, .. } = self.envelope;
        matches!(transport, Transport::Udp) && (dst.port() == MDNS_PORT || src.port() == MDNS_PORT)
    }

    /// The class that a question of this message asks for. In multicast DNS the upper bit of QCLASS
    /// is no part of it, but asks for a unicast response (RFC 6762, 5.4).
    #[must_use]
    pub const fn class_of(&self, question: &Question<'_>) -> u16 {
        if self.is_mdns() { question.qclass & 0x7FFF } else { question.qclass }
    }

    /// Octets of the message that were captured.
    #[must_use]
    pub fn captured_bytes(&self) -> u32 {
        u32::try_from(self.dns.octets().len()).unwrap_or(u32::MAX)
    }

    /// Whether fewer octets were captured than stood on the wire.
    #[must_use]
    pub fn clipped(&self) -> bool {
        self.captured_bytes() < self.wire_bytes
    }
}

/// A query that cannot arrive, as ICMP (type 3 of RFC 792, type 1 of RFC 4443) told.
#[derive(Clone, Debug)]
pub struct Unreachable {
    /// The packet that told it.
    pub id: MessageId,
    /// When.
    pub ts: Timestamp,
    /// See [`crate::capture::Packet::scope`].
    pub scope: u64,
    /// UDP or TCP.
    pub transport: Transport,
    /// Who had asked.
    pub client: SocketAddr,
    /// Who was not reached.
    pub server: SocketAddr,
    /// The id of the query, where the ICMP message quotes it; else any query between the two
    /// may be meant.
    pub query_id: Option<u16>,
    /// Why it cannot arrive.
    pub cause: Cause,
}

/// A packet, or part of a stream, that is not DNS.
#[derive(Clone, Debug)]
pub struct DeadLetter<'a> {
    /// Who sent it to whom, as far as that can be told.
    pub envelope: Envelope,
    /// Why it cannot be read.
    pub reason: Malformed,
    /// The octets that could not be read: of the message where its transport could be, else of
    /// the IP packet.
    pub bytes: &'a [u8],
}

/// What the decoder gives.
#[derive(Clone, Debug)]
pub enum Decoded<'a> {
    /// A DNS message.
    Message(Message<'a>),
    /// A query, or a connection attempt of encrypted DNS, that cannot arrive.
    Unreachable(Unreachable),
    /// A packet of encrypted DNS.
    Sealed(Box<Sealed>),
    /// What could not be read.
    DeadLetter(DeadLetter<'a>),
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
