//! Packets within packets, by the walk that the eBPF programs share.

use super::{Ip, protocol};
use dnscribe_common::layers::{self, Found};

/// What else is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within<'a> {
    /// Nothing that we would look into.
    Nothing,
    /// Another IP packet.
    Packet {
        /// Its captured octets, from its IP header on, perhaps with padding behind.
        bytes: &'a [u8],
        /// Their number on the wire.
        wire_bytes: u32,
    },
    /// More headers than [`layers::HEADERS`].
    TooDeep,
}

/// The packet in the tunnel that a whole packet or a first fragment may be. Of a fragment, as much
/// as is in it.
#[must_use]
pub fn within<'a>(ip: &Ip<'a>) -> Within<'a> {
    find(ip).unwrap_or(Within::Nothing)
}

fn find<'a>(ip: &Ip<'a>) -> Option<Within<'a>> {
    let upper = ip.upper()?;
    let place = match upper.protocol {
        protocol::UDP => {
            let (src, dst) = super::ports(ip)?;
            layers::over_udp(upper.payload, src, dst, 8)
        }
        other => layers::over_ip(upper.payload, other, 0),
    }?;
    Some(match layers::find_ip(upper.payload, place) {
        Found::Ip(at) => Within::Packet {
            bytes: upper.payload.get(usize::try_from(at).ok()?..)?,
            wire_bytes: upper.payload_wire.checked_sub(at)?,
        },
        Found::Nothing => Within::Nothing,
        Found::TooDeep => Within::TooDeep,
    })
}
