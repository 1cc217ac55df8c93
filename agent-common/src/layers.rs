//! Finds IP packets below link layers, tags, labels and tunnels.
//!
//! The interface tap in the kernel and the agent share this code, so that both parse the same packets; each reads
//! bytes in its own way ([`ByteSource`]). A layer is always identified by an `EtherType` (IEEE 802.3, 3.2.6), which
//! VLAN tags, GRE and GENEVE contain, and which Ethernet, PPP and MPLS have too.

#![expect(clippy::inline_always, reason = "the verifier follows one program, without calls")]

mod link;
mod tunnel;

pub use link::below_ip;
pub use tunnel::{is_tunnel, over_ip, over_udp};

/// Largest number of nested IP headers: a packet in up to four tunnels.
pub const LEVELS: usize = 5;
/// Largest number of headers before the next IP header. Legitimate packets have fewer.
pub const HEADERS: usize = 16;

/// Largest number of IPv6 extension headers before the upper layer. Legitimate packets have fewer; those with more are
/// counted as too deep, on both sides.
pub const EXTENSIONS: usize = 8;
/// IPv6 extension header of a fragment (RFC 8200, 4.5).
pub const FRAGMENT: u8 = 44;
/// IPv6 extension header for authentication, whose length counts units of four bytes (RFC 4302, 2.2).
pub const AUTHENTICATION: u8 = 51;

/// Returns whether an IPv6 header of this type is an extension that can be skipped (IANA).
#[inline(always)]
#[must_use]
pub const fn is_extension(header: u8) -> bool {
    // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
    matches!(header, 0 | 43 | 60 | 135 | 139 | 140 | FRAGMENT | AUTHENTICATION)
}

/// IPv4, or IPv6 where the version is read from the first byte of the packet (RFC 791, 8200).
pub const IP: u16 = 0x0800;
/// IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethernet frame from its destination address on.
pub const ETHERNET: u16 = 0x6558;
/// PPP, with or without HDLC's address and control (RFC 1661, 1662).
pub const PPP: u16 = 0x880b;
/// MPLS label (RFC 3032).
pub const MPLS: u16 = 0x8847;
/// MPLS label assigned by the upstream router (RFC 5332).
pub const MPLS_UPSTREAM: u16 = 0x8848;
/// Session header of PPP over Ethernet (RFC 2516).
pub const PPPOE: u16 = 0x8864;
/// Largest value that is not a type but a length; LLC follows (IEEE 802.3, 3.2.6).
pub const LLC: u16 = 1500;

/// Source of a packet's bytes.
pub trait ByteSource {
    /// Reads `N` bytes from `at` on; `None` if there are fewer.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
}

impl ByteSource for [u8] {
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
    }
}

/// Header or payload in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// `EtherType`.
    pub ethertype: u16,
    /// Offset in the packet, in bytes.
    pub offset: u32,
}

impl Layer {
    /// Creates a layer.
    #[inline(always)]
    #[must_use]
    pub const fn new(ethertype: u16, offset: u32) -> Self {
        Self { ethertype, offset }
    }

    /// Returns whether it is an IP packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_ip(self) -> bool {
        matches!(self.ethertype, IP | IPV6)
    }
}

/// Result of a search for an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpSearch {
    /// Offset of an IP packet.
    Ip(u32),
    /// No IP packet, or a truncated one.
    Nothing,
    /// More headers than [`HEADERS`].
    TooDeep,
}

/// Finds the next IP packet from a layer on. The eBPF programs have their own loop over [`below_ip`], which the
/// verifier can follow.
pub fn find_ip<O: ByteSource + ?Sized>(bytes: &O, from: Layer) -> IpSearch {
    let mut layer = from;
    for _ in 0..HEADERS {
        if layer.is_ip() {
            return IpSearch::Ip(layer.offset);
        }
        match below_ip(bytes, layer) {
            Some(next) => layer = next,
            None => return IpSearch::Nothing,
        }
    }
    if layer.is_ip() { IpSearch::Ip(layer.offset) } else { IpSearch::TooDeep }
}

#[inline(always)]
fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;
