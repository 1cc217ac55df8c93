//! Hook on the raw tracepoint `kfree_skb`: datagrams of connected UDP sockets that netfilter discards on their way out, before
//! the hook for packets that leave a socket. Only where connections are captured.
//!
//! # Minimum kernel version
//!
//! Linux 5.17, for the reason.

use crate::hook::connect::{Step, write_step};
use crate::hook::kernel_packet::KernelPacket;
use crate::maps;
use crate::parse::UDP;
use crate::ring::Context;
use crate::settings;
use crate::socket::Peer;
use crate::task::{self, read, read_at};
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::Hook;
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{DIRECTION_EGRESS, STEP_DISCARDED};

const AF_INET: u16 = 2;

/// Peers to which sockets, by cookie, have sent a datagram: see [`Peer::key`]. Inverted: the next datagram is addressed to
/// somebody else.
#[map]
static BEGUN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(8_192, 0);

/// Remembers that a socket has begun to send to a peer, and is recorded.
#[inline(always)]
pub fn note_begun(cookie: u64, peer: &Peer) {
    if settings::get(Setting::SockCookie) != 0 {
        // A full map evicts, so this fails only without memory.
        let _ = BEGUN.insert(&cookie, &peer.key(), 0);
    }
}

/// Remembers that the next datagram of a socket, which is connected to `peer`, is addressed to somebody else.
#[inline(always)]
pub fn note_elsewhere(cookie: u64, peer: &Peer) {
    // As above.
    let _ = BEGUN.insert(&cookie, &!peer.key(), 0);
}

/// Returns whether a datagram of a socket that is connected to `peer` was addressed to somebody else, which holds for one
/// datagram. Its destination does not tell: the kernel may have translated it.
#[inline(always)]
pub fn take_elsewhere(cookie: u64, peer: &Peer) -> bool {
    let Some(key) = BEGUN.get_ptr_mut(&cookie) else { return false };
    // SAFETY: a value is a word; another CPU may replace it.
    unsafe {
        let is_elsewhere = *key == !peer.key();
        if is_elsewhere {
            *key = 0;
        }
        is_elsewhere
    }
}

/// Writes a record if the packet is the first datagram of a connected UDP socket to its peer.
#[inline(always)]
pub fn observe(ctx: &RawTracePointContext) {
    if ctx.arg::<u64>(2) as u32 != settings::get(Setting::ReasonNetfilter) {
        return;
    }
    let skb = ctx.arg::<*const c_void>(0) as u64;
    let socket: u64 = read(skb, Setting::SkbSock);
    if socket == 0 {
        return;
    }
    let [protocol, _] = read::<[u8; 2]>(socket, Setting::SockProtocol);
    let port = u16::from_be(read(socket, Setting::SockRemotePort));
    // Unconnected sockets are recorded before they send.
    if protocol != UDP || port == 0 || maps::port_class(port) == PORT_DNS {
        return;
    }
    let Some(datagram) = KernelPacket::read(skb) else { return };
    let device: u64 = read(skb, Setting::SkbDevice);
    let net: u64 = read(socket, Setting::SockNet);
    let is_leaving = datagram.sender() != 0
        && read::<u64>(skb, Setting::SkbData) == datagram.ip
        && (device == 0 || net == read(device, Setting::DeviceNet));
    let cookie: u64 = read(socket, Setting::SockCookie);
    if !is_leaving || cookie == 0 {
        return;
    }
    let peer = peer(socket, port);
    // SAFETY: a value is a word; another CPU may replace it.
    if BEGUN.get_ptr(&cookie).is_some_and(|key| unsafe { *key } == peer.key())
        || take_elsewhere(cookie, &peer)
    {
        return;
    }
    note_begun(cookie, &peer);
    let context = Context {
        netns_cookie: read(net, Setting::NetCookie),
        // SAFETY: a helper without conditions.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        task: task::current(Setting::HookTask),
        flow: cookie as u32,
        ..Context::of_report(Hook::Connect, DIRECTION_EGRESS)
    };
    write_step(Step::new(UDP, STEP_DISCARDED, cookie), &peer, &context);
}

/// Returns the peer of a connected socket. An IPv4-mapped address (RFC 4291, 2.5.5.2) is one of IPv4.
#[inline(always)]
fn peer(socket: u64, port: u16) -> Peer {
    let port = u32::from(port);
    let of_four = |[a, b, c, d]: [u8; 4]| u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]);
    if read::<u16>(socket, Setting::SockFamily) == AF_INET {
        let front = of_four(read(socket, Setting::SockRemote4));
        return Peer { front, back: 0, port, version: 4 };
    }
    let address = socket + u64::from(settings::get(Setting::SockRemote6));
    let (front, back): (u64, [u8; 8]) = (read_at(address), read_at(address + 8));
    if let (0, [0, 0, 0xff, 0xff, a, b, c, d]) = (front, back) {
        return Peer { front: of_four([a, b, c, d]), back: 0, port, version: 4 };
    }
    Peer { front, back: u64::from_ne_bytes(back), port, version: 6 }
}
