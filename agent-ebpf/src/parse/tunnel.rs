//! Packets in packets, for the interface tap: the ports that count are the innermost.
//!
//! Each run of a program walks to one IP packet; where another is in it, the next run is a tail
//! call. How far the walk is stands in a map, read and written as volatile. So the verifier knows
//! nothing of one step in the next, and need not follow every way through all the headers.

use super::ip::{self, Fragment};
use super::transport::{self, TCP, UDP};
use super::{Fate, Skb, Verdict, icmp};
use crate::flow::Flow;
use crate::maps::{self, FragmentKey};
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use core::mem::MaybeUninit;
use dnscribe_common::layers::{self, HEADERS, LEVELS, Place};

/// Nothing interrupts the tap for itself: it runs with softirqs off, or in one.
#[map]
static WALK: PerCpuArray<Walk> = PerCpuArray::with_max_entries(1, 0);

/// How far the walk is.
#[repr(C)]
struct Walk {
    kind: u32,
    at: u32,
    /// Where the packet that this is in ends.
    end: u32,
    /// IP headers met.
    levels: u32,
    /// Where the outermost of them begins.
    start: u32,
    /// Whether `around` is set.
    fragmented: u32,
    /// Fragments of ours that came before the first ones in this packet.
    early: u64,
    /// Of the verdict: passed through here too, so that the verifier forgets how it came about.
    verdict: [u32; 5],
    /// The datagram in fragments whose first holds a tunnel.
    around: FragmentKey,
}

/// What came of a packet.
pub struct Judged {
    pub verdict: Verdict,
    /// Where the outermost IP header begins.
    pub start: u32,
    /// Where the innermost does.
    pub ip: u32,
    /// Whether the ports were found in a tunnel.
    pub tunnelled: bool,
    /// Fragments of ours that came too early for it to be known.
    pub early: u64,
}

/// The walk of the packet at hand.
#[inline(always)]
pub fn walk() -> Option<Cursor> {
    WALK.get_ptr_mut(0).map(Cursor)
}

/// Walks to the next IP packet and through it; gives the verdict and whether that comes from
/// within a tunnel, or nothing where another packet is in this one.
#[inline(always)]
pub fn step(skb: *mut __sk_buff, walk: Cursor) -> Option<(Verdict, bool)> {
    let packet = Skb::whole(skb).until(walk.limit());
    for _ in 0..HEADERS {
        let place = walk.place();
        if place.is_ip() {
            break;
        }
        match layers::below_ip(&packet, place) {
            Some(next) => walk.go(next),
            None => return Some((Verdict::NOT_OURS, false)),
        }
    }
    let place = walk.place();
    let tunnelled = walk.enter(place.at);
    if !place.is_ip() {
        return Some((Verdict::TOO_DEEP, tunnelled));
    }
    let mut key = MaybeUninit::uninit();
    let key = FragmentKey::empty(&mut key);
    let Some(upper) = ip::upper(packet, place.at, key) else {
        return Some((Verdict::NOT_OURS, tunnelled));
    };
    if upper.fragment == Fragment::Later {
        return Some(match maps::known_fragment(key) {
            Some(known) => {
                let verdict = Verdict::emit(upper.protocol, Flow::known(known.flow));
                (verdict, tunnelled || known.tunnelled)
            }
            None => {
                maps::note_early(key);
                (Verdict::NOT_OURS, tunnelled)
            }
        });
    }
    let packet = packet.until(upper.end);
    let (verdict, within) = match upper.protocol {
        UDP | TCP => match transport::judge(packet, &upper) {
            (verdict, (src, dst)) if verdict.fate == Fate::NotOurs && upper.protocol == UDP => {
                (Verdict::NOT_OURS, layers::over_udp(&packet, src, dst, upper.at + 8))
            }
            (verdict, _) => (verdict, None),
        },
        icmp::ICMP | icmp::ICMP6 => (icmp::judge(packet, upper.protocol, upper.at), None),
        protocol => (Verdict::NOT_OURS, layers::over_ip(&packet, protocol, upper.at)),
    };
    if let Some(next) = within {
        if upper.fragment == Fragment::First {
            walk.is_in(key);
        }
        walk.go(next);
        walk.stop_at(upper.end);
        return None;
    }
    let verdict = ip::settle(packet, verdict, &upper, key);
    if upper.fragment == Fragment::First && verdict.fate == Fate::Emit {
        walk.add_early(maps::take_early(key));
    }
    Some((verdict, tunnelled))
}

/// The walk in its map.
#[derive(Clone, Copy)]
pub struct Cursor(*mut Walk);

impl Cursor {
    /// Begins with a packet whose outermost header is at `place`.
    #[inline(always)]
    pub fn begin(self, skb: *mut __sk_buff, place: Place) {
        self.go(place);
        self.stop_at(Skb::whole(skb).end);
        // SAFETY: the map's value, which lives as long as the program runs; the same below.
        unsafe {
            (&raw mut (*self.0).levels).write_volatile(0);
            (&raw mut (*self.0).start).write_volatile(0);
            (&raw mut (*self.0).fragmented).write_volatile(0);
            (&raw mut (*self.0).early).write_volatile(0);
        }
    }

    #[inline(always)]
    fn place(self) -> Place {
        // SAFETY: as in `begin`.
        unsafe {
            Place::new(
                (&raw const (*self.0).kind).read_volatile() as u16,
                (&raw const (*self.0).at).read_volatile(),
            )
        }
    }

    #[inline(always)]
    fn go(self, place: Place) {
        // SAFETY: as in `begin`.
        unsafe {
            (&raw mut (*self.0).kind).write_volatile(u32::from(place.kind));
            (&raw mut (*self.0).at).write_volatile(place.at);
        }
    }

    #[inline(always)]
    fn stop_at(self, end: u32) {
        // SAFETY: as in `begin`.
        unsafe { (&raw mut (*self.0).end).write_volatile(end) };
    }

    #[inline(always)]
    fn limit(self) -> u32 {
        // SAFETY: as in `begin`.
        unsafe { (&raw const (*self.0).end).read_volatile() }
    }

    /// Notes an IP header, and tells whether it is in another packet.
    #[inline(always)]
    fn enter(self, at: u32) -> bool {
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

    /// Notes the fragments that what follows is in. Of several, one in the other, the outermost are
    /// remembered, besides the innermost.
    #[inline(always)]
    fn is_in(self, key: &FragmentKey) {
        // SAFETY: as in `begin`.
        unsafe {
            if (&raw const (*self.0).fragmented).read_volatile() == 0 {
                (&raw mut (*self.0).fragmented).write_volatile(1);
                key.copy_to(&raw mut (*self.0).around);
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

    /// Whether there may be another step.
    #[inline(always)]
    pub fn may_go_on(self) -> bool {
        // SAFETY: as in `begin`.
        unsafe { (&raw const (*self.0).levels).read_volatile() < LEVELS as u32 }
    }

    /// What the verdict on the innermost packet means to the whole, and to the other fragments of
    /// what is around it.
    #[inline(always)]
    pub fn end(self, packet: Skb, verdict: Verdict, tunnelled: bool) -> Judged {
        let mut verdict = verdict;
        // SAFETY: as in `begin`.
        unsafe {
            if (&raw const (*self.0).fragmented).read_volatile() != 0 {
                let around = &*(&raw const (*self.0).around);
                if verdict.fate == Fate::TcpNoPayload && !verdict.is_encrypted {
                    // Its rest will be handed over, and would wait for this in vain.
                    verdict = Verdict::emit(TCP, verdict.flow);
                } else if verdict.is_encrypted {
                    verdict.fate = Fate::EncryptedFragment;
                }
                match verdict.fate {
                    Fate::NotOurs | Fate::TooDeep | Fate::EncryptedFragment => {
                        maps::forget_fragment(around);
                    }
                    _ => {
                        let flow = verdict.flow.number(packet);
                        maps::remember_fragment(around, true, flow);
                        verdict.flow = Flow::known(flow);
                        self.add_early(maps::take_early(around));
                    }
                }
            }
            let Verdict { protocol, is_encrypted, payload, asks, ask, fate, flow } = verdict;
            let flags = u32::from(is_encrypted) | u32::from(asks) << 1;
            let flags = flags | u32::from(flow.is_known) << 2;
            let words = [u32::from(protocol), payload, ask, flags, flow.value];
            (&raw mut (*self.0).verdict).write_volatile(words);
            let [protocol, payload, ask, flags, value] =
                (&raw const (*self.0).verdict).read_volatile();
            let verdict = Verdict {
                fate,
                protocol: protocol as u8,
                is_encrypted: flags & 1 != 0,
                payload,
                asks: flags & 2 != 0,
                ask,
                flow: Flow { is_known: flags & 4 != 0, value },
            };
            let start = (&raw const (*self.0).start).read_volatile();
            let early = (&raw const (*self.0).early).read_volatile();
            let ip = (&raw const (*self.0).at).read_volatile();
            Judged { verdict, start, ip, tunnelled, early }
        }
    }
}
