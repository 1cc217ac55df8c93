//! Parses UDP and TCP headers (RFC 768, RFC 9293).

use super::ip::Upper;
use super::{Outcome, Skb, Verdict, be16};
use crate::flow::Flow;
use crate::maps;
use dnscribe_common::layers::ByteSource;
use dnscribe_common::{PORT_DNS, PORT_ENCRYPTED, PORT_HTTPS};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Type of a TLS record with application data (RFC 8446, 5.1).
const APPLICATION_DATA: u8 = 23;
/// First byte of the version in a TLS record (RFC 8446, 5.1).
const TLS: u8 = 3;
/// First bit of a QUIC packet with a long header, which handshake packets have (RFC 9000, 17.2).
const LONG_HEADER: u8 = 0x80;

/// Source and destination port.
pub type Ports = (u16, u16);

/// Reads the ports at `at`.
#[inline(always)]
pub fn ports(packet: Skb, at: u32) -> Option<Ports> {
    let [a, b, c, d] = packet.load(at)?;
    Some((be16(a, b), be16(c, d)))
}

/// Result of comparing the ports of a packet with the captured ones.
pub struct PortMatch {
    pub may_be_captured: bool,
    pub is_encrypted: bool,
    /// Whether the packet is captured only if an address is a resolver's.
    pub needs_resolver: bool,
    /// Address to look up among the resolvers: `(offset of the IP header + 1) * 2`, plus 1 for the destination.
    pub resolver_ref: u32,
}

/// Compares the ports of a packet with the captured ones. DNS ports take precedence. If both ports are HTTPS
/// ports, the destination counts.
#[inline(always)]
pub fn match_ports(upper: &Upper, (src, dst): Ports) -> PortMatch {
    let (src, dst) = (maps::port_class(src), maps::port_class(dst));
    if src == PORT_DNS || dst == PORT_DNS {
        return PortMatch {
            may_be_captured: true,
            is_encrypted: false,
            needs_resolver: false,
            resolver_ref: 0,
        };
    }
    PortMatch {
        may_be_captured: src | dst != 0,
        is_encrypted: true,
        needs_resolver: src != PORT_ENCRYPTED && dst != PORT_ENCRYPTED,
        resolver_ref: (upper.ip + 1) << 1 | u32::from(dst == PORT_HTTPS),
    }
}

/// Returns whether the address in `resolver_ref` (see [`PortMatch`]) is a resolver's.
#[inline(always)]
pub fn is_resolver(packet: Skb, resolver_ref: u32) -> bool {
    let (ip, destination) = ((resolver_ref >> 1) - 1, resolver_ref & 1);
    let address = match packet.load::<1>(ip) {
        Some([first]) if first >> 4 == 4 => packet.load::<4>(ip + 12 + destination * 4).map(mapped),
        _ => packet.load::<16>(ip + 8 + destination * 16),
    };
    address.is_some_and(|address| maps::is_resolver(&address))
}

/// Returns the IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
#[inline(always)]
pub fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Returns whether a TCP segment matters: it has payload, begins or ends a stream, or has an invalid header
/// length, which userspace counts as malformed. `data_offset` and `flags` are bytes 12 and 13 of the header,
/// `bytes` is the size of header and payload in bytes.
#[inline(always)]
pub fn tcp_is_relevant(data_offset: u8, flags: u8, bytes: u32) -> bool {
    let header = u32::from(data_offset >> 4) * 4;
    flags & (FIN | SYN | RST) != 0 || header < 20 || bytes != header
}

/// Classifies a packet by its UDP or TCP header. Returns the ports too, zeros if they cannot be read.
#[inline(always)]
pub fn classify(packet: Skb, upper: &Upper) -> (Verdict, Ports) {
    let Some(ports) = ports(packet, upper.at) else { return (Verdict::SKIPPED, (0, 0)) };
    let matched = match_ports(upper, ports);
    if !matched.may_be_captured {
        return (Verdict::SKIPPED, ports);
    }
    let mut payload = upper.at + 8;
    let mut verdict = Verdict {
        is_encrypted: matched.is_encrypted,
        needs_resolver: matched.needs_resolver,
        resolver_ref: matched.resolver_ref,
        ..Verdict::emit(upper.protocol, Flow::in_headers(upper.ip, upper.at))
    };
    if upper.protocol == TCP
        && let Some([data_offset, flags]) = packet.load(upper.at + 12)
    {
        if !tcp_is_relevant(data_offset, flags, upper.end.saturating_sub(upper.at)) {
            verdict.outcome = Outcome::TcpNoPayload;
        }
        payload = upper.at + u32::from(data_offset >> 4) * 4;
    }
    verdict.payload = payload;
    (verdict, ports)
}

/// Returns whether an encrypted payload may belong to a handshake: anything but a TLS record with application
/// data or a QUIC short header. Missing bytes count as application data right away: with an `Option`, the
/// compiler would leave a register unwritten that the verifier sees used.
#[inline(always)]
pub fn may_be_readable(packet: Skb, protocol: u8, payload: u32) -> bool {
    let [first, version] = packet.load(payload).unwrap_or([APPLICATION_DATA, TLS]);
    match protocol {
        TCP => first != APPLICATION_DATA || version != TLS,
        UDP => first & LONG_HEADER != 0,
        _ => false,
    }
}
