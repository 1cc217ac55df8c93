//! Packets of encrypted DNS: what of them is not encrypted.

#![forbid(unsafe_code)]

use super::Envelope;
use super::outlet::{Carrier, Flow, envelope};
use crate::capture::Transport;
use crate::net::{Ip, TcpFlags, TcpSegment, UdpDatagram};
use dnscribe_common::HANDSHAKE_BYTES;
use std::net::SocketAddr;

/// Octets of a TLS record's header (RFC 8446, 5.1).
const TLS_HEADER: usize = 5;
/// A TLS record of application data, of whatever version: its type and the version's first octet.
const APPLICATION_DATA: [u8; 2] = [23, 3];
/// The first bit of a QUIC packet with a long header (RFC 9000, 17.2): of the handshake.
const LONG_HEADER: u8 = 0x80;

/// A packet of encrypted DNS.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Who sent it to whom, when, how.
    pub envelope: Envelope,
    /// What it carries.
    pub content: Content,
}

/// What a packet of encrypted DNS carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Part of a TCP connection.
    Segment {
        /// Sequence number of the SYN, or else of the first payload octet.
        seq: u32,
        /// Whether the packet acknowledges anything: not so in the first SYN.
        ack: bool,
        /// Flags.
        flags: TcpFlags,
        /// The payload's first octets as far as they may be of a handshake; of application data
        /// the record's header.
        payload: Box<[u8]>,
        /// Octets of the payload on the wire.
        payload_wire: u32,
    },
    /// A UDP datagram, or several of one size.
    Datagram {
        /// The first octets as far as they may be of a handshake; of other packets the first.
        payload: Box<[u8]>,
        /// Octets of the payload on the wire.
        payload_wire: u32,
        /// Where several datagrams came in one packet: octets of each but the last; else 0.
        datagram_bytes: u16,
    },
}

/// A segment with its envelope.
pub(super) fn segment(ip: &Ip<'_>, segment: &TcpSegment<'_>, carrier: &Carrier) -> Sealed {
    let payload = segment.payload;
    let most =
        if payload.starts_with(&APPLICATION_DATA) { TLS_HEADER } else { HANDSHAKE_BYTES as usize };
    let content = Content::Segment {
        seq: segment.seq,
        ack: segment.ack.is_some(),
        flags: segment.flags,
        payload: payload.get(..most).unwrap_or(payload).into(),
        payload_wire: segment.payload_wire,
    };
    seal(ip, Transport::Tcp, (segment.src_port, segment.dst_port), carrier, content)
}

/// A datagram with its envelope.
pub(super) fn datagram(ip: &Ip<'_>, udp: &UdpDatagram<'_>, carrier: &Carrier) -> Sealed {
    let payload = udp.payload;
    let is_long = payload.first().is_some_and(|first| first & LONG_HEADER != 0);
    let most = if is_long { HANDSHAKE_BYTES as usize } else { 1 };
    let content = Content::Datagram {
        payload: payload.get(..most).unwrap_or(payload).into(),
        payload_wire: udp.payload_wire,
        datagram_bytes: carrier.datagram_bytes,
    };
    seal(ip, Transport::Udp, (udp.src_port, udp.dst_port), carrier, content)
}

fn seal(
    ip: &Ip<'_>,
    transport: Transport,
    (src, dst): (u16, u16),
    carrier: &Carrier,
    content: Content,
) -> Sealed {
    let flow =
        Flow { transport, src: SocketAddr::new(ip.src, src), dst: SocketAddr::new(ip.dst, dst) };
    Sealed { envelope: envelope(carrier, &flow, &mut 0), content }
}
