//! Parses packets in tunnels for the interface tap, down to the innermost ports.
//!
//! Each run of a program parses up to one IP packet and continues with a tail call if another packet is
//! nested in it. The position is kept in a map with volatile access: the verifier then knows nothing of the
//! previous run, and does not follow every path through all headers.

use super::ip::{self, Fragment};
use super::transport::{self, TCP, UDP};
use super::{Outcome, Skb, Verdict, icmp};
use crate::flow::Flow;
use crate::maps::{self, FragmentKey};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use core::mem::MaybeUninit;
use dnscribe_common::layers::{self, HEADERS, LEVELS, Layer};

/// One entry is enough: the tap runs with softirqs disabled or in a softirq, so it never interrupts itself.
#[map]
static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// State of the walk through the headers of one packet.
#[repr(C)]
struct Walk {
    /// `EtherType` of the next header.
    ethertype: u32,
    /// Offset of the next header.
    at: u32,
    /// End of the enclosing packet.
    end: u32,
    /// Number of IP headers so far.
    levels: u32,
    /// Offset of the outermost IP header.
    start: u32,
    /// Not 0 if `outer_key` is set.
    fragmented: u32,
    /// Number of fragments of captured datagrams that came before their first fragments.
    early: u64,
    /// Parts of the verdict, passed through the map so that the verifier forgets their origin.
    verdict: [u32; 5],
    /// Key of the fragmented datagram whose first fragment contains a tunnel.
    outer_key: FragmentKey,
}

/// Verdict on a packet with its position.
pub struct Parsed {
    pub verdict: Verdict,
    /// Offset of the outermost IP header.
    pub start: u32,
    /// Offset of the innermost IP header.
    pub ip: u32,
    /// Whether the ports were found in a tunnel.
    pub tunnelled: bool,
    /// Number of fragments that came before the first fragment of their captured datagram.
    pub early: u64,
}

/// Returns the state of the current packet's walk.
#[inline(always)]
pub fn walk() -> Option<Cursor> {
    WALK.get_ptr_mut(0).map(Cursor)
}

/// Parses up to and including the next IP header. Returns the verdict and whether it comes from inside a tunnel,
/// or `None` if another packet is nested in this one.
#[inline(always)]
pub fn step(skb: *mut __sk_buff, walk: Cursor) -> Option<(Verdict, bool)> {
    let packet = Skb::whole(skb).truncate(walk.end());
    for _ in 0..HEADERS {
        let layer = walk.layer();
        if layer.is_ip() {
            break;
        }
        match layers::below_ip(&packet, layer) {
            Some(next) => walk.set_layer(next),
            None => return Some((Verdict::SKIPPED, false)),
        }
    }
    let layer = walk.layer();
    let tunnelled = walk.enter_ip(layer.offset);
    if !layer.is_ip() {
        return Some((Verdict::TOO_DEEP, tunnelled));
    }
    let mut key = MaybeUninit::uninit();
    let key = FragmentKey::empty(&mut key);
    let Some(upper) = ip::upper(packet, layer.offset, key) else {
        return Some((Verdict::SKIPPED, tunnelled));
    };
    if upper.fragment == Fragment::Later {
        return Some(match maps::fragment_state(key) {
            Some(known) => {
                let verdict = Verdict::emit(upper.protocol, Flow::hashed(known.flow));
                (verdict, tunnelled || known.tunnelled)
            }
            None => {
                maps::count_early_fragment(key);
                (Verdict::SKIPPED, tunnelled)
            }
        });
    }
    let packet = packet.truncate(upper.end);
    let (verdict, inner) = match upper.protocol {
        _ if upper.is_too_deep => (Verdict::TOO_DEEP, None),
        UDP | TCP => match transport::classify(packet, &upper) {
            (verdict, (src, dst))
                if verdict.outcome == Outcome::Skipped && upper.protocol == UDP =>
            {
                (Verdict::SKIPPED, layers::over_udp(&packet, src, dst, upper.at + 8))
            }
            (verdict, _) => (verdict, None),
        },
        icmp::ICMP | icmp::ICMP6 => (icmp::classify(packet, upper.protocol, upper.at), None),
        protocol => (Verdict::SKIPPED, layers::over_ip(&packet, protocol, upper.at)),
    };
    if let Some(next) = inner {
        if upper.fragment == Fragment::First {
            walk.set_outer_key(key);
        }
        walk.set_layer(next);
        walk.set_end(upper.end);
        return None;
    }
    let verdict = ip::apply_to_fragments(packet, verdict, &upper, key);
    if upper.fragment == Fragment::First && verdict.outcome == Outcome::Emit {
        walk.add_early(maps::take_early_fragments(key));
    }
    Some((verdict, tunnelled))
}

/// Access to the state of a walk in its map.
#[derive(Clone, Copy)]
pub struct Cursor(*mut Walk);

impl Cursor {
    /// Starts at the outermost header of a packet.
    #[inline(always)]
    pub fn begin(self, skb: *mut __sk_buff, layer: Layer) {
        self.set_layer(layer);
        self.set_end(Skb::whole(skb).end);
        // SAFETY: the map's value, which lives as long as the program runs.
        unsafe {
            (&raw mut (*self.0).levels).write_volatile(0);
            (&raw mut (*self.0).start).write_volatile(0);
            (&raw mut (*self.0).fragmented).write_volatile(0);
            (&raw mut (*self.0).early).write_volatile(0);
        }
    }

    #[inline(always)]
    fn layer(self) -> Layer {
        // SAFETY: as in `begin`.
        unsafe {
            Layer::new(
                (&raw const (*self.0).ethertype).read_volatile() as u16,
                (&raw const (*self.0).at).read_volatile(),
            )
        }
    }

    #[inline(always)]
    fn set_layer(self, layer: Layer) {
        // SAFETY: as in `begin`.
        unsafe {
            (&raw mut (*self.0).ethertype).write_volatile(u32::from(layer.ethertype));
            (&raw mut (*self.0).at).write_volatile(layer.offset);
        }
    }

    #[inline(always)]
    fn set_end(self, end: u32) {
        // SAFETY: as in `begin`.
        unsafe { (&raw mut (*self.0).end).write_volatile(end) };
    }

    #[inline(always)]
    fn end(self) -> u32 {
        // SAFETY: as in `begin`.
        unsafe { (&raw const (*self.0).end).read_volatile() }
    }

    /// Counts an IP header at `at`. Returns whether it is nested in another packet.
    #[inline(always)]
    fn enter_ip(self, at: u32) -> bool {
        // SAFETY: as in `begin`.
        unsafe {
            let levels = (&raw const (*self.0).levels).read_volatile();
            (&raw mut (*self.0).levels).write_volatile(levels + 1);
            if levels == 0 {
                (&raw mut (*self.0).start).write_volatile(at);
            }
            levels > 0
        }
    }

    /// Sets the fragmented datagram around the next packet. With several nested ones, only the outermost is kept;
    /// the innermost is handled by [`ip::apply_to_fragments`].
    #[inline(always)]
    fn set_outer_key(self, key: &FragmentKey) {
        // SAFETY: as in `begin`.
        unsafe {
            if (&raw const (*self.0).fragmented).read_volatile() == 0 {
                (&raw mut (*self.0).fragmented).write_volatile(1);
                key.copy_to(&raw mut (*self.0).outer_key);
            }
        }
    }

    #[inline(always)]
    fn add_early(self, count: u64) {
        // SAFETY: as in `begin`.
        unsafe {
            let early = (&raw const (*self.0).early).read_volatile();
            (&raw mut (*self.0).early).write_volatile(early + count);
        }
    }

    /// Returns whether another level of nesting is allowed.
    #[inline(always)]
    pub fn may_continue(self) -> bool {
        // SAFETY: as in `begin`.
        unsafe { (&raw const (*self.0).levels).read_volatile() < LEVELS as u32 }
    }

    /// Applies the verdict on the innermost packet to the whole packet, and to the other fragments of an enclosing
    /// datagram.
    #[inline(always)]
    pub fn finish(self, packet: Skb, verdict: Verdict, tunnelled: bool) -> Parsed {
        let mut verdict = verdict;
        // SAFETY: as in `begin`.
        unsafe {
            if (&raw const (*self.0).fragmented).read_volatile() != 0 {
                let outer_key = &*(&raw const (*self.0).outer_key);
                if verdict.outcome == Outcome::TcpNoPayload && !verdict.is_encrypted {
                    // The other fragments are exported, and reassembly needs this one.
                    verdict = Verdict::emit(TCP, verdict.flow);
                } else if verdict.is_encrypted {
                    verdict.outcome = Outcome::EncryptedFragment;
                }
                match verdict.outcome {
                    Outcome::Skipped | Outcome::TooDeep | Outcome::EncryptedFragment => {
                        maps::forget_fragment(outer_key);
                    }
                    _ => {
                        let flow = verdict.flow.hash(packet);
                        maps::remember_fragment(outer_key, true, flow);
                        verdict.flow = Flow::hashed(flow);
                        self.add_early(maps::take_early_fragments(outer_key));
                    }
                }
            }
            let Verdict {
                protocol,
                is_encrypted,
                payload,
                needs_resolver,
                resolver_ref,
                outcome,
                is_translated,
                flow,
            } = verdict;
            let flags = u32::from(is_encrypted) | u32::from(needs_resolver) << 1;
            let flags = flags | u32::from(flow.is_hashed) << 2;
            let words = [u32::from(protocol), payload, resolver_ref, flags, flow.value];
            (&raw mut (*self.0).verdict).write_volatile(words);
            let [protocol, payload, resolver_ref, flags, value] =
                (&raw const (*self.0).verdict).read_volatile();
            let verdict = Verdict {
                outcome,
                protocol: protocol as u8,
                is_encrypted: flags & 1 != 0,
                payload,
                needs_resolver: flags & 2 != 0,
                resolver_ref,
                is_translated,
                flow: Flow { is_hashed: flags & 4 != 0, value },
            };
            let start = (&raw const (*self.0).start).read_volatile();
            let early = (&raw const (*self.0).early).read_volatile();
            let ip = (&raw const (*self.0).at).read_volatile();
            Parsed { verdict, start, ip, tunnelled, early }
        }
    }
}
