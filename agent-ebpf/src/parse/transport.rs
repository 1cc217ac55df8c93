//! UDP and TCP headers (RFC 768, RFC 9293).

use super::ip::Upper;
use super::{Skb, Verdict, be16};
use crate::maps;
use dnscribe_common::layers::Octets;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Source and destination port.
pub type Ports = (u16, u16);

/// The ports at `at`.
#[inline(always)]
pub fn ports(packet: Skb, at: u32) -> Option<Ports> {
    let [a, b, c, d] = packet.load(at)?;
    Some((be16(a, b), be16(c, d)))
}

/// Whether one of the ports is ours.
#[inline(always)]
pub fn are_ours((src, dst): Ports) -> bool {
    maps::port_is_ours(dst) || maps::port_is_ours(src)
}

/// Whether a TCP segment tells anything: payload, or that a stream begins or ends; or a header that
/// is longer than there is room for, or shorter than a header, which is for userspace to refuse.
/// `data_offset` and `flags` are the octets 12 and 13 of the header, `room` the octets of header
/// and payload.
#[inline(always)]
pub fn tcp_may_carry(data_offset: u8, flags: u8, room: u32) -> bool {
    let header = u32::from(data_offset >> 4) * 4;
    flags & (FIN | SYN | RST) != 0 || header < 20 || room != header
}

/// The verdict on a UDP or TCP header, and its ports, 0 where there are none.
#[inline(always)]
pub fn judge(packet: Skb, upper: &Upper) -> (Verdict, Ports) {
    let Some(ports) = ports(packet, upper.at) else { return (Verdict::NotOurs, (0, 0)) };
    if !are_ours(ports) {
        return (Verdict::NotOurs, ports);
    }
    if upper.protocol == TCP
        && let Some([data_offset, flags]) = packet.load(upper.at + 12)
        && !tcp_may_carry(data_offset, flags, upper.end.saturating_sub(upper.at))
    {
        return (Verdict::TcpNoPayload, ports);
    }
    (Verdict::Emit(upper.protocol), ports)
}
