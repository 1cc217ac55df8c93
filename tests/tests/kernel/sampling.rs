//! Sampling in the eBPF programs, and the totals of skipped messages, compared with the agent's own
//! computation for the same packets.

use crate::frames::{PORT, ethernet, tcp, v4, v6, vxlan};
use crate::{ACK, PROGRAMS, TCP, UDP, assert_balance, counters, options};
use dnscribe_agent::capture::live::LiveOptions;
use dnscribe_agent::capture::live::testing::Bench;
use dnscribe_tests::environment::privileged;
use dnscribe_transaction::packet::sampling::{NotExported, PacketClass, part};
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

const CLIENT: u16 = 40_000;
/// More packets than a small ring holds.
const TRIES: u32 = 2_000;
/// More servers than the map holds.
const SERVERS: u32 = 6_000;
const SERVFAIL: u8 = 2;
const TRUNCATED: u8 = 2;

/// A query or response on the wire.
struct Message {
    client_port: u16,
    id: u16,
    response: bool,
    is_6: bool,
}

impl Message {
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let ip = |last: u8| -> IpAddr {
            let text =
                if self.is_6 { format!("2001:db8::{last}") } else { format!("192.0.2.{last}") };
            text.parse().expect("an address")
        };
        let (client, server) =
            (SocketAddr::new(ip(1), self.client_port), SocketAddr::new(ip(2), PORT));
        if self.response { (server, client) } else { (client, server) }
    }

    fn part(&self) -> u16 {
        let (src, dst) = self.ends();
        part(src, dst, self.id)
    }

    fn ip(&self, flags: [u8; 2]) -> Vec<u8> {
        let (src, dst) = self.ends();
        let mut datagram = [src.port().to_be_bytes(), dst.port().to_be_bytes()].concat();
        datagram.extend([0, 8 + 17, 0, 0]);
        datagram.extend(self.id.to_be_bytes());
        datagram.extend(flags);
        datagram.extend([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
        let mut ip = if self.is_6 { v6(UDP, &datagram) } else { v4(UDP, &[], 0, &datagram) };
        if self.response {
            let (at, octets) = if self.is_6 { (8, 16) } else { (12, 4) };
            ip[at..at + 2 * octets].rotate_left(octets);
        }
        ip
    }

    fn frame(&self) -> Vec<u8> {
        ethernet(&self.ip(if self.response { [0x80 | TRUNCATED, SERVFAIL] } else { [1, 0] }))
    }
}

fn messages(response: bool) -> impl Iterator<Item = Message> {
    (0..200_u16).map(move |number| Message {
        client_port: CLIENT + number / 4,
        id: number.wrapping_mul(7_919),
        response,
        is_6: number % 3 == 0,
    })
}

fn sum(not_exported: &[NotExported], wanted: impl Fn(&NotExported) -> bool) -> (u64, u64) {
    let found = not_exported.iter().filter(|not_exported| wanted(not_exported));
    found.fold((0, 0), |(sampled, lost), one| (sampled + one.sampled, lost + one.lost))
}

/// Returns how many more packets `act` caused to be sampled out.
fn sampled_by(bench: &Bench, hook: &str, act: impl FnOnce()) -> u64 {
    let before = counters(bench, hook).sampled_out;
    act();
    let after = counters(bench, hook);
    assert_balance(&after);
    after.sampled_out - before
}

#[test]
fn sampling_matches_agent() {
    if !privileged() {
        return;
    }
    for (program, pass, tap, hook) in PROGRAMS {
        for (cut, rings) in [(0, 1), (1 << 15, 1), (1 << 15, 4), (u16::MAX, 1)] {
            let mut bench = Bench::load(&LiveOptions { rings, ..options() }, tap).expect("loads");
            bench.live.force_sampling(cut);
            let mut left_out = [0; 2];
            for response in [false, true] {
                for message in messages(response) {
                    let out = sampled_by(&bench, hook, || {
                        assert_eq!(bench.run(program, &message.frame(), 1).expect("runs"), pass);
                    });
                    let wanted = u64::from(message.part() < cut);
                    assert_eq!(out, wanted, "{program}, {cut}: {:?}", message.ends());
                    left_out[usize::from(response)] += out;
                }
            }
            let not_exported = bench.live.not_exported();
            let [queries, responses] = left_out;
            assert_eq!(
                sum(&not_exported, |not_exported| not_exported.class == PacketClass::Query),
                (queries, 0)
            );
            let failures = PacketClass::Response { rcode: SERVFAIL, truncated: true };
            assert_eq!(
                sum(&not_exported, |not_exported| not_exported.class == failures),
                (responses, 0)
            );
            assert_eq!(sum(&not_exported, |_| true), (queries + responses, 0));
            let servers = ["192.0.2.2", "2001:db8::2"].map(|server| server.parse().ok());
            let server = |not_exported: &NotExported| servers.contains(&not_exported.server);
            assert!(not_exported.iter().all(server), "{not_exported:?}");
            assert_eq!(bench.live.not_exported(), [], "reported twice");
        }
    }
}

/// After a reload with a longer timeout, a late response is still sampled like its query.
#[test]
fn response_follows_query_as_long_as_the_timeout_of_a_reload() {
    if !privileged() {
        return;
    }
    for (program, _, tap, hook) in PROGRAMS {
        let mut bench = Bench::load(&options(), tap).expect("loads");
        bench.live.set_query_timeout(Duration::from_millis(1));
        bench.live.force_sampling(1 << 15);
        bench.live.set_query_timeout(Duration::from_secs(30));
        let mut flow: Vec<(Message, u64)> = Vec::new();
        for response in messages(true) {
            let query = Message { response: false, ..response };
            let out = sampled_by(&bench, hook, || drop(bench.run(program, &query.frame(), 1)));
            flow.push((response, out));
        }
        assert!(flow.iter().any(|(_, out)| *out == 1), "{program}");
        bench.live.force_sampling(0);
        // Longer than the former timeout and what is added to it.
        thread::sleep(Duration::from_millis(1_600));
        bench.live.set_query_timeout(Duration::from_secs(30));
        for (response, left_out) in flow {
            let out = sampled_by(&bench, hook, || drop(bench.run(program, &response.frame(), 1)));
            assert_eq!(out, left_out, "{program}");
        }
    }
}

#[test]
fn response_follows_query_across_sampling_changes() {
    if !privileged() {
        return;
    }
    let timeout = Duration::from_millis(1);
    for (program, _, tap, hook) in PROGRAMS {
        let mut bench = Bench::load(&options(), tap).expect("loads");
        bench.live.set_query_timeout(timeout);
        let mut flow: Vec<(u16, Message, bool)> = Vec::new();
        // Distinct ids, some of which are reused with another sampling decision.
        for (round, cut) in [0, 1 << 14, 60_000, 1 << 15, 0, u16::MAX, 0].into_iter().enumerate() {
            bench.live.force_sampling(cut);
            for response in messages(true) {
                let query = Message { response: false, ..response };
                let out = sampled_by(&bench, hook, || drop(bench.run(program, &query.frame(), 1)));
                assert_eq!(out == 1, query.part() < cut, "{program}, round {round}");
                flow.push((cut, response, out == 1));
            }
            // Responses of the last two rounds arrive after the change.
            if round % 2 == 1 {
                bench.live.force_sampling(cut / 2);
            }
            for (_, response, left_out) in flow.drain(..) {
                let out =
                    sampled_by(&bench, hook, || drop(bench.run(program, &response.frame(), 1)));
                assert_eq!(out == 1, left_out, "{program}, round {round}");
            }
            while bench.live.drain(10_000, &mut |_| ()) > 0 {}
        }
        // Much later, no decision is remembered.
        thread::sleep(Duration::from_millis(1_600));
        bench.live.force_sampling(0);
        for message in messages(true) {
            let out = sampled_by(&bench, hook, || drop(bench.run(program, &message.frame(), 1)));
            assert_eq!(out, 0, "{program}");
        }
    }
}

#[test]
fn never_samples_streams_fragments_or_errors() {
    if !privileged() {
        return;
    }
    let query = Message { client_port: CLIENT, id: 7, response: false, is_6: false };
    let fragment = v4(UDP, &[], 0x2000, &query.ip([1, 0])[20..]);
    let segment = v4(TCP, &[], 0, &tcp(PORT, ACK, 5, &[1; 40]));
    let multicast = {
        let mut ip = query.ip([1, 0]);
        ip[20..24].copy_from_slice(&[0x14, 0xe9, 0x14, 0xe9]);
        ip
    };
    let ports = vec![PORT, 5353].try_into().expect("ports");
    let with = LiveOptions { ports, ..options() };
    for (program, _, tap, hook) in PROGRAMS {
        let mut bench = Bench::load(&with, tap).expect("loads");
        bench.live.force_sampling(u16::MAX);
        for ip in [&fragment, &segment, &multicast] {
            assert_eq!(sampled_by(&bench, hook, || drop(bench.run(program, &ethernet(ip), 1))), 0);
        }
        let options = ethernet(&v4(UDP, &[1; 8], 0, &query.ip([1, 0])[20..]));
        let tunnel = tap.then(|| ethernet(&vxlan(&query.ip([1, 0]))));
        for frame in [Some(&options), tunnel.as_ref()].into_iter().flatten() {
            assert_eq!(sampled_by(&bench, hook, || drop(bench.run(program, frame, 1))), 1);
        }
    }
}

#[test]
fn counts_ring_loss_by_packet_class() {
    if !privileged() {
        return;
    }
    for (program, _, tap, hook) in PROGRAMS {
        let with = LiveOptions { ring_bytes: 4096 * 4, ..options() };
        let mut bench = Bench::load(&with, tap).expect("loads");
        let query = Message { client_port: CLIENT, id: 7, response: false, is_6: true };
        let response = Message { response: true, ..query };
        let segment = ethernet(&v4(TCP, &[], 0, &tcp(PORT, ACK, 5, &[1; 40])));
        bench.run(program, &query.frame(), TRIES).expect("runs");
        bench.run(program, &response.frame(), TRIES).expect("runs");
        bench.run(program, &segment, TRIES).expect("runs");
        let kernel = counters(&bench, hook);
        assert_balance(&kernel);
        let not_exported = bench.live.not_exported();
        let lost = |wanted: &dyn Fn(&NotExported) -> bool| sum(&not_exported, wanted).1;
        assert_eq!(lost(&|_| true), kernel.lost_ring_full, "{program}");
        let failures = PacketClass::Response { rcode: SERVFAIL, truncated: true };
        assert_eq!(
            lost(&|not_exported| not_exported.class == failures),
            u64::from(TRIES),
            "{program}"
        );
        let segments = PacketClass::Segment { to_server: true };
        assert_eq!(
            lost(&|not_exported| not_exported.class == segments),
            u64::from(TRIES),
            "{program}"
        );
    }
}

#[test]
fn one_full_ring_starts_sampling() {
    if !privileged() {
        return;
    }
    for (program, _, tap, hook) in PROGRAMS {
        let with = LiveOptions {
            rings: 4,
            ring_bytes: 4096 * 16,
            sampling_floor: Some(0.01),
            ..options()
        };
        let mut bench = Bench::load(&with, tap).expect("loads");
        let mut readers = bench.live.take_readers();
        assert_eq!(bench.live.regulate(None), None, "{program}: no packet was captured");
        let of = |id| Message { client_port: CLIENT, id, response: false, is_6: false };
        bench.run(program, &of(0).frame(), TRIES).expect("runs");
        // The overflow is known although the ring was drained meanwhile.
        for reader in &mut readers {
            while reader.drain(1_000, &mut |_| ()) > 0 {}
        }
        let change = bench.live.regulate(Some(Duration::ZERO)).expect("a change");
        assert!(change.cut > 0, "{program}");
        for id in 0..200 {
            let message = of(id);
            let out = sampled_by(&bench, hook, || drop(bench.run(program, &message.frame(), 1)));
            assert_eq!(out == 1, message.part() < change.cut, "{program}");
        }
    }
}

#[test]
fn servers_beyond_map_capacity_share_a_count() {
    if !privileged() {
        return;
    }
    let mut bench = Bench::load(&options(), false).expect("loads");
    bench.live.force_sampling(u16::MAX);
    let mut ip = Message { client_port: CLIENT, id: 7, response: false, is_6: false }.ip([1, 0]);
    for server in 0..SERVERS {
        ip[16..20].copy_from_slice(&(0x0a00_0000 + server).to_be_bytes());
        bench.run("cgroup_ingress", &ethernet(&ip), 1).expect("runs");
    }
    let kernel = counters(&bench, "cgroup");
    let not_exported = bench.live.not_exported();
    let (known, others) = (
        sum(&not_exported, |not_exported| not_exported.server.is_some()).0,
        sum(&not_exported, |not_exported| not_exported.server.is_none()).0,
    );
    assert_eq!(known + others, kernel.sampled_out);
    assert!(kernel.sampled_out > u64::from(SERVERS) - 10, "{kernel:?}");
    assert!(known >= 4_000 && others > 0, "{known} and {others}");
}
