//! Parses ICMP destination unreachable and the packet quoted in it (RFC 792; RFC 4443, 3.1).

use super::ip::{self, Fragment};
use super::transport::{self, TCP, UDP};
use super::{Skb, Verdict};
use crate::flow::Flow;
use crate::maps::FragmentKey;
use core::mem::MaybeUninit;
use dnscribe_common::layers::ByteSource;

pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// Size in bytes of the ICMP header before the quoted packet, in both versions.
const HEADER: u32 = 8;
const UNREACHABLE_4: u8 = 3;
const UNREACHABLE_6: u8 = 1;

/// Returns whether this ICMP type is destination unreachable.
#[inline(always)]
pub fn is_unreachable(protocol: u8, kind: u8) -> bool {
    matches!((protocol, kind), (ICMP, UNREACHABLE_4) | (ICMP6, UNREACHABLE_6))
}

/// Classifies the ICMP message at `at`.
#[inline(always)]
pub fn classify(packet: Skb, protocol: u8, at: u32) -> Verdict {
    match packet.load(at) {
        Some([kind]) if is_unreachable(protocol, kind) => match quoted_flow(packet, at + HEADER) {
            Some((needs_resolver, resolver_ref, flow)) => {
                Verdict { needs_resolver, resolver_ref, ..Verdict::emit(protocol, flow) }
            }
            None => Verdict::SKIPPED,
        },
        _ => Verdict::SKIPPED,
    }
}

/// Returns the resolver check for the quoted addresses and the quoted flow, if the quoted ports are captured.
#[inline(always)]
fn quoted_flow(packet: Skb, at: u32) -> Option<(bool, u32, Flow)> {
    let mut place = MaybeUninit::uninit();
    let unused = FragmentKey::empty(&mut place);
    let upper = ip::upper(packet, at, unused)?;
    if upper.fragment == Fragment::Later || (upper.protocol != UDP && upper.protocol != TCP) {
        return None;
    }
    let ports = transport::ports(packet.truncate(upper.end), upper.at)?;
    let matched = transport::match_ports(&upper, ports);
    if matched.may_be_captured {
        Some((matched.needs_resolver, matched.resolver_ref, Flow::in_headers(upper.ip, upper.at)))
    } else {
        None
    }
}
