//! Packets for tests.

use super::protocol;
use std::net::{IpAddr, SocketAddr};

/// A query for a name of `label` under `.example`.
pub(crate) fn query(id: u16, label: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in [label, "example"] {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// A message after its length, as TCP carries it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(message);
    bytes
}

/// An IP packet around a payload.
pub(crate) fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
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

/// A UDP header and its payload.
pub(crate) fn udp_payload(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let mut datagram = Vec::new();
    for word in [src, dst, length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// A UDP datagram in an IP packet.
pub(crate) fn udp(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let datagram = udp_payload(src.port(), dst.port(), payload);
    ip(src.ip(), dst.ip(), protocol::UDP, &datagram)
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// A TCP segment in an IP packet.
pub(crate) fn tcp(src: &str, dst: &str, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut segment = Vec::new();
    segment.extend(src.port().to_be_bytes());
    segment.extend(dst.port().to_be_bytes());
    segment.extend(seq.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    ip(src.ip(), dst.ip(), protocol::TCP, &segment)
}

/// Cuts an IPv4 packet without options into fragments of `size` octets (a multiple of eight).
pub(crate) fn fragments(packet: &[u8], id: u16, size: usize) -> Vec<Vec<u8>> {
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
