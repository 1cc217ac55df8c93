//! The pipeline replays capture files, compressed ones too.

use crate::corpus::Corpus;
use crate::harness::{Harness, Limits};
use crate::test_packets;
use dnscribe_agent::capture::replay::Replay;
use dnscribe_transaction::packet::ports::PortSet;
use std::io::{Cursor, Write as _};
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// Most packets read from one file. A few bytes may decompress to gigabytes.
const MAX_PACKETS: u64 = 2000;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let mut harness = Harness::new(Limits::tight(), false);
    let mut replay = Replay::new(PortSet::default());
    let input = Box::new(Cursor::new(data.to_vec()));
    let result = replay.stream("fuzz", input, &mut |packet, passed| {
        harness.replay(packet);
        let (hooks, taken) = passed.counters();
        assert_eq!(taken.received, harness.packets());
        assert!(hooks.values().all(|hook| hook.seen >= hook.submitted));
        if harness.packets() < MAX_PACKETS {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    if let Err(error) = result {
        assert!(error.to_string().starts_with("fuzz: "), "{error}");
    }
    harness.end();
}

/// Small captures, and a generated one in every compression format.
pub fn seeds(corpus: &Corpus) -> Vec<Vec<u8>> {
    let mut seeds = corpus.captures.clone();
    let plain = pcap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    if gzip.write_all(&plain).is_ok() {
        seeds.extend(gzip.finish());
    }
    seeds.extend(zstd::encode_all(plain.as_slice(), 1));
    seeds.push(pcapng());
    seeds.push(plain);
    seeds
}

fn packets() -> [Vec<u8>; 2] {
    let client = SocketAddr::from(([192, 0, 2, 1], 1024));
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    [
        test_packets::udp(client, server, &test_packets::query(1, b"www")),
        test_packets::udp(server, client, &test_packets::response(1, b"www")),
    ]
}

/// Link type of packets that begin with the IP header.
const RAW: u16 = 101;

fn pcap() -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, RAW.into()] {
        file.extend(u32::to_le_bytes(word));
    }
    for (number, packet) in (1_u32..).zip(packets()) {
        let length = u32::try_from(packet.len()).unwrap_or_default();
        for word in [1_700_000_000, number, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// A section header, an interface with microseconds, and the packets in enhanced packet blocks.
fn pcapng() -> Vec<u8> {
    let mut file = Vec::new();
    let section = [0x1a2b_3c4d, 1, u32::MAX, u32::MAX];
    block(&mut file, 0x0a0d_0d0a, &section.map(u32::to_le_bytes).concat());
    let interface = [u32::from(RAW), 0, 0x0001_0009, 6, 0];
    block(&mut file, 1, &interface.map(u32::to_le_bytes).concat());
    for packet in packets() {
        let length = u32::try_from(packet.len()).unwrap_or_default();
        let mut body = [0, 0x0006_0a5c, 7, length, length].map(u32::to_le_bytes).concat();
        body.extend(&packet);
        body.resize(body.len().next_multiple_of(4), 0);
        block(&mut file, 6, &body);
    }
    file
}

fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len() + 12).unwrap_or_default().to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(length);
    file.extend(body);
    file.extend(length);
}
