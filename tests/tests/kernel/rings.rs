//! Several rings: all packets of a flow are in the same ring.

use super::frames::{PORT, QUERY, ethernet, v4, v6};
use super::{PROGRAMS, TCP, UDP, assert_balance, options};
use dnscribe_agent::capture::live::testing::Bench;
use dnscribe_agent::capture::live::{LiveOptions, Reader};
use dnscribe_common::flow;
use dnscribe_tests::environment::privileged;
use dnscribe_transaction::packet::Body;

const RINGS: u32 = 4;

/// More records than one ring of the smallest size holds.
const TRIES: u32 = 5_000;

fn load(tap: bool) -> (Bench, Vec<Reader>) {
    let mut bench = Bench::load(&LiveOptions { rings: RINGS, ..options() }, tap).expect("loads");
    let readers = bench.live.take_readers();
    assert_eq!(readers.len(), 4);
    (bench, readers)
}

/// Returns the rings that had records.
fn rings_with_records(readers: &mut [Reader]) -> Vec<usize> {
    let mut rings = Vec::new();
    for (ring, reader) in readers.iter_mut().enumerate() {
        for _ in 0..reader.drain(1_000, &mut |_| ()) {
            rings.push(ring);
        }
    }
    rings
}

fn ring_of(hash: u32) -> usize {
    usize::try_from(flow::ring(hash, RINGS)).expect("a small number")
}

/// Builds a datagram or, with flags, a segment.
fn transport_packet(src: u16, dst: u16, flags: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut octets = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    if let Some(flags) = flags {
        octets.extend([0; 8]);
        octets.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        octets.extend(u16::try_from(8 + payload.len()).expect("a short payload").to_be_bytes());
        octets.extend([0, 0]);
    }
    octets.extend(payload);
    octets
}

/// Swaps the addresses of a packet.
fn reversed(mut ip: Vec<u8>) -> Vec<u8> {
    let (at, length) = if ip[0] >> 4 == 4 { (12, 4) } else { (8, 16) };
    let (src, dst) = ip[at..at + 2 * length].split_at_mut(length);
    src.swap_with_slice(dst);
    ip
}

#[test]
fn verifier_accepts_ring_selection() {
    if !privileged() {
        return;
    }
    for (tap, count) in [(false, 9), (true, 2)] {
        let (bench, _readers) = load(tap);
        let loaded = bench.live.loaded().unwrap();
        assert_eq!(loaded.refused, []);
        assert_eq!(loaded.entries.len(), count);
        super::verified(&bench);
    }
}

#[test]
fn flow_stays_in_one_ring() {
    if !privileged() {
        return;
    }
    for (program, _, tap, hook) in PROGRAMS {
        let (bench, mut readers) = load(tap);
        let mut spread = [0; RINGS as usize];
        for client in (32_768..61_000).step_by(1_009) {
            let address = flow::four([192, 0, 2, 1]);
            let expected = ring_of(flow::hash(address, flow::four([192, 0, 2, 2]), client, PORT));
            let mut address_6 = [0; 16];
            address_6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            address_6[15] = 1;
            let address_6 = flow::six(address_6);
            let expected_6 = ring_of(flow::hash(address_6, address_6, client, PORT));
            let there = transport_packet(client, PORT, None, QUERY);
            let here = transport_packet(PORT, client, None, QUERY);
            let stream = [
                transport_packet(client, PORT, Some(2), &[]),
                transport_packet(client, PORT, Some(24), QUERY),
                transport_packet(PORT, client, Some(24), QUERY),
            ];
            let unreachable = {
                let quoted = v4(UDP, &[], 0, &there);
                v4(1, &[], 0, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat())
            };
            let mut packets = vec![
                (v4(UDP, &[], 0, &there), expected),
                (reversed(v4(UDP, &[], 0, &here)), expected),
                (v4(UDP, &[1; 4], 0, &there), expected),
                (v6(UDP, &there), expected_6),
                (reversed(v6(UDP, &here)), expected_6),
                (v4(TCP, &[], 0, &stream[0]), expected),
                (v4(TCP, &[], 0, &stream[1]), expected),
                (reversed(v4(TCP, &[], 0, &stream[2])), expected),
                // A response in fragments, of which only the first has ports.
                (reversed(v4(UDP, &[], 0x2000, &here)), expected),
                (reversed(v4(UDP, &[], 0x0010, &[7; 64])), expected),
            ];
            if tap {
                // Only raw sockets of the agent pass these to the other programs.
                packets.push((unreachable, expected));
                // IPv4 in IPv4 from another host: the inner flow selects the ring.
                let mut tunnel = v4(4, &[], 0, &v4(UDP, &[], 0, &there));
                tunnel[12..20].fill(u8::try_from(client & 0xff).expect("a byte"));
                packets.push((tunnel, expected));
            }
            for (ip, ring) in packets {
                bench.run(program, &ethernet(&ip), 1).expect("runs");
                assert_eq!(rings_with_records(&mut readers), [ring], "{program}: {client}: {ip:?}");
                spread[ring] += 1;
            }
        }
        assert!(spread.iter().all(|count| *count > 20), "{program}: {spread:?}");
        let received = readers.iter().map(|reader| &*reader.received);
        let (kernel, ring) = bench.live.counters_of(received);
        assert_balance(&kernel[hook]);
        assert_eq!((ring.received, ring.in_ring), (kernel[hook].submitted, 0));
        assert_eq!((ring.received, ring.sequence_gaps), (spread.iter().sum(), 0), "{program}");
    }
}

#[test]
fn mdns_is_one_flow() {
    if !privileged() {
        return;
    }
    let options =
        LiveOptions { rings: RINGS, ports: vec![5353].try_into().expect("a port"), ..options() };
    let mut bench = Bench::load(&options, true).expect("loads");
    let mut readers = bench.live.take_readers();
    for last in 1..20 {
        let mut ip = v4(UDP, &[], 0, &transport_packet(5353, 5353, None, QUERY));
        ip[12..20].copy_from_slice(&[10, 0, 0, last, 224, 0, 0, 251]);
        bench.run("tap", &ethernet(&ip), 1).expect("runs");
        assert_eq!(rings_with_records(&mut readers), [0]);
    }
}

#[test]
fn full_ring_does_not_affect_others() {
    if !privileged() {
        return;
    }
    let options = LiveOptions { rings: RINGS, ring_bytes: 4096 * 16, ..options() };
    for (program, _, tap, hook) in PROGRAMS {
        let mut bench = Bench::load(&options, tap).expect("loads");
        let mut readers = bench.live.take_readers();
        let of = |client: u16| v4(UDP, &[], 0, &transport_packet(client, PORT, None, QUERY));
        bench.run(program, &ethernet(&of(40_000)), TRIES).expect("runs");
        let full = {
            let (kernel, _) = bench.live.counters_of([].into_iter());
            assert!(kernel[hook].lost_ring_full > 0, "{program}");
            kernel[hook].lost_ring_full
        };
        let mut others = 0;
        for client in 40_001..40_101 {
            bench.run(program, &ethernet(&of(client)), 1).expect("runs");
        }
        let rings = rings_with_records(&mut readers);
        for ring in 0..4 {
            let count = rings.iter().filter(|found| **found == ring).count();
            others += usize::from(count > 10);
        }
        assert_eq!(others, 4, "{program}: a record is missing from the other rings");
        let (kernel, ring) = bench.live.counters_of(readers.iter().map(|reader| &*reader.received));
        let kernel = &kernel[hook];
        assert_balance(kernel);
        assert!(kernel.lost_ring_full >= full && kernel.lost_ring_full < full + 60, "{program}");
        assert_eq!(kernel.seen, u64::from(TRIES) + 100);
        assert_eq!((ring.received, ring.in_ring), (kernel.submitted, 0));
        assert_eq!(ring.sequence_gaps, kernel.lost_ring_full, "{program}");
    }
}

#[test]
fn readers_get_exact_bytes() {
    if !privileged() {
        return;
    }
    let (bench, mut readers) = load(false);
    let ip = v4(UDP, &[], 0, &transport_packet(40_000, PORT, None, QUERY));
    bench.run("cgroup_egress", &ethernet(&ip), 1).expect("runs");
    let mut got = Vec::new();
    for reader in &mut readers {
        reader.drain(10, &mut |packet| {
            if let Body::Ip { bytes, .. } = packet.body {
                got.push(bytes.to_vec());
            }
        });
    }
    assert_eq!(got, [ip]);
}
