use crate::capture::{Body, Task};
use crate::decode::tests::{Bench, CLIENT, Given, SERVER};
use crate::decode::{DecoderOptions, Malformed};
use crate::net::craft::{self, ACK, FIN, RST, SYN, framed, query};
use proptest::prelude::*;

mod bounds;
mod hostile;

fn stream(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| framed(message)).collect()
}

fn queries(count: u16) -> Vec<Vec<u8>> {
    (0..count).map(|id| query(id, &"x".repeat(1 + usize::from(id) % 60))).collect()
}

#[test]
fn several_messages_in_a_segment() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    bench.segment(10, ACK, &stream(&queries(3)));
    assert_eq!(bench.messages(), queries(3));
    assert_eq!(bench.places(), [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(bench.held(), 0);
}

#[test]
fn length_and_body_in_separate_segments() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    let bytes = stream(&queries(1));
    bench.segment(10, ACK, &bytes[..2]);
    assert_eq!(bench.held(), 1);
    bench.segment(12, ACK, &bytes[2..]);
    assert_eq!((bench.places(), bench.held()), (vec![(3, 0)], 0));
}

#[test]
fn data_in_the_syn() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, &stream(&queries(1)));
    bench.segment(9, SYN, &stream(&queries(1)));
    assert_eq!(bench.messages(), queries(1));
}

#[test]
fn keep_alives_and_resets_say_nothing() {
    let mut bench = Bench::default();
    let bytes = stream(&queries(2));
    let half = bytes.len() / 2 - 1;
    bench.segment(9, SYN, b"");
    bench.segment(10, ACK, &bytes[..half]);
    bench.segment(10 + u32::try_from(half).unwrap() - 1, ACK, b"\0");
    bench.segment(10 + u32::try_from(half).unwrap(), ACK, &bytes[half..]);
    assert_eq!(bench.messages(), queries(2));
    bench.segment(0, RST, b"go away");
    assert_eq!(bench.decoder.counters().decoded_packets, 5);
    bench.segment(1 << 30, RST, b"forged");
    let at = 10 + u32::try_from(bytes.len()).unwrap();
    bench.segment(at, ACK, &stream(&queries(1)));
    assert_eq!(bench.messages().len(), 3, "a reset from elsewhere ends nothing");
}

#[test]
fn what_an_end_leaves_incomplete() {
    for end in [FIN, RST] {
        let mut bench = Bench::default();
        bench.segment(9, SYN, b"");
        bench.segment(10, ACK, b"\0\x20abc");
        bench.segment(15, end, b"");
        assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 0));
        assert_eq!(bench.letters(), [(Malformed::TcpIncomplete, b"\0\x20abc".as_slice())]);
    }
}

#[test]
fn joins_in_the_middle() {
    let mut bench = Bench::default();
    let bytes = stream(&queries(4));
    bench.segment(1000, ACK, &bytes[20..]);
    assert_eq!(bench.messages(), queries(4)[1..]);
    assert_eq!(bench.malformed(Malformed::TcpMidstream), 1);
    // What came before, late.
    bench.segment(990, ACK, &bytes[10..20]);
    assert_eq!(bench.malformed(Malformed::TcpMidstream), 2);
}

#[test]
fn joins_at_a_body_whose_length_was_missed() {
    let mut bench = Bench::default();
    bench.segment(1000, ACK, &query(7, "bare"));
    bench.segment(1000 + u32::try_from(query(7, "bare").len()).unwrap(), ACK, &stream(&queries(1)));
    assert_eq!(bench.messages(), [query(7, "bare"), queries(1)[0].clone()]);
}

#[test]
fn a_hole_is_skipped_after_a_while() {
    let messages = queries(6);
    let bytes = stream(&messages);
    let ends: Vec<usize> = (1..=6).map(|count| stream(&messages[..count]).len()).collect();
    let at = |place: usize| 10 + u32::try_from(place).unwrap();
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    // The third and half of the fourth message are lost.
    bench.segment(10, ACK, &bytes[..ends[1]]);
    bench.segment(at(ends[2] + 9), ACK, &bytes[ends[2] + 9..]);
    bench.wait(4);
    assert_eq!((bench.messages().len(), bench.held()), (2, 1));
    bench.wait(2);
    assert_eq!(bench.messages(), [&messages[..2], &messages[4..]].concat());
    assert_eq!((bench.malformed(Malformed::TcpGap), bench.held()), (1, 0));
    bench.segment(at(ends[1]), ACK, &bytes[ends[1]..ends[2]]);
    assert_eq!(bench.messages().last(), Some(&messages[2]), "late, but whole");
    bench.segment(at(ends[2]), ACK, &bytes[ends[2]..ends[2] + 9]);
    bench.wait(100);
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 0));
    assert_eq!(bench.malformed(Malformed::TcpGap), 1);
}

#[test]
fn a_hole_that_the_other_side_has_had_is_skipped_at_once() {
    let messages = queries(3);
    let bytes = stream(&messages);
    let first = stream(&messages[..1]).len();
    let at = |place: usize| 10 + u32::try_from(place).unwrap();
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    bench.segment(at(first), ACK, &bytes[first..]);
    assert!(bench.messages().is_empty());
    let mut answer = craft::tcp(SERVER, CLIENT, 500, ACK, &stream(&queries(1)));
    answer[28..32].copy_from_slice(&at(bytes.len()).to_be_bytes());
    bench.see(&answer);
    // What it answers comes before it.
    assert_eq!(bench.messages(), [&messages[1..], &messages[..1]].concat());
}

#[test]
fn a_hole_in_a_message_of_known_length_costs_only_that() {
    let mut large = query(1, "large");
    large.extend([0; 3000]);
    let messages = [large, query(2, "behind")];
    let bytes = stream(&messages);
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    bench.segment(10, ACK, &bytes[..1000]);
    bench.segment(2010, ACK, &bytes[2000..]);
    bench.finish();
    assert_eq!(bench.messages(), messages[1..]);
    assert_eq!((bench.malformed(Malformed::TcpGap), bench.held()), (2, 0));
}

#[test]
fn clipped_segments_give_clipped_messages() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    let message = query(5, "clipped");
    let packet = craft::tcp(CLIENT, SERVER, 10, ACK, &framed(&message));
    bench.see_clipped(&packet, 40 + 2 + 14);
    bench.segment(10 + u32::try_from(message.len()).unwrap() + 2, ACK, &stream(&queries(1)));
    let Given::Message(first) = &bench.given[0] else { panic!() };
    assert!(first.message().clipped());
    assert_eq!(
        (first.message().captured_bytes(), first.message().wire_bytes),
        (14, u32::try_from(message.len()).unwrap())
    );
    assert_eq!(bench.messages()[1], queries(1)[0]);
}

#[test]
fn a_new_connection_on_the_same_ports() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    bench.segment(10, ACK, &stream(&queries(1))[..8]);
    bench.segment(5_000_000, SYN, b"");
    bench.segment(5_000_001, ACK, &stream(&queries(2)));
    assert_eq!(bench.messages(), queries(2));
    assert_eq!(bench.held(), 1, "the SYN may have been forged");
    bench.wait(31);
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 0));
}

#[test]
fn a_syn_that_was_overtaken() {
    let mut bench = Bench::default();
    let bytes = stream(&queries(2));
    bench.segment(10 + 1, ACK, &bytes[1..2]);
    bench.segment(9, SYN, b"");
    bench.segment(10, ACK, &bytes[..1]);
    bench.segment(10 + 2, ACK, &bytes[2..]);
    assert_eq!((bench.messages().len(), bench.malformed(Malformed::TcpMidstream)), (2, 0));
}

#[test]
fn a_stream_that_is_not_dns_is_refused() {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    for place in 0..100 {
        bench.segment(10 + place * 1000, ACK, &[0; 1000]);
    }
    assert_eq!((bench.malformed(Malformed::DnsHeader), bench.held()), (100, 0));
    assert!(bench.given.len() < 120, "a letter for each segment, not for each two octets");
}

#[test]
fn the_task_of_an_earlier_segment_counts() {
    let task = Task { pid: 7, ..Task::default() };
    let bytes = stream(&queries(1));
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    for (place, part, task) in [(0, &bytes[..4], Some(task)), (4, &bytes[4..], None)] {
        let packet = craft::tcp(CLIENT, SERVER, 10 + place, ACK, part);
        let wire_bytes = u32::try_from(packet.len()).unwrap();
        bench.see_body(Body::Ip { bytes: &packet, wire_bytes }, task);
    }
    let Given::Message(message) = &bench.given[0] else { panic!() };
    assert_eq!(message.message().envelope.task, Some(task));
}

#[test]
fn the_oldest_stream_makes_room() {
    let mut bench = Bench::new(DecoderOptions { tcp_streams: 2, ..DecoderOptions::default() });
    for port in 1..=3 {
        let client = format!("192.0.2.1:{port}");
        bench.see(&craft::tcp(&client, SERVER, 9, SYN, b""));
        bench.see(&craft::tcp(&client, SERVER, 10, ACK, b"\0\x20abc"));
    }
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 2));
}

/// A segment of the stream: from where, how long.
fn cuts() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1usize..300), 0..40)
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_messages(
        count in 1u16..12,
        start in any::<u32>(),
        sizes in prop::collection::vec(1usize..200, 1..60),
        again in cuts(),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let mut segments = Vec::new();
        let (mut at, mut size) = (0, sizes.iter().cycle());
        while at < bytes.len() {
            let to = (at + size.next().unwrap()).min(bytes.len());
            segments.push((at, to));
            at = to;
        }
        for (from, length) in again {
            let from = from.index(bytes.len());
            segments.push((from, (from + length).min(bytes.len())));
        }
        for (place, with) in shuffle.iter().enumerate() {
            let (one, other) = (place % segments.len(), with.index(segments.len()));
            segments.swap(one, other);
        }
        let mut bench = Bench::default();
        bench.segment(start.wrapping_sub(1), SYN, b"");
        for (from, to) in segments {
            let seq = start.wrapping_add(u32::try_from(from).unwrap());
            bench.segment(seq, ACK, &bytes[from..to]);
        }
        prop_assert_eq!(bench.messages(), messages);
        prop_assert_eq!(bench.held(), 0);
        let mut places = bench.places();
        let given = places.len();
        places.dedup();
        prop_assert_eq!(places.len(), given, "each message has a place of its own");
    }

    #[test]
    fn loss_costs_no_more_than_it_hit(
        count in 2u16..12,
        size in 20usize..200,
        lost in any::<prop::sample::Index>(),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let segments: Vec<(usize, &[u8])> =
            (0..).step_by(size).zip(bytes.chunks(size)).collect();
        let lost = lost.index(segments.len());
        let mut bench = Bench::default();
        bench.segment(9, SYN, b"");
        for (place, (at, segment)) in segments.iter().enumerate() {
            if place != lost {
                bench.segment(10 + u32::try_from(*at).unwrap(), ACK, segment);
            }
        }
        bench.finish();
        let hit = segments[lost].0..segments[lost].0 + segments[lost].1.len();
        let mut at = 0;
        let mut wanted = Vec::new();
        for message in &messages {
            let end = at + 2 + message.len();
            if end <= hit.start || at >= hit.end {
                wanted.push(message.clone());
            }
            at = end;
        }
        prop_assert!(wanted.iter().all(|message| bench.messages().contains(message)));
        prop_assert!(bench.messages().iter().all(|message| messages.contains(message)));
        bench.wait(100);
        prop_assert_eq!(bench.held(), 0);
    }

    #[test]
    fn joining_anywhere_invents_no_message(
        count in 2u16..12,
        size in 20usize..400,
        from in any::<prop::sample::Index>(),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let from = from.index(bytes.len());
        let mut bench = Bench::default();
        for (at, segment) in (from..).step_by(size).zip(bytes[from..].chunks(size)) {
            bench.segment(10 + u32::try_from(at).unwrap(), ACK, segment);
        }
        bench.finish();
        let given = bench.messages();
        prop_assert!(messages.ends_with(&given), "{given:?}");
        if size >= 150 && bytes.len() - from > 2 * size {
            prop_assert!(!given.is_empty(), "a segment of this size holds a whole message");
        }
    }
}
