//! The filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where octets begin with the network
//! header. There is no direct access to packets here, but see [`head`].
//!
//! What is attached is this file's program alone. It is small for two reasons: nearly all packets are
//! not DNS, and it decides about those; and the kernel charges the instructions of an attached filter to
//! the socket (`net.core.optmem_max`, 20 KiB before Linux 6.7), but not those of the program that it
//! calls.

mod handover;
mod head;
pub mod look;

use crate::counters::Counters;
use crate::maps;
use crate::parse::{self, Fate, ICMP, ICMP6, TCP, UDP};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers;
use handover::Step;

/// The program that looks further; the agent puts it here.
#[map]
static LOOK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// A packet as it comes.
#[inline(always)]
pub fn observe(ctx: &SkBuffContext) {
    let skb = ctx.skb.skb;
    match short_way(skb) {
        Some(Fate::NotOurs) => return,
        Some(_) => {}
        None => handover::leave(skb, Step::Begin),
    }
    call(ctx);
    // The agent puts the program there before it attaches this one, so that it does come to this.
    if let Some(counters) = Counters::this_cpu() {
        counters.add(Hook::Socket, Counter::Seen);
        counters.add(Hook::Socket, Counter::TunnelDepth);
    }
}

/// Goes on with the program that looks further. Does not come back, unless that is not there.
#[inline(always)]
fn call(ctx: &SkBuffContext) {
    // SAFETY: context and map are valid.
    unsafe { LOOK.tail_call(ctx, 0) };
}

/// Decides about the packets that are nearly all: UDP or TCP behind an IP header without options,
/// extension headers, fragments, tags and tunnels. Leaves the verdict on those of ours for the next
/// program; `None` sends the rest the long way.
#[inline(always)]
fn short_way(skb: *mut __sk_buff) -> Option<Fate> {
    let head = head::of(skb)?;
    match head.protocol {
        UDP | TCP => {}
        ICMP | ICMP6 if !parse::is_unreachable(head.protocol, head.icmp_type()) => {
            return Some(Fate::NotOurs);
        }
        _ => return None,
    }
    let [src, dst] = head.ports;
    let classes = (maps::port_class(src), maps::port_class(dst));
    if classes == (0, 0) {
        let tunnel = head.protocol == UDP && (layers::is_tunnel(src) || layers::is_tunnel(dst));
        return if tunnel { None } else { Some(Fate::NotOurs) };
    }
    if classes.0 != PORT_DNS && classes.1 != PORT_DNS {
        // Encrypted, perhaps.
        return None;
    }
    let carries = || {
        let [data_offset, flags] = head.tcp();
        parse::tcp_may_carry(data_offset, flags, head.room)
    };
    let fate = if head.protocol == UDP || carries() { Fate::Emit } else { Fate::TcpNoPayload };
    handover::leave_verdict(skb, fate, head.protocol, head.at);
    Some(fate)
}
