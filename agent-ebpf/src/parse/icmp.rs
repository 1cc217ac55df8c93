//! ICMP destination unreachable, and the packet that it quotes (RFC 792; RFC 4443, 3.1).

use super::ip::{self, Fragment};
use super::transport::{self, TCP, UDP};
use super::{Skb, Verdict};
use crate::maps::FragmentKey;
use dnscribe_common::layers::Octets;

pub const ICMP: u8 = 1;
pub const ICMP6: u8 = 58;

/// Octets of the ICMP header before the quoted packet, in both versions.
const HEADER: u32 = 8;
const UNREACHABLE_4: u8 = 3;
const UNREACHABLE_6: u8 = 1;

/// The verdict on an ICMP header at `at`.
#[inline(always)]
pub fn judge(packet: Skb, protocol: u8, at: u32) -> Verdict {
    match (protocol, packet.load(at)) {
        (ICMP, Some([UNREACHABLE_4])) | (ICMP6, Some([UNREACHABLE_6]))
            if quotes_ours(packet, at + HEADER) =>
        {
            Verdict::Emit(protocol)
        }
        _ => Verdict::NotOurs,
    }
}

#[inline(always)]
fn quotes_ours(packet: Skb, at: u32) -> bool {
    let mut unused = FragmentKey::default();
    let Some(upper) = ip::upper(packet, at, &mut unused) else { return false };
    upper.fragment != Fragment::Later
        && (upper.protocol == UDP || upper.protocol == TCP)
        && transport::ports(packet.until(upper.end), upper.at).is_some_and(transport::are_ours)
}
