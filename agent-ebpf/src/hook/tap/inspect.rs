//! The second program of the tap: parses packets that the first could not decide, and writes the records.

use super::control_buffer::{self, Step};
use crate::counters::Counters;
use crate::parse::tunnel::{self, Cursor, Parsed};
use crate::parse::{Outcome, Skb, UDP, Verdict};
use crate::ring::{self, Context};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::SkBuffContext;
use dnscribe_common::counter::{Counter, Hook};
use dnscribe_common::layers::{ByteSource, IP, Layer};
use dnscribe_common::record::DIRECTION_TAP;
use dnscribe_common::totals::PacketPath;

const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

// Packet types of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const PACKET_OUTGOING: u32 = 4;
/// Index of the loopback interface, the first of every network namespace.
const LOOPBACK: u32 = 1;

/// Handles a packet passed by the first program, or by a previous run of this one.
#[inline(always)]
pub fn observe(ctx: &SkBuffContext) {
    let skb = ctx.skb.skb;
    let (step, verdict) = control_buffer::read(skb);
    let parsed = match step {
        Step::Emit | Step::Count => Parsed { verdict, start: 0, ip: 0, tunnelled: false, early: 0 },
        Step::Begin | Step::Continue => {
            let Some(walk) = tunnel::walk() else { return };
            if step == Step::Begin {
                walk.begin(skb, network_header(skb));
            }
            continue_walk(ctx, walk)
        }
    };
    count(skb, &parsed);
}

/// Parses up to the next IP header, and calls this program again if another packet is nested in it.
#[inline(always)]
fn continue_walk(ctx: &SkBuffContext, walk: Cursor) -> Parsed {
    let skb = ctx.skb.skb;
    let (verdict, tunnelled) = match tunnel::step(skb, walk) {
        Some(decided) => decided,
        None => {
            if walk.may_continue() {
                control_buffer::set_step(skb, Step::Continue);
                super::call(ctx);
            }
            (Verdict::TOO_DEEP, true)
        }
    };
    walk.finish(Skb::whole(skb), verdict, tunnelled)
}

/// Counts the packet, and writes a record if it is captured.
#[inline(always)]
fn count(skb: *mut __sk_buff, parsed: &Parsed) {
    if parsed.verdict.outcome == Outcome::Skipped {
        return;
    }
    // SAFETY: the kernel hands a valid context.
    let (length, packet_type, ifindex, segment) =
        unsafe { ((*skb).len, (*skb).pkt_type, (*skb).ifindex, (*skb).gso_size) };
    let Some(max_bytes) = parsed.verdict.max_export_bytes(Skb::whole(skb), parsed.tunnelled) else {
        return;
    };
    let Some(counters) = Counters::this_cpu() else { return };
    if parsed.early > 0 {
        counters.add_many(Hook::Socket, Counter::Seen, parsed.early);
        counters.add_many(Hook::Socket, Counter::FragmentEarly, parsed.early);
    }
    counters.add(Hook::Socket, Counter::Seen);
    if ifindex == LOOPBACK && packet_type == PACKET_OUTGOING {
        return counters.add(Hook::Socket, Counter::LoopbackCopy);
    }
    let verdict = parsed.verdict;
    match verdict.outcome {
        Outcome::Emit => {}
        Outcome::TooDeep => return counters.add(Hook::Socket, Counter::TunnelDepth),
        Outcome::EncryptedFragment => {
            return counters.add(Hook::Socket, Counter::EncryptedFragment);
        }
        _ => return counters.add(Hook::Socket, Counter::TcpNoPayload),
    }
    let context = Context {
        hook: Hook::Socket,
        path: if parsed.tunnelled { PacketPath::Transit } else { path(skb, packet_type, ifindex) },
        ip: parsed.ip,
        direction: DIRECTION_TAP,
        packet_type: packet_type as u8,
        datagram_bytes: if verdict.protocol == UDP { segment as u16 } else { 0 },
        max_bytes,
        ifindex,
        netns_cookie: 0,
        cgroup_id: 0,
        task: None,
        parent_pid: 0,
        tunnelled: parsed.tunnelled,
        direct: false,
        translated: false,
        flow: verdict.flow.hash(Skb::whole(skb)),
        arrived_ns: 0,
    };
    let start = parsed.start;
    ring::write_packet(counters, skb, start, length.saturating_sub(start), &context);
}

/// Returns the path of a packet, as far as it is known without its addresses.
#[inline(always)]
fn path(skb: *mut __sk_buff, packet_type: u32, ifindex: u32) -> PacketPath {
    if ifindex == LOOPBACK {
        return PacketPath::Loopback;
    }
    // SAFETY: the kernel hands a valid context. Volatile, because the compiler would otherwise compute an
    // address inside it first, which the verifier refuses.
    let came_by = unsafe { (&raw const (*skb).ingress_ifindex).read_volatile() };
    match packet_type {
        // A packet with an ingress interface is forwarded.
        PACKET_OUTGOING if came_by == 0 => PacketPath::Sent,
        PACKET_HOST => PacketPath::Received,
        PACKET_BROADCAST | PACKET_MULTICAST => PacketPath::Broadcast,
        _ => PacketPath::Transit,
    }
}

/// Returns the first header of the packet. The kernel removes the outermost VLAN tag (`vlan_tci`). For outgoing
/// packets it skips all tags, but still reports the `EtherType` of a tag.
#[inline(always)]
fn network_header(skb: *mut __sk_buff) -> Layer {
    // SAFETY: the kernel hands a valid context.
    let (ethertype, packet_type) =
        unsafe { (u16::from_be((*skb).protocol as u16), (*skb).pkt_type) };
    let skips_tags =
        packet_type == PACKET_OUTGOING && matches!(ethertype, ETH_P_8021Q | ETH_P_8021AD);
    let kind = match skips_tags.then(|| Skb::whole(skb).load::<1>(0)) {
        Some(Some([first])) if matches!(first >> 4, 4 | 6) => IP,
        _ => ethertype,
    };
    Layer::new(kind, 0)
}
