//! Records in the ring: a [`Header`], followed by the packet from its IP header on, or by a [`SocketError`], or
//! by a [`Connect`], or by a [`SocketRead`], or by a [`PacketDrop`] with the packet.
//!
//! A record has the size of the smallest [size class](CLASSES) that holds the packet, because the verifier needs
//! constant sizes. Bytes after [`Header::captured_bytes`] are undefined.

use zerocopy::FromBytes;

/// Capacity for packet bytes in a record, by size class. Most queries fit into the first, most responses into
/// the first two. The last but one holds any IP packet; the last holds two segments in one packet, which TCP
/// sends at least on interfaces with segments of 64 KiB, such as loopback.
pub const CLASSES: [usize; 8] = [112, 240, 576, 1_520, 4_176, 16_384, 65_536, 131_072];

/// Largest number of bytes exported of an encrypted packet with application data: a record of the first class,
/// which holds its headers.
pub const MAX_HEADERS_BYTES: u32 = class_bytes(0);
/// Largest number of bytes exported of an encrypted packet in a tunnel.
pub const MAX_TUNNELLED_HEADERS_BYTES: u32 = class_bytes(1);
/// Largest number of bytes exported of a packet that may be a handshake. A `ClientHello` with post-quantum key
/// shares has about 1,800 bytes; the first flight of a server has some thousands, of which the first hundred
/// are readable.
pub const MAX_HANDSHAKE_BYTES: u32 = class_bytes(4);

#[expect(clippy::cast_possible_truncation, reason = "no class is near the bound of an `u32`")]
const fn class_bytes(class: usize) -> u32 {
    CLASSES[class] as u32
}

/// Size of a [`Header`] in bytes.
pub const HEADER_BYTES: usize = 96;
/// Size of a [`SocketError`] in bytes.
pub const SOCKET_ERROR_BYTES: usize = 48;
/// Size of a [`Connect`] in bytes.
pub const CONNECT_BYTES: usize = 40;
/// Size of a [`PacketDrop`] in bytes.
pub const PACKET_DROP_BYTES: usize = 16 + 8 * STACK_FRAMES;
/// Size of a [`SocketRead`] in bytes.
pub const SOCKET_READ_BYTES: usize = 40;
/// Number of return addresses in a [`PacketDrop`].
pub const STACK_FRAMES: usize = 16;

/// [`Header::kind`]: an IP packet follows.
pub const KIND_PACKET: u8 = 1;
/// [`Header::kind`]: a [`SocketError`] follows.
pub const KIND_SOCKET_ERROR: u8 = 2;
/// [`Header::kind`]: a [`Connect`] follows.
pub const KIND_CONNECT: u8 = 3;
/// [`Header::kind`]: a [`PacketDrop`] and the packet follow.
pub const KIND_PACKET_DROP: u8 = 4;
/// [`Header::kind`]: the headers of a packet that a device took follow.
pub const KIND_PACKET_SENT: u8 = 5;
/// [`Header::kind`]: a [`SocketRead`] follows.
pub const KIND_SOCKET_READ: u8 = 6;

/// [`PacketDrop::flags`]: the packet's socket is that of its sender.
pub const DROP_SENDER: u32 = 1;
/// [`PacketDrop::flags`]: the packet began with its IP header, as on its way through the network layer, in the network
/// namespace of the sender if [`DROP_SENDER`], and no device had had it.
pub const DROP_NETWORK_LAYER: u32 = 2;
/// [`PacketDrop::flags`]: the packet had no network device yet.
pub const DROP_NO_DEVICE: u32 = 4;
/// [`PacketDrop::flags`] of a packet on its way out of a socket, up to its first device. If netfilter discarded it, the hook for
/// packets that leave a socket never saw it.
pub const DROP_ON_WAY_OUT: u32 = DROP_SENDER | DROP_NETWORK_LAYER;

/// [`Connect::step`]: the TCP socket connects, or the UDP socket sends its first datagram to the address.
pub const STEP_BEGUN: u8 = 1;
/// [`Connect::step`]: the peer accepted the TCP connection.
pub const STEP_ESTABLISHED: u8 = 2;
/// [`Connect::step`]: the TCP connection ended before it was established.
pub const STEP_FAILED: u8 = 3;
/// [`Connect::step`]: the peer reset an established TCP connection.
pub const STEP_RESET: u8 = 4;
/// [`Connect::step`]: a segment with data arrived while the process could not have read any.
pub const STEP_FIRST_BYTE: u8 = 5;
/// [`Connect::step`]: the UDP socket is connected, and netfilter discarded a datagram to the address on its way out, before
/// any passed.
pub const STEP_DISCARDED: u8 = 6;
/// [`Connect::step`]: an ICMP error about the TCP connection arrived before it was established.
pub const STEP_UNREACHABLE: u8 = 7;

/// [`Header::direction`]: out of a socket of this host.
pub const DIRECTION_EGRESS: u8 = 1;
/// [`Header::direction`]: to a socket of this host.
pub const DIRECTION_INGRESS: u8 = 2;
/// [`Header::direction`]: seen on an interface; see [`Header::packet_type`].
pub const DIRECTION_TAP: u8 = 3;

/// [`Header::flags`]: `pid`, `uid` and `comm` are known.
pub const FLAG_TASK: u16 = 1;
/// [`Header::flags`]: the ports were found in a tunnel.
pub const FLAG_TUNNEL: u16 = 2;

/// Header of every record. The programs write it field by field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
#[repr(C)]
pub struct Header {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub ktime_ns: u64,
    /// Number of the record on its CPU, from 1, including lost records.
    pub seq: u64,
    /// Cookie of the network namespace; 0 where unknown.
    pub netns_cookie: u64,
    /// cgroup2 id of the socket's cgroup; 0 where unknown.
    pub cgroup_id: u64,
    /// Start time of the task's process in nanoseconds of `CLOCK_BOOTTIME`, if [`FLAG_TASK`]; 0 where
    /// unknown.
    pub start_ns: u64,
    /// CPU that wrote the record.
    pub cpu: u32,
    /// Thread group id of the task, if [`FLAG_TASK`].
    pub pid: u32,
    /// User id of the task, if [`FLAG_TASK`].
    pub uid: u32,
    /// Interface index; 0 where the packet has none yet.
    pub ifindex: u32,
    /// Length of the packet from its IP header on.
    pub wire_bytes: u32,
    /// Number of packet bytes that follow.
    pub captured_bytes: u32,
    /// Name of the task, if [`FLAG_TASK`].
    pub comm: [u8; 16],
    /// One of the `KIND_` constants.
    pub kind: u8,
    /// One of the `DIRECTION_` constants.
    pub direction: u8,
    /// [`crate::counter::Hook`] as a number.
    pub hook: u8,
    /// Tap: `PACKET_HOST` and so on of `linux/if_packet.h`.
    pub packet_type: u8,
    /// Combination of the `FLAG_` constants.
    pub flags: u16,
    /// Payload bytes of each UDP datagram but the last, if a program sent several in one packet
    /// (`UDP_SEGMENT`); else 0.
    pub datagram_bytes: u16,
    /// Thread group id of the process that forked the task's process, if both run the same executable file, as
    /// before `exec`; else 0.
    pub parent_pid: u32,
    /// When a packet arrived at a device, if the path of packets is captured: lower half of the nanoseconds of
    /// `CLOCK_REALTIME`; else 0.
    pub arrived_ns: u32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Header>() == HEADER_BYTES && align_of::<Header>() == 8);
    assert!(offset_of!(Header, seq) == 8);
    assert!(offset_of!(Header, netns_cookie) == 16);
    assert!(offset_of!(Header, cgroup_id) == 24);
    assert!(offset_of!(Header, start_ns) == 32);
    assert!(offset_of!(Header, cpu) == 40);
    assert!(offset_of!(Header, pid) == 44);
    assert!(offset_of!(Header, uid) == 48);
    assert!(offset_of!(Header, ifindex) == 52);
    assert!(offset_of!(Header, wire_bytes) == 56);
    assert!(offset_of!(Header, captured_bytes) == 60);
    assert!(offset_of!(Header, comm) == 64);
    assert!(offset_of!(Header, kind) == 80);
    assert!(offset_of!(Header, direction) == 81);
    assert!(offset_of!(Header, hook) == 82);
    assert!(offset_of!(Header, packet_type) == 83);
    assert!(offset_of!(Header, flags) == 84);
    assert!(offset_of!(Header, datagram_bytes) == 86);
    assert!(offset_of!(Header, parent_pid) == 88);
    assert!(offset_of!(Header, arrived_ns) == 92);
};

/// An error that ICMP reported to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
#[repr(C)]
pub struct SocketError {
    /// Address of the socket; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Address of the peer; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Positive errno.
    pub errno: i32,
    /// Port of the socket, in host order.
    pub local_port: u16,
    /// Port of the peer, in host order.
    pub remote_port: u16,
    /// 4 or 6.
    pub version: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 6],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SocketError>() == SOCKET_ERROR_BYTES);
    assert!(offset_of!(SocketError, remote) == 16);
    assert!(offset_of!(SocketError, errno) == 32);
    assert!(offset_of!(SocketError, local_port) == 36);
    assert!(offset_of!(SocketError, remote_port) == 38);
    assert!(offset_of!(SocketError, version) == 40);
    assert!(offset_of!(SocketError, protocol) == 41);
};

/// A step of a connection that a socket of this host opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
#[repr(C)]
pub struct Connect {
    /// Cookie of the socket, which no other socket of this boot has.
    pub cookie: u64,
    /// Address of the peer, as the program gave it; IPv4 in the first four bytes. Zeros unless [`STEP_BEGUN`] or
    /// [`STEP_DISCARDED`].
    pub remote: [u8; 16],
    /// The socket's error as a positive errno, if [`STEP_FAILED`]; 0 where there is none, or unknown.
    pub errno: i32,
    /// Port of the peer, in host order.
    pub remote_port: u16,
    /// 4 or 6.
    pub version: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// One of the `STEP_` constants.
    pub step: u8,
    /// Not 0 if [`STEP_ESTABLISHED`], and [`STEP_FIRST_BYTE`] follows once the peer sends data.
    pub awaits_byte: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Smoothed round-trip time in microseconds, if [`STEP_ESTABLISHED`]; 0 where unknown.
    pub rtt_us: u32,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Connect>() == CONNECT_BYTES && align_of::<Connect>() == 8);
    assert!(offset_of!(Connect, remote) == 8);
    assert!(offset_of!(Connect, errno) == 24);
    assert!(offset_of!(Connect, remote_port) == 28);
    assert!(offset_of!(Connect, version) == 30);
    assert!(offset_of!(Connect, protocol) == 31);
    assert!(offset_of!(Connect, step) == 32);
    assert!(offset_of!(Connect, awaits_byte) == 33);
    assert!(offset_of!(Connect, rtt_us) == 36);
};

/// A packet that the kernel discarded. The packet follows, from its IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
#[repr(C)]
pub struct PacketDrop {
    /// Address of the code that discarded it.
    pub location: u64,
    /// `enum skb_drop_reason` of the running kernel.
    pub reason: u32,
    /// Combination of the `DROP_` constants.
    pub flags: u32,
    /// Return addresses, innermost first, if netfilter discarded it; else zeros.
    pub stack: [u64; STACK_FRAMES],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<PacketDrop>() == PACKET_DROP_BYTES && align_of::<PacketDrop>() == 8);
    assert!(offset_of!(PacketDrop, reason) == 8);
    assert!(offset_of!(PacketDrop, flags) == 12);
    assert!(offset_of!(PacketDrop, stack) == 16);
};

/// A datagram that a process read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes)]
#[repr(C)]
pub struct SocketRead {
    /// Address to which the socket is bound; IPv4 in the first four bytes. Zeros if it receives what comes to any address.
    pub local: [u8; 16],
    /// Address of its sender; IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// Port of its sender, in host order.
    pub remote_port: u16,
    /// Port of the socket, in host order.
    pub local_port: u16,
    /// 4 or 6.
    pub version: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<SocketRead>() == SOCKET_READ_BYTES);
    assert!(offset_of!(SocketRead, remote) == 16);
    assert!(offset_of!(SocketRead, remote_port) == 32);
    assert!(offset_of!(SocketRead, local_port) == 34);
    assert!(offset_of!(SocketRead, version) == 36);
};

/// A record whose header has been checked against its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The header.
    pub header: Header,
    /// Body after the header.
    pub body: Body<'a>,
}

/// Body of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Captured bytes of an IP packet.
    Packet(&'a [u8]),
    /// A socket's error.
    SocketError(SocketError),
    /// A step of a connection.
    Connect(Connect),
    /// A packet that the kernel discarded, and its captured bytes.
    PacketDrop(PacketDrop, &'a [u8]),
    /// Captured bytes of a message that a device took: its headers.
    PacketSent(&'a [u8]),
    /// A datagram that a process read.
    SocketRead(SocketRead),
}

/// Returns whether a record has a packet or an error of its own, and is not a step on the way of a packet that another
/// record has.
#[must_use]
pub fn is_packet(record: &[u8]) -> bool {
    let kind = record.get(core::mem::offset_of!(Header, kind));
    !kind.is_some_and(|kind| matches!(*kind, KIND_PACKET_SENT | KIND_SOCKET_READ))
}

/// Errors of reading a record. They cannot occur if programs and agent are from the same build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Shorter than its header, or than the length in the header.
    Short,
    /// A kind that this agent does not know.
    Kind(u8),
}

impl core::fmt::Display for RecordError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("ring record shorter than it says"),
            Self::Kind(kind) => write!(f, "ring record of unknown kind {kind}"),
        }
    }
}

impl core::error::Error for RecordError {}

impl<'a> TryFrom<&'a [u8]> for Record<'a> {
    type Error = RecordError;

    fn try_from(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (header, rest) = Header::read_from_prefix(bytes).map_err(|_| RecordError::Short)?;
        let body = match header.kind {
            KIND_PACKET => Body::Packet(captured(&header, rest)?),
            KIND_SOCKET_ERROR => {
                let (error, _) =
                    SocketError::read_from_prefix(rest).map_err(|_| RecordError::Short)?;
                Body::SocketError(error)
            }
            KIND_CONNECT => {
                let (connect, _) =
                    Connect::read_from_prefix(rest).map_err(|_| RecordError::Short)?;
                Body::Connect(connect)
            }
            KIND_PACKET_DROP => {
                let (drop, rest) =
                    PacketDrop::read_from_prefix(rest).map_err(|_| RecordError::Short)?;
                Body::PacketDrop(drop, captured(&header, rest)?)
            }
            KIND_PACKET_SENT => Body::PacketSent(captured(&header, rest)?),
            KIND_SOCKET_READ => {
                let (read, _) =
                    SocketRead::read_from_prefix(rest).map_err(|_| RecordError::Short)?;
                Body::SocketRead(read)
            }
            kind => return Err(RecordError::Kind(kind)),
        };
        Ok(Self { header, body })
    }
}

/// Returns the captured bytes of the packet, with which `rest` begins.
fn captured<'a>(header: &Header, rest: &'a [u8]) -> Result<&'a [u8], RecordError> {
    let captured = usize::try_from(header.captured_bytes).unwrap_or(usize::MAX);
    rest.get(..captured).ok_or(RecordError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a record in which byte n is n, so that every field shows its offset.
    fn counting() -> [u8; 256] {
        core::array::from_fn(|offset| u8::try_from(offset).unwrap())
    }

    fn packet(captured: u32) -> [u8; 256] {
        let mut bytes = counting();
        bytes[60..64].copy_from_slice(&captured.to_ne_bytes());
        bytes[80] = KIND_PACKET;
        bytes
    }

    #[test]
    fn reads_every_field_at_its_offset() {
        let bytes = packet(7);
        let record = Record::try_from(&bytes[..]).unwrap();
        let header = record.header;
        assert_eq!(header.ktime_ns, u64::from_ne_bytes([0, 1, 2, 3, 4, 5, 6, 7]));
        assert_eq!(header.seq.to_ne_bytes()[0], 8);
        assert_eq!(header.netns_cookie.to_ne_bytes()[0], 16);
        assert_eq!(header.cgroup_id.to_ne_bytes()[7], 31);
        assert_eq!(header.start_ns.to_ne_bytes()[0], 32);
        assert_eq!(header.cpu.to_ne_bytes()[0], 40);
        assert_eq!(header.pid.to_ne_bytes()[0], 44);
        assert_eq!(header.uid.to_ne_bytes()[0], 48);
        assert_eq!(header.ifindex.to_ne_bytes()[0], 52);
        assert_eq!(header.wire_bytes.to_ne_bytes()[0], 56);
        assert_eq!(header.comm[0], 64);
        assert_eq!((header.direction, header.hook, header.packet_type), (81, 82, 83));
        assert_eq!(header.flags.to_ne_bytes(), [84, 85]);
        assert_eq!(header.datagram_bytes.to_ne_bytes(), [86, 87]);
        assert_eq!(header.parent_pid.to_ne_bytes(), [88, 89, 90, 91]);
        assert_eq!(record.body, Body::Packet(&[96, 97, 98, 99, 100, 101, 102]));
    }

    #[test]
    fn reads_a_socket_error() {
        let mut bytes = counting();
        bytes[80] = KIND_SOCKET_ERROR;
        let record = Record::try_from(&bytes[..]).unwrap();
        let Body::SocketError(error) = record.body else { panic!("{record:?}") };
        assert_eq!((error.local[0], error.remote[0]), (96, 112));
        assert_eq!(error.errno.to_ne_bytes()[0], 128);
        assert_eq!(error.local_port.to_ne_bytes(), [132, 133]);
        assert_eq!(error.remote_port.to_ne_bytes(), [134, 135]);
        assert_eq!((error.version, error.protocol), (136, 137));
    }

    #[test]
    fn reads_a_connect() {
        let mut bytes = counting();
        bytes[80] = KIND_CONNECT;
        let record = Record::try_from(&bytes[..]).unwrap();
        let Body::Connect(connect) = record.body else { panic!("{record:?}") };
        assert_eq!((connect.cookie.to_ne_bytes()[0], connect.remote[0]), (96, 104));
        assert_eq!(connect.errno.to_ne_bytes()[0], 120);
        assert_eq!(connect.remote_port.to_ne_bytes(), [124, 125]);
        assert_eq!((connect.version, connect.protocol, connect.step), (126, 127, 128));
        assert_eq!((connect.awaits_byte, connect.rtt_us.to_ne_bytes()[0]), (129, 132));
        assert_eq!(Record::try_from(&bytes[..135]), Err(RecordError::Short));
    }

    #[test]
    fn steps_are_no_packets() {
        let mut bytes = packet(8);
        assert!(is_packet(&bytes));
        bytes[80] = KIND_SOCKET_READ;
        assert!(!is_packet(&bytes));
    }

    #[test]
    fn reads_a_packet_drop() {
        let mut bytes = packet(16);
        bytes[80] = KIND_PACKET_DROP;
        let record = Record::try_from(&bytes[..]).unwrap();
        let Body::PacketDrop(drop, packet) = record.body else { panic!("{record:?}") };
        assert_eq!(drop.location.to_ne_bytes()[0], 96);
        assert_eq!((drop.reason.to_ne_bytes()[0], drop.flags.to_ne_bytes()[0]), (104, 108));
        assert_eq!((drop.stack[0].to_ne_bytes()[0], drop.stack[15].to_ne_bytes()[7]), (112, 239));
        assert_eq!(
            packet,
            &core::array::from_fn::<u8, 16, _>(|at| 240 + u8::try_from(at).unwrap())
        );
        bytes[60] = 17;
        assert_eq!(Record::try_from(&bytes[..]), Err(RecordError::Short));
    }

    #[test]
    fn refuses_truncated_and_unknown_records() {
        let bytes = packet(160);
        assert!(Record::try_from(&bytes[..]).is_ok());
        for length in 0..bytes.len() {
            assert_eq!(Record::try_from(&bytes[..length]), Err(RecordError::Short), "{length}");
        }
        assert_eq!(Record::try_from(&packet(161)[..]), Err(RecordError::Short));
        assert_eq!(Record::try_from(&packet(u32::MAX)[..]), Err(RecordError::Short));
        let mut bytes = packet(0);
        bytes[80] = 9;
        assert_eq!(Record::try_from(&bytes[..]), Err(RecordError::Kind(9)));
    }
}
