//! What sampling and the totals want to know of a packet: the ends, and the first octets of a DNS
//! message.

use super::ip::FRAGMENT_BITS;
use super::transport::{TCP, UDP};
use super::{Skb, be16};
use crate::maps;
use dnscribe_common::PORT_DNS;
use dnscribe_common::flow::{self, Address};
use dnscribe_common::layers::Octets;
use dnscribe_common::totals::Kind;

/// The QR bit of the header's second word (RFC 1035, 4.1.1).
const RESPONSE: u16 = 0x8000;
/// The TC bit.
const TRUNCATED: u16 = 0x0200;

/// A packet at a glance.
#[derive(Clone, Copy)]
pub struct Glance {
    pub kind: Kind,
    pub src: Address,
    pub dst: Address,
    pub src_port: u16,
    pub dst_port: u16,
    /// Of the DNS message: its id, and the flags behind.
    pub id: u16,
    flags: u16,
}

impl Glance {
    /// A packet of which there is nothing to know.
    pub const OTHER: Self = Self {
        kind: Kind::Other,
        src: [0; 2],
        dst: [0; 2],
        src_port: 0,
        dst_port: 0,
        id: 0,
        flags: 0,
    };

    /// The packet whose IP header is at `ip`. Fragments and whatever has IPv6 extension headers are
    /// not looked into.
    #[inline(always)]
    pub fn of(packet: Skb, ip: u32) -> Self {
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
                Some([a, b, c, d, _, _, _, _, e, f, g, h]) => Self {
                    kind: if be16(g, h) & RESPONSE == 0 { Kind::Query } else { Kind::Response },
                    src_port: be16(a, b),
                    dst_port: be16(c, d),
                    id: be16(e, f),
                    flags: be16(g, h),
                    ..ends
                },
                None => Self::OTHER,
            }
        } else if protocol == TCP {
            match packet.load::<4>(at) {
                Some([a, b, c, d]) => {
                    let to_server = maps::port_class(be16(c, d)) == PORT_DNS;
                    let kind = if to_server { Kind::ToServer } else { Kind::FromServer };
                    Self { kind, src_port: be16(a, b), dst_port: be16(c, d), ..ends }
                }
                None => Self::OTHER,
            }
        } else {
            Self::OTHER
        }
    }

    /// Whether it is a DNS message by itself.
    #[inline(always)]
    pub fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Query | Kind::Response)
    }

    /// Who was, or will be, asked.
    #[inline(always)]
    pub fn server(&self) -> Address {
        match self.kind {
            Kind::Query | Kind::ToServer => self.dst,
            _ => self.src,
        }
    }

    /// The response's code and its TC bit; 0 where it is none.
    #[inline(always)]
    pub fn outcome(&self) -> (u8, bool) {
        match self.kind {
            Kind::Response => ((self.flags & 15) as u8, self.flags & TRUNCATED != 0),
            _ => (0, false),
        }
    }
}
