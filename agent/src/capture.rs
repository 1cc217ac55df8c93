//! The first room: where packets come from. Live capture and file replay differ here and nowhere
//! else; both hand [`Packet`]s to the decoder.

pub mod encrypted;
pub mod live;
pub mod ports;
pub mod replay;
pub mod sampling;

use crate::time::Timestamp;
use std::net::SocketAddr;

/// Where in the capture a packet stands. With the node and the capture epoch it names the packet
/// for ever: `event_id`s are made from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The CPU whose sequence `seq` counts; 0 in replay.
    pub cpu: u32,
    /// Live: the packet's number on its CPU, from 1, lost ones included. Replay: the frame's
    /// number in the capture file, from 1.
    pub seq: u64,
}

/// How the packet passed the point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// Leaving a socket of this host.
    Egress,
    /// Arriving for a socket of this host.
    Ingress,
    /// Both at once: on loopback, seen by an interface tap that folds the two views into one.
    Loopback,
    /// Neither: forwarded, mirrored, or from a capture file.
    Passive,
}

/// The task behind a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// Process id (thread group id) in the initial pid namespace.
    pub pid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// When the process started, in nanoseconds of `CLOCK_BOOTTIME`; 0 where unknown. With the pid it
    /// names the process for ever.
    pub start_ns: u64,
    /// The process's name (that of its first thread), NUL padded.
    pub comm: [u8; 16],
}

/// Transport protocol of a DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream, each message after a length of two octets (RFC 1035, 4.2.2).
    Tcp,
}

impl Transport {
    /// `udp` or `tcp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One captured packet, or what the kernel said of one.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When it passed the hook.
    pub ts: Timestamp,
    /// Its place in the capture.
    pub origin: Origin,
    /// Keeps equal addresses of different networks apart: the cookie of the network namespace at
    /// hook `cgroup`, the interface index for passive packets at hook `socket`; 0 where unknown.
    pub scope: u64,
    /// How it passed the point of capture.
    pub sight: Sight,
    /// The task that sent it (egress) or that owns the receiving socket (ingress), if known.
    pub task: Option<Task>,
    /// Where the kernel passed several UDP datagrams on in one packet: octets of payload of each but
    /// the last. 0 elsewhere.
    pub datagram_bytes: u16,
    /// The cgroup2 id (inode) of the socket's cgroup; 0 where unknown.
    pub cgroup_id: u64,
    /// What was captured.
    pub body: Body<'a>,
}

/// What was captured.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// An IP packet from the first octet of its IPv4 or IPv6 header.
    Ip {
        /// The captured octets; may be fewer than `wire_bytes`, or more (Ethernet padding).
        bytes: &'a [u8],
        /// Length of the packet on the wire from its IP header on, in octets, as the capture
        /// tells (not as the IP header claims).
        wire_bytes: u32,
    },
    /// An ICMP unreachable that the kernel reported on a socket (tracepoint
    /// `sock:inet_sk_error_report`, Linux 5.14).
    SocketError {
        /// The socket's protocol.
        transport: Transport,
        /// The socket's own address.
        local: SocketAddr,
        /// The address that could not be reached.
        remote: SocketAddr,
        /// The socket's error as a positive errno (`ECONNREFUSED`, `EHOSTUNREACH`, ...).
        errno: i32,
        /// Whether the ICMP packet itself is seen too.
        seen: bool,
    },
}
