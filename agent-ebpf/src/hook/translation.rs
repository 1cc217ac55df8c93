//! Address translation on the way out, such as that of Services of Kubernetes, of Docker's resolver and of meshes: hook
//! `cgroup_skb` sees packets after it, and their answers before it or after it is undone. The socket has what its program
//! uses. Of a socket without a connection, that is its own port alone.
//!
//! IPv4 without options and IPv6 without extension headers only.

use crate::flow::{self, Flow};
use crate::parse::PacketSummary;
use aya_ebpf::bindings::{__sk_buff, bpf_sock};
use aya_ebpf::helpers::generated::bpf_sk_fullsock;
use core::arch::asm;
use core::mem::offset_of;
use dnscribe_common::flow::{Address, four, hash};

/// Type of raw sockets, whose port is no port.
const SOCK_RAW: u32 = 3;
/// Offsets in the IPv4 header (RFC 791, 3.1) and in the IPv6 header (RFC 8200, 3), and their sizes.
const V4: Offsets = Offsets { src: 12, dst: 16, ports: 20 };
const V6: Offsets = Offsets { src: 8, dst: 24, ports: 40 };

struct Offsets {
    src: usize,
    dst: usize,
    ports: usize,
}

/// A word of a `bpf_sock`, which is not null. In assembly: the verifier accepts no computed address.
macro_rules! word {
    ($socket:expr, $field:ident $([$index:literal])?) => {{
        let word: u64;
        // SAFETY: programs may read these fields of any socket.
        unsafe {
            core::arch::asm!(
                "{word} = *(u32 *)({socket} + {offset})",
                word = out(reg) word,
                socket = in(reg) $socket,
                offset = const core::mem::offset_of!(aya_ebpf::bindings::bpf_sock, $field) $(+ $index * 4)?,
                options(nostack, readonly),
            );
        }
        word as u32
    }};
}
pub(super) use word;

/// Returns the packet's socket, or null.
#[inline(always)]
fn socket(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: the kernel hands a valid context.
    unsafe { (*skb).__bindgen_anon_2.sk }
}

/// Port of the peer in network byte order; 0 if the socket has none.
#[inline(always)]
fn peer_port(socket: *mut bpf_sock) -> u16 {
    let port: u64;
    // SAFETY: as of a word. The field has two bytes since Linux 5.18, and may be read as such before.
    unsafe {
        asm!(
            "{port} = *(u16 *)({socket} + {offset})",
            port = out(reg) port,
            socket = in(reg) socket,
            offset = const offset_of!(bpf_sock, dst_port),
            options(nostack, readonly),
        );
    }
    port as u16
}

/// Ports of a packet as its socket has them, in host order, and whether the packet has others.
#[derive(Clone, Copy)]
pub struct Ports {
    pub src: u16,
    pub dst: u16,
    pub are_translated: bool,
}

/// Returns the ports of a packet that leaves, which has `src` and `dst`.
#[inline(always)]
pub fn ports(skb: *mut __sk_buff, src: u16, dst: u16) -> Ports {
    let same = Ports { src, dst, are_translated: false };
    let socket = socket(skb);
    if socket.is_null() {
        return same;
    }
    let local = word!(socket, src_port) as u16;
    let peer = u16::from_be(peer_port(socket));
    let peer = if peer == 0 { dst } else { peer };
    if (local == src && peer == dst) || local == 0 || !has_type(skb, |kind| kind != SOCK_RAW) {
        return same;
    }
    Ports { src: local, dst: peer, are_translated: true }
}

/// Returns whether the packet is for a raw socket, which gets a copy of what other sockets get.
#[inline(always)]
pub fn is_for_raw_socket(skb: *mut __sk_buff) -> bool {
    has_type(skb, |kind| kind == SOCK_RAW)
}

/// Returns whether the packet has a full socket whose type `is_one`.
#[inline(always)]
fn has_type(skb: *mut __sk_buff, is_one: impl FnOnce(u32) -> bool) -> bool {
    let socket = socket(skb);
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket; the helper returns one or null.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    !socket.is_null() && is_one(word!(socket, type_))
}

/// Returns whether the packet, which has its IP header at `ip`, has other addresses than its connected socket.
///
/// # Safety
/// `UPPER` bytes from `ip` on must be readable, and be an IPv4 header of 20 bytes or an IPv6 header.
#[inline(always)]
pub unsafe fn has_other_addresses<const UPPER: usize>(skb: *mut __sk_buff, ip: usize) -> bool {
    let socket = socket(skb);
    if socket.is_null() || peer_port(socket) == 0 {
        return false;
    }
    // SAFETY: the caller guarantees these bytes.
    let word = |at: usize| unsafe { ((ip + at) as *const [u8; 4]).read_unaligned() };
    let differs = |at: usize, word_of_socket: u32| word(at) != word_of_socket.to_ne_bytes();
    let differs = if UPPER == V4.ports {
        differs(V4.dst, word!(socket, dst_ip4)) || differs(V4.src, word!(socket, src_ip4))
    } else {
        differs(V6.dst, word!(socket, dst_ip6[0]))
            || differs(V6.dst + 4, word!(socket, dst_ip6[1]))
            || differs(V6.dst + 8, word!(socket, dst_ip6[2]))
            || differs(V6.dst + 12, word!(socket, dst_ip6[3]))
            || differs(V6.src, word!(socket, src_ip6[0]))
            || differs(V6.src + 4, word!(socket, src_ip6[1]))
            || differs(V6.src + 8, word!(socket, src_ip6[2]))
            || differs(V6.src + 12, word!(socket, src_ip6[3]))
    };
    differs && has_type(skb, |kind| kind != SOCK_RAW)
}

/// Returns the flow of a packet with its IP header at `ip`, as its socket has it.
///
/// # Safety
/// As [`has_other_addresses`].
#[inline(always)]
pub unsafe fn flow<const UPPER: usize>(skb: *mut __sk_buff, ip: usize, ports: Ports) -> Flow {
    if !flow::is_wanted() {
        return Flow::UNKNOWN;
    }
    let socket = socket(skb);
    let (src, dst) = if socket.is_null() || peer_port(socket) == 0 {
        // SAFETY: the caller guarantees these bytes.
        unsafe { flow::addresses::<UPPER>(ip) }
    } else {
        addresses(socket, UPPER == V4.ports)
    };
    Flow::hashed(hash(src, dst, ports.src, ports.dst))
}

/// Returns the addresses of a connected socket, its own first.
#[inline(always)]
fn addresses(socket: *mut bpf_sock, is_ipv4: bool) -> (Address, Address) {
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    if is_ipv4 {
        let four = |word: u32| four(word.to_ne_bytes());
        (four(word!(socket, src_ip4)), four(word!(socket, dst_ip4)))
    } else {
        (
            [
                pair(word!(socket, src_ip6[0]), word!(socket, src_ip6[1])),
                pair(word!(socket, src_ip6[2]), word!(socket, src_ip6[3])),
            ],
            [
                pair(word!(socket, dst_ip6[0]), word!(socket, dst_ip6[1])),
                pair(word!(socket, dst_ip6[2]), word!(socket, dst_ip6[3])),
            ],
        )
    }
}

/// Gives a packet's summary the addresses and ports of its socket, so that sampling and totals treat it as its answer.
#[inline(always)]
pub fn undo_in_summary(skb: *mut __sk_buff, summary: PacketSummary) -> PacketSummary {
    let socket = socket(skb);
    if socket.is_null() {
        return summary;
    }
    let src_port = word!(socket, src_port) as u16;
    let peer = u16::from_be(peer_port(socket));
    if peer == 0 {
        return summary.with_ends(summary.src, summary.dst, src_port, summary.dst_port);
    }
    let is_ipv4 = summary.src[0] == 0 && summary.src[1] as u32 == four([0; 4])[1] as u32;
    let (src, dst) = addresses(socket, is_ipv4);
    summary.with_ends(src, dst, src_port, peer)
}

/// Writes addresses and ports of the packet's socket into a copy of the packet, whose checksums then fit no more.
///
/// # Safety
/// `packet` must have 44 bytes.
#[inline(always)]
pub unsafe fn undo(skb: *mut __sk_buff, packet: *mut u8) {
    let socket = socket(skb);
    if socket.is_null() {
        return;
    }
    // SAFETY: the caller guarantees these bytes.
    let write = |at: usize, word: u32| unsafe {
        packet.add(at).cast::<u32>().write_volatile(word);
    };
    let write_port = |at: usize, port: u16| unsafe {
        packet.add(at).cast::<u16>().write_volatile(port);
    };
    let local = (word!(socket, src_port) as u16).to_be();
    let peer = peer_port(socket);
    // SAFETY: the caller guarantees this byte.
    if unsafe { packet.read_volatile() } >> 4 == 4 {
        write_port(V4.ports, local);
        if peer != 0 {
            write_port(V4.ports + 2, peer);
            write(V4.src, word!(socket, src_ip4));
            write(V4.dst, word!(socket, dst_ip4));
        }
    } else {
        write_port(V6.ports, local);
        if peer != 0 {
            write_port(V6.ports + 2, peer);
            write(V6.src, word!(socket, src_ip6[0]));
            write(V6.src + 4, word!(socket, src_ip6[1]));
            write(V6.src + 8, word!(socket, src_ip6[2]));
            write(V6.src + 12, word!(socket, src_ip6[3]));
            write(V6.dst, word!(socket, dst_ip6[0]));
            write(V6.dst + 4, word!(socket, dst_ip6[1]));
            write(V6.dst + 8, word!(socket, dst_ip6[2]));
            write(V6.dst + 12, word!(socket, dst_ip6[3]));
        }
    }
}
