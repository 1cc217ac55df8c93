//! The filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where octets begin with the network
//! header. There is no direct access to packets here.
//!
//! What is attached is this file's program alone. It is small for two reasons: nearly all packets are
//! not DNS, and it decides about those; and the kernel charges the instructions of an attached filter to
//! the socket (`net.core.optmem_max`, 20 KiB before Linux 6.7), but not those of the program that it
//! calls.

mod handover;
pub mod look;

use crate::counters::Counters;
use crate::maps;
use crate::parse::{self, Fate, ICMP, ICMP6, Skb, TCP, UDP, be16};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers::{self, IP, IPV6, Octets};
use handover::Step;

/// Octets of an upper header that are looked at here: up to TCP's flags.
const UPPER: usize = 14;

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

/// One load for the packets that are nearly all: UDP or TCP behind an IP header without options,
/// extension headers, fragments, tags and tunnels. Leaves the verdict on those of ours for the next
/// program; `None` sends the rest the long way.
#[inline(always)]
fn short_way(skb: *mut __sk_buff) -> Option<Fate> {
    // SAFETY: the kernel hands a valid context.
    let ethertype = u16::from_be(unsafe { (*skb).protocol } as u16);
    let packet = Skb::whole(skb);
    match ethertype {
        IP => {
            let head = packet.load::<34>(0)?;
            if head[0] != 0x45 || be16(head[6], head[7]) & 0x3fff != 0 {
                return None;
            }
            let room = packet.room(20, u32::from(be16(head[2], head[3])))?;
            judge(skb, room, head[9], head.last_chunk()?, 20)
        }
        IPV6 => {
            let head = packet.load::<54>(0)?;
            if head[0] >> 4 != 6 {
                return None;
            }
            let room = packet.room(40, u32::from(be16(head[4], head[5])) + 40)?;
            judge(skb, room, head[6], head.last_chunk()?, 40)
        }
        _ => None,
    }
}

/// The verdict on a UDP or TCP header at `at`, which has `room` with its payload.
#[inline(always)]
fn judge(
    skb: *mut __sk_buff,
    room: u32,
    protocol: u8,
    upper: &[u8; UPPER],
    at: u32,
) -> Option<Fate> {
    match protocol {
        UDP | TCP => {}
        ICMP | ICMP6 if !parse::is_unreachable(protocol, upper[0]) => {
            return Some(Fate::NotOurs);
        }
        _ => return None,
    }
    let (src, dst) = (be16(upper[0], upper[1]), be16(upper[2], upper[3]));
    let classes = (maps::port_class(src), maps::port_class(dst));
    if classes == (0, 0) {
        let tunnel = protocol == UDP && (layers::is_tunnel(src) || layers::is_tunnel(dst));
        return if tunnel { None } else { Some(Fate::NotOurs) };
    }
    if classes.0 != PORT_DNS && classes.1 != PORT_DNS {
        // Encrypted, perhaps.
        return None;
    }
    let carries = protocol == UDP || parse::tcp_may_carry(upper[12], upper[13], room);
    let fate = if carries { Fate::Emit } else { Fate::TcpNoPayload };
    handover::leave_verdict(skb, fate, protocol, at);
    Some(fate)
}
