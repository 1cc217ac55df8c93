//! Finds packets in tunnels, with the code that the eBPF programs use too.

use super::{IpPacket, protocol};
use dnscribe_common::layers::{self, IpSearch};

/// A tunnel's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelContent<'a> {
    /// Not a supported tunnel.
    Nothing,
    /// An IP packet.
    Packet {
        /// The captured bytes from the IP header on, perhaps with trailing padding.
        bytes: &'a [u8],
        /// Their length on the wire, in bytes.
        wire_bytes: u32,
    },
    /// More than [`layers::HEADERS`] headers.
    TooDeep,
}

/// Returns the packet in the tunnel, if `ip` is a tunnel packet or its first fragment; of a
/// fragment, the part inside it.
#[must_use]
pub fn tunnel_content<'a>(ip: &IpPacket<'a>) -> TunnelContent<'a> {
    find_inner_packet(ip).unwrap_or(TunnelContent::Nothing)
}

fn find_inner_packet<'a>(ip: &IpPacket<'a>) -> Option<TunnelContent<'a>> {
    let upper = ip.upper_layer()?;
    let place = match upper.protocol {
        protocol::UDP => {
            let (src, dst) = super::ports(ip)?;
            layers::over_udp(upper.payload, src, dst, 8)
        }
        other => layers::over_ip(upper.payload, other, 0),
    }?;
    Some(match layers::find_ip(upper.payload, place) {
        IpSearch::Ip(at) => TunnelContent::Packet {
            bytes: upper.payload.get(usize::try_from(at).ok()?..)?,
            wire_bytes: upper.payload_wire.checked_sub(at)?,
        },
        IpSearch::Nothing => TunnelContent::Nothing,
        IpSearch::TooDeep => TunnelContent::TooDeep,
    })
}
