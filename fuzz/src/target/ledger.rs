//! `ledger verify` reads records.

use crate::harness::{Harness, Limits, PacketMetadata};
use crate::test_packets;
use dnscribe_verify::{SortOptions, Verifier};
use std::net::SocketAddr;

/// Memory for entries before temporary files are used, in bytes.
const MEMORY_BYTES: usize = 1 << 20;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let mut verifier = Verifier::new(SortOptions {
        temp_folder: std::env::temp_dir(),
        memory_bytes: MEMORY_BYTES,
    });
    for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
        if verifier.add_record(line, None, &format_args!("line {number}")).is_break() {
            break;
        }
    }
    let report = verifier.report(None);
    assert!(report.is_ok(), "memory suffices for so few");
}

/// The records of a short capture.
pub fn seeds() -> Vec<Vec<u8>> {
    let client = SocketAddr::from(([192, 0, 2, 1], 1024));
    let server = SocketAddr::from(([192, 0, 2, 53], 53));
    let mut harness = Harness::new(Limits::default(), true);
    for packet in [
        test_packets::udp(client, server, &test_packets::query(1, b"www")),
        test_packets::udp(server, client, &test_packets::response(1, b"www")),
        test_packets::udp(client, server, &test_packets::query(2, b"never")),
        test_packets::udp(client, server, b"not DNS"),
    ] {
        harness.send_ip(&packet, PacketMetadata::passive(&packet));
    }
    vec![harness.records()]
}
