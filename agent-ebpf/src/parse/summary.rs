//! Summary of a packet for sampling and totals: addresses, ports, and the first bytes of a DNS message.

use super::ip::FRAGMENT_BITS;
use super::transport::{TCP, UDP};
use super::{Skb, be16};
use crate::maps;
use dnscribe_common::PORT_DNS;
use dnscribe_common::flow::{self, Address};
use dnscribe_common::layers::ByteSource;
use dnscribe_common::totals::PacketKind;

/// QR bit of the second word of the DNS header (RFC 1035, 4.1.1).
const RESPONSE: u16 = 0x8000;
/// TC bit of the same word.
const TRUNCATED: u16 = 0x0200;

/// Addresses, ports and DNS header flags of a packet.
#[derive(Clone, Copy)]
pub struct PacketSummary {
    pub kind: PacketKind,
    pub src: Address,
    pub dst: Address,
    pub src_port: u16,
    pub dst_port: u16,
    /// Id of the DNS message.
    pub id: u16,
    /// Flags of the DNS message.
    flags: u16,
}

/// Returns the kind of a TCP segment to this port.
#[inline(always)]
fn kind_of_segment(dst_port: u16) -> PacketKind {
    if maps::port_class(dst_port) == PORT_DNS {
        PacketKind::ToServer
    } else {
        PacketKind::FromServer
    }
}

impl PacketSummary {
    /// Summary of a packet that is not parsed.
    pub const OTHER: Self = Self {
        kind: PacketKind::Other,
        src: [0; 2],
        dst: [0; 2],
        src_port: 0,
        dst_port: 0,
        id: 0,
        flags: 0,
    };

    /// Reads the packet whose IP header is at `ip`. Fragments and packets with IPv6 extension headers are not
    /// parsed.
    #[inline(always)]
    pub fn read(packet: Skb, ip: u32) -> Self {
        let Some(head) = packet.load::<20>(ip) else { return Self::OTHER };
        let (protocol, at, src, dst) = match head[0] >> 4 {
            4 if be16(head[6], head[7]) & FRAGMENT_BITS == 0 => {
                let [.., a, b, c, d, e, f, g, h] = head;
                let length = u32::from(head[0] & 15) * 4;
                (head[9], ip + length, flow::four([a, b, c, d]), flow::four([e, f, g, h]))
            }
            6 => {
                let Some(src) = packet.load(ip + 8) else { return Self::OTHER };
                let Some(dst) = packet.load(ip + 24) else { return Self::OTHER };
                (head[6], ip + 40, flow::six(src), flow::six(dst))
            }
            _ => return Self::OTHER,
        };
        let ends = Self { src, dst, ..Self::OTHER };
        if protocol == UDP {
            match packet.load::<12>(at) {
                Some([a, b, c, d, _, _, _, _, dns @ ..]) => {
                    Self::of_datagram((src, dst), (be16(a, b), be16(c, d)), dns)
                }
                None => Self::OTHER,
            }
        } else if protocol == TCP {
            match packet.load::<4>(at) {
                Some([a, b, c, d]) => {
                    let (src_port, dst_port) = (be16(a, b), be16(c, d));
                    Self { kind: kind_of_segment(dst_port), src_port, dst_port, ..ends }
                }
                None => Self::OTHER,
            }
        } else {
            Self::OTHER
        }
    }

    /// Creates the summary of a UDP datagram with this source and destination, whose message begins with `dns`.
    #[inline(always)]
    pub fn of_datagram(
        (src, dst): (Address, Address),
        (src_port, dst_port): (u16, u16),
        [a, b, c, d]: [u8; 4],
    ) -> Self {
        let flags = be16(c, d);
        let kind = if flags & RESPONSE == 0 { PacketKind::Query } else { PacketKind::Response };
        Self { kind, src, dst, src_port, dst_port, id: be16(a, b), flags }
    }

    /// Returns the summary with other addresses and ports.
    #[inline(always)]
    pub fn with_ends(self, src: Address, dst: Address, src_port: u16, dst_port: u16) -> Self {
        let kind = match self.kind {
            PacketKind::ToServer | PacketKind::FromServer => kind_of_segment(dst_port),
            kind => kind,
        };
        Self { kind, src, dst, src_port, dst_port, ..self }
    }

    /// Returns whether the packet is a complete UDP datagram with a DNS message.
    #[inline(always)]
    pub fn is_message(&self) -> bool {
        matches!(self.kind, PacketKind::Query | PacketKind::Response)
    }

    /// Returns the address of the server.
    #[inline(always)]
    pub fn server(&self) -> Address {
        match self.kind {
            PacketKind::Query | PacketKind::ToServer => self.dst,
            _ => self.src,
        }
    }

    /// Returns the RCODE and TC bit of a response; zeros for other packets.
    #[inline(always)]
    pub fn response_status(&self) -> (u8, bool) {
        match self.kind {
            PacketKind::Response => ((self.flags & 15) as u8, self.flags & TRUNCATED != 0),
            _ => (0, false),
        }
    }
}
