//! UDP and TCP headers (RFC 768, RFC 9293).

use super::ip::Upper;
use super::{Verdict, be16, load};
use crate::maps;
use aya_ebpf::bindings::__sk_buff;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Source and destination port.
pub type Ports = (u16, u16);

/// The ports at `at`.
#[inline(always)]
pub fn ports(skb: *mut __sk_buff, at: u32) -> Option<Ports> {
    let [a, b, c, d] = load(skb, at)?;
    Some((be16(a, b), be16(c, d)))
}

/// Whether one of the ports is ours.
#[inline(always)]
pub fn are_ours((src, dst): Ports) -> bool {
    maps::port_is_ours(dst) || maps::port_is_ours(src)
}

/// Whether a TCP segment tells anything: payload, or that a stream begins or ends. `data_offset`
/// and `flags` are the octets 12 and 13 of its header, `room` the octets of header and payload.
#[inline(always)]
pub fn tcp_may_carry(data_offset: u8, flags: u8, room: u32) -> bool {
    flags & (FIN | SYN | RST) != 0 || room > u32::from(data_offset >> 4) * 4
}

/// The verdict on a UDP or TCP header, and its ports, 0 where there are none.
#[inline(always)]
pub fn judge(skb: *mut __sk_buff, upper: &Upper) -> (Verdict, Ports) {
    let Some(ports) = ports(skb, upper.at).filter(|_| upper.at + 4 <= upper.end) else {
        return (Verdict::NotOurs, (0, 0));
    };
    if !are_ours(ports) {
        return (Verdict::NotOurs, ports);
    }
    if upper.protocol == TCP
        && let Some([data_offset, flags]) = load::<2>(skb, upper.at + 12)
        && !tcp_may_carry(data_offset, flags, upper.end.saturating_sub(upper.at))
    {
        return (Verdict::TcpNoPayload, ports);
    }
    (Verdict::Emit(upper.protocol), ports)
}
