//! ICMP destination unreachable, and the packet that it quotes (RFC 792; RFC 4443, 3.1).

use super::ip::{self, Fragment};
use super::transport::{self, TCP, UDP};
use super::{Skb, Verdict};
use crate::flow::Flow;
use crate::maps::FragmentKey;
use core::mem::MaybeUninit;
use dnscribe_common::layers::Octets;

pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// Octets of the ICMP header before the quoted packet, in both versions.
const HEADER: u32 = 8;
const UNREACHABLE_4: u8 = 3;
const UNREACHABLE_6: u8 = 1;

/// Whether an ICMP message of this type says that something cannot be reached.
#[inline(always)]
pub fn is_unreachable(protocol: u8, kind: u8) -> bool {
    matches!((protocol, kind), (ICMP, UNREACHABLE_4) | (ICMP6, UNREACHABLE_6))
}

/// The verdict on an ICMP header at `at`.
#[inline(always)]
pub fn judge(packet: Skb, protocol: u8, at: u32) -> Verdict {
    match packet.load(at) {
        Some([kind]) if is_unreachable(protocol, kind) => match quotes_ours(packet, at + HEADER) {
            Some((asks, ask, flow)) => Verdict { asks, ask, ..Verdict::emit(protocol, flow) },
            None => Verdict::NOT_OURS,
        },
        _ => Verdict::NOT_OURS,
    }
}

/// What is to be asked of the quoted addresses, if the quoted ports may be ours, and the quoted flow.
#[inline(always)]
fn quotes_ours(packet: Skb, at: u32) -> Option<(bool, u32, Flow)> {
    let mut place = MaybeUninit::uninit();
    let unused = FragmentKey::empty(&mut place);
    let upper = ip::upper(packet, at, unused)?;
    if upper.fragment == Fragment::Later || (upper.protocol != UDP && upper.protocol != TCP) {
        return None;
    }
    let ports = transport::ports(packet.until(upper.end), upper.at)?;
    let watched = transport::watched(&upper, ports);
    if watched.may_be_ours {
        Some((watched.asks, watched.ask, Flow::at(upper.ip, upper.at)))
    } else {
        None
    }
}
