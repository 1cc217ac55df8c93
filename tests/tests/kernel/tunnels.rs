//! The interface tap and encapsulated packets: it must accept the same packets as file replay.

#[path = "tunnels/device.rs"]
mod device;

use super::frames::{
    PORT, QUERY, encapsulations, ethernet, ethernet_of, fragments, tagged, tcp, udp, v4, v6, vxlan,
};
use super::{ACK, SYN, TCP, UDP, assert_balance, counters, options, privileged};
use dnscribe_agent::capture::live::LiveOptions;
use dnscribe_agent::capture::live::testing::Bench;
use dnscribe_agent::capture::replay::{Replay, ReplayProgress};
use dnscribe_common::layers::{EXTENSIONS, LEVELS};
use dnscribe_record::ledger::Kernel;
use dnscribe_transaction::packet::encrypted::Encrypted;
use dnscribe_transaction::packet::{Body, Direction, Packet};
use std::io::Cursor;
use std::ops::ControlFlow;

/// Counters of a hook: seen, submitted, and skipped by two reasons.
type Counts = (u64, u64, u64, u64);

/// Leaves out fragments that came before their first: replay keeps them, the tap only counts them.
fn counts(kernel: &Kernel) -> Counts {
    let skipped = |reason: &str| kernel.skipped.get(reason).copied().unwrap_or(0);
    (
        kernel.seen - skipped("fragment_early"),
        kernel.submitted,
        skipped("tcp_no_payload"),
        skipped("tunnel_depth"),
    )
}

/// The tap and file replay, fed with the same frames.
struct TapAndReplay {
    bench: Bench,
    replay: Replay,
    frames: u32,
}

impl TapAndReplay {
    fn new() -> Self {
        Self::with(&options())
    }

    fn with(options: &LiveOptions) -> Self {
        let bench = Bench::load(options, true).expect("loads");
        let replay = Replay::new(options.ports.clone()).with_encrypted(options.encrypted.clone());
        Self { bench, replay, frames: 0 }
    }

    /// Passes a frame to both, compares the counters, and returns them.
    fn compare(&mut self, what: &str, frame: &[u8]) -> Counts {
        let before = counts(&counters(&self.bench, "socket"));
        let returned = self.bench.run("tap", frame, 1);
        assert_eq!(returned.unwrap_or_else(|error| panic!("{what}: {error}")), 0, "{what}");
        let kernel = counters(&self.bench, "socket");
        assert_balance(&kernel);
        let after = counts(&kernel);
        let live = (after.0 - before.0, after.1 - before.1, after.2 - before.2, after.3 - before.3);
        let before = counts(&self.replay.counters().0["replay"]);
        let file = Box::new(Cursor::new(pcap(frame)));
        // Fragments of earlier frames that waited for this one: the tap keeps none.
        let mut waited = 0;
        let each = &mut |packet: &Packet<'_>, _: &ReplayProgress<'_>| {
            waited += u64::from(packet.id.cpu != self.frames);
            ControlFlow::Continue(())
        };
        self.replay.stream("frame", file, each).expect("a capture");
        self.frames += 1;
        let kernel = &self.replay.counters().0["replay"];
        assert_balance(kernel);
        let after = counts(kernel);
        let file = (
            after.0 - before.0 - waited,
            after.1 - before.1 - waited,
            after.2 - before.2,
            after.3 - before.3,
        );
        assert_eq!(live, file, "{what}: tap and replay differ on {frame:02x?}");
        live
    }
}

/// Returns a capture file with one Ethernet frame.
fn pcap(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let words = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1, 1, 0, length, length];
    [words.map(u32::to_le_bytes).concat().as_slice(), frame].concat()
}

#[test]
fn finds_port_in_every_tunnel() {
    if !privileged() {
        return;
    }
    let mut both = TapAndReplay::new();
    for ours in [v4(UDP, &[], 0, &udp(PORT, QUERY)), v6(UDP, &udp(PORT, QUERY))] {
        for (what, frame) in encapsulations(&ours) {
            assert_eq!(both.compare(what, &frame), (1, 1, 0, 0), "{what}");
            let mut got = Vec::new();
            both.bench.live.drain(10, &mut |packet| {
                if let Body::Ip { bytes, wire_bytes } = packet.body {
                    assert_eq!(wire_bytes as usize, bytes.len(), "{what}");
                    got.push((packet.direction, bytes.to_vec()));
                }
            });
            let [(direction, bytes)] = got.as_slice() else { panic!("{what}: {got:?}") };
            // Tags and labels are not tunnels; the loopback interface, where the test runs, is
            // reported as such.
            let sights = [Direction::Passive, Direction::Loopback];
            assert!(sights.contains(direction), "{what}");
            assert!(
                frame.ends_with(bytes),
                "{what}: the packet does not start at the outermost IP header"
            );
            assert!(bytes.ends_with(&ours), "{what}");
        }
    }
    let other = v4(UDP, &[], 0, &udp(PORT + 1, QUERY));
    let nothing = v4(TCP, &[], 0, &tcp(PORT, ACK, 5, &[]));
    for ((what, other), (_, nothing)) in encapsulations(&other).iter().zip(encapsulations(&nothing))
    {
        assert_eq!(both.compare(what, other), (0, 0, 0, 0), "{what}");
        assert_eq!(both.compare(what, &nothing), (1, 0, 1, 0), "{what}");
    }
}

#[test]
fn counts_more_extension_headers_than_are_walked() {
    if !privileged() {
        return;
    }
    let ours = |kind: u8, count: usize| {
        let mut payload = [kind, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        payload[(count - 1) * 8] = UDP;
        v6(kind, &[payload, udp(PORT, QUERY)].concat())
    };
    let mut both = TapAndReplay::new();
    let cgroup = Bench::load(&options(), false).expect("loads");
    let mut before = counts(&counters(&cgroup, "cgroup"));
    for kind in [0, 43, 60, 135, 139, 140] {
        for count in [1, EXTENSIONS, EXTENSIONS + 1, 16] {
            let expected = if count > EXTENSIONS { (1, 0, 0, 1) } else { (1, 1, 0, 0) };
            let what = format!("{count} headers of type {kind}");
            let packet = ours(kind, count);
            assert_eq!(both.compare(&what, &ethernet(&packet)), expected, "{what}");
            assert_eq!(both.compare(&what, &ethernet(&vxlan(&packet))), expected, "{what}");
            for program in ["cgroup_egress", "cgroup_ingress"] {
                cgroup.run(program, &ethernet(&packet), 1).expect("runs");
                let kernel = counters(&cgroup, "cgroup");
                assert_balance(&kernel);
                let after = counts(&kernel);
                let added = (
                    after.0 - before.0,
                    after.1 - before.1,
                    after.2 - before.2,
                    after.3 - before.3,
                );
                assert_eq!(added, expected, "{program}: {what}");
                before = after;
            }
        }
    }
}

#[test]
fn counts_packets_nested_too_deep() {
    if !privileged() {
        return;
    }
    let mut both = TapAndReplay::new();
    let mut packet = v4(UDP, &[], 0, &udp(PORT, QUERY));
    for level in 1..LEVELS {
        packet = vxlan(&packet);
        assert_eq!(both.compare("tunnel", &ethernet(&packet)), (1, 1, 0, 0), "{level}");
    }
    let deeper = ethernet(&vxlan(&packet));
    assert_eq!(both.compare("a tunnel too many", &deeper), (1, 0, 0, 1));
    let ours = v4(UDP, &[], 0, &udp(PORT, QUERY));
    let labels = |count: usize| {
        let stack = [&[0, 1, 0, 9].repeat(count)[..], &[0, 1, 1, 9]].concat();
        ethernet_of([0x88, 0x47], &[&stack, &ours[..]].concat())
    };
    assert_eq!(both.compare("labels", &labels(14)), (1, 1, 0, 0));
    assert_eq!(both.compare("labels too many", &labels(16)), (1, 0, 0, 1));
}

#[test]
fn follows_fragments_inside_and_outside_tunnels() {
    if !privileged() {
        return;
    }
    let inner = v4(UDP, &[], 0, &udp(PORT, &[7; 300]));
    let other = v4(UDP, &[], 0, &udp(PORT + 1, &[7; 300]));
    let mut both = TapAndReplay::new();
    let mut show = |what: &str, packets: &[Vec<u8>], seen: u64| {
        for (place, packet) in packets.iter().enumerate() {
            let counts = both.compare(what, &ethernet(packet));
            assert_eq!(counts, (seen, seen, 0, 0), "{what}: part {place}");
        }
        let mut sights = Vec::new();
        both.bench.live.drain(100, &mut |packet| sights.push(packet.direction));
        assert!(
            sights.iter().all(|direction| *direction == Direction::Passive),
            "{what}: {sights:?}"
        );
    };
    let wrap = |parts: Vec<Vec<u8>>| parts.iter().map(|part| vxlan(part)).collect::<Vec<_>>();
    show("in a tunnel", &wrap(fragments(&inner, 1, 128)), 1);
    show("a tunnel", &fragments(&vxlan(&inner), 2, 128), 1);
    show("another's in a tunnel", &wrap(fragments(&other, 3, 128)), 0);
    show("another's tunnel", &fragments(&vxlan(&other), 4, 128), 0);
    // A reused identification: the datagram belongs to another flow.
    show("the same name again", &fragments(&vxlan(&other), 2, 128), 0);
    show("the same name again, in a tunnel", &wrap(fragments(&other, 1, 128)), 0);
    let padded = [v4(TCP, &[], 0, &tcp(PORT, ACK, 5, &[])), vec![0; 60]].concat();
    show("a tunnel around nothing", &fragments(&vxlan(&padded), 6, 80), 1);
    for (id, part) in (10..).zip(fragments(&inner, 5, 128)) {
        show("a fragment in fragments", &fragments(&vxlan(&part), id, 64), 1);
    }
}

/// Fragments seen at the end of a tunnel, on the tunnel's interface and on the wire.
#[test]
fn keeps_inner_and_outer_fragments_apart() {
    if !privileged() {
        return;
    }
    let mut bench = Bench::load(&options(), true).expect("loads");
    let mut direction = |packet: &[u8]| {
        bench.run("tap", &ethernet(packet), 1).expect("runs");
        let mut direction = None;
        bench.live.drain(10, &mut |packet| direction = Some(packet.direction));
        direction
    };
    for part in fragments(&v4(UDP, &[], 0, &udp(PORT, &[7; 300])), 1, 128) {
        assert_eq!(direction(&part), Some(Direction::Loopback));
        assert_eq!(direction(&vxlan(&part)), Some(Direction::Passive));
    }
}

/// Frames damaged and cut off pseudo-randomly: the kernel's programs and replay must agree on every
/// frame.
#[test]
fn tap_and_replay_agree_on_random_frames() {
    if !privileged() {
        return;
    }
    let packets = [
        v4(UDP, &[], 0, &udp(PORT, QUERY)),
        v6(UDP, &udp(PORT, QUERY)),
        v4(TCP, &[], 0, &tcp(PORT, ACK, 5, QUERY)),
        v4(
            1,
            &[],
            0,
            &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &v4(UDP, &[], 0, &udp(PORT, QUERY))].concat(),
        ),
        tagged(&v4(UDP, &[1; 8], 0, &udp(PORT, QUERY)))[14..].to_vec(),
    ];
    agree_on_any(&mut TapAndReplay::new(), &packets);
}

/// Like [`tap_and_replay_agree_on_random_frames`], with detection of encrypted DNS.
#[test]
fn tap_and_replay_agree_on_encrypted_dns() {
    if !privileged() {
        return;
    }
    let ports = options().ports;
    let resolvers = ["192.0.2.2", "2001:db8::2"].map(|one| one.parse().expect("an address"));
    let encrypted = Encrypted::new(&ports, &[853], &[443], resolvers);
    let mut both = TapAndReplay::with(&LiveOptions { encrypted: Some(encrypted), ..options() });
    let hello = [22, 3, 1, 0, 200].repeat(60);
    let long = v4(UDP, &[], 0, &udp(853, &hello));
    let quoted = v4(TCP, &[], 0, &tcp(443, SYN, 5, &[]));
    let packets = [
        v4(TCP, &[], 0, &tcp(853, SYN, 10, &[])),
        v4(TCP, &[], 0, &tcp(853, ACK, 8, &[])),
        v6(TCP, &tcp(853, ACK, 8, &hello)),
        v4(TCP, &[1; 8], 0, &tcp(443, ACK, 5, &hello)),
        v6(UDP, &udp(443, &hello)),
        v4(UDP, &[], 0x2000, &udp(853, &hello)),
        v4(1, &[], 0, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted].concat()),
        v4(TCP, &[], 0, &tcp(444, ACK, 5, &hello)),
    ];
    agree_on_any(&mut both, &packets);
    for parts in [fragments(&long, 1, 128), fragments(&vxlan(&long), 2, 128)] {
        for (place, part) in parts.iter().enumerate() {
            let seen = u64::from(place == 0);
            assert_eq!(both.compare("a fragment", &ethernet(part)), (seen, 0, 0, 0), "{place}");
        }
    }
}

/// Passes the packets in every tunnel to both, most of them damaged.
fn agree_on_any(both: &mut TapAndReplay, packets: &[Vec<u8>]) {
    const ROUNDS: usize = 25;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut seen = 0;
    for round in 0..ROUNDS {
        for packet in packets {
            for (what, mut frame) in encapsulations(packet) {
                for _ in 0..random.below(4) {
                    // Most changes are in header fields, where they have most effect.
                    let at = random.below(frame.len().min(120));
                    frame[at] = u8::try_from(random.below(256)).unwrap_or(0);
                }
                if round % 3 == 0 {
                    // Through this interface, the kernel runs programs on complete IP headers only.
                    frame.truncate(54 + random.below(frame.len()));
                }
                seen += both.compare(what, &frame).0;
                while both.bench.live.drain(100, &mut |_| ()) > 0 {}
            }
        }
    }
    assert!(seen > 500, "too many frames were not recognised: {seen}");
}

/// A pseudo-random generator with a fixed seed (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % limit.max(1)
    }
}
