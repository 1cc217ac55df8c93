//! Test packets, each with an Ethernet header.

/// A port without other traffic, so that counters count only the test's packets.
pub const PORT: u16 = 5391;

const ETHERNET: usize = 14;

/// Adds an Ethernet header to an IP packet, with this host as destination.
pub fn ethernet(ip: &[u8]) -> Vec<u8> {
    let kind: [u8; 2] =
        if ip.first().is_some_and(|first| first >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    [&[0_u8; 12][..], &kind, ip].concat()
}

/// Builds an Ethernet frame with a VLAN tag in its payload.
pub fn tagged(ip: &[u8]) -> Vec<u8> {
    [&[0_u8; 12][..], &[0x81, 0x00, 0x00, 0x07, 0x08, 0x00], ip].concat()
}

/// Returns the IP packet in a frame.
pub fn ip_of(frame: &[u8]) -> &[u8] {
    &frame[ETHERNET..]
}

fn length(of: usize) -> [u8; 2] {
    u16::try_from(of).unwrap_or(u16::MAX).to_be_bytes()
}

/// Builds an IPv4 packet. `place` is the word with flags and fragment offset.
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

/// Builds an IPv6 packet whose first extension or upper header is `next`.
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

/// Builds a UDP datagram to `port`.
pub fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = 40_000_u16.to_be_bytes().to_vec();
    datagram.extend(port.to_be_bytes());
    datagram.extend(length(8 + payload.len()));
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// Builds a TCP segment to `port`, with options if `words` (the header length) is above 5.
pub fn tcp(port: u16, flags: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = 40_000_u16.to_be_bytes().to_vec();
    segment.extend(port.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(vec![1; usize::from(words - 5) * 4]);
    segment.extend(payload);
    segment
}

/// A query for the root's name servers.
pub const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01";

/// Builds an Ethernet frame of any type.
pub fn ethernet_of(kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[0_u8; 12][..], &kind, payload].concat()
}

/// Encapsulates an IP packet in an Ethernet frame in VXLAN.
pub fn vxlan(ip: &[u8]) -> Vec<u8> {
    v4(17, &[], 0, &udp(4789, &[&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(ip)].concat()))
}

/// Splits an IPv4 packet without options into fragments of `size` payload bytes.
pub fn fragments(packet: &[u8], id: u8, size: usize) -> Vec<Vec<u8>> {
    let parts = packet[20..].chunks(size);
    let last = parts.len() - 1;
    parts
        .enumerate()
        .map(|(place, part)| {
            let more = if place == last { 0 } else { 0x2000 };
            let offset = u16::try_from(place * size / 8).unwrap_or(0);
            let mut fragment = v4(packet[9], &[], offset | more, part);
            fragment[5] = id;
            fragment
        })
        .collect()
}

/// Returns frames that carry an IP packet, one for each encapsulation.
pub fn encapsulations(ip: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let is_6 = ip.first().is_some_and(|first| first >> 4 == 6);
    let kind: [u8; 2] = if is_6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let join = |parts: &[&[u8]]| parts.concat();
    let frame = ethernet(ip);
    let over_4 = |protocol: u8, payload: &[u8]| ethernet(&v4(protocol, &[], 0, payload));
    let over_6 = |protocol: u8, payload: &[u8]| ethernet(&v6(protocol, payload));
    let over_udp = |port: u16, payload: &[u8]| over_4(17, &udp(port, payload));
    let ppp = if is_6 { [0, 0x57] } else { [0, 0x21] };
    let in_ip = if is_6 { 41 } else { 4 };
    let numbered = [0x30, 0x81, 0x88, 0x0b, 0, 40, 0, 1, 0, 0, 0, 9, 0, 0, 0, 8, 0xff, 3];
    let gtp = [0x34, 255, 0, 40, 0, 0, 0, 1, 0, 9, 0, 0x85, 1, 0, 9, 0];
    let erspan = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 1, 0, 0, 0, 0];
    let label = [0, 1, 1, 9];
    vec![
        ("a tag", ethernet_of([0x81, 0], &join(&[&[0, 7], &kind, ip]))),
        ("two tags", ethernet_of([0x88, 0xa8], &join(&[&[0, 7, 0x81, 0, 0, 8], &kind, ip]))),
        ("an old tag", ethernet_of([0x91, 0], &join(&[&[0, 7, 0x81, 0, 0, 8], &kind, ip]))),
        ("PPPoE", ethernet_of([0x88, 0x64], &join(&[&[0x11, 0, 0, 1, 0, 40], &ppp, ip]))),
        ("a label", ethernet_of([0x88, 0x47], &join(&[&label, ip]))),
        ("labels", ethernet_of([0x88, 0x47], &join(&[&[0, 1, 0, 9].repeat(3), &label, ip]))),
        ("a pseudowire", ethernet_of([0x88, 0x47], &join(&[&label, &[0; 4], &frame]))),
        ("LLC and SNAP", ethernet_of([0, 90], &join(&[&[0xaa, 0xaa, 3, 0, 0, 0], &kind, ip]))),
        ("IP in IPv4", over_4(in_ip, ip)),
        ("IP in IPv6", over_6(in_ip, ip)),
        ("GRE", over_4(47, &join(&[&[0, 0], &kind, ip]))),
        ("GRE with everything", over_6(47, &join(&[&[0xb0, 0], &kind, &[7; 12], ip]))),
        ("bridging over GRE", over_4(47, &join(&[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 7], &frame]))),
        ("PPTP", over_4(47, &join(&[&numbered, &ppp, ip]))),
        ("ERSPAN", over_4(47, &join(&[&erspan, &frame]))),
        ("EtherIP", over_4(97, &join(&[&[0x30, 0], &frame]))),
        ("MPLS in IP", over_4(137, &join(&[&label, ip]))),
        ("VXLAN", ethernet(&vxlan(ip))),
        ("VXLAN as Linux had it", over_udp(8472, &join(&[&[8, 0, 0, 0, 0, 0, 7, 0], &frame]))),
        ("VXLAN in VXLAN", ethernet(&vxlan(&vxlan(ip)))),
        ("GENEVE", over_udp(6081, &join(&[&[2, 0, 0x65, 0x58, 0, 0, 7, 0], &[9; 8], &frame]))),
        ("GENEVE without Ethernet", over_udp(6081, &join(&[&[0, 0], &kind, &[0, 0, 7, 0], ip]))),
        ("GTP-U", over_udp(2152, &join(&[&[0x30, 255, 0, 40, 0, 0, 0, 1], ip]))),
        ("GTP-U with an extension", over_udp(2152, &join(&[&gtp, ip]))),
        ("GRE over UDP", over_udp(4754, &join(&[&[0, 0], &kind, ip]))),
        ("MPLS over UDP", over_udp(6635, &join(&[&label, ip]))),
        ("L2TP", over_udp(1701, &join(&[&[0x40, 2, 0, 90, 0, 1, 0, 2, 0xff, 3], &ppp, ip]))),
    ]
}
