//! UDP and TCP headers (RFC 768, RFC 9293).

use super::{Verdict, be16, load};
use crate::maps;
use aya_ebpf::bindings::__sk_buff;
use dnscribe_common::{HANDSHAKE_BYTES, PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Octets of a TLS record's header (RFC 8446, 5.1).
const TLS_HEADER: u32 = 5;
/// A TLS record of application data.
const APPLICATION_DATA: u8 = 23;
/// The first bit of a QUIC packet with a long header (RFC 9000, 17.2): of the handshake.
const LONG_HEADER: u8 = 0x80;

/// What the ports say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    Not,
    Dns,
    Encrypted,
}

/// What the ports at `at` say of a packet whose IP header is at `ip`. DNS wins, and addresses are
/// looked at only where a port asks for it.
#[inline(always)]
pub fn watched(skb: *mut __sk_buff, ip: u32, at: u32) -> Watched {
    let Some([a, b, c, d]) = load::<4>(skb, at) else { return Watched::Not };
    let (src, dst) = (maps::port_class(be16(a, b)), maps::port_class(be16(c, d)));
    if src == PORT_DNS || dst == PORT_DNS {
        return Watched::Dns;
    }
    if src == PORT_ENCRYPTED || dst == PORT_ENCRYPTED {
        return Watched::Encrypted;
    }
    let (from, to) = (src == PORT_HTTPS, dst == PORT_HTTPS);
    if (to && is_resolver(skb, ip, true)) || (from && is_resolver(skb, ip, false)) {
        return Watched::Encrypted;
    }
    Watched::Not
}

/// Whether the destination, or else the source, is one of the resolvers.
#[inline(always)]
fn is_resolver(skb: *mut __sk_buff, ip: u32, destination: bool) -> bool {
    let address = match load::<1>(skb, ip) {
        Some([first]) if first >> 4 == 4 => {
            load::<4>(skb, ip + if destination { 16 } else { 12 }).map(mapped)
        }
        _ => load::<16>(skb, ip + if destination { 24 } else { 8 }),
    };
    address.is_some_and(|address| maps::is_resolver(&address))
}

/// An IPv4 address as an IPv6 one.
#[inline(always)]
pub fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Whether a TCP segment tells anything: payload, or that a stream begins or ends. `data_offset`
/// and `flags` are the octets 12 and 13 of its header, `room` the octets of header and payload.
#[inline(always)]
pub fn tcp_may_carry(data_offset: u8, flags: u8, room: u32) -> bool {
    flags & (FIN | SYN | RST) != 0 || room > u32::from(data_offset >> 4) * 4
}

/// The verdict on a UDP or TCP header at `at`, in a packet whose IP header is at `ip` and that ends
/// at `end`.
#[inline(always)]
pub fn judge(skb: *mut __sk_buff, ip: u32, protocol: u8, at: u32, end: u32) -> Verdict {
    let watched = watched(skb, ip, at);
    if watched == Watched::Not {
        return Verdict::NOT_OURS;
    }
    let mut payload = at + 8;
    if protocol == TCP
        && let Some([data_offset, flags]) = load::<2>(skb, at + 12)
    {
        if !tcp_may_carry(data_offset, flags, end.saturating_sub(at)) {
            return Verdict::TCP_NO_PAYLOAD;
        }
        payload = at + u32::from(data_offset >> 4) * 4;
    }
    if watched == Watched::Dns {
        return Verdict::emit(protocol);
    }
    Verdict::encrypted(protocol, payload + readable(skb, protocol, payload))
}

/// How many octets of an encrypted payload may be readable. What begins as a record of application
/// data, or with a short header, is not; the rest may be a handshake, or go on with one.
#[inline(always)]
fn readable(skb: *mut __sk_buff, protocol: u8, payload: u32) -> u32 {
    match (protocol, load::<2>(skb, payload)) {
        (TCP, Some([APPLICATION_DATA, 3])) => TLS_HEADER,
        (UDP, Some([first, _])) if first & LONG_HEADER == 0 => 1,
        _ => HANDSHAKE_BYTES,
    }
}
