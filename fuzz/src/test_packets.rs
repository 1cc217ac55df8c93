//! Builds packets from messages.

use std::net::SocketAddr;

/// IP protocol numbers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;

/// TCP flags (RFC 9293, 3.1).
pub mod flag {
    /// Last segment of a direction.
    pub const FIN: u8 = 0x01;
    /// First segment of a direction.
    pub const SYN: u8 = 0x02;
    /// Ends the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
}

/// The fields of a TCP header that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; valid with [`flag::ACK`].
    pub ack: u32,
    /// See [`flag`].
    pub flags: u8,
}

/// Builds a query for the address of `label.example`.
#[must_use]
pub fn query(id: u16, label: &[u8]) -> Vec<u8> {
    message(id, 0x0100, label, &[])
}

/// Builds the response to [`query`] with one address.
#[must_use]
pub fn response(id: u16, label: &[u8]) -> Vec<u8> {
    message(id, 0x8180, label, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, 1])
}

fn message(id: u16, flags: u16, label: &[u8], answer: &[u8]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend(flags.to_be_bytes());
    message.extend([0, 1, 0, u8::from(!answer.is_empty()), 0, 0, 0, 0]);
    for label in [label, b"example"] {
        let label = label.get(..63).unwrap_or(label);
        message.extend(u8::try_from(label.len()));
        message.extend(label);
    }
    message.extend([0, 0, 1, 0, 1]);
    message.extend(answer);
    message
}

/// Adds the length prefix of TCP (RFC 1035, 4.2.2).
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(message.iter().take(usize::from(length)));
    bytes
}

/// Builds a UDP datagram in an IP packet.
#[must_use]
pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 + payload.len());
    for word in [src.port(), dst.port(), length(8 + payload.len()), 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    ip(src, dst, UDP, &datagram)
}

/// Builds a TCP segment in an IP packet.
#[must_use]
pub fn tcp(src: SocketAddr, dst: SocketAddr, header: Segment, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(20 + payload.len());
    segment.extend(src.port().to_be_bytes());
    segment.extend(dst.port().to_be_bytes());
    segment.extend(header.seq.to_be_bytes());
    segment.extend(header.ack.to_be_bytes());
    segment.extend([0x50, header.flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(src, dst, TCP, &segment)
}

/// Builds an IP packet; addresses of two families make an IPv6 packet with mapped addresses.
fn ip(src: SocketAddr, dst: SocketAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    if let (SocketAddr::V4(src), SocketAddr::V4(dst)) = (src, dst) {
        let mut packet = vec![0x45, 0];
        packet.extend(length(payload.len() + 20).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
        packet.extend(src.ip().octets());
        packet.extend(dst.ip().octets());
        packet.extend(payload);
        return packet;
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length(payload.len()).to_be_bytes());
    packet.extend([protocol, 64]);
    for address in [src, dst] {
        packet.extend(match address {
            SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
            SocketAddr::V6(v6) => v6.ip().octets(),
        });
    }
    packet.extend(payload);
    packet
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
