//! Parses IPv4 and IPv6 headers, options, extension headers and fragments (RFC 791, RFC 8200).

use super::icmp;
use super::transport::{self, TCP, UDP};
use super::{Outcome, Skb, Verdict, be16};
use crate::flow::Flow;
use crate::maps::{self, FragmentKey};
use core::mem::MaybeUninit;
use dnscribe_common::layers::{AUTHENTICATION, ByteSource, EXTENSIONS, FRAGMENT, is_extension};

/// Bits of the fourth word of an IPv4 header that are 0 in an unfragmented packet: "more fragments" and the
/// fragment offset.
pub const FRAGMENT_BITS: u16 = 0x3fff;

/// Position of the upper-layer header of a packet.
pub struct Upper {
    pub protocol: u8,
    /// Offset of the IP header.
    pub ip: u32,
    /// Offset of the upper-layer header.
    pub at: u32,
    /// End of the IP packet, by its header.
    pub end: u32,
    pub fragment: Fragment,
    /// Whether more IPv6 extension headers come first than are walked: `protocol` is the next of them.
    pub is_too_deep: bool,
}

/// Position of a packet in its fragmented datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    Whole,
    First,
    Later,
}

/// Classifies an IP packet without looking into tunnels, and into ICMP only if `icmp` is set.
#[inline(always)]
pub fn classify(packet: Skb, icmp: bool) -> Verdict {
    let mut place = MaybeUninit::uninit();
    let key = FragmentKey::empty(&mut place);
    let Some(upper) = upper(packet, 0, key) else { return Verdict::SKIPPED };
    if upper.fragment == Fragment::Later {
        return match maps::fragment_state(key) {
            Some(known) => Verdict::emit(upper.protocol, Flow::hashed(known.flow)),
            None => Verdict::SKIPPED,
        };
    }
    let verdict = match upper.protocol {
        _ if upper.is_too_deep => Verdict::TOO_DEEP,
        UDP | TCP => transport::classify(packet.truncate(upper.end), &upper).0,
        // Sockets receive no fragments of ICMP.
        icmp::ICMP | icmp::ICMP6 if icmp => {
            return icmp::classify(packet, upper.protocol, upper.at);
        }
        _ => Verdict::SKIPPED,
    };
    apply_to_fragments(packet, verdict, &upper, key)
}

/// Records the verdict for the other fragments of the datagram, and returns the verdict for this one.
#[inline(always)]
pub fn apply_to_fragments(
    packet: Skb,
    verdict: Verdict,
    upper: &Upper,
    key: &FragmentKey,
) -> Verdict {
    if upper.fragment != Fragment::First {
        return verdict;
    }
    match verdict.outcome {
        Outcome::Skipped | Outcome::TooDeep => {
            // The identification may belong to an earlier, captured datagram.
            maps::forget_fragment(key);
            verdict
        }
        _ if verdict.is_encrypted => {
            maps::forget_fragment(key);
            Verdict { outcome: Outcome::EncryptedFragment, ..verdict }
        }
        _ => {
            let flow = verdict.flow.hash(packet);
            maps::remember_fragment(key, false, flow);
            // A first fragment is captured whatever its length: the rest of the payload is in other fragments.
            Verdict::emit(upper.protocol, Flow::hashed(flow))
        }
    }
}

/// Finds the upper-layer header of the packet whose IP header is at `at`. For a fragment, fills in `key`.
#[inline(always)]
pub fn upper(packet: Skb, at: u32, key: &mut FragmentKey) -> Option<Upper> {
    // Headers of both versions have at least 20 bytes.
    let head = packet.load::<20>(at)?;
    match head[0] >> 4 {
        4 => version_4(packet, at, &head, key),
        6 => version_6(packet, at, &head, key),
        _ => None,
    }
}

#[inline(always)]
fn version_4(packet: Skb, at: u32, head: &[u8; 20], key: &mut FragmentKey) -> Option<Upper> {
    let length = u32::from(head[0] & 15) * 4;
    if length < 20 {
        return None;
    }
    let protocol = head[9];
    let place = be16(head[6], head[7]);
    let fragment = match (place & 0x1fff, place & 0x2000) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    };
    if fragment != Fragment::Whole {
        key.src[..4].copy_from_slice(&head[12..16]);
        key.dst[..4].copy_from_slice(&head[16..20]);
        key.id = u32::from(be16(head[4], head[5]));
        key.protocol = u32::from(protocol);
    }
    let end = packet_end(packet, at, u32::from(be16(head[2], head[3])));
    if at + length > end {
        return None;
    }
    Some(Upper { protocol, ip: at, at: at + length, end, fragment, is_too_deep: false })
}

#[inline(always)]
fn version_6(packet: Skb, at: u32, head: &[u8; 20], key: &mut FragmentKey) -> Option<Upper> {
    let claimed = match be16(head[4], head[5]) {
        0 => 0,
        payload => u32::from(payload) + 40,
    };
    let end = packet_end(packet, at, claimed);
    let packet = packet.truncate(end);
    let mut fragment = Fragment::Whole;
    let mut next = head[6];
    let mut place = at + 40;
    for _ in 0..EXTENSIONS {
        match next {
            _ if next != FRAGMENT && is_extension(next) => {
                let [after, length] = packet.load::<2>(place)?;
                place += match next {
                    AUTHENTICATION => (u32::from(length) + 2) * 4,
                    _ => (u32::from(length) + 1) * 8,
                };
                next = after;
            }
            FRAGMENT => {
                let [after, _, high, low, a, b, c, d] = packet.load::<8>(place)?;
                fragment = match (be16(high, low) >> 3, low & 1) {
                    // An atomic fragment (RFC 6946).
                    (0, 0) => Fragment::Whole,
                    (0, _) => Fragment::First,
                    _ => Fragment::Later,
                };
                key.src = packet.load::<16>(at + 8)?;
                key.dst = packet.load::<16>(at + 24)?;
                key.id = u32::from_be_bytes([a, b, c, d]);
                key.protocol = u32::from(FRAGMENT);
                place += 8;
                next = after;
                if fragment == Fragment::Later {
                    break;
                }
            }
            _ => break,
        }
    }
    let is_too_deep = fragment != Fragment::Later && is_extension(next);
    Some(Upper { protocol: next, ip: at, at: place, end, fragment, is_too_deep })
}

/// Returns the end of the packet: by its header, which excludes Ethernet padding, or that of the enclosing
/// packet if the header gives no length (jumbograms, offloaded super-packets).
#[inline(always)]
fn packet_end(packet: Skb, at: u32, claimed: u32) -> u32 {
    if claimed == 0 { packet.end } else { (at + claimed).min(packet.end) }
}
