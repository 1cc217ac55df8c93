//! DNS within other packets.

use super::unreachable;
use crate::decode::Malformed;
use crate::decode::tests::{Bench, CLIENT, Given, SERVER};
use crate::net::{craft, protocol};
use dnscribe_common::layers::LEVELS;
use proptest::prelude::*;

const CLIENT_6: &str = "[2001:db8::1]:1024";
const SERVER_6: &str = "[2001:db8::53]:53";

#[test]
fn the_innermost_addresses_count() {
    for (src, dst) in [(CLIENT, SERVER), (CLIENT_6, SERVER_6)] {
        let message = craft::query(9, "www");
        for (what, packet) in craft::tunnels(&craft::udp(src, dst, &message)) {
            let mut bench = Bench::default();
            bench.see(&packet);
            let [Given::Message(found)] = bench.given.as_slice() else { panic!("{what}") };
            let ends = (found.message().envelope.src, found.message().envelope.dst);
            assert_eq!(ends, (src.parse().unwrap(), dst.parse().unwrap()), "{what}");
            assert_eq!(found.message().dns.octets(), message, "{what}");
            assert_eq!(bench.decoder.counters().decoded_packets, 1, "{what}");
        }
    }
}

#[test]
fn streams_in_tunnels() {
    let message = craft::framed(&craft::query(9, "www"));
    let (one, other) = message.split_at(7);
    let segments = [
        craft::tcp(CLIENT, SERVER, 1, craft::ACK, one),
        craft::tcp(CLIENT, SERVER, 8, craft::ACK, other),
    ];
    let mut bench = Bench::default();
    // One way there, another on the way on: the stream is the same.
    bench.see(&craft::vxlan(&segments[0]));
    bench.see(&segments[1]);
    assert_eq!(bench.messages(), [craft::query(9, "www")]);
}

#[test]
fn a_watched_port_is_dns_whatever_else_it_could_be() {
    // As if a resolver had been asked from the port of VXLAN.
    let packet = craft::udp("192.0.2.1:4789", SERVER, &craft::query(0x0800, "www"));
    let mut bench = Bench::default();
    bench.see(&packet);
    assert_eq!(bench.messages().len(), 1);
}

#[test]
fn icmp_in_a_tunnel_is_told() {
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend(craft::udp(CLIENT, SERVER, &craft::query(7, "www")));
    let addresses = ("192.0.2.53".parse().unwrap(), "192.0.2.1".parse().unwrap());
    let error = craft::ip(addresses.0, addresses.1, protocol::ICMP, &payload);
    for (what, packet) in craft::tunnels(&error) {
        let mut bench = Bench::default();
        bench.see(&packet);
        assert_eq!(unreachable(&bench).query_id, Some(7), "{what}");
    }
}

#[test]
fn fragments_within_tunnels_and_tunnels_within_fragments() {
    let message = craft::query(9, "fragments");
    let inner = craft::udp(CLIENT, SERVER, &message);
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut bench = Bench::default();
        let parts = craft::fragments(&inner, 5, 16);
        for place in order {
            bench.see(&craft::vxlan(&parts[place]));
        }
        assert_eq!(bench.messages(), std::slice::from_ref(&message), "{order:?}");
        assert_eq!(bench.decoder.counters().decoded_packets, 3);

        let mut bench = Bench::default();
        let parts = craft::fragments(&craft::vxlan(&inner), 5, 40);
        assert_eq!(parts.len(), 3);
        for place in order {
            bench.see(&parts[place]);
        }
        assert_eq!(bench.messages(), std::slice::from_ref(&message), "{order:?}");
        assert_eq!((bench.decoder.counters().decoded_packets, bench.held()), (3, 0));
    }
}

#[test]
fn fragments_of_fragments_are_counted_to_the_last() {
    let message = craft::query(9, "fragments");
    let mut bench = Bench::default();
    for part in craft::fragments(&craft::udp(CLIENT, SERVER, &message), 5, 24) {
        for part in craft::fragments(&craft::vxlan(&part), part[5].into(), 40) {
            bench.see(&part);
        }
    }
    let counters = bench.decoder.counters();
    assert_eq!((bench.messages(), counters.held), (vec![message], 0));
    assert_eq!(counters.decoded_packets, counters.received);
}

#[test]
fn clipped_in_a_tunnel() {
    let message = craft::query(9, "www");
    let inner = craft::udp(CLIENT, SERVER, &message);
    for (what, packet) in craft::tunnels(&inner) {
        let mut bench = Bench::default();
        bench.see_clipped(&packet, packet.len() - 5);
        let [Given::Message(found)] = bench.given.as_slice() else { panic!("{what}") };
        assert!(found.message().clipped(), "{what}");
        let (wire, captured) = (found.message().wire_bytes, found.message().captured_bytes());
        assert_eq!((wire as usize, captured as usize), (message.len(), message.len() - 5));
    }
}

#[test]
fn deeper_than_is_looked_there_is_nothing() {
    let mut packet = craft::udp(CLIENT, SERVER, &craft::query(9, "www"));
    for level in 1..=LEVELS {
        packet = craft::vxlan(&packet);
        let mut bench = Bench::default();
        bench.see(&packet);
        assert_eq!(bench.messages().len(), usize::from(level < LEVELS), "{level}");
        assert_eq!(bench.decoder.counters().decoded_packets, 1);
    }
}

#[test]
fn what_a_tunnel_holds_may_be_malformed() {
    let mut inner = craft::udp(CLIENT, SERVER, &craft::query(9, "www"));
    inner[25] = 7;
    let mut bench = Bench::default();
    bench.see(&craft::vxlan(&inner));
    assert_eq!(bench.malformed(Malformed::UdpHeader), 1);
    let Given::DeadLetter(letter) = &bench.given[0] else { panic!() };
    assert_eq!(letter.envelope.dst, SERVER.parse().unwrap());
}

fn any_tunnel() -> impl Strategy<Value = Vec<u8>> {
    let inner = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..60),
        any::<u16>().prop_map(|id| craft::udp(CLIENT, SERVER, &craft::query(id, "a"))),
        any::<u16>().prop_map(|id| craft::udp(CLIENT_6, SERVER_6, &craft::query(id, "a"))),
        (0u32..50, any::<u8>()).prop_map(|(seq, flags)| {
            craft::tcp(CLIENT, SERVER, seq, flags & 0x17, &craft::framed(&craft::query(1, "a")))
        }),
    ];
    (inner, any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
        |(inner, one, two)| {
            let pick = |packet: &[u8], index: prop::sample::Index| {
                let tunnels = craft::tunnels(packet);
                tunnels[index.index(tunnels.len())].1.clone()
            };
            pick(&pick(&inner, one), two)
        },
    )
}

proptest! {
    /// Cut anywhere, damaged anywhere, in fragments or not: every packet ends in one place.
    #[test]
    fn no_tunnel_loses_count(
        packets in prop::collection::vec(
            (any_tunnel(), 0usize..400, prop::option::of((0usize..200, any::<u8>())), any::<bool>()),
            0..20,
        ),
    ) {
        let mut bench = Bench::default();
        for (mut packet, captured, damage, whole) in packets {
            if let Some((at, octet)) = damage {
                let length = packet.len();
                packet[at % length] = octet;
            }
            if whole || packet[0] != 0x45 {
                bench.see_clipped(&packet, captured);
            } else {
                for part in craft::fragments(&packet, u16::try_from(captured).unwrap(), 48) {
                    bench.see_clipped(&part, captured);
                }
            }
        }
        bench.finish();
        bench.wait(1000);
        prop_assert_eq!(bench.held(), 0, "nothing waits for ever");
    }
}
