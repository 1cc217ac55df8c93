use super::*;
use crate::capture::{Origin, Sight};
use crate::net::craft::{self, ACK, FIN, RST, SYN, query};
use dnscribe_record::time::Timestamp;
use std::time::Duration;

const CLIENT: &str = "192.0.2.1:1024";
const SERVER: &str = "192.0.2.53:53";

struct Bench {
    admission: Admission,
    now: Timestamp,
    seq: u64,
    through: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        let admission = Admission::new(PortSet::default());
        Self { admission, now: Timestamp::from_nanos(1), seq: 0, through: Vec::new() }
    }

    fn offer(&mut self, bytes: &[u8]) {
        self.seq += 1;
        let packet = Packet {
            ts: self.now,
            origin: Origin { cpu: 0, seq: self.seq },
            scope: 0,
            sight: Sight::Passive,
            task: None,
            datagram_bytes: 0,
            cgroup_id: 0,
            body: Body::Ip { bytes, wire_bytes: u32::try_from(bytes.len()).unwrap() },
        };
        let flow = self.admission.offer(&packet, &mut |packet, _| {
            self.through.push(packet.origin.seq);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
        let counters = self.admission.counters();
        assert_eq!(counters.seen, counters.submitted + counters.skipped.values().sum::<u64>());
    }

    fn fragments(id: u16, server: &str) -> Vec<Vec<u8>> {
        craft::fragments(&craft::udp(CLIENT, server, &query(1, "fragments")), id, 16)
    }
}

#[test]
fn ports_decide() {
    let mut bench = Bench::new();
    bench.offer(&craft::udp(CLIENT, SERVER, b"x"));
    bench.offer(&craft::udp(SERVER, CLIENT, b"x"));
    bench.offer(&craft::udp(CLIENT, "192.0.2.2:54", b"x"));
    bench.offer(b"not IP");
    assert_eq!((bench.through.as_slice(), bench.admission.seen), ([1, 2].as_slice(), 2));
}

#[test]
fn segments_without_payload_are_skipped() {
    let mut bench = Bench::new();
    for flags in [SYN, ACK, FIN | ACK, RST] {
        bench.offer(&craft::tcp(CLIENT, SERVER, 1, flags, b""));
    }
    bench.offer(&craft::tcp(CLIENT, SERVER, 1, ACK, b"x"));
    assert_eq!(bench.through, [1, 3, 4, 5]);
    assert_eq!(bench.admission.counters().skipped[TCP_NO_PAYLOAD], 1);
}

#[test]
fn quotes_of_either_port_are_seen() {
    let mut bench = Bench::new();
    for (src, dst) in [(CLIENT, SERVER), (SERVER, CLIENT), (CLIENT, "192.0.2.2:54")] {
        let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
        payload.extend(craft::udp(src, dst, b"x"));
        let addresses = ("192.0.2.9".parse().unwrap(), "192.0.2.1".parse().unwrap());
        bench.offer(&craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload));
    }
    assert_eq!(bench.through, [1, 2]);
}

#[test]
fn fragments_wait_for_the_first() {
    let mut bench = Bench::new();
    let parts = Bench::fragments(5, SERVER);
    assert_eq!(parts.len(), 3);
    bench.offer(&parts[2]);
    assert_eq!(bench.admission.seen, 0, "neither seen nor counted");
    bench.offer(&parts[0]);
    bench.offer(&parts[1]);
    assert_eq!(bench.through, [1, 2, 3]);
    let others = Bench::fragments(6, "192.0.2.2:54");
    for place in [1, 0, 2] {
        bench.offer(&others[place]);
    }
    assert_eq!(bench.admission.seen, 3);
}

#[test]
fn fragments_do_not_wait_for_ever() {
    let mut bench = Bench::new();
    let parts = Bench::fragments(5, SERVER);
    bench.offer(&parts[2]);
    bench.now = bench.now.plus(Duration::from_secs(31));
    bench.offer(&parts[0]);
    assert_eq!(bench.through, [2]);
}

#[test]
fn fragments_that_wait_are_bounded() {
    let mut bench = Bench::new();
    for id in 0..20_000 {
        bench.offer(&Bench::fragments(id, SERVER)[1]);
    }
    for id in 0..20_000 {
        bench.offer(&Bench::fragments(id, SERVER)[0]);
    }
    let released = bench.admission.seen - 20_000;
    assert!(released <= 8192, "{released}");
}

#[test]
fn the_innermost_ports_decide() {
    let mut bench = Bench::new();
    let (ours, other) =
        (craft::udp(CLIENT, SERVER, b"x"), craft::udp(CLIENT, "192.0.2.2:54", b"x"));
    let tunnels = craft::tunnels(&ours);
    for (_, packet) in &tunnels {
        bench.offer(packet);
    }
    assert_eq!(bench.through.len(), tunnels.len());
    for (what, packet) in craft::tunnels(&other) {
        bench.offer(&packet);
        assert_eq!(bench.through.len(), tunnels.len(), "{what}");
    }
    for (what, packet) in craft::tunnels(&craft::tcp(CLIENT, SERVER, 1, ACK, b"")) {
        let before = bench.admission.no_payload;
        bench.offer(&packet);
        assert_eq!(bench.admission.no_payload, before + 1, "{what}");
    }
}

#[test]
fn too_many_tunnels_are_skipped() {
    let mut bench = Bench::new();
    let mut packet = craft::udp(CLIENT, SERVER, b"x");
    for _ in 1..LEVELS {
        packet = craft::vxlan(&packet);
    }
    bench.offer(&packet);
    bench.offer(&craft::vxlan(&packet));
    assert_eq!((bench.through.as_slice(), bench.admission.seen), ([1].as_slice(), 2));
    assert_eq!(bench.admission.counters().skipped[TUNNEL_DEPTH], 1);
}

/// A datagram in fragments, in a tunnel that is in fragments too: whichever comes last decides.
#[test]
fn fragments_of_fragments_wait_for_each_other() {
    let inner = craft::udp(CLIENT, SERVER, &query(1, "fragments"));
    let outer: Vec<Vec<u8>> = (1..)
        .zip(craft::fragments(&inner, 5, 24))
        .flat_map(|(id, part)| craft::fragments(&craft::vxlan(&part), id, 64))
        .collect();
    for order in [false, true] {
        let mut bench = Bench::new();
        let parts: Vec<_> =
            if order { outer.iter().rev().collect() } else { outer.iter().collect() };
        for part in parts {
            bench.offer(part);
        }
        bench.through.sort_unstable();
        let all: Vec<u64> = (1..=outer.len() as u64).collect();
        assert_eq!(bench.through, all, "reversed: {order}");
    }
}

proptest::proptest! {
    /// Whatever the octets: no packet is counted twice, or not at all.
    #[test]
    fn every_packet_has_one_fate(
        packets in proptest::collection::vec(
            (proptest::collection::vec(proptest::num::u8::ANY, 0..90), 0usize..16, 0usize..200),
            0..20,
        ),
    ) {
        let mut bench = Bench::new();
        for (octets, how, cut) in packets {
            let inner = if octets.len() % 2 == 0 || octets.is_empty() {
                craft::udp(CLIENT, SERVER, &octets)
            } else {
                octets
            };
            let tunnels = craft::tunnels(&inner);
            let packet = &tunnels[how % tunnels.len()].1;
            bench.offer(&packet[..cut.min(packet.len())]);
            if packet[0] == 0x45 {
                for part in craft::fragments(packet, 9, 32).iter().rev() {
                    bench.offer(part);
                }
            }
        }
    }
}

#[test]
fn encrypted_dns_is_seen_where_it_is_looked_for() {
    let tls = [
        craft::tcp(CLIENT, "192.0.2.53:853", 1, ACK, b"x"),
        craft::udp(CLIENT, "192.0.2.53:853", b"x"),
    ];
    let mut bench = Bench::new();
    for packet in &tls {
        bench.offer(packet);
    }
    assert_eq!(bench.admission.seen, 0);
    let resolvers = ["192.0.2.53".parse().unwrap()];
    let encrypted = Encrypted::new(&PortSet::default(), &[853], &[443], resolvers);
    bench.admission.watch(Some(encrypted));
    for packet in &tls {
        bench.offer(packet);
    }
    bench.offer(&craft::tcp(CLIENT, "192.0.2.53:443", 1, SYN, b""));
    bench.offer(&craft::tcp("192.0.2.53:443", CLIENT, 1, ACK, b"x"));
    assert_eq!(bench.through, [3, 4, 5, 6]);
    bench.offer(&craft::tcp(CLIENT, "192.0.2.54:443", 1, SYN, b""));
    assert_eq!(bench.admission.seen, 4);
    // Of a datagram in pieces the first is known, and none is handed on.
    for fragment in Bench::fragments(5, "192.0.2.53:853") {
        bench.offer(&fragment);
    }
    let counters = bench.admission.counters();
    assert_eq!((counters.seen, counters.skipped[ENCRYPTED_FRAGMENT]), (5, 1));
    // Nor of a tunnel's packet in pieces.
    for (_, tunnel) in craft::tunnels(&tls[0]).into_iter().take(1) {
        for fragment in craft::fragments(&tunnel, 6, 16) {
            bench.offer(&fragment);
        }
    }
    assert_eq!(bench.through, [3, 4, 5, 6]);
}
