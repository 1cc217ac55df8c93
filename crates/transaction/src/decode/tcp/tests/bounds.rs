//! Limits on memory under floods, and on work for junk data.

use super::{queries, stream};
use crate::decode::tests::{Harness, SERVER};
use crate::decode::{Decoder, DecoderOptions, Malformed, TCP_STREAM_BYTES};
use crate::packet::net::test_packets::{self, ACK, SYN};
use crate::packet::{Body, Direction, Packet, PacketId};
use dnscribe_record::time::Timestamp;

/// A connection's client, different for each number.
fn client(number: u32) -> String {
    let [high, mid, low, last] = number.to_be_bytes();
    format!("10.{high}.{mid}.{low}:{}", 1024 + u16::from(last))
}

#[test]
fn documented_memory() {
    let DecoderOptions { tcp_memory_bytes, tcp_streams, .. } = DecoderOptions::default();
    // The figure in ARCHITECTURE.md.
    assert_eq!(tcp_memory_bytes, 64 << 20);
    assert_eq!(tcp_streams, 65_536);
    const { assert!(TCP_STREAM_BYTES <= 1024) };
}

#[test]
fn tracks_ten_thousand_connections() {
    let mut harness = Harness::default();
    let bytes = stream(&queries(2));
    // Each with half a message in both directions.
    for number in 0..10_000 {
        let client = client(number);
        harness.receive(&test_packets::tcp(&client, SERVER, 9, SYN, b""));
        harness.receive(&test_packets::tcp(SERVER, &client, 99, SYN | ACK, b""));
        harness.receive(&test_packets::tcp(&client, SERVER, 10, ACK, &bytes[..50]));
        harness.receive(&test_packets::tcp(SERVER, &client, 100, ACK, &bytes[..50]));
    }
    let limit = DecoderOptions::default().tcp_memory_bytes;
    assert!(harness.decoder.memory_bytes() <= limit);
    assert_eq!(harness.held(), 20_000, "none had to give way");
    for number in 0..10_000 {
        let client = client(number);
        harness.receive(&test_packets::tcp(&client, SERVER, 60, ACK, &bytes[50..]));
        harness.receive(&test_packets::tcp(SERVER, &client, 150, ACK, &bytes[50..]));
    }
    let counters = harness.decoder.counters();
    assert_eq!((counters.messages, counters.evicted_streams, counters.held), (40_000, 0, 0));
}

#[test]
fn established_streams_survive_syn_flood() {
    let mut harness =
        Harness::new(DecoderOptions { tcp_streams: 1000, ..DecoderOptions::default() });
    let bytes = stream(&queries(2));
    let first = stream(&queries(1)).len();
    let next = 10 + u32::try_from(first).unwrap();
    for number in 0..400 {
        harness.receive(&test_packets::tcp(&client(number), SERVER, 9, SYN, b""));
        harness.receive(&test_packets::tcp(&client(number), SERVER, 10, ACK, &bytes[..first]));
        // Half of the next message, its length cut in two.
        harness.receive(&test_packets::tcp(
            &client(number),
            SERVER,
            next,
            ACK,
            &bytes[first..=first],
        ));
    }
    for number in 1000..60_000 {
        harness.receive(&test_packets::tcp(&client(number), SERVER, 9, SYN, b""));
        if number % 3 == 0 {
            harness.receive(&test_packets::tcp(&client(number), SERVER, 10, ACK, b"\xff\xffhalf"));
        }
    }
    for number in 0..400 {
        harness.receive(&test_packets::tcp(
            &client(number),
            SERVER,
            next + 1,
            ACK,
            &bytes[first + 1..],
        ));
    }
    let counters = harness.decoder.counters();
    assert_eq!(counters.messages, 800);
    assert_eq!(counters.evicted_streams, 59_000 + 400 - 1000);
    assert!(harness.decoder.memory_bytes() <= DecoderOptions::default().tcp_memory_bytes);
    harness.wait(1000);
    assert_eq!(harness.held(), 0);
}

#[test]
fn evicts_streams_without_message_first() {
    let mut harness =
        Harness::new(DecoderOptions { tcp_memory_bytes: 1 << 20, ..DecoderOptions::default() });
    let bytes = stream(&queries(2));
    let first = stream(&queries(1)).len() + 9;
    harness.segment(9, SYN, b"");
    harness.segment(10, ACK, &bytes[..first]);
    for number in 0..5000 {
        harness.receive(&test_packets::tcp(&client(number), SERVER, 9, SYN, b""));
        harness.receive(&test_packets::tcp(&client(number), SERVER, 10, ACK, &[0xff; 1000]));
        assert!(harness.decoder.memory_bytes() <= 1 << 20);
    }
    assert!(harness.malformed(Malformed::TcpIncomplete) > 4000);
    harness.segment(10 + u32::try_from(first).unwrap(), ACK, &bytes[first..]);
    assert_eq!(harness.messages(), queries(2));
}

/// Sends a SYN from each of many clients and, if events, the beginning of a message.
fn flood(decoder: &mut Decoder, strangers: u32, beginning: Option<&[u8]>) {
    let syn = test_packets::tcp("10.0.0.0:1024", SERVER, 9, SYN, b"");
    let data = beginning.map(|bytes| test_packets::tcp("10.0.0.0:1024", SERVER, 10, ACK, bytes));
    let mut packets: Vec<Vec<u8>> = std::iter::once(syn).chain(data).collect();
    for number in 0..strangers {
        for bytes in &mut packets {
            bytes[13..16].copy_from_slice(&number.to_be_bytes()[1..]);
            let wire_bytes = u32::try_from(bytes.len()).unwrap();
            let packet = Packet::new(
                Timestamp::from_nanos(1 + u64::from(number) * 1000),
                PacketId { cpu: 0, seq: number.into() },
                Direction::Passive,
                Body::Ip { bytes, wire_bytes },
            );
            decoder.observe(&packet, &mut |_| {});
        }
    }
}

#[test]
fn floods_stay_within_documented_memory() {
    // Run with a million by hand, in a release build.
    let syns: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut decoder = Decoder::new(DecoderOptions::default());
    flood(&mut decoder, syns, None);
    assert_eq!(decoder.memory_bytes(), 0, "nothing waits");
    flood(&mut decoder, 100_000, Some(b"\xff\xffhalf a message, and no more"));
    let options = DecoderOptions::default();
    assert!(decoder.memory_bytes() <= options.tcp_memory_bytes);
    let counters = decoder.counters();
    let ended = counters.decoded_packets + counters.malformed.values().sum::<u64>();
    assert_eq!(counters.received, ended + counters.held);
    assert!(counters.held > 20_000, "{counters:?}");
    assert!(counters.evicted_streams >= u64::from(syns) - options.tcp_streams as u64);
}

/// Bytes that look like the beginning of a message with many records at every position.
fn mirage(length: usize) -> Vec<u8> {
    let header = [0x40, 0, 0, 0, 0x80, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.into_iter().cycle().take(length).collect()
}

#[test]
fn junk_costs_linear_work() {
    // Without the budget of the search this takes minutes.
    for junk in
        [mirage(60_000), vec![0; 60_000], b"GET / HTTP/1.1\r\n".repeat(3750), vec![0x80; 60_000]]
    {
        let mut harness = Harness::default();
        for number in 0..10 {
            // Behind a gap, so that it is searched in one piece.
            harness.segment(1000 + 120_000 * number, ACK, &junk);
            harness.segment(1000 + 120_000 * number + 60_000, ACK, &junk);
        }
        harness.finish();
        harness.wait(1000);
        assert_eq!(harness.held(), 0);
    }
}

#[test]
fn small_segments_cost_linear_work() {
    let mut large = test_packets::query(1, "large");
    large.resize(60_000, 0xee);
    let bytes = stream(&[large]);
    // In reverse order: every segment opens a gap, and none closes before the first byte arrives.
    let mut harness = Harness::default();
    harness.segment(9, SYN, b"");
    for (number, part) in bytes.chunks(10).enumerate().rev() {
        harness.segment(10 + u32::try_from(number * 10).unwrap(), ACK, part);
    }
    assert_eq!((harness.messages().len(), harness.held()), (1, 0));
}
