//! The filter of an `AF_PACKET` socket of type `SOCK_DGRAM`, where octets begin with the network
//! header. There is no direct access to packets here.

use crate::counters::Counters;
use crate::flow::Flow;
use crate::maps;
use crate::parse::tunnel::{self, Cursor, Judged};
use crate::parse::{self, Fate, ICMP, ICMP6, Skb, TCP, UDP, Verdict, be16};
use crate::ring::{self, Context};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::PORT_DNS;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers::{self, IP, IPV6, Octets, Place};
use dnscribe_common::record::DIRECTION_TAP;
use dnscribe_common::totals::Way;

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

/// Octets of an upper header that the short way looks at: up to TCP's flags.
const UPPER: usize = 14;

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
    let judged = match short_way(skb, ethertype) {
        Some(verdict) if verdict.fate == Fate::NotOurs => return,
        Some(verdict) => Judged { verdict, start: 0, ip: 0, tunnelled: false, early: 0 },
        None => {
            let Some(walk) = tunnel::walk() else { return };
            walk.begin(skb, network_header(skb, ethertype, packet_type));
            go_on(ctx, walk)
        }
    };
    count(skb, &judged);
}

/// One load for the packets that are nearly all: UDP or TCP behind an IP header without options,
/// extension headers, fragments, tags and tunnels. `None` sends the rest the long way.
#[inline(always)]
fn short_way(skb: *mut __sk_buff, ethertype: u16) -> Option<Verdict> {
    let packet = Skb::whole(skb);
    match ethertype {
        IP => {
            let head = packet.load::<34>(0)?;
            if head[0] != 0x45 || be16(head[6], head[7]) & 0x3fff != 0 {
                return None;
            }
            let claimed = u32::from(be16(head[2], head[3]));
            judge(packet.room(20, claimed)?, head[9], head.last_chunk()?, Flow::at(0, 20))
        }
        IPV6 => {
            let head = packet.load::<54>(0)?;
            if head[0] >> 4 != 6 {
                return None;
            }
            let claimed = u32::from(be16(head[4], head[5])) + 40;
            judge(packet.room(40, claimed)?, head[6], head.last_chunk()?, Flow::at(0, 40))
        }
        _ => None,
    }
}

/// The verdict on a UDP or TCP header, which has `room` with its payload.
#[inline(always)]
fn judge(room: u32, protocol: u8, upper: &[u8; UPPER], flow: Flow) -> Option<Verdict> {
    match protocol {
        UDP | TCP => {}
        ICMP | ICMP6 if !parse::is_unreachable(protocol, upper[0]) => {
            return Some(Verdict::NOT_OURS);
        }
        _ => return None,
    }
    let (src, dst) = (be16(upper[0], upper[1]), be16(upper[2], upper[3]));
    let classes = (maps::port_class(src), maps::port_class(dst));
    if classes == (0, 0) {
        let tunnel = protocol == UDP && (layers::is_tunnel(src) || layers::is_tunnel(dst));
        return if tunnel { None } else { Some(Verdict::NOT_OURS) };
    }
    if classes.0 != PORT_DNS && classes.1 != PORT_DNS {
        // Encrypted, perhaps.
        return None;
    }
    if protocol == TCP && !parse::tcp_may_carry(upper[12], upper[13], room) {
        return Some(Verdict::TCP_NO_PAYLOAD);
    }
    Some(Verdict::emit(protocol, flow))
}

/// A packet within the packet that the last program met.
#[inline(always)]
pub fn observe_within(ctx: &SkBuffContext) {
    if let Some(walk) = tunnel::walk() {
        count(ctx.skb.skb, &go_on(ctx, walk));
    }
}

/// Walks on, in this program and then in the next. What comes of it is counted in one place: before Linux
/// 6.7, a filter of more than 20 KiB of instructions cannot be attached (`net.core.optmem_max`).
#[inline(always)]
fn go_on(ctx: &SkBuffContext, walk: Cursor) -> Judged {
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
fn network_header(skb: *mut __sk_buff, ethertype: u16, packet_type: u32) -> Place {
    let skips_tags =
        packet_type == PACKET_OUTGOING && matches!(ethertype, ETH_P_8021Q | ETH_P_8021AD);
    let kind = match skips_tags.then(|| Skb::whole(skb).load::<1>(0)) {
        Some(Some([first])) if matches!(first >> 4, 4 | 6) => IP,
        _ => ethertype,
    };
    Place::new(kind, 0)
}
