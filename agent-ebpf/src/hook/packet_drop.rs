//! Hook on the raw tracepoint `kfree_skb`: DNS packets that the kernel discards, with its reason. Only where the path
//! of packets is captured. UDP only: a lost segment of TCP is sent again by the kernel.
//!
//! # Minimum kernel version
//!
//! Linux 5.17, for the reason.

use crate::counters::Counters;
use crate::maps;
use crate::parse::UDP;
use crate::ring::{self, Context, DroppedPacket};
use crate::settings;
use crate::task::{self, read, read_at};
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::flow::{self, four, six};
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, DROP_NETWORK_LAYER, DROP_NO_DEVICE, DROP_SENDER,
};
use dnscribe_common::totals::PacketPath;

const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();
/// Bits of the IPv4 fragment offset (RFC 791, 3.1): only a first fragment has the ports.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Writes a record if the packet is DNS over UDP.
#[inline(always)]
pub fn observe(ctx: &RawTracePointContext) {
    let skb = ctx.arg::<*const c_void>(0) as u64;
    let reason = ctx.arg::<u64>(2) as u32;
    // Packets for others, which a bridge floods or a mirror port copies: nothing was lost.
    if reason == settings::get(Setting::ReasonOtherHost) {
        return;
    }
    let protocol: u16 = read(skb, Setting::SkbProtocol);
    if protocol != ETH_P_IP && protocol != ETH_P_IPV6 {
        return;
    }
    let head: u64 = read(skb, Setting::SkbHead);
    let network: u16 = read(skb, Setting::SkbNetwork);
    let ip = head + u64::from(network);
    let (ports_at, wire) = if protocol == ETH_P_IP {
        let [first, _, a, b, _, _, c, d, _, upper, _, _]: [u8; 12] = read_at(ip);
        if first >> 4 != 4 || upper != UDP || u16::from_be_bytes([c, d]) & FRAGMENT_OFFSET != 0 {
            return;
        }
        (u64::from(first & 15) * 4, u32::from(u16::from_be_bytes([a, b])))
    } else {
        let [first, _, _, _, a, b, upper, _]: [u8; 8] = read_at(ip);
        if first >> 4 != 6 || upper != UDP {
            return;
        }
        (40, u32::from(u16::from_be_bytes([a, b])) + 40)
    };
    let [a, b, c, d]: [u8; 4] = read_at(ip + ports_at);
    let (src_port, dst_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    if maps::port_class(dst_port) != PORT_DNS && maps::port_class(src_port) != PORT_DNS {
        return;
    }
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Drop, Counter::Seen);
    let (src, dst) = if protocol == ETH_P_IP {
        (four(read_at(ip + 12)), four(read_at(ip + 16)))
    } else {
        (six(read_at(ip + 8)), six(read_at(ip + 24)))
    };
    let socket: u64 = read(skb, Setting::SkbSock);
    let device: u64 = read(skb, Setting::SkbDevice);
    let data: u64 = read(skb, Setting::SkbData);
    let tail: u32 = read(skb, Setting::SkbTail);
    // On its way in, the packet may have its receiver's socket.
    let is_sender = socket != 0 && read::<u16>(socket, Setting::SockLocalPort) == src_port;
    let net_of_device: u64 = read(device, Setting::DeviceNet);
    let net = if is_sender { read(socket, Setting::SockNet) } else { net_of_device };
    // Behind a pair of veth devices, a packet still has its sender's socket.
    let is_at_home = device == 0 || net == net_of_device;
    let flags = if is_sender { DROP_SENDER } else { 0 }
        | if data == ip && is_at_home { DROP_NETWORK_LAYER } else { 0 }
        | if device == 0 { DROP_NO_DEVICE } else { 0 };
    let context = Context {
        hook: Hook::Drop,
        path: PacketPath::Egress,
        ip: 0,
        direction: if is_sender { DIRECTION_EGRESS } else { DIRECTION_INGRESS },
        packet_type: 0,
        datagram_bytes: 0,
        max_bytes: u32::MAX,
        ifindex: 0,
        netns_cookie: read(net, Setting::NetCookie),
        // SAFETY: a helper without conditions.
        cgroup_id: if is_sender { unsafe { bpf_get_current_cgroup_id() } } else { 0 },
        task: if is_sender { task::current(Setting::HookTask) } else { None },
        parent_pid: 0,
        tunnelled: false,
        direct: false,
        flow: flow::hash(src, dst, src_port, dst_port),
    };
    let packet = DroppedPacket {
        ip,
        wire,
        // The rest is in pages beside the buffer.
        contiguous: tail.saturating_sub(u32::from(network)),
        location: ctx.arg(1),
        reason,
        flags,
    };
    ring::write_packet_drop(counters, ctx, &packet, &context);
}
