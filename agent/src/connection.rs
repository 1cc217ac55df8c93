//! Beside the third room: packets of encrypted DNS become connections.
//!
//! What is said in them stays unread; who speaks to whom, for how long, how much, and what of the
//! handshake anyone can read is what a record tells. A pure state machine like pairing: time comes
//! with the packets, the table is bounded, every event costs O(1), and every connection ends in
//! exactly one counter.

#![forbid(unsafe_code)]

mod cursor;
mod handshake;
mod hello;
mod quic;
mod table;
mod tcp;
mod tls;
mod wheel;

pub use handshake::Handshake;
pub use hello::{ClientHello, ServerHello};
pub use table::Connections;

use crate::capture::encrypted::Service;
use crate::capture::{Sight, Task, Transport};
use crate::decode::{Content, Envelope, MessageId, Sealed};
use crate::pair::Vantage;
use crate::time::Timestamp;
use quic::Quic;
use std::net::SocketAddr;
use std::time::Duration;
use tcp::Stream;
use tls::{Side, Tls};

/// How DNS is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// DNS over TLS (RFC 7858).
    Dot,
    /// DNS over QUIC (RFC 9250).
    Doq,
    /// DNS over HTTPS, by TCP (RFC 8484).
    Doh,
    /// DNS over HTTP/3.
    Doh3,
}

impl Protocol {
    const fn of(service: Service, transport: Transport) -> Self {
        match (service, transport) {
            (Service::Dedicated, Transport::Tcp) => Self::Dot,
            (Service::Dedicated, Transport::Udp) => Self::Doq,
            (Service::Https, Transport::Tcp) => Self::Doh,
            (Service::Https, Transport::Udp) => Self::Doh3,
        }
    }

    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Doq => "doq",
            Self::Doh => "doh",
            Self::Doh3 => "doh3",
        }
    }
}

/// How a connection stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Ended in order: by both sides (FIN), or by one that the other did not contradict.
    Closed,
    /// One side broke it off (RST) after it had begun.
    Reset,
    /// The server's host said no: RST, or an ICMP unreachable, to the attempt.
    Refused,
    /// Nothing came back.
    Timeout,
    /// It ended before its handshake did, or one side sent a fatal alert.
    HandshakeFailed,
    /// Silent for longer than the idle timeout. How QUIC ends is encrypted, so this is its usual end.
    Idle,
    /// Pushed out of the full table.
    Evicted,
    /// Not over.
    Open,
}

impl Status {
    /// As records spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::HandshakeFailed => "handshake_failed",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Open => "open",
        }
    }
}

/// Times and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// How long an attempt waits for its first answer, from its last packet on.
    pub answer_timeout: Duration,
    /// How long a TCP connection may be silent.
    pub idle_timeout: Duration,
    /// The same of QUIC, whose end cannot be seen; its own timeout is rarely above 30 s.
    pub quic_idle_timeout: Duration,
    /// How often a connection that goes on is reported.
    pub report_every: Duration,
    /// Connections at a time; one is evicted when one more comes.
    pub max_connections: usize,
    /// Most memory for handshakes that are not whole yet, in octets.
    pub handshake_memory_bytes: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            answer_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            quic_idle_timeout: Duration::from_secs(60),
            report_every: Duration::from_secs(60),
            max_connections: 1 << 16,
            handshake_memory_bytes: 32 << 20,
        }
    }
}

/// How long a connection that one side has ended, or refused, waits for the other. At the socket that
/// ends first the other's end often cannot be seen: it is in TIME-WAIT by then, which is no socket any
/// more and belongs to no cgroup.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// A connection of encrypted DNS.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its first packet.
    pub id: MessageId,
    /// When that passed.
    pub first: Timestamp,
    /// When its last packet passed.
    pub last: Timestamp,
    /// From which side it was seen.
    pub vantage: Vantage,
    /// How DNS is carried.
    pub protocol: Protocol,
    /// UDP or TCP.
    pub transport: Transport,
    /// Who began.
    pub client: SocketAddr,
    /// Who offers encrypted DNS.
    pub server: SocketAddr,
    /// The task on this host.
    pub task: Option<Task>,
    /// Its cgroup's id; 0 where unknown.
    pub cgroup_id: u64,
    /// What of the handshake is readable.
    pub handshake: Handshake,
    /// Octets of payload from the client, and from the server. Over TCP by sequence numbers, so that
    /// what is sent again counts once.
    pub octets: [u64; 2],
    carrier: Carrier,
    /// Whether the task is known from a packet that it sent.
    task_sent: bool,
    /// Whether the server said anything.
    answered: bool,
    reports: u32,
    reported: Timestamp,
}

/// What is particular to a transport.
#[derive(Clone, Debug)]
enum Carrier {
    Tcp { client: Stream, server: Stream, tls: Option<Box<Tls>> },
    Udp { quic: Option<Box<Quic>> },
}

/// What a packet meant to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    GoesOn,
    Ended(Status),
}

impl Connection {
    fn new(sealed: &Sealed, end: Ends, vantage: Vantage, protocol: Protocol) -> Self {
        let envelope = &sealed.envelope;
        let carrier = match envelope.transport {
            Transport::Tcp => Carrier::Tcp {
                client: Stream::default(),
                server: Stream::default(),
                tls: Some(Box::default()),
            },
            Transport::Udp => Carrier::Udp { quic: Some(Box::default()) },
        };
        Self {
            id: envelope.id,
            first: envelope.ts,
            last: envelope.ts,
            vantage,
            protocol,
            transport: envelope.transport,
            client: end.client,
            server: end.server,
            task: None,
            cgroup_id: 0,
            handshake: Handshake::default(),
            octets: [0; 2],
            carrier,
            task_sent: false,
            answered: false,
            reports: 0,
            reported: envelope.ts,
        }
    }

    /// From the client's first SYN to the server's.
    #[must_use]
    pub fn connect(&self) -> Option<Duration> {
        match &self.carrier {
            Carrier::Tcp { client, server, .. } => Some(server.began()?.since(client.began()?)),
            Carrier::Udp { .. } => None,
        }
    }

    /// From the first packet to the last.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.last.since(self.first)
    }

    /// Takes a packet that one side sent.
    fn observe(&mut self, side: Side, sealed: &Sealed) -> Outcome {
        let envelope = &sealed.envelope;
        self.last = self.last.max(envelope.ts);
        self.learn_task(envelope);
        let outcome = match &sealed.content {
            Content::Segment { .. } => self.segment(side, sealed),
            Content::Datagram { .. } => self.datagram(side, sealed),
        };
        self.answered |= side == Side::Server;
        if self.handshake.refused && self.transport == Transport::Udp {
            // Nothing that can be read follows. TCP has its own end.
            return Outcome::Ended(Status::HandshakeFailed);
        }
        outcome
    }

    /// A packet that was sent names its sender; one that arrives, the owner of the socket, who may
    /// have passed it on.
    fn learn_task(&mut self, envelope: &Envelope) {
        let is_sent = matches!(envelope.sight, Sight::Egress);
        if envelope.task.is_some() && (self.task.is_none() || (is_sent && !self.task_sent)) {
            self.task = envelope.task;
            self.task_sent = is_sent;
        }
        if self.cgroup_id == 0 {
            self.cgroup_id = envelope.cgroup_id;
        }
    }

    fn segment(&mut self, side: Side, sealed: &Sealed) -> Outcome {
        let Content::Segment { seq, flags, payload, payload_wire, .. } = &sealed.content else {
            return Outcome::GoesOn;
        };
        let now = sealed.envelope.ts;
        let Carrier::Tcp { client, server, tls } = &mut self.carrier else {
            return Outcome::GoesOn;
        };
        let was_answered = self.answered;
        let own = if side == Side::Client { &mut *client } else { &mut *server };
        let offset = own.take(*seq, *flags, *payload_wire, now);
        self.octets = [client.octets(), server.octets()];
        if let Some(reader) = tls
            && let Some(offset) = offset
            && !payload.is_empty()
            && !reader.take(side, offset, payload, now, &mut self.handshake)
        {
            *tls = None;
        }
        if flags.rst {
            return Outcome::Ended(if client.has_ended() || server.has_ended() {
                self.over(Status::Closed)
            } else if side == Side::Server && !was_answered && client.began().is_some() {
                Status::Refused
            } else {
                self.over(Status::Reset)
            });
        }
        if client.has_ended() && server.has_ended() {
            return Outcome::Ended(self.over(Status::Closed));
        }
        Outcome::GoesOn
    }

    fn datagram(&mut self, side: Side, sealed: &Sealed) -> Outcome {
        let Content::Datagram { payload, payload_wire, datagram_bytes } = &sealed.content else {
            return Outcome::GoesOn;
        };
        self.octets[usize::from(side == Side::Server)] += u64::from(*payload_wire);
        let Carrier::Udp { quic } = &mut self.carrier else { return Outcome::GoesOn };
        let each = match usize::from(*datagram_bytes) {
            0 => usize::MAX,
            bytes => bytes,
        };
        for datagram in payload.chunks(each) {
            if let Some(reader) = quic
                && !reader.take(side, datagram, sealed.envelope.ts, &mut self.handshake)
            {
                *quic = None;
            }
        }
        Outcome::GoesOn
    }

    /// What an end is where the handshake has not come to its own.
    fn over(&self, status: Status) -> Status {
        if self.handshake.is_pending() { Status::HandshakeFailed } else { status }
    }

    /// What an ICMP unreachable means; none once the server has answered, as anyone can send one.
    fn unreachable(&self) -> Option<Status> {
        (!self.answered).then_some(Status::Refused)
    }

    /// When it is over should nothing more be seen, and how.
    fn deadline(&self, options: &ConnectionOptions) -> (Timestamp, Status) {
        let (limit, status) = match &self.carrier {
            Carrier::Tcp { client, .. } if !self.answered && client.began().is_some() => {
                (options.answer_timeout, Status::Timeout)
            }
            Carrier::Udp { .. } if !self.answered => (options.answer_timeout, Status::Timeout),
            Carrier::Tcp { client, server, .. }
                if client.has_ended() || server.has_ended() || self.handshake.refused =>
            {
                (HALF_CLOSED, self.over(Status::Closed))
            }
            Carrier::Tcp { .. } => (options.idle_timeout, self.over(Status::Idle)),
            Carrier::Udp { .. } => (options.quic_idle_timeout, self.over(Status::Idle)),
        };
        (self.last.plus(limit), status)
    }

    /// How it ends where nothing more can be seen, because the capture ends.
    fn last_word(&self) -> Status {
        match &self.carrier {
            Carrier::Tcp { client, server, .. } if client.has_ended() || server.has_ended() => {
                self.over(Status::Closed)
            }
            _ => Status::Open,
        }
    }

    /// Octets of memory for what of the handshake is not whole.
    fn cost(&self) -> usize {
        match &self.carrier {
            Carrier::Tcp { tls, .. } => tls.as_ref().map_or(0, |tls| tls.cost()),
            Carrier::Udp { quic } => quic.as_ref().map_or(0, |quic| quic.cost()),
        }
    }

    /// Reads no more of the handshake.
    fn stop_reading(&mut self) {
        match &mut self.carrier {
            Carrier::Tcp { tls, .. } => *tls = None,
            Carrier::Udp { quic } => *quic = None,
        }
    }

    /// The first sequence number of the client, if its SYN was seen.
    fn attempt(&self) -> Option<u32> {
        match &self.carrier {
            Carrier::Tcp { client, .. } => client.first_number(),
            Carrier::Udp { .. } => None,
        }
    }
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

/// A connection, how it stands, and whether this is the last word on it.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The connection; its numbers are those since its beginning.
    pub connection: &'a Connection,
    /// How it stands, or ended.
    pub status: Status,
    /// Whether no further report of it follows.
    pub is_final: bool,
}

impl Report<'_> {
    /// Names the report: the first packet of its connection, and how many reports came before.
    #[must_use]
    pub const fn id(&self) -> MessageId {
        MessageId { origin: self.connection.id.origin, index: self.connection.reports }
    }
}

#[cfg(test)]
pub(crate) mod craft;
#[cfg(test)]
mod tests;
