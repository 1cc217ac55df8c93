//! Ethernet frames: UDP datagrams and the segments of TCP, with their checksums.

use anyhow::Result;
use std::net::{IpAddr, SocketAddr};

/// Octets of a segment's payload, at most.
const SEGMENT_BYTES: usize = 1400;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Flags of TCP.
pub mod flag {
    #![expect(missing_docs, reason = "the names are those of the flags")]
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const PSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

/// A datagram in its frame.
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

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Where it is.
    pub at: SocketAddr,
    /// The number of the next octet that it sends.
    pub next: u32,
}

/// A connection as it passes.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who opens it.
    pub client: End,
    /// Who accepts it.
    pub server: End,
}

impl Connection {
    /// A segment, or several where the payload needs them.
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

/// What IP carries in its frame, the checksum at a place of it filled in (RFC 768, 9293).
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

/// The checksum of the Internet (RFC 1071); the first part has an even number of octets. Never 0,
/// which UDP keeps for none.
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
