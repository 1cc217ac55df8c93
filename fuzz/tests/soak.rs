//! Passes mutated packets through the whole pipeline: no panic, no broken identity, memory within
//! limits and constant.
//!
//! `SOAK_PACKETS` sets the number of packets; 200,000 by default.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe_agent::capture::replay::Replay;
use dnscribe_fuzz::corpus::{self, Corpus};
use dnscribe_fuzz::harness::{Harness, Limits, PacketMetadata};
use dnscribe_fuzz::mutate::{Random, damage};
use dnscribe_fuzz::test_packets::{self, Segment, flag};
use dnscribe_transaction::packet::Body;
use dnscribe_transaction::packet::ports::PortSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

/// Packets between two checks.
const CHECK_EVERY: u64 = 2000;
/// Growth of memory tolerated after half of the packets, in bytes; allocators cause some.
const SLACK_BYTES: u64 = 64 << 20;
/// Mutants of one captured packet in a row.
const MUTANTS: usize = 4;

#[test]
fn mutated_packets_pass() {
    let wanted = std::env::var("SOAK_PACKETS").map_or(200_000, |count| count.parse().unwrap());
    let mut harness = Harness::new(Limits::default(), true);
    let mut random = Random::new(1);
    let packets = real_packets();
    let (mut at, mut half) = (0, 0);
    while harness.packets() < wanted {
        // In capture order, so that streams and fragments are complete.
        at = if random.below(400) == 0 { random.below(packets.len()) } else { at + 1 };
        for _ in 0..MUTANTS {
            let mut packet = packets[at % packets.len()].clone();
            // Half of the mutants keep their headers; otherwise few would be decoded.
            let from = if random.below(2) == 0 { 0 } else { 40.min(packet.len()) };
            damage(&mut packet, from, &mut random);
            harness.send_ip(&packet, PacketMetadata::passive(&packet));
        }
        if random.below(50) == 0 {
            let millis = u64::try_from(random.below(3000)).unwrap();
            harness.wait(Duration::from_millis(millis), random.below(100) == 0);
        }
        if harness.packets() % CHECK_EVERY < MUTANTS as u64 {
            harness.check();
            let used = resident_bytes();
            if harness.packets() < wanted / 2 {
                half = half.max(used);
            }
            assert!(half == 0 || used < half + SLACK_BYTES, "{half} bytes, then {used}");
        }
    }
    let counters = harness.end();
    eprintln!("{:?}\n{:?}\n{} MiB", counters.decode, counters.pairing, resident_bytes() >> 20);
    assert!(counters.decode.messages > wanted / 10, "most mutants are no longer read at all");
}

/// The packets of every capture, and every message over UDP and TCP.
fn real_packets() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let ports: PortSet = "53,853,5353,5355,8053,53000".parse().unwrap();
    for capture in corpus::captures().unwrap() {
        let input = Box::new(fs::File::open(capture).unwrap());
        // A damaged file is read as far as possible.
        let _ = Replay::new(ports.clone()).stream("capture", input, &mut |packet, _| {
            if let Body::Ip { bytes, .. } = packet.body {
                packets.push(bytes.to_vec());
            }
            ControlFlow::Continue(())
        });
    }
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    for (number, message) in (0_u32..).zip(Corpus::load().unwrap().messages) {
        let [.., low] = number.to_be_bytes();
        let client = SocketAddr::from(([192, 0, 2, 1], 1024 + u16::from(low)));
        packets.push(test_packets::udp(client, server, message.get(..1400).unwrap_or(&message)));
        let header = Segment { seq: 9, ack: 0, flags: flag::SYN };
        packets.push(test_packets::tcp(client, server, header, &[]));
        let stream = test_packets::framed(&message);
        for (part, bytes) in (0_u32..).zip(stream.chunks(700)) {
            let header = Segment { seq: 10 + 700 * part, ack: 0, flags: flag::ACK };
            packets.push(test_packets::tcp(client, server, header, bytes));
        }
    }
    packets
}

/// Returns the resident memory of this process in bytes.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
