use super::Fragments;
use crate::capture::{Body, Origin, Packet, Sight};
use crate::decode::outlet::{Carrier, Outlet, Tally};
use crate::decode::tests::{Bench, CLIENT, Given, SERVER};
use crate::decode::{Decoded, DecoderOptions, Malformed};
use crate::net;
use crate::net::craft::{self, query};
use crate::time::Timestamp;
use proptest::prelude::*;

fn long_query() -> Vec<u8> {
    let mut message = query(7, "fragments");
    message.extend(0..100u8);
    message
}

fn parts(size: usize) -> Vec<Vec<u8>> {
    craft::fragments(&craft::udp(CLIENT, SERVER, &long_query()), 5, size)
}

#[test]
fn all_fragments_share_their_datagrams_fate() {
    let mut bench = Bench::default();
    for part in parts(24) {
        bench.see(&part);
    }
    let counters = bench.decoder.counters();
    assert_eq!((counters.decoded_packets, counters.held), (6, 0));
    assert_eq!((bench.messages(), bench.places()), (vec![long_query()], vec![(6, 0)]));
    let mut bench = Bench::default();
    for part in craft::fragments(&craft::udp(CLIENT, SERVER, b"short, no?"), 5, 8) {
        bench.see(&part);
    }
    assert_eq!((bench.malformed(Malformed::DnsHeader), bench.held()), (3, 0));
    assert_eq!(bench.letters(), [(Malformed::DnsHeader, b"short, no?".as_slice())]);
}

#[test]
fn what_stays_incomplete_is_given_up() {
    let mut bench = Bench::default();
    for part in &parts(24)[1..] {
        bench.see(part);
    }
    bench.wait(30);
    assert_eq!(bench.held(), 5);
    bench.wait(1);
    assert_eq!((bench.malformed(Malformed::FragmentIncomplete), bench.held()), (5, 0));
    assert_eq!(bench.letters().len(), 1);
}

#[test]
fn overlaps_are_refused() {
    let mut bench = Bench::default();
    let parts = parts(24);
    bench.see(&parts[0]);
    bench.see(&parts[0]);
    assert_eq!(bench.held(), 2, "the same once more is no overlap");
    let mut other = parts[1].clone();
    other[7] -= 1;
    bench.see(&other);
    assert_eq!((bench.malformed(Malformed::FragmentConflict), bench.held()), (3, 0));
    for part in &parts[1..] {
        bench.see(part);
    }
    assert_eq!((bench.malformed(Malformed::FragmentConflict), bench.held()), (8, 0));
    assert!(bench.messages().is_empty());
}

#[test]
fn impossible_fragments_are_refused() {
    let packet = craft::udp(CLIENT, SERVER, &long_query());
    for word in [0x3fff, 0x1fff] {
        let mut fragment = packet.clone();
        fragment[6..8].copy_from_slice(&u16::to_be_bytes(word));
        let mut bench = Bench::default();
        bench.see(&fragment);
        assert_eq!(bench.malformed(Malformed::FragmentConflict), 1, "{word:x}");
    }
}

#[test]
fn clipped_fragments_give_a_clipped_message() {
    let mut bench = Bench::default();
    let parts = parts(80);
    bench.see(&parts[0]);
    bench.see_clipped(&parts[1], 30);
    let Given::Message(message) = &bench.given[0] else { panic!() };
    assert!(message.message().clipped());
    assert_eq!(message.message().wire_bytes, u32::try_from(long_query().len()).unwrap());
    assert_eq!(message.message().captured_bytes(), 80 - 8 + 10);
}

#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new(DecoderOptions {
        fragment_memory_bytes: 10_000,
        fragment_datagrams: 50,
        ..DecoderOptions::default()
    });
    for id in 0..1000 {
        let packet = craft::udp(CLIENT, SERVER, &long_query());
        bench.see(&craft::fragments(&packet, id, 80)[0]);
        assert!(bench.held() <= 50);
    }
}

#[test]
fn what_became_whole_leaves_nothing_behind() {
    let mut fragments = Fragments::new(50, 10_000);
    let (mut tally, mut scratch, mut scrap) = (Tally::default(), Vec::new(), |_: Decoded<'_>| ());
    for id in 0..2000 {
        let packet = craft::udp(CLIENT, SERVER, &long_query());
        for part in craft::fragments(&packet, id, 80) {
            let ip = net::ip(&part, u32::try_from(part.len()).unwrap()).unwrap();
            let mut out = Outlet { tally: &mut tally, scratch: &mut scratch, each: &mut scrap };
            let packet = packet_of(&part);
            let carrier = Carrier::new(&packet, packet.ts);
            fragments.take(&ip, ip.fragment.unwrap(), carrier, 1, &mut out);
        }
        assert!(fragments.order.len() <= 101, "{}", fragments.order.len());
    }
    assert_eq!((fragments.cost(), fragments.held()), (0, 0));
}

fn packet_of(bytes: &[u8]) -> Packet<'_> {
    Packet {
        ts: Timestamp::from_nanos(1),
        origin: Origin { cpu: 0, seq: 1 },
        scope: 0,
        sight: Sight::Passive,
        task: None,
        datagram_bytes: 0,
        cgroup_id: 0,
        body: Body::Ip { bytes, wire_bytes: 0 },
    }
}

#[test]
fn a_dead_letter_names_the_ports_of_the_first() {
    let mut bench = Bench::default();
    bench.see(&parts(24)[0]);
    bench.wait(31);
    let Given::DeadLetter(letter) = &bench.given[0] else { panic!() };
    assert_eq!(letter.reason, Malformed::FragmentIncomplete);
    let ends = (letter.envelope.src, letter.envelope.dst);
    assert_eq!(ends, (CLIENT.parse().unwrap(), SERVER.parse().unwrap()));
}

/// The least that there can be: eight octets, which are the UDP header.
#[test]
fn tiny_fragments_are_put_together() {
    let mut bench = Bench::default();
    let parts = parts(8);
    for part in parts.iter().rev() {
        bench.see(part);
    }
    assert_eq!(bench.messages(), [long_query()]);
}

#[test]
fn the_same_clipped_otherwise_is_no_overlap() {
    let mut bench = Bench::default();
    let parts = parts(80);
    bench.see_clipped(&parts[0], 60);
    bench.see(&parts[0]);
    bench.see(&parts[1]);
    assert_eq!(bench.malformed(Malformed::FragmentConflict), 0);
    let Given::Message(message) = &bench.given[0] else { panic!() };
    assert!(message.message().clipped(), "the octets that came first count");
}

proptest! {
    #[test]
    fn any_order_gives_the_same_datagram(
        size in 1usize..12,
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        repeat in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut parts = parts(size * 8);
        for (place, with) in shuffle.iter().enumerate() {
            let (one, other) = (place % parts.len(), with.index(parts.len()));
            parts.swap(one, other);
        }
        let last = parts.pop().unwrap();
        for place in repeat {
            if !parts.is_empty() {
                parts.push(parts[place.index(parts.len())].clone());
            }
        }
        let mut bench = Bench::default();
        for part in parts.iter().chain([&last]) {
            bench.see(part);
        }
        prop_assert_eq!(bench.messages(), [long_query()]);
        prop_assert_eq!(bench.held(), 0);
    }
}
