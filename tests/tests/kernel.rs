//! The eBPF programs in the running kernel: the verifier, return values for test packets, exact
//! loss counts, and the tasks of real packets. Needs root.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests, which fail by panicking")]

#[path = "kernel/attached.rs"]
mod attached;
#[path = "kernel/discarded.rs"]
mod discarded;
#[path = "kernel/frames.rs"]
mod frames;
#[path = "kernel/host.rs"]
mod host;
#[path = "kernel/rings.rs"]
mod rings;
#[path = "kernel/sampling.rs"]
mod sampling;
#[path = "kernel/tunnels.rs"]
mod tunnels;

use dnscribe_agent::capture::live::testing::Bench;
use dnscribe_agent::capture::live::{CannotCapture, Live, LiveOptions};
use dnscribe_record::ledger::Kernel;
use dnscribe_tests::environment::privileged;
use dnscribe_transaction::packet::Body;
use dnscribe_transaction::packet::encrypted::{Encrypted, Prefix};
use frames::{PORT, QUERY, ethernet, ip_of, tagged, tcp, udp, v4, v6};
use std::collections::BTreeMap;

const UDP: u8 = 17;
const TCP: u8 = 6;
const ACK: u8 = 16;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Program, its return value, whether it is the interface tap, and the name of its counters.
const PROGRAMS: [(&str, u32, bool, &str); 3] = [
    ("cgroup_ingress", 1, false, "cgroup"),
    ("cgroup_egress", 1, false, "cgroup"),
    ("tap", 0, true, "socket"),
];

fn options() -> LiveOptions {
    LiveOptions {
        ports: vec![PORT].try_into().expect("a port"),
        ring_bytes: 1 << 20,
        ..LiveOptions::default()
    }
}

/// Expected result for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    NotSeen,
    Emitted,
    NoPayload,
    TooDeep,
}

fn test_packets() -> Vec<(&'static str, Vec<u8>, Expectation)> {
    use Expectation::{Emitted, NoPayload, NotSeen, TooDeep};
    let query = udp(PORT, QUERY);
    let destination_options = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &query].concat();
    let chain = [&[60, 0, 1, 4, 0, 0, 0, 0][..], &destination_options].concat();
    let endless: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(32);
    let long_chain = v6(60, &endless);
    vec![
        ("UDP over IPv4", v4(UDP, &[], 0x4000, &query), Emitted),
        ("UDP over IPv6", v6(UDP, &query), Emitted),
        ("UDP without payload", v4(UDP, &[], 0, &udp(PORT, &[])), Emitted),
        ("IPv4 options", v4(UDP, &[1; 8], 0, &query), Emitted),
        ("as many options as there may be", v4(UDP, &[1; 40], 0, &query), Emitted),
        ("destination options", v6(60, &destination_options), Emitted),
        ("hop-by-hop, then destination options", v6(0, &chain), Emitted),
        ("endless extension headers", long_chain, TooDeep),
        ("TCP with payload", v4(TCP, &[], 0, &tcp(PORT, ACK, 5, QUERY)), Emitted),
        ("TCP SYN", v6(TCP, &tcp(PORT, SYN, 10, &[])), Emitted),
        ("TCP RST", v4(TCP, &[], 0, &tcp(PORT, RST, 5, &[])), Emitted),
        ("TCP ACK", v4(TCP, &[], 0, &tcp(PORT, ACK, 8, &[])), NoPayload),
        ("TCP ACK over IPv6", v6(TCP, &tcp(PORT, ACK, 5, &[])), NoPayload),
        ("TCP ACK with options", v4(TCP, &[1; 4], 0, &tcp(PORT, ACK, 5, &[])), NoPayload),
        ("another port", v4(UDP, &[], 0, &udp(PORT + 1, QUERY)), NotSeen),
        ("another port over IPv6", v6(UDP, &udp(PORT + 64, QUERY)), NotSeen),
        ("another protocol", v4(47, &[], 0, &query), NotSeen),
        ("ports cut off", v4(UDP, &[], 0, &query)[..22].to_vec(), NotSeen),
        ("ports cut off, IPv6", v6(UDP, &query)[..42].to_vec(), NotSeen),
        (
            "impossible header length",
            [&[0x41][..], &v4(UDP, &[], 0, &query)[1..]].concat(),
            NotSeen,
        ),
        ("garbage", vec![0xff; 64], NotSeen),
        ("zeros", vec![0; 64], NotSeen),
    ]
}

fn counters(bench: &Bench, hook: &str) -> Kernel {
    counters_of(&bench.live, hook)
}

fn counters_of(live: &Live, hook: &str) -> Kernel {
    live.counters().0.remove(hook).expect("counters of the hook")
}

fn assert_balance(kernel: &Kernel) {
    let skipped: u64 = kernel.skipped.values().sum();
    assert_eq!(
        kernel.seen,
        kernel.submitted + kernel.lost_ring_full + kernel.sampled_out + skipped,
        "{kernel:?}"
    );
}

#[test]
fn verifier_accepts_every_program() {
    if !privileged() {
        return;
    }
    let mut counts = BTreeMap::new();
    // The hook, whether connections and the path of packets are captured, and the number of programs.
    for (tap, has_all, count) in [(false, false, 9), (false, true, 15), (true, false, 2)] {
        let options = LiveOptions { connects: has_all, path: has_all, ..options() };
        let bench = Bench::load(&options, tap).expect("loads");
        let loaded = bench.live.loaded().unwrap();
        assert_eq!(loaded.refused, [], "this kernel lacks a feature");
        assert_eq!(loaded.entries.len(), count);
        counts.extend(verified(&bench));
    }
    compare_verified(&counts);
}

/// Returns the numbers of instructions that the verifier went through for each program, which must be far below its limit of
/// a million: older kernels need more for the same program.
fn verified(bench: &Bench) -> BTreeMap<String, u32> {
    let programs = bench.live.loaded().expect("a live capture").ebpf.programs();
    let counts = programs.filter_map(|(name, _)| {
        Some((name.to_owned(), bench.live.program_info(name)?.verified_instruction_count()?))
    });
    let counts: BTreeMap<_, _> = counts.collect();
    for (program, count) in &counts {
        assert!(*count < 200_000, "{program}: {count} instructions to verify");
    }
    counts
}

/// Compares numbers of instructions to verify with those of the commit before, so that what makes a program dearer is seen
/// and said. Each series of kernels has its own.
fn compare_verified(counts: &BTreeMap<String, u32>) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("readable");
    let series: Vec<_> = release.split(['.', '-']).take(2).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/verified.json");
    let text = std::fs::read_to_string(path).expect("readable");
    let mut all: BTreeMap<String, BTreeMap<String, u32>> =
        serde_json::from_str(&text).expect("numbers by kernel and program");
    if std::env::var_os("DNSCRIBE_BLESS").is_some() {
        all.insert(series.join("."), counts.clone());
        let text = serde_json::to_string_pretty(&all).expect("JSON") + "\n";
        std::fs::write(path, text).expect("writable");
    } else if let Some(known) = all.get(&series.join(".")) {
        let programs = |counts: &BTreeMap<String, u32>| counts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(programs(counts), programs(known), "DNSCRIBE_BLESS=1 writes {path}");
        for (program, count) in counts {
            let known = known[program];
            assert!(
                count.abs_diff(known) * 50 <= known,
                "{program}: {count} instructions to verify, {known} before; DNSCRIBE_BLESS=1 writes {path}"
            );
        }
    } else {
        eprintln!("no numbers of this kernel to compare with; DNSCRIBE_BLESS=1 writes {path}");
    }
}

type Load = fn(&LiveOptions, bool) -> Result<Bench, CannotCapture>;

#[test]
fn passes_and_counts_every_packet() {
    if !privileged() {
        return;
    }
    // Without BTF, programs call helpers in place of loads from kernel types.
    let ways: [(Load, bool); 4] = [
        (Bench::load, false),
        (Bench::load_without_types, false),
        (Bench::load, true),
        (Bench::load_without_types, true),
    ];
    for ((program, pass, tap, hook), (load, connects)) in
        PROGRAMS.iter().flat_map(|program| ways.map(|way| (*program, way)))
    {
        let options = LiveOptions { connects: connects && !tap, ..options() };
        let mut bench = load(&options, tap).expect("loads");
        for (what, ip, expectation) in test_packets() {
            let before = counters(&bench, hook);
            let frame = ethernet(&ip);
            let returned = bench.run(program, &frame, 1);
            let returned = returned.unwrap_or_else(|error| panic!("{program}: {what}: {error}"));
            assert_eq!(returned, pass, "{program}: {what}");
            let after = counters(&bench, hook);
            assert_balance(&after);
            let moved = Expectation::NotSeen != expectation;
            assert_eq!(after.seen - before.seen, u64::from(moved), "{program}: {what}");
            let emitted = u64::from(expectation == Expectation::Emitted);
            assert_eq!(after.submitted - before.submitted, emitted, "{program}: {what}");
            let too_deep = |kernel: &Kernel| kernel.skipped["tunnel_depth"];
            let is_too_deep = u64::from(expectation == Expectation::TooDeep);
            assert_eq!(too_deep(&after) - too_deep(&before), is_too_deep, "{program}: {what}");
            let mut got = Vec::new();
            bench.live.drain(10, &mut |packet| {
                if let Body::Ip { bytes, wire_bytes } = packet.body {
                    assert_eq!(wire_bytes as usize, bytes.len(), "{program}: {what}");
                    got.push(bytes.to_vec());
                }
            });
            let expected: Vec<Vec<u8>> =
                if moved && emitted == 1 { vec![ip_of(&frame).to_vec()] } else { Vec::new() };
            assert_eq!(got, expected, "{program}: {what}");
        }
    }
}

#[test]
fn fragments_follow_first_fragment() {
    if !privileged() {
        return;
    }
    let query = udp(PORT, &[7; 1_000]);
    let first_4 = v4(UDP, &[], 0x2000, &query);
    let later_4 = v4(UDP, &[], 0x0010, &[7; 64]);
    let header_6 = |offset: u16, more: u8| {
        let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
        vec![UDP, 0, high, low, 9, 9, 9, 9]
    };
    let first_6 = v6(44, &[header_6(0, 1), query.clone()].concat());
    let later_6 = v6(44, &[header_6(4, 0), vec![7; 64]].concat());
    let other_first = v4(UDP, &[], 0x2000, &udp(PORT + 1, &[7; 64]));
    for (program, pass, tap, hook) in PROGRAMS {
        for (first, later) in [(&first_4, &later_4), (&first_6, &later_6)] {
            let bench = Bench::load(&options(), tap).expect("loads");
            let seen = |ip: &[u8]| {
                assert_eq!(bench.run(program, &ethernet(ip), 1).expect("runs"), pass);
                counters(&bench, hook).seen
            };
            assert_eq!(seen(&other_first), 0, "{program}");
            assert_eq!(seen(later), 0, "{program}: its first fragment is not known");
            // Only the tap can get fragments out of order, and counts those that it cannot assign.
            let early = u64::from(tap);
            assert_eq!(seen(first), 1 + early, "{program}");
            assert_eq!(seen(first), 2 + early, "{program}: counted once");
            assert_eq!(seen(later), 3 + early, "{program}");
            let kernel = counters(&bench, hook);
            assert_balance(&kernel);
            assert_eq!(kernel.skipped["fragment_early"], early, "{program}");
        }
    }
}

#[test]
fn tap_parses_tags_and_unreachables() {
    if !privileged() {
        return;
    }
    let mut bench = Bench::load(&options(), true).expect("loads");
    let query = v4(UDP, &[], 0, &udp(PORT, QUERY));
    let unreachable = |quoted: &[u8]| {
        let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
        icmp.extend(&quoted[..28]);
        v4(1, &[], 0, &icmp)
    };
    let ours = unreachable(&query);
    let other = unreachable(&v4(UDP, &[], 0, &udp(PORT + 1, QUERY)));
    let quoted_6 = v6(UDP, &udp(PORT, QUERY));
    let ours_6 = v6(58, &[&[1, 4, 0, 0, 0, 0, 0, 0][..], &quoted_6].concat());
    let echo = v4(1, &[], 0, &[&[8, 0, 0, 0, 0, 0, 0, 0][..], &query].concat());
    for (what, frame, emitted) in [
        ("tag", tagged(&query), Some(query.clone())),
        ("unreachable", ethernet(&ours), Some(ours.clone())),
        ("unreachable over IPv6", ethernet(&ours_6), Some(ours_6.clone())),
        ("another's unreachable", ethernet(&other), None),
        ("echo request", ethernet(&echo), None),
    ] {
        assert_eq!(bench.run("tap", &frame, 1).expect("runs"), 0, "{what}");
        let mut got = None;
        bench.live.drain(10, &mut |packet| {
            if let Body::Ip { bytes, .. } = packet.body {
                got = Some(bytes.to_vec());
            }
        });
        assert_eq!(got, emitted, "{what}");
    }
}

#[test]
fn clips_and_counts_long_packets() {
    if !privileged() {
        return;
    }
    for snap in [1, 112, 113, 240, 241, 1_520, 1_521] {
        let mut bench =
            Bench::load(&LiveOptions { snap_bytes: snap, ..options() }, false).expect("loads");
        let ip = v4(UDP, &[], 0, &udp(PORT, &[7; 1_493]));
        assert_eq!(ip.len(), 1_521);
        bench.run("cgroup_egress", &ethernet(&ip), 1).expect("runs");
        let kernel = counters(&bench, "cgroup");
        assert_eq!((kernel.submitted, kernel.clipped), (1, u64::from(snap < 1_521)), "{snap}");
        let taken = bench.live.drain(10, &mut |packet| match packet.body {
            Body::Ip { bytes, wire_bytes } => {
                assert_eq!(bytes, &ip[..snap as usize]);
                assert_eq!(wire_bytes, 1_521);
            }
            other => panic!("no IP packet: {other:?}"),
        });
        assert_eq!(taken, 1);
    }
}

/// More records than the smallest ring holds.
const TRIES: u32 = 10_000;

#[test]
fn counts_exact_loss_of_full_ring() {
    if !privileged() {
        return;
    }
    for (program, _, tap, hook) in PROGRAMS {
        let mut bench =
            Bench::load(&LiveOptions { ring_bytes: 4096 * 4, ..options() }, tap).expect("loads");
        let frame = ethernet(&v4(UDP, &[], 0, &udp(PORT, QUERY)));
        bench.run(program, &frame, TRIES).expect("runs");
        let (mut kernel, ring) = bench.live.counters();
        let kernel_before = kernel.remove(hook).expect("counters");
        assert_balance(&kernel_before);
        assert_eq!(kernel_before.seen, u64::from(TRIES), "{program}");
        assert!(kernel_before.submitted > 0 && kernel_before.lost_ring_full > 0, "{program}");
        assert_eq!(ring.in_ring, kernel_before.submitted);
        assert_eq!(ring.sequence_gaps, kernel_before.lost_ring_full);

        // Drains the ring, so that a record after the gap shows the loss.
        assert_eq!(bench.live.drain(5, &mut |_| ()), 5);
        bench.run(program, &frame, 10).expect("runs");
        while bench.live.drain(1_000, &mut |_| ()) > 0 {}
        let (mut kernel, ring) = bench.live.counters();
        let kernel = kernel.remove(hook).expect("counters");
        assert_balance(&kernel);
        assert_eq!(kernel.seen, u64::from(TRIES) + 10);
        assert_eq!((ring.received, ring.in_ring), (kernel.submitted, 0));
        assert_eq!(ring.sequence_gaps, kernel.lost_ring_full, "{program}");
        assert_eq!(bench.live.ring_used_bytes(), 0);
    }
}

/// A TLS application data record, and the beginning of a `ClientHello`.
const SEALED: [u8; 400] = {
    let mut octets = [9; 400];
    [octets[0], octets[1], octets[2]] = [23, 3, 3];
    octets
};
const HELLO: [u8; 600] = {
    let mut octets = [9; 600];
    [octets[0], octets[1], octets[2]] = [22, 3, 1];
    octets
};

#[test]
fn captures_readable_part_of_encrypted_dns() {
    use Expectation::{Emitted, NoPayload, NotSeen};
    if !privileged() {
        return;
    }
    let ports = options().ports;
    let resolvers =
        ["192.0.2.0/24", "2001:db8::/64"].map(|prefix| prefix.parse().expect("a prefix"));
    let encrypted = |resolvers: &[Prefix]| {
        Some(Encrypted::new(&ports, &[PORT, 853], &[443], resolvers.iter().copied()))
    };
    let segment = |port: u16, flags: u8, payload: &[u8]| tcp(port, flags, 8, payload);
    let quic = |first: u8| [&[first][..], &[9; 1199]].concat();
    let cases = [
        ("SYN", v4(TCP, &[], 0, &segment(853, SYN, &[])), Emitted, 52),
        ("ACK", v4(TCP, &[], 0, &segment(853, ACK, &[])), NoPayload, 0),
        ("application data", v4(TCP, &[], 0, &segment(853, ACK, &SEALED)), Emitted, 112),
        ("options too", v4(TCP, &[1; 8], 0, &segment(853, ACK, &SEALED)), Emitted, 112),
        ("over IPv6", v6(TCP, &segment(853, ACK, &SEALED)), Emitted, 112),
        ("a hello", v4(TCP, &[], 0, &segment(853, ACK, &HELLO)), Emitted, 652),
        ("QUIC, long header", v4(UDP, &[], 0, &udp(853, &quic(0xc3))), Emitted, 1228),
        ("QUIC, short header", v4(UDP, &[], 0, &udp(853, &quic(0x43))), Emitted, 112),
        ("HTTPS", v4(TCP, &[], 0, &segment(443, ACK, &SEALED)), Emitted, 112),
        ("HTTPS over IPv6", v6(TCP, &segment(443, ACK, &SEALED)), Emitted, 112),
        ("another port", v4(TCP, &[], 0, &segment(444, ACK, &SEALED)), NotSeen, 0),
        // Plain DNS is still recognised by its port.
        ("DNS", v4(TCP, &[], 0, &segment(PORT, ACK, &SEALED)), Emitted, 452),
    ];
    for (program, pass, tap, hook) in PROGRAMS {
        let with = LiveOptions { encrypted: encrypted(&resolvers), ..options() };
        let mut bench = Bench::load(&with, tap).expect("loads");
        for (what, ip, expectation, octets) in &cases {
            let before = counters(&bench, hook);
            assert_eq!(
                bench.run(program, &ethernet(ip), 1).expect("runs"),
                pass,
                "{program}: {what}"
            );
            let after = counters(&bench, hook);
            assert_balance(&after);
            assert_eq!(
                after.seen - before.seen,
                u64::from(*expectation != NotSeen),
                "{program}: {what}"
            );
            assert_eq!(after.clipped, 0, "{program}: {what}");
            let mut got = 0;
            bench.live.drain(10, &mut |packet| {
                if let Body::Ip { bytes, wire_bytes } = packet.body {
                    assert_eq!(wire_bytes as usize, ip.len(), "{program}: {what}");
                    assert_eq!(bytes, &ip[..bytes.len()], "{program}: {what}");
                    got = bytes.len();
                }
            });
            assert_eq!(got, *octets, "{program}: {what}");
        }
        let fragment = v4(UDP, &[], 0x2000, &udp(853, &quic(0xc3)));
        assert_eq!(bench.run(program, &ethernet(&fragment), 1).expect("runs"), pass);
        assert_eq!(counters(&bench, hook).skipped["encrypted_fragment"], 1, "{program}");
        // HTTPS to other servers is not captured.
        let elsewhere = ["198.51.100.0/24".parse().expect("a prefix")];
        let without = LiveOptions { encrypted: encrypted(&elsewhere), ..options() };
        let bench = Bench::load(&without, tap).expect("loads");
        bench.run(program, &ethernet(&cases[8].1), 1).expect("runs");
        assert_eq!(counters(&bench, hook).seen, 0, "{program}");
    }
}
