//! UDP and TCP headers (RFC 768, RFC 9293).

use super::ip::Upper;
use super::{Fate, Skb, Verdict, be16};
use crate::flow::Flow;
use crate::maps;
use dnscribe_common::layers::Octets;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// A TLS record of application data.
const APPLICATION_DATA: u8 = 23;
/// The first octet of the version in a TLS record (RFC 8446, 5.1).
const TLS: u8 = 3;
/// The first bit of a QUIC packet with a long header (RFC 9000, 17.2): of the handshake.
const LONG_HEADER: u8 = 0x80;

/// Source and destination port.
pub type Ports = (u16, u16);

/// The ports at `at`.
#[inline(always)]
pub fn ports(packet: Skb, at: u32) -> Option<Ports> {
    let [a, b, c, d] = packet.load(at)?;
    Some((be16(a, b), be16(c, d)))
}

/// What the ports say: whether the packet may be ours, whether it is encrypted, and what to ask of
/// its addresses, if anything: twice where its IP header begins, plus two, plus one if the destination
/// is meant.
pub struct Watched {
    pub may_be_ours: bool,
    pub is_encrypted: bool,
    pub asks: bool,
    pub ask: u32,
}

/// What the ports say of a packet. DNS wins. Where both ports are those of HTTPS, the destination
/// counts.
#[inline(always)]
pub fn watched(upper: &Upper, (src, dst): Ports) -> Watched {
    let (src, dst) = (maps::port_class(src), maps::port_class(dst));
    if src == PORT_DNS || dst == PORT_DNS {
        return Watched { may_be_ours: true, is_encrypted: false, asks: false, ask: 0 };
    }
    Watched {
        may_be_ours: src | dst != 0,
        is_encrypted: true,
        asks: src != PORT_ENCRYPTED && dst != PORT_ENCRYPTED,
        ask: (upper.ip + 1) << 1 | u32::from(dst == PORT_HTTPS),
    }
}

/// Whether the address that is asked for is one of the resolvers.
#[inline(always)]
pub fn is_resolver(packet: Skb, ask: u32) -> bool {
    let (ip, destination) = ((ask >> 1) - 1, ask & 1);
    let address = match packet.load::<1>(ip) {
        Some([first]) if first >> 4 == 4 => packet.load::<4>(ip + 12 + destination * 4).map(mapped),
        _ => packet.load::<16>(ip + 8 + destination * 16),
    };
    address.is_some_and(|address| maps::is_resolver(&address))
}

/// An IPv4 address as an IPv6 one.
#[inline(always)]
pub fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
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
    let Some(ports) = ports(packet, upper.at) else { return (Verdict::NOT_OURS, (0, 0)) };
    let watched = watched(upper, ports);
    if !watched.may_be_ours {
        return (Verdict::NOT_OURS, ports);
    }
    let mut payload = upper.at + 8;
    let mut verdict = Verdict {
        is_encrypted: watched.is_encrypted,
        asks: watched.asks,
        ask: watched.ask,
        ..Verdict::emit(upper.protocol, Flow::at(upper.ip, upper.at))
    };
    if upper.protocol == TCP
        && let Some([data_offset, flags]) = packet.load(upper.at + 12)
    {
        if !tcp_may_carry(data_offset, flags, upper.end.saturating_sub(upper.at)) {
            verdict.fate = Fate::TcpNoPayload;
        }
        payload = upper.at + u32::from(data_offset >> 4) * 4;
    }
    verdict.payload = payload;
    (verdict, ports)
}

/// Whether an encrypted payload may be of a handshake. What begins as a record of application data,
/// or with a short header, is not; the rest may be, or go on with one. Octets that are not there stand
/// as what is not, at once: asked of an `Option`, the compiler leaves unset what the verifier sees read.
#[inline(always)]
pub fn may_be_readable(packet: Skb, protocol: u8, payload: u32) -> bool {
    let [first, version] = packet.load(payload).unwrap_or([APPLICATION_DATA, TLS]);
    match protocol {
        TCP => first != APPLICATION_DATA || version != TLS,
        UDP => first & LONG_HEADER != 0,
        _ => false,
    }
}
