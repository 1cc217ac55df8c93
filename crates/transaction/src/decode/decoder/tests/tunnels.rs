//! DNS inside tunnels.

use super::unreachable;
use crate::decode::Malformed;
use crate::decode::tests::{CLIENT, Harness, OwnedEvent, SERVER};
use crate::packet::net::{protocol, test_packets};
use dnscribe_common::layers::LEVELS;
use proptest::prelude::*;

const CLIENT_6: &str = "[2001:db8::1]:1024";
const SERVER_6: &str = "[2001:db8::53]:53";

#[test]
fn uses_innermost_addresses() {
    for (src, dst) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
        let message = test_packets::query(9, "www");
        for (what, packet) in test_packets::tunnels(&test_packets::udp(src, dst, &message)) {
            let mut harness = Harness::default();
            harness.receive(&packet);
            let [OwnedEvent::Message(found)] = harness.events.as_slice() else { panic!("{what}") };
            let ends = (found.message().envelope.src, found.message().envelope.dst);
            assert_eq!(ends, (src.parse().unwrap(), dst.parse().unwrap()), "{what}");
            assert_eq!(found.message().dns.bytes(), message, "{what}");
            assert_eq!(harness.decoder.counters().decoded_packets, 1, "{what}");
        }
    }
}

#[test]
fn reads_streams_in_tunnels() {
    let message = test_packets::framed(&test_packets::query(9, "www"));
    let (one, other) = message.split_at(7);
    let segments = [
        test_packets::tcp(CLIENT, SERVER, 1, test_packets::ACK, one),
        test_packets::tcp(CLIENT, SERVER, 8, test_packets::ACK, other),
    ];
    let mut harness = Harness::default();
    // A different tunnel per segment: the stream is the same.
    harness.receive(&test_packets::vxlan(&segments[0]));
    harness.receive(&segments[1]);
    assert_eq!(harness.messages(), [test_packets::query(9, "www")]);
}

#[test]
fn dns_port_takes_precedence_over_tunnel() {
    // A client that uses the port of VXLAN asks a resolver.
    let packet = test_packets::udp("192.0.2.1:4789", SERVER, &test_packets::query(0x0800, "www"));
    let mut harness = Harness::default();
    harness.receive(&packet);
    assert_eq!(harness.messages().len(), 1);
}

#[test]
fn reports_icmp_in_tunnel() {
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend(test_packets::udp(CLIENT, SERVER, &test_packets::query(7, "www")));
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let error = test_packets::ip(addresses.0, addresses.1, protocol::ICMP, &payload);
    for (what, packet) in test_packets::tunnels(&error) {
        let mut harness = Harness::default();
        harness.receive(&packet);
        assert_eq!(unreachable(&harness).query_id, Some(7), "{what}");
    }
}

#[test]
fn reads_fragments_in_tunnels_and_reverse() {
    let message = test_packets::query(9, "fragments");
    let inner = test_packets::udp(CLIENT, SERVER, &message);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut harness = Harness::default();
        let parts = test_packets::fragments(&inner, 5, 16);
        for place in order {
            harness.receive(&test_packets::vxlan(&parts[place]));
        }
        assert_eq!(harness.messages(), std::slice::from_ref(&message), "{order:?}");
        assert_eq!(harness.decoder.counters().decoded_packets, 3);

        let mut harness = Harness::default();
        let parts = test_packets::fragments(&test_packets::vxlan(&inner), 5, 40);
        assert_eq!(parts.len(), 3);
        for place in order {
            harness.receive(&parts[place]);
        }
        assert_eq!(harness.messages(), std::slice::from_ref(&message), "{order:?}");
        assert_eq!((harness.decoder.counters().decoded_packets, harness.held()), (3, 0));
    }
}

#[test]
fn counts_fragments_of_fragments() {
    let message = test_packets::query(9, "fragments");
    let mut harness = Harness::default();
    for part in test_packets::fragments(&test_packets::udp(CLIENT, SERVER, &message), 5, 24) {
        for part in test_packets::fragments(&test_packets::vxlan(&part), part[5].into(), 40) {
            harness.receive(&part);
        }
    }
    let counters = harness.decoder.counters();
    assert_eq!((harness.messages(), counters.held), (vec![message], 0));
    assert_eq!(counters.decoded_packets, counters.received);
}

#[test]
fn reads_clipped_tunnel_packets() {
    let message = test_packets::query(9, "www");
    let inner = test_packets::udp(CLIENT, SERVER, &message);
    for (what, packet) in test_packets::tunnels(&inner) {
        let mut harness = Harness::default();
        harness.receive_clipped(&packet, packet.len() - 5);
        let [OwnedEvent::Message(found)] = harness.events.as_slice() else { panic!("{what}") };
        assert!(found.message().is_clipped(), "{what}");
        let (wire, captured) = (found.message().wire_bytes, found.message().captured_bytes());
        assert_eq!((wire as usize, captured as usize), (message.len(), message.len() - 5));
    }
}

#[test]
fn ignores_too_deep_tunnels() {
    let mut packet = test_packets::udp(CLIENT, SERVER, &test_packets::query(9, "www"));
    for level in 1..=LEVELS {
        packet = test_packets::vxlan(&packet);
        let mut harness = Harness::default();
        harness.receive(&packet);
        assert_eq!(harness.messages().len(), usize::from(level < LEVELS), "{level}");
        assert_eq!(harness.decoder.counters().decoded_packets, 1);
    }
}

#[test]
fn reports_malformed_packets_in_tunnels() {
    let mut inner = test_packets::udp(CLIENT, SERVER, &test_packets::query(9, "www"));
    inner[25] = 7;
    let mut harness = Harness::default();
    harness.receive(&test_packets::vxlan(&inner));
    assert_eq!(harness.malformed(Malformed::UdpHeader), 1);
    let OwnedEvent::DeadLetter(letter) = &harness.events[0] else { panic!() };
    assert_eq!(letter.envelope.dst, SERVER.parse().unwrap());
}

fn any_tunnel() -> impl Strategy<Value = Vec<u8>> {
    let inner = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60),
        any::<u16>().prop_map(|id| test_packets::udp(
            CLIENT,
            SERVER,
            &test_packets::query(id, "a")
        )),
        any::<u16>().prop_map(|id| test_packets::udp(
            CLIENT_6,
            SERVER_6,
            &test_packets::query(id, "a")
        )),
        (0u32..50, any::<u8>()).prop_map(|(seq, flags)| {
            test_packets::tcp(
                CLIENT,
                SERVER,
                seq,
                flags & 0x17,
                &test_packets::framed(&test_packets::query(1, "a")),
            )
        }),
    ];
    (inner, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        |(inner, one, two)| {
            let pick = |packet: &[u8], index: prop::sample::Index| {
                let tunnels = test_packets::tunnels(packet);
                tunnels[index.index(tunnels.len())].1.clone()
            };
            pick(&pick(&inner, one), two)
        },
    )
}

proptest! {
    /// Every packet is counted once, whether cut, damaged or fragmented.
    #[test]
    fn counts_every_tunnel_packet_once(
        packets in prop::collection::vec(
            (any_tunnel(), 0usize..400, prop::option::of((0usize..200, any::<u8>())), any::<bool>()),
            0..20,
        ),
    ) {
        let mut harness = Harness::default();
        for (mut packet, captured, damage, whole) in packets {
            if let Some((at, octet)) = damage {
                let length = packet.len();
                packet[at % length] = octet;
            }
            if whole || packet[0] != 0x45 {
                harness.receive_clipped(&packet, captured);
            } else {
                for part in test_packets::fragments(&packet, u16::try_from(captured).unwrap(), 48) {
                    harness.receive_clipped(&part, captured);
                }
            }
        }
        harness.finish();
        harness.wait(1000);
        prop_assert_eq!(harness.held(), 0, "nothing waits for ever");
    }
}
