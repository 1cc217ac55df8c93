use crate::decode::tests::{CLIENT, Harness, OwnedEvent, SERVER};
use crate::decode::{DecoderOptions, Malformed};
use crate::packet::net::test_packets::{self, ACK, FIN, RST, SYN, framed, query};
use crate::packet::{Body, Task};
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
fn reads_several_messages_in_a_segment() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &stream(&queries(3)));
    assert_eq!(harness.messages(), queries(3));
    assert_eq!(harness.places(), [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(harness.held(), 0);
}

#[test]
fn reads_length_and_body_in_separate_segments() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    let bytes = stream(&queries(1));
    harness.segment(10, ACK, &bytes[..2]);
    assert_eq!(harness.held(), 1);
    harness.segment(12, ACK, &bytes[2..]);
    assert_eq!((harness.places(), harness.held()), (vec![(3, 0)], 0));
}

#[test]
fn reads_data_in_syn() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, &stream(&queries(1)));
    harness.segment(9, SYN, &stream(&queries(1)));
    assert_eq!(harness.messages(), queries(1));
}

#[test]
fn ignores_keep_alives_and_resets() {
    let mut harness = Harness::default();
    let bytes = stream(&queries(2));
    let half = bytes.len() / 2 - 1;
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &bytes[..half]);
    harness.segment(10 + u32::try_from(half).unwrap() - 1, ACK, b"\0");
    harness.segment(10 + u32::try_from(half).unwrap(), ACK, &bytes[half..]);
    assert_eq!(harness.messages(), queries(2));
    harness.segment(0, RST, b"go away");
    assert_eq!(harness.decoder.counters().decoded_packets, 5);
    harness.segment(1 << 30, RST, b"forged");
    let at = 10 + u32::try_from(bytes.len()).unwrap();
    harness.segment(at, ACK, &stream(&queries(1)));
    assert_eq!(harness.messages().len(), 3, "a reset from elsewhere ends nothing");
}

#[test]
fn discards_incomplete_message_at_end() {
    for end in [FIN, RST] {
        let mut harness = Harness::default();
        harness.segment(9, SYN, b"");
        harness.segment(10, ACK, b"\0\x20abc");
        harness.segment(15, end, b"");
        assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 0));
        assert_eq!(harness.letters(), [(Malformed::TcpIncomplete, b"\0\x20abc".as_slice())]);
    }
}

#[test]
fn joins_mid_stream() {
    let mut harness = Harness::default();
    let bytes = stream(&queries(4));
    harness.segment(1000, ACK, &bytes[20..]);
    assert_eq!(harness.messages(), queries(4)[1..]);
    assert_eq!(harness.malformed(Malformed::TcpMidstream), 1);
    // Earlier data, late.
    harness.segment(990, ACK, &bytes[10..20]);
    assert_eq!(harness.malformed(Malformed::TcpMidstream), 2);
}

#[test]
fn joins_at_body_without_length() {
    let mut harness = Harness::default();
    harness.segment(1000, ACK, &query(7, "bare"));
    harness.segment(
        1000 + u32::try_from(query(7, "bare").len()).unwrap(),
        ACK,
        &stream(&queries(1)),
    );
    assert_eq!(harness.messages(), [query(7, "bare"), queries(1)[0].clone()]);
}

#[test]
fn skips_gap_after_timeout() {
    let messages = queries(6);
    let bytes = stream(&messages);
    let ends: Vec<usize> = (1..=6).map(|count| stream(&messages[..count]).len()).collect();
    let at = |place: usize| 10 + u32::try_from(place).unwrap();
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    // The third and half of the fourth message are lost.
    harness.segment(10, ACK, &bytes[..ends[1]]);
    harness.segment(at(ends[2] + 9), ACK, &bytes[ends[2] + 9..]);
    harness.wait(4);
    assert_eq!((harness.messages().len(), harness.held()), (2, 1));
    harness.wait(2);
    assert_eq!(harness.messages(), [&messages[..2], &messages[4..]].concat());
    assert_eq!((harness.malformed(Malformed::TcpGap), harness.held()), (1, 0));
    harness.segment(at(ends[1]), ACK, &bytes[ends[1]..ends[2]]);
    assert_eq!(harness.messages().last(), Some(&messages[2]), "late, but whole");
    harness.segment(at(ends[2]), ACK, &bytes[ends[2]..ends[2] + 9]);
    harness.wait(100);
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 0));
    assert_eq!(harness.malformed(Malformed::TcpGap), 1);
}

#[test]
fn skips_acknowledged_gap_at_once() {
    let messages = queries(3);
    let bytes = stream(&messages);
    let first = stream(&messages[..1]).len();
    let at = |place: usize| 10 + u32::try_from(place).unwrap();
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    harness.segment(at(first), ACK, &bytes[first..]);
    assert!(harness.messages().is_empty());
    let mut answer = test_packets::tcp(SERVER, CLIENT, 500, ACK, &stream(&queries(1)));
    answer[28..32].copy_from_slice(&at(bytes.len()).to_be_bytes());
    harness.receive(&answer);
    // The query comes before its response.
    assert_eq!(harness.messages(), [&messages[1..], &messages[..1]].concat());
}

#[test]
fn gap_in_message_loses_only_that_message() {
    let mut large = query(1, "large");
    large.extend([0; 3000]);
    let messages = [large, query(2, "behind")];
    let bytes = stream(&messages);
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &bytes[..1000]);
    harness.segment(2010, ACK, &bytes[2000..]);
    harness.finish();
    assert_eq!(harness.messages(), messages[1..]);
    assert_eq!((harness.malformed(Malformed::TcpGap), harness.held()), (2, 0));
}

#[test]
fn clipped_segments_make_clipped_messages() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    let message = query(5, "clipped");
    let packet = test_packets::tcp(CLIENT, SERVER, 10, ACK, &framed(&message));
    harness.receive_clipped(&packet, 40 + 2 + 14);
    harness.segment(10 + u32::try_from(message.len()).unwrap() + 2, ACK, &stream(&queries(1)));
    let OwnedEvent::Message(first) = &harness.events[0] else { panic!() };
    assert!(first.message().is_clipped());
    assert_eq!(
        (first.message().captured_bytes(), first.message().wire_bytes),
        (14, u32::try_from(message.len()).unwrap())
    );
    assert_eq!(harness.messages()[1], queries(1)[0]);
}

#[test]
fn follows_new_connection_on_same_ports() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &stream(&queries(1))[..8]);
    harness.segment(5_000_000, SYN, b"");
    harness.segment(5_000_001, ACK, &stream(&queries(2)));
    assert_eq!(harness.messages(), queries(2));
    assert_eq!(harness.held(), 1, "the SYN may have been forged");
    harness.wait(31);
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 0));
}

#[test]
fn accepts_late_syn() {
    let mut harness = Harness::default();
    let bytes = stream(&queries(2));
    harness.segment(10 + 1, ACK, &bytes[1..2]);
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &bytes[..1]);
    harness.segment(10 + 2, ACK, &bytes[2..]);
    assert_eq!((harness.messages().len(), harness.malformed(Malformed::TcpMidstream)), (2, 0));
}

#[test]
fn rejects_stream_that_is_not_dns() {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    for place in 0..100 {
        harness.segment(10 + place * 1000, ACK, &[0; 1000]);
    }
    assert_eq!((harness.malformed(Malformed::DnsHeader), harness.held()), (100, 0));
    assert!(harness.events.len() < 120, "a letter for each segment, not for each two octets");
}

#[test]
fn takes_task_from_earlier_segment() {
    let task = Task { pid: 7, ..Task::default() };
    let bytes = stream(&queries(1));
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    for (place, part, task) in [(0, &bytes[..4], Some(task)), (4, &bytes[4..], None)] {
        let packet = test_packets::tcp(CLIENT, SERVER, 10 + place, ACK, part);
        let wire_bytes = u32::try_from(packet.len()).unwrap();
        harness.receive_body(Body::Ip { bytes: &packet, wire_bytes }, task);
    }
    let OwnedEvent::Message(message) = &harness.events[0] else { panic!() };
    assert_eq!(message.message().envelope.task, Some(task));
}

#[test]
fn evicts_oldest_stream() {
    let mut harness = Harness::new(DecoderOptions { tcp_streams: 2, ..DecoderOptions::default() });
    for port in 1..=3 {
        let client = format!("192.0.2.1:{port}");
        harness.receive(&test_packets::tcp(&client, SERVER, 9, SYN, b""));
        harness.receive(&test_packets::tcp(&client, SERVER, 10, ACK, b"\0\x20abc"));
    }
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 2));
}

/// Segments of the stream: start and length.
fn cuts() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1usize..300), 0..40)
}

proptest! {
    #[test]
    fn segmentation_does_not_matter(
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
        let mut harness = Harness::default();
        harness.segment(start.wrapping_sub(1), SYN, b"");
        for (from, to) in segments {
            let seq = start.wrapping_add(u32::try_from(from).unwrap());
            harness.segment(seq, ACK, &bytes[from..to]);
        }
        prop_assert_eq!(harness.messages(), messages);
        prop_assert_eq!(harness.held(), 0);
        let mut places = harness.places();
        let events = places.len();
        places.dedup();
        prop_assert_eq!(places.len(), events, "each message has a place of its own");
    }

    #[test]
    fn loss_affects_only_hit_messages(
        count in 2u16..12,
        size in 20usize..200,
        lost in any::<prop::sample::Index>(),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let segments: Vec<(usize, &[u8])> =
            (0..).step_by(size).zip(bytes.chunks(size)).collect();
        let lost = lost.index(segments.len());
        let mut harness = Harness::default();
        harness.segment(9, SYN, b"");
        for (place, (at, segment)) in segments.iter().enumerate() {
            if place != lost {
                harness.segment(10 + u32::try_from(*at).unwrap(), ACK, segment);
            }
        }
        harness.finish();
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
        prop_assert!(wanted.iter().all(|message| harness.messages().contains(message)));
        prop_assert!(harness.messages().iter().all(|message| messages.contains(message)));
        harness.wait(100);
        prop_assert_eq!(harness.held(), 0);
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
        let mut harness = Harness::default();
        for (at, segment) in (from..).step_by(size).zip(bytes[from..].chunks(size)) {
            harness.segment(10 + u32::try_from(at).unwrap(), ACK, segment);
        }
        harness.finish();
        let events = harness.messages();
        prop_assert!(messages.ends_with(&events), "{events:?}");
        if size >= 150 && bytes.len() - from > 2 * size {
            prop_assert!(!events.is_empty(), "a segment of this size holds a whole message");
        }
    }
}
