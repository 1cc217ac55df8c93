//! Mutated packets through the pipeline, from the packet to the record: no panic, no identity broken,
//! memory within its bounds and flat.
//!
//! `SOAK_PACKETS` says how many; 200,000 where it is not set.
#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use dnscribe::capture::Body;
use dnscribe::capture::ports::PortSet;
use dnscribe::capture::replay::Replay;
use dnscribe_fuzz::corpus::{self, Corpus};
use dnscribe_fuzz::craft::{self, Segment, flag};
use dnscribe_fuzz::mutate::{Random, damage};
use dnscribe_fuzz::rig::{Bounds, Place, Rig};
use std::fs;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

/// Packets between two looks.
const LOOK_EVERY: u64 = 2000;
/// Memory may grow by this much once half of the packets have passed, in octets: what allocators do.
const SLACK_BYTES: u64 = 64 << 20;
/// Mutants of a captured packet that follow one another.
const MUTANTS: usize = 4;

#[test]
fn mutated_packets_break_nothing() {
    let wanted = std::env::var("SOAK_PACKETS").map_or(200_000, |count| count.parse().unwrap());
    let mut rig = Rig::new(Bounds::default(), true);
    let mut random = Random::new(1);
    let packets = real_packets();
    let (mut at, mut half) = (0, 0);
    while rig.packets() < wanted {
        // In the order of their capture, so that streams and fragments come together.
        at = if random.below(400) == 0 { random.below(packets.len()) } else { at + 1 };
        for _ in 0..MUTANTS {
            let mut packet = packets[at % packets.len()].clone();
            // Half of the mutants keep their headers, else nothing would get far.
            let from = if random.below(2) == 0 { 0 } else { 40.min(packet.len()) };
            damage(&mut packet, from, &mut random);
            rig.show(&packet, Place::passing(&packet));
        }
        if random.below(50) == 0 {
            let millis = u64::try_from(random.below(3000)).unwrap();
            rig.wait(Duration::from_millis(millis), random.below(100) == 0);
        }
        if rig.packets() % LOOK_EVERY < MUTANTS as u64 {
            rig.check();
            let used = resident_bytes();
            if rig.packets() < wanted / 2 {
                half = half.max(used);
            }
            assert!(half == 0 || used < half + SLACK_BYTES, "{half} octets, then {used}");
        }
    }
    let counters = rig.end();
    eprintln!("{:?}\n{:?}\n{} MiB", counters.decode, counters.pairing, resident_bytes() >> 20);
    assert!(counters.decode.messages > wanted / 10, "most mutants are no longer read at all");
}

/// The packets of every capture, and every message over UDP and TCP.
fn real_packets() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let ports: PortSet = "53,853,5353,5355,8053,53000".parse().unwrap();
    for capture in corpus::captures().unwrap() {
        let input = Box::new(fs::File::open(capture).unwrap());
        // What cannot be read to its end is read as far as it goes.
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
        packets.push(craft::udp(client, server, message.get(..1400).unwrap_or(&message)));
        let header = Segment { seq: 9, ack: 0, flags: flag::SYN };
        packets.push(craft::tcp(client, server, header, &[]));
        let stream = craft::framed(&message);
        for (part, octets) in (0_u32..).zip(stream.chunks(700)) {
            let header = Segment { seq: 10 + 700 * part, ack: 0, flags: flag::ACK };
            packets.push(craft::tcp(client, server, header, octets));
        }
    }
    packets
}

/// This process's memory.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
