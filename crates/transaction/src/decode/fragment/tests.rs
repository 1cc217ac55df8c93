use super::Fragments;
use crate::decode::emitter::{Emitter, PacketContext, PacketCounters};
use crate::decode::tests::{CLIENT, Harness, OwnedEvent, SERVER};
use crate::decode::{Decoded, DecoderOptions, Malformed};
use crate::packet::net;
use crate::packet::net::test_packets::{self, query};
use crate::packet::{Body, Direction, Packet, PacketId};
use dnscribe_record::time::Timestamp;
use proptest::prelude::*;

fn long_query() -> Vec<u8> {
    let mut message = query(7, "fragments");
    message.extend(0..100u8);
    message
}

fn parts(size: usize) -> Vec<Vec<u8>> {
    test_packets::fragments(&test_packets::udp(CLIENT, SERVER, &long_query()), 5, size)
}

#[test]
fn counts_all_fragments_of_datagram() {
    let mut harness = Harness::default();
    for part in parts(24) {
        harness.receive(&part);
    }
    let counters = harness.decoder.counters();
    assert_eq!((counters.decoded_packets, counters.held), (6, 0));
    assert_eq!((harness.messages(), harness.places()), (vec![long_query()], vec![(6, 0)]));
    let mut harness = Harness::default();
    for part in test_packets::fragments(&test_packets::udp(CLIENT, SERVER, b"short, no?"), 5, 8) {
        harness.receive(&part);
    }
    assert_eq!((harness.malformed(Malformed::DnsHeader), harness.held()), (3, 0));
    assert_eq!(harness.letters(), [(Malformed::DnsHeader, b"short, no?".as_slice())]);
}

#[test]
fn discards_incomplete_datagrams() {
    let mut harness = Harness::default();
    for part in &parts(24)[1..] {
        harness.receive(part);
    }
    harness.wait(30);
    assert_eq!(harness.held(), 5);
    harness.wait(1);
    assert_eq!((harness.malformed(Malformed::FragmentIncomplete), harness.held()), (5, 0));
    assert_eq!(harness.letters().len(), 1);
}

#[test]
fn rejects_overlaps() {
    let mut harness = Harness::default();
    let parts = parts(24);
    harness.receive(&parts[0]);
    harness.receive(&parts[0]);
    assert_eq!(harness.held(), 2, "a duplicate is no overlap");
    let mut other = parts[1].clone();
    other[7] -= 1;
    harness.receive(&other);
    assert_eq!((harness.malformed(Malformed::FragmentConflict), harness.held()), (3, 0));
    for part in &parts[1..] {
        harness.receive(part);
    }
    assert_eq!((harness.malformed(Malformed::FragmentConflict), harness.held()), (8, 0));
    assert!(harness.messages().is_empty());
}

#[test]
fn rejects_impossible_fragments() {
    let packet = test_packets::udp(CLIENT, SERVER, &long_query());
    for word in [0x3fff, 0x1fff] {
        let mut fragment = packet.clone();
        fragment[6..8].copy_from_slice(&u16::to_be_bytes(word));
        let mut harness = Harness::default();
        harness.receive(&fragment);
        assert_eq!(harness.malformed(Malformed::FragmentConflict), 1, "{word:x}");
    }
}

#[test]
fn clipped_fragments_make_clipped_message() {
    let mut harness = Harness::default();
    let parts = parts(80);
    harness.receive(&parts[0]);
    harness.receive_clipped(&parts[1], 30);
    let OwnedEvent::Message(message) = &harness.events[0] else { panic!() };
    assert!(message.message().is_clipped());
    assert_eq!(message.message().wire_bytes, u32::try_from(long_query().len()).unwrap());
    assert_eq!(message.message().captured_bytes(), 80 - 8 + 10);
}

#[test]
fn memory_is_bounded() {
    let mut harness = Harness::new(DecoderOptions {
        fragment_memory_bytes: 10_000,
        fragment_datagrams: 50,
        ..DecoderOptions::default()
    });
    for id in 0..1000 {
        let packet = test_packets::udp(CLIENT, SERVER, &long_query());
        harness.receive(&test_packets::fragments(&packet, id, 80)[0]);
        assert!(harness.held() <= 50);
    }
}

#[test]
fn complete_datagrams_leave_no_state() {
    let mut fragments = Fragments::new(50, 10_000);
    let (mut counters, mut scratch, mut scrap) =
        (PacketCounters::default(), Vec::new(), |_: Decoded<'_>| ());
    for id in 0..2000 {
        let packet = test_packets::udp(CLIENT, SERVER, &long_query());
        for part in test_packets::fragments(&packet, id, 80) {
            let ip = net::parse_ip(&part, u32::try_from(part.len()).unwrap()).unwrap();
            let mut out =
                Emitter { counters: &mut counters, scratch: &mut scratch, each: &mut scrap };
            let packet = packet_of(&part);
            let context = PacketContext::new(&packet, packet.ts);
            fragments.add(&ip, ip.fragment.unwrap(), context, &mut out);
        }
        assert!(fragments.order.len() <= 101, "{}", fragments.order.len());
    }
    assert_eq!((fragments.memory_bytes, fragments.held), (0, 0));
}

fn packet_of(bytes: &[u8]) -> Packet<'_> {
    Packet::new(
        Timestamp::from_nanos(1),
        PacketId { cpu: 0, seq: 1 },
        Direction::Passive,
        Body::Ip { bytes, wire_bytes: 0 },
    )
}

#[test]
fn dead_letter_has_ports_of_first_fragment() {
    let mut harness = Harness::default();
    harness.receive(&parts(24)[0]);
    harness.wait(31);
    let OwnedEvent::DeadLetter(letter) = &harness.events[0] else { panic!() };
    assert_eq!(letter.reason, Malformed::FragmentIncomplete);
    let ends = (letter.envelope.src, letter.envelope.dst);
    assert_eq!(ends, (CLIENT.parse().unwrap(), SERVER.parse().unwrap()));
}

/// The smallest possible fragments: eight bytes, the UDP header.
#[test]
fn reassembles_tiny_fragments() {
    let mut harness = Harness::default();
    let parts = parts(8);
    for part in parts.iter().rev() {
        harness.receive(part);
    }
    assert_eq!(harness.messages(), [long_query()]);
}

#[test]
fn accepts_duplicate_with_other_clipping() {
    let mut harness = Harness::default();
    let parts = parts(80);
    harness.receive_clipped(&parts[0], 60);
    harness.receive(&parts[0]);
    harness.receive(&parts[1]);
    assert_eq!(harness.malformed(Malformed::FragmentConflict), 0);
    let OwnedEvent::Message(message) = &harness.events[0] else { panic!() };
    assert!(message.message().is_clipped(), "the octets that came first count");
}

proptest! {
    #[test]
    fn order_does_not_matter(
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
        let mut harness = Harness::default();
        for part in parts.iter().chain([&last]) {
            harness.receive(part);
        }
        prop_assert_eq!(harness.messages(), [long_query()]);
        prop_assert_eq!(harness.held(), 0);
    }
}
