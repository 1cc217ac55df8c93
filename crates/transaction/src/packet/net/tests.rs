use super::test_packets;
use super::*;
use proptest::prelude::*;

fn wire(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap()
}

fn read(bytes: &[u8]) -> Result<IpPacket<'_>, BadHeader> {
    parse_ip(bytes, wire(bytes))
}

const V4: (&str, &str) = ("192.0.2.1:1024", "192.0.2.53:53");
const V6: (&str, &str) = ("[2001:db8::1]:1024", "[2001:db8::53]:53");

#[test]
fn reads_udp_over_both_families() {
    for (src, dst) in [V4, V6] {
        let packet = test_packets::udp(src, dst, b"abc");
        let ip = read(&packet).unwrap();
        assert_eq!((ip.protocol, ip.payload_wire, ip.fragment), (protocol::UDP, 11, None));
        assert_eq!(ports(&ip), Some((1024, 53)));
        let datagram = parse_udp(&ip).unwrap();
        assert_eq!((datagram.payload, datagram.payload_wire), (b"abc".as_slice(), 3));
    }
}

#[test]
fn removes_padding() {
    for (src, dst) in [V4, V6] {
        let mut packet = test_packets::udp(src, dst, b"abc");
        packet.extend([0; 9]);
        let ip = read(&packet).unwrap();
        assert_eq!((ip.payload.len(), ip.payload_wire), (11, 11));
    }
}

#[test]
fn uses_captured_length_for_offloaded_packets() {
    let mut packet = test_packets::udp(V4.0, V4.1, b"abc");
    packet[2..4].fill(0);
    assert_eq!(read(&packet).unwrap().payload_wire, 11);
    let mut packet = test_packets::udp(V6.0, V6.1, b"abc");
    packet[4..6].fill(0);
    assert_eq!(read(&packet).unwrap().payload_wire, 11);
}

#[test]
fn limits_lengths_to_packet() {
    let mut packet = test_packets::udp(V6.0, V6.1, b"abc");
    packet[4] = 0xff;
    assert_eq!(read(&packet).unwrap().payload_wire, 11);
    let clipped = test_packets::udp(V4.0, V4.1, b"abcdef");
    let ip = parse_ip(&clipped[..30], wire(&clipped)).unwrap();
    let datagram = parse_udp(&ip).unwrap();
    assert_eq!((datagram.payload, datagram.payload_wire), (b"ab".as_slice(), 6));
}

#[test]
fn rejects_impossible_headers() {
    let packet = test_packets::udp(V4.0, V4.1, b"abc");
    for length in 0..20 {
        assert_eq!(read(&packet[..length]), Err(BadHeader::Ip));
    }
    let mut short = packet.clone();
    short[0] = 0x44;
    assert_eq!(read(&short), Err(BadHeader::Ip));
    let mut low = packet.clone();
    low[3] = 19;
    assert_eq!(read(&low), Err(BadHeader::Ip));
    for length in [0, 7, 12] {
        let mut packet = packet.clone();
        packet[25] = length;
        let ip = read(&packet).unwrap();
        assert_eq!(parse_udp(&ip), Err(BadHeader::Udp), "{length}");
    }
    let mut segment = test_packets::tcp(V4.0, V4.1, 1, test_packets::ACK, b"abc");
    for offset in [0x00, 0x40, 0xf0] {
        segment[32] = offset;
        let ip = read(&segment).unwrap();
        assert_eq!(parse_tcp(ip.payload, ip.payload_wire), Err(BadHeader::Tcp), "{offset:x}");
    }
}

#[test]
fn skips_options() {
    let mut packet = test_packets::udp(V4.0, V4.1, b"abc");
    packet.splice(20..20, [1; 8]);
    packet[0] = 0x47;
    packet[3] += 8;
    assert_eq!(ports(&read(&packet).unwrap()), Some((1024, 53)));
}

#[test]
fn walks_extension_headers() {
    let datagram = test_packets::udp_payload(1024, 53, b"abc");
    let mut payload = vec![43, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 51, 1];
    payload.extend([0; 14]);
    payload.extend([17, 4]);
    payload.extend([0; 22]);
    payload.extend(&datagram);
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::53".parse().unwrap());
    let packet = test_packets::ip(addresses.0, addresses.1, 0, &payload);
    let ip = read(&packet).unwrap();
    assert_eq!((ip.protocol, ip.payload), (protocol::UDP, datagram.as_slice()));
    for length in 40..packet.len() - datagram.len() {
        assert_eq!(parse_ip(&packet[..length], wire(&packet)), Err(BadHeader::Ip), "{length}");
    }
}

#[test]
fn knows_chains_that_it_does_not_walk_to_the_end() {
    let datagram = test_packets::udp_payload(1024, 53, b"abc");
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::53".parse().unwrap());
    for kind in [0, 43, 60, 135, 139, 140] {
        for (count, is_too_long) in [(EXTENSIONS, false), (EXTENSIONS + 1, true)] {
            let mut payload = [kind, 0, 0, 0, 0, 0, 0, 0].repeat(count);
            payload[(count - 1) * 8] = protocol::UDP;
            payload.extend(&datagram);
            let packet = test_packets::ip(addresses.0, addresses.1, kind, &payload);
            let ip = read(&packet).unwrap();
            assert_eq!(ip.has_too_many_extensions(), is_too_long, "{kind}");
            assert_eq!(ports(&ip).is_none(), is_too_long, "{kind}");
        }
    }
}

#[test]
fn reads_fragments() {
    let packet = test_packets::udp(V4.0, V4.1, &[7; 40]);
    let parts = test_packets::fragments(&packet, 9, 24);
    let first = read(&parts[0]).unwrap();
    assert_eq!(first.fragment, Some(Fragment { id: 9, offset: 0, more: true }));
    assert_eq!(ports(&first), Some((1024, 53)));
    let last = read(&parts[1]).unwrap();
    assert_eq!(last.fragment, Some(Fragment { id: 9, offset: 24, more: false }));
    assert_eq!((last.is_later_fragment(), ports(&last)), (true, None));
}

#[test]
fn reads_ports_after_fragment_header() {
    let mut payload = vec![60, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(test_packets::udp_payload(1024, 53, &[0; 8]));
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::53".parse().unwrap());
    let packet = test_packets::ip(addresses.0, addresses.1, 44, &payload);
    let first = read(&packet).unwrap();
    assert_eq!(first.protocol, 60, "what all fragments of the datagram carry");
    assert_eq!(ports(&first), Some((1024, 53)));
    payload[3] = 0;
    let packet = test_packets::ip(addresses.0, addresses.1, 44, &payload);
    let atomic = read(&packet).unwrap();
    assert_eq!((atomic.protocol, atomic.fragment), (protocol::UDP, None));
}

#[test]
fn reads_quotes() {
    let query = test_packets::udp(V4.0, V4.1, &test_packets::query(0xabcd, "www"));
    let quote = |kind: u8, inner: &[u8]| {
        let mut payload = vec![kind, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(inner);
        let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let packet = test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload);
        parse_icmp_quote(&read(&packet).unwrap())
    };
    let long = quote(3, &query).unwrap();
    assert_eq!((long.tcp, long.first_two), (false, Some(0xabcd)));
    assert_eq!(long.dst, V4.1.parse().unwrap());
    assert_eq!(quote(3, &query[..28]).unwrap().first_two, None, "the least that RFC 792 asks for");
    assert_eq!(quote(11, &query), None);
    assert_eq!(quote(3, &query[..20]), None);
    assert!(quote(3, &test_packets::tcp(V4.0, V4.1, 1, test_packets::SYN, b"")).unwrap().tcp);
}

proptest! {
    #[test]
    fn never_panics_nor_reads_beyond(bytes in prop::collection::vec(any::<u8>(), 0..200),
                                     version in prop::sample::select(vec![0x45u8, 0x46, 0x60]),
                                     longer in 0u32..100) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = version;
        }
        let wire_bytes = wire(&bytes) + longer;
        if let Ok(ip) = parse_ip(&bytes, wire_bytes) {
            prop_assert!(wire(ip.payload) <= ip.payload_wire);
            prop_assert!(ip.payload_wire <= wire_bytes);
            let _ = (ports(&ip), parse_icmp_quote(&ip));
            if let Ok(datagram) = parse_udp(&ip) {
                prop_assert!(wire(datagram.payload) <= datagram.payload_wire);
            }
            if let Ok(segment) = parse_tcp(ip.payload, ip.payload_wire) {
                prop_assert!(wire(segment.payload) <= segment.payload_wire);
            }
        }
    }
}
