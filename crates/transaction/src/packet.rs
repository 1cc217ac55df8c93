//! Packets as live capture and capture files give them, and what their headers say.

pub mod encrypted;
pub mod net;
pub mod ports;
pub mod sampling;

use dnscribe_record::named_enum;
use dnscribe_record::time::Timestamp;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use dnscribe_record::{PacketId, Transport};

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
    /// When the packet arrived at a device, if known.
    pub arrived: Option<Timestamp>,
    /// The captured content.
    pub body: Body<'a>,
}

impl<'a> Packet<'a> {
    /// Creates a packet of which nothing else is known: neither task nor network.
    #[must_use]
    pub const fn new(ts: Timestamp, id: PacketId, direction: Direction, body: Body<'a>) -> Self {
        Self {
            ts,
            id,
            scope: 0,
            direction,
            task: None,
            datagram_bytes: 0,
            cgroup_id: 0,
            arrived: None,
            body,
        }
    }
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
    /// A whole DNS message without the packets that carried it, as a server reports it.
    Message {
        /// The transport.
        transport: Transport,
        /// Sender.
        src: SocketAddr,
        /// Receiver.
        dst: SocketAddr,
        /// Number of messages that the same packet completed before.
        index: u32,
        /// The message.
        bytes: &'a [u8],
        /// What the server says of itself and of the message, if it says anything.
        report: Option<&'a Arc<ServerReport>>,
    },
    /// A frame in which a server should have reported a message, and that cannot be read as one.
    Unreadable {
        /// The frame.
        bytes: &'a [u8],
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
    /// An IP packet that the kernel discarded.
    Dropped {
        /// The captured bytes, from its IP header on.
        bytes: &'a [u8],
        /// Length of the packet by its IP header.
        wire_bytes: u32,
        /// Where and why. `None` if only a copy was discarded, of which the sender and the receiver know nothing.
        loss: Option<&'a Arc<Loss>>,
        /// Whether it never reached the hook for packets that leave a socket: netfilter comes before.
        is_unseen: bool,
    },
    /// An IP packet with a message that a device took from a socket of this host.
    Sent {
        /// The captured bytes, from its IP header on: its headers, that of DNS included.
        bytes: &'a [u8],
        /// Length of the packet by its IP header.
        wire_bytes: u32,
        /// Index of the interface, in the network namespace of the packet.
        device: u32,
    },
    /// A process read a datagram from its socket.
    Read {
        /// Address to which the socket is bound. Unspecified if it receives what comes to any address of the host.
        local: SocketAddr,
        /// Sender of the datagram.
        remote: SocketAddr,
    },
    /// A step of a connection that a socket of this host opens, to a port other than those of plain DNS.
    Connect {
        /// The socket's cookie: no other socket of this boot has it.
        cookie: u64,
        /// The step.
        step: ConnectStep,
    },
}

/// What a server that reports a message says of itself and of it (dnstap). Texts are escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerReport {
    /// Name of the server, as NSID has it (RFC 5001).
    pub identity: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The zone that it looked in, or asks the servers of.
    pub zone: Option<String>,
    /// The policy that it applied.
    pub policy: Option<ServerPolicy>,
}

impl ServerReport {
    /// Length of its texts in bytes.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let Self { identity, version, zone, policy } = self;
        let of_policy =
            policy.iter().flat_map(|policy| [&policy.kind, &policy.rule, &policy.value]);
        [identity, version, zone].into_iter().chain(of_policy).flatten().map(String::len).sum()
    }
}

/// A policy that a server applied to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerPolicy {
    /// Type of the policy, such as `RPZ`.
    pub kind: Option<String>,
    /// The rule that matched: in a response policy zone, its owner name.
    pub rule: Option<String>,
    /// What it did.
    pub action: Option<&'static str>,
    /// What the rule was compared with.
    pub matched: Option<&'static str>,
    /// The value that matched: a name or an address.
    pub value: Option<String>,
}

/// Where and why the kernel discarded a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Loss {
    /// Where it was.
    pub stage: LossStage,
    /// The kernel's name of the reason (`enum skb_drop_reason`), without the prefix they share.
    pub reason: Arc<str>,
    /// The hook of netfilter, if that discarded it and the hook is known.
    pub hook: Option<NetfilterHook>,
    /// The kernel's function that discarded it, if known.
    pub function: Option<Arc<str>>,
}

named_enum! {
    /// Part of the kernel that discards a packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum LossStage {
        /// At the receiving socket: its buffer is full, it was closed, or there is none.
        Socket = "socket",
        /// Netfilter: a rule of a firewall, or conntrack.
        Netfilter = "netfilter",
        /// A program or policy beside netfilter: XDP, traffic control, a cgroup, a security module, IPsec.
        Policy = "policy",
        /// Routing and the checks of addresses.
        Routing = "routing",
        /// The next host's link-layer address is not known.
        Neighbour = "neighbour",
        /// A queue of traffic control.
        Queue = "queue",
        /// A network device or its driver.
        Device = "device",
        /// A checksum is wrong.
        Checksum = "checksum",
        /// Anything else.
        Other = "other",
    }
}

named_enum! {
    /// Hook of netfilter, as in `nft list hooks`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum NetfilterHook {
        /// A device's packets before everything else.
        Ingress = "ingress",
        /// Packets from a device, before routing.
        Prerouting = "prerouting",
        /// To a socket of this host.
        Input = "input",
        /// Through this host.
        Forward = "forward",
        /// From a socket of this host, before routing.
        Output = "output",
        /// To a device, after routing.
        Postrouting = "postrouting",
        /// A device's packets after everything else.
        Egress = "egress",
    }
}

/// A step of a connection that a socket opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStep {
    /// A TCP socket connects, or a UDP socket sends its first datagram to an address.
    Begun {
        /// The socket's protocol.
        transport: Transport,
        /// The address that the program gave.
        remote: SocketAddr,
        /// Whether netfilter discarded that datagram on this host.
        is_discarded: bool,
    },
    /// The peer accepted the TCP connection.
    Established {
        /// The kernel's estimate of the round-trip time, if it has one.
        rtt: Option<Duration>,
        /// Whether [`Self::FirstByte`] follows once the peer sends data.
        awaits_byte: bool,
    },
    /// Data of the peer arrived, before its process could have read any. May come several times.
    FirstByte,
    /// The TCP connection ended before it was established, with this positive errno; 0 if the socket has no error:
    /// its process gave up.
    Failed {
        /// The errno.
        errno: i32,
    },
    /// The peer reset an established TCP connection.
    Reset,
    /// An ICMP error about the TCP connection arrived before it was established. The kernel may yet try again.
    Unreachable,
}
