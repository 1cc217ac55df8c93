//! Packets for the benchmark, each in an Ethernet frame.

/// Port of DNS.
pub const DNS: u16 = 53;
/// Another port.
pub const OTHER: u16 = 8080;

/// Bytes of DNS in a query: `www.example.com` with EDNS.
pub const QUERY_BYTES: usize = 44;
/// Bytes of DNS in a response.
pub const RESPONSE_BYTES: usize = 512;

const UDP: u8 = 17;
const TCP: u8 = 6;
const ACK: u8 = 16;
const PUSH: u8 = 8;

/// A packet with a name.
pub struct Frame {
    pub name: &'static str,
    pub bytes: Vec<u8>,
    pub kind: Kind,
}

/// Result of a program for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Skipped because it is not DNS: compared with an empty program.
    Other,
    /// Only counted: there is no baseline for it.
    Counted,
    /// A record of the first size class.
    Small,
    /// A record with 576 bytes of packet.
    Large,
}

/// Returns all packets.
pub fn all() -> Vec<Frame> {
    let frame = |name, kind, ip: &[u8]| Frame { name, kind, bytes: ethernet(ip) };
    let message = [&[0, 44][..], &[7; 44]].concat();
    vec![
        frame("other_tcp", Kind::Other, &v4(TCP, &tcp(OTHER, ACK, &[7; 1200]))),
        frame("other_udp", Kind::Other, &v4(UDP, &udp(40_000, OTHER, &[7; 100]))),
        frame("other_tcp_ipv6", Kind::Other, &v6(TCP, &tcp(OTHER, ACK, &[7; 1200]))),
        frame("other_icmp", Kind::Other, &v4(1, &[&[8, 0, 0, 0][..], &[7; 60]].concat())),
        frame("query", Kind::Small, &v4(UDP, &udp(40_000, DNS, &[7; QUERY_BYTES]))),
        frame("query_ipv6", Kind::Small, &v6(UDP, &udp(40_000, DNS, &[7; QUERY_BYTES]))),
        frame("response", Kind::Large, &v4(UDP, &udp(DNS, 40_000, &[7; RESPONSE_BYTES]))),
        frame("tcp_message", Kind::Small, &v4(TCP, &tcp(DNS, ACK | PUSH, &message))),
        frame("tcp_ack", Kind::Counted, &v4(TCP, &tcp(DNS, ACK, &[]))),
    ]
}

fn ethernet(ip: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] = if ip[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&[0; 12][..], &kind, ip].concat()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend(length(20 + payload.len()));
    ip.extend([0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    ip.extend(payload);
    ip
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let address = |last: u8| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let [high, low] = length(payload.len());
    let head = [0x60, 0, 0, 0, high, low, next, 64];
    [&head[..], &address(1), &address(2), payload].concat()
}

fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    [&ports[..], &length(8 + payload.len()), &[0, 0], payload].concat()
}

/// Returns a TCP segment with the timestamps option, which nearly all segments have.
fn tcp(to: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = 40_001_u16.to_be_bytes().to_vec();
    segment.extend(to.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 8 << 4, flags, 1, 0, 0, 0, 0, 0]);
    segment.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    segment.extend(payload);
    segment
}
