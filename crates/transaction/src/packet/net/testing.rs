//! Packets for tests.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that asks for an impossible packet fails"
)]

use super::protocol;
use std::net::{IpAddr, SocketAddr};

/// Builds a query for the address of `label.example`.
#[must_use]
pub fn query(id: u16, label: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [label, "example"] {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// Adds the length prefix of TCP.
#[must_use]
pub fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

/// Builds an IP packet.
#[must_use]
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut packet = vec![0x45, 0];
            packet.extend(u16::try_from(payload.len() + 20).unwrap().to_be_bytes());
            packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            packet.extend(payload);
            packet
        }
        _ => panic!("addresses of two families"),
    }
}

/// Builds a UDP datagram without IP header.
#[must_use]
pub fn udp_payload(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let mut datagram = Vec::new();
    for word in [src, dst, length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// Builds a UDP datagram in an IP packet.
#[must_use]
pub fn udp(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let datagram = udp_payload(src.port(), dst.port(), payload);
    ip(src.ip(), dst.ip(), protocol::UDP, &datagram)
}

/// Flag: last segment of a direction.
pub const FIN: u8 = 0x01;
/// Flag: first segment of a direction.
pub const SYN: u8 = 0x02;
/// Flag: ends the connection.
pub const RST: u8 = 0x04;
/// Flag: the acknowledgement number is valid.
pub const ACK: u8 = 0x10;

/// Builds a TCP segment in an IP packet.
#[must_use]
pub fn tcp(src: &str, dst: &str, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut segment = Vec::new();
    segment.extend(src.port().to_be_bytes());
    segment.extend(dst.port().to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(src.ip(), dst.ip(), protocol::TCP, &segment)
}

/// Splits an IPv4 packet without options into fragments of `size` bytes, a multiple of eight.
#[must_use]
pub fn fragments(packet: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let count = payload.len().div_ceil(size);
    payload
        .chunks(size)
        .enumerate()
        .map(|(place, part)| {
            let mut fragment = header.to_vec();
            fragment[2..4].copy_from_slice(&u16::try_from(20 + part.len()).unwrap().to_be_bytes());
            fragment[4..6].copy_from_slice(&id.to_be_bytes());
            let more = if place + 1 < count { 0x2000 } else { 0 };
            let offset = u16::try_from(place * size / 8).unwrap() | more;
            fragment[6..8].copy_from_slice(&offset.to_be_bytes());
            fragment.extend_from_slice(part);
            fragment
        })
        .collect()
}

/// Addresses of tunnel endpoints.
const ENDS: (&str, &str) = ("198.51.100.1:40000", "198.51.100.2:0");
const ENDS_6: (&str, &str) = ("[2001:db8:1::1]:40000", "[2001:db8:1::2]:0");

/// Builds a UDP datagram between tunnel endpoints.
fn over_udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut to: SocketAddr = ENDS.1.parse().unwrap();
    to.set_port(port);
    udp(ENDS.0, &to.to_string(), payload)
}

/// Builds a packet between tunnel endpoints, over IPv4 and IPv6.
fn over_ip(protocol: u8, payload: &[u8]) -> [Vec<u8>; 2] {
    [ENDS, ENDS_6].map(|(from, to)| {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        ip(from.ip(), to.ip(), protocol, payload)
    })
}

/// Builds VXLAN with an Ethernet frame with an IP packet.
#[must_use]
pub fn vxlan(packet: &[u8]) -> Vec<u8> {
    over_udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(packet)].concat())
}

/// Builds an Ethernet frame with an IP packet.
#[must_use]
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[2; 12], ether_type(packet).as_slice(), packet].concat()
}

fn ether_type(packet: &[u8]) -> [u8; 2] {
    if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] }
}

/// Builds packets that carry `packet` in each kind of tunnel.
#[must_use]
pub fn tunnels(packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let frame = ethernet(packet);
    let kind = ether_type(packet);
    let join = |parts: &[&[u8]]| parts.concat();
    let [in_4, in_6] = over_ip(if packet[0] >> 4 == 4 { 4 } else { 41 }, packet);
    let [gre_4, gre_6] = over_ip(47, &join(&[&[0, 0], &kind, packet]));
    let [bridged, _] = over_ip(47, &join(&[&[0xb0, 0, 0x65, 0x58], &[7; 12], &frame]));
    let pptp = [0x30, 0x81, 0x88, 0x0b, 0, 40, 0, 1, 0, 0, 0, 9, 0, 0, 0, 8, 0xff, 3, 0, 0x21];
    let erspan = join(&[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1], &[0x10; 8], &frame]);
    let geneve = join(&[&[2, 0, 0x65, 0x58, 0, 0, 7, 0], &[9; 8], &frame]);
    let extended = [0x34, 255, 0, 40, 0, 0, 0, 1, 0, 9, 0, 0x85, 1, 0, 9, 0];
    vec![
        ("IP in IPv4", in_4),
        ("IP in IPv6", in_6),
        ("GRE", gre_4),
        ("GRE over IPv6", gre_6),
        ("bridging over GRE with checksum, key and number", bridged),
        ("PPTP", over_ip(47, &join(&[&pptp, packet]))[0].clone()),
        ("ERSPAN", over_ip(47, &erspan)[0].clone()),
        ("MPLS in IP", over_ip(137, &join(&[&[0, 1, 0, 9, 0, 1, 1, 9], packet]))[0].clone()),
        ("VXLAN", vxlan(packet)),
        ("GENEVE with options", over_udp(6081, &geneve)),
        ("GTP-U with extensions", over_udp(2152, &join(&[&extended, packet]))),
        ("GRE over UDP", over_udp(4754, &join(&[&[0, 0], &kind, packet]))),
        ("VXLAN in VXLAN in VXLAN", vxlan(&vxlan(&vxlan(packet)))),
    ]
}
