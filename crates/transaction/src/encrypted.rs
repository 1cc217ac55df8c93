//! Follows connections of encrypted DNS: DoT, DoQ, DoH and DoH over HTTP/3.
//!
//! Input: packets of encrypted DNS from the decoder. Output: a [`ConnectionReport`] for each
//! connection: endpoints, process, duration, bytes, and the unencrypted part of the handshake. The
//! messages inside stay encrypted.
//!
//! A pure state machine: time comes with the packets and the table is bounded. A packet costs O(1);
//! start, end and timeout of a connection O(log n). Every connection ends in exactly one counter.

mod cursor;
mod hello;
mod quic;
mod table;
mod tcp;
mod tls;

pub use hello::{ClientHello, Handshake, ServerHello};
pub use table::ConnectionTable;

use crate::decode::{EncryptedContent, EncryptedPacket, Envelope, MessageId};
use crate::packet::encrypted::Service;
use crate::packet::{Direction, Task, Transport};
use crate::pair::{QUERY_TIMEOUT, Vantage};
use dnscribe_record::named_enum;
use dnscribe_record::time::Timestamp;
use hello::Side;
use quic::QuicReader;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;
use table::ConnectionKey;
use tcp::TcpDirection;
use tls::TlsReader;

named_enum! {
    /// The protocol that carries DNS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Protocol {
        /// DNS over TLS (RFC 7858).
        Dot = "dot",
        /// DNS over QUIC (RFC 9250).
        Doq = "doq",
        /// DNS over HTTPS, by TCP (RFC 8484).
        Doh = "doh",
        /// DNS over HTTP/3.
        Doh3 = "doh3",
    }
}

impl Protocol {
    const fn of(service: Service, transport: Transport) -> Self {
        match (service, matches!(transport, Transport::Udp)) {
            (Service::Dedicated, false) => Self::Dot,
            (Service::Dedicated, true) => Self::Doq,
            (Service::Https, false) => Self::Doh,
            (Service::Https, true) => Self::Doh3,
        }
    }
}

named_enum! {
    /// State of a connection, or how it ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum ConnectionStatus {
        /// Ended by FIN from both sides, or from one side without an answer.
        Closed = "closed",
        /// Ended by RST after it was established.
        Reset = "reset",
        /// The attempt was rejected by RST or by ICMP unreachable.
        Refused = "refused",
        /// The server did not answer.
        Timeout = "timeout",
        /// Ended before the handshake was complete, or by a fatal alert.
        HandshakeFailed = "handshake_failed",
        /// Silent for longer than the idle timeout. The usual end of QUIC, whose close is encrypted.
        Idle = "idle",
        /// Evicted from the full table.
        Evicted = "evicted",
        /// Not ended.
        Open = "open",
    }
}

impl ConnectionStatus {
    /// Returns whether the server has answered.
    #[must_use]
    pub const fn has_worked(self) -> bool {
        !matches!(self, Self::Refused | Self::Timeout)
    }
}

/// Timeouts and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// Time for the server's first answer, from the client's last packet on.
    pub answer_timeout: Duration,
    /// Idle timeout of TCP connections.
    pub idle_timeout: Duration,
    /// Idle timeout of QUIC connections, whose end is encrypted. QUIC's direction timeout is rarely above
    /// 30 s.
    pub quic_idle_timeout: Duration,
    /// Interval of reports about open connections.
    pub report_every: Duration,
    /// Most open connections. One is evicted for a new one in a full table.
    pub max_connections: usize,
    /// Most memory for incomplete handshakes, in bytes.
    pub handshake_memory_bytes: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            answer_timeout: QUERY_TIMEOUT,
            idle_timeout: Duration::from_mins(5),
            quic_idle_timeout: Duration::from_mins(1),
            report_every: Duration::from_mins(1),
            max_connections: 1 << 16,
            handshake_memory_bytes: 32 << 20,
        }
    }
}

/// How long a connection that one side ended or rejected waits for the other side. At the socket
/// that ends first the other FIN is often invisible: the socket is in TIME-WAIT by then and belongs
/// to no cgroup.
const HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection of encrypted DNS.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Identifies the first packet.
    pub id: MessageId,
    /// Time of the first packet.
    pub first: Timestamp,
    /// Time of the last packet.
    pub last: Timestamp,
    /// The side that was observed.
    pub vantage: Vantage,
    /// The protocol that carries DNS.
    pub protocol: Protocol,
    /// UDP or TCP.
    pub transport: Transport,
    /// The side that opened the connection.
    pub client: SocketAddr,
    /// The side that offers encrypted DNS.
    pub server: SocketAddr,
    /// The task on this host, if known.
    pub task: Option<Task>,
    /// Its cgroup id; 0 if unknown.
    pub cgroup_id: u64,
    /// The unencrypted part of the handshake.
    pub handshake: Handshake,
    /// Payload bytes from the client and from the server. For TCP by sequence numbers, so that
    /// retransmissions count once.
    pub octets: [u64; 2],
    /// Both directions of a TCP connection: from the client and from the server.
    tcp: [TcpDirection; 2],
    /// Reads the handshake until its end.
    reader: Option<HandshakeReader>,
    /// Whether `task` is from a packet that it sent.
    task_is_sender: bool,
    /// Whether the server sent anything.
    answered: bool,
    reports: u32,
    last_reported: Timestamp,
    /// When its timer in the table is due.
    timer: Timestamp,
}

/// Reader of a handshake.
#[derive(Clone, Debug)]
enum HandshakeReader {
    Tls(Box<TlsReader>),
    Quic(Box<QuicReader>),
}

impl Connection {
    fn new(envelope: &Envelope, key: &ConnectionKey, protocol: Protocol) -> Self {
        let reader = if envelope.transport == Transport::Udp {
            HandshakeReader::Quic(Box::default())
        } else {
            HandshakeReader::Tls(Box::default())
        };
        Self {
            id: envelope.id,
            first: envelope.ts,
            last: envelope.ts,
            vantage: key.vantage,
            protocol,
            transport: envelope.transport,
            client: key.client,
            server: key.server,
            task: None,
            cgroup_id: 0,
            handshake: Handshake::default(),
            octets: [0; 2],
            tcp: Default::default(),
            reader: Some(reader),
            task_is_sender: false,
            answered: false,
            reports: 0,
            last_reported: envelope.ts,
            timer: envelope.ts,
        }
    }

    /// Returns the time from the client's first SYN to the server's.
    #[must_use]
    pub fn connect_time(&self) -> Option<Duration> {
        let [client, server] = &self.tcp;
        Some(server.began()?.since(client.began()?))
    }

    /// Returns the time from the first to the last packet.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.last.since(self.first)
    }

    /// Processes a packet of one side. Returns how it ends the connection, if it does.
    fn observe(&mut self, side: Side, packet: &EncryptedPacket) -> Option<ConnectionStatus> {
        let envelope = &packet.envelope;
        self.last = self.last.max(envelope.ts);
        self.note_task(envelope);
        let outcome = match &packet.content {
            EncryptedContent::Segment { .. } => self.observe_segment(side, packet),
            EncryptedContent::Datagram { .. } => {
                self.observe_datagram(side, packet);
                None
            }
        };
        self.answered |= side == Side::Server;
        if self.handshake.refused && self.transport == Transport::Udp {
            // Nothing readable follows. TCP connections have an end of their direction.
            return Some(ConnectionStatus::HandshakeFailed);
        }
        outcome
    }

    /// Notes the task. A sent packet names its sender; a received packet names the owner of the
    /// socket, who may have passed it on.
    fn note_task(&mut self, envelope: &Envelope) {
        let is_sent = matches!(envelope.direction, Direction::Egress);
        if envelope.task.is_some() && (self.task.is_none() || (is_sent && !self.task_is_sender)) {
            self.task = envelope.task;
            self.task_is_sender = is_sent;
        }
        if self.cgroup_id == 0 {
            self.cgroup_id = envelope.cgroup_id;
        }
    }

    fn observe_segment(
        &mut self,
        side: Side,
        packet: &EncryptedPacket,
    ) -> Option<ConnectionStatus> {
        let EncryptedContent::Segment { seq, flags, payload, payload_wire, .. } = &packet.content
        else {
            return None;
        };
        let now = packet.envelope.ts;
        let offset = self.tcp[side.index()].observe(*seq, *flags, *payload_wire, now);
        let [client, server] = self.tcp;
        self.octets = [client.bytes, server.bytes];
        if let Some(HandshakeReader::Tls(reader)) = &mut self.reader
            && let Some(offset) = offset
            && !payload.is_empty()
            && !reader.read(side, offset, payload, now, &mut self.handshake)
        {
            self.reader = None;
        }
        if flags.rst {
            return Some(if client.ended || server.ended {
                self.final_status(ConnectionStatus::Closed)
            } else if side == Side::Server && !self.answered && client.began().is_some() {
                ConnectionStatus::Refused
            } else {
                self.final_status(ConnectionStatus::Reset)
            });
        }
        (client.ended && server.ended).then(|| self.final_status(ConnectionStatus::Closed))
    }

    fn observe_datagram(&mut self, side: Side, packet: &EncryptedPacket) {
        let EncryptedContent::Datagram { payload, payload_wire, datagram_bytes } = &packet.content
        else {
            return;
        };
        self.octets[side.index()] += u64::from(*payload_wire);
        // 0 is a single datagram.
        let size = NonZeroU16::new(*datagram_bytes).map_or(usize::MAX, |size| size.get().into());
        for datagram in payload.chunks(size) {
            if let Some(HandshakeReader::Quic(reader)) = &mut self.reader
                && !reader.read(side, datagram, packet.envelope.ts, &mut self.handshake)
            {
                self.reader = None;
            }
        }
    }

    /// Returns the status of an end, which is a failure before the handshake is complete.
    fn final_status(&self, status: ConnectionStatus) -> ConnectionStatus {
        if self.handshake.is_pending() { ConnectionStatus::HandshakeFailed } else { status }
    }

    /// Returns when and how the connection ends if no further packets come.
    fn deadline(&self, options: &ConnectionOptions) -> (Timestamp, ConnectionStatus) {
        let is_tcp = self.transport == Transport::Tcp;
        let [client, server] = &self.tcp;
        let idle_timeout = if is_tcp { options.idle_timeout } else { options.quic_idle_timeout };
        let (limit, status) = if !self.answered && (!is_tcp || client.began().is_some()) {
            (options.answer_timeout, ConnectionStatus::Timeout)
        } else if is_tcp && (client.ended || server.ended || self.handshake.refused) {
            (HALF_CLOSED_TIMEOUT, self.final_status(ConnectionStatus::Closed))
        } else {
            (idle_timeout, self.final_status(ConnectionStatus::Idle))
        };
        (self.last.plus(limit), status)
    }

    /// Returns the status at the end of the capture.
    fn status_at_end(&self) -> ConnectionStatus {
        let has_ended = self.tcp.iter().any(|direction| direction.ended);
        if has_ended { self.final_status(ConnectionStatus::Closed) } else { ConnectionStatus::Open }
    }

    /// Returns the memory of the incomplete handshake in bytes.
    fn memory_bytes(&self) -> usize {
        match &self.reader {
            Some(HandshakeReader::Tls(reader)) => reader.memory_bytes(),
            Some(HandshakeReader::Quic(reader)) => reader.memory_bytes(),
            None => 0,
        }
    }

    /// Returns the sequence number of the client's SYN, if it was seen.
    fn attempt(&self) -> Option<u32> {
        self.tcp[0].syn.map(|(_, seq)| seq)
    }
}

/// A connection and its status.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionReport<'a> {
    /// The connection. Its counters are totals since its beginning.
    pub connection: &'a Connection,
    /// State of the connection, or how it ended.
    pub status: ConnectionStatus,
    /// Whether this is the last report of the connection.
    pub is_final: bool,
}

impl ConnectionReport<'_> {
    /// Returns the report's id: the first packet of the connection and the number of earlier
    /// reports.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        MessageId { packet: self.connection.id.packet, index: self.connection.reports }
    }
}

#[cfg(test)]
#[path = "encrypted/testing.rs"]
pub(crate) mod test_handshakes;
#[cfg(test)]
mod tests;
