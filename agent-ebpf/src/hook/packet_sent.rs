//! Hook on the raw tracepoint `net_dev_start_xmit`: messages that a device takes. Only where the path of packets is captured.
//! UDP only.
//!
//! Under overload nothing is reported, as the messages themselves are then left out.

use crate::counters::Counters;
use crate::hook::kernel_packet::KernelPacket;
use crate::ring::{self, Context};
use crate::sample;
use crate::task::read;
use aya_ebpf::programs::RawTracePointContext;
use core::ffi::c_void;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::globals::Setting;
use dnscribe_common::record::{CLASSES, DIRECTION_EGRESS};

/// Writes a record if a socket of this host sent the packet, and it is DNS.
#[inline(always)]
pub fn observe(ctx: &RawTracePointContext) {
    let skb = ctx.arg::<*const c_void>(0) as u64;
    // Forwarded packets, which are most of a router's, have no socket; others their sender's, which may be closed by now.
    if read::<u64>(skb, Setting::SkbSock) == 0 {
        return;
    }
    let Some(packet) = KernelPacket::read_dns(skb) else { return };
    let Some(counters) = Counters::this_cpu() else { return };
    counters.add(Hook::Transmit, Counter::Seen);
    if sample::cuts().is_some() {
        return counters.add(Hook::Transmit, Counter::SampledOut);
    }
    let device: u64 = read(skb, Setting::SkbDevice);
    let net: u64 = read(device, Setting::DeviceNet);
    let context = Context {
        max_bytes: CLASSES[0] as u32,
        ifindex: read(device, Setting::DeviceIndex),
        netns_cookie: read(net, Setting::NetCookie),
        flow: packet.flow(),
        ..Context::of_report(Hook::Transmit, DIRECTION_EGRESS)
    };
    ring::write_packet_sent(counters, &packet, &context);
}
