//! Hook on the raw tracepoint `kfree_skb`: DNS packets that the kernel discards, with its reason. Only where the path
//! of packets is captured. UDP only: a lost segment of TCP is sent again by the kernel.
//!
//! # Minimum kernel version
//!
//! Linux 5.17, for the reason.

use crate::counters::Counters;
use crate::hook::kernel_packet::KernelPacket;
use crate::ring::{self, Context, DropReport};
use crate::settings;
use crate::task::{self, read};
use aya_ebpf::helpers::generated::bpf_get_current_cgroup_id;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{
    DIRECTION_EGRESS, DIRECTION_INGRESS, DROP_NETWORK_LAYER, DROP_NO_DEVICE, DROP_SENDER,
};

/// Writes a record if the packet is DNS over UDP.
#[inline(always)]
pub fn observe(ctx: &RawTracePointContext) {
    let skb = ctx.arg::<*const c_void>(0) as u64;
    let reason = ctx.arg::<u64>(2) as u32;
    // Packets for others, which a bridge floods or a mirror port copies: nothing was lost.
    if reason == settings::get(Setting::ReasonOtherHost) {
        return;
    }
    let Some(packet) = KernelPacket::read_dns(skb) else { return };
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Drop, Counter::Seen);
    let device: u64 = read(skb, Setting::SkbDevice);
    let data: u64 = read(skb, Setting::SkbData);
    let sender = packet.sender();
    let is_sender = sender != 0;
    let net_of_device: u64 = read(device, Setting::DeviceNet);
    let net = if is_sender { read(sender, Setting::SockNet) } else { net_of_device };
    // Behind a pair of veth devices, a packet still has its sender's socket.
    let is_at_home = device == 0 || net == net_of_device;
    let flags = if is_sender { DROP_SENDER } else { 0 }
        | if data == packet.ip && is_at_home && !packet.had_device() {
            DROP_NETWORK_LAYER
        } else {
            0
        }
        | if device == 0 { DROP_NO_DEVICE } else { 0 };
    let direction = if is_sender { DIRECTION_EGRESS } else { DIRECTION_INGRESS };
    let context = Context {
        netns_cookie: read(net, Setting::NetCookie),
        // SAFETY: a helper without conditions.
        cgroup_id: if is_sender { unsafe { bpf_get_current_cgroup_id() } } else { 0 },
        task: if is_sender { task::current(Setting::HookTask) } else { None },
        flow: packet.flow(),
        ..Context::of_report(Hook::Drop, direction)
    };
    let report = DropReport { location: ctx.arg(1), reason, flags };
    ring::write_packet_drop(counters, ctx, &packet, report, &context);
}
