//! Packets over UDP that tracing programs are given as the kernel's `struct sk_buff`, by its address.

use crate::maps;
use crate::parse::UDP;
use crate::settings;
use crate::task::{read, read_at};
use dnscribe_common::PORT_DNS;
use dnscribe_common::flow::{self, four, six};
use dnscribe_common::globals::Setting;

const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();
/// Bits of the IPv4 fragment offset (RFC 791, 3.1): only a first fragment has the ports.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A packet over UDP.
pub struct KernelPacket {
    /// Address of its `struct sk_buff`.
    pub skb: u64,
    /// Address of its IP header.
    pub ip: u64,
    /// Its length by its IP header.
    pub wire: u32,
    network: u16,
    pub src_port: u16,
    pub dst_port: u16,
    is_ipv4: bool,
}

impl KernelPacket {
    /// Reads the headers of a packet; `None` if it is not UDP with a port of plain DNS.
    #[inline(always)]
    pub fn read_dns(skb: u64) -> Option<Self> {
        let is_dns = |packet: &Self| {
            maps::port_class(packet.dst_port) == PORT_DNS
                || maps::port_class(packet.src_port) == PORT_DNS
        };
        Self::read(skb).filter(is_dns)
    }

    /// Reads the headers of a packet; `None` if it is not UDP.
    #[inline(always)]
    pub fn read(skb: u64) -> Option<Self> {
        let protocol: u16 = read(skb, Setting::SkbProtocol);
        if protocol != ETH_P_IP && protocol != ETH_P_IPV6 {
            return None;
        }
        let head: u64 = read(skb, Setting::SkbHead);
        let network: u16 = read(skb, Setting::SkbNetwork);
        let ip = head + u64::from(network);
        let is_ipv4 = protocol == ETH_P_IP;
        let (ip_bytes, wire) = if is_ipv4 {
            let [first, _, a, b, _, _, c, d, _, upper, _, _]: [u8; 12] = read_at(ip);
            if first >> 4 != 4 || upper != UDP || u16::from_be_bytes([c, d]) & FRAGMENT_OFFSET != 0
            {
                return None;
            }
            (u32::from(first & 15) * 4, u32::from(u16::from_be_bytes([a, b])))
        } else {
            let [first, _, _, _, a, b, upper, _]: [u8; 8] = read_at(ip);
            if first >> 4 != 6 || upper != UDP {
                return None;
            }
            (40, u32::from(u16::from_be_bytes([a, b])) + 40)
        };
        let [a, b, c, d]: [u8; 4] = read_at(ip + u64::from(ip_bytes));
        let (src_port, dst_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Self { skb, ip, wire, network, src_port, dst_port, is_ipv4 })
    }

    /// Hash of the packet's flow.
    #[inline(always)]
    pub fn flow(&self) -> u32 {
        let (src, dst) = if self.is_ipv4 {
            (four(read_at(self.ip + 12)), four(read_at(self.ip + 16)))
        } else {
            (six(read_at(self.ip + 8)), six(read_at(self.ip + 24)))
        };
        flow::hash(src, dst, self.src_port, self.dst_port)
    }

    /// Returns the address of the `struct sock` from whose port the packet was sent; 0 if it has none. On its way in,
    /// a packet may have its receiver's.
    #[inline(always)]
    pub fn sender(&self) -> u64 {
        let socket: u64 = read(self.skb, Setting::SkbSock);
        let is_sender = socket != 0 && read::<u16>(socket, Setting::SockLocalPort) == self.src_port;
        if is_sender { socket } else { 0 }
    }

    /// Number of its bytes to export: of those that are in one piece. The rest is in pages beside the buffer.
    #[inline(always)]
    pub fn captured(&self) -> u32 {
        let tail: u32 = read(self.skb, Setting::SkbTail);
        tail.saturating_sub(u32::from(self.network))
            .min(self.wire)
            .min(settings::get(Setting::Snap))
    }
}
