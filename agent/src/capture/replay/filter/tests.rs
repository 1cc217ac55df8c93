use super::*;
use dnscribe_common::layers::EXTENSIONS;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::packet::net::test_packets::{self, ACK, FIN, RST, SYN, query};
use dnscribe_transaction::packet::{Direction, PacketId};
use std::time::Duration;

const CLIENT: &str = "192.0.2.1:1024";
const SERVER: &str = "192.0.2.53:53";

struct Harness {
    filter: Filter,
    now: Timestamp,
    seq: u64,
    captured: Vec<u64>,
}

impl Harness {
    fn new() -> Self {
        let filter = Filter::new(PortSet::default());
        Self { filter, now: Timestamp::from_nanos(1), seq: 0, captured: Vec::new() }
    }

    fn offer(&mut self, bytes: &[u8]) {
        self.seq += 1;
        let packet = Packet::new(
            self.now,
            PacketId { cpu: 0, seq: self.seq },
            Direction::Passive,
            Body::Ip { bytes, wire_bytes: u32::try_from(bytes.len()).unwrap() },
        );
        let flow = self.filter.offer(&packet, &mut |packet, _| {
            self.captured.push(packet.id.seq);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        let counters = self.filter.counters();
        assert_eq!(counters.seen, counters.submitted + counters.skipped.values().sum::<u64>());
    }

    fn fragments(id: u16, server: &str) -> Vec<Vec<u8>> {
        test_packets::fragments(&test_packets::udp(CLIENT, server, &query(1, "fragments")), id, 16)
    }
}

#[test]
fn filters_by_ports() {
    let mut harness = Harness::new();
    harness.offer(&test_packets::udp(CLIENT, SERVER, b"x"));
    harness.offer(&test_packets::udp(SERVER, CLIENT, b"x"));
    harness.offer(&test_packets::udp(CLIENT, "192.0.2.2:54", b"x"));
    harness.offer(b"not IP");
    assert_eq!(
        (harness.captured.as_slice(), harness.filter.counters().seen),
        ([1, 2].as_slice(), 2)
    );
}

#[test]
fn skips_segments_without_payload() {
    let mut harness = Harness::new();
    for flags in [SYN, ACK, FIN | ACK, RST] {
        harness.offer(&test_packets::tcp(CLIENT, SERVER, 1, flags, b""));
    }
    harness.offer(&test_packets::tcp(CLIENT, SERVER, 1, ACK, b"x"));
    assert_eq!(harness.captured, [1, 3, 4, 5]);
    assert_eq!(harness.filter.counters().skipped["tcp_no_payload"], 1);
}

#[test]
fn accepts_icmp_quotes_of_either_port() {
    let mut harness = Harness::new();
    for (src, dst) in [(CLIENT, SERVER), (SERVER, CLIENT), (CLIENT, "192.0.2.2:54")] {
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(test_packets::udp(src, dst, b"x"));
        let addresses = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        harness.offer(&test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    }
    assert_eq!(harness.captured, [1, 2]);
}

#[test]
fn fragments_wait_for_the_first() {
    let mut harness = Harness::new();
    let parts = Harness::fragments(5, SERVER);
    assert_eq!(parts.len(), 3);
    harness.offer(&parts[2]);
    assert_eq!(harness.filter.counters().seen, 0, "neither seen nor counted");
    harness.offer(&parts[0]);
    harness.offer(&parts[1]);
    assert_eq!(harness.captured, [1, 2, 3]);
    let others = Harness::fragments(6, "192.0.2.2:54");
    for index in [1, 0, 2] {
        harness.offer(&others[index]);
    }
    assert_eq!(harness.filter.counters().seen, 3);
}

#[test]
fn pending_fragments_expire() {
    let mut harness = Harness::new();
    let parts = Harness::fragments(5, SERVER);
    harness.offer(&parts[2]);
    harness.now = harness.now.plus(Duration::from_secs(31));
    harness.offer(&parts[0]);
    assert_eq!(harness.captured, [2]);
}

#[test]
fn bounds_pending_fragments() {
    let mut harness = Harness::new();
    for id in 0..20_000 {
        harness.offer(&Harness::fragments(id, SERVER)[1]);
    }
    for id in 0..20_000 {
        harness.offer(&Harness::fragments(id, SERVER)[0]);
    }
    let released = harness.filter.counters().seen - 20_000;
    assert!(released <= 8192, "{released}");
}

#[test]
fn filters_by_innermost_ports() {
    let mut harness = Harness::new();
    let (dns, other) =
        (test_packets::udp(CLIENT, SERVER, b"x"), test_packets::udp(CLIENT, "192.0.2.2:54", b"x"));
    let tunnels = test_packets::tunnels(&dns);
    for (_, packet) in &tunnels {
        harness.offer(packet);
    }
    assert_eq!(harness.captured.len(), tunnels.len());
    for (name, packet) in test_packets::tunnels(&other) {
        harness.offer(&packet);
        assert_eq!(harness.captured.len(), tunnels.len(), "{name}");
    }
    for (name, packet) in test_packets::tunnels(&test_packets::tcp(CLIENT, SERVER, 1, ACK, b"")) {
        let before = harness.filter.counters().skipped["tcp_no_payload"];
        harness.offer(&packet);
        assert_eq!(harness.filter.counters().skipped["tcp_no_payload"], before + 1, "{name}");
    }
}

/// Returns an IPv6 packet with `count` extension headers before `upper`.
fn with_extensions(count: usize, protocol: u8, upper: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for left in (0..count).rev() {
        let next = if left == 0 { protocol } else { 60 };
        payload.extend([next, 0, 1, 4, 0, 0, 0, 0]);
    }
    payload.extend(upper);
    let first = if count == 0 { protocol } else { 60 };
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::53".parse().unwrap());
    test_packets::ip(addresses.0, addresses.1, first, &payload)
}

#[test]
fn counts_more_extension_headers_than_it_walks() {
    let datagram = test_packets::udp_payload(1024, 53, &query(1, "www"));
    let mut harness = Harness::new();
    for count in 0..=EXTENSIONS {
        harness.offer(&with_extensions(count, protocol::UDP, &datagram));
    }
    let captured = harness.captured.len() as u64;
    assert_eq!((captured, harness.filter.counters().seen), (9, 9));
    for count in [1, 4, 12] {
        harness.offer(&with_extensions(EXTENSIONS + count, protocol::UDP, &datagram));
    }
    // In a tunnel, and behind the header of a first fragment.
    harness.offer(&test_packets::vxlan(&with_extensions(9, protocol::UDP, &datagram)));
    let fragment =
        [&[60, 0, 0, 1, 0, 0, 0, 9], &with_extensions(9, protocol::UDP, &datagram)[40..]];
    let addresses = ("2001:db8::1".parse().unwrap(), "2001:db8::53".parse().unwrap());
    harness.offer(&test_packets::ip(addresses.0, addresses.1, 44, &fragment.concat()));
    let counters = harness.filter.counters();
    assert_eq!((counters.seen, counters.skipped["tunnel_depth"]), (14, 5));
    // Such numbers are protocols in IPv4, and headers that cannot be skipped in IPv6.
    let addresses = ("192.0.2.1".parse().unwrap(), "192.0.2.53".parse().unwrap());
    harness.offer(&test_packets::ip(addresses.0, addresses.1, 51, &datagram));
    harness.offer(&with_extensions(2, 59, &datagram));
    assert_eq!(harness.filter.counters().seen, 14);
}

#[test]
fn skips_too_many_tunnels() {
    let mut harness = Harness::new();
    let mut packet = test_packets::udp(CLIENT, SERVER, b"x");
    for _ in 1..LEVELS {
        packet = test_packets::vxlan(&packet);
    }
    harness.offer(&packet);
    harness.offer(&test_packets::vxlan(&packet));
    assert_eq!((harness.captured.as_slice(), harness.filter.counters().seen), ([1].as_slice(), 2));
    assert_eq!(harness.filter.counters().skipped["tunnel_depth"], 1);
}

/// A fragmented datagram in a fragmented tunnel, in both orders.
#[test]
fn nested_fragments_wait_for_each_other() {
    let inner = test_packets::udp(CLIENT, SERVER, &query(1, "fragments"));
    let outer: Vec<Vec<u8>> = (1..)
        .zip(test_packets::fragments(&inner, 5, 24))
        .flat_map(|(id, part)| test_packets::fragments(&test_packets::vxlan(&part), id, 64))
        .collect();
    for order in [false, true] {
        let mut harness = Harness::new();
        let parts: Vec<_> =
            if order { outer.iter().rev().collect() } else { outer.iter().collect() };
        for part in parts {
            harness.offer(part);
        }
        harness.captured.sort_unstable();
        let all: Vec<u64> = (1..=outer.len() as u64).collect();
        assert_eq!(harness.captured, all, "reversed: {order}");
    }
}

proptest::proptest! {
    /// Every packet is counted exactly once, for arbitrary bytes.
    #[test]
    fn every_packet_has_one_outcome(
        packets in proptest::collection::vec(
            (proptest::collection::vec(proptest::num::u8::ANY, 0..90), 0usize..16, 0usize..200),
            0..20,
        ),
    ) {
        let mut harness = Harness::new();
        for (bytes, tunnel, cut) in packets {
            let inner = if bytes.len() % 2 == 0 || bytes.is_empty() {
                test_packets::udp(CLIENT, SERVER, &bytes)
            } else {
                bytes
            };
            let tunnels = test_packets::tunnels(&inner);
            let packet = &tunnels[tunnel % tunnels.len()].1;
            harness.offer(&packet[..cut.min(packet.len())]);
            if packet[0] == 0x45 {
                for part in test_packets::fragments(packet, 9, 32).iter().rev() {
                    harness.offer(part);
                }
            }
        }
    }
}

#[test]
fn captures_encrypted_dns_if_configured() {
    let tls = [
        test_packets::tcp(CLIENT, "192.0.2.53:853", 1, ACK, b"x"),
        test_packets::udp(CLIENT, "192.0.2.53:853", b"x"),
    ];
    let mut harness = Harness::new();
    for packet in &tls {
        harness.offer(packet);
    }
    assert_eq!(harness.filter.counters().seen, 0);
    let resolvers = ["192.0.2.53".parse().unwrap()];
    let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], resolvers);
    harness.filter.encrypted = Some(encrypted);
    for packet in &tls {
        harness.offer(packet);
    }
    harness.offer(&test_packets::tcp(CLIENT, "192.0.2.53:443", 1, SYN, b""));
    harness.offer(&test_packets::tcp("192.0.2.53:443", CLIENT, 1, ACK, b"x"));
    assert_eq!(harness.captured, [3, 4, 5, 6]);
    harness.offer(&test_packets::tcp(CLIENT, "192.0.2.54:443", 1, SYN, b""));
    assert_eq!(harness.filter.counters().seen, 4);
    // Of a fragmented datagram only the first fragment is identified, and none is captured.
    for fragment in Harness::fragments(5, "192.0.2.53:853") {
        harness.offer(&fragment);
    }
    let counters = harness.filter.counters();
    assert_eq!((counters.seen, counters.skipped["encrypted_fragment"]), (5, 1));
    // Fragments of a tunnel packet are not captured either.
    for (_, tunnel) in test_packets::tunnels(&tls[0]).into_iter().take(1) {
        for fragment in test_packets::fragments(&tunnel, 6, 16) {
            harness.offer(&fragment);
        }
    }
    assert_eq!(harness.captured, [3, 4, 5, 6]);
}
