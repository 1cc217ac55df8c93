//! The eBPF programs: entry points only. Each returns "pass" for every packet.
//!
//! Programs that run for every packet are inlined into the functions that the macros generate: a call would
//! make packets that are not DNS a quarter slower.
#![no_std]
#![no_main]
// For atomic additions and for bounds that the verifier must see; aya-ebpf needs the same feature.
#![feature(asm_experimental_arch)]

mod counters;
mod diagnose;
mod flow;
mod hook;
mod maps;
mod object;
mod parse;
mod ring;
mod sample;
mod settings;
mod socket;
mod task;
mod totals;

use aya_ebpf::macros::{
    cgroup_skb, cgroup_sock, cgroup_sock_addr, raw_tracepoint, sock_ops, socket_filter,
};
use aya_ebpf::programs::{
    RawTracePointContext, SkBuffContext, SockAddrContext, SockContext, SockOpsContext,
};
use hook::cgroup_skb::{Egress, Ingress};
use object::PASS;

#[cgroup_skb(ingress)]
#[inline(always)]
fn cgroup_ingress(ctx: SkBuffContext) -> i32 {
    hook::cgroup_skb::observe::<Ingress>(ctx.skb.skb);
    PASS
}

#[cgroup_skb(egress)]
#[inline(always)]
fn cgroup_egress(ctx: SkBuffContext) -> i32 {
    hook::cgroup_skb::observe::<Egress>(ctx.skb.skb);
    PASS
}

#[cgroup_sock(post_bind4)]
fn post_bind4(ctx: SockContext) -> i32 {
    hook::cgroup_sock::record_owner(ctx.sock);
    PASS
}

#[cgroup_sock(post_bind6)]
fn post_bind6(ctx: SockContext) -> i32 {
    hook::cgroup_sock::record_owner(ctx.sock);
    PASS
}

#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_connect::<4>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_connect::<6>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_send::<4>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_send::<6>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(recvmsg4)]
fn recvmsg4(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_receive::<4>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(recvmsg6)]
fn recvmsg6(ctx: SockAddrContext) -> i32 {
    hook::sock_addr::record_receive::<6>(ctx.sock_addr);
    PASS
}

/// The program for what becomes of TCP connections.
#[sock_ops]
fn tcp_state(ctx: SockOpsContext) -> u32 {
    hook::connect::observe_state(ctx.ops);
    1
}

/// The program for ICMP errors that the kernel reports to sockets.
///
/// # Minimum kernel version
///
/// Linux 5.14.
#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
fn socket_error(ctx: RawTracePointContext) -> i32 {
    hook::socket_error::observe(ctx.arg(0));
    0
}

/// The program for packets that the kernel discards.
///
/// # Minimum kernel version
///
/// Linux 5.17, for the reason.
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn packet_drop(ctx: RawTracePointContext) -> i32 {
    hook::packet_drop::observe(&ctx);
    0
}

/// The program for datagrams of connected sockets that netfilter discards.
///
/// # Minimum kernel version
///
/// Linux 5.17, for the reason.
#[raw_tracepoint(tracepoint = "kfree_skb")]
fn datagram_drop(ctx: RawTracePointContext) -> i32 {
    hook::datagram_drop::observe(&ctx);
    0
}

/// The program for messages that a device takes.
#[raw_tracepoint(tracepoint = "net_dev_start_xmit")]
fn packet_sent(ctx: RawTracePointContext) -> i32 {
    hook::packet_sent::observe(&ctx);
    0
}

/// The program attached to packet sockets. Small, since its size counts against `net.core.optmem_max`. Returns 0:
/// the packet socket queues nothing, since all records are written to the ring.
#[socket_filter]
#[inline(always)]
fn tap(ctx: SkBuffContext) -> i64 {
    hook::tap::observe(&ctx);
    0
}

/// The program that `tap` calls for a packet that is, or may be, DNS.
#[socket_filter]
#[inline(always)]
fn tap_check(ctx: SkBuffContext) -> i64 {
    hook::tap::inspect::observe(&ctx);
    0
}
