//! Packets over UDP that tracing programs are given as the kernel's `struct sk_buff`, by its address.

use crate::maps;
use crate::parse::{PacketSummary, UDP};
use crate::settings;
use crate::task::{read, read_at};
use dnscribe_common::PORT_DNS;
use dnscribe_common::flow::{self, Address, four, six};
use dnscribe_common::globals::Setting;

const ETH_P_IP: u16 = 0x0800_u16.to_be();
const ETH_P_IPV6: u16 = 0x86dd_u16.to_be();
/// Bits of the IPv4 fragment offset (RFC 791, 3.1): only a first fragment has the ports.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// IPv4: more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Size of the UDP header in bytes.
const UDP_BYTES: u32 = 8;

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
    is_fragment: bool,
    /// Offset of its message in the packet.
    message: u32,
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
        let (ip_bytes, wire, is_fragment) = if is_ipv4 {
            let [first, _, a, b, _, _, c, d, _, upper, _, _]: [u8; 12] = read_at(ip);
            let fragment = u16::from_be_bytes([c, d]);
            if first >> 4 != 4 || upper != UDP || fragment & FRAGMENT_OFFSET != 0 {
                return None;
            }
            let wire = u32::from(u16::from_be_bytes([a, b]));
            (u32::from(first & 15) * 4, wire, fragment & MORE_FRAGMENTS != 0)
        } else {
            let [first, _, _, _, a, b, upper, _]: [u8; 8] = read_at(ip);
            if first >> 4 != 6 || upper != UDP {
                return None;
            }
            (40, u32::from(u16::from_be_bytes([a, b])) + 40, false)
        };
        let [a, b, c, d]: [u8; 4] = read_at(ip + u64::from(ip_bytes));
        let (src_port, dst_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let message = ip_bytes + UDP_BYTES;
        Some(Self { skb, ip, wire, network, src_port, dst_port, is_ipv4, is_fragment, message })
    }

    /// Returns source and destination.
    #[inline(always)]
    fn addresses(&self) -> (Address, Address) {
        if self.is_ipv4 {
            (four(read_at(self.ip + 12)), four(read_at(self.ip + 16)))
        } else {
            (six(read_at(self.ip + 8)), six(read_at(self.ip + 24)))
        }
    }

    /// Hash of the packet's flow.
    #[inline(always)]
    pub fn flow(&self) -> u32 {
        let (src, dst) = self.addresses();
        flow::hash(src, dst, self.src_port, self.dst_port)
    }

    /// Returns a summary of the packet, as the hook for packets that leave a socket has it; an empty one of a fragment, or
    /// if the message is in pages beside the buffer.
    #[inline(always)]
    pub fn summary(&self) -> PacketSummary {
        if self.is_fragment || self.contiguous() < self.message + 4 {
            return PacketSummary::OTHER;
        }
        let dns = read_at(self.ip + u64::from(self.message));
        PacketSummary::of_datagram(self.addresses(), (self.src_port, self.dst_port), dns)
    }

    /// Returns the address of the `struct sock` from whose port the packet was sent; 0 if it has none. On its way in,
    /// a packet may have its receiver's.
    #[inline(always)]
    pub fn sender(&self) -> u64 {
        let socket: u64 = read(self.skb, Setting::SkbSock);
        let is_sender = socket != 0 && read::<u16>(socket, Setting::SockLocalPort) == self.src_port;
        if is_sender { socket } else { 0 }
    }

    /// Returns whether a device has had the packet.
    #[inline(always)]
    pub fn had_device(&self) -> bool {
        read::<u16>(self.skb, Setting::SkbMac) != u16::MAX
    }

    /// Number of its bytes that are in one piece. The rest is in pages beside the buffer.
    #[inline(always)]
    fn contiguous(&self) -> u32 {
        let tail: u32 = read(self.skb, Setting::SkbTail);
        tail.saturating_sub(u32::from(self.network)).min(self.wire)
    }

    /// Number of its bytes to export.
    #[inline(always)]
    pub fn captured(&self) -> u32 {
        self.contiguous().min(settings::get(Setting::Snap))
    }
}
