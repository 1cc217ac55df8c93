//! The way down to an IP packet, from header to header: link layers, tags, labels, tunnels.
//!
//! The interface tap in the kernel and userspace walk by this same code, so that both look into the
//! same packets; each reads octets in its own way ([`Octets`]). What stands at a place is always
//! named by an `EtherType` (IEEE 802.3, 3.2.6): VLAN tags, GRE and GENEVE carry one anyway, and
//! there are numbers for Ethernet, PPP and MPLS too.

#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

mod link;
mod tunnel;

pub use link::below_ip;
pub use tunnel::{is_tunnel, over_ip, over_udp};

/// IP headers looked at, one in the other: a packet in up to four tunnels.
pub const LEVELS: usize = 5;
/// Headers looked through at most on the way to the next IP header. Longer chains are not sent by
/// anyone honest.
pub const HEADERS: usize = 16;

/// IPv6 extension headers looked through at most.
pub const EXTENSIONS: usize = 8;

/// IPv4; IPv6 is taken for the same, since the packet's first octet tells (RFC 791, 8200).
pub const IP: u16 = 0x0800;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// An Ethernet frame from its destination address on.
pub const ETHERNET: u16 = 0x6558;
/// PPP, with or without HDLC's address and control (RFC 1661, 1662).
pub const PPP: u16 = 0x880b;
/// A label of MPLS (RFC 3032).
pub const MPLS: u16 = 0x8847;
/// MPLS with labels that the upstream router assigned (RFC 5332).
pub const MPLS_UPSTREAM: u16 = 0x8848;
/// A session header of PPP over Ethernet (RFC 2516).
pub const PPPOE: u16 = 0x8864;
/// Up to here the number is no type but a length, and LLC follows (IEEE 802.3, 3.2.6).
pub const LLC: u16 = 1500;

/// Where octets are read from.
pub trait Octets {
    /// `N` octets from `at` on; `None` where they end before.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

impl Octets for [u8] {
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
    }
}

/// A header, or what else is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is: an `EtherType`.
    pub kind: u16,
    /// Where it begins.
    pub at: u32,
}

impl Place {
    /// A place that holds what `kind` says.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: u16, at: u32) -> Self {
        Self { kind, at }
    }

    /// Whether it is an IP packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_ip(self) -> bool {
        matches!(self.kind, IP | IPV6)
    }
}

/// What the walk down came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An IP packet begins here.
    Ip(u32),
    /// Something else, or the octets end too early.
    Nothing,
    /// More headers than [`HEADERS`].
    TooDeep,
}

/// Walks from a header to the next IP packet. The kernel has a loop of its own, that its verifier
/// can follow, over the same [`below_ip`].
pub fn find_ip<O: Octets + ?Sized>(octets: &O, from: Place) -> Found {
    let mut place = from;
    for _ in 0..HEADERS {
        if place.is_ip() {
            return Found::Ip(place.at);
        }
        match below_ip(octets, place) {
            Some(next) => place = next,
            None => return Found::Nothing,
        }
    }
    if place.is_ip() { Found::Ip(place.at) } else { Found::TooDeep }
}

#[inline(always)]
fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
