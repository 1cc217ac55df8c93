//! The filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where octets begin with the network
//! header. There is no direct access to packets here.

use crate::counters::Counters;
use crate::parse::tunnel::{self, Cursor, Judged};
use crate::parse::{Fate, Skb, UDP, Verdict};
use crate::ring::{self, Context};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers::{IP, Octets, Place};
use dnscribe_common::record::DIRECTION_TAP;
use dnscribe_common::totals::Way;

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

/// Of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OUTGOING: u32 = 4;
/// The loopback interface is the first of every network namespace.
const LOOPBACK: u32 = 1;

/// The program that looks into a packet within a packet; the agent puts it here.
#[map]
static WITHIN: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// A packet as it comes.
#[inline(always)]
pub fn observe(ctx: &SkBuffContext) {
    let skb = ctx.skb.skb;
    // SAFETY: the kernel hands a valid context.
    let (ethertype, packet_type) =
        unsafe { (u16::from_be((*skb).protocol as u16), (*skb).pkt_type) };
    let Some(walk) = tunnel::walk() else { return };
    walk.begin(skb, network_header(skb, ethertype, packet_type));
    go_on(ctx, walk);
}

/// A packet within the packet that the last program met.
#[inline(always)]
pub fn observe_within(ctx: &SkBuffContext) {
    if let Some(walk) = tunnel::walk() {
        go_on(ctx, walk);
    }
}

/// Walks on, in this program and then in the next.
#[inline(always)]
fn go_on(ctx: &SkBuffContext, walk: Cursor) {
    let skb = ctx.skb.skb;
    let (verdict, tunnelled) = match tunnel::step(skb, walk) {
        Some(decided) => decided,
        None => {
            if walk.may_go_on() {
                // SAFETY: context and map are valid. Does not come back, unless the kernel would
                // not load that program.
                unsafe { WITHIN.tail_call(ctx, 0) };
            }
            (Verdict::TOO_DEEP, true)
        }
    };
    let judged = walk.end(verdict, tunnelled);
    if judged.verdict.fate != Fate::NotOurs {
        count(skb, &judged);
    }
}

#[inline(always)]
fn count(skb: *mut __sk_buff, judged: &Judged) {
    // SAFETY: the kernel hands a valid context.
    let (length, packet_type, ifindex, segment) =
        unsafe { ((*skb).len, (*skb).pkt_type, (*skb).ifindex, (*skb).gso_size) };
    let Some(most) = judged.verdict.of_use(Skb::whole(skb), judged.tunnelled) else { return };
    let Some(counters) = Counters::this_cpu() else { return };
    if judged.early > 0 {
        counters.add_many(Hook::Socket, Counter::Seen, judged.early);
        counters.add_many(Hook::Socket, Counter::FragmentEarly, judged.early);
    }
    counters.add(Hook::Socket, Counter::Seen);
    if ifindex == LOOPBACK && packet_type == PACKET_OUTGOING {
        return counters.add(Hook::Socket, Counter::LoopbackCopy);
    }
    let verdict = judged.verdict;
    match verdict.fate {
        Fate::Emit => {}
        Fate::TooDeep => return counters.add(Hook::Socket, Counter::TunnelDepth),
        Fate::EncryptedFragment => {
            return counters.add(Hook::Socket, Counter::EncryptedFragment);
        }
        _ => return counters.add(Hook::Socket, Counter::TcpNoPayload),
    }
    let context = Context {
        hook: Hook::Socket,
        way: way(skb, judged.tunnelled),
        ip: judged.ip,
        direction: DIRECTION_TAP,
        packet_type: packet_type as u8,
        datagram_bytes: if verdict.protocol == UDP { segment as u16 } else { 0 },
        most,
        ifindex,
        netns_cookie: 0,
        cgroup_id: 0,
        task: None,
        tunnelled: judged.tunnelled,
    };
    let start = judged.start;
    ring::packet(counters, skb, start, length.saturating_sub(start), &context);
}

/// How a packet stands to this host, but for what only its addresses tell.
#[inline(always)]
fn way(skb: *mut __sk_buff, tunnelled: bool) -> Way {
    // SAFETY: the kernel hands a valid context.
    let (packet_type, ifindex, came_by) =
        unsafe { ((*skb).pkt_type, (*skb).ifindex, (*skb).ingress_ifindex) };
    if tunnelled {
        return Way::Passing;
    }
    if ifindex == LOOPBACK {
        return Way::Loopback;
    }
    match packet_type {
        // What came by an interface and leaves by another is forwarded.
        PACKET_OUTGOING if came_by == 0 => Way::Sent,
        PACKET_HOST => Way::Arrived,
        PACKET_BROADCAST | PACKET_MULTICAST => Way::Spread,
        _ => Way::Passing,
    }
}

/// Where the network header begins, and what it is. The kernel took the outermost VLAN tag off
/// (`vlan_tci`); of a packet on its way out it skips them all, though it still names them.
#[inline(always)]
fn network_header(skb: *mut __sk_buff, ethertype: u16, packet_type: u32) -> Place {
    let skips_tags =
        packet_type == PACKET_OUTGOING && matches!(ethertype, ETH_P_8021Q | ETH_P_8021AD);
    let kind = match skips_tags.then(|| Skb::whole(skb).load::<1>(0)) {
        Some(Some([first])) if matches!(first >> 4, 4 | 6) => IP,
        _ => ethertype,
    };
    Place::new(kind, 0)
}
