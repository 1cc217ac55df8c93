//! What misbehaving and hostile peers do.

use super::{queries, stream};
use crate::decode::Malformed;
use crate::decode::tests::{Bench, CLIENT, SERVER};
use crate::net::craft::{self, ACK, FIN, RST, SYN, framed, query};
use proptest::prelude::*;

/// A connection whose client has sent its SYN: the next octet is 10.
fn opened() -> Bench {
    let mut bench = Bench::default();
    bench.segment(9, SYN, b"");
    bench
}

fn at(place: usize) -> u32 {
    10 + u32::try_from(place).unwrap()
}

#[test]
fn the_first_copy_counts_when_copies_differ() {
    let mut bench = opened();
    let (true_bytes, false_bytes) = (framed(&query(1, "true")), framed(&query(2, "fake")));
    bench.segment(at(2), ACK, &true_bytes[2..20]);
    bench.segment(at(0), ACK, &false_bytes);
    let mut wanted = false_bytes;
    wanted[2..20].copy_from_slice(&true_bytes[2..20]);
    assert_eq!(bench.messages(), [wanted[2..].to_vec()]);
    // What was read once is not read again, whatever comes in its place.
    bench.segment(at(0), ACK, &framed(&query(3, "late")));
    assert_eq!((bench.messages().len(), bench.held()), (1, 0));
}

#[test]
fn equal_overlaps_change_nothing() {
    let mut bench = opened();
    let bytes = stream(&queries(3));
    for (from, to) in [(0, 10), (5, 40), (0, 40), (30, bytes.len()), (0, bytes.len())] {
        bench.segment(at(from), ACK, &bytes[from..to]);
    }
    assert_eq!((bench.messages(), bench.held()), (queries(3), 0));
}

#[test]
fn sequence_numbers_wrap_around_in_mid_message() {
    let bytes = stream(&queries(3));
    for before in 0..bytes.len() {
        let start = 0_u32.wrapping_sub(u32::try_from(before).unwrap());
        let mut bench = Bench::default();
        bench.segment(start.wrapping_sub(1), SYN, b"");
        for (number, part) in bytes.chunks(7).enumerate() {
            bench.segment(start.wrapping_add(u32::try_from(number * 7).unwrap()), ACK, part);
        }
        assert_eq!((bench.messages(), bench.held()), (queries(3), 0));
    }
}

#[test]
fn keep_alives_and_window_probes() {
    let mut bench = opened();
    let bytes = stream(&queries(2));
    bench.segment(at(0), ACK, &bytes[..9]);
    // Keep-alives: the last octet again, or none (RFC 9293, 3.8.4).
    bench.segment(at(8), ACK, &bytes[8..9]);
    bench.segment(at(8), ACK, b"\0");
    bench.segment(at(8), ACK, b"");
    // A probe of a closed window is the next octet, sent until it is taken (3.8.6.1).
    bench.segment(at(9), ACK, &bytes[9..10]);
    bench.segment(at(9), ACK, &bytes[9..10]);
    bench.segment(at(9), ACK, &bytes[9..]);
    assert_eq!((bench.messages(), bench.held()), (queries(2), 0));
    assert_eq!(bench.decoder.counters().malformed.values().sum::<u64>(), 0);
}

#[test]
fn simultaneous_open() {
    let mut bench = opened();
    bench.see(&craft::tcp(SERVER, CLIENT, 499, SYN, b""));
    bench.segment(9, SYN | ACK, b"");
    bench.see(&craft::tcp(SERVER, CLIENT, 499, SYN | ACK, b""));
    bench.segment(10, ACK, &stream(&queries(1)));
    bench.see(&craft::tcp(SERVER, CLIENT, 500, ACK, &stream(&queries(2))));
    assert_eq!(bench.messages(), [queries(1), queries(2)].concat());
}

#[test]
fn only_an_exact_reset_counts() {
    let bytes = stream(&queries(1));
    let mut bench = opened();
    bench.segment(at(0), ACK, &bytes[..9]);
    for seq in [at(0), at(8), at(10), at(2000), at(100_000), 0, u32::MAX, 1 << 31] {
        bench.segment(seq, RST, b"");
        assert_eq!(bench.held(), 1, "{seq}");
    }
    bench.segment(at(9), ACK, &bytes[9..]);
    assert_eq!(bench.messages(), queries(1));
}

#[test]
fn a_reset_ends_both_directions_in_mid_message() {
    let mut bench = opened();
    bench.segment(at(0), ACK, &stream(&queries(1))[..9]);
    bench.see(&craft::tcp(SERVER, CLIENT, 499, SYN | ACK, b""));
    bench.see(&craft::tcp(SERVER, CLIENT, 500, ACK, b"\0\x20half"));
    assert_eq!(bench.held(), 2);
    bench.segment(at(9), RST, b"");
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (2, 0));
}

#[test]
fn a_fin_with_data_and_data_behind_it() {
    let mut bench = opened();
    let bytes = stream(&queries(2));
    bench.segment(at(0), ACK | FIN, &bytes);
    bench.segment(at(0), ACK | FIN, &bytes);
    assert_eq!(bench.messages(), queries(2));
    // Nobody reads what lies behind the end.
    for place in [bytes.len(), bytes.len() + 1, bytes.len() + 500] {
        bench.segment(at(place), ACK, &stream(&queries(1)));
    }
    assert_eq!((bench.messages().len(), bench.malformed(Malformed::TcpMidstream)), (2, 3));
    assert_eq!(bench.held(), 0);
}

#[test]
fn a_forged_fin_ends_nothing() {
    let mut bench = opened();
    let bytes = stream(&queries(2));
    bench.segment(at(0), ACK, &bytes[..9]);
    bench.segment(at(3), FIN, b"");
    bench.segment(at(20), FIN, b"");
    bench.segment(at(9), ACK, &bytes[9..]);
    assert_eq!((bench.messages(), bench.held()), (queries(2), 0));
}

#[test]
fn a_fin_that_overtakes_its_data() {
    let mut bench = opened();
    let bytes = stream(&queries(2));
    bench.segment(at(bytes.len()), FIN, b"");
    bench.segment(at(20), ACK, &bytes[20..]);
    bench.segment(at(0), ACK, &bytes[..20]);
    assert_eq!((bench.messages(), bench.held()), (queries(2), 0));
}

#[test]
fn forged_segments_do_not_break_an_established_connection() {
    let messages = queries(40);
    let bytes = stream(&messages);
    let mut bench = opened();
    let mut random = 1_u32;
    for (number, part) in bytes.chunks(31).enumerate() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bench.segment(random, [SYN, ACK, RST, FIN][number % 4], [&b"junk"[..], b""][number % 2]);
        bench.segment(at(number * 31), ACK, part);
    }
    assert!(bench.messages() == messages, "{} of {}", bench.messages().len(), messages.len());
}

#[test]
fn ports_used_again_with_a_number_nearby() {
    let mut bench = opened();
    bench.segment(10, ACK | FIN, &stream(&queries(1)));
    // RFC 6528: the next initial sequence number is a little further on.
    bench.segment(5000, SYN, b"");
    bench.segment(5001, ACK, &stream(&queries(2)));
    assert_eq!(bench.messages(), [queries(1), queries(2)].concat());
    bench.segment(90_000, SYN, &stream(&queries(3)));
    assert_eq!(bench.messages().len(), 6, "with data in the SYN");
    assert_eq!(bench.held(), 0);
}

#[test]
fn lengths_that_cannot_be() {
    // Length 0 and less than a header: each message counts as malformed, the stream goes on.
    let short: Vec<Vec<u8>> = (0..7).map(|length| vec![0; length]).collect();
    let mut bench = opened();
    bench.segment(10, ACK, &[stream(&short), stream(&queries(2))].concat());
    assert_eq!(bench.messages(), queries(2));
    assert_eq!(bench.letters().len(), 7);
    assert_eq!((bench.malformed(Malformed::DnsHeader), bench.held()), (1, 0));
}

#[test]
fn a_stream_may_come_to_its_senses() {
    let mut bench = opened();
    let junk = vec![0; 100];
    bench.segment(at(0), ACK, &junk);
    bench.segment(at(100), ACK, &junk);
    bench.segment(at(200), ACK, &stream(&queries(2)));
    bench.segment(at(200 + stream(&queries(2)).len()), ACK, &junk);
    assert_eq!((bench.messages(), bench.held()), (queries(2), 0));
    assert_eq!(bench.malformed(Malformed::DnsHeader), 3);
}

#[test]
fn the_largest_messages() {
    let mut large = query(1, "large");
    large.resize(65_535, 0xee);
    let messages = [large.clone(), query(2, "small"), large];
    let bytes = stream(&messages);
    for size in [1460, 40, 65_000] {
        let mut bench = opened();
        for (number, part) in bytes.chunks(size).enumerate() {
            bench.segment(at(number * size), ACK, part);
        }
        assert_eq!((bench.messages(), bench.held()), (messages.to_vec(), 0));
    }
}

#[test]
fn tls_is_no_dns() {
    // A ClientHello claims 5,635 octets as a DNS message, and never sends them.
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[7; 506]].concat();
    let mut bench = opened();
    bench.segment(10, ACK, &hello);
    bench.wait(31);
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 0));
    // Joined in mid stream it is no DNS from the start.
    let mut bench = Bench::default();
    bench.segment(10, ACK, &hello);
    assert_eq!((bench.malformed(Malformed::TcpMidstream), bench.held()), (1, 0));
    assert!(bench.messages().is_empty());
}

#[test]
fn clipped_in_the_length_prefix() {
    let mut bench = opened();
    let packet = craft::tcp(CLIENT, SERVER, 10, ACK, &framed(&query(1, "a")));
    bench.see_clipped(&packet, 41);
    let behind = 10 + u32::try_from(packet.len() - 40).unwrap();
    bench.segment(behind, ACK, &stream(&queries(1)));
    assert_eq!((bench.messages(), bench.held()), (queries(1), 0));
    assert_eq!(bench.malformed(Malformed::TcpGap), 1);
}

#[test]
fn stateful_operations() {
    // RFC 8490: a keepalive request, its response, and one that wants no response (id 0).
    let keepalive = |id: u8, flags: u8| {
        let mut message = vec![0, id, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([0, 1, 0, 8, 0, 0, 39, 16, 0, 0, 39, 16]);
        message
    };
    let (asks, answers, tells) = (keepalive(7, 0x30), keepalive(7, 0xb0), keepalive(0, 0x30));
    for joined in [false, true] {
        let mut bench = if joined { Bench::default() } else { opened() };
        bench.segment(10, ACK, &stream(&[asks.clone(), tells.clone()]));
        bench.see(&craft::tcp(SERVER, CLIENT, 500, ACK, &framed(&answers)));
        let given = [asks.clone(), tells.clone(), answers.clone()];
        assert_eq!((bench.messages(), bench.held()), (given.to_vec(), 0));
        let counters = bench.decoder.counters();
        assert_eq!((counters.queries, counters.responses), (2, 1));
    }
}

#[test]
fn a_clock_set_back_makes_nothing_wait_longer() {
    let mut bench = opened();
    bench.segment(10, ACK, &stream(&queries(1))[..9]);
    bench.now = crate::time::Timestamp::from_nanos(1);
    bench.wait(0);
    bench.wait(40);
    assert_eq!((bench.malformed(Malformed::TcpIncomplete), bench.held()), (1, 0));
}

proptest! {
    #[test]
    fn what_is_forged_far_away_costs_nothing(
        count in 1u16..12,
        start in any::<u32>(),
        sizes in prop::collection::vec(1usize..200, 1..20),
        forged in prop::collection::vec((any::<u8>(), 300_000u32..4_000_000_000, 0usize..40), 0..60),
    ) {
        let messages = queries(count);
        let bytes = stream(&messages);
        let mut bench = Bench::default();
        bench.segment(start.wrapping_sub(1), SYN, b"");
        let (mut at, mut sizes, mut forged) = (0, sizes.iter().cycle(), forged.iter().cycle());
        while at < bytes.len() {
            let here = start.wrapping_add(u32::try_from(at).unwrap());
            if let Some((flags, away, length)) = forged.next() {
                bench.segment(here.wrapping_add(*away), flags & 0x17, &vec![0x55; *length]);
            }
            let to = (at + sizes.next().unwrap()).min(bytes.len());
            bench.segment(here, ACK, &bytes[at..to]);
            at = to;
        }
        prop_assert_eq!(bench.messages(), messages);
    }
}
