//! UDP and TCP headers (RFC 768, RFC 9293).

use super::{Verdict, be16, load};
use crate::maps;
use aya_ebpf::bindings::__sk_buff;

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Whether one of the ports at `at` is ours.
#[inline(always)]
pub fn ports_are_ours(skb: *mut __sk_buff, at: u32) -> bool {
    match load::<4>(skb, at) {
        Some([a, b, c, d]) => maps::port_is_ours(be16(c, d)) || maps::port_is_ours(be16(a, b)),
        None => false,
    }
}

/// Whether a TCP segment tells anything: payload, or that a stream begins or ends. `data_offset`
/// and `flags` are the octets 12 and 13 of its header, `room` the octets of header and payload.
#[inline(always)]
pub fn tcp_may_carry(data_offset: u8, flags: u8, room: u32) -> bool {
    flags & (FIN | SYN | RST) != 0 || room > u32::from(data_offset >> 4) * 4
}

/// The verdict on a UDP or TCP header at `at`, in a packet that ends at `end`.
#[inline(always)]
pub fn judge(skb: *mut __sk_buff, protocol: u8, at: u32, end: u32) -> Verdict {
    if !ports_are_ours(skb, at) {
        return Verdict::NotOurs;
    }
    if protocol == TCP
        && let Some([data_offset, flags]) = load::<2>(skb, at + 12)
        && !tcp_may_carry(data_offset, flags, end.saturating_sub(at))
    {
        return Verdict::TcpNoPayload;
    }
    Verdict::Emit(protocol)
}
