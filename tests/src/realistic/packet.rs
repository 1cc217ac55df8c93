//! Ethernet frames with UDP datagrams and TCP segments, with correct checksums.

use anyhow::Result;
use std::net::{IpAddr, SocketAddr};

/// Maximum payload bytes of a segment.
const SEGMENT_BYTES: usize = 1400;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// TCP flags.
pub mod flag {
    #![expect(missing_docs, reason = "the names are those of the flags")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// Builds a frame with a UDP datagram.
pub fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u16::try_from(8 + payload.len())?;
    let mut udp = Vec::with_capacity(usize::from(length));
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    frame(from.ip(), to.ip(), UDP, 6, udp)
}

/// One end of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Address and port.
    pub at: SocketAddr,
    /// Sequence number of the next byte that this end sends.
    pub next: u32,
}

/// A TCP connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The end that opens the connection.
    pub client: End,
    /// The end that accepts it.
    pub server: End,
}

impl Connection {
    /// Builds one segment, or several if the payload is large.
    pub fn send(&mut self, from_client: bool, flags: u8, payload: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (from, to) = if from_client {
            (&mut self.client, &self.server)
        } else {
            (&mut self.server, &self.client)
        };
        let mut frames = Vec::new();
        let mut rest = payload;
        loop {
            let (now, later) = rest.split_at(rest.len().min(SEGMENT_BYTES));
            frames.push(segment(*from, *to, flags, now)?);
            let counted = u32::from(flags & (flag::SYN | flag::FIN) != 0);
            from.next = from.next.wrapping_add(u32::try_from(now.len())? + counted);
            rest = later;
            if rest.is_empty() {
                return Ok(frames);
            }
        }
    }
}

fn segment(from: End, to: End, flags: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let acknowledged = if flags & flag::ACK == 0 { 0 } else { to.next };
    let mut tcp = Vec::with_capacity(20 + payload.len());
    tcp.extend(from.at.port().to_be_bytes());
    tcp.extend(to.at.port().to_be_bytes());
    tcp.extend(from.next.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend(payload);
    frame(from.at.ip(), to.at.ip(), TCP, 16, tcp)
}

/// Builds a frame around an IP payload and sets its checksum at offset `sum_at` (RFC 768, RFC
/// 9293).
fn frame(
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    sum_at: usize,
    mut inner: Vec<u8>,
) -> Result<Vec<u8>> {
    let length = u16::try_from(inner.len())?;
    let mut pseudo = Vec::with_capacity(40);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            pseudo.extend(from.octets());
            pseudo.extend(to.octets());
        }
        (from, to) => {
            for address in [from, to] {
                pseudo.extend(v6(address));
            }
        }
    }
    let addresses = pseudo.clone();
    pseudo.extend(u32::from(length).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    let sum = checksum([&pseudo, &inner]);
    inner[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if addresses.len() == 8 {
        let mut header = vec![0x45, 0];
        header.extend((20 + length).to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        header.extend(&addresses);
        let sum = checksum([&header, &[]]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0x08, 0x00]);
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend(&addresses);
    }
    frame.extend(inner);
    Ok(frame)
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
    }
}

/// Computes the Internet checksum (RFC 1071); the first part has an even number of bytes. Never
/// returns 0, which means no checksum in UDP.
fn checksum(parts: [&[u8]; 2]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.into_iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = sum.to_be_bytes();
    match !u16::from_be_bytes([high, low]) {
        0 => 0xffff,
        sum => sum,
    }
}
