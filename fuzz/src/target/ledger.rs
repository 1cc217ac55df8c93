//! Records as `ledger verify` reads them back.

use crate::craft;
use crate::rig::{Bounds, Place, Rig};
use dnscribe::ledger::verify::{Room, Verifier};
use std::net::SocketAddr;

/// Entries in memory before temporary files are used.
const MEMORY_BYTES: usize = 1 << 20;

/// See [`super::Target::run`].
pub fn run(data: &[u8]) {
    let mut verifier =
        Verifier::new(Room { temp: std::env::temp_dir(), memory_bytes: MEMORY_BYTES });
    for (number, line) in data.split(|octet| *octet == b'\n').enumerate() {
        if verifier.record(line, None, &format_args!("line {number}")).is_break() {
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
    let mut rig = Rig::new(Bounds::default(), true);
    for packet in [
        craft::udp(client, server, &craft::query(1, b"www")),
        craft::udp(server, client, &craft::response(1, b"www")),
        craft::udp(client, server, &craft::query(2, b"never")),
        craft::udp(client, server, b"not DNS"),
    ] {
        rig.show(&packet, Place::passing(&packet));
    }
    vec![rig.records()]
}
