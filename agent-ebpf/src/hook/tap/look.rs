//! The program behind the first: whatever takes a long look, and what is done about packets of ours.

use super::handover::{self, Step};
use crate::counters::Counters;
use crate::parse::tunnel::{self, Cursor, Judged};
use crate::parse::{Fate, Skb, UDP, Verdict};
use crate::ring::{self, Context};
use aya_ebpf::bindings::__sk_buff;
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

/// A packet that another program did not decide about, or about which something is to be done.
#[inline(always)]
pub fn observe(ctx: &SkBuffContext) {
    let skb = ctx.skb.skb;
    let (step, verdict) = handover::take(skb);
    let judged = match step {
        Step::Emit | Step::Count => Judged { verdict, start: 0, ip: 0, tunnelled: false, early: 0 },
        Step::Begin | Step::GoOn => {
            let Some(walk) = tunnel::walk() else { return };
            if step == Step::Begin {
                walk.begin(skb, network_header(skb));
            }
            walk_on(ctx, walk)
        }
    };
    count(skb, &judged);
}

/// Walks on, in this program and then in itself again.
#[inline(always)]
fn walk_on(ctx: &SkBuffContext, walk: Cursor) -> Judged {
    let skb = ctx.skb.skb;
    let (verdict, tunnelled) = match tunnel::step(skb, walk) {
        Some(decided) => decided,
        None => {
            if walk.may_go_on() {
                handover::leave(skb, Step::GoOn);
                super::call(ctx);
            }
            (Verdict::TOO_DEEP, true)
        }
    };
    walk.end(Skb::whole(skb), verdict, tunnelled)
}

#[inline(always)]
fn count(skb: *mut __sk_buff, judged: &Judged) {
    if judged.verdict.fate == Fate::NotOurs {
        return;
    }
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
        way: if judged.tunnelled { Way::Passing } else { way(skb, packet_type, ifindex) },
        ip: judged.ip,
        direction: DIRECTION_TAP,
        packet_type: packet_type as u8,
        datagram_bytes: if verdict.protocol == UDP { segment as u16 } else { 0 },
        most,
        ifindex,
        netns_cookie: 0,
        cgroup_id: 0,
        task: None,
        parent_pid: 0,
        tunnelled: judged.tunnelled,
        direct: false,
        flow: verdict.flow.number(Skb::whole(skb)),
    };
    let start = judged.start;
    ring::packet(counters, skb, start, length.saturating_sub(start), &context);
}

/// How a packet stands to this host, but for what only its addresses tell.
#[inline(always)]
fn way(skb: *mut __sk_buff, packet_type: u32, ifindex: u32) -> Way {
    if ifindex == LOOPBACK {
        return Way::Loopback;
    }
    // SAFETY: the kernel hands a valid context. Volatile, or the compiler would compute an address in
    // it first, which the verifier refuses.
    let came_by = unsafe { (&raw const (*skb).ingress_ifindex).read_volatile() };
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
fn network_header(skb: *mut __sk_buff) -> Place {
    // SAFETY: the kernel hands a valid context.
    let (ethertype, packet_type) =
        unsafe { (u16::from_be((*skb).protocol as u16), (*skb).pkt_type) };
    let skips_tags =
        packet_type == PACKET_OUTGOING && matches!(ethertype, ETH_P_8021Q | ETH_P_8021AD);
    let kind = match skips_tags.then(|| Skb::whole(skb).load::<1>(0)) {
        Some(Some([first])) if matches!(first >> 4, 4 | 6) => IP,
        _ => ethertype,
    };
    Place::new(kind, 0)
}
