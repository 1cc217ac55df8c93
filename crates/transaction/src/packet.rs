//! Packets as live capture and capture files give them, and what their headers say.

pub mod encrypted;
pub mod net;
pub mod ports;
pub mod sampling;

use dnscribe_record::named_enum;
use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

pub use dnscribe_record::PacketId;

/// Direction of a packet at the point of capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Leaving a socket of this host.
    Egress,
    /// Arriving for a socket of this host.
    Ingress,
    /// Both at once: on loopback, where the interface tap merges the two views into one.
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
    /// Start time of the process, in nanoseconds of `CLOCK_BOOTTIME`; 0 where unknown. Unique together
    /// with the pid.
    pub start_ns: u64,
    /// The process's name (that of its first thread), NUL padded.
    pub comm: [u8; 16],
    /// Process that forked this one, if that ran the same executable file when the packet passed; else 0.
    pub parent_pid: u32,
}

named_enum! {
    /// Transport protocol of a DNS message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum Transport {
        /// UDP datagrams.
        Udp = "udp",
        /// A TCP stream, each message after a length of two bytes (RFC 1035, 4.2.2).
        Tcp = "tcp",
    }
}

/// One captured packet, or one error report of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Time at which it passed the hook.
    pub ts: Timestamp,
    /// Its position in the capture.
    pub id: PacketId,
    /// Separates equal addresses of different networks: the cookie of the network namespace at hook
    /// `cgroup`, the interface index for passive packets at hook `socket`; 0 where unknown.
    pub scope: u64,
    /// Its direction at the point of capture.
    pub direction: Direction,
    /// The task that sent it (egress) or that owns the receiving socket (ingress), if known.
    pub task: Option<Task>,
    /// Payload bytes of each UDP datagram but the last, where the kernel passed several in one packet;
    /// else 0.
    pub datagram_bytes: u16,
    /// The cgroup2 id (inode) of the socket's cgroup; 0 where unknown.
    pub cgroup_id: u64,
    /// The captured content.
    pub body: Body<'a>,
}

/// Content of a [`Packet`].
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// An IP packet from the first byte of its IPv4 or IPv6 header.
    Ip {
        /// The captured bytes; may be fewer than `wire_bytes`, or more (Ethernet padding).
        bytes: &'a [u8],
        /// Length of the packet on the wire from its IP header on, in bytes, according to the
        /// capture (not to the IP header).
        wire_bytes: u32,
    },
    /// An ICMP unreachable that the kernel reported on a socket (tracepoint
    /// `sock:inet_sk_error_report`).
    ///
    /// # Minimum kernel version
    ///
    /// Linux 5.14.
    SocketError {
        /// The socket's protocol.
        transport: Transport,
        /// The socket's own address.
        local: SocketAddr,
        /// The address that could not be reached.
        remote: SocketAddr,
        /// The socket's error as a positive errno (`ECONNREFUSED`, `EHOSTUNREACH`, ...).
        errno: i32,
        /// Whether the ICMP packet itself is captured as well.
        seen: bool,
    },
}
