//! Misbehaving and hostile peers.

use super::{queries, stream};
use crate::decode::Malformed;
use crate::decode::tests::{CLIENT, Harness, SERVER};
use crate::packet::net::test_packets::{self, ACK, FIN, RST, SYN, framed, query};
use proptest::prelude::*;

/// A connection whose client has sent its SYN. The next sequence number is 10.
fn opened() -> Harness {
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    harness
}

fn at(place: usize) -> u32 {
    10 + u32::try_from(place).unwrap()
}

#[test]
fn first_copy_of_a_byte_counts() {
    let mut harness = opened();
    let (true_bytes, false_bytes) = (framed(&query(1, "true")), framed(&query(2, "fake")));
    harness.segment(at(2), ACK, &true_bytes[2..20]);
    harness.segment(at(0), ACK, &false_bytes);
    let mut wanted = false_bytes;
    wanted[2..20].copy_from_slice(&true_bytes[2..20]);
    assert_eq!(harness.messages(), [wanted[2..].to_vec()]);
    // Bytes that were read are not read again.
    harness.segment(at(0), ACK, &framed(&query(3, "late")));
    assert_eq!((harness.messages().len(), harness.held()), (1, 0));
}

#[test]
fn ignores_equal_overlaps() {
    let mut harness = opened();
    let bytes = stream(&queries(3));
    for (from, to) in [(0, 10), (5, 40), (0, 40), (30, bytes.len()), (0, bytes.len())] {
        harness.segment(at(from), ACK, &bytes[from..to]);
    }
    assert_eq!((harness.messages(), harness.held()), (queries(3), 0));
}

#[test]
fn follows_sequence_number_wrap() {
    let bytes = stream(&queries(3));
    for before in 0..bytes.len() {
        let start = 0_u32.wrapping_sub(u32::try_from(before).unwrap());
        let mut harness = Harness::default();
        harness.segment(start.wrapping_sub(1), SYN, b"");
        for (number, part) in bytes.chunks(7).enumerate() {
            harness.segment(start.wrapping_add(u32::try_from(number * 7).unwrap()), ACK, part);
        }
        assert_eq!((harness.messages(), harness.held()), (queries(3), 0));
    }
}

#[test]
fn ignores_keep_alives_and_window_probes() {
    let mut harness = opened();
    let bytes = stream(&queries(2));
    harness.segment(at(0), ACK, &bytes[..9]);
    // Keep-alives repeat the last byte, or none (RFC 9293, 3.8.4).
    harness.segment(at(8), ACK, &bytes[8..9]);
    harness.segment(at(8), ACK, b"\0");
    harness.segment(at(8), ACK, b"");
    // A probe of a closed window repeats the next byte until it is accepted (RFC 9293, 3.8.6.1).
    harness.segment(at(9), ACK, &bytes[9..10]);
    harness.segment(at(9), ACK, &bytes[9..10]);
    harness.segment(at(9), ACK, &bytes[9..]);
    assert_eq!((harness.messages(), harness.held()), (queries(2), 0));
    assert_eq!(harness.decoder.counters().malformed.values().sum::<u64>(), 0);
}

#[test]
fn reads_simultaneous_open() {
    let mut harness = opened();
    harness.receive(&test_packets::tcp(SERVER, CLIENT, 499, SYN, b""));
    harness.segment(9, SYN | ACK, b"");
    harness.receive(&test_packets::tcp(SERVER, CLIENT, 499, SYN | ACK, b""));
    harness.segment(10, ACK, &stream(&queries(1)));
    harness.receive(&test_packets::tcp(SERVER, CLIENT, 500, ACK, &stream(&queries(2))));
    assert_eq!(harness.messages(), [queries(1), queries(2)].concat());
}

#[test]
fn accepts_only_exact_reset() {
    let bytes = stream(&queries(1));
    let mut harness = opened();
    harness.segment(at(0), ACK, &bytes[..9]);
    for seq in [at(0), at(8), at(10), at(2000), at(100_000), 0, u32::MAX, 1 << 31] {
        harness.segment(seq, RST, b"");
        assert_eq!(harness.held(), 1, "{seq}");
    }
    harness.segment(at(9), ACK, &bytes[9..]);
    assert_eq!(harness.messages(), queries(1));
}

#[test]
fn reset_ends_both_directions() {
    let mut harness = opened();
    harness.segment(at(0), ACK, &stream(&queries(1))[..9]);
    harness.receive(&test_packets::tcp(SERVER, CLIENT, 499, SYN | ACK, b""));
    harness.receive(&test_packets::tcp(SERVER, CLIENT, 500, ACK, b"\0\x20half"));
    assert_eq!(harness.held(), 2);
    harness.segment(at(9), RST, b"");
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (2, 0));
}

#[test]
fn ignores_data_after_fin() {
    let mut harness = opened();
    let bytes = stream(&queries(2));
    harness.segment(at(0), ACK | FIN, &bytes);
    harness.segment(at(0), ACK | FIN, &bytes);
    assert_eq!(harness.messages(), queries(2));
    // Data after the end is ignored.
    for place in [bytes.len(), bytes.len() + 1, bytes.len() + 500] {
        harness.segment(at(place), ACK, &stream(&queries(1)));
    }
    assert_eq!((harness.messages().len(), harness.malformed(Malformed::TcpMidstream)), (2, 3));
    assert_eq!(harness.held(), 0);
}

#[test]
fn ignores_forged_fin() {
    let mut harness = opened();
    let bytes = stream(&queries(2));
    harness.segment(at(0), ACK, &bytes[..9]);
    harness.segment(at(3), FIN, b"");
    harness.segment(at(20), FIN, b"");
    harness.segment(at(9), ACK, &bytes[9..]);
    assert_eq!((harness.messages(), harness.held()), (queries(2), 0));
}

#[test]
fn accepts_early_fin() {
    let mut harness = opened();
    let bytes = stream(&queries(2));
    harness.segment(at(bytes.len()), FIN, b"");
    harness.segment(at(20), ACK, &bytes[20..]);
    harness.segment(at(0), ACK, &bytes[..20]);
    assert_eq!((harness.messages(), harness.held()), (queries(2), 0));
}

#[test]
fn survives_forged_segments() {
    let messages = queries(40);
    let bytes = stream(&messages);
    let mut harness = opened();
    let mut random = 1_u32;
    for (number, part) in bytes.chunks(31).enumerate() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        harness.segment(random, [SYN, ACK, RST, FIN][number % 4], [&b"junk"[..], b""][number % 2]);
        harness.segment(at(number * 31), ACK, part);
    }
    assert!(harness.messages() == messages, "{} of {}", harness.messages().len(), messages.len());
}

#[test]
fn follows_reused_ports_with_near_sequence() {
    let mut harness = opened();
    harness.segment(10, ACK | FIN, &stream(&queries(1)));
    // RFC 6528: the next initial sequence number is slightly larger.
    harness.segment(5000, SYN, b"");
    harness.segment(5001, ACK, &stream(&queries(2)));
    assert_eq!(harness.messages(), [queries(1), queries(2)].concat());
    harness.segment(90_000, SYN, &stream(&queries(3)));
    assert_eq!(harness.messages().len(), 6, "with data in the SYN");
    assert_eq!(harness.held(), 0);
}

#[test]
fn counts_impossible_lengths_as_malformed() {
    // Lengths 0 to 6 are below a header: each message is malformed, the stream continues.
    let short: Vec<Vec<u8>> = (0..7).map(|length| vec![0; length]).collect();
    let mut harness = opened();
    harness.segment(10, ACK, &[stream(&short), stream(&queries(2))].concat());
    assert_eq!(harness.messages(), queries(2));
    assert_eq!(harness.letters().len(), 7);
    assert_eq!((harness.malformed(Malformed::DnsHeader), harness.held()), (1, 0));
}

#[test]
fn recovers_from_malformed_messages() {
    let mut harness = opened();
    let junk = vec![0; 100];
    harness.segment(at(0), ACK, &junk);
    harness.segment(at(100), ACK, &junk);
    harness.segment(at(200), ACK, &stream(&queries(2)));
    harness.segment(at(200 + stream(&queries(2)).len()), ACK, &junk);
    assert_eq!((harness.messages(), harness.held()), (queries(2), 0));
    assert_eq!(harness.malformed(Malformed::DnsHeader), 3);
}

#[test]
fn reads_largest_messages() {
    let mut large = query(1, "large");
    large.resize(65_535, 0xee);
    let messages = [large.clone(), query(2, "small"), large];
    let bytes = stream(&messages);
    for size in [1460, 40, 65_000] {
        let mut harness = opened();
        for (number, part) in bytes.chunks(size).enumerate() {
            harness.segment(at(number * size), ACK, part);
        }
        assert_eq!((harness.messages(), harness.held()), (messages.to_vec(), 0));
    }
}

#[test]
fn rejects_tls() {
    // Read as DNS, a ClientHello announces 5,635 bytes that never arrive.
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 506]].concat();
    let mut harness = opened();
    harness.segment(10, ACK, &hello);
    harness.wait(31);
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 0));
    // Joined in mid-stream it is not DNS from the start.
    let mut harness = Harness::default();
    harness.segment(10, ACK, &hello);
    assert_eq!((harness.malformed(Malformed::TcpMidstream), harness.held()), (1, 0));
    assert!(harness.messages().is_empty());
}

#[test]
fn survives_clipped_length() {
    let mut harness = opened();
    let packet = test_packets::tcp(CLIENT, SERVER, 10, ACK, &framed(&query(1, "a")));
    harness.receive_clipped(&packet, 41);
    let behind = 10 + u32::try_from(packet.len() - 40).unwrap();
    harness.segment(behind, ACK, &stream(&queries(1)));
    assert_eq!((harness.messages(), harness.held()), (queries(1), 0));
    assert_eq!(harness.malformed(Malformed::TcpGap), 1);
}

#[test]
fn reads_stateful_operations() {
    // RFC 8490: a keepalive request, its response, and a unidirectional one (id 0).
    let keepalive = |id: u8, flags: u8| {
        let mut message = vec![0, id, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16]);
        message
    };
    let (asks, answers, tells) = (keepalive(7, 0x30), keepalive(7, 0xb0), keepalive(0, 0x30));
    for joined in [false, true] {
        let mut harness = if joined { Harness::default() } else { opened() };
        harness.segment(10, ACK, &stream(&[asks.clone(), tells.clone()]));
        harness.receive(&test_packets::tcp(SERVER, CLIENT, 500, ACK, &framed(&answers)));
        let events = [asks.clone(), tells.clone(), answers.clone()];
        assert_eq!((harness.messages(), harness.held()), (events.to_vec(), 0));
        let counters = harness.decoder.counters();
        assert_eq!((counters.queries, counters.responses), (2, 1));
    }
}

#[test]
fn clock_set_back_delays_no_timeout() {
    let mut harness = opened();
    harness.segment(10, ACK, &stream(&queries(1))[..9]);
    harness.now = dnscribe_record::time::Timestamp::from_nanos(1);
    harness.wait(0);
    harness.wait(40);
    assert_eq!((harness.malformed(Malformed::TcpIncomplete), harness.held()), (1, 0));
}

proptest! {
    #[test]
    fn ignores_far_forged_segments(
        count in 1u16..12,
        start in any::<u32>(),
        sizes in prop::collection::vec(1usize..200, 1..20),
        forged in prop::collection::vec((any::<u8>(), 300_000u32..4_000_000_000, 0usize..40), 0..60),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let mut harness = Harness::default();
        harness.segment(start.wrapping_sub(1), SYN, b"");
        let (mut at, mut sizes, mut forged) = (0, sizes.iter().cycle(), forged.iter().cycle());
        while at < bytes.len() {
            let here = start.wrapping_add(u32::try_from(at).unwrap());
            if let Some((flags, away, length)) = forged.next() {
                harness.segment(here.wrapping_add(*away), flags & 0x17, &vec![0x55; *length]);
            }
            let to = (at + sizes.next().unwrap()).min(bytes.len());
            harness.segment(here, ACK, &bytes[at..to]);
            at = to;
        }
        prop_assert_eq!(harness.messages(), messages);
    }
}
