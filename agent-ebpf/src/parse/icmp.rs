//! ICMP destination unreachable, and the packet that it quotes (RFC 792; RFC 4443, 3.1).

use super::transport::{self, TCP, UDP};
use super::{Verdict, be16, load};
use aya_ebpf::bindings::__sk_buff;

pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// Octets of the ICMP header before the quoted packet, in both versions.
const HEADER: u32 = 8;
const UNREACHABLE_4: u8 = 3;
const UNREACHABLE_6: u8 = 1;
const FRAGMENT_HEADER: u8 = 44;

/// The verdict on an ICMP header at `at`.
#[inline(always)]
pub fn judge(skb: *mut __sk_buff, protocol: u8, at: u32) -> Verdict {
    let Some([kind]) = load::<1>(skb, at) else { return Verdict::NotOurs };
    let quoted = at + HEADER;
    let ours = match (protocol, kind) {
        (ICMP, UNREACHABLE_4) => quotes_ours_4(skb, quoted),
        (ICMP6, UNREACHABLE_6) => quotes_ours_6(skb, quoted),
        _ => false,
    };
    if ours { Verdict::Emit(protocol) } else { Verdict::NotOurs }
}

#[inline(always)]
fn quotes_ours_4(skb: *mut __sk_buff, at: u32) -> bool {
    let Some(head) = load::<10>(skb, at) else { return false };
    let length = u32::from(head[0] & 15) * 4;
    head[0] >> 4 == 4
        && length >= 20
        && be16(head[6], head[7]) & 0x1fff == 0
        && (head[9] == UDP || head[9] == TCP)
        && ports_are_ours(skb, at + length)
}

/// Other extension headers than one for fragments are not looked through here: what a host sends
/// to a DNS server has none.
#[inline(always)]
fn quotes_ours_6(skb: *mut __sk_buff, at: u32) -> bool {
    let Some(head) = load::<8>(skb, at) else { return false };
    if head[0] >> 4 != 6 {
        return false;
    }
    let (mut next, mut upper) = (head[6], at + 40);
    if next == FRAGMENT_HEADER
        && let Some([after, _, high, low]) = load::<4>(skb, upper)
    {
        if be16(high, low) >> 3 != 0 {
            return false;
        }
        (next, upper) = (after, upper + 8);
    }
    (next == UDP || next == TCP) && ports_are_ours(skb, upper)
}

#[inline(always)]
fn ports_are_ours(skb: *mut __sk_buff, at: u32) -> bool {
    transport::ports(skb, at).is_some_and(transport::are_ours)
}
