//! Hook `socket`: the filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where packets begin with the network
//! header. Socket filters have no direct access to packets; [`head`] has a way around it.
//!
//! Only the program of this file is attached. It decides nearly all packets, which are not DNS, and calls the
//! program in [`inspect`] for the rest. The kernel charges the instructions of an attached filter to the socket
//! (`net.core.optmem_max`, 20 KiB before Linux 6.7), but not those of the program that it calls.

mod control_buffer;
mod head;
pub mod inspect;

use crate::counters::Counters;
use crate::maps;
use crate::parse::{self, ICMP, ICMP6, Outcome, TCP, UDP};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use control_buffer::Step;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers;

/// The program in [`inspect`], at index 0. The agent inserts it.
#[map]
static LOOK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Decides a packet, or passes it to the program in [`inspect`].
#[inline(always)]
pub fn observe(ctx: &SkBuffContext) {
    let skb = ctx.skb.skb;
    match fast_path(skb) {
        Some(Outcome::Skipped) => return,
        Some(_) => {}
        None => control_buffer::set_step(skb, Step::Begin),
    }
    call(ctx);
    // Not reached: the agent inserts the program before it attaches this one.
    if let Some(counters) = Counters::this_cpu() {
        counters.add(Hook::Socket, Counter::Seen);
        counters.add(Hook::Socket, Counter::TunnelDepth);
    }
}

/// Continues in the program in [`inspect`]. Returns only if that is missing.
#[inline(always)]
fn call(ctx: &SkBuffContext) {
    // SAFETY: context and map are valid.
    unsafe { LOOK.tail_call(ctx, 0) };
}

/// Classifies nearly all packets: UDP or TCP directly after an IP header without options, extension headers,
/// fragments, tags or tunnels. Passes the verdict on captured packets to the next program. Returns `None` for
/// packets that need full parsing.
#[inline(always)]
fn fast_path(skb: *mut __sk_buff) -> Option<Outcome> {
    let head = head::read(skb)?;
    match head.protocol {
        UDP | TCP => {}
        ICMP | ICMP6 if !parse::is_unreachable(head.protocol, head.icmp_type()) => {
            return Some(Outcome::Skipped);
        }
        _ => return None,
    }
    let [src, dst] = head.ports;
    let classes = (maps::port_class(src), maps::port_class(dst));
    if classes == (0, 0) {
        let tunnel = head.protocol == UDP && (layers::is_tunnel(src) || layers::is_tunnel(dst));
        return if tunnel { None } else { Some(Outcome::Skipped) };
    }
    if classes.0 != PORT_DNS && classes.1 != PORT_DNS {
        // Possibly encrypted DNS.
        return None;
    }
    let carries = || {
        let [data_offset, flags] = head.tcp();
        parse::tcp_is_relevant(data_offset, flags, head.upper_bytes)
    };
    let outcome =
        if head.protocol == UDP || carries() { Outcome::Emit } else { Outcome::TcpNoPayload };
    control_buffer::set_verdict(skb, outcome, head.protocol, head.at);
    Some(outcome)
}
