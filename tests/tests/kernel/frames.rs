//! Packets of the tests' making, each after an Ethernet header.

/// A port that nobody else uses, so that counters count the test's packets alone.
pub const PORT: u16 = 5391;

const ETHERNET: usize = 14;

/// Puts an Ethernet header before an IP packet, as it arrives for this host.
pub fn ethernet(ip: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] =
        if ip.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&[0_u8; 12][..], &kind, ip].concat()
}

/// An Ethernet frame with a VLAN tag within its payload.
pub fn tagged(ip: &[u8]) -> Vec<u8> {
    [&[0_u8; 12][..], &[0x81, 0x00, 0x00, 0x07, 0x08, 0x00], ip].concat()
}

/// The IP packet in a frame.
pub fn ip_of(frame: &[u8]) -> &[u8] {
    &frame[ETHERNET..]
}

fn length(of: usize) -> [u8; 2] {
    u16::try_from(of).unwrap_or(u16::MAX).to_be_bytes()
}

/// An IPv4 packet. `place` is the word with flags and fragment offset.
pub fn v4(protocol: u8, options: &[u8], place: u16, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut ip = vec![0x40 | u8::try_from(header / 4).unwrap_or(15), 0];
    ip.extend(length(header + payload.len()));
    ip.extend([0x12, 0x34]);
    ip.extend(place.to_be_bytes());
    ip.extend([64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    ip.extend(options);
    ip.extend(payload);
    ip
}

/// An IPv6 packet whose first header after the fixed one is `next`.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut ip = vec![0x60, 0, 0, 0];
    ip.extend(length(payload.len()));
    ip.extend([next, 64]);
    for last in [1, 2] {
        ip.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    ip.extend(payload);
    ip
}

/// A UDP datagram from some port to `port`.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 40_000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(length(8 + payload.len()));
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// A TCP segment from some port to `port`, with options when `words` is above 5.
pub fn tcp(port: u16, flags: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = 40_000_u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(vec![1; usize::from(words - 5) * 4]);
    segment.extend(payload);
    segment
}

/// The question for the root's name servers.
pub const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";
